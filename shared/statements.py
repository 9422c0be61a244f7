"""Statements that are compiled once and run by the driver itself.

SQLAlchemy builds them and knows their types. Its own way from there to rows takes twice as long as
the driver and the database together, and a message takes a dozen of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from sqlalchemy import CTE, Executable, bindparam, column, select, true, values
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.sql.compiler import SQLCompiler

from shared.dialects import Dialect

Process = Callable[[Any], Any]
Values = dict[str, Any]
_SIZES = (64, 16, 4, 2, 1)


class CompiledStatement:
    """A statement, compiled once for each dialect and each set of parameters.

    It runs on the driver's connection of a `Database`'s session, in the session's transaction.
    Raises what SQLAlchemy raises: `DBAPIError`, and `StatementError` for values that do not fit.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._plans: dict[tuple[Any, ...], _Plan] = {}

    async def all(self, db: AsyncSession, values: Values) -> list[Any]:
        """Run it; return the rows, with columns as attributes."""
        driver: Driver = db.info["driver"]
        return await driver.fetch(self._plan(driver, values), values)

    async def first(self, db: AsyncSession, values: Values) -> Any | None:
        """Run it and return the first row; None: there is none."""
        rows = await self.all(db, values)
        return rows[0] if rows else None

    def _plan(self, driver: "Driver", values: Values) -> "_Plan":
        key = (driver.kind, *values)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = _plan(self._statement, driver, values)
        return plan


class CompiledRows:
    """A statement about rows, which it is given as a table: so many cost few round trips.

    It is compiled for some numbers of rows, and takes as many at once as it can. Columns of any
    table say the names and types of the rows' values.
    """

    def __init__(self, columns: Iterable[Any], make: Callable[[CTE], Executable]) -> None:
        self._columns = [column(str(of.key), of.type) for of in columns]
        self._sizes = {size: CompiledStatement(self._made(make, size)) for size in _SIZES}

    async def all(self, db: AsyncSession, rows: Sequence[Values], **others: Any) -> list[Any]:
        """Run it for all rows; return all that it returns."""
        found: list[Any] = []
        rest = list(rows)
        while rest:
            size = next(size for size in _SIZES if size <= len(rest))
            given, rest = rest[:size], rest[size:]
            named = {_name(key, n): row[key] for n, row in enumerate(given) for key in row}
            found += await self._sizes[size].all(db, named | others)
        return found

    def _made(self, make: Callable[[CTE], Executable], size: int) -> Executable:
        rows = [
            tuple(bindparam(_name(of.name, n), type_=of.type) for of in self._columns)
            for n in range(size)
        ]
        return make(values(*self._columns, name="given").data(rows).cte("given"))


def _name(key: str, row: int) -> str:
    return f"{key}_of_{row}"


def insert_rows(table: Any, insert: Callable[[Any], Any]) -> CompiledRows:
    """Make the statement that inserts rows, which say every column of a table."""
    columns = list(table.__table__.columns)

    def make(given: CTE) -> Executable:
        # SQLite would take a conflict's ON for a join's, were there no WHERE
        made: Executable = insert(table).from_select(columns, select(given).where(true()))
        return made

    return CompiledRows(columns, make)


@dataclass(frozen=True)
class _Plan:
    sql: str
    fixed: Values
    binders: Mapping[str, Process]
    places: list[str] | None
    row: Process
    answers: bool
    """With rows: the driver would have to describe them, to tell."""

    def bind(self, values: Values) -> dict[str, Any] | list[Any]:
        """Give the driver's form of the parameters: by name, or in the order of their places."""
        bound = {**self.fixed, **values}
        for name, binder in self.binders.items():
            bound[name] = binder(bound[name])
        return bound if self.places is None else [bound[name] for name in self.places]


def _plan(statement: Any, driver: "Driver", values: Values) -> _Plan:
    dialect = driver.dialect
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
        row=_row(columns, driver),
        answers=bool(columns),
    )


def _row(columns: Sequence[Any], driver: "Driver") -> Process:
    make = cast("Any", NamedTuple)("Row", [(column.key, Any) for column in columns])._make
    if driver.kind.gives_python_types:
        return cast("Process", make)
    dialect = driver.dialect
    processors = [
        (place, processor)
        for place, column in enumerate(columns)
        if (processor := column.type.dialect_impl(dialect).result_processor(dialect, None))
    ]

    def row(found: Sequence[Any]) -> Any:
        cells = list(found)
        for place, processor in processors:
            cells[place] = processor(cells[place])
        return make(cells)

    return row if processors else cast("Process", make)


class Driver:
    """The driver's own connection below one of SQLAlchemy: it runs plans, and a transaction."""

    def __init__(self, connection: AsyncConnection, raw: Any, kind: Dialect) -> None:
        self.connection = connection
        self.dialect = connection.dialect
        self.used_at = 0.0
        self._raw = raw
        self.kind = kind

    async def fetch(self, plan: _Plan, values: Values) -> list[Any]:
        """Run a plan; return its rows."""
        try:
            rows = await self.kind.fetch(
                self._raw, plan.sql, plan.bind(values), answers=plan.answers
            )
        except Exception as error:
            raise self._as_sqlalchemy_says(plan.sql, error) from error
        return [plan.row(row) for row in rows]

    async def begin(self, statement: str) -> None:
        """Open a transaction."""
        try:
            await self.kind.fetch(self._raw, statement, (), answers=False)
        except Exception as error:
            raise self._as_sqlalchemy_says(statement, error) from error

    async def commit(self) -> None:
        """Commit the transaction that is open."""
        try:
            await self._raw.commit()
        except Exception as error:
            raise self._as_sqlalchemy_says("COMMIT", error) from error

    async def roll_back(self) -> None:
        """Roll back the transaction that is open; raise what the driver raises."""
        await self._raw.rollback()

    @property
    def is_idle(self) -> bool:
        """Tell whether the connection is whole and in no transaction: for the next one."""
        return not self.connection.invalidated and self.kind.is_idle(self._raw)

    async def close(self) -> None:
        """Close the connection, whatever is left of it."""
        await self.connection.invalidate()
        await self.connection.close()

    def _as_sqlalchemy_says(self, sql: str, error: Exception) -> BaseException:
        dbapi: Any = self.dialect.loaded_dbapi
        return DBAPIError.instance(
            sql,
            None,
            error,
            dbapi.Error,
            hide_parameters=True,
            connection_invalidated=self.dialect.is_disconnect(cast("Any", error), self._raw, None),
            dialect=self.dialect,
        )


async def driver_of(connection: AsyncConnection, kind: Dialect) -> Driver:
    """Make what runs plans on a connection of SQLAlchemy."""
    raw = (await connection.get_raw_connection()).driver_connection
    return Driver(connection, raw, kind)
