"""Changing a store in memory: ids, installation of commits, generations, publication.

    last_ts      newest commit installed                    visible_ts: newest commit published

Invariants
1. Commits are installed into the generation of the newest state, under `mutex`, in the order of
   their commit_ts; installing one again changes nothing.
2. visible_ts only grows. A published commit never changes.
3. Object ids are never given twice; ids seen in the directory or the catalog are never given.
4. Rowids are above every key the tree ever had in this process, deleted ones too.

Does not: write logs or files, or decide about conflicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock

from engine.errors import InternalError
from engine.storage.memtable import Generation, MemTree
from engine.storage.snapshots import SnapshotStore, StoreState
from engine.storage.store import (
    CATALOG_SPEC,
    CATALOG_TREE,
    DIRECTORY_SPEC,
    FIRST_USER_ID,
    TREE_DIRECTORY,
    Capabilities,
    Key,
    Row,
    TreeSpec,
    Writes,
    decode_tree_spec,
)
from engine.storage.table_store import EMPTY_TREE, NEVER, FrozenTree, TableView

SYSTEM_SPECS = (DIRECTORY_SPEC, CATALOG_SPEC)


MANY = 16  # changes of a tree from which looking for a whole new set of keys pays


class MvccStore(SnapshotStore):
    """The writing half; FileStore and MemoryStore add logs, files and `commit`."""

    capabilities: Capabilities

    def __init__(self, state: StoreState, last_ts: int, next_id: int) -> None:
        super().__init__(state, last_ts)
        self.last_ts = last_ts
        self.mutex = Lock()
        self.active: dict[int, MemTree] = {}  # trees that take writes: their active MemTree
        self._next_id = max(next_id, FIRST_USER_ID)
        self._id_lock = Lock()
        self._rowids: dict[int, _RowidCounter] = {}
        self._highest: dict[int, int] = {}  # tree → highest int key of generations that are gone
        self.generation = state.generations[0]
        self._refresh_active()

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
            if highest >= self._next_id:  # Invariant 3
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
        horizon = self.oldest_snapshot_ts()
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

    def _refresh_active(self) -> None:
        newest = self.generation = self.state.generations[0]
        alive = self.state.trees
        self.active = {
            tree_id: memtree
            for tree_id, memtree in newest.trees.items()
            if tree_id in alive and alive[tree_id].dropped_ts == NEVER
        }


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
