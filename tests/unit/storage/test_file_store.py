"""What only the store over a file has: pins, reused pages, budgets, failures, write limits."""

from __future__ import annotations

import random
import threading

import pytest

from engine.errors import DataError, DiskFull, EngineFailed, InterfaceError, StorageError
from engine.storage.checkpoint import run_unsignalled
from engine.storage.data_file import DataFile
from engine.storage.file_store import FileStore, open_file_store
from engine.storage.page import Meta
from engine.storage.recoverable_store import StoreOptions
from engine.storage.store import TREE_DIRECTORY, ColumnSpec, TreeSpec, encode_tree_spec
from engine.vfs_memory import MemoryVfs
from engine.vfs_simulated import SimulatedDisk

SPEC = TreeSpec(20, "int", (ColumnSpec(0, "int64"), ColumnSpec(1, "utf8")), key_column=0)
NAMES = TreeSpec(21, "bytes", ())


def make(disk: object | None = None, **more: object) -> FileStore:
    ticks = iter(range(1, 1 << 60))
    options = StoreOptions(
        clock_us=lambda: next(ticks),
        timer=lambda: 0.0,
        random_bytes=random.Random(1).randbytes,
        **{"background": False, **more},  # type: ignore[arg-type]
    )
    store = open_file_store(
        "/data/a.mantis",
        vfs=MemoryVfs() if disk is None else disk,  # type: ignore[arg-type]
        options=options,
        create_page_size=4096,
    )
    store.commit({TREE_DIRECTORY: {20: encode_tree_spec(SPEC), 21: encode_tree_spec(NAMES)}})
    return store


def fill(store: FileStore, text: str, count: int = 400) -> None:
    store.commit({20: {n: (n, text) for n in range(count)}})


def test_a_pinned_snapshot_reads_the_same_while_pages_are_reused() -> None:
    store = make()
    fill(store, "first")
    store.checkpoint()
    pinned = store.snapshot()
    for number in range(12):
        fill(store, f"round {number}")
        store.checkpoint()
        assert {row[1] for _, row in pinned.scan(20)} == {"first"}
        assert pinned.get(20, 7) == (7, "first")
    grown = store.data.meta.page_count
    assert store.oldest_pinned_checkpoint() < store.data.meta.checkpoint_no - 5
    pinned.close()
    sizes = set()
    for number in range(12):
        fill(store, f"later {number}")
        store.checkpoint()
        sizes.add(store.data.meta.page_count)
    assert max(sizes) <= grown + 4, "the file grows although nobody reads the old pages"
    assert len(store.history) == 0
    store.close()


def test_the_history_is_kept_for_old_snapshots_and_then_dropped() -> None:
    store = make()
    fill(store, "a")
    old = store.snapshot()
    for number in range(3):
        store.commit({20: {number: (number, "b")}})
        store.checkpoint()
    assert len(store.history) == 3
    assert store.latest_commit_ts(20, 0, old) > old.commit_ts
    assert store.latest_commit_ts(20, 9, old) == 0
    assert store.changed_since(20, 0, 1, old)
    assert not store.changed_since(20, 9, None, old)
    old.close()
    assert store.history == []
    store.close()


def test_writers_wait_for_room_and_the_memtable_stays_in_its_budget() -> None:
    store = make(memtable_start_bytes=20_000, memtable_limit_bytes=60_000)
    first = store.data.meta.checkpoint_no
    for number in range(2000):
        store.commit({20: {number: (number, "x" * 20)}})
        used = sum(generation.bytes_used for generation in store.state.generations)
        assert used < 62_000
    assert store.data.meta.checkpoint_no > first + 5
    assert store.snapshot().count(20) == 2000
    store.close()


def test_a_background_thread_checkpoints_by_size() -> None:
    store = make(memtable_start_bytes=20_000, memtable_limit_bytes=1 << 40, background=True)
    first = store.data.meta.checkpoint_no
    for number in range(3000):
        store.commit({20: {number: (number, "x" * 20)}}, durability="os")
    for thread in threading.enumerate():
        if thread.name == "mantis-checkpoint":
            thread.join(30)
    assert store.data.meta.checkpoint_no > first
    store.close()


def test_a_key_that_no_page_takes_is_refused_before_the_log() -> None:
    store = make()
    lsn = store.log.written_lsn
    with pytest.raises(DataError) as caught:
        store.commit({21: {b"k" * (store.capabilities.max_key_size + 1): ()}})
    assert caught.value.sqlstate == "54000"
    assert store.log.written_lsn == lsn
    longest = b"k" * store.capabilities.max_key_size
    store.commit({21: {longest: ()}})
    store.checkpoint()
    assert store.point_reader(21)(longest) == ()
    store.close()


def test_a_failed_checkpoint_changes_nothing_and_is_tried_again() -> None:
    disk = SimulatedDisk(1)
    store = make(disk, io="pread")
    fill(store, "kept")
    number = store.data.meta.checkpoint_no
    disk.inject("ENOSPC", 1, forever=True, operations=("allocate",))
    with pytest.raises(DiskFull):
        store.checkpoint()
    disk.clear_faults()
    assert store.data.meta.checkpoint_no == number
    assert store.failure is None
    store.commit({20: {1: (1, "new")}})
    assert store.point_reader(20)(2) == (2, "kept")
    store.checkpoint()
    assert store.data.meta.checkpoint_no > number
    assert store.point_reader(20)(1) == (1, "new")
    assert len(store.state.generations) == 1
    store.close()


def test_a_meta_page_that_cannot_be_synced_fails_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(self: DataFile, meta: Meta) -> None:
        raise StorageError("cannot sync")

    disk = SimulatedDisk(1)
    store = make(disk, io="pread")
    fill(store, "kept")
    monkeypatch.setattr(DataFile, "write_meta", broken)
    with pytest.raises(EngineFailed):
        store.checkpoint()
    monkeypatch.undo()
    for ask in (lambda: store.commit({20: {1: (1, "")}}), store.checkpoint):
        with pytest.raises(EngineFailed):
            ask()
    assert store.point_reader(20)(1) == (1, "kept")
    assert store.snapshot().count(20) == 400
    store.close()
    assert any("-wal-" in name for name in disk.list_dir("/data"))
    again = open_file_store("/data/a.mantis", vfs=disk, options=store.options)
    assert again.point_reader(20)(1) == (1, "kept")
    again.close()


def test_a_closed_store_refuses_everything() -> None:
    store = make()
    read = store.point_reader(20)
    fill(store, "x")
    store.close()
    store.close()
    for ask in (
        lambda: store.commit({20: {1: (1, "")}}),
        store.checkpoint,
        lambda: read(1),
        lambda: store.snapshot().get(20, 1),
    ):
        with pytest.raises(InterfaceError):
            ask()


def test_an_action_runs_in_another_thread_and_its_error_comes_back() -> None:
    here = threading.get_ident()
    assert run_unsignalled(threading.get_ident) != here

    def fail() -> None:
        raise DiskFull("no room")

    with pytest.raises(DiskFull):
        run_unsignalled(fail)
