"""A store that lives and dies with the process: no log, no file, the same answers as FileStore.

Its frozen trees are sorted lists, remade whole by `checkpoint`, so generations, history and
pinned states behave as they do over pages.

Invariants
1. `commit` is installed and published under the mutex; an interrupt in the middle is kept until
   the commit is whole (mvcc.install may be repeated), then raised.

Does not: survive; limit key and value sizes below what FileStore takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.storage.memtable import Generation
from engine.storage.mvcc import SYSTEM_SPECS, MvccStore, initial_state
from engine.storage.store import (
    TREE_DIRECTORY,
    Capabilities,
    Key,
    Loads,
    Row,
    Writes,
    decode_tree_spec,
)
from engine.storage.table_store import ListTree, TableView

MEMORY_KEY_SIZE_MAX = 2048
MEMORY_VALUE_SIZE_MAX = 1 << 30


class MemoryStore(MvccStore):
    """See the module header; the seam's words are in store.Store."""

    def __init__(self) -> None:
        super().__init__(initial_state(0, SYSTEM_SPECS, {}), last_ts=0, next_id=0)
        self.capabilities = Capabilities(MEMORY_KEY_SIZE_MAX, MEMORY_VALUE_SIZE_MAX, False, 0.0)

    def commit(
        self,
        writes: Writes,
        *,
        durability: str | None = None,
        wait: bool = True,
        validate: Callable[[], None] | None = None,
    ) -> int:
        self.require_open()
        interrupt: BaseException | None = None
        with self.mutex:
            self.require_trees(writes)
            if validate is not None:
                validate()
            commit_ts = self.last_ts + 1
            while True:  # Invariant 1
                try:
                    self.reinstall(commit_ts, writes)
                    self.last_ts = self.visible_ts = commit_ts
                    break
                except (KeyboardInterrupt, SystemExit) as caught:
                    interrupt = caught
        if interrupt is not None:
            raise interrupt
        return commit_ts

    def commit_loads(
        self,
        writes: Writes,
        loads: Loads,
        *,
        durability: str | None = None,
        validate: Callable[[], None] | None = None,
    ) -> int:
        merged: dict[int, Mapping[Key, Row | None]] = dict(writes)
        for tree_id, batches in loads.items():
            spec = decode_tree_spec(writes[TREE_DIRECTORY][tree_id] or ())
            rows: dict[Key, Row | None] = {}
            for batch in batches:
                values = [column.to_pylist() for column in batch.columns]
                if spec.key_column is None:
                    keys, *values = values
                else:
                    keys = values[spec.key_column]
                rows.update(zip(keys, zip(*values) if values else [()] * len(keys)))
            merged[tree_id] = rows
        return self.commit(merged, durability=durability, validate=validate)

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
