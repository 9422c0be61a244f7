"""What a check finds in a module, and what it lets pass."""

import sys
from pathlib import Path

import pytest

from shared.errors import InvalidWorkflow
from shared.workflow import typecheck
from shared.workflow.check import check, check_module
from shared.workflow.model import Diagnostic
from shared.workflow.sdk import exported_names

HEAD = """\
from agents import Agent, ModelSettings, Runner, function_tool, handoff

@function_tool
def look_up(order: str) -> str:
    return order

def plain(order: str) -> str:
    return order

billing = Agent(name="billing")
"""
LINE = HEAD.count("\n") + 1


def found(code: str) -> list[Diagnostic]:
    report, complete = check_module(HEAD + code)
    assert complete
    return list(report.diagnostics)


def errors(code: str) -> list[str]:
    return [f"{item.line - LINE + 1}: {item.message}" for item in found(code) if item.is_error]


def warnings(code: str) -> list[str]:
    return [f"{item.line - LINE + 1}: {item.message}" for item in found(code) if not item.is_error]


def test_what_fails_with_the_sdk_is_named_with_its_line() -> None:
    cases = {
        "Agent(name='a', temperature=0.2)": "`temperature` does not match any known parameter of",
        "Agent(name='a', instruction='x')": "`instruction` does not match any known parameter of",
        "Agent()": "No argument provided for required parameter `name` of",
        "Agent(name='a', handoffs=billing)": "`handoffs` must be a list, not `Agent[Any]`",
        "Agent(name='a', handoffs='billing')": "`handoffs` must be a list, not `Literal[",
        "Agent(name='a', tools=(look_up,))": "`tools` must be a list, not `tuple[",
        "Agent(name='a', tools=[look_up()])": "give the tool itself to the agent",
        "Agent(name='a', tools=[plain])": "`plain` is a function without `@function_tool`",
        "Agent(name='a', tools=[lambda x: x])": "a lambda is no tool",
        "Agent(name='a', tools=[billing])": "`billing` is an agent: add its `as_tool(...)`",
        "Agent(name='a', handoffs=[look_up])": "`look_up` is a tool, not an agent",
        "Agent(name='a', handoffs=['billing'])": '"billing" in `handoffs` is a text, not an agent',
        "Agent(name='a', handoffs=[plain])": "`plain` is a function, not an agent",
        "Agent(name=3)": "`name`: Expected `str`, found `Literal[3]`",
        "Agent(name='ä', instructions=1)": "`instructions`: Expected `str |",
        "handoff('billing')": "Expected `Agent[Any]`, found `Literal[",
        "billing.handoffs.append('x')": '"x" in `handoffs` is a text, not an agent',
        "billing.tools.append(plain)": "`plain` is a function without `@function_tool`",
        "billing.tools.extend([look_up, plain])": "`plain` is a function without `@function_tool`",
        "billing.handoffs = billing": "`handoffs` must be a list, not `Agent[Any]`",
        "billing.handoffs += ['x']": '"x" in `handoffs` is a text, not an agent',
        "billing.handof.append(billing)": "has no attribute `handof`",
        "billing.as_tool('x')": "required parameter `tool_description`",
        "ModelSettings(temprature=0)": "`temprature` does not match any known parameter of",
        "print(undefined)": "`undefined` is not defined",
        "print(later)": "`later` is not defined here, but only on line ",
        "plain(1, 2, 3)": "Too many positional arguments to function `plain`",
        "from agents import WebSearch": "no `WebSearch`; did you mean `WebSearchTool`?",
        "import agents; agents.WebSearch()": "`agents` has no `WebSearch`",
        "import agents as sdk; sdk.Agnt": "`agents` has no `Agnt`; did you mean `Agent`?",
        "from agents.mcp import MCPServerStdi": "did you mean `MCPServerStdio`?",
        "from agents.extensions.memory import Nothing": "has no `Nothing`",
        "from agents.extensions.handoff_prompt import NONE": "has no member `NONE`",
        "from agents.nothing import Agent": "the Agents SDK has no module `agents.nothing`",
    }
    said = errors("\n".join([*cases, "later = 1"]))
    assert len(said) == len(cases)
    for number, (case, text) in enumerate(cases.items(), start=1):
        assert said[number - 1].startswith(f"{number}: "), case
        assert text in said[number - 1]


def test_what_the_sdk_allows_is_allowed() -> None:
    code = """
from __future__ import annotations
import asyncio
import agents as sdk
from dataclasses import dataclass
from agents import (
    Agent, GuardrailFunctionOutput, ModelSettings, RunConfig, RunContextWrapper, Runner,
    SQLiteSession, WebSearchTool, function_tool, handoff, input_guardrail,
)
from agents.extensions.handoff_prompt import RECOMMENDED_PROMPT_PREFIX
from agents.mcp import MCPServerStdio
from agents.realtime import RealtimeAgent
from openai.types.shared import Reasoning
from pydantic import BaseModel
from pydantic_settings import BaseSettings

class Settings(BaseSettings):
    key: str

@dataclass
class Context:
    name: str = ""

class Answer(BaseModel):
    text: str

@function_tool(name_override="find")
async def look_up(context: RunContextWrapper[Context], order: str) -> str:
    return order

@function_tool
def pay(order: str) -> str:
    return order

@input_guardrail
async def guard(context, agent, input) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered=False)

def written(context: RunContextWrapper[Context], agent: Agent[Context]) -> str:
    return RECOMMENDED_PROMPT_PREFIX

def made() -> list[Agent]:
    return [a]

settings = Settings()
tools = [look_up, pay]
a = Agent(name="a", tools=tools, input_guardrails=[guard], output_type=Answer)
b = Agent[Context](name="b", instructions=written, tools=[look_up, WebSearchTool()])
team = [a, b]
c = Agent(name="c", handoffs=team, model_settings=ModelSettings(reasoning=Reasoning(effort="low")))
d = Agent(name="d", handoffs=[*team, handoff(c)] + made(), tools=[a.as_tool("x", "y")])
e = sdk.Agent("e", handoffs=made(), model_settings=ModelSettings(temperature=0.2))
f = e.clone(name="f", tools=tools + [pay])
g = RealtimeAgent(name="g", tools=[pay])
a.handoffs.append(c)
a.handoffs = team
a.tools += tools
arguments = {"name": "h"}
h = Agent(**arguments)

async def main(text: str = "hi") -> None:
    async with MCPServerStdio(params={"command": "x"}) as server:
        result = await Runner.run(
            Agent(name="i", mcp_servers=[server]), text,
            session=SQLiteSession("s"), run_config=RunConfig(tracing_disabled=True),
        )
    items = result.to_input_list() + [{"role": "user", "content": text}]
    result = await Runner.run(a, items, context=settings.key)
    print(result.final_output.anything, settings.key)

if __name__ == "__main__":
    asyncio.run(main())
"""
    report, complete = check_module(code)
    assert complete
    assert report.diagnostics == ()


