"""Canary secrets in prompts, keys and the model's answers: no log may hold one.

tests/conftest.py looks for them in every log of every service that a run starts, and in what each
test's own process logs; tests/api/document.py in every problem.
"""

import re
from collections.abc import Iterable
from pathlib import Path

PROMPT = "planted-prompt-5b1c3c0a"
MODEL_BODY = "planted-model-body-93c21f0b"
MODEL_KEY = "sk-planted-7e7d1c64"

_TOLD = re.compile(
    rf"{PROMPT}|{MODEL_BODY}|{MODEL_KEY}|sk-stub|vck_[0-9a-f]{{16}}_[0-9a-f]{{64}}"
    r"|whsec_[0-9A-Za-z+/]{43}="
)


def leaks(text: str) -> list[str]:
    """Return the lines in which a secret stands."""
    return [line[:500] for line in text.splitlines() if _TOLD.search(line)]


def leaks_of(logs: Iterable[Path]) -> list[str]:
    """Return the lines of these logs in which a secret stands."""
    return [
        f"{log.name}: {line}"
        for log in sorted(logs)
        if log.exists()
        for line in leaks(log.read_text(errors="replace"))
    ]
