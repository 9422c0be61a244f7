"""One attempt at a message: claim it, run VibeCoder, and commit everything or nothing."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from agents import RunResult
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.contextvars import bound_contextvars

from shared.database import DatabaseAway, until_done
from shared.errors import Failure, FailureCode
from shared.logging import get_logger
from shared.store import claims, records, traces, transitions
from shared.store.transitions import Claim, Ended, LeaseLost, Outcome, RevisionConflict
from shared.tables import AttemptOutcome
from shared.workflow.text import unified_diff
from worker import failpoints
from worker.agent.patch_text import PatchRejected
from worker.agent.rebase import RebaseConflict
from worker.agent.tools import WorkflowEditor
from worker.agent.vibecoder import run_vibecoder
from worker.budgets import budget_of
from worker.context import WorkerContext
from worker.failures import CodeConflict, failure_from, without_edits
from worker.memory.history import History
from worker.memory.session import SessionMemory
from worker.metrics import attempting
from worker.model.client import ModelCall, RecordingModel
from worker.responses import responses, tool_calls
from worker.runs import Released, discard_traceback

T = TypeVar("T")
_REPLAYS = 3
_CONFLICTS = 2
_DATABASE_AWAY_S = 60
_log = get_logger(__name__)


async def run_message(message_id: UUID, *, context: WorkerContext) -> None:
    """Answer a message, if it is its session's next and no other worker has it."""
    failpoints.hit("before_claim")
    if context.runs.closed:  # this worker stops: not even what it released may begin here again
        return
    try:
        claimed = await context.database.write(
            claims.claim,
            message_id,
            worker_id=context.worker_id,
            max_lost=context.settings.max_lost,
            run_limit_s=context.settings.run_limit_s,
            limit=context.settings.project_concurrency,
        )  # commit 2: claimed
    except DatabaseAway:
        _log.info("task dropped, the database is away", message_id=str(message_id))
        return
    while isinstance(claimed, Claim):
        with bound_contextvars(
            trace_id=claimed.trace_id,
            message_id=str(claimed.message_id),
            session_id=str(claimed.session_id),
            project_id=str(claimed.project_id),
            attempt=claimed.attempt,
        ):
            claimed = await _attempt(claimed, context)
    if isinstance(claimed, Ended):
        await context.announcer.announce(claimed)


async def _attempt(claim: Claim, context: WorkerContext) -> Claim | None:
    """Try once; return the next claim when another session's change asks for a new try."""
    attempt = _Attempt(claim, context)
    try:
        with attempting(claim):
            ended = await attempt.answer()
        if isinstance(ended, Ended):
            failpoints.hit("after_commit")
            await context.announcer.announce(ended)
            failpoints.hit("after_publish")
    finally:
        try:
            await attempt.close()
        finally:
            context.runs.forget(claim)  # last: a worker that stops waits for this
    return ended if isinstance(ended, Claim) else None


