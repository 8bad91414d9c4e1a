"""The transactions of one open database: who runs, what they hold, which schema they see.

    manager = TransactionManager(store, load_catalog)
    transaction = manager.begin()                                  engine.txn.transaction
    manager.write_one(…), manager.modify_one(…)                    engine.txn.commit
    manager.catalog, manager.catalog_at(snapshot)                  engine.txn.commit
    manager.active(), manager.locks(), manager.waits()             views

Invariants
1. txn_ids grow by one and are never reused while the database is open; 0 is nobody.
2. Every transaction between begin and its end is in `lock_manager.owners`, so that a table lock
   finds its holders and the oldest snapshot is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast

import msgspec

from engine.errors import SerializationFailure
from engine.storage.store import Snapshot, Store
from engine.txn.commit import Publisher
from engine.txn.isolation import isolation_level
from engine.txn.lock_manager import LockInfo, LockManager, Owner, view_locks
from engine.txn.serializable import SerializableTransaction
from engine.txn.snapshot import NO_SNAPSHOT, oldest_snapshot_ts
from engine.txn.transaction import Transaction
from engine.txn.write_set import Writes


class TransactionInfo(msgspec.Struct, frozen=True, gc=False):
    """One row of the transaction view. snapshot_ts: None before the first statement."""

    txn_id: int
    isolation: str
    read_only: bool
    status: str
    snapshot_ts: int | None
    rows_written: int
    waits_for: tuple[int, ...]


class TransactionManager(Publisher):
    """load_catalog: reads the schema out of a snapshot, for example
    `lambda snapshot: load_catalog(snapshot.scan(CATALOG_TREE), snapshot.commit_ts)`.
    lock_timeout_s: how long new transactions wait for a lock; None for ever.
    victim_policy: whom a deadlock aborts (engine.txn.deadlock)."""

    __slots__ = ("_txn_ids", "isolation", "lock_timeout_s")

    def __init__(
        self,
        store: Store,
        load_catalog: Callable[[Snapshot], Any],
        *,
        isolation: str = "repeatable read",
        lock_timeout_s: float | None = None,
        victim_policy: str = "requester",
    ) -> None:
        Publisher.__init__(self, store, load_catalog, LockManager(victim_policy))
        self._txn_ids = itertools.count(1)
        self.isolation = isolation_level(isolation)
        self.lock_timeout_s = lock_timeout_s

    def begin(self, isolation: str | None = None, *, read_only: bool = False) -> Transaction:
        """A new transaction, which sees nothing before its begin_statement.

        isolation: a name of isolation.LEVELS, None for the default.
        Raises ProgrammingError (22023) for an unknown level.
        """
        level = self.isolation if isolation is None else isolation_level(isolation)
        kind = SerializableTransaction if level.validates_reads else Transaction
        transaction = kind(self, next(self._txn_ids), level, read_only)
        self.lock_manager.owners[transaction.txn_id] = transaction
        return transaction

    def forget(self, transaction: Transaction) -> None:
        """The transaction has ended."""
        self.lock_manager.owners.pop(transaction.txn_id, None)

    def lock_table(self, transaction: Writes, table_id: int, mode: str) -> None:
        """Take a table lock, then make sure that the statement's schema is still the table's."""
        self.lock_manager.lock_table(transaction, table_id, mode, transaction.lock_timeout_s)
        changed_ts = self.schema.changed.get(table_id)
        if changed_ts is not None and changed_ts > transaction.snapshot.commit_ts >= 0:
            raise SerializationFailure(
                "the schema was changed by a transaction that committed after this one's snapshot",
                hint="run the transaction again",
            )

    def catalog_at(self, snapshot: Snapshot) -> Any:
        """The schema as of a snapshot."""
        if snapshot is NO_SNAPSHOT:
            return self.catalog
        return self.schema.at(snapshot)

    def oldest_snapshot_ts(self) -> int | None:
        owners = list(self.lock_manager.owners.values())
        return oldest_snapshot_ts(cast("list[Transaction]", owners))

    def active(self) -> list[TransactionInfo]:
        """Every transaction that has begun and not ended, oldest first."""
        waits = self.lock_manager.waits()
        return [
            TransactionInfo(
                txn.txn_id,
                txn.level.name,
                txn.read_only,
                txn.status,
                None if txn.snapshot is NO_SNAPSHOT else txn.snapshot.commit_ts,
                txn.work,
                tuple(waits.get(txn.txn_id, ())),
            )
            for txn in cast("list[Transaction]", list(self.lock_manager.owners.values()))
        ]

    def locks(self) -> list[LockInfo]:
        """Every lock held or waited for."""
        return view_locks(self.lock_manager)

    def waits(self) -> dict[int, list[int]]:
        """The wait-for graph: blocked txn_id → txn_ids it waits for."""
        return self.lock_manager.waits()

    def cancel(self, owner: Owner) -> bool:
        """End the owner's wait with QueryCanceled; False when it does not wait."""
        return self.lock_manager.cancel(owner)

    def close(self) -> None:
        """End every wait with InterfaceError; later requests that would wait get it too."""
        self.lock_manager.close()
