"""The checkpoint: memtable generations merged into new trees. The only writer of the data file.

    seal (commit mutex)   C = last commit, generation g closed, log goes on in a new segment
    settle                the log is synced up to C, whatever the policy; C is published
    build  (no lock)      changed leaves and the branches above them go to unreachable pages;
                          then the directory, then the free list
    sync 1                file size and pages are durable
    meta                  the other slot, sync 2: from here on the new checkpoint is the truth
    publish               new state (frozen trees, generations > g); pages freed; segments retired

Invariants
1. Nothing that either durable meta page reaches is written; new pages come from the allocator
   with reusable_through = min(oldest pinned checkpoint, older durable checkpoint).
2. A commit is in the trees of checkpoint N exactly when its LSN <= ckpt_lsn of N's meta page.
3. One checkpoint at a time (`_running`), numbers strictly increasing.
4. Up to sync 1 a failure drops the attempt: the allocator forgets it, the sealed generation stays
   in place and the next attempt merges it. A failure of the meta page's write or sync leaves
   open which checkpoint is on the disk: the store goes FAILED, nothing is overwritten any more.
5. The log is kept back to the older durable meta page: segments go only below its ckpt_lsn.
6. It runs in a thread of its own, where signal handlers never run; the caller of `run` waits and
   may be interrupted, the checkpoint is not.

States of an attempt: sealed → built → synced → durable → published; any → dropped before durable.

Does not: read the log, choose when to run (recoverable_store.py does).
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from engine.errors import EngineFailed, Error
from engine.storage.btree import Tree
from engine.storage.buffer_pool import FilePageSink
from engine.storage.bulk_load import Loaded
from engine.storage.data_file import CLOSED_CLEANLY, DataFile, tree_pages
from engine.storage.directory import DIRECTORY_PAGES_SPEC, DirectoryEntry, encode_entry
from engine.storage.freespace import FreeList, PageAllocator
from engine.storage.memtable import Generation, MemTree
from engine.storage.merge import merge_tree
from engine.storage.page import EMPTY_ROOT, Meta, TreeRoot
from engine.storage.store import TREE_DIRECTORY, Key, Row, TreeSpec
from engine.storage.table_store import TableView

_T = TypeVar("_T")


class CheckpointInput(msgspec.Struct):
    """What a checkpoint holds: all commits up to `last_ts` (log records up to `ckpt_lsn`).

    views: the trees that exist at last_ts; generations: newest first, all sealed."""

    last_ts: int
    ckpt_lsn: int
    next_object_id: int
    views: Mapping[int, TableView]
    generations: Sequence[Generation]
    reusable_through: int
    closing: bool
    loaded: Loaded | None = None  # trees that a bulk load built (bulk_load.py)


class CheckpointResult(msgspec.Struct):
    """A durable checkpoint."""

    meta: Meta
    entries: dict[int, DirectoryEntry]


def write_checkpoint(data: DataFile, source: CheckpointInput) -> CheckpointResult:
    """Build, sync and make durable; `data` then is at the new checkpoint.

    Raises Error before the meta page (nothing changed), EngineFailed from there on.
    """
    checkpoint_no = data.next_checkpoint_no
    if source.loaded is not None:
        space = source.loaded.space
    else:
        space = data.space.begin(checkpoint_no, source.reusable_through, data.meta.page_size)
    try:
        entries, directory, free_list = _build(data, source, space)
        file_size = space.page_count * data.meta.page_size
        data.file.allocate(file_size, durable=False)
        data.file.sync(data_only=False)
    except BaseException:
        space.rollback()  # Invariant 4
        raise
    features = data.meta.optional_features & ~CLOSED_CLEANLY
    meta = msgspec.structs.replace(
        data.meta,
        checkpoint_no=checkpoint_no,
        ckpt_lsn=source.ckpt_lsn,
        last_commit_ts=source.last_ts,
        page_count=space.page_count,
        directory=directory,
        free_page_no=free_list.page_no,
        free_checksum=free_list.checksum,
        free_page_count=free_list.free_page_count,
        next_object_id=source.next_object_id,
        optional_features=features | (CLOSED_CLEANLY if source.closing else 0),
    )
    try:
        data.write_meta(meta)
    except Error as error:
        raise EngineFailed(
            f"the meta page of checkpoint {checkpoint_no} could not be written: {error.message}",
            path=data.file.path,
            operation="checkpoint",
            hint="close and reopen the database, and look at the disk",
        ) from error
    space.commit()
    data.adopt(meta, entries)
    return CheckpointResult(meta, entries)


def _build(
    data: DataFile, source: CheckpointInput, space: PageAllocator
) -> tuple[dict[int, DirectoryEntry], TreeRoot, FreeList]:
    """Write all new pages. Returns (directory entries, directory root, free list)."""
    sink = FilePageSink(data.file, data.pool)
    entries: dict[int, DirectoryEntry] = {}
    for tree_id, view in source.views.items():
        if tree_id == TREE_DIRECTORY:
            continue
        old = data.entries.get(tree_id)
        root = EMPTY_ROOT if old is None else old.root
        if source.loaded is not None:
            root = source.loaded.roots.get(tree_id, root)
        changes = merged_changes(tree_id, source.generations)
        if changes:
            root = _merge(data, view.spec, root, changes, space, sink)
        entries[tree_id] = DirectoryEntry(view.spec, root)
    changed: list[tuple[Key, Row | None]] = [
        (tree_id, encode_entry(entry))
        for tree_id, entry in entries.items()
        if data.entries.get(tree_id) != entry
    ]
    for tree_id, old in data.entries.items():
        if tree_id not in entries:
            space.free(tree_pages(data.pool, old.root))
            changed.append((tree_id, None))
    directory = data.meta.directory
    if changed:
        changed.sort(key=lambda change: change[0])
        directory = _merge(data, DIRECTORY_PAGES_SPEC, directory, changed, space, sink)
    return entries, directory, space.write_list(sink)


def _merge(
    data: DataFile,
    spec: TreeSpec,
    root: TreeRoot,
    changes: Sequence[tuple[Key, Row | None]],
    space: PageAllocator,
    sink: FilePageSink,
) -> TreeRoot:
    result = merge_tree(Tree(data.pool, spec, root), changes, space, sink)
    space.free(result.freed_page_nos)
    return result.root


def merged_changes(tree_id: int, generations: Sequence[Generation]) -> list[tuple[Key, Row | None]]:
    """The newest version of every key of the generations (newest first), in key order."""
    memtrees = [g.trees[tree_id] for g in generations if tree_id in g.trees]
    used = [memtree for memtree in memtrees if memtree.versions]
    if len(used) == 1:
        versions = used[0].versions
        return [(key, versions[key].row) for key in used[0].sorted_keys()]
    newest: dict[Key, Row | None] = {}
    for memtree in reversed(used):
        newest.update((key, version.row) for key, version in memtree.versions.items())
    order = sorted(newest)  # type: ignore[type-var]
    return [(key, newest[key]) for key in order]


def has_changes(generations: Sequence[Generation]) -> bool:
    """Whether any generation holds a version."""

    def used(memtree: MemTree) -> bool:
        return bool(memtree.versions)

    return any(any(map(used, generation.trees.values())) for generation in generations)


class _Job(Generic[_T]):
    """One action in a thread of its own. Whoever takes `claim` first decides: the thread runs the
    action, or the caller withdraws it."""

    __slots__ = ("action", "claim", "done", "error", "result")

    def __init__(self, action: Callable[[], _T]) -> None:
        self.action = action
        self.claim = threading.Lock()
        self.done = threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None
        self.result: list[_T] = []

    def run(self) -> None:
        if not self.claim.acquire(blocking=False):
            return
        try:
            self.result.append(self.action())
        except BaseException as error:
            self.error = error
        finally:
            self.done.release()


def run_unsignalled(action: Callable[[], _T], *, to_the_end: bool = False) -> _T:
    """Run an action where no signal handler can interrupt it (handlers run in the main thread
    only) and wait for it. An exception of a handler before it has begun withdraws it; later it
    ends the wait only, and with to_the_end it is kept until the action is over.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return action()
    job = _Job(action)
    interrupt: BaseException | None = None
    try:
        _thread.start_new_thread(job.run, ())  # threading.Thread.start is no single step
        job.done.acquire()
    except RuntimeError:  # the interpreter is shutting down: no threads, and nobody to signal
        job.run()
    except BaseException as caught:
        if job.claim.acquire(blocking=False) or not to_the_end:
            raise
        interrupt = caught
    while interrupt is not None and job.done.locked():
        try:
            job.done.acquire()
            job.done.release()
        except BaseException as caught:
            interrupt = caught
    if interrupt is not None:
        raise interrupt
    if job.error is not None:
        raise job.error
    return job.result[0]
