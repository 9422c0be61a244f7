"""What the offline model does about a prompt: answer, look at the outline, or change the code."""

import re
from dataclasses import dataclass
from typing import assert_never

from shared.errors import InvalidWorkflow
from shared.workflow.model import Node
from worker.offline import intents
from worker.offline.edits import CannotEdit, Draft
from worker.offline.text import variable

HELP = (
    "I am the offline model: a few rules, no language model. I understand requests like these: "
    '"Create a triage agent", "Rename billing to payments", "Remove the billing agent", '
    '"Make it Spanish", "Let triage hand off to billing", "Tell triage to be brief", '
    '"Give triage a tool to look up orders", "What does this workflow do?". '
    "For everything else set OPENAI_API_KEY (or OPENAI_BASE_URL for another server) and start "
    "the service again: then a real model answers."
)

_PRONOUNS = {"it", "this", "that", "him", "her", "them", "one", "agent", "this agent", "", "itself"}
_ARTICLES = re.compile(r"^(?:the|a|an|my|our|this|that|its)\s+", re.IGNORECASE)
_AGENT = re.compile(r"(?<!\s)\s*\bagents?$", re.IGNORECASE)
_EDGES = " \t\"'`«»“”.,:;!?()"
_TASKS = {
    "triage": "Find out what the person needs and send them to the agent that can help.",
    "billing": "Help with invoices, payments and prices.",
    "refund": "Help with refunds: ask for the order, then say what will happen.",
    "support": "Help with problems, one step at a time.",
    "sales": "Help people to choose a product.",
}
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Answer:
    """Say something; nothing changes."""

    text: str


@dataclass(frozen=True)
class Describe:
    """Call the outline tool and tell what it says."""


@dataclass(frozen=True)
class Change:
    """Change the module to this code; `summary` is true once the tool has accepted it."""

    code: str
    summary: str


Plan = Answer | Describe | Change


def plan(prompt: str, *, code: str, node_id: str | None, said: list[str]) -> dict[str, str]:
    """Return the plan as JSON: `answer`, or `code` and `summary`, or nothing for the outline."""
    made = make_plan(prompt, code=code, node_id=node_id, said=said)
    match made:
        case Answer():
            return {"answer": made.text}
        case Change():
            return {"code": made.code, "summary": made.summary}
        case Describe():
            return {}
        case _:
            assert_never(made)


def make_plan(prompt: str, *, code: str, node_id: str | None, said: list[str]) -> Plan:
    """Decide what to do; `said` are the conversation's earlier texts, oldest first."""
    wanted = intents.read_prompt(prompt)
    if not wanted:
        return Answer(HELP)
    if any(isinstance(intent, intents.Describe) for intent in wanted):
        return Describe()
    try:
        planner = _Planner(code, node_id, said)
        summaries = planner.follow(wanted)
    except CannotEdit as error:
        return Answer(f"{error} Nothing was changed.")
    except InvalidWorkflow as error:
        return Answer(f"I cannot do that: {error.detail}. Nothing was changed.")
    return Change(planner.draft.code, " ".join(summaries))


