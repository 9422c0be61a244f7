"""What must hold after any fault, read from the database and from what clients were told.

Each check yields a sentence for each violation; an empty list is the proof.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any
from uuid import UUID

from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from shared.tables import (
    UNFINISHED,
    Attempt,
    AttemptOutcome,
    Base,
    Item,
    Message,
    MessageResponse,
    MessageStatus,
    ModelCall,
    Project,
    Revision,
    VibeSession,
    Worker,
)
from tests.faults.client import Sent
from tests.faults.diffs import apply_unified


@dataclass(frozen=True)
class Record:
    """All rows of a database at one moment."""

    projects: dict[UUID, Project]
    revisions: list[Revision]
    sessions: dict[UUID, VibeSession]
    messages: dict[UUID, Message]
    items: list[Item]
    responses: set[UUID]
    attempts: list[Attempt]
    calls: list[ModelCall]
    workers: dict[UUID, Worker]

    def attempts_of(self, message_id: UUID) -> list[Attempt]:
        """List a message's attempts in their order."""
        return self._attempts.get(message_id, [])

    def items_of(self, session_id: UUID, generation: int) -> list[Item]:
        """List what a conversation remembers, in its order."""
        return self._items.get((session_id, generation), [])

    @cached_property
    def _attempts(self) -> dict[UUID, list[Attempt]]:
        found: dict[UUID, list[Attempt]] = defaultdict(list)
        for attempt in sorted(self.attempts, key=lambda attempt: attempt.number):
            found[attempt.message_id].append(attempt)
        return found

    @cached_property
    def _items(self) -> dict[tuple[UUID, int], list[Item]]:
        found: dict[tuple[UUID, int], list[Item]] = defaultdict(list)
        for item in sorted(self.items, key=lambda item: item.position):
            found[item.session_id, item.generation].append(item)
        return found

    def history(self, message_id: UUID) -> str:
        """Tell all that is known of a message: enough to find the cause of a violation."""
        rows: list[Base] = [self.messages[message_id], *self.attempts_of(message_id)]
        rows += [call for call in self.calls if call.message_id == message_id]
        rows += [item for item in self.items if item.message_id == message_id]
        return "\n".join(f"  {type(row).__name__}: {_columns(row)}" for row in rows)


def _columns(row: Base) -> dict[str, Any]:
    loaded = vars(row)
    return {name.key: loaded[name.key] for name in row.__table__.columns if name.key in loaded}


def read_record(url: str) -> Record:
    """Read everything in one snapshot."""
    driver = url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(driver, poolclass=NullPool, isolation_level="SERIALIZABLE")
    with Session(engine, expire_on_commit=False) as db:
        record = Record(
            projects={row.id: row for row in db.scalars(select(Project))},
            revisions=list(db.scalars(select(Revision))),
            sessions={row.id: row for row in db.scalars(select(VibeSession))},
            messages={row.id: row for row in db.scalars(select(Message))},
            items=list(db.scalars(select(Item))),
            responses=set(db.scalars(select(MessageResponse.message_id))),
            attempts=list(db.scalars(select(Attempt))),
            calls=list(db.scalars(select(ModelCall))),
            workers={row.id: row for row in db.scalars(select(Worker))},
        )
        db.expunge_all()
    engine.dispose()
    return record


def violations(record: Record, sent: Sequence[Sent] = (), *, all_ended: bool = True) -> list[str]:
    """List what does not hold; `all_ended=False` while messages may still be under way."""
    found = [
        *(_not_ended(record) if all_ended else ()),
        *_two_at_once(record),
        *_wrong_conversations(record),
        *_wrong_revisions(record),
        *_wrong_attempts(record),
        *_wrong_responses(record),
        *_wrong_answers(record, sent),
    ]
    return [f"{sentence}\n{record.history(about)}" for about, sentence in found]


Violation = tuple[UUID, str]


