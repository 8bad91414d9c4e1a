"""Publication: from a write set to visible rows, and the schema versions that go with it.

    validate ─► store.commit (log, install, publish) ─► schema version ─► locks given back

Invariants
1. `catalog` is the schema of the newest published commit, or `changing` is set (and `catalog` may
   be None).
2. `catalog_at(snapshot)` is the schema as of that snapshot, also while a schema change is being
   published: a reader that cannot tell reads the snapshot's own catalog rows.
3. `changed[table_id]` is the commit_ts of the last schema change that held X on the table, so
   whoever locks the table afterwards can tell whether its plan is still good.
4. A one-shot write holds its row before it reads, and gives it back after the commit is published;
   it holds X on nothing and waits for nobody: where it would have to, it declines and the caller
   takes the ordinary way. So one-shots never take part in a deadlock.
5. A one-shot looks at table locks and at the schema after it took its row (lock_manager,
   Invariant 4): a schema change either waits for it or turns it away.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.errors import Error
from engine.storage.store import (
    CATALOG_TREE,
    TREE_DIRECTORY,
    Key,
    Row,
    Snapshot,
    Store,
    Writes,
)
from engine.txn.lock_manager import LockManager, OneShot
from engine.txn.write_set import key_exists

if TYPE_CHECKING:
    from engine.txn.transaction import Transaction

Catalog: TypeAlias = Any  # engine.catalog lies above this layer; here a schema is opaque
UniquePrefix: TypeAlias = tuple[int, bytes, bytes, bytes]
"""(index tree, lo, hi, entry): the range of a unique prefix and the entry to be added."""


class NewestReaders(dict[int, Callable[[Key], Row | None]]):
    """tree_id → function that reads the newest visible row of a key; made on first use."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store

    def __missing__(self, tree_id: int) -> Callable[[Key], Row | None]:
        reader = self[tree_id] = self.store.point_reader(tree_id)
        return reader


class SchemaVersions:
    """The schemas that some snapshot may still see, oldest first."""

    __slots__ = ("_load", "_versions", "changed", "changing")

    def __init__(self, load: Callable[[Snapshot], Catalog], snapshot: Snapshot) -> None:
        self._load = load
        # (commit_ts of each version, version): one attribute, so that a reader gets a pair.
        self._versions: tuple[list[int], list[Catalog]] = ([0], [load(snapshot)])
        self.changing = False
        self.changed: dict[int, int] = {}

    @property
    def newest(self) -> Catalog:
        return self._versions[1][-1]

    def at(self, snapshot: Snapshot) -> Catalog:
        if self.changing:  # Invariant 2
            return self._load(snapshot)
        since, catalogs = self._versions
        index = bisect_right(since, snapshot.commit_ts) - 1
        return catalogs[index] if index >= 0 else self._load(snapshot)

    def add(self, commit_ts: int, snapshot: Snapshot, oldest_ts: int | None) -> Catalog:
        """The schema of a published change; forgets those that no snapshot sees."""
        catalog = self._load(snapshot)
        since, catalogs = self._versions
        kept = len(since) if oldest_ts is None else max(bisect_right(since, oldest_ts) - 1, 0)
        self._versions = ([*since[kept:], commit_ts], [*catalogs[kept:], catalog])
        return catalog