def test_what_may_be_meant_is_a_warning() -> None:
    assert warnings(
        "import not_here\n"
        "from not_here.either import x\n"
        "from .tools import y\n"
        "from .. import z\n"
        "first = Agent(name='same')\n"
        "second = Agent(name='same')\n"
        "first = Agent(name='other')\n"
        "async def main():\n"
        "    Runner.run(first, 'hi')\n"
    ) == [
        "1: `not_here` is not installed here",
        "2: `not_here.either` is not installed here",
        "3: `.tools` is not here: a workflow is one module",
        "4: `..` is not here: a workflow is one module",
        '6: the name "same" is also the name of the agent on line 15',
        "7: `first` is already the agent of line 15",
        "9: Object of type `CoroutineType[Any, Any, RunResult]` is not awaited",
    ]


@pytest.mark.parametrize(
    "code",
    [
        "from not_here import *\nprint(what_it_may_have)",
        "globals()['made'] = 1\nprint(made)",
        "exec('made = 1')\nprint(made)",
        (
            "try:\n    from agents import WebSearch\nexcept ImportError:\n    WebSearch = None\n"
            "try:\n    from agents.nothing import x\nexcept ImportError:\n    x = None\n"
            "def own(a: int | None) -> str:\n    return a\nown('text')\nown(None).missing"
        ),
    ],
)
def test_what_nobody_can_know_is_no_error(code: str) -> None:
    assert errors(code) == []


def test_a_module_cannot_configure_its_check(tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("TOKEN: int = 'value'\n")
    head = f'# /// script\n# [tool.ty.environment]\n# extra-paths = ["{tmp_path}"]\n'
    rest = '# [tool.ty.rules]\n# all = "ignore"\n# ///\n'
    report, _ = check_module(f"{head}{rest}import secret\nprint(undefined)\n")
    assert [item.message for item in report.diagnostics] == [
        "`secret` is not installed here",
        "`undefined` is not defined",
    ]


@pytest.mark.parametrize(
    ("code", "python", "detail"),
    [
        (
            "x = 1\ntype Order = str\n",
            "3.11",
            "line 2: Cannot use `type` alias statement: that needs Python 3.12",
        ),
        (
            "match 1:\n    case 1: pass\n",
            "3.9",
            "line 1: Cannot use `match` statement: that needs Python 3.10",
        ),
    ],
)
def test_newer_syntax_is_refused_by_naming_the_version(code: str, python: str, detail: str) -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        check_module(code, python=python)
    assert caught.value.detail == f"{detail}, and workflows run on Python {python} here"
    assert caught.value.extra["errors"][0]["line"] == code.count("\n", 0, code.index("t")) + 1


def test_without_the_type_checker_a_check_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ty", None)
    made = check(HEAD + "from agents import WebSearch\nprint(undefined)\n")
    assert not made["complete"]
    assert [item["rule"] for item in made["diagnostics"]] == [
        "types-not-checked",
        "missing-module-member",
    ]
    with pytest.raises(InvalidWorkflow, match="line 1: invalid syntax"):
        check("type Order = str\n")


def test_without_a_folder_for_files_only_the_types_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full() -> None:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    report, complete = check_module(HEAD)
    assert not complete
    assert [item.rule for item in report.diagnostics] == ["types-not-checked"]


@pytest.mark.parametrize("body", ["sleep 60", "kill -SEGV $$", "echo '['; exit 2", "echo nonsense"])
def test_a_type_checker_that_fails_is_no_failure(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ty"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setattr("ty.find_ty_bin", lambda: str(program))
    monkeypatch.setattr(typecheck, "_LIMIT_S", 0.2)
    report, complete = check_module(HEAD)
    assert (complete, len(report.diagnostics)) == (body == "echo nonsense", int(not complete))


def test_a_list_of_problems_is_bounded() -> None:
    report, complete = check_module("".join(f"{'n' * 900}{n}\n" for n in range(2_000)))
    assert complete
    assert len(report.diagnostics) == 1_001
    assert report.diagnostics[-1].message == "there are 1000 more problems"
    assert max(len(item.message) for item in report.diagnostics) < 500


def test_the_names_of_the_sdk_are_those_that_it_has() -> None:
    import agents  # noqa: PLC0415 - 2.6 s, for this test alone

    known = exported_names("agents")
    assert known is not None
    assert set(agents.__all__) <= known
    assert {"SQLiteSession", "realtime", "mcp"} <= known
    assert "WebSearch" not in known
    assert exported_names("agents.realtime") is None
    assert exported_names("agents.nothing") is None
    assert exported_names("json") is None