def _not_ended(record: Record) -> Iterator[Violation]:
    for message in record.messages.values():
        if message.status in UNFINISHED:
            yield message.id, f"message {message.id} did not end: it is {message.status}"


def _two_at_once(record: Record) -> Iterator[Violation]:
    """One message of a session runs at a time, and it is the first that has not ended."""
    for _, messages in _by_session(record.messages.values()):
        unfinished = [message for message in messages if message.status in UNFINISHED]
        for message in unfinished[1:]:
            if message.status == MessageStatus.IN_PROGRESS:
                yield message.id, f"message {message.id} runs before its turn"


def _by_session(messages: Iterable[Message]) -> Iterator[tuple[UUID, list[Message]]]:
    ordered = sorted(messages, key=lambda message: (message.session_id, message.seq))
    for session_id, found in groupby(ordered, key=lambda message: message.session_id):
        yield session_id, list(found)


def _wrong_conversations(record: Record) -> Iterator[Violation]:
    """Each completed message stands once in its conversation, whole, and in order of acceptance."""
    for session_id, messages in _by_session(record.messages.values()):
        for generation in {message.generation for message in messages}:
            own = [message for message in messages if message.generation == generation]
            yield from _wrong_conversation(record, session_id, generation, own)
        yield from _wrong_counters(record, record.sessions[session_id], messages[-1].id)


def _wrong_conversation(
    record: Record, session_id: UUID, generation: int, messages: list[Message]
) -> Iterator[Violation]:
    items = record.items_of(session_id, generation)
    if [item.position for item in items] != list(range(len(items))):
        yield messages[-1].id, f"session {session_id}: positions have holes or doubles"
    blocks = [(writer, list(own)) for writer, own in groupby(items, key=lambda i: i.message_id)]
    completed = [m.id for m in messages if m.status == MessageStatus.COMPLETED]
    if [writer for writer, _ in blocks] != completed:
        remembered = [str(writer) for writer, _ in blocks]
        sentence = f"session {session_id} remembers {remembered}, completed were {completed}"
        yield messages[-1].id, sentence
    for writer, own in blocks:
        prompts = [item.item["content"] for item in own if item.item.get("role") == "user"]
        if prompts != [record.messages[writer].content]:
            yield writer, f"message {writer} is remembered with the prompts {prompts}"


def _wrong_counters(record: Record, session: VibeSession, about: UUID) -> Iterator[Violation]:
    items = record.items_of(session.id, session.generation)
    last = items[-1].message_id if items else None
    if (session.item_count, session.last_message_id) != (len(items), last):
        yield about, f"session {session.id} counts {session.item_count} items, not {len(items)}"


def _wrong_revisions(record: Record) -> Iterator[Violation]:
    """Revisions have no holes; each is the one before with its diff applied."""
    for project in record.projects.values():
        own = sorted(
            (r for r in record.revisions if r.project_id == project.id), key=lambda r: r.number
        )
        about = next((r.message_id for r in reversed(own) if r.message_id), None)
        for sentence in _wrong_chain(project, own):
            yield about or _any_message(record, project), sentence
    made = {r.message_id: r for r in record.revisions if r.message_id}
    for message in record.messages.values():
        revision = made.get(message.id)
        expected = (revision.number, revision.diff) if revision else (None, "")
        if (message.revision, message.diff) != expected:
            yield message.id, f"message {message.id} and the revision that it made disagree"
        if revision and message.status != MessageStatus.COMPLETED:
            yield message.id, f"message {message.id} is {message.status} and changed the code"
    for message_id, count in Counter(r.message_id for r in record.revisions).items():
        if message_id and count > 1:
            yield message_id, f"message {message_id} made {count} revisions"


def _any_message(record: Record, project: Project) -> UUID:
    return next(m.id for m in record.messages.values() if m.project_id == project.id)


