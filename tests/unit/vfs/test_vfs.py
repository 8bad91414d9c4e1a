"""The three file systems keep one contract; the real one hides short writes and EINTR."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CannotOpen, DiskFull, MissingFile, ReadOnly, StorageError
from engine.vfs import MAP_GRANULARITY, OsVfs, Vfs, storage_error, write_fully
from engine.vfs_checking import CheckingVfs
from engine.vfs_memory import MemoryBytes, MemoryVfs
from engine.vfs_simulated import SimulatedDisk

MAKERS: dict[str, Callable[[], Any]] = {
    "os": OsVfs,
    "memory": MemoryVfs,
    "simulated": SimulatedDisk,
    "checking": lambda: CheckingVfs(MemoryVfs()),
}


@pytest.fixture(params=list(MAKERS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Vfs, str]:
    """(a file system, a directory in it)"""
    return MAKERS[request.param](), str(tmp_path)


def test_read_write_grow_and_cut(place: tuple[Vfs, str]) -> None:
    vfs, directory = place
    path = f"{directory}/a"
    with pytest.raises(MissingFile):
        vfs.open(path)
    file = vfs.open(path, create=True)
    file.write(10, b"hello")
    assert file.size() == 15
    assert file.read(0, 100) == bytes(10) + b"hello"
    assert file.read(12, 2) == b"ll" and file.read(15, 4) == b"" and file.read(99, 4) == b""
    file.write(8, memoryview(b"xyz"))
    assert file.read(8, 3) == b"xyz"
    file.allocate(5000)
    assert file.size() == 5000 and file.read(15, 4985) == bytes(4985)
    file.allocate(100)
    assert file.size() == 5000
    file.truncate(12)
    file.truncate(20)
    assert file.read(0, 100) == bytes(8) + b"xyze" + bytes(8)
    file.sync()
    file.sync(data_only=False)
    file.close()
    file.close()
    with pytest.raises(CannotOpen):
        vfs.open(path, create=True, exclusive=True)


def test_read_only_handles_refuse_writes(place: tuple[Vfs, str]) -> None:
    vfs, directory = place
    vfs.open(f"{directory}/a", create=True).write(0, b"abc")
    file = vfs.open(f"{directory}/a", readonly=True)
    for attempt in (
        lambda: file.write(0, b"x"),
        lambda: file.truncate(0),
        lambda: file.allocate(10),
    ):
        with pytest.raises(ReadOnly):
            attempt()
    assert file.read(0, 9) == b"abc"


def test_names(place: tuple[Vfs, str]) -> None:
    vfs, directory = place
    for name in ("b", "a"):
        vfs.open(f"{directory}/{name}", create=True).write(0, name.encode())
    assert vfs.list_dir(directory) == ["a", "b"]
    assert vfs.identity(f"{directory}/a") != vfs.identity(f"{directory}/b")
    before = vfs.identity(f"{directory}/a")
    vfs.rename(f"{directory}/a", f"{directory}/b")
    assert vfs.identity(f"{directory}/b") == before
    assert vfs.list_dir(directory) == ["b"] and not vfs.exists(f"{directory}/a")
    assert vfs.open(f"{directory}/b").read(0, 9) == b"a"
    vfs.sync_dir(directory)
    vfs.remove(f"{directory}/b")
    assert vfs.list_dir(directory) == []
    for attempt in (
        lambda: vfs.remove(f"{directory}/b"),
        lambda: vfs.rename(f"{directory}/b", f"{directory}/c"),
        lambda: vfs.identity(f"{directory}/b"),
    ):
        with pytest.raises(MissingFile):
            attempt()


def test_maps_show_later_writes(place: tuple[Vfs, str]) -> None:
    vfs, directory = place
    file = vfs.open(f"{directory}/a", create=True)
    file.write(0, b"x" * (2 * MAP_GRANULARITY))
    view = file.map(MAP_GRANULARITY, 100)
    assert view.readonly and bytes(view[:3]) == b"xxx"
    file.write(MAP_GRANULARITY, b"new")
    assert bytes(view[:3]) == b"new"
    file.unmap(view)
    with pytest.raises(StorageError):
        file.map(2 * MAP_GRANULARITY, 100)
    view = file.map(0, 10)
    part = view[2:4]
    file.unmap(view)
    assert bytes(part) == b"xx"  # a view made from it keeps the memory


def test_locks_belong_to_the_handle(place: tuple[Vfs, str]) -> None:
    vfs, directory = place
    first = vfs.open(f"{directory}/a", create=True)
    second = vfs.open(f"{directory}/a")
    assert first.lock(exclusive=True) and not second.lock(exclusive=False)
    vfs.open(f"{directory}/a").close()  # lockf would lose the lock here
    assert not second.lock(exclusive=True)
    first.unlock()
    assert first.lock(exclusive=False) and second.lock(exclusive=False)
    assert not first.lock(exclusive=True)
    second.close()
    assert first.lock(exclusive=True)


def test_write_fully_goes_on_after_short_writes_and_interruptions() -> None:
    written: dict[int, bytes] = {}
    calls = iter([3, InterruptedError(), 1, InterruptedError(), 2, 4])

    def pwrite(part: memoryview, offset: int) -> int:
        outcome = next(calls)
        if isinstance(outcome, Exception):
            raise outcome
        written[offset] = bytes(part[:outcome])
        return outcome

    write_fully(pwrite, b"0123456789", 100)
    assert written == {100: b"012", 103: b"3", 104: b"45", 106: b"6789"}
    with pytest.raises(OSError):
        write_fully(lambda part, offset: 0, b"x", 0)


def test_the_real_file_loops_over_short_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, memoryview(data)[:3], at))
    file = OsVfs().open(str(tmp_path / "a"), create=True)
    file.write(5, b"hello world")
    assert file.read(5, 20) == b"hello world"


def test_the_real_file_loops_over_short_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = OsVfs().open(str(tmp_path / "a"), create=True)
    file.write(0, b"hello world")
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: real(fd, min(size, 4), at))
    assert file.read(1, 20) == b"ello world"
    assert file.read(0, 9) == b"hello wor"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EIO, StorageError),
        (errno.EROFS, ReadOnly),
        (errno.ENOENT, MissingFile),
    ],
)
def test_errors_are_classes_with_facts(number: int, kind: type[Exception]) -> None:
    error = storage_error(OSError(number, "x"), "/a/b", "write")
    assert type(error) is kind
    assert "/a/b" in error.message
    if isinstance(error, StorageError):
        assert (error.path, error.operation, error.errno) == ("/a/b", "write", number)


def test_opening_what_cannot_be(tmp_path: Path) -> None:
    vfs = OsVfs()
    with pytest.raises(CannotOpen):
        vfs.open(str(tmp_path))
    with pytest.raises(CannotOpen):
        vfs.open(str(tmp_path), readonly=True)
    with pytest.raises(MissingFile):
        vfs.open(str(tmp_path / "no" / "file"), create=True)
    if os.geteuid() != 0:
        (tmp_path / "closed").touch(mode=0o000)
        with pytest.raises(CannotOpen, match="ermission"):
            vfs.open(str(tmp_path / "closed"))


def test_low_descriptors_are_never_used(tmp_path: Path) -> None:
    """A program that closed its standard input must not get a database as descriptor 0."""
    saved = os.dup(0)
    os.close(0)
    try:
        file = OsVfs().open(str(tmp_path / "a"), create=True)
        assert file._fd > 2
        file.write(0, b"x")
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def test_memory_bytes_keep_old_views_live_when_they_grow() -> None:
    memory = MemoryBytes(b"abc")
    view = memory.view(0, 3)
    memory.write(200 << 20, b"far")
    memory.write(0, b"xyz")
    assert bytes(view) == b"xyz" and memory.read(200 << 20, 9) == b"far"
    memory.resize(1)
    assert bytes(view) == b"x\0\0"
