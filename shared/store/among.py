"""Rows by many ids, as one parameter: thousands take longer to write and to read than to find."""

import json
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Dialect, String, TypeDecorator, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute
from typing_extensions import override


def is_among(ids: InstrumentedAttribute[UUID], name: str, dialect: str) -> ColumnElement[bool]:
    """Say in SQL that an id is one of those in the parameter of that name."""
    if dialect == "sqlite":
        given = func.json_each(bindparam(name, type_=_AsJson())).table_valued("value")
        return ids.in_(select(given.c.value))
    return ids == func.any(bindparam(name, type_=ARRAY(Uuid())))


class _AsJson(TypeDecorator[Sequence[UUID]]):
    impl = String
    cache_ok = True

    @override
    def process_bind_param(self, value: Sequence[UUID] | None, dialect: Dialect) -> str:
        return json.dumps([of.hex for of in value or ()])  # as SQLAlchemy stores them
