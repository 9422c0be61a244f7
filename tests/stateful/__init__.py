"""Properties of the whole service, tried with input and histories that nobody chose."""

from typing import Any

from hypothesis import settings


def fewer(**others: Any) -> settings:
    """Try a fifth of what a property without a service tries: each example asks one over HTTP."""
    return settings(max_examples=settings.default.max_examples // 5, **others)  # type: ignore[union-attr]
