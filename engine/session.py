"""One client of a database: settings, transaction, plan cache, and the pipeline.

    text -> plan cache -> (parse -> bind -> plan -> optimize -> compile) -> execute -> Result

Threads: a session serves one thread at a time; only `cancel` may be called from another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.settings import Settings
from engine.sql.bound import OutputColumn

if TYPE_CHECKING:
    from engine.storage.store import Store


class Result:
    """What a statement answered.

    columns   output columns, or None for a statement without rows
    rows      iterator of tuples in runtime form (engine.types); close() ends it early
    rowcount  rows changed or produced; -1 while a large result is still streaming
    tag       'SELECT 3', 'INSERT 0 1', 'UPDATE 1', 'CREATE TABLE', 'BEGIN', … as in PostgreSQL
    """

    __slots__ = ("columns", "rowcount", "rows", "tag")

    def __init__(
        self,
        columns: tuple[OutputColumn, ...] | None,
        rows: Iterator[tuple[Any, ...]],
        rowcount: int,
        tag: str,
    ) -> None:
        self.columns = columns
        self.rows = rows
        self.rowcount = rowcount
        self.tag = tag


Params = Sequence[Any] | Mapping[str, Any]


class Session:
    """See the module header. `autocommit` True: each statement outside BEGIN is its own
    transaction; False: the first statement opens one (PEP 249)."""

    autocommit: bool
    settings: Settings

    def __init__(
        self,
        store: Store,
        transactions: Any,
        settings: Settings | None = None,
        *,
        autocommit: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None: ...

    def execute(self, sql: str, params: Params = ()) -> Result: ...

    def execute_many(self, sql: str, seq: Iterable[Params]) -> Result: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    @property
    def in_transaction(self) -> bool: ...

    @property
    def status(self) -> str:
        """'idle', 'active' or 'failed'."""
        ...

    def cancel(self) -> None:
        """Ask the running statement to stop (57014). Any thread may call it."""

    def close(self) -> None: ...
