"""Reading a store: its state, the snapshots on it, readers of the newest row.

    state ──► trees: tree_id → TableView (memtrees newest first, frozen)
              generations: the first takes commits            checkpoint_no: of the frozen trees
    visible_ts   newest published commit

Invariants
1. A StoreState's views never change, but for trees added or dropped by commits; sealing and
   publishing a checkpoint put a new StoreState in place with one assignment.
2. A commit is installed into the newest state before it is published; so whoever reads state,
   then visible_ts, then the same state again holds every commit up to that visible_ts.
3. A snapshot registers a lower bound of its commit_ts before it reads the final one. Whoever
   computes a horizon (the least commit_ts a reader may have) before that registration used a
   visible_ts that the final read is not below. So neither side needs a lock.
4. A generation merged into the frozen trees stays in `history` until no snapshot is older than
   its newest commit, so `latest_commit_ts` and `changed_since` miss nothing.

States of a snapshot: open → (close) → closed. Scans it started keep its pins until they end.

Does not: change anything but the registry of snapshots and the history (mvcc.py does).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from engine.errors import InterfaceError
from engine.storage.memtable import Generation, Version
from engine.storage.store import (
    Key,
    Row,
    Snapshot,
    TreeSpec,
)
from engine.storage.table_store import NEVER, TableView, projection

if TYPE_CHECKING:
    import pyarrow as pa

_T = TypeVar("_T")


class StoreState:
    """The trees as of one checkpoint with the generations above it."""

    __slots__ = ("checkpoint_no", "generations", "trees")

    def __init__(
        self,
        checkpoint_no: int,
        trees: dict[int, TableView],
        generations: tuple[Generation, ...],
    ) -> None:
        self.checkpoint_no = checkpoint_no
        self.trees = trees
        self.generations = generations  # newest first


class _ClosedTrees(dict[int, TableView]):
    """Stands in for the trees of a closed snapshot or store: every look-up raises."""

    def get(self, key: int, default: object = None) -> NoReturn:  # type: ignore[override]
        raise InterfaceError("the snapshot is closed")


_CLOSED_TREES = _ClosedTrees()


class MvccSnapshot:
    """One committed state (see store.Snapshot)."""

    __slots__ = ("_scan_count", "_store", "_token", "_trees", "commit_ts")

    def __init__(
        self, store: SnapshotStore, trees: dict[int, TableView], commit_ts: int, token: int
    ) -> None:
        self.commit_ts = commit_ts
        self._store = store
        self._trees = trees
        self._token = token
        self._scan_count = 0

    def get(self, tree_id: int, key: Key) -> Row | None:
        view = self._trees.get(tree_id)
        ts = self.commit_ts
        if view is None or view.created_ts > ts or view.dropped_ts <= ts:
            return None
        # TableView.get, in place: the call costs as much as the look-up
        for memtree in view.memtrees:
            version = memtree.versions.get(key)
            while version is not None:
                if version.commit_ts <= ts:
                    return version.row
                version = version.prev
        return view.frozen.get(key)

    def get_many(self, tree_id: int, keys: Sequence[Key]) -> list[Row | None]:
        view = self._view(tree_id)
        if view is None:
            return [None] * len(keys)
        get, ts = view.get, self.commit_ts
        return [get(key, ts) for key in keys]

    def scan(
        self,
        tree_id: int,
        lo: Key | None = None,
        hi: Key | None = None,
        *,
        reverse: bool = False,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[tuple[Key, Row]]:
        view = self._view(tree_id)
        if view is None:
            return iter(())
        return self._pinned(view.scan(self.commit_ts, lo, hi, reverse, columns))

    def scan_pieces(
        self,
        tree_id: int,
        lo: Key | None,
        hi: Key | None,
        columns: tuple[int, ...],
        by_column: bool,
    ) -> Iterator[Any]:
        """See store.Snapshot."""
        view = self._view(tree_id)
        if view is None:
            return iter(())
        return self._pinned(view.scan_pieces(self.commit_ts, lo, hi, columns, by_column))

    def scan_batches(
        self,
        tree_id: int,
        lo: Key | None = None,
        hi: Key | None = None,
        *,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        view = self._view(tree_id)
        if view is None:
            return iter(())
        return self._pinned(view.scan_batches(self.commit_ts, lo, hi, columns))

    def count(self, tree_id: int) -> int:
        view = self._view(tree_id)
        return 0 if view is None else view.count(self.commit_ts)

    def trees(self) -> dict[int, TableView]:
        """The views under this snapshot; for engine.storage.short_reads."""
        return self._trees

    def tree_spec(self, tree_id: int) -> TreeSpec | None:
        view = self._view(tree_id)
        return None if view is None else view.spec

    def close(self) -> None:
        if self._trees is not _CLOSED_TREES:
            self._trees = _CLOSED_TREES
            if not self._scan_count:
                self._store.forget_snapshot(self._token)

    def _view(self, tree_id: int) -> TableView | None:
        view: TableView | None = self._trees.get(tree_id)
        ts = self.commit_ts
        if view is None or view.created_ts > ts or view.dropped_ts <= ts:
            return None
        return view

    def _pinned(self, entries: Iterator[_T]) -> Iterator[_T]:
        """The entries; the snapshot's pins stay until they end, even if it is closed before."""
        if self._trees is _CLOSED_TREES:
            raise InterfaceError("the snapshot is closed")
        self._scan_count += 1
        try:
            yield from entries
        finally:
            self._scan_count -= 1
            if not self._scan_count and self._trees is _CLOSED_TREES:
                self._store.forget_snapshot(self._token)


