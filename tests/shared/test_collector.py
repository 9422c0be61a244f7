"""The collector of reference cycles."""

import subprocess
import sys

from tests.services import ROOT

LEAVE_CYCLES = """
import gc
from shared.collector import collect_rarely

class Node:
    living = 0
    def __init__(self):
        self.me = self
        Node.living += 1
    def __del__(self):
        Node.living -= 1

collect_rarely()
for _ in range(100_000):
    Node()
print(gc.get_freeze_count() > 1_000, Node.living < 20_000)
"""


def test_what_is_loaded_is_left_alone_and_new_cycles_are_still_freed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVE_CYCLES], check=True, capture_output=True, cwd=ROOT
    )
    assert done.stdout.split() == [b"True", b"True"]
