"""One client of a database: settings, transaction, plan cache, and the pipeline.

    text -> plan cache -> (parse -> bind -> plan -> optimize -> compile) -> execute -> Result

The whole way is `execute` -> `_statement` -> `_run`; engine.statements compiles, engine.controls
runs the statements that are no queries and no writes (BEGIN, SET, EXPLAIN, …).

Transaction states, and what moves them
    idle    ──BEGIN, or autocommit off and a first statement──►  active
    active  ──a statement fails──►  failed (25P02 until ROLLBACK, ROLLBACK TO or COMMIT)
    active, failed  ──COMMIT, ROLLBACK──►  idle (COMMIT of a failed one rolls back)

Invariants
1. A failed statement changed nothing: its own transaction is rolled back, or the explicit one is
   made failed by Transaction.abort_statement.
2. A compiled statement runs only under the very catalog object it was made for.
3. Rows of a query outside an explicit transaction may stream: the result then owns the
   transaction and ends it with the last row. Inside one, rows are buffered before execute returns.
4. Every Error that leaves has `sql` set, so that its span means something.

Threads: a session serves one thread at a time; only `cancel` may be called from another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from engine import controls
from engine.errors import (
    Error,
    InterfaceError,
    QueryCanceled,
    ReadOnly,
    StatementTimeout,
    TransactionAborted,
    TransactionStateError,
)
from engine.plan_cache import Hit, PlanCache
from engine.result import Result
from engine.settings import Settings
from engine.sql import ast
from engine.sql.executor.row.context import Context
from engine.sql.grammar import parse
from engine.statements import Entry, Params, bind_statement, compile_statement
from engine.types import TypeMismatch, from_python

if TYPE_CHECKING:
    from engine.txn.transaction import Transaction

__all__ = ["Params", "Result", "Session"]

_EAGER_ROWS = 1000
_PLANNED_WORDS = frozenset(
    ["select", "insert", "update", "delete", "with", "values", "create", "drop", "replace", "from"]
)


class Session:
    """See the module header. `autocommit` True: each statement outside BEGIN is its own
    transaction; False: the first statement opens one (PEP 249)."""

    __slots__ = (
        "_canceled",
        "_deadline",
        "_running",
        "_texts",
        "autocommit",
        "cache",
        "clock",
        "closed",
        "settings",
        "store",
        "transaction",
        "transactions",
    )

    def __init__(
        self,
        store: Any,
        transactions: Any,
        settings: Settings | None = None,
        *,
        autocommit: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.transactions = transactions
        self.settings = Settings() if settings is None else settings
        self.autocommit = autocommit
        self.transaction: Transaction | None = None
        self.cache = PlanCache(self.settings.values["plan_cache_size"])
        self.closed = False
        self._texts = self.cache.texts.young
        self.clock = clock
        self._canceled = False
        self._deadline: float | None = None
        self._running: Transaction | None = None

    # ── the pipeline ─────────────────────────────────────────────────────────────────────────
    def execute(self, sql: str, params: Params = ()) -> Result:
        """Run one statement. params: a sequence for `?` and `$n`, a mapping for `:name`; Python
        values. Raises every class of engine.errors."""
        try:
            hit = self._texts.get(sql)
            if hit is not None:
                result = self._specialized(hit, params)
                if result is not None:
                    return result
            return self._statement(sql, params)
        except Error as error:
            if error.sql is None:
                error.sql = sql
            raise

    def _specialized(self, hit: Hit, params: Params) -> Result | None:
        """The answer of a specialised plan (engine.sql.executor.point), or None."""
        literals = hit.literals
        if literals:
            if params.__class__ is dict:
                return None
            params = (*params, *literals) if params else literals
        result: Result | None = None
        transaction = self.transaction
        if transaction is None:
            if (
                hit.point is not None
                and self.autocommit
                and hit.catalog is self.transactions.catalog
            ):
                result = hit.point(self, params)
        elif hit.within is not None and transaction.status == "active":
            transaction.begin_statement()
            try:
                if hit.catalog is transaction.catalog:
                    result = hit.within(transaction, params)
            except BaseException:
                transaction.abort_statement()
                raise
        return result

    def _statement(self, sql: str, params: Params) -> Result:
        """Control statements run as they are; all others inside a transaction's statement."""
        self._require_open()
        if _first_word(sql) in _PLANNED_WORDS:
            if self.transaction is None and self.autocommit:
                hit = self.cache.find(sql, self.transactions.catalog)
                if hit is not None:
                    self._specialize(hit)
                    result = self._specialized(hit, params)
                    if result is not None:
                        return result
            return self._in_transaction(sql, params, None)
        try:
            statement = parse(sql)
        except Error:
            self._fail()
            raise
        if isinstance(statement, controls.CONTROL_STATEMENTS):
            return self._control(sql, statement, params)
        return self._in_transaction(sql, params, statement)

    def _specialize(self, hit: Hit) -> None:
        entry: Entry = hit.entry
        if not entry.specialized:
            entry.specialize(self.store)
            hit.point, hit.within = entry.point, entry.within

    def _in_transaction(self, sql: str, params: Params, statement: ast.Statement | None) -> Result:
        """Begin the statement, find or make its plan under the catalog it sees, run it, end it."""
        transaction, own = self.begin_statement()
        try:
            hit = self.cache.find(sql, transaction.catalog) if statement is None else None
            if hit is None:
                hit = self.prepare(sql, statement or parse(sql), transaction)
            else:
                self._specialize(hit)
            result = self._bind_and_run(sql, hit, params, transaction, own)
        except BaseException:
            self.abort_statement(transaction, own)
            raise
        finally:
            self._running = None
        return result

    def prepare(self, sql: str, statement: ast.Statement, transaction: Transaction) -> Hit:
        """Bind, plan, optimize and compile a statement, and remember it."""
        catalog = transaction.catalog
        bound = bind_statement(statement, catalog, parameterize=True)
        entry = self.compile(bound, catalog, transaction)
        return self.cache.add(sql, entry)

    def compile(self, bound: Any, catalog: Any, transaction: Transaction) -> Entry:
        """The entry of a bound statement under the session's settings."""
        return compile_statement(
            bound,
            catalog,
            optimized=self.settings.values["optimizer"],
            row_count=transaction.row_estimate,
        )

    def _bind_and_run(
        self, sql: str, hit: Hit, params: Params, transaction: Transaction, own: bool
    ) -> Result:
        entry: Entry = hit.entry
        try:
            vector = entry.vector(params, hit.literals)
        except TypeMismatch:
            # The statement means something else for values of these types: bind it for them.
            entry, vector = self._bind_for(sql, entry, params, transaction)
        return self._run(entry, vector, transaction, own)

    def _bind_for(
        self, sql: str, entry: Entry, params: Params, transaction: Transaction
    ) -> tuple[Entry, tuple[Any, ...]]:
        catalog = transaction.catalog
        values = enumerate(entry.given(params))
        types = {position: from_python(value)[0] for position, value in values}
        bound = bind_statement(parse(sql), catalog, param_types=types)
        entry = self.compile(bound, catalog, transaction)
        return entry, entry.vector(params, ())

    def _run(
        self, entry: Entry, vector: tuple[Any, ...], transaction: Transaction, own: bool
    ) -> Result:
        """Execute a compiled statement; ends the transaction when it is the statement's own."""
        self.require_writable(entry, transaction)
        rows, count, tag = entry.run(Context(vector, transaction, self.poll), transaction)
        if entry.streams:
            return self._rows(entry, rows, transaction, own)
        if own:
            transaction.commit()
        return Result(entry.columns, rows, count, tag)

    def _rows(
        self, entry: Entry, rows: Iterator[Any], transaction: Transaction, own: bool
    ) -> Result:
        """The rows of a query: a short result at once, a long one as it is read."""
        if not own:
            every = list(rows)
            return Result(entry.columns, iter(every), len(every), f"SELECT {len(every)}")
        first = list(islice(rows, _EAGER_ROWS))
        if len(first) < _EAGER_ROWS:
            transaction.commit()
            return Result(entry.columns, iter(first), len(first), f"SELECT {len(first)}")
        rest = self._stream(first, rows, transaction)
        return Result(entry.columns, rest, -1, "SELECT")

    def _stream(
        self, first: list[Any], rows: Iterator[Any], transaction: Transaction
    ) -> Iterator[Any]:
        """Invariant 3."""
        try:
            yield from chain(first, rows)
            transaction.commit()
        finally:
            transaction.rollback()

    def execute_many(self, sql: str, seq: Iterable[Params]) -> Result:
        """Run one statement for each parameter set, all in one transaction. The statement must
        not return rows. Nothing happens when one of them fails."""
        self._require_open()
        transaction, own = self.begin_statement()
        total = 0
        tag = ""
        try:
            hit = self.cache.find(sql, transaction.catalog)
            if hit is None:
                statement = parse(sql)
                if isinstance(statement, controls.CONTROL_STATEMENTS):
                    raise InterfaceError("executemany takes INSERT, UPDATE or DELETE")
                hit = self.prepare(sql, statement, transaction)
            total, tag = controls.run_many(self, hit, seq, transaction)
            if own:
                transaction.commit()
        except BaseException as error:
            self.abort_statement(transaction, own)
            if isinstance(error, Error) and error.sql is None:
                error.sql = sql
            raise
        finally:
            self._running = None
        return Result(None, iter(()), total, tag)

    # ── statements and transactions ──────────────────────────────────────────────────────────
    def _control(self, sql: str, statement: ast.Statement, params: Params) -> Result:
        try:
            return controls.run_control(self, sql, statement, params)
        except Error:
            self._fail()
            raise

    def begin(self, isolation: str | None = None, read_only: bool | None = None) -> Transaction:
        """Open a transaction. Raises TransactionStateError 25001 when one is open."""
        self._require_open()
        if self.transaction is not None:
            raise TransactionStateError(
                "there is already a transaction in progress",
                sqlstate="25001",
                hint="COMMIT or ROLLBACK it first; SAVEPOINT nests.",
            )
        self.transaction = self._new_transaction(isolation, read_only)
        return self.transaction

    def _new_transaction(
        self, isolation: str | None = None, read_only: bool | None = None
    ) -> Transaction:
        values = self.settings.values
        if read_only is None:
            read_only = values["default_transaction_read_only"]
        transaction: Transaction = self.transactions.begin(
            isolation or values["default_transaction_isolation"], read_only=read_only
        )
        transaction.durability = values["durability"]
        if values["lock_timeout"]:
            transaction.lock_timeout_s = values["lock_timeout"] / 1000
        return transaction

    def begin_statement(self) -> tuple[Transaction, bool]:
        """(the transaction the next statement runs in, its statement begun; whether it is the
        statement's own)."""
        transaction = self.transaction
        own = transaction is None and self.autocommit
        if transaction is None:
            transaction = self._new_transaction()
            if not self.autocommit:
                self.transaction = transaction
        self._canceled = False
        timeout_ms = self.settings.values["statement_timeout"]
        self._deadline = self.clock() + timeout_ms / 1000 if timeout_ms else None
        transaction.begin_statement()
        self._running = transaction
        return transaction, own

    def end_statement(self, transaction: Transaction, own: bool) -> None:
        """The statement succeeded."""
        self._running = None
        if own:
            transaction.commit()

    def abort_statement(self, transaction: Transaction, own: bool) -> None:
        """The statement failed (Invariant 1)."""
        self._running = None
        if own:
            transaction.rollback()
        else:
            transaction.abort_statement()

    def _fail(self) -> None:
        """A statement failed before it began: an explicit transaction is failed by it."""
        transaction = self.transaction
        if transaction is not None and transaction.status == "active":
            transaction.begin_statement()
            transaction.abort_statement()

    def commit(self) -> None:
        """End the open transaction; nothing to do when there is none. A failed one is rolled
        back. Raises what Transaction.commit raises; the transaction is over either way."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            transaction.commit()

    def rollback(self) -> None:
        """Forget the open transaction; nothing to do when there is none."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            transaction.rollback()

    def require_active(self) -> None:
        """Raise TransactionAborted (25P02) when the open transaction has failed."""
        if self.status == "failed":
            raise TransactionAborted(
                "current transaction is aborted, commands ignored until end of transaction block",
                hint="ROLLBACK, or ROLLBACK TO a savepoint.",
            )

    def require_writable(self, entry: Entry, transaction: Transaction) -> None:
        """Raise ReadOnly (25006) for a write in a read-only transaction."""
        if entry.writes and transaction.read_only:
            raise ReadOnly("cannot write in a read-only transaction")

    def current_catalog(self) -> Any:
        """The schema as a statement would see it now."""
        transaction, own = self.begin_statement()
        catalog = transaction.catalog
        self.end_statement(transaction, own)
        return catalog

    def reset_cache(self) -> None:
        """Forget every plan; the size follows the setting."""
        self.cache = PlanCache(self.settings.values["plan_cache_size"])
        self._texts = self.cache.texts.young

    @property
    def in_transaction(self) -> bool:
        return self.transaction is not None

    @property
    def status(self) -> str:
        """'idle', 'active' or 'failed'."""
        transaction = self.transaction
        if transaction is None:
            return "idle"
        return "failed" if transaction.status == "failed" else "active"

    # ── cancellation and the end ─────────────────────────────────────────────────────────────
    def cancel(self) -> None:
        """Ask the running statement to stop (57014). Any thread may call it."""
        self._canceled = True
        running = self._running
        if running is not None:
            running.cancel()

    def poll(self) -> None:
        """Called from loops. Raises QueryCanceled or StatementTimeout."""
        if self._canceled:
            self._canceled = False
            raise QueryCanceled("canceling statement due to user request")
        if self._deadline is not None and self.clock() > self._deadline:
            raise StatementTimeout("canceling statement due to statement timeout")

    def _require_open(self) -> None:
        if self.closed:
            raise InterfaceError("the session is closed")

    def close(self) -> None:
        """Roll back what is open. Idempotent."""
        if not self.closed:
            self.rollback()
            self.cache.texts.clear()
            self.cache.shapes.clear()
            self.closed = True


def _first_word(sql: str) -> str:
    """The statement's first word, lower case; '' when it starts with something else."""
    start = sql.lstrip()[:8].lower()
    word = start.split(None, 1)
    return word[0] if word else ""
