"""What the instructions show of the SDK works with the SDK that is installed."""

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from agents import Agent, Runner

from worker.agent.instructions import write_briefing

TEXT = write_briefing(code="", node_id=None, project_instructions="")
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SHOWN = (
    "@function_tool",
    "input_type=",
    ".as_tool(",
    "@input_guardrail",
    "output_type=",
    "ModelSettings(",
    "MCPServerStdio(",
    "HostedMCPTool(",
    "RunContextWrapper[Customer]",
    "Runner.run(",
)
"""The ten things that people ask for most."""


def test_the_ten_things_that_people_ask_for_most_are_shown() -> None:
    assert not [part for part in SHOWN if not any(part in snippet for snippet in SNIPPETS)]


def test_what_is_shown_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one module, up to the call of a model or of a server."""
    names: dict[str, object] = {"__name__": "workflow"}
    for snippet in SNIPPETS:
        exec(compile(snippet, "workflow.py", "exec"), names)
    agents = {name: agent for name, agent in names.items() if isinstance(agent, Agent)}
    assert {agent.name for agent in agents.values()} == set(agents)
    assert [type(item).__name__ for item in agents["triage"].handoffs] == ["Agent", "Handoff"]
    asked: list[object] = []

    async def run(agent: object, *_args: object, **_options: object) -> object:
        asked.append(agent)
        raise LookupError

    monkeypatch.setattr(Runner, "run", run)
    main = names["main"]
    assert callable(main)
    with pytest.raises(LookupError):
        asyncio.run(main())
    assert asked == [agents["host"]]


def test_what_is_shown_fits_the_types_of_the_sdk(tmp_path: Path) -> None:
    checker = shutil.which("ty", path=Path(sys.executable).parent)
    assert checker, "ty is a dependency"
    module = tmp_path / "workflow.py"
    module.write_text("\n".join(SNIPPETS))
    command = [checker, "check", "--python", sys.prefix, str(module)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_constant_part_comes_first_and_stays_short() -> None:
    other = write_briefing(code="x = 1\n", node_id="triage", project_instructions="Be brief.")
    constant = TEXT[: TEXT.index("===== workflow.py =====")]
    assert other.startswith(constant.rstrip())
    assert len(constant) < 8_000


def test_the_rules_of_both_edit_tools_are_told() -> None:
    for part in (
        "apply_patch",
        "replace_text",
        "exactly once",
        "go to the end",
        '"rest unchanged"',
    ):
        assert part in TEXT
