"""How many files and connections a process may have open."""

import resource

_WANTED = 10_000


def allow_open_files() -> None:
    """Raise the limit that a shell sets at first: each client and each session has one or more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
