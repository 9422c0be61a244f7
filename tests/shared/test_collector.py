"""The collector of reference cycles."""

import subprocess
import sys

from tests.services import ROOT

BEGIN = """
import gc, time
from shared import collector

class Node:
    living = 0
    def __init__(self):
        self.me = self
        Node.living += 1
    def __del__(self):
        Node.living -= 1

def until_freed():
    end = time.monotonic() + 5
    while Node.living and time.monotonic() < end:
        time.sleep(0.01)
    print(Node.living)
"""

LEAVE_MANY = """
collector.tune_gc()
for _ in range(100_000):
    Node()
print(gc.get_freeze_count() > 1_000, Node.living < 20_000)
"""

LEAVE_ONE = """
collector._BRIEF_S = 0.05
collector.tune_gc()
Node()
until_freed()
"""

LEAVE_AN_OLD_ONE = """
collector._BRIEF_S, collector._BRIEF_LOOKS = 0.05, 4
collector.tune_gc()
node = Node()
gc.collect(0), gc.collect(1)
del node
until_freed()
"""


def printed(leave: str) -> list[bytes]:
    command = [sys.executable, "-c", BEGIN + leave]
    return subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout.split()


def test_what_is_loaded_is_left_alone_and_many_new_cycles_are_freed_at_once() -> None:
    assert printed(LEAVE_MANY) == [b"True", b"True"]


def test_a_cycle_is_freed_soon_where_few_are_left() -> None:
    assert printed(LEAVE_ONE) == [b"0"]


def test_a_cycle_of_what_lived_long_is_freed_too() -> None:
    assert printed(LEAVE_AN_OLD_ONE) == [b"0"]
