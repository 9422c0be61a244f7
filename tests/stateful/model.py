"""A small model of the service: what must be true after each call, and nothing of how.

Four kinds of prompt are enough: one that is answered, one that adds an agent to the code, one that
the model's server rejects, and one that never ends unless somebody ends it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from tests.faults.diffs import apply_unified
from tests.faults.prompts import insert_agent, prompt
from tests.stateful.application import PROJECT_LIMIT, SESSION_LIMIT

START = '"""A workflow of agents."""\n\nfrom agents import Agent\n'
_ANCHOR = "from agents import Agent"


class Kind(StrEnum):
    """What a prompt makes the stub model do."""

    PLAIN = "plain"
    AGENT = "agent"
    REJECTED = "rejected"
    HANG = "hang"


@dataclass
class ModelMessage:
    """A prompt and what must have become of it."""

    kind: Kind
    text: str
    generation: int
    on_busy: str
    id: str = ""
    status: str = "unfinished"
    reply: str | None = None
    code: str | None = None
    revision: int | None = None
    items: int = 0


@dataclass
class ModelRevision:
    """A state of the code and the message that made it."""

    code: str
    message: ModelMessage | None = None


@dataclass
class ModelSession:
    """A conversation."""

    project: "ModelProject"
    node_id: str | None
    title: str | None
    number: int
    id: str = ""
    generation: int = 1
    messages: list[ModelMessage] = field(default_factory=list)
    """Of all generations, in the order of acceptance."""
    inherited: list[ModelMessage] = field(default_factory=list)
    """Whose items a fork began with, an entry for each item."""

    @property
    def key(self) -> str:
        """Return its openai_session_key."""
        node = f"_node_{self.node_id}" if self.node_id else ""
        return f"project_{self.project.id}{node}" + (f".{self.number}" if self.number > 1 else "")

    @property
    def listed(self) -> list[ModelMessage]:
        """Return the messages since it was last cleared."""
        return [one for one in self.messages if one.generation == self.generation]

    @property
    def unfinished(self) -> list[ModelMessage]:
        """Return what waits or runs; never anything of an earlier generation."""
        return [one for one in self.messages if one.status == "unfinished"]

    @property
    def remembered(self) -> list[ModelMessage]:
        """Return whose items the conversation holds, an entry for each item."""
        return self.remembered_in(self.generation)

    def remembered_in(self, generation: int) -> list[ModelMessage]:
        """Return the same of a generation."""
        own = [one for one in self.messages if one.generation == generation]
        inherited = self.inherited if generation == 1 else []
        return inherited + [one for one in own for _ in range(one.items)]

    def remembered_after(self, message: ModelMessage) -> list[ModelMessage]:
        """Return whose items it held after one of its messages."""
        later = self.messages[self.messages.index(message) + 1 :]
        return [one for one in self.remembered_in(message.generation) if one not in later]

    def refusal(self, on_busy: str) -> tuple[int, str] | None:
        """Tell how a new message would be refused."""
        here, in_project = len(self.unfinished), self.project.unfinished
        if here and on_busy == "reject":
            return 409, "session_busy"
        freed = here if on_busy == "rollback" else 0
        if here - freed >= SESSION_LIMIT:
            return 429, "session_queue_full"
        if in_project - freed >= PROJECT_LIMIT:
            return 429, "project_queue_full"
        return None

    def accept(self, message: ModelMessage, on_busy: str) -> list[ModelMessage]:
        """Take a message as the last; return what that cancelled."""
        cancelled = self.cancel_all() if on_busy == "rollback" else []
        self.messages.append(message)
        self.settle()
        return cancelled

    def cancel_all(self) -> list[ModelMessage]:
        """Cancel what is unfinished."""
        cancelled = self.unfinished
        for one in cancelled:
            one.status, one.code = "cancelled", "cancelled"
        return cancelled

    def clear(self) -> None:
        """Forget the conversation."""
        self.cancel_all()
        self.generation += 1

    def settle(self) -> None:
        """Let everything run that nothing holds up: in order, one after the other."""
        for message in self.unfinished:
            if message.kind is Kind.HANG:
                return
            self._end(message)

    def _end(self, message: ModelMessage) -> None:
        if message.kind is Kind.REJECTED:
            message.status, message.code = "failed", "model_rejected"
            return
        said = len(self.remembered) + 1
        if message.kind is Kind.AGENT:
            said += 2  # the call of the tool and its output
            self._add_agent(message)
        message.status = "completed"
        message.reply = f"echo {said}: {message.text}"
        message.items = 4 if message.kind is Kind.AGENT else 2

    def _add_agent(self, message: ModelMessage) -> None:
        project = self.project
        if self.node_id or _ANCHOR not in project.code.split("\n"):
            return  # not this node's business, or the patch does not apply
        name = agent_of(message.text)
        agent = f'{_ANCHOR}\n\n{name} = Agent(name="{name}")\n'
        project.revise(project.code.replace(f"{_ANCHOR}\n", agent, 1), message)
        message.revision = project.revision


@dataclass
class ModelProject:
    """A workflow with its conversations."""

    name: str
    instructions: str
    id: str = ""
    sessions: list[ModelSession] = field(default_factory=list)
    revisions: list[ModelRevision] = field(default_factory=list)

    @property
    def code(self) -> str:
        """Return the newest code."""
        return self.revisions[-1].code

    @property
    def revision(self) -> int:
        """Return the newest revision's number."""
        return len(self.revisions)

    @property
    def unfinished(self) -> int:
        """Count what waits or runs."""
        return sum(len(session.unfinished) for session in self.sessions)

    def revise(self, code: str, message: ModelMessage | None = None) -> None:
        """Make the next revision, unless nothing changes."""
        if code != self.code:
            self.revisions.append(ModelRevision(code, message))

    def places(self, node_id: str | None) -> list[ModelSession]:
        """Return the conversations on a place."""
        return [session for session in self.sessions if session.node_id == node_id]

    def messages(self) -> Iterator[ModelMessage]:
        """Go through all messages."""
        for session in self.sessions:
            yield from session.messages


def write_prompt(kind: Kind, number: int) -> str:
    """Write a prompt that is unlike every other."""
    match kind:
        case Kind.PLAIN:
            return prompt()
        case Kind.AGENT:
            return prompt(insert_agent(f"agent_{number}"))
        case Kind.REJECTED:
            return prompt("status 400")
        case Kind.HANG:
            return prompt("hang")


def agent_of(text: str) -> str:
    """Find the name of the agent that a prompt adds."""
    return text.rsplit("\\n+", maxsplit=1)[-1].split(" = ", maxsplit=1)[0]


def is_step(before: str, diff: str, after: str) -> bool:
    """Tell whether a diff leads from one code to the other."""
    return apply_unified(before, diff) == after
