"""The private write set: own rows and the locks that guard them. Undoing is in savepoints.py.

Definitions
    covered   a key that needs no lock because the caller holds the lock of another key that
              decides it (an entry of an index is decided by its row)

Invariants
1. A key is locked before the newest committed row is read, and stays locked to the end of the
   transaction (or to the rollback to an earlier savepoint). So that row cannot change any more.
2. A key is in `held` before its lock is taken; giving back checks who holds it. So an exception at
   any point leaks no lock.
3. `undo` has the first old value of each key since the statement began.
4. The first write to a tree takes IX on it and then looks whether its schema changed since the
   snapshot (40001). So a plan never writes into a table of another shape.

First updater wins: see `lock_for_update`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import (
    ReadOnly,
    SerializationFailure,
    TransactionAborted,
    UniqueViolation,
)
from engine.storage.store import Key, Row
from engine.txn.isolation import IsolationLevel
from engine.txn.snapshot import UNWRITTEN, Reads, TreeState

if TYPE_CHECKING:
    from engine.txn.manager import TransactionManager


def key_exists(tree_id: int, key: Key) -> UniqueViolation:
    """23505 without names: the executor, which knows them, adds the table and the constraint."""
    error = UniqueViolation("duplicate key")
    error.tree_id = tree_id
    error.key = key
    return error


class Writes(Reads):
    """The writing half of a transaction. Every method may wait for a lock, and then raises
    LockTimeout, DeadlockDetected, QueryCanceled, or InterfaceError when the database closes."""

    __slots__ = ("_shared", "level", "lock_timeout_s", "manager", "read_only")

    def __init__(
        self, manager: TransactionManager, txn_id: int, level: IsolationLevel, read_only: bool
    ) -> None:
        Reads.__init__(self, txn_id)
        self.manager = manager
        self.level = level
        self.read_only = read_only
        self.lock_timeout_s = manager.lock_timeout_s
        self._shared: Any = None  # a snapshot newer than ours, for checks of unique prefixes

    @property
    def work(self) -> int:
        """Rows written so far: what a deadlock victim by least work would lose."""
        return sum(len(tree.own) for tree in self.trees.values())

    # ── rows ─────────────────────────────────────────────────────────────────────────────────
    def lock_for_update(self, tree_id: int, key: Key) -> Row | None:
        """Lock the row and return its newest version (own, else committed), None when deleted.

        Waits while another transaction holds it. If that one, or any other, committed a change
        since the snapshot: SerializationFailure where the level aborts on conflict; otherwise the
        row may differ from the one the statement read, and the caller re-checks its predicate.
        """
        tree = self.trees.get(tree_id) or self.write_tree(tree_id)
        if tree.locks.get(key) is self:
            row: Row | None = tree.own.get(key, UNWRITTEN)
            return tree.newest(key) if row is UNWRITTEN else row
        self._lock(tree, key)
        return self._newest_of(tree, key)

    def insert(self, tree_id: int, key: Key, row: Row) -> None:
        """Add a row. Waits while another transaction holds the key; then raises UniqueViolation
        if a row of that key exists, visible to the snapshot or not."""
        tree = self.trees.get(tree_id) or self.write_tree(tree_id)
        if tree.locks.get(key) is not self:
            tree.held.append(key)  # Invariant 2
            if tree.locks.setdefault(key, self) is not self:
                self.manager.lock_manager.wait_row(self, tree_id, key, self.lock_timeout_s)
        own = tree.own
        old = own.get(key, UNWRITTEN)
        if old is UNWRITTEN:
            if tree.newest(key) is not None:
                raise key_exists(tree_id, key)
            self._require_unseen(tree, key)
        elif old is not None:
            raise key_exists(tree_id, key)
        tree.undo.setdefault(key, old)
        own[key] = row

    def insert_many(self, tree_id: int, rows: Mapping[Key, Row]) -> None:
        """`insert` of each row, in one go. All or, after an exception, abort_statement: none."""
        tree = self.trees.get(tree_id) or self.write_tree(tree_id)
        own = tree.own
        if not own.keys().isdisjoint(rows):
            for key, row in rows.items():
                self.insert(tree_id, key, row)
            return
        tree.held.extend(rows)
        take = tree.locks.setdefault
        for key in [key for key in rows if take(key, self) is not self]:
            self.manager.lock_manager.wait_row(self, tree_id, key, self.lock_timeout_s)
        if not tree.created:
            self._require_absent(tree, rows)
        # Measured: keys that `own` lacks `undo` lacks too, so both grow in place.
        tree.undo.update(dict.fromkeys(rows, UNWRITTEN))
        own.update(rows)

    def put(self, tree_id: int, key: Key, row: Row | None) -> None:
        """Set the row of a key: locks it like lock_for_update unless it is locked already."""
        tree = self.trees.get(tree_id) or self.write_tree(tree_id)
        if tree.locks.get(key) is not self:
            self.lock_for_update(tree_id, key)
        tree.undo.setdefault(key, tree.own.get(key, UNWRITTEN))
        tree.own[key] = row

    def delete(self, tree_id: int, key: Key) -> None:
        """Remove the row of a key: locks it like lock_for_update unless it is locked already."""
        self.put(tree_id, key, None)

    def modify(
        self,
        table_id: int,
        key: Key,
        change: Callable[[Row, Any], Mapping[int, Mapping[Key, Row | None]] | None],
        argument: Any,
    ) -> bool:
        """Change the row of a key, if the statement sees one: `change` as in
        TransactionManager.modify_one. Returns whether there was something to change."""
        tree = self.trees.get(table_id) or self.write_tree(table_id)
        row: Row | None = tree.visible(key)
        if row is UNWRITTEN:
            row = self.snapshot.get(table_id, key)
            if row is None:
                return False
            self._lock(tree, key)
            # Measured: while nothing was committed since the snapshot, its row is the newest.
            if self.manager.store.visible_ts != self.snapshot.commit_ts:
                row = self._newest_of(tree, key)
        elif row is not None:
            row = tree.own[key]  # the lock is held since it was written
        writes = None if row is None else change(row, argument)
        if writes is None:
            return False
        for tree_id, rows in writes.items():
            tree = self.trees.get(tree_id) or self.write_tree(tree_id)
            own, undo = tree.own, tree.undo
            for changed, new in rows.items():
                undo.setdefault(changed, own.get(changed, UNWRITTEN))
                own[changed] = new
        return True

    def write_covered(self, tree_id: int, key: Key, row: Row | None) -> None:
        """Set or (None) remove an entry whose row the caller has locked: no lock of its own."""
        tree = self.trees.get(tree_id) or self.write_tree(tree_id)
        tree.undo.setdefault(key, tree.own.get(key, UNWRITTEN))
        tree.own[key] = row

    def write_many_covered(self, tree_id: int, rows: Mapping[Key, Row | None]) -> None:
        """`write_covered` of each entry, in one go."""
        tree = self.trees.get(tree_id) or self.write_tree(tree_id)
        own = tree.own
        if own.keys().isdisjoint(rows):
            tree.undo.update(dict.fromkeys(rows, UNWRITTEN))
        else:
            tree.undo = {key: own.get(key, UNWRITTEN) for key in rows} | tree.undo
        own.update(rows)

    def insert_unique(
        self, index_tree_id: int, lo: bytes, hi: bytes, entry: bytes, row: Row = ()
    ) -> None:
        """Add an entry to a unique index. [lo, hi) is the range of its prefix (the columns'
        values without the table key); lo is also the name under which the prefix is locked.

        Waits while another transaction holds the prefix. Raises UniqueViolation (key = entry) if
        a committed entry, visible to the snapshot or not, or an own one lies in the range.
        """
        tree = self.trees.get(index_tree_id) or self.write_tree(index_tree_id)
        if tree.locks.get(lo) is not self:
            self._lock(tree, lo)
        own = tree.own
        if tree.candidates is None:
            tree.candidates = {}
        candidates = tree.candidates.setdefault(lo, [])
        if any(own.get(key) is not None for key in candidates):
            raise key_exists(index_tree_id, entry)
        if not tree.created:
            for key, _ in self._newest_snapshot().scan(index_tree_id, lo, hi):
                if own.get(key, UNWRITTEN) is not None:
                    raise key_exists(index_tree_id, entry)
        candidates.append(entry)
        tree.undo.setdefault(entry, own.get(entry, UNWRITTEN))
        own[entry] = row

    # ── inside ───────────────────────────────────────────────────────────────────────────────
    def write_tree(self, tree_id: int) -> TreeState:
        """The tree's state, made at its first write; takes IX on it (Invariant 4)."""
        tree = self.trees.get(tree_id)
        if tree is not None:
            return tree
        if self.read_only:
            raise ReadOnly("this transaction is read-only")
        manager = self.manager
        manager.lock_table(self, tree_id, "IX")
        created = self.snapshot.tree_spec(tree_id) is None
        newest = _no_row if created else manager.newest[tree_id]
        tree = TreeState(tree_id, manager.lock_manager.rows[tree_id], newest, created)
        self.trees[tree_id] = tree
        return tree

    def _lock(self, tree: TreeState, key: Key) -> None:
        tree.held.append(key)  # Invariant 2
        if tree.locks.setdefault(key, self) is not self:
            self.manager.lock_manager.wait_row(self, tree.tree_id, key, self.lock_timeout_s)

    def _newest_of(self, tree: TreeState, key: Key) -> Row | None:
        """The newest row of a key that was just locked; the level decides about a conflict."""
        row: Row | None = tree.own.get(key, UNWRITTEN)
        if row is not UNWRITTEN:
            return row
        manager = self.manager
        if self.level.conflict_aborts and manager.store.latest_commit_ts(
            tree.tree_id, key, self.snapshot
        ):
            raise SerializationFailure(
                "the row was changed by a transaction that committed after this one's snapshot",
                hint="run the transaction again",
            )
        return tree.newest(key)

    def _require_unseen(self, tree: TreeState, key: Key) -> None:
        """A key that is free now, but whose row the snapshot still sees, was deleted since: writing
        it would turn the insert into a blind update of that row."""
        if (
            self.level.conflict_aborts
            and not tree.created
            and self.manager.store.visible_ts != self.snapshot.commit_ts
            and self.snapshot.get(tree.tree_id, key) is not None
        ):
            raise SerializationFailure(
                "a row of that key was deleted by a transaction that committed after this one's "
                "snapshot",
                hint="run the transaction again",
            )

    def _require_absent(self, tree: TreeState, rows: Mapping[Key, Row]) -> None:
        """No committed row has one of these keys, which are locked."""
        store = self.manager.store
        last: Any = store.last_key(tree.tree_id)
        keys: Any = rows
        if last is not None and min(keys) <= last:
            newest = tree.newest
            for key in rows:
                if newest(key) is not None:
                    raise key_exists(tree.tree_id, key)
        if self.level.conflict_aborts and store.visible_ts != self.snapshot.commit_ts:
            for key in rows:
                self._require_unseen(tree, key)

    def _newest_snapshot(self) -> Any:
        """A snapshot of the newest visible state: ours if it still is, else a shared one."""
        visible_ts = self.manager.store.visible_ts
        if self.snapshot.commit_ts == visible_ts:
            return self.snapshot
        if self._shared is None or self._shared.commit_ts != visible_ts:
            if self._shared is not None:
                self._shared.close()
            self._shared = self.manager.store.snapshot()
        return self._shared


def _no_row(key: Key) -> Row | None:
    return None


def require_active(failed: bool) -> None:
    """Raise TransactionAborted (25P02) after a failed statement."""
    if failed:
        raise TransactionAborted(
            "the transaction was aborted by an earlier error",
            hint="ROLLBACK, or ROLLBACK TO a savepoint",
        )
