"""Points at which a fault test kills this process; without the setting none does anything."""

import os
import signal

_enabled = ""


def enable(name: str) -> None:
    """Choose the point at which this process dies; empty: none."""
    global _enabled  # noqa: PLW0603 -- a process dies once
    _enabled = name


def hit(name: str) -> None:
    """Pass a point, or die there as by `kill -9`."""
    if name == _enabled:
        os.kill(os.getpid(), signal.SIGKILL)
