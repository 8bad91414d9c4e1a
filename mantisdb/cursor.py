"""A cursor: one statement at a time, and its rows.

States
    new ──execute──► result with rows, or without ──execute──► …
    any ──close, or its connection closes──► closed (every use raises InterfaceError)

Invariants
1. Whatever touches the engine holds the connection's lock. Rows that the engine has made already
   (a list iterator) are read without it; rows still being made come through `_Stream`, which
   takes the lock for each.
2. Rows are converted to Python objects once, as they are fetched; columns whose runtime form is
   their Python form cost nothing.
3. A statement that failed leaves no result behind.

Cursors may be used by one thread at a time; connections and the module by many (threadsafety 2).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import index, length_hint
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import ref

from engine.errors import InterfaceError, ProgrammingError
from engine.session import Result
from engine.types import python_converter
from mantisdb.arrow import table_of_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.sql.bound import OutputColumn
    from mantisdb.connection import Connection

Params = Sequence[Any] | Mapping[str, Any]
Description = tuple[str, str, None, None, int | None, int | None, None]

_MADE: tuple[type, ...] = (type(iter([])), type(iter(())))
"""Iterators over rows that exist already: reading them runs no engine code."""


class _Stream:
    """Rows that the engine is still making, under the connection's lock (Invariant 1)."""

    __slots__ = ("_lock", "_rows", "count")

    def __init__(self, lock: Any, rows: Iterator[Any]) -> None:
        self._lock = lock
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._lock:
            row = next(self._rows)
        self.count += 1
        return row

    def take(self, count: int | None) -> list[Any]:
        """Up to `count` rows (None: all that are left), taking the lock once."""
        with self._lock:
            rows = list(self._rows if count is None else islice(self._rows, count))
        self.count += len(rows)
        return rows


def refuse_fetch(closed: str | None) -> NoReturn:
    """Raise what a fetch without rows deserves. closed: what is, if something is."""
    if closed is not None:
        raise InterfaceError(closed)
    raise ProgrammingError(
        "no rows to fetch: the last statement returned none, or none was executed",
        sqlstate="24000",
    )


class _NoRows:
    """Stands for the rows when there are none to fetch: using it raises."""

    __slots__ = ("_closed",)

    def __init__(self, closed: str | None) -> None:
        self._closed = closed

    def __iter__(self) -> Iterator[Any]:
        refuse_fetch(self._closed)

    def __next__(self) -> NoReturn:
        refuse_fetch(self._closed)


NO_RESULT: Any = _NoRows(None)
CLOSED: Any = _NoRows("the cursor is closed")
ENDED: Any = _NoRows("the connection is closed")


def row_converter(
    columns: Sequence[OutputColumn],
) -> Callable[[tuple[Any, ...]], tuple[Any, ...]] | None:
    """Runtime row → Python row; None when they are the same (Invariant 2)."""
    found = [(i, python_converter(column.type)) for i, column in enumerate(columns)]
    changes = [(i, convert) for i, convert in found if convert is not None]
    if not changes:
        return None

    def convert_row(row: tuple[Any, ...]) -> tuple[Any, ...]:
        values = list(row)
        for i, convert in changes:
            value = values[i]
            if value is not None:
                values[i] = convert(value)
        return tuple(values)

    return convert_row


