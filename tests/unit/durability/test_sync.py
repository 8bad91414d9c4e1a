"""GroupSync: shared syncs, sticky failure, waits that no signal can cut short."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from engine.durability.policy import parse_policy
from engine.durability.sync import GroupSync
from engine.errors import CommitOutcomeUnknown, DataError, EngineFailed, StorageError


class Disk:
    """Counts syncs; each waits for `go` when it is set to a lock."""

    def __init__(self) -> None:
        self.written = 0
        self.syncs = 0
        self.failing: Exception | None = None
        self.entered = threading.Semaphore(0)
        self.go: threading.Semaphore | None = None
        self.inside = 0
        self.inside_max = 0

    def sync(self) -> int:
        target = self.written
        self.inside += 1
        self.inside_max = max(self.inside_max, self.inside)
        self.entered.release()
        if self.go is not None:
            self.go.acquire()
        self.inside -= 1
        if self.failing is not None:
            raise self.failing
        self.syncs += 1
        return target


def group_for(disk: Disk, **options: Any) -> GroupSync:
    return GroupSync(disk.sync, 0, timer=lambda: 0.0, **options)


def start(action: Any, outcomes: list[Any]) -> threading.Thread:
    def run() -> None:
        try:
            action()
            outcomes.append("ok")
        except Exception as error:
            outcomes.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_one_caller_syncs_once() -> None:
    disk = Disk()
    group = group_for(disk)
    disk.written = 5
    group.wait(3)
    assert (group.durable, disk.syncs) == (5, 1)
    group.wait(5)
    assert disk.syncs == 1
    group.sync_alone()
    assert disk.syncs == 2


def test_callers_that_come_meanwhile_share_the_next_sync() -> None:
    disk = Disk()
    disk.go = threading.Semaphore(0)
    group = group_for(disk)
    disk.written = 1
    outcomes: list[Any] = []
    threads = [start(lambda: group.wait(1), outcomes)]
    disk.entered.acquire()  # the first sync is in progress
    disk.written = 9
    threads += [start(lambda lsn=lsn: group.wait(lsn), outcomes) for lsn in range(2, 10)]
    while len(group._waiters) < 8:
        threading.Event().wait(0.001)
    disk.go.release()
    disk.entered.acquire()
    disk.go.release()
    for thread in threads:
        thread.join()
    assert outcomes == ["ok"] * 9
    assert (group.durable, disk.syncs, disk.inside_max) == (9, 2, 1)
    assert group.stats().count == 2 and group.stats().waits == 9


def test_a_failed_sync_is_for_ever() -> None:
    disk = Disk()
    disk.go = threading.Semaphore(0)
    stopped: list[bool] = []
    group = group_for(disk, on_failure=lambda: stopped.append(True))
    disk.written = 1
    outcomes: list[Any] = []
    threads = [start(lambda: group.wait(1), outcomes)]
    disk.entered.acquire()
    disk.written = 3
    threads += [start(lambda lsn=lsn: group.wait(lsn), outcomes) for lsn in (2, 3)]
    while len(group._waiters) < 2:
        threading.Event().wait(0.001)
    disk.failing = StorageError("EIO")
    disk.go.release()
    for thread in threads:
        thread.join()
    assert outcomes == [CommitOutcomeUnknown] * 3
    assert disk.syncs == 0 and stopped == [True]
    disk.failing = None
    with pytest.raises(CommitOutcomeUnknown):
        group.wait(1)
    with pytest.raises(EngineFailed, match="EIO"):
        group.run_exclusive(lambda: None)
    assert disk.syncs == 0 and group.durable == 0  # never tried again


def test_an_exclusive_action_keeps_syncs_out() -> None:
    disk = Disk()
    group = group_for(disk)
    disk.written = 2
    outcomes: list[Any] = []
    threads: list[threading.Thread] = []

    def action() -> None:
        threads.append(start(lambda: group.wait(2), outcomes))
        while not group._waiters:
            threading.Event().wait(0.001)
        assert disk.syncs == 0
        group.sync_within()

    group.run_exclusive(action)
    threads[0].join()
    assert outcomes == ["ok"] and disk.syncs == 1
    with pytest.raises(ZeroDivisionError):
        group.run_exclusive(lambda: 1 // 0)  # type: ignore[arg-type,return-value]
    group.sync_alone()
    assert disk.syncs == 2


def test_an_interrupt_comes_out_only_when_the_outcome_is_known() -> None:
    """A handler that raises in the middle of a sync: the wait goes on to its end first."""
    disk = Disk()
    group = group_for(disk)
    disk.written = 4
    real, calls = disk.sync, []

    def interrupted() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real()

    group._sync = interrupted
    with pytest.raises(KeyboardInterrupt):
        group.wait(4)
    assert group.durable == 4 and len(calls) == 2
    group.sync_alone()
    assert not group._leading and not group._waiters


def test_many_threads_never_lose_a_wakeup() -> None:
    disk = Disk()
    group = group_for(disk)
    mutex = threading.Lock()
    failures: list[str] = []

    def work() -> None:
        for _ in range(300):
            with mutex:
                disk.written += 1
                lsn = disk.written
            group.wait(lsn)
            if group.durable < lsn:
                failures.append(f"{lsn} not durable")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures and disk.inside_max == 1 and group.durable == 2400


def test_policies_have_names_and_facts() -> None:
    expected = {
        "full": (True, False),
        "group": (True, False),
        "interval": (False, False),
        "os": (False, False),
        "off": (False, True),
    }
    for name, (waits, buffered) in expected.items():
        policy = parse_policy(f" {name.upper()} ")
        assert (policy.name, policy.waits, policy.buffered) == (name, waits, buffered)
    assert parse_policy("interval(250)").interval_s == 0.25  # type: ignore[attr-defined]
    assert parse_policy("interval(5 ms)").interval_s == 0.005  # type: ignore[attr-defined]
    for text in ("", "sometimes", "interval()", "interval(-1)", "interval(x)", "interval(nan)"):
        with pytest.raises(DataError) as caught:
            parse_policy(text)
        assert caught.value.sqlstate == "22023"
