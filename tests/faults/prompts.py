"""Prompts for the stub model, each unlike any other: what it shall do stands in them."""

import json
from uuid import uuid4

from shared.workflow.text import EMPTY_WORKFLOW
from tests.canaries import PROMPT


def prompt(*directives: str) -> str:
    """Write a prompt that no other test uses."""
    return " ".join([f"{PROMPT} {uuid4().hex}", *(f"[[{directive}]]" for directive in directives)])


def add_agent(name: str) -> str:
    """Let the model write a module with one agent in the place of what is there."""
    lines = ["from agents import Agent", "", f'{name} = Agent(name="{name}")']
    return _patch(["*** Add File: workflow.py", *(f"+{line}" for line in lines)])


def insert_agent(name: str) -> str:
    """Let the model add an agent below the imports of whatever is there."""
    last = EMPTY_WORKFLOW.rstrip("\n").split("\n")[-1]
    return _patch([f" {last}", "+", f'+{name} = Agent(name="{name}")'])


def _patch(lines: list[str]) -> str:
    return f"tool apply_patch {json.dumps({'patch': chr(10).join(lines)})}"
