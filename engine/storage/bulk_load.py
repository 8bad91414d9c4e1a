"""Bulk load: whole new trees from Arrow batches, committed with ordinary writes, all or nothing.

    build     (checkpoint lock) leaves and branches straight into pages that nothing reaches
    install   (commit mutex)    the other writes go into the memtable under the next commit_ts;
                                nothing of them is logged
    seal, checkpoint            as in checkpoint.py, with the new roots in the directory
    repeat                      the other meta page says the same, so that no open can choose a
                                checkpoint without the load
    note                        a NOTE in the log names the trees, for whoever reads it
    publish                     visible_ts moves to the load's commit_ts

Invariants
1. Rows of a load are in no log record: pages and both meta pages are synced before the commit is
   acknowledged or seen by anyone.
2. From install to publish the commit mutex is held, so no log record has a commit_ts above the
   load's before the load is durable: a crash leaves the log dense and the load absent, or both
   meta pages' ckpt_lsn past it.
3. A load fills trees that its own write set creates. So no snapshot below its commit_ts can see
   them, and no version of theirs is in a memtable.
4. Up to install a failure changes nothing. After it the store is FAILED: what the disk holds is
   the state before, or the whole load.

Does not: sort, check constraints, or make index entries (the caller does).
"""

from __future__ import annotations

import msgspec

from engine.errors import InternalError
from engine.storage.buffer_pool import FilePageSink
from engine.storage.bulk_build import build_tree_from_batches
from engine.storage.data_file import DataFile
from engine.storage.freespace import PageAllocator
from engine.storage.page import TreeRoot
from engine.storage.store import TREE_DIRECTORY, Loads, Writes, decode_tree_spec


class Loaded(msgspec.Struct, frozen=True):
    """Trees that are built and reached by nothing yet. space: the allocator that made them."""

    space: PageAllocator
    roots: dict[int, TreeRoot]


def build_loads(data: DataFile, writes: Writes, loads: Loads, reusable_through: int) -> Loaded:
    """Write the trees' pages. The caller holds the checkpoint lock until the load is published.

    Raises InternalError for a tree that `writes` does not create (Invariant 3), whatever the
    batches raise, DiskFull; then nothing is reached and nothing has changed.
    """
    created = writes.get(TREE_DIRECTORY, {})
    space = data.space.begin(data.next_checkpoint_no, reusable_through, data.meta.page_size)
    sink = FilePageSink(data.file, data.pool)
    roots: dict[int, TreeRoot] = {}
    try:
        for tree_id, batches in loads.items():
            row = created.get(tree_id)
            if row is None:
                raise InternalError(f"a load of tree {tree_id}, which is not new")
            if writes.get(tree_id):
                raise InternalError(f"a load of tree {tree_id}, which also has single rows")
            roots[tree_id] = build_tree_from_batches(decode_tree_spec(row), batches, space, sink)
    except BaseException:
        space.rollback()  # Invariant 4
        raise
    return Loaded(space, roots)
