"""Every pattern takes time in proportion to the text, whatever text a stranger sends."""

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Callable, Iterator

import pytest

import api
import shared
import worker

SHORT, LONG = 300, 2_400
MOST_GROWTH = 24  # of eight times the text: a quadratic pattern takes 64 times as long
SHORTEST_S = 0.0002  # below it nothing is worth a comparison
PUMPS = [*" \n\t\"'\\,;:=-_`#*{[(<>|.@/0a", " a", '\\"', "a,", ". ", "\n\n"]
SEARCHES = r"\b{}\.(?:search|sub|split|findall|finditer)\b"


def compiled() -> Iterator[tuple[str, Callable[[str], object], str]]:
    """Yield for each pattern its name, the method that our code applies, and its source."""
    for package in (api, worker, shared):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__") or ".migrations" in found.name:
                continue
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                for item in value if isinstance(value, tuple) else (value,):
                    if isinstance(item, re.Pattern) and isinstance(item.pattern, str):
                        searches = re.search(SEARCHES.format(name), inspect.getsource(module))
                        apply = item.search if searches else item.match
                        yield f"{module.__name__}.{name}", apply, item.pattern


def seconds(apply: Callable[[str], object], text: str) -> float:
    def once() -> float:
        began = time.process_time()
        apply(text)
        return time.process_time() - began

    return min(once(), once())


def grows(apply: Callable[[str], object], pattern: str) -> str | None:
    """Return the text at which a pattern takes much longer than its length says."""
    begins = re.findall(r"[A-Za-z]{3,}", re.sub(r"\(\?P<\w+>", "", pattern))[:3]
    for begin in ("", *(f"{word} " for word in begins)):
        for pump in PUMPS:
            short, long = (begin + pump * (size // len(pump)) + "\0" for size in (SHORT, LONG))
            most = MOST_GROWTH * max(seconds(apply, short), SHORTEST_S)
            if seconds(apply, long) > most and min(seconds(apply, long) for _ in range(3)) > most:
                return f"{begin}{pump} ..."
    return None


def test_no_pattern_takes_longer_than_in_proportion(subtests: pytest.Subtests) -> None:
    for name, apply, pattern in compiled():
        with subtests.test(name):
            assert grows(apply, pattern) is None
