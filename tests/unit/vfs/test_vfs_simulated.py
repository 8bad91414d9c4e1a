"""The simulated disk keeps what was synced and may lose or spoil anything else."""

from __future__ import annotations

import pytest

from engine.errors import DiskFull, Error, StorageError
from engine.vfs_simulated import SECTOR_SIZE, SimulatedCrash, SimulatedDisk

SEEDS = range(200)


def disk_with(path: str, data: bytes) -> SimulatedDisk:
    """A disk with one synced file."""
    disk = SimulatedDisk()
    file = disk.open(path, create=True)
    file.write(0, data)
    file.sync()
    disk.sync_dir("/d")
    return disk


def contents(disk: SimulatedDisk, path: str) -> bytes:
    file = disk.open(path)
    return file.read(0, file.size())


def test_synced_bytes_always_survive() -> None:
    disk = disk_with("/d/a", b"one" * 1000)
    for seed in SEEDS:
        assert contents(disk.crash_image(seed), "/d/a") == b"one" * 1000


def test_unsynced_sectors_take_every_fate() -> None:
    old, new = b"o" * SECTOR_SIZE, b"n" * SECTOR_SIZE
    disk = disk_with("/d/a", old * 4)
    file = disk.open("/d/a")
    file.write(SECTOR_SIZE, new)
    fates = set()
    for seed in SEEDS:
        raw = contents(disk.crash_image(seed), "/d/a")
        assert raw[:SECTOR_SIZE] == old and raw[2 * SECTOR_SIZE :] == old * 2
        sector = raw[SECTOR_SIZE : 2 * SECTOR_SIZE]
        known = {old: "old", new: "new", bytes(SECTOR_SIZE): "zero"}
        fates.add(known.get(sector, "garbage"))
    assert fates == {"old", "new", "zero", "garbage"}
    file.sync()
    assert contents(disk.crash_image(1), "/d/a") == old + new + old * 2


def test_garbage_spares_bytes_synced_before() -> None:
    disk = disk_with("/d/a", b"k" * 100)
    disk.open("/d/a").write(100, b"n" * 50)
    for seed in SEEDS:
        assert contents(disk.crash_image(seed), "/d/a")[:100] == b"k" * 100
    disk.powersafe = False
    assert any(contents(disk.crash_image(seed), "/d/a")[:100] != b"k" * 100 for seed in SEEDS)


def test_sizes_are_lost_and_found() -> None:
    disk = disk_with("/d/a", b"x" * 100)
    file = disk.open("/d/a")
    file.write(100, b"y" * 1000)
    file.truncate(40)
    sizes = {len(contents(disk.crash_image(seed), "/d/a")) for seed in SEEDS}
    assert sizes == {100, 1100, 40}
    file.sync()
    assert {len(contents(disk.crash_image(seed), "/d/a")) for seed in SEEDS} == {40}


def test_names_are_lost_one_by_one_until_the_directory_is_synced() -> None:
    disk = disk_with("/d/a", b"a")
    disk.open("/d/b", create=True).sync()
    disk.rename("/d/a", "/d/c")
    disk.open("/d/e", create=True)
    disk.remove("/d/e")
    found = {tuple(disk.crash_image(seed).list_dir("/d")) for seed in SEEDS}
    assert {("a",), ("a", "b"), ("c",), ("b", "c")} <= found
    assert any("e" in names for names in found)
    disk.sync_dir("/d")
    assert {tuple(disk.crash_image(seed).list_dir("/d")) for seed in SEEDS} == {("b", "c")}


def test_a_removed_file_may_come_back_whole() -> None:
    disk = disk_with("/d/a", b"data")
    disk.remove("/d/a")
    states = set()
    for seed in SEEDS:
        image = disk.crash_image(seed)
        states.add(contents(image, "/d/a") if image.exists("/d/a") else None)
    assert states == {None, b"data"}


def test_a_failed_sync_loses_pages_that_the_cache_still_shows() -> None:
    disk = disk_with("/d/a", b"o" * 10)
    file = disk.open("/d/a")
    file.write(0, b"n" * 10)
    disk.inject("failed sync")
    with pytest.raises(StorageError):
        file.sync()
    assert file.read(0, 10) == b"n" * 10
    file.sync()  # "succeeds", as on Linux
    assert any(contents(disk.crash_image(seed), "/d/a") == b"o" * 10 for seed in SEEDS)
    file.write(0, b"N" * 10)  # written again, it is dirty again
    file.sync()
    assert all(contents(disk.crash_image(seed), "/d/a") == b"N" * 10 for seed in SEEDS)


def test_faults_strike_the_nth_operation_once_or_for_ever() -> None:
    disk = disk_with("/d/a", b"")
    file = disk.open("/d/a")
    disk.inject("EIO", 2, operations=("write",))
    file.write(0, b"1")
    with pytest.raises(StorageError):
        file.write(1, b"2")
    file.write(2, b"3")
    disk.inject("ENOSPC", 1, forever=True, path_part="/a")
    for _ in range(3):
        with pytest.raises(DiskFull):
            file.write(0, b"long enough to be cut")
    disk.clear_faults()
    file.write(0, b"fine")


def test_enospc_may_leave_a_part_and_short_writes_are_invisible() -> None:
    disk = disk_with("/d/a", b"")
    file = disk.open("/d/a")
    for kind in ("short write", "EINTR"):
        disk.inject(kind)
        file.write(0, b"whole text")
        assert file.read(0, 99) == b"whole text"
    parts = set()
    for _ in range(50):
        file.truncate(0)
        disk.inject("ENOSPC", operations=("write",))
        with pytest.raises(DiskFull):
            file.write(0, b"abcdef")
        parts.add(file.read(0, 99))
    assert len(parts) > 3 and all(b"abcdef".startswith(part) for part in parts)


def test_runs_can_stop_anywhere_and_repeat_exactly() -> None:
    def run(disk: SimulatedDisk) -> None:
        file = disk.open("/d/a", create=True)
        for number in range(10):
            file.write(number * 300, bytes([number]) * 300)
            if number % 3 == 0:
                file.sync()
        disk.sync_dir("/d")

    whole = SimulatedDisk(7)
    names: list[str] = []
    whole.on_operation = lambda index, name, path: names.append(name)
    run(whole)
    assert whole.operation_count == len(names) == 16
    for crash_at in range(16):
        disk = SimulatedDisk(7)
        disk.crash_at = crash_at
        with pytest.raises(SimulatedCrash):
            run(disk)
        with pytest.raises(SimulatedCrash):  # the machine stays off
            disk.open("/d/z", create=True)
        image, again = disk.crash_image(3), disk.crash_image(3)
        assert image.list_dir("/d") == again.list_dir("/d")
        for name in image.list_dir("/d"):
            assert contents(image, f"/d/{name}") == contents(again, f"/d/{name}")


def test_a_restart_kills_handles_and_locks_but_not_the_cache() -> None:
    disk = disk_with("/d/a", b"old")
    file = disk.open("/d/a")
    assert file.lock(exclusive=True)
    file.write(0, b"new")
    disk.restart()
    with pytest.raises(Error):
        file.read(0, 3)
    file.close()
    second = disk.open("/d/a")
    assert second.read(0, 3) == b"new" and second.lock(exclusive=True)
