"""A project's code becomes a program only where that makes sense."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.workflow.check import compiled
from shared.workflow.program import as_program
from shared.workflow.text import EMPTY_WORKFLOW

HEAD = "import asyncio\nfrom agents import Agent, Runner, run_demo_loop\n"
PAIR = 'b = Agent(name="b")\na = Agent(name="a", handoffs=[b])\n'


@pytest.mark.services
def test_a_program_talks_to_the_agent_that_nobody_hands_off_to(tmp_path: Path) -> None:
    code = as_program(f"from agents import Agent\n{PAIR}".rstrip())
    assert code.endswith("asyncio.run(run_demo_loop(a))\n")
    compiled(code)
    assert as_program(code) == code
    (tmp_path / "workflow.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "workflow.py"],
        check=False,
        cwd=tmp_path,
        input="exit\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "start"),
    [
        ('b = Agent(name="b")\na = Agent(name="a", tools=[b.as_tool("t", "")])\n', "a"),
        ('"""Run it as __main__."""\na = Agent(name="a")\n', "a"),
        ('a = Agent(name="a")\ndef go():\n    asyncio.run(run_demo_loop(a))\n', "a"),
        ('a = Agent(name="a")\nb = Agent(name="b", handoffs=[a])\na.handoffs = [b]\n', "a"),
        ('class Desk(Agent): ...\na = Desk(name="a")\n', "a"),
        ('añb = Agent(name="a")\n', "añb"),
    ],
)
def test_the_first_agent_is_started(code: str, start: str) -> None:
    assert as_program(HEAD + code).endswith(f"asyncio.run(run_demo_loop({start}))\n")


@pytest.mark.parametrize(
    "code",
    [
        "",
        PAIR + 'if __name__ == "__main__":\n    print(1)\n',
        PAIR + 'if "__main__" == __name__: print(1)\n',
        PAIR + "asyncio.run(Runner.run(a, 'hi'))\n",
        PAIR + "from asyncio import run as go\ngo(Runner.run(a, 'hi'))\n",
        PAIR + "try:\n    print(Runner.run_sync(a, 'hi'))\nexcept ValueError:\n    pass\n",
        'def make():\n    return Agent(name="a")\n',
        'b = Agent(name="b")\ndef main():\n    return Agent(name="a", handoffs=[b])\n',
        'from agents.realtime import RealtimeAgent\na = RealtimeAgent(name="a")\n',
        "from agents.realtime import RealtimeAgent as R\nclass D(R): ...\na = D(name='a')\n",
        'from agents.sandbox import SandboxAgent\na = SandboxAgent(name="a")\n',
    ],
)
def test_a_module_that_starts_itself_or_cannot_be_started_stays_as_it_is(code: str) -> None:
    assert as_program(HEAD + code) == HEAD + code


def test_the_end_has_the_line_ends_of_the_module() -> None:
    code = as_program((HEAD + PAIR).replace("\n", "\r\n"))
    assert code.count("\n") == code.count("\r\n") > 8
    compiled(code)


def test_without_an_agent_there_is_no_program() -> None:
    assert as_program(EMPTY_WORKFLOW) == EMPTY_WORKFLOW
