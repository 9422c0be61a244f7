"""Statements that are compiled once and run by the driver itself.

SQLAlchemy builds them and knows their types. Its own way from there to rows takes twice as long as
the driver and the database together, and a message takes more than a dozen of them.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

from sqlalchemy import CTE, ColumnElement, Executable, bindparam, column, select, true, values
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.sql.compiler import SQLCompiler

Process = Callable[[Any], Any]
Values = dict[str, Any]
Step = tuple["Prepared", Values]
"""A statement and its values, to be run later."""
_PARAMETER = re.compile(r"%\((\w+)\)s")
_MOST_JOINED = 200
_SIZES = (64, 16, 4, 2, 1)
_IS_FENCED: ColumnElement[bool] = column("EXISTS (SELECT 1 FROM fence)", is_literal=True)


class Prepared:
    """A statement, or what makes it for a dialect, compiled once for each set of parameters.

    Raises what SQLAlchemy raises: `DBAPIError`, and `StatementError` for values that do not fit.
    """

    def __init__(self, statement: Executable | Callable[[str], Executable]) -> None:
        self._statement = statement
        self._plans: dict[tuple[str, ...], _Plan] = {}

    async def all(self, db: "Db", values: Values) -> list[Any]:
        """Run it in the transaction of `db`; return the rows, with columns as attributes."""
        driver = await _driver_of(db)
        return await driver.fetch(self.plan(driver.dialect, values), values)

    async def first(self, db: "Db", values: Values) -> Any | None:
        """Run it and return the first row; None: there is none."""
        rows = await self.all(db, values)
        return rows[0] if rows else None

    def plan(self, dialect: Dialect, values: Values) -> "_Plan":
        """Compile it for these parameters, once."""
        key = (dialect.name, *values)
        plan = self._plans.get(key)
        if plan is None:
            made = self._statement
            statement = made if isinstance(made, Executable) else made(dialect.name)
            plan = self._plans[key] = _plan(statement, dialect, values)
        return plan


class PreparedRows:
    """A statement about rows, which it is given as a table: so many cost few round trips.

    It is compiled for some numbers of rows, and takes as many at once as it can. Columns of any
    table say the names and types of the rows' values.
    """

    def __init__(self, columns: Iterable[Any], make: Callable[[CTE, str], Executable]) -> None:
        self._columns = [column(str(of.key), of.type) for of in columns]
        self._sizes = {size: Prepared(partial(self._made, make, size)) for size in _SIZES}

    async def all(self, db: AsyncSession, rows: Sequence[Values], **others: Any) -> list[Any]:
        """Run it in the transaction of `db` for all rows; return all that it returns."""
        found: list[Any] = []
        for statement, given in self.steps(rows):
            found += await statement.all(db, given | others)
        return found

    def steps(self, rows: Sequence[Values]) -> list[Step]:
        """Give what runs it for all rows."""
        steps: list[Step] = []
        rest = list(rows)
        while rest:
            size = next(size for size in _SIZES if size <= len(rest))
            given, rest = rest[:size], rest[size:]
            named = {_name(key, n): row[key] for n, row in enumerate(given) for key in row}
            steps.append((self._sizes[size], named))
        return steps

    def _made(self, make: Callable[[CTE, str], Executable], size: int, dialect: str) -> Executable:
        rows = [
            tuple(bindparam(_name(of.name, n), type_=of.type) for of in self._columns)
            for n in range(size)
        ]
        return make(values(*self._columns, name="given").data(rows).cte("given"), dialect)


def _name(key: str, row: int) -> str:
    return f"{key}_of_{row}"


def insert_rows(table: Any, insert: Callable[[Any, str], Any]) -> PreparedRows:
    """Make the step that inserts rows, which say every column of a table."""
    columns = list(table.__table__.columns)

    def make(given: CTE, dialect: str) -> Executable:
        # SQLite would take a conflict's ON for a join's, were there no WHERE
        given_rows = select(given).where(is_fenced(dialect))
        made: Executable = insert(table, dialect).from_select(columns, given_rows)
        return made

    return PreparedRows(columns, make)


def is_fenced(dialect: str) -> ColumnElement[bool]:
    """Say in a step of `together` that its fence lets it through."""
    return true() if dialect == "sqlite" else _IS_FENCED


async def together(db: "Db", steps: Sequence[Step], *, fence: Step | None = None) -> bool:
    """Run steps that do not need each other, on PostgreSQL as one statement: in one round trip.

    There each sees what was before all of them, so no two may change the same row. A fence, only
    there, is a statement whose rows let all others through; the answer tells whether it did.
    """
    driver = await _driver_of(db)
    if driver.dialect.name == "sqlite":
        for statement, given in steps:
            await statement.all(db, given)
        return True
    all_steps = [fence or _OPEN, *steps]
    key = tuple((statement, *given) for statement, given in all_steps)
    plan = _JOINED.get(key)
    if plan is None:
        if len(_JOINED) >= _MOST_JOINED:
            _JOINED.clear()
        plan = _JOINED[key] = _joined([one.plan(driver.dialect, given) for one, given in all_steps])
    return bool(await driver.fetch(plan, _merged(given for _, given in all_steps)))


@dataclass(frozen=True)
class _Plan:
    sql: str
    fixed: Values
    binders: Mapping[str, Process]
    places: list[str] | None
    row: Process
    answers: bool
    """With rows: the driver would have to describe them, to tell."""
    prepare: bool | None = True
    """By the server: at once, or (None) when it has come a few times."""

    def bind(self, values: Values) -> dict[str, Any] | list[Any]:
        """Give the driver's form of the parameters: by name, or in the order of their places."""
        bound = {**self.fixed, **values}
        for name, binder in self.binders.items():
            bound[name] = binder(bound[name])
        return bound if self.places is None else [bound[name] for name in self.places]


