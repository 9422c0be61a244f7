"""What VibeCoder can look up in the installed Agents SDK, and what it cannot."""

import sys

import pytest

from worker.agent.reference import sdk_reference


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "Agent",
            ["class agents.Agent(name, ", "  handoffs: list[Agent[Any] | Handoff", "as_tool("],
        ),
        ("agents.Agent", ["class agents.Agent(name, "]),
        ("Agent.as_tool", ["agents.Agent.as_tool(self, tool_name: str | None"]),
        (
            "Agent.instructions",
            ["agents.Agent.instructions:", "-- The instructions for the agent."],
        ),
        (
            "ModelSettings",
            ["class agents.ModelSettings(temperature=...", "  max_tokens: int | None"],
        ),
        ("function_tool", ["agents.function_tool(func", "name_override"]),
        ("handoff()", ["agents.handoff(agent: Agent", "Create a handoff from an agent."]),
        ("Runner.run", ["async agents.Runner.run(", "max_turns: int | None = 10"]),
        ("agents.realtime.RealtimeAgent", ["class agents.realtime.RealtimeAgent("]),
        ("mcp.MCPServerStdio", ["class agents.mcp.MCPServerStdio(", "params"]),
        ("realtime", ["agents.realtime:", "RealtimeAgent"]),
        ("`WebSearchTool`", ["class agents.WebSearchTool("]),
        ("extensions.handoff_filters.remove_all_tools", ["HandoffInputData"]),
    ],
)
def test_a_public_name_is_described(name: str, parts: list[str]) -> None:
    text = sdk_reference(name)
    assert not [part for part in parts if part not in text], text[:2000]


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("Agnt", "Did you mean Agent"),
        ("WebSearch", "WebSearchTool"),
        ("as_tool", "Did you mean Agent.as_tool"),
        ("RealtimeAgent", "realtime.RealtimeAgent"),
        ("ModelSettings.temprature", "ModelSettings.temperature"),
    ],
)
def test_on_a_miss_near_names_are_suggested(name: str, suggested: str) -> None:
    text = sdk_reference(name)
    assert text.startswith(f"The installed Agents SDK has no public name `{name}`.")
    assert suggested in text


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "agents.sys",
        "agents.logging.os",
        "Agent.__init__.__globals__",
        "Agent.__subclasses__",
        "Agent._abc_impl",
        "realtime.asyncio",
        "antigravity",
        "",
        ".",
        "..",
        "Agent..name",
        "x" * 100_000,
        "a." * 10_000,
        "half \ud83d",
        "nul \0",
    ],
)
def test_nothing_but_public_names_of_the_sdk_is_reached(name: str) -> None:
    known = set(sys.modules)
    text = sdk_reference(name)
    assert text.startswith("The installed Agents SDK has no public name `")
    assert text.encode()
    assert "antigravity" not in set(sys.modules) - known


def test_what_is_long_is_cut() -> None:
    for name in ("RunConfig", "Agent", "realtime", "Agent.as_tool", "sandbox"):
        assert len(sdk_reference(name)) <= 6_020


def test_no_addresses_of_this_process_are_told() -> None:
    assert " at 0x" not in sdk_reference("Agent.as_tool") + sdk_reference("function_tool")
