"""The transactions of a session: which one is open, and the statements that begin and end in it.

States and invariants are in session.py, whose half this is; the pipeline is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.errors import (
    InterfaceError,
    QueryCanceled,
    ReadOnly,
    StatementTimeout,
    TransactionAborted,
    TransactionStateError,
)
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.session.statements import Entry
    from engine.txn.manager import TransactionManager
    from engine.txn.transaction import Transaction


class SessionTransactions:
    """transaction: the open one, or None. clock: seconds, for statement_timeout."""

    __slots__ = (
        "_canceled",
        "_deadline",
        "_running",
        "autocommit",
        "clock",
        "closed",
        "settings",
        "transaction",
        "transactions",
    )

    def __init__(
        self,
        transactions: TransactionManager,
        settings: Settings,
        autocommit: bool,
        clock: Callable[[], float],
    ) -> None:
        self.transactions = transactions
        self.settings = settings
        self.autocommit = autocommit
        self.clock = clock
        self.transaction: Transaction | None = None
        self.closed = False
        self._canceled = False
        self._deadline: float | None = None
        self._running: Transaction | None = None

    def begin(self, isolation: str | None = None, read_only: bool | None = None) -> Transaction:
        """Open a transaction. Raises TransactionStateError 25001 when one is open."""
        self.require_open()
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
        self.require_mode(read_only)
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
        # Of the real clock: a lock is waited for in real time.
        transaction.deadline = time.monotonic() + timeout_ms / 1000 if timeout_ms else None
        transaction.begin_statement()
        self._running = transaction
        return transaction, own

    def end_statement(self, transaction: Transaction, own: bool) -> None:
        """The statement succeeded."""
        self._running = transaction.deadline = None
        if own:
            transaction.commit()

    def abort_statement(self, transaction: Transaction, own: bool) -> None:
        """The statement failed (Invariant 1)."""
        self._running = transaction.deadline = None
        if own:
            transaction.rollback()
        else:
            transaction.abort_statement()

    def fail(self) -> None:
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

    def require_mode(self, read_only: bool | None) -> None:
        """Raise ReadOnly (25006) for READ WRITE on a database that was opened read-only."""
        if read_only is False and self.settings.fixed_read_only:
            raise ReadOnly("the database is open read-only")

    def current_catalog(self) -> Any:
        """The schema as a statement would see it now."""
        transaction, own = self.begin_statement()
        catalog = transaction.catalog
        self.end_statement(transaction, own)
        return catalog

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

    def require_open(self) -> None:
        if self.closed:
            raise InterfaceError("the session is closed")