def _plan(statement: Any, dialect: Dialect, values: Values) -> _Plan:
    compiled: SQLCompiler = statement.compile(
        dialect=dialect,
        column_keys=list(values),
        compile_kwargs={"render_postcompile": True},
    )
    defaults: dict[str, Any] = {
        column.key: cast("Any", column.default).arg for column in compiled.insert_prefetch
    }
    binders = {
        name: binder
        for bind, name in compiled.bind_names.items()
        if (binder := bind.type.dialect_impl(dialect).bind_processor(dialect))
    }
    params = compiled.construct_params({**defaults, **values})
    columns = list(getattr(statement, "exported_columns", ()))
    return _Plan(
        sql=str(compiled),
        fixed={name: value for name, value in params.items() if name not in values},
        binders=binders,
        places=compiled.positiontup,
        row=_row(columns, dialect),
        answers=bool(columns),
    )


_JOINED: dict[tuple[Any, ...], _Plan] = {}
_OPEN: Step = (Prepared(select(column("1", is_literal=True).label("passed"))), {})


def _joined(plans: Sequence[_Plan]) -> _Plan:
    """Make one statement of several, each with a prefix to the names of its parameters."""
    parts = [_PARAMETER.sub(rf"%(s{n}_\1)s", plan.sql) for n, plan in enumerate(plans)]
    steps = "".join(f", s{n} AS ({part})" for n, part in enumerate(parts[1:]))
    return _Plan(
        sql=f"WITH fence AS ({parts[0]}){steps} SELECT 1 FROM fence",  # noqa: S608 -- all our own
        fixed=_merged(plan.fixed for plan in plans),
        binders=_merged(plan.binders for plan in plans),
        places=None,
        row=tuple,
        answers=True,
        prepare=None,  # of many shapes, most of them rare
    )


def _merged(named: Iterable[Mapping[str, Any]]) -> Values:
    return {f"s{n}_{name}": value for n, one in enumerate(named) for name, value in one.items()}


def _row(columns: Sequence[Any], dialect: Dialect) -> Process:
    make = cast("Any", NamedTuple)("Row", [(column.key, Any) for column in columns])._make
    processors = [
        (place, processor)
        for place, column in enumerate(columns)
        if dialect.name == "sqlite"  # psycopg gives Python's types itself
        if (processor := column.type.dialect_impl(dialect).result_processor(dialect, None))
    ]

    def row(found: Sequence[Any]) -> Any:
        cells = list(found)
        for place, processor in processors:
            cells[place] = processor(cells[place])
        return make(cells)

    return row if processors else cast("Process", make)


class Driver:
    """The driver's connection, which runs plans; under a session of SQLAlchemy, or without one."""

    def __init__(self, connection: AsyncConnection, raw: Any) -> None:
        self.dialect = connection.dialect
        self._connection = connection
        self._raw = raw

    async def fetch(self, plan: _Plan, values: Values) -> list[Any]:
        """Run a plan; return its rows."""
        try:
            bound = plan.bind(values)
            if self.dialect.name == "sqlite":
                return [plan.row(row) for row in await self._raw.execute_fetchall(plan.sql, bound)]
            cursor = await self._raw.execute(plan.sql, bound, prepare=plan.prepare)
            return [plan.row(row) for row in await cursor.fetchall()] if plan.answers else []
        except Exception as error:
            raise await self._told(plan.sql, error) from error

    async def _told(self, sql: str, error: Exception) -> BaseException:
        """Say it as SQLAlchemy would, and let it see for itself when the connection broke.

        Then it takes this one out of the pool, and all others: they were made before.
        """
        dbapi: Any = self.dialect.loaded_dbapi
        broken = self.dialect.is_disconnect(cast("Any", error), self._raw, None)
        if broken:
            with suppress(DBAPIError):
                await self._connection.exec_driver_sql("SELECT 1")
        return DBAPIError.instance(
            sql,
            None,
            error,
            dbapi.Error,
            hide_parameters=True,
            connection_invalidated=broken,
            dialect=self.dialect,
        )

    @property
    def is_idle(self) -> bool:
        """Tell whether PostgreSQL's connection is whole and in no transaction: for the next one."""
        return not self._raw.closed and self._raw.info.transaction_status == 0

    async def close(self) -> None:
        """Close the connection, whatever is left of it."""
        await self._connection.invalidate()
        await self._connection.close()


Db = AsyncSession | Driver
"""What a prepared statement runs on: a session of SQLAlchemy, or the bare connection."""


async def driver_on(connection: AsyncConnection) -> Driver:
    """Make what runs plans on a connection of SQLAlchemy."""
    raw = (await connection.get_raw_connection()).driver_connection
    return Driver(connection, raw)


async def _driver_of(db: Db) -> Driver:
    if isinstance(db, Driver):
        return db
    found: Driver | None = db.info.get("driver")
    if found is None:
        found = db.info["driver"] = await driver_on(await db.connection())
    return found
