"""What a process sets for itself when it starts."""

import subprocess
import sys
from pathlib import Path

from tests.services import ROOT

RAISE = """
import resource
from shared.process import allow_open_files

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


def test_nobody_else_reads_what_a_process_writes_or_finds(tmp_path: Path) -> None:
    begin = "from pathlib import Path; from shared.process import keep_files_private; "
    write = "keep_files_private(Path('{0}')); Path('{0}/new').touch(); Path('{0}/folder').mkdir()"
    (tmp_path / "sessions").mkdir()
    for name in ("vibecoder.db", "vibecoder.db-wal", "service.lock", "of-somebody-else"):
        (tmp_path / name).touch()
    for path in tmp_path.iterdir():
        path.chmod(0o777)
    command = f'umask 000 && exec {sys.executable} -c "{begin}{write.format(tmp_path)}"'
    subprocess.run(["bash", "-c", command], check=True, cwd=ROOT)
    readable = {path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o077}
    assert readable == {"of-somebody-else"}
