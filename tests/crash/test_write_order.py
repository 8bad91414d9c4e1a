"""Every workload on a Vfs that knows the protocol: no live page written, no meta page before its
pages are synced, no segment removed while a meta page needs it, no early acknowledgement."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from engine.errors import Error
from engine.storage import page
from engine.storage.btree import Tree
from engine.storage.buffer_pool import BufferPool
from engine.storage.data_file import tree_pages
from engine.storage.directory import DIRECTORY_PAGES_SPEC, decode_entry
from engine.storage.file_store import FileStore
from engine.storage.freespace import FreeSpace, PageAllocator, read_free_list
from engine.vfs_checking import CheckingFile, CheckingVfs, Hooks
from engine.vfs_memory import MemoryVfs
from engine.wal.reader import scan_log
from engine.wal.record import COMMIT
from tests.crash.harness import PATH, Run, Workload
from tests.crash.workloads import WORKLOADS, many_checkpoints, relaxed


class Protocol(Hooks):
    """The rules that need to know what bytes mean, read from the disk itself."""

    def __init__(self, disk: MemoryVfs) -> None:
        super().__init__()
        self.disk = disk
        self.live: dict[int, tuple[int, frozenset[int]]] = {}  # checkpoint → page size, pages
        self.page_is_live = self._page_is_live
        self.meta_size = self._meta_size
        self.segment_is_needed = self._segment_is_needed
        self.last_lsn = self._last_lsn

    def metas(self) -> list[page.Meta]:
        if not self.disk.exists(PATH):
            return []
        file = self.disk.open(PATH, readonly=True)
        try:
            slots = page.read_metas(file)
        except Error:
            return []
        finally:
            file.close()
        return [meta for meta in (slots.newest, slots.older) if meta is not None]

    def _page_is_live(self, path: str, offset: int, size: int) -> bool:
        if path != PATH:
            return False
        metas = self.metas()
        if not metas:
            return False
        page_size = metas[0].page_size
        if offset < 2 * page_size:
            return offset // page_size == page.meta_slot(metas[0].checkpoint_no)
        touched = range(offset // page_size, (offset + size - 1) // page_size + 1)
        return any(no in self.pages_of(meta) for meta in metas for no in touched)

    def pages_of(self, meta: page.Meta) -> frozenset[int]:
        """Every page a meta page reaches, read once (they may never change)."""
        if meta.checkpoint_no not in self.live:
            file = self.disk.open(PATH, readonly=True)
            pool = BufferPool(file, meta.page_size, io="pread")
            reached = set(tree_pages(pool, meta.directory))
            for key, row in Tree(pool, DIRECTORY_PAGES_SPEC, meta.directory).scan():
                reached |= set(tree_pages(pool, decode_entry(key, row).root))
            space = read_free_list(
                pool.page,
                meta.free_page_no,
                meta.free_checksum,
                meta.page_count,
                meta.free_page_count,
            )
            reached |= set(space.list_pages)
            self.live[meta.checkpoint_no] = (meta.page_size, frozenset(reached))
            file.close()
        return self.live[meta.checkpoint_no][1]

    def _meta_size(self, path: str) -> int:
        metas = self.metas() if path == PATH else []
        return 2 * metas[0].page_size if metas else 0

    def _segment_is_needed(self, path: str) -> bool:
        metas = self.metas()
        if "-wal-" not in path or not metas:
            return False
        from_lsn = min(meta.ckpt_lsn for meta in metas) + 1
        number = int(path.rpartition("-")[2]) if path[-1].isdigit() else -1
        return any(
            record.type == COMMIT and record.segment_no == number
            for record in scan_log(self.disk, PATH, None, from_lsn)
        )

    def _last_lsn(self, path: str, offset: int, data: bytes) -> int:
        if "-wal-" not in path or bytes(data[:2]) != b"WM":
            return 0
        lsn: int = struct.unpack_from("<Q", data, 16)[0]
        return lsn


class OrderedRun(Run):
    """Tells the Vfs what is acknowledged."""

    def commit(self, writes, *, wait=True, durability=None):  # type: ignore[no-untyped-def]
        commit_ts = super().commit(writes, wait=wait, durability=durability)
        if self.acknowledged == commit_ts:
            assert self.store is not None
            self.disk.acknowledge(self.store.log.written_lsn)
        return commit_ts


def run_in_order(workload: Workload, seed: int) -> CheckingVfs:
    disk = MemoryVfs()
    vfs = CheckingVfs(disk, Protocol(disk))
    run = OrderedRun(vfs, seed, "os" if workload is relaxed else "group")  # type: ignore[arg-type]
    workload(run, random.Random(seed))
    return vfs


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.__name__)
def test_writes_keep_the_order(workload: Workload, seed: int) -> None:
    vfs = run_in_order(workload, seed)
    assert vfs.violations == []
    assert vfs.durable_lsn > 0


def reuse_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages freed by one checkpoint are used by the next."""
    begin = FreeSpace.begin

    def early(self: FreeSpace, checkpoint_no: int, through: int, size: int) -> PageAllocator:
        return begin(self, checkpoint_no, checkpoint_no, size)

    monkeypatch.setattr(FreeSpace, "begin", early)


def meta_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are not synced before the meta page is written."""
    sync = CheckingFile.sync

    def skip(self: CheckingFile, data_only: bool = True) -> None:
        if data_only or not self.path.endswith(".mantis"):
            sync(self, data_only)

    monkeypatch.setattr(CheckingFile, "sync", skip)


def retire_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is kept back to the newest meta page only."""
    adopt = FileStore._checkpoint

    def eager(self: FileStore, closing: bool = False) -> int:
        number = adopt(self, closing)
        self.log.retire(self.data.meta.ckpt_lsn + 1)
        return number

    monkeypatch.setattr(FileStore, "_checkpoint", eager)


def same_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta page goes over the newest one."""
    monkeypatch.setattr(page, "meta_slot", lambda checkpoint_no: 0)


@pytest.mark.parametrize(
    "mutate", [reuse_at_once, meta_first, retire_newest, same_slot], ids=lambda f: f.__name__
)
def test_a_broken_order_is_caught(
    mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        run_in_order(many_checkpoints, 1)
