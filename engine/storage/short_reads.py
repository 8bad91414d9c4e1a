"""Short reads as lists: a range of one tree, or the rows that a range of index entries names.

A scan costs a generator, a snapshot and a projection before its first row; a statement that reads
a hundred rows through it spends most of its time there. These readers do the same reads on the
same views, whole leaves at a time, and give None where a scan is the better way:

    more than ROWS_MAX rows              two generations of the memtable have keys in the range
    the tree is not there at that time   a commit or a checkpoint came in between (newest only)

Invariants
1. `newest` takes no snapshot: what it read counts only when visible_ts and state are the same
   before and after. Then no version that it had to see was dropped meanwhile (memtable.py,
   Invariant 3: the horizon is at most visible_ts), and no page under it was written again.
2. `at` reads for a snapshot that is open, so nothing it may see goes away.
3. Rows come in key order; of an index read, in the order of the index entries.

Threads: any number; what a reader remembers is one tuple, replaced whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from engine.keys import INT_KEY_SHIFT, IndexKeyCodec
from engine.storage.memtable import MemTree
from engine.storage.snapshots import MvccSnapshot, SnapshotStore
from engine.storage.store import Key, Row
from engine.storage.table_store import TableView, projection

ROWS_MAX = 2000

Trees: TypeAlias = dict[int, TableView]
Read: TypeAlias = Callable[[Trees, int, Any, Any, int], "list[Any] | None"]
"""(trees, commit_ts, lo, hi, most) → rows or None."""


class ShortReader:
    """read: the rows of [lo, hi) — at most `most` where more than those must be read to know."""

    __slots__ = ("_read", "_store")

    def __init__(self, store: SnapshotStore, read: Read) -> None:
        self._store = store
        self._read = read

    def newest(self, lo: Any, hi: Any, most: int = ROWS_MAX) -> list[Row] | None:
        """Of the newest visible state (Invariant 1)."""
        store = self._store
        state, commit_ts = store.state, store.visible_ts
        try:
            found = self._read(state.trees, commit_ts, lo, hi, most)
        except Exception:
            if store.state is state:
                raise
            return None
        if store.visible_ts != commit_ts or store.state is not state:
            return None
        return found

    def at(self, snapshot: MvccSnapshot, lo: Any, hi: Any, most: int = ROWS_MAX) -> Any:
        """Of the state a snapshot sees."""
        return self._read(snapshot.trees(), snapshot.commit_ts, lo, hi, most)


def range_reader(
    store: SnapshotStore, tree_id: int, columns: tuple[int, ...] | None
) -> ShortReader:
    """Rows of one tree with keys in [lo, hi), their wanted positions."""
    return ShortReader(store, _range_read(tree_id, columns, False))


def index_reader(
    store: SnapshotStore,
    index_id: int,
    table_id: int,
    codec: IndexKeyCodec,
    columns: tuple[int, ...] | None,
) -> ShortReader:
    """Rows of a table whose index entries, of this codec, are in [lo, hi)."""
    entries = _range_read(index_id, (), True)
    project = projection(columns)
    int_keys, table_key, number = codec.int_table_key, codec.table_key, int.from_bytes
    known: tuple[TableView | None, Any] = (None, None)

    def read(trees: Trees, commit_ts: int, lo: Any, hi: Any, most: int) -> list[Row] | None:
        nonlocal known
        raw = entries(trees, commit_ts, lo, hi, most)
        view = _view(trees, table_id, commit_ts)
        if raw is None or view is None:
            return None
        view_known, frozen = known
        if view_known is not view:
            frozen = view.frozen.point_reader(columns)
            known = (view, frozen)
        memtrees = [memtree for memtree in view.memtrees if memtree.versions]
        keys: list[Key]
        if int_keys:  # IndexKeyCodec.table_key, in place
            keys = [number(entry[-8:], "big") - INT_KEY_SHIFT for entry in raw]
        else:
            keys = [table_key(entry) for entry in raw]
        if not memtrees:
            return [row for row in map(frozen, keys) if row is not None]
        newest = memtrees[0].versions.get
        rows: list[Row] = []
        for key in keys:
            version = newest(key)
            if version is None or version.commit_ts > commit_ts:
                for memtree in memtrees:
                    version = memtree.visible(key, commit_ts)
                    if version is not None:
                        break
            row = frozen(key) if version is None else version.row
            if row is not None:
                rows.append(row if version is None else project(row))
        return rows

    return ShortReader(store, read)


def _view(trees: Trees, tree_id: int, commit_ts: int) -> TableView | None:
    view = trees.get(tree_id)
    if view is None or view.created_ts > commit_ts or view.dropped_ts <= commit_ts:
        return None
    return view


def _range_read(tree_id: int, columns: tuple[int, ...] | None, only_keys: bool) -> Read:
    """Rows of the range, or its keys alone."""
    project = projection(columns)
    known: tuple[TableView | None, Any, Any] = (None, None, None)

    def read(trees: Trees, commit_ts: int, lo: Any, hi: Any, most: int) -> list[Any] | None:
        nonlocal known
        view = _view(trees, tree_id, commit_ts)
        if view is None:
            return None
        view_known, frozen, frozen_entries = known
        if view_known is not view:
            frozen = view.frozen.range_reader(columns, "keys" if only_keys else "rows")
            frozen_entries = view.frozen.range_reader(columns, "entries")
            known = (view, frozen, frozen_entries)
        changed: list[Any] = []
        source: MemTree | None = None
        # With a limit, so many keys are enough, unless most of them were deleted.
        keys_max = min(most + 32, ROWS_MAX)
        for memtree in view.memtrees:
            if memtree.versions:
                found = memtree.first_keys(lo, hi, keys_max + 1)
                if found:
                    if source is not None:
                        return None
                    changed, source = found, memtree
        if source is None:
            return _short(frozen(lo, hi, most), most)
        cut = changed[keys_max] if len(changed) > keys_max else None
        if cut is not None:
            if most >= ROWS_MAX:
                return None
            changed.pop()
            hi = cut  # what lies from there on is not known
        base = frozen_entries(lo, hi, most + len(changed))
        if not base and only_keys and source.last_ts <= commit_ts and not source.deletes:
            return _short(changed, most)  # every version is visible, none a tombstone
        versions = source.versions
        changes: list[tuple[Key, Row | None]] = []
        for key in changed:
            version = versions.get(key)
            while version is not None and version.commit_ts > commit_ts:
                version = version.prev
            if version is not None:
                changes.append((key, version.row))
        rows: list[Any]
        if base:
            rows = _overlaid(base, changes, project, only_keys)
        elif only_keys:
            rows = [key for key, row in changes if row is not None]
        elif columns is None:
            rows = [row for _, row in changes if row is not None]
        else:
            rows = [project(row) for _, row in changes if row is not None]
        return None if cut is not None and len(rows) < most else _short(rows, most)

    return read


def _short(rows: list[Any], most: int) -> list[Any] | None:
    """The first `most`; None when ROWS_MAX, which is no limit of the caller, is not enough."""
    if len(rows) <= most:
        return rows
    return None if most >= ROWS_MAX else rows[:most]


def _overlaid(
    base: list[tuple[Key, Row]],
    changes: list[tuple[Key, Row | None]],
    project: Callable[[Row], Row],
    only_keys: bool,
) -> list[Any]:
    merged: dict[Any, Row] = dict(base)
    in_order = True
    for key, row in changes:
        if row is None:
            merged.pop(key, None)
        else:
            if key not in merged:
                in_order = False  # a new key stands last in the dictionary
            merged[key] = row if only_keys else project(row)
    if not in_order:
        keys = sorted(merged)
        return keys if only_keys else [merged[key] for key in keys]
    return list(merged) if only_keys else list(merged.values())
