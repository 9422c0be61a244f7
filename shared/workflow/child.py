"""The program of a child process that reads and checks code: a JSON line in, a JSON line out.

`CodeChecker` starts it. It has nothing of the service's environment, descriptors and memory; what
hostile code does to a parser or a compiler ends with this process.
"""

import importlib
import json
import os
import resource
import shutil
import signal
import traceback
from contextlib import suppress
from pathlib import Path

from shared.errors import InvalidWorkflow

MEMORY = 300_000_000
"""Bytes that the child may allocate, and again each program that it starts.

The longest modules of people take 50 MB in each. A limit of the address space alone would do for
Python; a program that reserves more of it than it uses fails at some such limits, and not at lower.
"""
CPU_S = 10
"""Seconds of CPU time of one job, without the programs that it starts."""
LONGEST_RESULT = 8_000_000
TOO_COSTLY = "the module takes too much memory or time to check"
_LARGEST_FILE = 8_000_000
_OPEN_FILES = 64
_MUCH_MEMORY = 100_000_000


def main(folder: str, cpu_s: int) -> None:
    """Do jobs until the parent closes the pipe or ends; then remove the private folder."""
    # a service manager may signal all processes of a service: the parent decides when these end
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for which, value in (
        (resource.RLIMIT_DATA, MEMORY),
        (resource.RLIMIT_AS, 4 * MEMORY),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # the system has no such limit, or a lower one
            resource.setrlimit(which, (value, value))
    with suppress(BrokenPipeError):
        _serve(cpu_s)
    shutil.rmtree(folder, ignore_errors=True)


def _serve(cpu_s: int) -> None:
    with open(0, "rb") as jobs, open(1, "wb") as results:
        results.write(b"{}\n")  # ready
        results.flush()
        for job in jobs:
            _allow_cpu_s(cpu_s)
            kind, value = _do(job)
            # memory that was needed once is not all given back: after much of it a new child
            last = _memory() > _MUCH_MEMORY
            results.write(f'{{"last": {json.dumps(last)}, "{kind}": {value}}}\n'.encode())
            results.flush()
            if last:
                return


def _do(job: bytes) -> tuple[str, str]:
    """Return the kind of the result and the result as JSON."""
    try:
        asked = json.loads(job)
        module, _, name = asked["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        result = json.dumps(function(**asked["arguments"]))
    except InvalidWorkflow as error:
        return "invalid", json.dumps({"detail": error.detail, **error.extra})
    except (MemoryError, RecursionError):
        return "invalid", json.dumps({"detail": TOO_COSTLY})
    except Exception:  # noqa: BLE001 -- whatever it is, the parent raises it
        return "failed", json.dumps(traceback.format_exc(limit=-8))
    if len(result) > LONGEST_RESULT:
        return "invalid", json.dumps({"detail": TOO_COSTLY})
    return "result", result


def _allow_cpu_s(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + 1 + seconds
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (until, hard))


def _memory() -> int:
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
