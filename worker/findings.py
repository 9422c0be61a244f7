"""What can be wrong with a session's rows: each rule looks at one thing."""

from collections.abc import Iterator
from itertools import groupby, pairwise
from uuid import UUID

from shared.checks import Finding
from shared.errors import FailureCode
from shared.store.checks import SessionSnapshot
from shared.tables import UNFINISHED, Attempt, AttemptOutcome, Message, MessageStatus
from worker.memory.history import irregularities

_FORK = "Fork the last message before it: POST /messages/{id}/fork, and go on there."
_RECORD = "Nothing has to be done: only the record of what was tried is not whole."


def findings_of(rows: SessionSnapshot) -> list[Finding]:
    """List everything that is wrong with a session's rows."""
    return [finding for rule in _RULES for finding in rule(rows)]


def _positions(rows: SessionSnapshot) -> Iterator[Finding]:
    places = [item.position for item in rows.items]
    lost = sorted(set(range(max(places, default=-1) + 1)) - set(places))
    if lost:
        yield Finding(
            "items_missing",
            f"{_many(len(lost), 'item')} between others {'is' if len(lost) == 1 else 'are'} "
            f"missing, the first at position {lost[0]}.",
            "POST /sessions/{id}/repair closes the gap; what was in it is lost to the model. "
            "To go on without the loss fork a message before it.",
        )


def _counters(rows: SessionSnapshot) -> Iterator[Finding]:
    session = rows.session
    if session.item_count != len(rows.items):
        yield Finding(
            "item_count_wrong",
            f"The session counts {_many(session.item_count, 'item')}, there "
            f"{'is' if len(rows.items) == 1 else 'are'} {len(rows.items)}.",
        )
    last = rows.items[-1].message_id if rows.items else None
    if session.last_message_id != last:
        yield Finding(
            "last_message_wrong",
            f"The session names message {session.last_message_id} as the last that is remembered; "
            f"the last item is of {last}.",
            message_id=last,
        )
    newest = max((message.seq for message in rows.messages), default=0)
    if session.next_seq <= newest:
        yield Finding(
            "next_seq_wrong",
            f"The session would give its next message number {session.next_seq}; there is one "
            f"with number {newest}, so that message cannot be accepted.",
        )


def _writers(rows: SessionSnapshot) -> Iterator[Finding]:
    """Compare whose items there are, and in which order, with the messages."""
    own = {message.id: message for message in rows.messages}
    writers = [writer for writer, _ in groupby(item.message_id for item in rows.items)]
    for number, writer in enumerate(writers):
        message = own.get(writer)
        if message is None:
            if not _inherited(rows, writers[: number + 1], own):
                yield Finding(
                    "item_of_nobody",
                    f"There are items of message {writer}, which is none of this session.",
                    _FORK,
                    repairable=False,
                    message_id=writer,
                )
        elif message.status != MessageStatus.COMPLETED:
            yield Finding(
                "item_of_unanswered",
                f"There are items of message {writer}, which is {message.status}.",
                _FORK,
                repairable=False,
                message_id=writer,
            )
    numbers = [own[writer].seq for writer in writers if writer in own]
    if any(after <= before for before, after in pairwise(numbers)):
        yield Finding(
            "items_out_of_order",
            "The items do not stand in the order of their messages.",
            "Clear the session (DELETE /sessions/{id}), or fork a message before the disorder.",
            repairable=False,
        )
    for message in rows.messages:
        here = message.generation == rows.session.generation
        if here and message.status == MessageStatus.COMPLETED and message.id not in set(writers):
            yield Finding(
                "message_forgotten",
                f"Message {message.id} was answered, but the model remembers nothing of it.",
                "Send its prompt again, or fork the last message before it.",
                repairable=False,
                message_id=message.id,
            )


def _inherited(rows: SessionSnapshot, writers: list[UUID], own: dict[UUID, Message]) -> bool:
    """Tell whether these are all of the session that this one is a fork of."""
    is_fork = rows.session.forked_from_message_id is not None
    return is_fork and rows.session.generation == 1 and not own.keys() & set(writers)


