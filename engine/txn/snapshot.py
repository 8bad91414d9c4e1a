"""What a statement may see: a committed snapshot under the transaction's own writes.

Definitions
    own       the transaction's writes to one tree: key → row, or None for a delete
    undo      for each key that the running statement wrote: what `own` held before
              (UNWRITTEN when it held nothing)
    view of a statement = own with undo put back, over the snapshot

Invariants
1. A statement sees the writes of its transaction's earlier statements and none of its own, however
   far its scans have come (no Halloween problem): every read goes through `undo` first.
2. Reads take no lock and never wait.
3. A scan is valid until the next `begin_statement`, `commit` or `rollback` of its transaction.
   Whoever hands rows to a caller lazily must buffer the rest before one of these.
4. A tree made by this transaction is empty below its own writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sortedcontainers import SortedList

from engine.storage.store import (
    TREE_DIRECTORY,
    Key,
    Row,
    Snapshot,
    TreeSpec,
    decode_tree_spec,
)
from engine.storage.table_store import batches_of_rows, pieces_of_rows
from engine.txn.lock_manager import Owner

if TYPE_CHECKING:
    import pyarrow as pa


class _Unwritten:
    __slots__ = ()

    def __repr__(self) -> str:
        return "UNWRITTEN"


UNWRITTEN: Any = _Unwritten()
_ABSENT: Any = object()


class TreeState:
    """One tree in one transaction.

    locks   the lock manager's row locks of the tree     held  keys locked, oldest first
    newest  reads the newest visible row of a key        candidates  unique prefix → own entries
    ordered keys of `own` at the statement's start, in order; made by the first range scan
    """

    __slots__ = ("candidates", "created", "held", "locks", "newest", "ordered", "own", "tree_id",
                 "undo")  # fmt: skip

    def __init__(
        self,
        tree_id: int,
        locks: dict[Key, Any],
        newest: Callable[[Key], Row | None],
        created: bool,
    ) -> None:
        self.tree_id = tree_id
        self.locks = locks
        self.newest = newest
        self.created = created
        self.own: dict[Key, Row | None] = {}
        self.undo: dict[Key, Any] = {}
        self.held: list[Key] = []
        self.candidates: dict[Key, list[Key]] | None = None
        self.ordered: Any = None

    def visible(self, key: Key) -> Any:
        """Row, None (deleted) or UNWRITTEN, as of the statement's start."""
        row = self.undo.get(key, _ABSENT)
        return self.own.get(key, UNWRITTEN) if row is _ABSENT else row

    def end_statement(self) -> None:
        """Let the next statement see this one's writes."""
        if self.ordered is not None:
            self.ordered.update([k for k, old in self.undo.items() if old is UNWRITTEN])
        self.undo = {}

    def visible_keys(self, lo: Key | None, hi: Key | None, reverse: bool) -> Iterator[Key]:
        if self.ordered is None:
            undo = self.undo
            self.ordered = SortedList(
                [k for k in self.own if undo.get(k) is not UNWRITTEN] if undo else self.own
            )
        keys: Iterator[Key] = self.ordered.irange(lo, hi, (True, False), reverse)
        return keys