def _wrong_chain(project: Project, revisions: list[Revision]) -> Iterator[str]:
    if [r.number for r in revisions] != list(range(1, project.revision + 1)):
        yield f"project {project.id} has the revisions {[r.number for r in revisions]}"
        return
    if revisions[-1].code != project.code:
        yield f"project {project.id} has other code than its newest revision"
    for before, after in pairwise(revisions):
        if apply_unified(before.code, after.diff) != after.code:
            yield f"project {project.id}: revision {after.number} is not what its diff makes"


def _wrong_attempts(record: Record) -> Iterator[Violation]:
    """Attempts are numbered without holes, all ended, and agree with their message."""
    for message in record.messages.values():
        attempts = record.attempts_of(message.id)
        outcomes = Counter(attempt.outcome for attempt in attempts)
        if [attempt.number for attempt in attempts] != list(range(1, message.attempt + 1)):
            yield message.id, f"message {message.id}: attempts have holes"
        running = message.status == MessageStatus.IN_PROGRESS
        for attempt in attempts[:-1] if running else attempts:
            if attempt.ended_at is None or attempt.outcome is None:
                yield message.id, f"message {message.id}: attempt {attempt.number} did not end"
        completed = int(message.status == MessageStatus.COMPLETED)
        if outcomes[AttemptOutcome.COMPLETED] != completed or (
            completed and attempts[-1].outcome != AttemptOutcome.COMPLETED
        ):
            yield message.id, f"message {message.id} is {message.status}, attempts: {outcomes}"
        counted = (outcomes[AttemptOutcome.LOST], outcomes[AttemptOutcome.CONFLICT])
        if counted != (message.lost_count, message.conflict_count):
            yield message.id, f"message {message.id}: losses or conflicts are counted wrongly"


def _wrong_responses(record: Record) -> Iterator[Violation]:
    """The full response and the reply are there when the message completed, and only then."""
    for message in record.messages.values():
        completed = message.status == MessageStatus.COMPLETED
        if completed != (message.id in record.responses):
            yield message.id, f"message {message.id}, {message.status}: wrong full response"
        if completed != (message.reply is not None):
            yield message.id, f"message {message.id}, {message.status}: reply {message.reply!r}"
        failed = message.status in (MessageStatus.FAILED, MessageStatus.CANCELLED)
        if failed != (message.error is not None):
            yield message.id, f"message {message.id}, {message.status}: error {message.error}"


def _wrong_answers(record: Record, sent: Sequence[Sent]) -> Iterator[Violation]:
    """A key is one message, which is stored, and whoever got its end got the stored one."""
    for one in sent:
        ids = [UUID(message_id) for message_id in sorted(one.message_ids)]
        for missing in (message_id for message_id in ids if message_id not in record.messages):
            raise AssertionError(f"message {missing} was accepted and is not stored: {one}")
        if len(ids) > 1:
            yield ids[0], f"the key {one.key} was answered with the messages {ids}"
        for answer in one.answers:
            if answer.final and answer.message_id:
                message = record.messages[UUID(answer.message_id)]
                if _told(answer.status, answer.body) != _stored(message):
                    yield message.id, f"message {message.id} was told as {answer}"
    stored = Counter((m.session_id, m.content) for m in record.messages.values())
    posted = Counter((UUID(one.session_id), one.prompt) for one in sent)
    for one in sent:
        if stored[place := (UUID(one.session_id), one.prompt)] > posted[place]:
            message_id = next(m.id for m in record.messages.values() if m.content == one.prompt)
            yield message_id, f"the prompt {one.prompt!r} was stored more often than sent"


def _told(status: int, body: dict[str, Any]) -> tuple[Any, ...]:
    if status == 200:
        return body["status"], body["reply"], body["diff"], body["revision"]
    return "ended", body["code"], body["detail"]


def _stored(message: Message) -> tuple[Any, ...]:
    if message.status == MessageStatus.COMPLETED:
        return message.status, message.reply, message.diff, message.revision
    error = message.error or {}
    return "ended", error.get("code"), error.get("detail")
