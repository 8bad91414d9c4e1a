"""A store that lives and dies with the process: no log, no file, the same answers as FileStore.

Its frozen trees are sorted lists, remade whole by `checkpoint`, so generations, history and
pinned states behave as they do over pages.

Invariants
1. A ListTree never changes.
2. `commit` is installed and published under the mutex; an interrupt in the middle is kept until
   the commit is whole (mvcc.install may be repeated), then raised.

Does not: survive; limit key and value sizes below what FileStore takes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING

from engine.storage.memtable import Generation
from engine.storage.mvcc import SYSTEM_SPECS, MvccStore, initial_state
from engine.storage.store import Capabilities, Key, Row, TreeSpec, Writes
from engine.storage.table_store import TableView, batches_of_rows, projection

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY_KEY_SIZE_MAX = 2048
MEMORY_VALUE_SIZE_MAX = 1 << 30


class ListTree:
    """A frozen tree as two parallel lists in key order."""

    __slots__ = ("keys", "rows", "spec")

    def __init__(self, spec: TreeSpec, entries: list[tuple[Key, Row]]) -> None:
        self.spec = spec
        self.keys: list[Key] = [key for key, _ in entries]
        self.rows: list[Row] = [row for _, row in entries]

    def get(self, key: Key) -> Row | None:
        place = bisect_left(self.keys, key)  # type: ignore[type-var]
        if place < len(self.keys) and self.keys[place] == key:
            return self.rows[place]
        return None

    def point_reader(self, columns: tuple[int, ...] | None = None) -> Callable[[Key], Row | None]:
        if columns is None:
            return self.get
        project = projection(columns)

        def read(key: Key) -> Row | None:
            row = self.get(key)
            return None if row is None else project(row)

        return read

    def _places(self, lo: Key | None, hi: Key | None) -> range:
        start = 0 if lo is None else bisect_left(self.keys, lo)  # type: ignore[type-var]
        stop = len(self.keys) if hi is None else bisect_left(self.keys, hi)  # type: ignore[type-var]
        return range(start, stop)

    def scan(
        self,
        lo: Key | None = None,
        hi: Key | None = None,
        reverse: bool = False,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[tuple[Key, Row]]:
        project = projection(columns)
        places = self._places(lo, hi)
        for place in reversed(places) if reverse else places:
            yield self.keys[place], project(self.rows[place])

    def scan_batches(
        self,
        lo: Key | None = None,
        hi: Key | None = None,
        columns: tuple[int, ...] | None = None,
        with_key: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        entries = self.scan(lo, hi, False, columns)
        if with_key:
            kind = "int64" if self.spec.key_kind == "int" else "binary"
            keyed = ((key, *row) for key, row in entries)
            return batches_of_rows(self.spec, columns, keyed, kind)
        return batches_of_rows(self.spec, columns, map(itemgetter(1), entries))

    def count_range(self, lo: Key | None = None, hi: Key | None = None) -> int:
        return len(self._places(lo, hi))

    def first_key(self) -> Key | None:
        return self.keys[0] if self.keys else None

    def last_key(self) -> Key | None:
        return self.keys[-1] if self.keys else None


class MemoryStore(MvccStore):
    """See the module header; the seam's words are in store.Store."""

    def __init__(self) -> None:
        super().__init__(initial_state(0, SYSTEM_SPECS, {}), last_ts=0, next_id=0)
        self.capabilities = Capabilities(MEMORY_KEY_SIZE_MAX, MEMORY_VALUE_SIZE_MAX, False, 0.0)

    def commit(self, writes: Writes, *, durability: str | None = None, wait: bool = True) -> int:
        self.require_open()
        interrupt: BaseException | None = None
        with self.mutex:
            self.require_trees(writes)
            commit_ts = self.last_ts + 1
            while True:  # Invariant 2
                try:
                    self.install(commit_ts, writes)
                    self.last_ts = self.visible_ts = commit_ts
                    break
                except (KeyboardInterrupt, SystemExit) as caught:
                    interrupt = caught
        if interrupt is not None:
            raise interrupt
        return commit_ts

    def wait_durable(self, commit_ts: int) -> None:
        """Nothing here is durable; nothing to wait for."""

    def checkpoint(self) -> int:
        self.require_open()
        with self.mutex:
            if not any(memtree.versions for memtree in self.active.values()):
                return self.state.checkpoint_no
            sealed = self.seal()
            checkpoint_no = self.state.checkpoint_no + 1
            frozen = {
                tree_id: self._merged(view, sealed)
                for tree_id, view in self.state.trees.items()
                if view.dropped_ts > sealed.last_ts
            }
            self.publish_checkpoint(checkpoint_no, sealed, frozen)
        return checkpoint_no

    def _merged(self, view: TableView, sealed: Generation) -> ListTree:
        return ListTree(view.spec, list(view.scan(sealed.last_ts, None, None, False, None)))

    def close(self) -> None:
        self.close_snapshots()
