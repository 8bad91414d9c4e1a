"""What every store in this process shares: generations, snapshots, install, publish.

    state ──► trees: tree_id → TableView (memtrees newest first, frozen)
              generation: the one that takes commits        checkpoint_no: of the frozen trees
    last_ts      newest commit installed                    visible_ts: newest commit published

Invariants
1. A StoreState's views never change, but for trees added or dropped by commits; sealing and
   publishing a checkpoint put a new StoreState in place with one assignment.
2. A commit is installed into the generation of the newest state, under `mutex`; so whoever reads
   state, then visible_ts, then the same state again holds every commit up to that visible_ts.
3. A snapshot registers a lower bound of its commit_ts before it reads the final one. Whoever
   computes a horizon (the least commit_ts a reader may have) before that registration used a
   visible_ts that the final read is not below. So neither side needs a lock.
4. visible_ts only grows. A published commit never changes.
5. A generation merged into the frozen trees stays in `history` until no snapshot is older than
   its newest commit, so `latest_commit_ts` misses nothing.
6. Object ids are never given twice; ids seen in the directory or the catalog are never given.

States of a snapshot: open → (close) → closed. Scans it started keep its pins until they end.

Does not: write logs or files, or decide about conflicts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, NoReturn, TypeVar

from engine.errors import InterfaceError, InternalError
from engine.storage.memtable import Generation, MemTree, Version
from engine.storage.store import (
    CATALOG_SPEC,
    CATALOG_TREE,
    DIRECTORY_SPEC,
    FIRST_USER_ID,
    TREE_DIRECTORY,
    Capabilities,
    Key,
    Row,
    Snapshot,
    TreeSpec,
    Writes,
    decode_tree_spec,
)
from engine.storage.table_store import EMPTY_TREE, NEVER, FrozenTree, TableView, projection

if TYPE_CHECKING:
    import pyarrow as pa

_T = TypeVar("_T")

SYSTEM_SPECS = (DIRECTORY_SPEC, CATALOG_SPEC)


MANY = 16  # changes of a tree from which looking for a whole new set of keys pays


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
        self, store: MvccStore, trees: dict[int, TableView], commit_ts: int, token: int
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


class MvccStore:
    """State, snapshots, installation and publication; FileStore and MemoryStore add the rest."""

    capabilities: Capabilities

    def __init__(self, state: StoreState, last_ts: int, next_id: int) -> None:
        self.state = state
        self.visible_ts = last_ts
        self.last_ts = last_ts
        self.mutex = Lock()
        self.closed = False
        self.active: dict[int, MemTree] = {}  # trees that take writes: their active MemTree
        self.history: list[Generation] = []  # newest first (Invariant 5)
        self._retired: list[tuple[int, int]] = []  # (checkpoint_no, visible_ts when superseded)
        self._open: dict[int, int] = {}  # snapshot token → lower bound of its commit_ts
        self._tokens = itertools.count(1)
        self._next_id = max(next_id, FIRST_USER_ID)
        self._id_lock = Lock()
        self._rowids: dict[int, _RowidCounter] = {}
        self._highest: dict[int, int] = {}  # tree → highest int key of generations that are gone
        self._history_lock = Lock()
        self.generation = state.generations[0]
        self._refresh_active()

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
        visible = self.visible_ts
        return min(self._open.values(), default=visible)

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

    # ── ids ──────────────────────────────────────────────────────────────────────────────────
    def next_rowid(self, tree_id: int) -> int:
        counter = self._rowids.get(tree_id)
        if counter is None:
            counter = self._rowids.setdefault(tree_id, _RowidCounter())
        memtree = self.active.get(tree_id)
        if memtree is None:  # made by a transaction that has not committed: its rows are its own
            with counter.lock:
                counter.next += 1
                return counter.next - 1
        with counter.lock:
            if counter.memtree is not memtree:
                self._restart_rowids(counter, tree_id, memtree)
            arrivals = memtree.arrivals
            if len(arrivals) > counter.position:
                fresh = arrivals[counter.position :]
                counter.position += len(fresh)
                highest: int = max(fresh)  # type: ignore[type-var, assignment]
                if highest >= counter.next:
                    counter.next = highest + 1
            rowid = counter.next
            counter.next = rowid + 1
        return rowid

    def _restart_rowids(self, counter: _RowidCounter, tree_id: int, memtree: MemTree) -> None:
        """A generation began: look once at everything below it."""
        highest = self.state.trees[tree_id].last_key()
        if isinstance(highest, bytes):
            raise InternalError(f"tree {tree_id} has no integer keys")
        counter.next = max(counter.next, (highest or 0) + 1, self._highest.get(tree_id, 0) + 1)
        counter.memtree = memtree
        counter.position = 0

    def allocate_id(self) -> int:
        with self._id_lock:
            object_id = self._next_id
            self._next_id = object_id + 1
        return object_id

    @property
    def next_id(self) -> int:
        """The least object id that was never given."""
        return self._next_id

    def _note_ids(self, keys: Iterable[Key]) -> None:
        highest = max((key for key in keys if isinstance(key, int)), default=0)
        with self._id_lock:
            if highest >= self._next_id:  # Invariant 6
                self._next_id = highest + 1

    # ── writing (the caller holds `mutex`) ───────────────────────────────────────────────────
    def require_trees(self, writes: Writes) -> None:
        """Raise InternalError, before anything happened, when a write set names a tree that
        neither exists nor is created by it, or holds a key or spec the store cannot keep."""
        created = writes.get(TREE_DIRECTORY, {})
        for tree_id in writes:
            if tree_id not in self.active and created.get(tree_id) is None:
                raise InternalError(f"tree {tree_id} does not exist")
        for key, row in created.items():
            if not isinstance(key, int) or (
                row is not None and key != decode_tree_spec(row).tree_id
            ):
                raise InternalError(f"directory row {key!r} does not name its tree")

    def install(self, commit_ts: int, writes: Writes) -> None:
        """Put a write set into the active generation; doing it again changes nothing."""
        if TREE_DIRECTORY in writes:
            self._change_trees(commit_ts, writes[TREE_DIRECTORY])
        if CATALOG_TREE in writes:
            self._note_ids(writes[CATALOG_TREE])
        horizon = min(self._open.values(), default=self.visible_ts)
        active = self.active
        for tree_id, changes in writes.items():
            memtree = active.get(tree_id)
            if memtree is None:  # dropped by this very write set
                continue
            if len(changes) > MANY and memtree.versions.keys().isdisjoint(changes):
                memtree.put_new(changes, commit_ts)
                continue
            put = memtree.put
            for key, row in changes.items():
                put(key, row, commit_ts, horizon)

    def reinstall(self, commit_ts: int, writes: Writes) -> None:
        """`install` again, after one that was interrupted anywhere."""
        for tree_id in writes:
            memtree = self.active.get(tree_id)
            if memtree is not None:
                memtree.undo_half_put()
        self.install(commit_ts, writes)

    def _change_trees(self, commit_ts: int, changes: Mapping[Key, Row | None]) -> None:
        state = self.state
        for tree_id, row in changes.items():
            assert isinstance(tree_id, int)
            view = state.trees.get(tree_id)
            if row is None:
                if view is not None:
                    view.dropped_ts = min(view.dropped_ts, commit_ts)
                self.active.pop(tree_id, None)
                # an equal state under another identity: point readers look at the tree again
                self.state = StoreState(state.checkpoint_no, state.trees, state.generations)
            elif tree_id not in self.active:  # each step may be done already, by a first try
                memtree = state.generations[0].trees.setdefault(tree_id, MemTree())
                if view is None:
                    state.trees[tree_id] = TableView(
                        decode_tree_spec(row), (memtree,), EMPTY_TREE, commit_ts
                    )
                self.active[tree_id] = memtree
        self._note_ids(changes)

    # ── generations (the caller holds `mutex`) ───────────────────────────────────────────────
    def seal(self) -> Generation:
        """Close the active generation to commits and start the next one. Returns the sealed."""
        state = self.state
        sealed = state.generations[0]
        sealed.last_ts = self.last_ts
        fresh = Generation(sealed.number + 1)
        trees: dict[int, TableView] = {}
        for tree_id, view in state.trees.items():
            memtree = fresh.trees[tree_id] = MemTree()
            trees[tree_id] = TableView(
                view.spec, (memtree, *view.memtrees), view.frozen, view.created_ts, view.dropped_ts
            )
        self.state = StoreState(state.checkpoint_no, trees, (fresh, *state.generations))
        self._refresh_active()
        return sealed

    def publish_checkpoint(
        self, checkpoint_no: int, sealed: Generation, frozen: Mapping[int, FrozenTree]
    ) -> None:
        """Put trees that hold every commit <= sealed.last_ts in place; generations from `sealed`
        down leave for the history. Trees dropped by then are gone for new snapshots."""
        state = self.state
        kept = tuple(g for g in state.generations if g.number > sealed.number)
        gone = [g for g in state.generations if g.number <= sealed.number]
        trees: dict[int, TableView] = {}
        for tree_id, view in state.trees.items():
            if view.dropped_ts > sealed.last_ts:
                memtrees = tuple(g.trees[tree_id] for g in kept if tree_id in g.trees)
                below = frozen.get(tree_id, view.frozen)
                trees[tree_id] = TableView(
                    view.spec, memtrees, below, view.created_ts, view.dropped_ts
                )
        self._note_highest_keys(gone)
        with self._history_lock:
            self.history = gone + self.history  # before the state: latest_commit_ts reads it after
            self._retired.append((state.checkpoint_no, self.visible_ts))
            self.state = StoreState(checkpoint_no, trees, kept)
            self._prune_history()
        self._refresh_active()

    def _note_highest_keys(self, gone: Iterable[Generation]) -> None:
        """Rowids stay above keys that were used and deleted within these generations."""
        for generation in gone:
            for tree_id, memtree in generation.trees.items():
                key = memtree.last_key()
                if isinstance(key, int) and key > self._highest.get(tree_id, 0):
                    self._highest[tree_id] = key

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

    def _refresh_active(self) -> None:
        newest = self.generation = self.state.generations[0]
        alive = self.state.trees
        self.active = {
            tree_id: memtree
            for tree_id, memtree in newest.trees.items()
            if tree_id in alive and alive[tree_id].dropped_ts == NEVER
        }

    def require_open(self) -> None:
        if self.closed:
            raise InterfaceError("the database is closed")

    def close_snapshots(self) -> None:
        """New questions raise from now on; snapshots that are open keep their answers."""
        self.closed = True
        self.state = CLOSED_STATE


class _RowidCounter:
    """next: the next rowid; keys of `memtree.arrivals[:position]` are below it."""

    __slots__ = ("lock", "memtree", "next", "position")

    def __init__(self) -> None:
        self.lock = Lock()
        self.next = 1
        self.memtree: MemTree | None = None
        self.position = 0


def initial_state(
    checkpoint_no: int, specs: Iterable[TreeSpec], frozen: Mapping[int, FrozenTree]
) -> StoreState:
    """The state of a store that was just opened: frozen trees under one empty generation."""
    generation = Generation(1)
    trees: dict[int, TableView] = {}
    for spec in specs:
        memtree = generation.trees[spec.tree_id] = MemTree()
        trees[spec.tree_id] = TableView(spec, (memtree,), frozen.get(spec.tree_id, EMPTY_TREE))
    return StoreState(checkpoint_no, trees, (generation,))


CLOSED_STATE = StoreState(0, _CLOSED_TREES, (Generation(0),))
"""The state of a closed store: every look-up raises InterfaceError."""


def _no_version(key: Key) -> Version | None:
    return None


def _no_row(key: Key) -> Row | None:
    return None
