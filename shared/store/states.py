"""States of messages in SQL, as constants: the partial indexes are for these very words.

With parameters in their place PostgreSQL may keep a plan that fits any word, and reads the table.
"""

from sqlalchemy import ColumnElement, literal_column

from shared.tables import UNFINISHED, Message, MessageStatus


def is_queued(message: type[Message] = Message) -> ColumnElement[bool]:
    """Say that a message waits."""
    return message.status == _constant(MessageStatus.QUEUED)


def is_running(message: type[Message] = Message) -> ColumnElement[bool]:
    """Say that an attempt at a message is under way."""
    return message.status == _constant(MessageStatus.IN_PROGRESS)


def is_unfinished(message: type[Message] = Message) -> ColumnElement[bool]:
    """Say that something will still become of a message."""
    return message.status.in_([_constant(status) for status in UNFINISHED])


def _constant(status: MessageStatus) -> ColumnElement[str]:
    return literal_column(f"'{status}'")
