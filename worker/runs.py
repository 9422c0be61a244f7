"""The runs of this process: which attempts are under way, and how one is stopped from outside."""

import asyncio
from collections.abc import Coroutine, Iterable
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from shared.store.transitions import Claim, LeaseLost

T = TypeVar("T")
RunKey = tuple[UUID, int]
"""A message and its attempt."""


class StopReason(Enum):
    """Why a run is stopped from outside."""

    LOST = "the message ended or went to another worker"
    RELEASED = "this worker stops"


class Released(Exception):
    """The run was stopped so that another worker can begin it again."""


class RunCancelledItself(Exception):
    """The run ended as cancelled and nobody had asked for it: an error like any other."""


class Runs:
    """What runs on one event loop; `keys` may be read from any thread."""

    def __init__(self) -> None:
        self._tasks: dict[RunKey, asyncio.Task[Any]] = {}
        self._reasons: dict[RunKey, StopReason] = {}
        self.closed = False

    def keys(self) -> frozenset[RunKey]:
        """Copy which attempts this process knows to be its own."""
        return frozenset(list(self._tasks))  # a list first: it copies in one step

    async def run(self, claim: Claim, work: Coroutine[Any, Any, T]) -> T:
        """Await the work of a claim, until it is stopped.

        Raises:
            LeaseLost, Released: it was stopped.
        """
        key = (claim.message_id, claim.attempt)
        task = asyncio.create_task(work)
        self._tasks[key] = task
        if self.closed:  # since the claim
            self.stop([key], StopReason.RELEASED)
        try:
            return await task
        except (Exception, asyncio.CancelledError) as error:
            # whatever the run made of being cancelled
            match self._reasons.get(key):
                case StopReason.LOST:
                    discard_traceback(error)
                    raise LeaseLost from None
                case StopReason.RELEASED:
                    discard_traceback(error)
                    raise Released from None
                case None if isinstance(error, asyncio.CancelledError) and not _cancelled():
                    raise RunCancelledItself from error
                case None:
                    raise
        finally:
            del task  # it keeps the exception, whose traceback keeps this frame

    def forget(self, claim: Claim) -> None:
        """Remove an attempt whose end is in the database."""
        key = (claim.message_id, claim.attempt)
        self._tasks.pop(key, None)
        self._reasons.pop(key, None)

    def stop(self, keys: Iterable[RunKey], reason: StopReason) -> None:
        """Stop those of the attempts that still run; one that is being committed goes on."""
        for key in keys:
            task = self._tasks.get(key)
            if task is not None and not task.done():
                self._reasons[key] = reason
                task.cancel()

    def close(self) -> None:
        """Release every run; a message that is enqueued from now on is for another worker."""
        self.closed = True
        self.stop(self.keys(), StopReason.RELEASED)


def discard_traceback(error: BaseException | None) -> None:
    """Cut a run's exception, which nobody will log any more, from the frames it passed.

    They know the task that keeps the exception: a cycle around all that the run knew. With a
    thousand items that was a megabyte, until Python's collector came by.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
