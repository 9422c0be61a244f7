"""What makes two requests with the same Idempotency-Key the same request: a hash of each."""

import hashlib
import json

_HALF = 32


def fingerprint(prompt: str, *options: object) -> str:
    """Hash the options and the prompt, apart: a prompt that is changed changes its half only."""
    return _hash(json.dumps(options)) + _hash(prompt)


def with_prompt(known: str, prompt: str) -> str:
    """Return the hash of the same options with another prompt."""
    return known[:_HALF] + _hash(prompt)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HALF]
