"""The limit of open files."""

import subprocess
import sys

from tests.services import ROOT

RAISE = """
import resource
from shared.descriptors import allow_open_files

allow_open_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def limits(before: str) -> list[int]:
    """Set soft and hard limit as a shell does, raise them, and say what they are then."""
    soft, hard = before.split()
    command = f"ulimit -Sn {soft} && ulimit -Hn {hard} && exec {sys.executable} -c '{RAISE}'"
    done = subprocess.run(["bash", "-c", command], check=True, capture_output=True, cwd=ROOT)
    return [int(number) for number in done.stdout.split()]


def test_a_low_limit_is_raised_as_far_as_that_is_allowed() -> None:
    assert limits("256 20000") == [10_000, 20_000]
    assert limits("256 4096") == [4096, 4096]


def test_a_high_limit_stays() -> None:
    assert limits("15000 20000") == [15_000, 20_000]