class Publisher:
    """The commit half of TransactionManager. `catalog` is read directly by fast paths, to compare
    it with the one a plan was made for."""

    __slots__ = ("_commit", "catalog", "lock_manager", "newest", "schema", "store")

    def __init__(
        self, store: Store, load_catalog: Callable[[Snapshot], Catalog], locks: LockManager
    ) -> None:
        self.store = store
        self.lock_manager = locks
        self.newest = NewestReaders(store)
        self._commit = store.commit
        snapshot = store.snapshot()
        self.schema = SchemaVersions(load_catalog, snapshot)
        snapshot.close()
        self.catalog: Catalog = self.schema.newest

    def oldest_snapshot_ts(self) -> int | None:
        """commit_ts of the oldest snapshot that a transaction holds, or None."""
        raise NotImplementedError

    def publish(self, transaction: Transaction, writes: Writes) -> int:
        """Commit the writes of a transaction, which keeps its locks until this returns."""
        if CATALOG_TREE in writes:
            return self._publish_schema(transaction, writes)
        return self._commit(
            writes, durability=transaction.durability, validate=transaction.validation()
        )

    def _publish_schema(self, transaction: Transaction, writes: Writes) -> int:
        writes = _without_dropped(transaction, writes)
        self.schema.changing = True  # Invariant 1; one at a time: lock_schema
        try:
            if transaction.loads is not None:  # rows of a table that this transaction creates
                commit_ts = self.store.commit_loads(
                    writes, transaction.loads, validate=transaction.validation()
                )
            else:
                commit_ts = self._commit(
                    writes, durability=transaction.durability, validate=transaction.validation()
                )
        except Error:
            self.schema.changing = False  # nothing happened
            raise
        except BaseException:
            self._adopt_schema(transaction)  # a signal handler raised, after the commit or before
            raise
        self._adopt_schema(transaction)
        return commit_ts

    def _adopt_schema(self, transaction: Transaction) -> None:
        """Read the newest schema. If this is interrupted, no plan matches `catalog` any more and
        `changing` stays set, so that every statement reads its own snapshot's."""
        schema = self.schema
        snapshot = self.store.snapshot()
        try:
            exclusive = dict.fromkeys(_tables_held(transaction, "X"), snapshot.commit_ts)
            schema.changed.update(exclusive)  # Invariant 3
            self.catalog = schema.add(snapshot.commit_ts, snapshot, self.oldest_snapshot_ts())
            schema.changing = False
        except BaseException:
            self.catalog = None
            raise
        finally:
            snapshot.close()

    def write_one(
        self,
        table_id: int,
        key: Key,
        writes: Writes,
        catalog: Catalog,
        unique: Sequence[UniquePrefix] = (),
        durability: str | None = None,
    ) -> int | None:
        """An autocommit INSERT of one row in a single call: `writes` is the row under its key and
        the index entries that follow from it; `unique` the prefixes to be checked.

        Returns the commit_ts, or None when it declined (somebody holds a lock it needs, or the
        schema is no longer `catalog`): nothing happened, take the ordinary way.
        Raises UniqueViolation and what Store.commit raises.
        """
        rows = self.lock_manager.rows[table_id]
        owner = OneShot()
        if rows.setdefault(key, owner) is not owner:
            return None
        try:
            if self.catalog is not catalog or self.lock_manager.strong:  # Invariant 5
                return None
            if self.newest[table_id](key) is not None:
                raise key_exists(table_id, key)
            if unique:
                return self._write_unique(owner, writes, unique, durability)
            return self._commit(writes, durability=durability)
        finally:
            # Measured: as fast as without the check, since a dict look-up is 25 ns.
            if rows.get(key) is owner:
                if self.lock_manager.waiting:
                    self.lock_manager.release_rows(owner, table_id, (key,))
                else:
                    del rows[key]
                    if self.lock_manager.waiting:  # lock_manager, Invariant 2
                        self.lock_manager.wake_waiters()

    def _take_prefixes(self, owner: OneShot, unique: Sequence[UniquePrefix]) -> bool:
        rows = self.lock_manager.rows
        return all(rows[tree_id].setdefault(lo, owner) is owner for tree_id, lo, _, _ in unique)

    def _write_unique(
        self,
        owner: OneShot,
        writes: Writes,
        unique: Sequence[UniquePrefix],
        durability: str | None,
    ) -> int | None:
        locks = self.lock_manager
        try:
            if not self._take_prefixes(owner, unique):
                return None
            snapshot = self.store.snapshot()
            try:
                _require_free(snapshot, writes, unique)
            finally:
                snapshot.close()
            return self._commit(writes, durability=durability)
        finally:
            for tree_id, lo, _, _ in unique:
                locks.release_rows(owner, tree_id, (lo,))

    def modify_one(
        self,
        table_id: int,
        key: Key,
        change: Callable[[Row, Any], Mapping[int, Mapping[Key, Row | None]] | None],
        argument: Any,
        catalog: Catalog,
        durability: str | None = None,
    ) -> int | None:
        """An autocommit UPDATE or DELETE of one row by its key, in a single call.

        `change(row, argument)` is called with the newest row, which is locked, and returns the
        writes (the row and its index entries; no unique prefix may change), or None to leave it.
        Returns the commit_ts; 0 when there is no such row or `change` left it; None when it
        declined, as in write_one. Raises what `change` and Store.commit raise.
        """
        rows = self.lock_manager.rows[table_id]
        owner = OneShot()
        if rows.setdefault(key, owner) is not owner:
            return None
        try:
            if self.catalog is not catalog or self.lock_manager.strong:  # Invariant 5
                return None
            row = self.newest[table_id](key)
            if row is None:
                return 0
            writes = change(row, argument)
            if writes is None:
                return 0
            return self._commit(writes, durability=durability)
        finally:
            if rows.get(key) is owner:
                if self.lock_manager.waiting:
                    self.lock_manager.release_rows(owner, table_id, (key,))
                else:
                    del rows[key]
                    if self.lock_manager.waiting:  # lock_manager, Invariant 2
                        self.lock_manager.wake_waiters()


def _without_dropped(transaction: Transaction, writes: Writes) -> Writes:
    """The writes but for those to trees that the transaction made and dropped again: the store
    has never heard of them."""
    directory = writes.get(TREE_DIRECTORY, {})
    gone = {
        tree_id
        for tree_id in writes
        if transaction.trees[tree_id].created and directory.get(tree_id, ()) is None
    }
    return {tree_id: rows for tree_id, rows in writes.items() if tree_id not in gone}


def _require_free(snapshot: Snapshot, writes: Writes, unique: Sequence[UniquePrefix]) -> None:
    """Raise UniqueViolation when an entry that `writes` does not delete has one of the prefixes."""
    for tree_id, lo, hi, entry in unique:
        gone = writes[tree_id]
        for found, _ in snapshot.scan(tree_id, lo, hi):
            if gone.get(found, ()) is not None:
                raise key_exists(tree_id, entry)


def _tables_held(transaction: Transaction, wanted: str) -> list[int]:
    """In a frame of its own: tests/tidy/test_interruption.py says why."""
    return [table_id for table_id, mode in transaction.tables.items() if mode == wanted]
