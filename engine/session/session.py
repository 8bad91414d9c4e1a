"""One client of a database: settings, transaction, plan cache, and the pipeline.

    text -> plan cache -> (parse -> bind -> plan -> optimize -> compile) -> execute -> Result

The whole way is `execute` -> `_statement` -> `_run`; statements.py compiles, controls.py
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from engine.errors import (
    DataError,
    Error,
    InterfaceError,
    ProgrammingError,
)
from engine.session import controls
from engine.session.plan_cache import Hit, PlanCache
from engine.session.statements import Entry, Params, bind_statement, compile_statement
from engine.session.transactions import SessionTransactions
from engine.settings import Settings
from engine.sql import ast
from engine.sql.executor.result import Result
from engine.sql.executor.row.context import Context
from engine.sql.functions.environment import begin_statement as begin_volatile_statement
from engine.sql.grammar import parse
from engine.types import TypeMismatch, from_python

if TYPE_CHECKING:
    from engine.txn.transaction import Transaction

__all__ = ["Params", "Result", "Session"]

_EAGER_ROWS = 1000
_TYPE_ERRORS = frozenset(["42725", "42804", "42883", "42P08"])
_PLANNED_WORDS = frozenset(
    ["select", "insert", "update", "delete", "with", "values", "create", "drop", "replace", "from"]
)


class Session(SessionTransactions):
    """See the module header. `autocommit` True: each statement outside BEGIN is its own
    transaction; False: the first statement opens one (PEP 249)."""

    __slots__ = (
        "_texts",
        "cache",
        "store",
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
        SessionTransactions.__init__(
            self, transactions, Settings() if settings is None else settings, autocommit, clock
        )
        self.store = store
        self.cache = PlanCache(self.settings.values["plan_cache_size"])
        self._texts = self.cache.texts.young

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
        except RecursionError:
            # The grammar bounds nesting; what passes it and still is too deep for the stack of
            # this caller is refused like the rest.
            raise too_complex(sql) from None

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
        elif (
            hit.within is not None
            and transaction.status == "active"
            # It sets no deadline for lock waits.
            and not self.settings.values["statement_timeout"]
        ):
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
        self.require_open()
        if not sql.isascii():  # 30 ns
            _require_utf8(sql)
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
            self.fail()
            raise
        if isinstance(statement, controls.CONTROL_STATEMENTS):
            return self._control(sql, statement, params)
        return self._in_transaction(sql, params, statement)

    def _specialize(self, hit: Hit) -> None:
        entry: Entry = hit.entry
        entry.used(self.store)
        hit.point, hit.within = entry.point, entry.within

    def _in_transaction(self, sql: str, params: Params, statement: ast.Statement | None) -> Result:
        """Begin the statement, find or make its plan under the catalog it sees, run it, end it."""
        transaction, own = self.begin_statement()
        try:
            hit = self.cache.find(sql, transaction.catalog) if statement is None else None
            if hit is None:
                hit = self._prepare_for(sql, statement or parse(sql), params, transaction)
            else:
                self._specialize(hit)
            result = self._bind_and_run(sql, hit, params, transaction, own)
        except BaseException:
            self.abort_statement(transaction, own)
            raise
        finally:
            self._running = transaction.deadline = None
        return result

    def _prepare_for(
        self, sql: str, statement: ast.Statement, params: Params, transaction: Transaction
    ) -> Hit:
        """`prepare`; where parameters without a type of their own make no sense of the statement
        (`coalesce(?, ?) + 1`), it is bound for the types of these values."""
        try:
            return self.prepare(sql, statement, transaction)
        except ProgrammingError as error:
            if not params or error.sqlstate not in _TYPE_ERRORS:
                raise
        pairs = params.items() if isinstance(params, Mapping) else enumerate(params)
        types = {key: from_python(value)[0] for key, value in pairs}
        bound = bind_statement(statement, transaction.catalog, param_types=types)
        return Hit(self.compile(bound, transaction.catalog, transaction), ())

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
            entry, vector = self.bind_for(sql, entry, params, transaction)
        return self._run(entry, vector, transaction, own)

    def bind_for(
        self, sql: str, entry: Entry, params: Params, transaction: Transaction
    ) -> tuple[Entry, tuple[Any, ...]]:
        """The statement's own entry and vector for parameters of these types."""
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
        if entry.volatile:
            begin_volatile_statement((id(transaction.manager), transaction.txn_id))
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
        self.require_open()
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
            total, tag = controls.run_many(self, sql, hit, seq, transaction)
            if own:
                transaction.commit()
        except BaseException as error:
            self.abort_statement(transaction, own)
            if isinstance(error, Error) and error.sql is None:
                error.sql = sql
            raise
        finally:
            self._running = transaction.deadline = None
        return Result(None, iter(()), total, tag)

    # ── statements and transactions ──────────────────────────────────────────────────────────
    def _control(self, sql: str, statement: ast.Statement, params: Params) -> Result:
        try:
            return controls.run_control(self, sql, statement, params)
        except Error:
            self.fail()
            raise

    def reset_cache(self) -> None:
        """Forget every plan; the size follows the setting."""
        self.cache = PlanCache(self.settings.values["plan_cache_size"])
        self._texts = self.cache.texts.young

    def close(self) -> None:
        """Roll back what is open. Idempotent."""
        if not self.closed:
            self.rollback()
            self.cache.texts.clear()
            self.cache.shapes.clear()
            self.closed = True


def _require_utf8(sql: str) -> None:
    """Raise DataError (22021) for a lone surrogate: no page, log or output could hold it."""
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "the statement holds a lone surrogate, which is not text",
            sqlstate="22021",
            span=(error.start, error.end),
        ) from None


def _first_word(sql: str) -> str:
    """The statement's first word, lower case; '' when it starts with something else."""
    start = sql.lstrip()[:8].lower()
    word = start.split(None, 1)
    return word[0] if word else ""


def too_complex(sql: str) -> ProgrammingError:
    """54001 for a statement whose tree is deeper than the interpreter's stack."""
    error = ProgrammingError(
        "statement is too complex",
        sqlstate="54001",
        span=(0, len(sql)),
        hint="split it, or nest it less deeply",
    )
    error.sql = sql
    return error
