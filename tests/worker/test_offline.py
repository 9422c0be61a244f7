"""Conversations with the offline model, through the real agent, tools and memory."""

# ruff: noqa: SIM905 - the words of the properties read better as one text

import json
from typing import Any

import pytest
from agents import ModelSettings, ModelTracing, SQLiteSession
from hypothesis import given
from hypothesis import strategies as st

from shared.settings import Settings
from shared.workflow.check import compiled
from shared.workflow.checker import CodeChecker
from shared.workflow.model import Edge, Workflow
from shared.workflow.text import EMPTY_WORKFLOW, unified_diff
from tests.worker.editing import close_checkers, make_editor, shared_checker  # noqa: F401 -- a fixture
from worker.agent.instructions import write_briefing
from worker.agent.patch import apply_patch
from worker.agent.source import Source
from worker.agent.vibecoder import run_vibecoder
from worker.offline.model import OfflineModel, patch_between
from worker.offline.plan import HELP, Change, make_plan


class Conversation:
    """One project, with a global session and sessions of nodes."""

    def __init__(self, checker: CodeChecker, code: str = EMPTY_WORKFLOW) -> None:
        self.checker = checker
        self.code = code
        self.memories: dict[str | None, SQLiteSession] = {}
        self.diff = ""

    async def say(self, prompt: str, node_id: str | None = None) -> str:
        editor = make_editor(self.code, node_id)
        result = await run_vibecoder(
            prompt=prompt,
            editor=editor,
            project_instructions="",
            memory=self.memories.setdefault(node_id, SQLiteSession(str(node_id))),
            model=OfflineModel(self.checker, owner=""),
            trace_id="trace_" + "0" * 32,
            settings=Settings(),
        )
        self.diff = unified_diff(self.code, editor.code)
        self.code = editor.code
        return str(result.final_output)

    def instructions(self, node_id: str) -> str:
        node = workflow_of(self.code).node(node_id)
        assert node is not None
        return node.instructions or ""


def workflow_of(code: str) -> Workflow:
    return compiled(code).workflow


@pytest.fixture
def checker() -> CodeChecker:
    return shared_checker()


@pytest.fixture
def talk(checker: CodeChecker) -> Conversation:
    return Conversation(checker)


async def test_the_conversation_of_the_first_ten_minutes(talk: Conversation) -> None:
    assert await talk.say("Create a triage agent") == "Created the agent `triage`."
    assert "Spanish" in await talk.say("Make it Spanish")
    assert talk.instructions("triage").endswith("Always answer in Spanish.")
    await talk.say("Add a billing agent and let triage hand off to it")
    assert workflow_of(talk.code).edges == (Edge("triage", "billing"),)

    about = await talk.say("What does this workflow do?")
    assert "agent triage" in about
    assert talk.diff == ""

    refused = await talk.say("Rename the billing agent", node_id="triage")
    assert (
        "only for the agent `triage`: it changes, moves or removes the agent `billing`" in refused
    )
    assert refused.endswith("Nothing was changed.")
    assert talk.diff == ""

    agents: dict[str, Any] = {}
    exec(talk.code, agents)
    assert agents["triage"].name == "triage"
    assert agents["triage"].handoffs == [agents["billing"]]


async def test_every_kind_of_request_is_understood(talk: Conversation) -> None:
    await talk.say("Please create a refund agent, a sales agent and a triage agent")
    await talk.say("Let triage hand off to sales and let sales hand off to triage")
    assert set(workflow_of(talk.code).edges) == {
        Edge("triage", "sales"),
        Edge("sales", "triage"),
    }
    await talk.say("Rename sales to shop")
    assert Edge("triage", "shop") in workflow_of(talk.code).edges
    await talk.say("Tell the shop agent to be brief and polite")
    assert talk.instructions("shop").endswith("Be brief and polite.")
    await talk.say("make triage answer in German")
    await talk.say("make triage answer in French")
    assert talk.instructions("triage").endswith("agent that can help. Always answer in French.")
    await talk.say("Give triage a tool to look up orders")
    assert [tool.name for tool in workflow_of(talk.code).tools] == ["look_up_orders"]
    await talk.say("Remove the shop agent")
    assert workflow_of(talk.code).edges == ()
    assert await talk.say("hello") == HELP


async def test_a_node_session_changes_its_own_agent(talk: Conversation) -> None:
    await talk.say("Create agent", node_id="billing")
    assert talk.instructions("billing")
    await talk.say("Add Spanish", node_id="billing")
    await talk.say("Give it a tool to send invoices", node_id="billing")
    await talk.say("Rename it to Front desk", node_id="billing")
    node = workflow_of(talk.code).node("billing")
    assert node is not None
    assert (node.name, node.tools) == ("Front desk", ("send_invoices",))


