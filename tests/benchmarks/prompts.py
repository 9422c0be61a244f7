"""What is said in the benchmarks, and what the stub must answer to it."""

from typing import Any

CODE = """from agents import Agent

billing = Agent(
    name="billing",
    instructions="Answer questions about invoices.",
)
triage = Agent(
    name="triage",
    instructions="Find out what the customer wants.",
    handoffs=[billing],
)
"""
"""The project's code in every benchmark."""

PROMPT = "What does this workflow do?"
ENDLESS_PROMPT = "[[hang]] What does this workflow do?"
"""The same over a model that never answers."""

TOOL_PROMPT = "[[tool outline {}]] What does this workflow do?"
"""The same with one call of a tool."""

_SAID = " ".join(f"word{number}" for number in range(60))
LONG_PROMPT = f"[[delay 0.7]] [[say {_SAID}]]"
"""A reply of 60 words that comes as a whole after 0.7 s."""

STREAMED_PROMPT = f"[[pace 0.01]] [[say {_SAID}]]"
"""The same as a stream, from a model that writes as fast: a word at a time, in 0.7 s."""


def slow_prompt(model_s: float) -> str:
    """Return the same over a model that takes so long."""
    return f"[[delay {model_s:g}]] {PROMPT}"


def echo(prompt: str, *, remembered: int) -> str:
    """Return what the stub says when the model was given the whole history and the prompt."""
    if prompt in (LONG_PROMPT, STREAMED_PROMPT):
        return _SAID
    asked = remembered + 1
    if prompt == TOOL_PROMPT:
        asked += 2  # the call and its output
    return f"echo {asked}: {prompt}"


def growth(prompt: str) -> int:
    """Return how many items one message adds: prompt and reply, with a tool its two as well."""
    return 4 if prompt == TOOL_PROMPT else 2


def history(items: int) -> list[dict[str, Any]]:
    """Make up a history of so many items, as the SDK stores them."""
    return [_said(n) if n % 2 else {"role": "user", "content": PROMPT} for n in range(items)]


def _said(number: int) -> dict[str, Any]:
    text = "It sorts out what a customer wants and hands invoices over to billing."
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {
        "id": f"msg_{number:032x}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
