"""The limits and the rights of a process, set once when it starts."""

import os
import resource
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE

_WANTED = 10_000
_OTHERS = 0o077


def allow_open_files() -> None:
    """Raise the limit that a shell sets at first: each client and each session has one or more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def keep_files_private(data_dir: Path) -> None:
    """Close the files that the process writes to other users, whatever the umask was.

    The data folder holds prompts, hashes of keys and secrets of webhooks. Files that
    a process with another umask left are closed as well; the folder may belong to another user.
    """
    os.umask(_OTHERS)
    for path in (*data_dir.glob("*.db*"), data_dir / "sessions", data_dir / "service.lock"):
        with suppress(FileNotFoundError, PermissionError):
            if (mode := path.stat().st_mode) & _OTHERS:
                path.chmod(S_IMODE(mode) & ~_OTHERS)