class _Planner:
    """Follows the intents of one prompt on a draft; knows who is meant by "it"."""

    def __init__(self, code: str, node_id: str | None, said: list[str]) -> None:
        self.draft = Draft(code)
        self._node_id = node_id
        self._subject = node_id or self._last_subject(said)
        self._hands_off: Node | None = None

    def follow(self, wanted: list[intents.Intent]) -> list[str]:
        """Make all edits; return each in words."""
        sources = [item.source for item in wanted if isinstance(item, intents.HandOff)]
        self._hands_off = self._find(_plain(sources[0])) if sources else None
        return [self._edit(intent) for intent in wanted]

    def _edit(self, intent: intents.Intent) -> str:
        match intent:
            case intents.Create():
                return self._create(intent)
            case intents.Rename():
                return self._rename(intent)
            case intents.Remove():
                node = self._node(intent.who)
                self.draft.remove(node)
                return f"Removed the agent `{node.node_id}`."
            case intents.Speak():
                node = self._node(intent.who)
                sentence = f"Always answer in {intent.language}."
                self.draft.instruct(node, sentence, language=True)
                return f"The agent `{node.node_id}` now answers in {intent.language}."
            case intents.HandOff():
                return self._hand_off(intent)
            case intents.Instruct():
                node = self._node(intent.who)
                sentence = f"{intent.text[0].upper()}{intent.text[1:]}."
                self.draft.instruct(node, sentence)
                return f"The agent `{node.node_id}` is now told: {sentence}"
            case intents.AddTool():
                return self._add_tool(intent)
            case intents.Describe():
                return ""
            case _:
                assert_never(intent)

    def _create(self, intent: intents.Create) -> str:
        name = _plain(intent.name)
        name = "" if name.lower() in _PRONOUNS else name
        if not name and self._node_id and not self.draft.workflow.node(self._node_id):
            name = self._node_id
        if name and self._find(name):
            raise CannotEdit(f"There is already an agent `{name}`.")
        node_id = name if name == self._node_id else self._free(variable(name))
        task = f"{intent.task[0].upper()}{intent.task[1:]}." if intent.task else _task(name)
        instructions = f"You are the {name} agent. {task}" if name else task
        # an agent stands above the one that hands off to it
        above = self._hands_off
        self.draft.create(node_id, name=name or node_id, instructions=instructions, above=above)
        self._subject = node_id
        return f"Created the agent `{node_id}`."

    def _rename(self, intent: intents.Rename) -> str:
        node = self._node(intent.who)
        new_name = _plain(intent.new)
        if not new_name and self._node_id in (None, node.node_id):
            raise CannotEdit(f"What should `{node.node_id}` be called? Say the new name, too.")
        # in another agent's session this is refused; let the tool say so and why
        new_name = new_name or f"{node.name} agent"
        if self._find(new_name):
            raise CannotEdit(f"There is already an agent `{new_name}`.")
        new_id = self._free(variable(new_name))
        if node.node_id == self._node_id:
            new_id = node.node_id
        self.draft.rename(node, new_id, new_name)
        self._subject = new_id
        if node.node_id == new_id:
            return f'The agent `{new_id}` now has the name "{new_name}".'
        return f'Renamed `{node.node_id}` to `{new_id}`, with the name "{new_name}".'

    def _hand_off(self, intent: intents.HandOff) -> str:
        source, target = self._node(intent.source), self._node(intent.target)
        if source.node_id == target.node_id:
            raise CannotEdit(f"`{source.node_id}` cannot hand off to itself.")
        if target.node_id in source.handoffs:
            raise CannotEdit(f"`{source.node_id}` already hands off to `{target.node_id}`.")
        self.draft.hand_off(source, target)
        return f"The agent `{source.node_id}` can now hand off to `{target.node_id}`."

    def _add_tool(self, intent: intents.AddTool) -> str:
        node = self._node(intent.who)
        what = _plain(intent.name) or "look up"
        tool = self._free(variable(what))
        self.draft.add_tool(node, tool, f"{what[0].upper()}{what[1:]}.")
        return f"The agent `{node.node_id}` has a new tool `{tool}`, which does nothing yet."

    def _node(self, who: str) -> Node:
        name = _plain(who)
        if name.lower() not in _PRONOUNS:
            if node := self._find(name):
                self._subject = self._subject or node.node_id
                return node
            raise CannotEdit(f"There is no agent `{name}`. {self._known()}")
        nodes = self.draft.workflow.nodes
        subject = self._subject or (nodes[0].node_id if len(nodes) == 1 else "")
        if node := self.draft.workflow.node(subject):
            return node
        raise CannotEdit(f"I do not know which agent you mean. {self._known()}")

    def _known(self) -> str:
        names = ", ".join(f"`{node.node_id}`" for node in self.draft.workflow.nodes)
        return f"The agents are: {names}." if names else "There are no agents yet."

    def _find(self, name: str) -> Node | None:
        wanted = {name.casefold(), variable(name)}
        for node in self.draft.workflow.nodes:
            if wanted & {node.node_id, node.node_id.casefold(), node.name.casefold()}:
                return node
        return None

    def _free(self, name: str) -> str:
        candidates = (name, f"{name}_agent", *(f"{name}_{n}" for n in range(2, 10_000)))
        return next(item for item in candidates if not self.draft.is_taken(item))

    def _last_subject(self, said: list[str]) -> str | None:
        known = {node.node_id: node.node_id for node in self.draft.workflow.nodes}
        known |= {node.name.casefold(): node.node_id for node in self.draft.workflow.nodes}
        for text in reversed(said):
            quoted = re.findall(r"`([^`\n]{1,80})`", text)
            for word in (*quoted, *re.findall(r"\w+", text[:2000].casefold())):
                if word in known:
                    return known[word]
        return None


def _plain(text: str) -> str:
    text = " ".join(text.split()).strip(_EDGES)
    while found := _ARTICLES.match(text):
        text = text[found.end() :]
    text = _AGENT.sub("", text) if text.lower() not in ("agent", "agents") else "agent"
    return text[:_LONGEST_NAME].strip(_EDGES)


def _task(name: str) -> str:
    for word, task in _TASKS.items():
        if word in name.lower():
            return task
    return "Help the person, and say so when you cannot."