class SnapshotStore:
    """The reading half of every store in this process."""

    def __init__(self, state: StoreState, last_ts: int) -> None:
        self.state = state
        self.visible_ts = last_ts
        self.closed = False
        self.history: list[Generation] = []  # newest first (Invariant 4)
        self._retired: list[tuple[int, int]] = []  # (checkpoint_no, visible_ts when superseded)
        self._open: dict[int, int] = {}  # snapshot token → lower bound of its commit_ts
        self._tokens = itertools.count(1)
        self._history_lock = Lock()

    # ── reading ──────────────────────────────────────────────────────────────────────────────
    def snapshot(self) -> MvccSnapshot:
        token = next(self._tokens)
        self._open[token] = self.visible_ts  # Invariant 3
        while True:
            state = self.state
            commit_ts = self.visible_ts
            if self.state is state:  # Invariant 2
                return MvccSnapshot(self, state.trees, commit_ts, token)

    def forget_snapshot(self, token: int) -> None:
        """The snapshot (and every scan it started) is done."""
        self._open.pop(token, None)
        if self.history:
            with self._history_lock:
                self._prune_history()

    def oldest_snapshot_ts(self) -> int:
        """The least commit_ts any open snapshot may have; visible_ts when there is none."""
        # Invariant 3: `visible_ts` is read first. min over an empty view would cost four times this
        visible = self.visible_ts
        open_snapshots = self._open
        return min(open_snapshots.values(), default=visible) if open_snapshots else visible

    def open_snapshot_count(self) -> int:
        return len(self._open)

    def point_reader(
        self, tree_id: int, columns: tuple[int, ...] | None = None
    ) -> Callable[[Key], Row | None]:
        """See store.Store. Measured: everything is a closure variable, and the common cases (one
        generation; head visible or key not in it) are decided without a call."""
        project = None if columns is None else projection(columns)
        state: StoreState | None = None
        newest: Callable[[Key], Version | None] = _no_version
        single = True
        frozen: Callable[[Key], Row | None] = _no_row

        def refresh() -> None:
            nonlocal state, newest, single, frozen
            fresh = self.state
            view = fresh.trees.get(tree_id)
            if view is None or view.dropped_ts <= self.visible_ts:
                newest, single, frozen = _no_version, True, _no_row
                state = None  # it may yet be created in this very state
                return
            newest = view.memtrees[0].versions.get
            single = len(view.memtrees) == 1
            frozen = view.frozen.point_reader(columns)
            state = fresh if view.dropped_ts == NEVER else None  # look again until it is gone

        def read(key: Key) -> Row | None:
            if self.state is not state:
                refresh()
            version = newest(key)
            if version is None:
                if single:
                    try:
                        row = frozen(key)
                    except Exception:
                        if self.state is state or state is None:
                            raise
                    else:
                        if self.state is state or state is None:
                            return row
                    # pages of a state two checkpoints old may be reused under our hands
                return self._read_newest(tree_id, key, project)
            if version.commit_ts <= self.visible_ts:
                row = version.row
                return row if project is None or row is None else project(row)
            return self._read_newest(tree_id, key, project)

        return read

    def _read_newest(
        self, tree_id: int, key: Key, project: Callable[[Row], Row] | None
    ) -> Row | None:
        with_snapshot = self.snapshot()
        try:
            row = with_snapshot.get(tree_id, key)
        finally:
            with_snapshot.close()
        return row if project is None or row is None else project(row)

    def latest_commit_ts(self, tree_id: int, key: Key, since: Snapshot) -> int:
        """See store.Store. The newest generation that knows the key decides."""
        after = since.commit_ts
        state = self.state
        view = state.trees.get(tree_id)
        if view is not None:
            for memtree in view.memtrees:
                version = memtree.versions.get(key)
                if version is not None:
                    return version.commit_ts if version.commit_ts > after else 0
        for generation in self.history:
            if generation.last_ts <= after:
                break
            retired = generation.trees.get(tree_id)
            if retired is not None:
                version = retired.versions.get(key)
                if version is not None:
                    return version.commit_ts if version.commit_ts > after else 0
        return 0

    def last_key(self, tree_id: int) -> Key | None:
        view = self.state.trees.get(tree_id)
        return None if view is None else view.last_key()

    def changed_since(self, tree_id: int, lo: Key | None, hi: Key | None, since: Snapshot) -> bool:
        """See store.Store. The newest version of a key decides for its generation."""
        after = since.commit_ts
        state = self.state
        view = state.trees.get(tree_id)
        memtrees = [] if view is None else list(view.memtrees)
        for generation in self.history:
            if generation.last_ts > after and tree_id in generation.trees:
                memtrees.append(generation.trees[tree_id])
        for memtree in memtrees:
            versions = memtree.versions
            for key in memtree.keys_between(lo, hi, False):
                version = versions.get(key)
                if version is not None and version.commit_ts > after:
                    return True
        return False

    def oldest_pinned_checkpoint(self) -> int:
        """The oldest checkpoint whose pages an open snapshot may read.

        A snapshot with lower bound t read a state that was current when visible_ts was t or
        later, so every state superseded at t or later counts as read."""
        oldest = min(self._open.values(), default=None)
        if oldest is None:
            self._retired.clear()
            return self.state.checkpoint_no
        self._retired = [entry for entry in self._retired if entry[1] >= oldest]
        return self._retired[0][0] if self._retired else self.state.checkpoint_no

    def _prune_history(self) -> None:
        oldest = self.oldest_snapshot_ts()
        self.history = [g for g in self.history if g.last_ts > oldest]

    def require_open(self) -> None:
        if self.closed:
            raise InterfaceError("the database is closed")

    def close_snapshots(self) -> None:
        """New questions raise from now on; snapshots that are open keep their answers."""
        self.closed = True
        self.state = CLOSED_STATE


CLOSED_STATE = StoreState(0, _CLOSED_TREES, (Generation(0),))
"""The state of a closed store: every look-up raises InterfaceError."""


def _no_version(key: Key) -> Version | None:
    return None


def _no_row(key: Key) -> Row | None:
    return None
