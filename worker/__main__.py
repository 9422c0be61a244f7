"""`python -m worker`: a worker process, without what only Celery's own command line needs."""

import sys

from worker.app import app


def main() -> None:
    """Work until SIGINT or SIGTERM.

    `celery -A worker.app worker` does the same. It takes 9 MB more, for a shell that it would not
    open, and workers that watch each other, which nobody needs: their leases say who lives.
    """
    worker = app.Worker(without_gossip=True, without_mingle=True, quiet=True)
    worker.start()
    sys.exit(worker.exitcode)


if __name__ == "__main__":
    main()