async def test_what_cannot_be_done_is_said_and_changes_nothing(talk: Conversation) -> None:
    await talk.say("Create a triage agent")
    assert "Say the new name" in await talk.say("Rename the triage agent")
    assert "There is already" in await talk.say("Create a triage agent")
    assert "There is no agent `sales`" in await talk.say("Remove the sales agent")
    assert talk.diff == ""
    broken = Conversation(talk.checker, "def (")
    assert "line 1: invalid syntax" in await broken.say("Create a triage agent")


async def test_an_agent_inside_a_function_gets_instructions_and_tools_and_stays_there(
    checker: CodeChecker,
) -> None:
    talk = Conversation(
        checker,
        "from agents import Agent\n\nasync def main():\n"
        '    desk = Agent(name="desk", instructions="Help.")\n    return desk\n',
    )
    await talk.say("Tell desk to be brief")
    await talk.say("Give desk a tool to look up orders")
    [node] = workflow_of(talk.code).nodes
    assert (node.scope, node.instructions, node.tools) == (
        "main",
        "Help. Be brief.",
        ("look_up_orders",),
    )
    said = await talk.say("Rename desk to front")
    assert "stands inside `main`; I only know agents of the top level" in said


async def test_renaming_keeps_instructions_that_are_too_long_to_be_shown(
    checker: CodeChecker,
) -> None:
    about = "desk. " * 2_000
    talk = Conversation(
        checker, f'from agents import Agent\n\ndesk = Agent(name="desk", instructions="{about}")\n'
    )
    await talk.say("Rename desk to front")
    assert talk.code.count("front. ") == 2_000


async def test_any_name_becomes_a_safe_variable(checker: CodeChecker) -> None:
    for prompt, node_id in (
        ('Create a "); import os" agent', "import_os"),
        ("Create a class agent", "class_agent"),
        ("Create a print agent", "print_agent"),
        ("Create a Légal & Co agent", "legal_co"),
        ("Create a 日本 agent", "assistant"),
        ("Create an agent called 9 lives", "agent_9_lives"),
        ("Create an Agent agent", "assistant"),
        ("Create agent", "assistant"),
    ):
        talk = Conversation(checker)
        await talk.say(prompt)
        assert [node.node_id for node in workflow_of(talk.code).nodes] == [node_id], prompt


WORDS = st.sampled_from(
    "create add a an the agent agents triage billing rename remove to it make Spanish let hand off "
    "and then tool give tell be brief \" ' \\ ; ( ) { } \n ` \0 🙂 é called named named that "
    "should what does , . called None class Agent function_tool from import =".split(" ")
)
PROMPTS = st.one_of(
    st.text(max_size=100),
    st.lists(WORDS, max_size=15).map(" ".join),
    st.text(max_size=40).map(lambda name: f"Create a {name} agent"),
    st.text(max_size=40).map(lambda name: f"Rename it to {name}"),
    st.text(max_size=40).map(lambda text: f"Tell it to {text}"),
    st.text(max_size=40).map(lambda text: f"Give it a tool to {text}"),
)


@given(st.lists(PROMPTS, max_size=6), st.sampled_from([None, "triage"]))
def test_no_prompt_makes_it_raise_or_write_wrong_code(
    prompts: list[str], node_id: str | None
) -> None:
    code = EMPTY_WORKFLOW + '\ntriage = Agent(name="triage")\n'
    for prompt in prompts:
        plan = make_plan(prompt, code=code, node_id=node_id, said=prompts)
        if isinstance(plan, Change):
            compiled(plan.code)
            patch = patch_between(code, plan.code)
            made = code if patch is None else apply_patch(Source.read(code), patch).text
            assert patch is None or made.split() == plan.code.split()
            code = plan.code


async def _events(checker: CodeChecker, prompt: str) -> list[Any]:
    stream = OfflineModel(checker, owner="").stream_response(
        write_briefing(code=EMPTY_WORKFLOW, node_id=None, project_instructions=""),
        [{"role": "user", "content": prompt}],
        ModelSettings(),
        [],
        None,
        [],
        ModelTracing.DISABLED,
        previous_response_id=None,
        conversation_id=None,
        prompt=None,
    )
    return [event async for event in stream]


async def test_a_streamed_answer_comes_in_several_pieces(checker: CodeChecker) -> None:
    events = await _events(checker, "hello")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) > 1
    assert "".join(pieces) == HELP
    assert events[-1].response.usage.output_tokens > 10


async def test_a_streamed_call_has_a_call_id_of_its_own(checker: CodeChecker) -> None:
    calls = [(await _events(checker, "Create agent"))[-1].response.output[0] for _ in range(2)]
    assert calls[0].call_id != calls[1].call_id
    assert calls[0].arguments == calls[1].arguments
    assert "assistant = Agent(" in json.loads(calls[0].arguments)["patch"]