class Cursor:
    """PEP 249 Cursor. arraysize: rows of a fetchmany() without a size."""

    __slots__ = ("__weakref__", "_result", "_rows", "arraysize", "connection")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.arraysize = 1
        self._result: Result | None = None
        self._rows: Iterator[Any] = NO_RESULT
        # Measured: 0.25 µs. A cursor that died leaves its id to the next one, and so its entry.
        cursors = connection.cursors
        cursors[id(self)] = ref(self)
        if len(cursors) > connection.cursors_limit:
            forget_dead(connection)

    # ── executing ────────────────────────────────────────────────────────────────────────────
    def execute(self, operation: str, parameters: Params = ()) -> Cursor:
        """Run one statement. Parameters: a sequence for `?` and `$1`, a mapping for `:name`.
        Returns the cursor itself. Raises subclasses of mantisdb.Error."""
        if self._rows is not NO_RESULT:
            _forget(self)
        self._result = None  # Invariant 3
        connection = self.connection
        try:
            with connection.lock:
                self._result = result = connection.session.execute(operation, parameters)
        except (TypeError, AttributeError):  # asked afterwards: it costs the hot path nothing
            _require_text(operation)
            if parameters is not None and not isinstance(parameters, (Sequence, Mapping)):
                raise ProgrammingError(
                    f"parameters are a sequence or a mapping, not {type(parameters).__name__}",
                    sqlstate="42804",
                ) from None
            raise
        columns = result.columns
        if columns is not None:
            # Measured: one dict look-up by identity, 60 ns, instead of a call.
            known = connection.converters.get(id(columns))
            convert = remember(connection.converters, columns) if known is None else known[1]
            rows = result.rows
            made = type(rows) in _MADE
            if convert is not None:
                rows = map(convert, rows)
            self._rows = rows if made else _Stream(connection.lock, rows)
        return self

    def executemany(self, operation: str, seq_of_parameters: Iterable[Params]) -> Cursor:
        """Run one statement that returns no rows for each set of parameters. `rowcount` is the
        sum. When one fails, none of the call's changes stay."""
        _forget(self)
        connection = self.connection
        _require_text(operation)
        if type(seq_of_parameters) is not list:
            # A generator may use this connection, or raise: it ends before anything starts.
            seq_of_parameters = list(seq_of_parameters)
        with connection.lock:
            result = connection.session.execute_many(operation, seq_of_parameters)
        if result.columns is not None:
            raise ProgrammingError(
                "executemany() runs statements that return no rows", sqlstate="42000"
            )
        self._result = result
        return self

    def executescript(self, script: str) -> Cursor:
        """Run statements separated by semicolons, one after the other, without parameters."""
        _forget(self)
        self.connection.run_script(script)
        return self

    # ── fetching ─────────────────────────────────────────────────────────────────────────────
    def fetchone(self) -> Any:
        """The next row as a tuple, or None when there is no more."""
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Up to `size` (default: arraysize) rows; [] when there is no more."""
        count = self.arraysize if size is None else size
        if type(count) is not int or not 0 <= count <= sys.maxsize:
            count = _row_limit(count)
        rows = self._rows
        if type(rows) is _Stream:
            return rows.take(count)
        return list(islice(rows, count))

    def fetchall(self) -> list[Any]:
        """The remaining rows."""
        rows = self._rows
        if type(rows) is _Stream:
            return rows.take(None)
        return list(rows)

    def fetch_arrow_table(self) -> pa.Table:
        """The remaining rows as a pyarrow Table; mantisdb.arrow lists the types."""
        result = self._result
        if result is None or result.columns is None:
            next(self._rows)  # raises
            refuse_fetch(None)
        with self.connection.lock:
            return table_of_rows(result.columns, result.rows)

    def __iter__(self) -> Cursor:
        return self

    def __next__(self) -> Any:
        return next(self._rows)

    # ── about the result ─────────────────────────────────────────────────────────────────────
    @property
    def description(self) -> tuple[Description, ...] | None:
        """(name, type_code, None, None, precision, scale, None) of each column; None without
        rows. type_code: see mantisdb.types."""
        result = self._result
        if result is None or result.columns is None:
            return None
        return tuple(
            (c.name, c.type.kind, None, None, c.type.precision, c.type.scale, None)
            for c in result.columns
        )

    @property
    def rowcount(self) -> int:
        """Rows changed or returned; -1 when nothing ran or it is not known yet."""
        return -1 if self._result is None else self._result.rowcount

    @property
    def rownumber(self) -> int | None:
        """0-based number of the next row; None without rows."""
        rows, result = self._rows, self._result
        if result is None or result.columns is None:
            return None
        if type(rows) is _Stream:
            return rows.count
        return result.rowcount - length_hint(result.rows)

    @property
    def statusmessage(self) -> str | None:
        """What the statement did, as PostgreSQL says it: 'INSERT 0 1', 'CREATE TABLE', …"""
        return None if self._result is None else self._result.tag

    @property
    def lastrowid(self) -> None:
        """Always None: rows are found by their keys. INSERT … RETURNING gives a new row's key."""
        return None

    # ── the rest of PEP 249 ──────────────────────────────────────────────────────────────────
    def setinputsizes(self, sizes: Sequence[Any]) -> None:
        """Nothing to prepare: parameters carry their types and sizes."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Nothing to prepare: values of any size are returned whole."""

    def close(self) -> None:
        """Give the result back. Idempotent; using the cursor afterwards raises InterfaceError."""
        if self._rows is not CLOSED:
            _forget(self)
            self._rows = CLOSED

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _require_text(operation: object) -> None:
    if not isinstance(operation, str):
        raise ProgrammingError(
            f"a statement is a str, not {type(operation).__name__}", sqlstate="42804"
        )


def _row_limit(size: Any) -> int:
    """A fetchmany size that is not a plain one: numpy's integers, or more than there can be."""
    try:
        count = index(size)
    except TypeError:
        count = -1
    if count < 0:
        raise ProgrammingError(f"fetchmany takes a number of rows, not {size!r}", sqlstate="22023")
    return min(count, sys.maxsize)


def _forget(cursor: Cursor) -> None:
    """Drop the result of the last statement, ending it if it is still running."""
    if cursor._rows is CLOSED:
        next(CLOSED)  # raises
    result = cursor._result
    cursor._result = None
    cursor._rows = NO_RESULT
    if result is not None and type(result.rows) not in _MADE:
        close = getattr(result.rows, "close", None)
        if close is not None:
            with cursor.connection.lock:
                close()


def forget_dead(connection: Connection) -> None:
    """Drop the entries of cursors that are gone; the next time when there are twice as many."""
    cursors = connection.cursors
    for key, cursor in list(cursors.items()):
        if cursor() is None and cursors.get(key) is cursor:
            del cursors[key]
    connection.cursors_limit = CURSORS_MIN + 2 * len(cursors)


def end_cursors(cursors: CursorTable) -> None:
    """The connection closes, and its caller holds the lock: no cursor has rows any more."""
    for reference in list(cursors.values()):
        cursor = reference()
        if cursor is None or cursor._rows is CLOSED:
            continue
        result, cursor._result = cursor._result, None
        cursor._rows = ENDED
        close = None if result is None else getattr(result.rows, "close", None)
        if close is not None:
            close()
    cursors.clear()


CursorTable = dict[int, "ref[Cursor]"]
"""id(cursor) → the cursor, if it is still there."""

CURSORS_MIN = 256

Converters = dict[int, tuple[Any, Callable[[tuple[Any, ...]], tuple[Any, ...]] | None]]
"""id(columns) → (columns, their row converter). Holding the columns keeps the id theirs."""

CONVERTERS_MAX = 1024


def remember(
    converters: Converters, columns: tuple[OutputColumn, ...]
) -> Callable[[tuple[Any, ...]], tuple[Any, ...]] | None:
    """The converter of these columns, kept for the next time."""
    if len(converters) >= CONVERTERS_MAX:
        converters.clear()
    convert = row_converter(columns)
    converters[id(columns)] = (columns, convert)
    return convert