def _order(rows: SessionSnapshot) -> Iterator[Finding]:
    unfinished = [message for message in rows.messages if message.status in UNFINISHED]
    for message in unfinished[1:]:
        if message.status == MessageStatus.IN_PROGRESS:
            yield Finding(
                "out_of_turn",
                f"Message {message.id} is in progress before its turn.",
                "Cancel it: POST /messages/{id}/cancel.",
                repairable=False,
                message_id=message.id,
            )


def _attempts(rows: SessionSnapshot) -> Iterator[Finding]:
    numbers: dict[UUID, set[int]] = {}
    messages = {message.id: message for message in rows.messages}
    for attempt in rows.attempts:
        numbers.setdefault(attempt.message_id, set()).add(attempt.number)
        message = messages[attempt.message_id]
        newest = attempt.number == message.attempt
        completed = newest and message.status == MessageStatus.COMPLETED
        runs = newest and message.status == MessageStatus.IN_PROGRESS
        if not runs and (attempt.outcome is None or attempt.ended_at is None):
            yield _of_attempt("attempt_open", attempt, message)
        elif completed != (attempt.outcome == AttemptOutcome.COMPLETED):
            yield _of_attempt("attempt_outcome_wrong", attempt, message, repairable=completed)
    for message in rows.messages:
        if missing := set(range(1, message.attempt + 1)) - numbers.get(message.id, set()):
            yield Finding(
                "attempt_missing",
                f"Attempt {min(missing)} of message {message.id} is not recorded.",
                _RECORD,
                repairable=False,
                message_id=message.id,
            )


def _of_attempt(
    code: str, attempt: Attempt, message: Message, *, repairable: bool = True
) -> Finding:
    ended = f"ended as {attempt.outcome}" if attempt.outcome else "is not closed"
    return Finding(
        code,
        f"Attempt {attempt.number} of message {message.id} {ended}; "
        f"the message is {message.status}.",
        Finding.advice if repairable else _RECORD,
        repairable=repairable,
        message_id=message.id,
    )


def _records(rows: SessionSnapshot) -> Iterator[Finding]:
    for message in rows.messages:
        if message.status == MessageStatus.COMPLETED and message.id not in rows.answered:
            yield Finding(
                "response_missing",
                f"The full response of message {message.id} is missing; its reply is there.",
                _RECORD,
                repairable=False,
                message_id=message.id,
            )
        made = (message.id, message.revision)
        if message.revision is not None and made not in rows.revisions:
            yield Finding(
                "revision_missing",
                f"Message {message.id} made revision {message.revision}, which is not there.",
                "The project's code is as it is; a later revision can be restored.",
                repairable=False,
                message_id=message.id,
            )


def _history(rows: SessionSnapshot) -> Iterator[Finding]:
    """Look at the items as a model's server would."""
    found = irregularities([item.item for item in rows.items])
    counts = (
        (found.unanswered_calls, "call", "without output"),
        (found.outputs_without_call, "output", "without call"),
        (found.repeated_ids, "id", "of calls or items that repeat or are empty"),
        (found.malformed_calls, "call", "whose name or arguments no server would take"),
        (found.lost_reasoning, "piece", "of reasoning that nothing follows"),
    )
    if said := [f"{_many(count, noun)} {what}" for count, noun, what in counts if count]:
        yield Finding(
            "history_irregular",
            f"The model remembers {', '.join(said)}.",
            "Nothing has to be done: each request carries the items repaired.",
            repairable=False,
        )
    newest = max(rows.messages, key=lambda message: message.seq, default=None)
    why = (newest and newest.generation == rows.session.generation and newest.error) or {}
    if newest and why.get("code") == FailureCode.HISTORY_REJECTED:
        yield Finding(
            "history_rejected",
            f"Message {newest.id} failed: {why['detail']}",
            f"Name another model, or clear the session (DELETE /sessions/{{id}}). {_FORK}",
            repairable=False,
            message_id=newest.id,
        )


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_RULES = (_positions, _counters, _writers, _order, _attempts, _records, _history)
