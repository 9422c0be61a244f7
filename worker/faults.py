"""Moments at which a fault test kills this process; nothing happens unless a setting names one."""

import os
import signal

_armed = ""


def arm(name: str) -> None:
    """Choose the moment at which this process dies; empty: none."""
    global _armed  # noqa: PLW0603 -- one process, one death
    _armed = name


def reach(name: str) -> None:
    """Pass a moment, or die there as by `kill -9`."""
    if name == _armed:
        os.kill(os.getpid(), signal.SIGKILL)
