"""The writer: LSNs, segments, policies, failures, the background thread."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from wal_logs import BASE, UUID, append_commits, commit_payload, open_log, reopen_log, replay_all

from engine.errors import CommitOutcomeUnknown, DiskFull, EngineFailed, StorageError
from engine.vfs import OsVfs
from engine.vfs_memory import MemoryVfs
from engine.vfs_simulated import SimulatedDisk
from engine.wal.reader import scan_log
from engine.wal.record import CHUNK, COMMIT, NOTE, decode_note, encode_commit_records
from engine.wal.recovery import replay
from engine.wal.segment import list_segments, segment_path, spare_path
from engine.wal.writer import LogWriter

POLICIES = ("full", "group", "interval", "os", "off")


def test_lsns_are_dense_and_records_carry_what_is_durable() -> None:
    vfs = MemoryVfs()
    log = open_log(vfs)
    assert [log.append(COMMIT, 7, commit_payload(n)) for n in (1, 2, 3)] == [1, 2, 3]
    log.make_durable(2)
    assert log.durable_lsn == 3 and log.append(COMMIT, 8, commit_payload(4)) == 4
    records = list(scan_log(vfs, BASE, UUID, 1))
    assert [record.lsn for record in records] == [1, 2, 3, 4]
    assert [record.durable_lsn for record in records] == [0, 0, 0, 3]
    assert [record.txn_id for record in records] == [7, 7, 7, 8]
    assert all(record.offset % 8 == 0 for record in records)


def test_a_log_without_records_has_no_file() -> None:
    vfs = MemoryVfs()
    log = open_log(vfs)
    log.barrier()
    assert log.rotate() == 1
    log.close(clean=True)
    assert vfs.list_dir("/data") == []


def test_segments_change_by_size_and_retire_from_the_front() -> None:
    vfs = MemoryVfs()
    log = open_log(vfs, segment_size=8 << 10)
    append_commits(log, range(1, 200), size=100)
    segments = list_segments(vfs, BASE)
    assert len(segments) > 3 and [s.segment_no for s in segments] == list(
        range(1, len(segments) + 1)
    )
    third = segments[2].header
    assert third is not None
    assert log.retire(third.first_lsn) == [segment_path(BASE, 1), segment_path(BASE, 2)]
    assert log.retire(third.first_lsn) == []
    found, _ = replay_all(vfs, third.first_lsn)
    assert [commit[0] for commit in found] == list(range(third.first_lsn, 200))
    assert log.retire(10_000) and len(list_segments(vfs, BASE)) == 1  # never the current one


def test_a_record_larger_than_a_segment_gets_one_of_its_own() -> None:
    vfs = MemoryVfs()
    log = open_log(vfs, segment_size=8 << 10)
    append_commits(log, range(1, 3))
    log.append(COMMIT, 0, commit_payload(3, 50_000))
    append_commits(log, range(4, 6))
    assert [commit[0] for commit in replay_all(vfs)[0]] == [1, 2, 3, 4, 5]
    assert len(list_segments(vfs, BASE)) == 3


def test_large_transactions_are_one_or_nothing() -> None:
    vfs = MemoryVfs()
    log = open_log(vfs, segment_size=64 << 20)
    ops: list[Any] = [(16, number, ("x" * 1000,)) for number in range(4000)]
    lsn = 0
    for record_type, flags, payload in encode_commit_records(1, 5, ops):
        lsn = log.append(record_type, 1, payload, flags)
    assert lsn > 3
    found, report = replay_all(vfs)
    assert [(commit[0], commit[1]) for commit in found] == [(1, 5)] and found[0][2] == ops
    # chunks without their COMMIT, then an ordinary commit
    log.append(CHUNK, 2, b"\x90")
    append_commits(log, range(2, 3))
    log.append(CHUNK, 3, b"\x90")
    found, report = replay_all(vfs)
    assert [commit[0] for commit in found] == [1, 2] and report.record_count == lsn + 3


def test_reopening_goes_on_where_it_ended() -> None:
    vfs = MemoryVfs()
    log = open_log(vfs)
    append_commits(log, range(1, 10))
    log.close(clean=True)
    _, report = replay_all(vfs)
    assert report.clean_close and report.next_lsn == 11
    log = reopen_log(vfs, report, 1)
    append_commits(log, range(10, 20))
    assert [commit[0] for commit in replay_all(vfs)[0]] == list(range(1, 20))
    assert log.stats().segment_count == 2
    log.close(clean=True, remove=True)
    assert vfs.list_dir("/data") == []
    log.close(clean=True)
    with pytest.raises(EngineFailed):
        log.append(COMMIT, 0, b"")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_clean_close_loses_nothing_under_any_policy(policy: str) -> None:
    disk = SimulatedDisk(1)
    log = open_log(disk, policy=policy)
    for number in range(1, 50):
        log.make_durable(log.append(COMMIT, 0, commit_payload(number)))
    log.close(clean=True)
    for seed in range(20):
        found, report = replay_all(disk.crash_image(seed))
        assert [commit[0] for commit in found] == list(range(1, 50)) and report.clean_close


def test_what_each_policy_waits_for() -> None:
    waited = {}
    for policy in POLICIES:
        log = open_log(MemoryVfs(), policy=policy)
        lsn = log.append(COMMIT, 0, commit_payload(1))
        log.make_durable(lsn)
        waited[policy] = log.durable_lsn
        log.make_durable(log.append(COMMIT, 0, commit_payload(2)), "group")
        assert log.durable_lsn == 2
    assert waited == {"full": 1, "group": 1, "interval": 0, "os": 0, "off": 0}


def test_full_never_shares_a_sync() -> None:
    log = open_log(MemoryVfs(), policy="full")
    lsn = log.append(COMMIT, 0, commit_payload(1))
    log.make_durable(lsn)
    log.make_durable(lsn)
    assert log.stats().sync.count == 2


def test_off_keeps_records_in_memory_until_something_needs_them() -> None:
    vfs = MemoryVfs()
    log = open_log(vfs, policy="off")
    append_commits(log, range(1, 4))
    assert replay_all(vfs)[0] == []
    log.barrier()
    assert len(replay_all(vfs)[0]) == 3 and log.durable_lsn == 3
    append_commits(log, range(4, 3000), size=200)
    assert len(replay_all(vfs)[0]) > 3  # the buffer has a limit


def test_a_note_vouches_for_what_nothing_vouches_for() -> None:
    log = open_log(MemoryVfs())
    assert not log.vouch()
    lsn = log.append(COMMIT, 0, commit_payload(1))
    assert not log.vouch()  # not durable: nothing to vouch for
    log.make_durable(lsn)
    assert log.vouch() and not log.vouch()
    log.barrier()
    assert not log.needs_vouching  # a note needs no note
    log.append(COMMIT, 0, commit_payload(2))
    log.barrier()
    assert log.needs_vouching


def test_a_failed_sync_stops_the_log_for_ever() -> None:
    disk = SimulatedDisk(1)
    log = open_log(disk)
    log.make_durable(log.append(COMMIT, 0, commit_payload(1)))
    disk.inject("failed sync", operations=("sync",))
    lsn = log.append(COMMIT, 0, commit_payload(2))
    with pytest.raises(CommitOutcomeUnknown):
        log.make_durable(lsn)
    assert log.failed is not None and log.stats().failed and log.durable_lsn == 1
    with pytest.raises(EngineFailed):
        log.append(COMMIT, 0, commit_payload(3))
    with pytest.raises(EngineFailed):
        log.rotate()
    with pytest.raises(CommitOutcomeUnknown):
        log.make_durable(lsn)
    log.close(clean=True)  # writes no closing note


def test_a_full_disk_fails_appends_before_their_first_byte_and_keeps_a_reserve() -> None:
    disk = SimulatedDisk(1)
    log = open_log(disk, segment_size=64 << 10)
    append_commits(log, range(1, 5))
    disk.inject("ENOSPC", forever=True, operations=("allocate", "create"))
    number = 5
    with pytest.raises(DiskFull):
        while True:
            log.append(COMMIT, 0, commit_payload(number, 500))
            number += 1
    assert log.failed is None
    urgent = 0
    with pytest.raises(DiskFull):
        while True:
            log.append_urgent(COMMIT, 0, commit_payload(number, 500))
            number, urgent = number + 1, urgent + 1
    assert urgent > 10  # deletes and checkpoint notes still fit
    log.barrier()
    assert log.rotate() == number  # stays where it is, and says so
    disk.clear_faults()
    log.append(COMMIT, 0, commit_payload(number))
    assert [commit[0] for commit in replay_all(disk)[0]] == list(range(1, number + 1))


@pytest.mark.parametrize("policy", ["group", "off"])
def test_an_append_that_fails_half_way_leaves_no_record(policy: str) -> None:
    disk = SimulatedDisk(2)
    log = open_log(disk, policy=policy)
    append_commits(log, range(1, 4))
    log.barrier()
    disk.inject("EIO", operations=("write",))
    if policy == "off":  # the buffer holds commits that were acknowledged: nothing can go on
        append_commits(log, range(4, 6))
        with pytest.raises(CommitOutcomeUnknown):
            log.barrier()
        assert log.failed is not None
        return
    with pytest.raises(StorageError):
        log.append(COMMIT, 0, commit_payload(4))
    assert log.failed is None and log.written_lsn == 3
    append_commits(log, range(4, 6))
    assert [commit[0] for commit in replay_all(disk)[0]] == [1, 2, 3, 4, 5]


def test_an_append_that_cannot_be_taken_back_stops_the_log() -> None:
    disk = SimulatedDisk(2)
    log = open_log(disk)
    append_commits(log, range(1, 4))
    disk.inject("EIO", operations=("write",), forever=True)
    with pytest.raises(CommitOutcomeUnknown):
        log.append(COMMIT, 0, commit_payload(4))
    disk.clear_faults()
    with pytest.raises(EngineFailed):
        log.append(COMMIT, 0, commit_payload(5))
    assert [commit[0] for commit in replay_all(disk)[0]] == [1, 2, 3]


def test_an_interrupt_in_the_middle_of_an_append_takes_it_back() -> None:
    vfs = MemoryVfs()
    log = open_log(vfs)
    append_commits(log, range(1, 3))
    real = log._write

    def interrupted(offset: int, data: bytes) -> None:
        real(offset, data)
        log._write = real
        raise KeyboardInterrupt  # as a signal handler right after the system call

    log._write = interrupted
    with pytest.raises(KeyboardInterrupt):
        log.append(COMMIT, 0, commit_payload(99, 500))
    assert log.written_lsn == 2
    assert [commit[0] for commit in replay_all(vfs)[0]] == [1, 2]
    append_commits(log, range(3, 5))
    assert [commit[0] for commit in replay_all(vfs)[0]] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["EIO", "ENOSPC", "failed sync", "MemoryError", "short write"])
def test_the_nth_fault_never_hurts_what_was_acknowledged(kind: str) -> None:
    """One fault at each operation in turn, until a run has none."""
    nth = 0
    struck = True
    while struck:
        nth += 1
        assert nth < 400
        disk = SimulatedDisk(nth)
        disk.inject(kind, nth)
        log = open_log(disk, segment_size=10 << 10)
        acknowledged: list[int] = []
        written: list[int] = []
        for number in range(1, 25):
            try:
                lsn = log.append(COMMIT, 0, commit_payload(number, 700))
                written.append(number)
                if number % 3 == 0:
                    log.make_durable(lsn)
                    acknowledged = written[:]
                if number % 10 == 0:
                    log.rotate()
            except (StorageError, CommitOutcomeUnknown, MemoryError):
                pass
        struck = disk._faults[0].countdown <= 0
        disk.clear_faults()
        disk.restart()
        for seed in range(2):
            found, _ = replay_all(disk.crash_image(seed))
            numbers = [commit[0] for commit in found]
            assert numbers == written[: len(numbers)], (nth, seed)
            assert numbers[: len(acknowledged)] == acknowledged, (nth, seed)


def test_threads_share_syncs_and_all_is_there() -> None:
    disk = SimulatedDisk(3)
    mutex = threading.Lock()
    log = open_log(disk, commit_mutex=mutex)
    counter = iter(range(1, 10_000))

    def work() -> None:
        for _ in range(40):
            with mutex:
                lsn = log.append(COMMIT, 0, commit_payload(next(counter)))
            log.make_durable(lsn)
            assert log.durable_lsn >= lsn

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert log.durable_lsn == log.written_lsn == 320
    found, _ = replay_all(disk.crash_image(1))
    assert [commit[0] for commit in found] == list(range(1, 321))


def wait_until(condition: Any) -> None:
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.002)
    raise AssertionError("it never came true")


def test_the_background_thread_syncs_vouches_and_prepares() -> None:
    vfs = MemoryVfs()
    log = open_log(vfs, policy="interval(2)", background=True, timer=time.monotonic)
    lsn = log.append(COMMIT, 0, commit_payload(1))
    log.make_durable(lsn)
    wait_until(lambda: log.durable_lsn >= lsn)
    wait_until(lambda: log.written_lsn == lsn + 1 == log.durable_lsn)  # the vouching note
    record = list(scan_log(vfs, BASE, UUID, 1))[-1]
    assert record.type == NOTE and decode_note(record).kind == "vouch"
    while log.stats().segment_no == 1:
        log.append(COMMIT, 0, commit_payload(log.written_lsn + 1, 3000))
    wait_until(lambda: vfs.exists(spare_path(BASE)))
    log.close(clean=True)
    assert not vfs.exists(spare_path(BASE))
    assert threading.active_count() == 1 or not any(
        thread.name == "mantis-log" for thread in threading.enumerate()
    )


def test_no_thread_starts_without_work() -> None:
    log = open_log(MemoryVfs(), policy="os", background=True, segment_size=64 << 20)
    append_commits(log, range(1, 20))
    log.make_durable(19)
    assert not any(thread.name == "mantis-log" for thread in threading.enumerate())
    log.close(clean=True)


def test_signals_that_raise_leave_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer raises in the middle of appends and syncs, hundreds of times. Whatever it hits,
    `written_lsn` says whether the record is in the log, and the log holds exactly those."""
    base = str(tmp_path / "t.mantis")
    log = LogWriter(
        OsVfs(),
        base,
        UUID,
        segment_no=1,
        next_lsn=1,
        clock_us=lambda: 0,
        random_bytes=os.urandom,
        timer=time.monotonic,
        segment_size=64 << 10,
    )
    armed = False
    strikes = 0

    class Struck(Exception):
        pass

    def strike(_number: int, _frame: object) -> None:
        nonlocal strikes
        if armed:
            strikes += 1
            raise Struck

    # A handler that runs inside a finalizer cannot raise; pytest's hook would be struck too.
    monkeypatch.setattr(sys, "unraisablehook", lambda _unraisable: None)
    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    kept: list[int] = []
    try:
        for number in range(1, 1000):
            payload = commit_payload(number, 200)
            lsn = log.written_lsn + 1
            try:
                armed = True
                log.append(COMMIT, 0, payload)
                log.make_durable(lsn)
                armed = False
            except Struck:
                armed = False
            if log.written_lsn == lsn:
                kept.append(number)
            if log.written_lsn == lsn and number % 5 == 0:
                log.make_durable(lsn)
                assert log.durable_lsn >= lsn
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert strikes > 20 and log.failed is None and log.written_lsn == len(kept)
    log.close(clean=True)
    found: list[int] = []
    report = replay(OsVfs(), base, UUID, 1, lambda ts, wall_us, ops: found.append(ts))
    assert found == kept and report.clean_close
