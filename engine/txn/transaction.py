"""A transaction: its states, statements and end. Reads: snapshot.py; writes: write_set.py.

States
    active ──statement fails: abort_statement──► failed ──rollback_to──► active
    active ──commit──► committed          failed ──commit or rollback──► rolled back
    active ──rollback──► rolled back

Invariants
1. The snapshot is taken by the first `begin_statement`, not by BEGIN.
2. A failed transaction gives back at once every lock that no savepoint can want, so nobody waits
   for a transaction that can only be rolled back.
3. Locks are given back after the commit is published, so whoever gets one of them reads it.
4. `rollback` does no I/O and does not fail; the end of a transaction happens once.

How a session drives it
    txn = manager.begin('repeatable read')
    txn.begin_statement()           before the statement is bound; then txn.catalog is its schema
    … get, scan, lock_for_update, insert, put, delete …
    txn.abort_statement()           if it raised
    txn.commit() or txn.rollback()
Rows that a statement hands out lazily must be buffered before the next begin_statement, commit or
rollback. Not thread-safe, except for `cancel`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import CommitOutcomeUnknown, Error, InterfaceError, InternalError
from engine.storage.store import CATALOG_TREE, Key, Row
from engine.txn.isolation import IsolationLevel
from engine.txn.savepoints import Savepoints
from engine.txn.snapshot import NO_SNAPSHOT
from engine.txn.write_set import require_active

if TYPE_CHECKING:
    from engine.txn.manager import TransactionManager


FINISH_TRIES = 3


class Transaction(Savepoints):
    """Made by TransactionManager.begin. status: 'active', 'failed', 'committed', 'rolled back', or
    'unknown' when the commit was interrupted or its outcome is not known.
    durability: the policy of this commit, None for the database's. loads: rows of tables that
    this transaction creates, built by the commit (engine.storage.bulk_load), or None."""

    __slots__ = ("durability", "loads", "status")

    def __init__(
        self, manager: TransactionManager, txn_id: int, level: IsolationLevel, read_only: bool
    ) -> None:
        Savepoints.__init__(self, manager, txn_id, level, read_only)
        self.status = "active"
        self.durability: str | None = None
        self.loads: Mapping[int, Iterable[Any]] | None = None

    # ── statements ───────────────────────────────────────────────────────────────────────────
    def begin_statement(self) -> None:
        """Start a statement: it sees what earlier ones wrote. Takes the snapshot (the first
        statement, or each one at READ COMMITTED).
        Raises TransactionAborted (25P02) after a failed statement, InterfaceError after the end."""
        if self.status != "active":
            require_active(self.status == "failed")
            raise InterfaceError(f"the transaction is {self.status}")
        if self.trees:
            self._end_statement()
        if self.snapshot is NO_SNAPSHOT:
            self.snapshot = self.manager.store.snapshot()
            self._set_catalog(None)
        elif (
            self.level.statement_snapshots
            and self.snapshot.commit_ts != self.manager.store.visible_ts
        ):
            before = self.snapshot
            self.snapshot = self.manager.store.snapshot()
            before.close()
            self._set_catalog(self._catalog)

    def abort_statement(self) -> None:
        """The statement failed: undo it. The transaction is failed; what a savepoint can still
        bring back is kept, all other writes and locks are given up (Invariant 2)."""
        if self.status != "active":
            return
        if self._marks:
            self.rollback_to(self._marks[-1].name)
        else:
            self._drop_writes()
        self.status = "failed"

    def rollback_to(self, name: str) -> None:
        """As Savepoints.rollback_to; also makes a failed transaction active again."""
        Savepoints.rollback_to(self, name)
        self.status = "active"

    # ── schema ───────────────────────────────────────────────────────────────────────────────
    def lock_schema(self) -> None:
        """Every schema change takes this first, then X on each table it changes or drops: one
        change at a time, on the newest schema.
        Waits; raises SerializationFailure if the schema changed since the snapshot."""
        self.manager.lock_table(self, CATALOG_TREE, "X")

    def set_catalog(self, catalog: Any) -> None:
        """The schema after this transaction's own change (whose rows the caller wrote)."""
        self.lock_schema()
        self._set_catalog(catalog)

    def lock_table(self, table_id: int, mode: str) -> None:
        """Hold a mode of lock_manager.MODES on the table until the end of the transaction.
        Writes take IX by themselves. SerializationFailure if its schema changed since the
        snapshot."""
        self.manager.lock_table(self, table_id, mode)

    # ── the end ──────────────────────────────────────────────────────────────────────────────
    def validation(self) -> Callable[[], None] | None:
        """What the store calls at this commit's place in the order of commits; None: nothing."""
        return None

    def _own_writes(self) -> dict[int, dict[Key, Row | None]]:
        """In a frame of its own: tests/tidy/test_interruption.py says why."""
        return {tree_id: tree.own for tree_id, tree in self.trees.items() if tree.own}

    def commit(self) -> int:
        """Make the writes visible, as durable as the policy says. Returns their commit_ts, the
        snapshot's when there is nothing to write, or 0 when the transaction had failed and was
        rolled back instead.

        Raises SerializationFailure, DiskFull, EngineFailed (rolled back) or CommitOutcomeUnknown.
        """
        if self.status != "active":
            if self.status == "failed":
                self.rollback()
                return 0
            raise InterfaceError(f"the transaction is {self.status}")
        self.status = "rolled back"
        try:
            writes = self._own_writes()
            if self.loads is not None and CATALOG_TREE not in writes:  # only DDL publishes loads
                raise InternalError("rows to load, but the tables they belong to are not created")
            if writes:
                commit_ts = self.manager.publish(self, writes)
            else:
                commit_ts = self.snapshot.commit_ts
            self.status = "committed"
        except CommitOutcomeUnknown:
            self.status = "unknown"
            raise
        except Error:
            raise
        except BaseException:  # a signal handler raised, after the commit or before it
            self.status = "unknown"
            raise
        finally:
            self._finish()
        return commit_ts

    def rollback(self) -> None:
        """Forget everything. Harmless after the end."""
        if self.status in ("active", "failed"):
            self.status = "rolled back"
            self._finish()

    def cancel(self) -> bool:
        """From any thread: end this transaction's wait for a lock with QueryCanceled (57014).
        False when it waits for none."""
        return self.manager.lock_manager.cancel(self)

    def _drop_writes(self) -> None:
        """Give up every write and lock. Doing it again changes nothing."""
        locks = self.manager.lock_manager
        for tree_id, tree in self.trees.items():
            locks.release_rows(self, tree_id, tree.held)
        locks.release_tables(self)
        self.trees = {}
        self._marks = []
        self._catalog = None

    def _finish(self) -> None:
        """Invariant 4, also when a signal handler raises in the middle: it is done again, then
        the exception goes on its way."""
        interrupt: BaseException | None = None
        for _ in range(FINISH_TRIES):
            try:
                self._drop_writes()
                if self.snapshot is not NO_SNAPSHOT:
                    self.snapshot.close()
                if self._shared is not None:
                    self._shared.close()
                self.manager.forget(self)
                break
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