class Reads(Owner):
    """The reading half of a transaction. Ranges are [lo, hi); None is unbounded."""

    __slots__ = ("snapshot", "trees")

    def __init__(self, txn_id: int) -> None:
        Owner.__init__(self, txn_id)
        self.trees: dict[int, TreeState] = {}
        self.snapshot: Snapshot = NO_SNAPSHOT

    def get(self, tree_id: int, key: Key) -> Row | None:
        """The row, or None."""
        tree = self.trees.get(tree_id)
        if tree is not None:
            row: Row | None = tree.visible(key)
            if row is not UNWRITTEN:
                return row
            if tree.created:
                return None
        return self.snapshot.get(tree_id, key)

    def settled(self, *tree_ids: int) -> Snapshot | None:
        """The snapshot, when it alone answers for these trees and need not be told who asks;
        else None."""
        for tree_id in tree_ids:
            tree = self.trees.get(tree_id)
            if tree is not None and (tree.own or tree.created):
                return None
        return self.snapshot

    def get_many(self, tree_id: int, keys: Sequence[Key]) -> list[Row | None]:
        """The rows of `keys`, in the same order."""
        if tree_id in self.trees:
            return [self.get(tree_id, key) for key in keys]
        return self.snapshot.get_many(tree_id, keys)

    def scan(
        self,
        tree_id: int,
        lo: Key | None = None,
        hi: Key | None = None,
        *,
        reverse: bool = False,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[tuple[Key, Row]]:
        """Keys in order with their rows; with `columns`, rows hold just those positions."""
        tree = self.trees.get(tree_id)
        if tree is None or not tree.own:
            return self.snapshot.scan(tree_id, lo, hi, reverse=reverse, columns=columns)
        base: Iterator[tuple[Key, Row]] = iter(())
        if not tree.created:
            base = self.snapshot.scan(tree_id, lo, hi, reverse=reverse, columns=columns)
        return _merge(tree, tree.visible_keys(lo, hi, reverse), base, reverse, columns)

    def scan_pieces(
        self,
        tree_id: int,
        lo: Key | None,
        hi: Key | None,
        columns: tuple[int, ...],
        by_column: bool,
    ) -> Iterator[Any]:
        """See store.Snapshot."""
        tree = self.trees.get(tree_id)
        if tree is None or not tree.own:
            return self.snapshot.scan_pieces(tree_id, lo, hi, columns, by_column)
        rows = Reads.scan(self, tree_id, lo, hi, columns=columns)
        return pieces_of_rows(map(itemgetter(1), rows), by_column)

    def scan_batches(
        self,
        tree_id: int,
        lo: Key | None = None,
        hi: Key | None = None,
        *,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The same rows, ascending, as Arrow batches (fields named by position)."""
        tree = self.trees.get(tree_id)
        if tree is None or (
            not tree.created and next(tree.visible_keys(lo, hi, False), None) is None
        ):
            return self.snapshot.scan_batches(tree_id, lo, hi, columns=columns)
        spec = self.tree_spec(tree_id)
        rows = self.scan(tree_id, lo, hi, columns=columns)
        return batches_of_rows(spec, columns, map(itemgetter(1), rows))

    def count(self, tree_id: int) -> int:
        """Number of rows, without reading those that this transaction did not write."""
        tree = self.trees.get(tree_id)
        if tree is None or not tree.own:
            return self.snapshot.count(tree_id)
        keys = list(tree.visible_keys(None, None, False))
        added = sum(tree.visible(key) is not None for key in keys)
        if tree.created:
            return added
        replaced = sum(row is not None for row in self.snapshot.get_many(tree_id, keys))
        return self.snapshot.count(tree_id) + added - replaced

    def row_estimate(self, tree_id: int) -> int:
        """About how many rows, for planning. Not a read: it leaves no trace at any level."""
        tree = self.trees.get(tree_id)
        return self.snapshot.count(tree_id) + (0 if tree is None else len(tree.own))

    def tree_spec(self, tree_id: int) -> TreeSpec:
        """What the tree stores, also when this transaction made it. Raises KeyError."""
        row = self.get(TREE_DIRECTORY, tree_id)
        if row is not None:
            return decode_tree_spec(row)
        spec = self.snapshot.tree_spec(tree_id)
        if spec is None:
            raise KeyError(tree_id)
        return spec


def _merge(
    tree: TreeState,
    keys: Iterator[Key],
    base: Iterator[tuple[Key, Row]],
    reverse: bool,
    columns: tuple[int, ...] | None,
) -> Iterator[tuple[Key, Row]]:
    """Own rows over base rows, in key order; both are fixed for the statement (Invariant 1)."""
    own_key: Any = next(keys, None)
    for entry in base:
        key: Any = entry[0]
        while own_key is not None and (own_key > key if reverse else own_key < key):
            row = tree.visible(own_key)
            if row is not None and row is not UNWRITTEN:
                yield own_key, _project(row, columns)
            own_key = next(keys, None)
        if own_key == key and own_key is not None:
            row = tree.visible(own_key)
            own_key = next(keys, None)
            if row is not UNWRITTEN:
                if row is not None:
                    yield key, _project(row, columns)
                continue
        yield entry
    while own_key is not None:
        row = tree.visible(own_key)
        if row is not None and row is not UNWRITTEN:
            yield own_key, _project(row, columns)
        own_key = next(keys, None)


def _project(row: Row, columns: tuple[int, ...] | None) -> Row:
    return row if columns is None else tuple([row[i] for i in columns])


class _NoSnapshot:
    """Before the first statement: a read here is a bug of the caller."""

    commit_ts = -1

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("begin_statement comes before the first read")

    def close(self) -> None:
        pass


NO_SNAPSHOT: Any = _NoSnapshot()


def oldest_snapshot_ts(owners: Iterable[Reads]) -> int | None:
    """commit_ts of the oldest snapshot that a transaction holds, or None."""
    held = [owner.snapshot.commit_ts for owner in owners if owner.snapshot is not NO_SNAPSHOT]
    return min(held, default=None)
