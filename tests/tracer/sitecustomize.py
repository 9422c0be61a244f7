"""Note which modules of the service a process runs while a file exists.

Python imports this module at the start of a process whose PYTHONPATH names the folder. While
`VIBECODER_TEST_TRACE` exists the process notes the modules of all its threads; afterwards it writes
their names to `VIBECODER_TEST_TRACE.PID`, a line each.
"""

import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType

_ROOT = str(Path(__file__).resolve().parents[2])
_OURS = tuple(f"{_ROOT}/{top}/" for top in ("api", "worker", "shared"))
_seen: set[str] = set()
_noting = threading.Event()


def _note(frame: FrameType, event: str, _argument: object) -> None:
    if event == "call" and _noting.is_set() and frame.f_code.co_filename.startswith(_OURS):
        _seen.add(frame.f_code.co_filename)


def _watch(trace: Path) -> None:
    report = Path(f"{trace}.{os.getpid()}")
    while not trace.exists():
        time.sleep(0.01)
    _noting.set()
    report.with_suffix(f"{report.suffix}.begun").touch()
    while trace.exists():
        time.sleep(0.01)
    _noting.clear()
    part = report.with_suffix(f"{report.suffix}.part")
    part.write_text("".join(f"{file.removeprefix(_ROOT)[1:]}\n" for file in sorted(_seen)))
    part.rename(report)


if "VIBECODER_TEST_TRACE" in os.environ:
    trace = Path(os.environ["VIBECODER_TEST_TRACE"])
    threading.Thread(target=_watch, args=(trace,), daemon=True, name="tracer").start()
    threading.setprofile(_note)
    sys.setprofile(_note)