class _Attempt:
    """One attempt under way: its memory, its model's calls, its end."""

    def __init__(self, claim: Claim, context: WorkerContext) -> None:
        self._claim = claim
        self._context = context
        self._settings = context.settings
        self._memory: SessionMemory | None = None
        self._model: RecordingModel | None = None
        self._editor: WorkflowEditor | None = None
        self._outcome: AttemptOutcome | None = None
        self._record = context.recorder.begin(claim)
        self._events = self._record.events
        self._spans = self._record.spans

    async def answer(self) -> Ended | Claim | None:
        """Run and finish; of an attempt that was lost only the record of its calls is kept."""
        try:
            return await self._answer()
        except LeaseLost:
            _log.info("attempt dropped: the message ended or another worker has it")
            await self._keep_calls()
            return None

    async def _answer(self) -> Ended | Claim:
        try:
            outcome, editor = await self._context.runs.run(self._claim, self._run())
            return await self._complete(outcome, editor)
        except Released:
            _log.info("attempt released for another worker")
            return await self._finish(self._release)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, the message must end
            return await self._fail(error)

    async def close(self) -> None:
        """End the record of the attempt; bring the memory file up to date if it completed."""
        self._context.recorder.end(self._record, self._outcome)
        if self._memory is not None and self._outcome is AttemptOutcome.COMPLETED:
            await self._memory.sync_committed()

    async def _run(self) -> tuple[Outcome, WorkflowEditor]:
        """Run the agent; no transaction is open while the model talks."""
        claim, settings = self._claim, self._settings
        self._spans.collect()
        editor = self._editor = WorkflowEditor(
            claim.code,
            node_id=claim.node_id,
            code_limit=settings.code_limit,
            checker=self._context.checker,
            owner=claim.owner,
        )
        async with asyncio.timeout(settings.run_timeout_s):
            self._memory = await self._context.memories.open(claim)
            inner = self._context.models.get(claim.model, owner=claim.owner)
            history = History(self._memory.history, limit=settings.history_limit)
            if history.left_out:
                _log.info(
                    "the history is too long, its oldest messages stay out", items=history.left_out
                )
            budget = budget_of(claim, self._context.database, self._context.prices)
            self._model = RecordingModel(
                inner,
                name=claim.model,
                events=self._events,
                budget=budget,
                history=history,
                timeout_s=settings.model_timeout_s,
            )
            self._record.calls = self._model.calls
            result = await run_vibecoder(
                prompt=claim.prompt,
                editor=editor,
                project_instructions=claim.instructions,
                memory=self._memory,
                model=self._model,
                trace_id=claim.trace_id,
                settings=settings,
                events=self._events,
            )
        return self._made(result, self._memory, editor), editor

    def _made(self, result: RunResult, memory: SessionMemory, editor: WorkflowEditor) -> Outcome:
        return Outcome(
            reply=str(result.final_output),
            base_revision=self._claim.revision,
            code=editor.code,
            diff=unified_diff(self._claim.code, editor.code),
            items=[dict(item) for item in memory.added],
            responses=responses(self._calls),
            tool_calls=tool_calls(result.new_items),
        )

    async def _complete(self, outcome: Outcome, editor: WorkflowEditor) -> Ended | Claim:
        """Commit, on newer code too if the edits have their places there; else ask to run again."""
        try:
            for _ in range(_REPLAYS):
                try:
                    return await self._end(
                        AttemptOutcome.COMPLETED, functools.partial(self._commit, outcome)
                    )
                except RevisionConflict as moved:
                    outcome = await _rebased(outcome, editor, moved)  # outside of any transaction
        except (RebaseConflict, PatchRejected) as error:
            _log.info("the code changed meanwhile: running again", reason=str(error))
        if self._claim.conflict_count >= _CONFLICTS:
            raise CodeConflict
        return await self._finish(self._run_again)

    async def _fail(self, error: Exception) -> Ended:
        failure = without_edits(failure_from(error), self._editor.edits if self._editor else 0)
        unexpected = failure.code is FailureCode.INTERNAL
        _log.log(
            logging.ERROR if unexpected else logging.INFO,
            "message failed",
            code=failure.code,
            exc_info=error if unexpected else None,
        )
        discard_traceback(error)
        try:
            return await self._end_failed(failure, recorded=True)
        except StatementError:
            _log.exception("the record of the calls cannot be stored, ending without it")
            return await self._end_failed(failure, recorded=False)

    async def _end_failed(self, failure: Failure, *, recorded: bool) -> Ended:
        step = functools.partial(self._commit_failure, failure, recorded=recorded)
        return await self._end(AttemptOutcome.FAILED, step)

    async def _end(self, outcome: AttemptOutcome, step: Callable[[], Awaitable[Ended]]) -> Ended:
        """Finish with a step that ends the message, once, also if its acknowledgement is lost."""
        try:
            ended = await self._finish(step)
        except LeaseLost:
            if await self._finish(self._ended_as) is not outcome:
                raise
            ended = Ended(ids=(self._claim.message_id,))
        self._outcome = outcome
        if outcome is AttemptOutcome.COMPLETED:
            _log.info("message completed")
        return ended

    async def _finish(self, step: Callable[[], Awaitable[T]]) -> T:
        """Take a step, again and again while the database is away: the fence allows it."""
        return await until_done(step, limit_s=_DATABASE_AWAY_S)

    async def _commit(self, outcome: Outcome) -> Ended:
        failpoints.hit("before_commit")
        return await self._write(  # commit 3: done
            transitions.complete, self._claim, outcome, self._calls, **self._last()
        )

    async def _commit_failure(self, failure: Failure, *, recorded: bool) -> Ended:
        calls, last = (self._calls, self._last()) if recorded else ((), {})
        return await self._write(  # commit 3: done, in vain
            transitions.fail, self._claim, failure, calls, **last
        )

    async def _ended_as(self) -> AttemptOutcome | None:
        async with self._context.database.read() as db:
            return await transitions.ended_as(db, self._claim)

    async def _release(self) -> Ended:
        return await self._write(transitions.release, self._claim, self._calls, **self._last())

    async def _run_again(self) -> Claim:
        return await self._context.database.write(
            claims.run_again, self._claim, self._calls, **self._last()
        )

    async def _write(
        self, verb: Callable[..., Awaitable[Ended]], *args: Any, **named: Any
    ) -> Ended:
        limit = self._settings.project_concurrency
        return await self._context.database.write(verb, *args, limit=limit, **named)

    async def _keep_calls(self) -> None:
        try:
            await self._finish(self._record_calls)
        except (StatementError, DatabaseAway) as error:
            _log.info("the calls of a lost attempt are not recorded", error=type(error).__name__)

    async def _record_calls(self) -> None:
        await self._context.database.write(self._store_calls)

    async def _store_calls(self, db: AsyncSession) -> None:
        await records.record_calls(db, (self._claim, self._calls))
        await traces.keep(db, [self._spans.so_far()], ended=True)

    def _last(self) -> dict[str, Any]:
        """Return the events and spans that are stored with the attempt's end, however it ends."""
        return {"pending_events": self._events.batch(), "spans": self._spans.all()}

    @property
    def _calls(self) -> list[ModelCall]:
        return self._model.calls if self._model else []


async def _rebased(outcome: Outcome, editor: WorkflowEditor, moved: RevisionConflict) -> Outcome:
    """Carry the accepted edits to code that another session made."""
    code = await editor.rebased(moved.code)
    diff = unified_diff(moved.code, code)
    return replace(outcome, base_revision=moved.revision, code=code, diff=diff)
