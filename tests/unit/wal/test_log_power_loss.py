"""The log alone on a simulated disk: every operation of every run is a place to lose power.

At each operation crash images are taken and replayed. The state found must be a prefix of what
was appended that includes all that was acknowledged, and none may be called damaged.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from wal_logs import (
    BASE,
    UUID,
    Clock,
    commit_payload,
    open_log,
    reopen_log,
    replay_all,
)

from engine.errors import DiskFull
from engine.vfs_simulated import SimulatedDisk
from engine.wal.record import COMMIT
from engine.wal.recovery import copy_tail, replay

RUN_SEEDS = range(10, 18)
IMAGE_COUNTS_MIN = {"full": 360, "group": 360, "interval(5)": 280, "os": 260, "off": 90}
"""Images that each long run takes at least, by policy."""


class Oracle:
    """What the program knows: what it appended, what was acknowledged, what its meta says."""

    def __init__(self, disk: SimulatedDisk, images_per_operation: int) -> None:
        self.disk = disk
        self.images_per_operation = images_per_operation
        self.appended: dict[int, int] = {}  # lsn → commit_ts, NOTEs left out
        self.acknowledged_lsn = 0
        self.meta_lsn = 0
        self.image_count = 0
        disk.on_operation = self.check

    def check(self, index: int, name: str, path: str) -> None:
        for number in range(self.images_per_operation):
            seed = (self.disk.seed * 1_000_003 + index) * 17 + number
            self.check_image(self.disk.crash_image(seed), f"{index} {name} {path} image {seed}")

    def check_image(self, image: SimulatedDisk, where: str) -> None:
        self.image_count += 1
        found, report = replay_all(image, self.meta_lsn + 1, vouched_lsn=self.meta_lsn)
        assert report.next_lsn - 1 >= self.acknowledged_lsn, where
        wanted = [
            commit_ts
            for lsn, commit_ts in sorted(self.appended.items())
            if self.meta_lsn < lsn < report.next_lsn
        ]
        assert [commit_ts for commit_ts, _, _ in found] == wanted, where
        for commit_ts, _, ops in found:
            assert ops == [(16, commit_ts, (commit_ts, ops[0][2][1]))], where
        again, second = replay_all(image, self.meta_lsn + 1, vouched_lsn=self.meta_lsn)
        assert again == found and second.next_lsn == report.next_lsn, where


def run_workload(
    disk: SimulatedDisk, oracle: Oracle, policy: str, steps: int, rng: random.Random
) -> None:
    log = open_log(disk, disk.seed, policy=policy, segment_size=12 << 10)
    for step in range(1, steps + 1):
        action = rng.random()
        size = rng.choice((0, 3, 20, 21, 300, 700, 1500))
        oracle.appended[log.written_lsn + 1] = step
        lsn = log.append(COMMIT, step, commit_payload(step, size))
        if action < 0.6:
            log.make_durable(lsn, "group" if policy == "group" else None)
            oracle.acknowledged_lsn = max(oracle.acknowledged_lsn, log.durable_lsn)
        if action > 0.97:
            log.barrier()
            oracle.acknowledged_lsn = log.durable_lsn
            first_lsn = log.rotate()
            log.barrier()
            log.retire(oracle.meta_lsn + 1)  # below the older of the two metas
            oracle.meta_lsn = first_lsn - 1
        elif action > 0.93 and log.vouch():
            log.barrier()
    log.close(clean=rng.random() < 0.5)
    oracle.acknowledged_lsn = max(oracle.acknowledged_lsn, log.durable_lsn)
    oracle.check(-1, "closed", "")


def run_seed(seed: int, policy: str, steps: int, images_per_operation: int) -> int:
    disk = SimulatedDisk(seed)
    oracle = Oracle(disk, images_per_operation)
    run_workload(disk, oracle, policy, steps, random.Random(seed))
    return oracle.image_count


@pytest.mark.parametrize("policy", ["full", "group", "interval(5)", "os", "off"])
def test_every_operation_is_a_place_to_lose_power(policy: str) -> None:
    assert run_seed(1, policy, steps=25, images_per_operation=2) > 30


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "image_count_min"), IMAGE_COUNTS_MIN.items())
@pytest.mark.parametrize("seed", RUN_SEEDS)
def test_many_runs(seed: int, policy: str, image_count_min: int) -> None:
    assert run_seed(seed, policy, steps=60, images_per_operation=3) >= image_count_min


def test_the_images_are_as_many_as_the_documents_say() -> None:
    text = (Path(__file__).parents[3] / "docs" / "testing.md").read_text(encoding="utf-8")
    asserted = len(RUN_SEEDS) * sum(IMAGE_COUNTS_MIN.values())
    assert f"≥ {asserted:,} images of the log (asserted" in text


@pytest.mark.parametrize("seed", range(6))
def test_crash_during_recovery(seed: int) -> None:
    """Recovery that copies the tail, and the appends after it, may lose power again."""
    disk = SimulatedDisk(seed)
    log = open_log(disk, seed, segment_size=12 << 10)
    for number in range(1, 40):
        lsn = log.append(COMMIT, number, commit_payload(number, 200))
        if number % 5 == 0:
            log.make_durable(lsn)
    acknowledged_lsn = log.durable_lsn

    image = disk.crash_image(seed)
    state = {"acknowledged": acknowledged_lsn, "appended": 39, "images": 0}

    def check(index: int, name: str, path: str) -> None:
        for number in range(3):
            again = image.crash_image(seed * 1009 + index * 31 + number)
            found, report = replay_all(again)
            assert report.next_lsn - 1 >= state["acknowledged"], (index, name, path)
            assert [commit[0] for commit in found] == list(range(1, report.next_lsn))
            state["images"] += 1

    image.on_operation = check
    report = replay(image, BASE, UUID, 1, lambda *commit: None)
    report = copy_tail(
        image, BASE, UUID, report, clock_us=Clock().us, random_bytes=random.Random(9).randbytes
    )
    log = reopen_log(image, report, seed + 1, segment_size=12 << 10)
    for number in range(report.next_lsn, report.next_lsn + 20):
        lsn = log.append(COMMIT, number, commit_payload(number, 200))
        log.make_durable(lsn)
        state["acknowledged"] = lsn
    assert state["images"] > 60


def test_a_failed_sync_is_never_believed() -> None:
    """After a failed sync the cache shows what the disk lost; nothing of it may be acknowledged,
    and a restart (cache intact) followed by a power loss must not lose what came before."""
    disk = SimulatedDisk(5)
    log = open_log(disk)
    for number in range(1, 4):
        log.make_durable(log.append(COMMIT, number, commit_payload(number)))
    disk.inject("failed sync")
    lsn = log.append(COMMIT, 4, commit_payload(4))
    with pytest.raises(Exception, match="may or may not survive"):
        log.make_durable(lsn)
    assert log.durable_lsn == 3
    disk.restart()
    found, report = replay_all(disk)
    assert report.next_lsn == 5  # the cache still shows it
    report = copy_tail(
        disk, BASE, UUID, report, clock_us=Clock().us, random_bytes=random.Random(9).randbytes
    )
    log = reopen_log(disk, report, 7)
    log.make_durable(log.append(COMMIT, 5, commit_payload(5)))
    for seed in range(40):
        found, _ = replay_all(disk.crash_image(seed))
        assert [commit[0] for commit in found] == [1, 2, 3, 4, 5]


def test_full_disk_at_every_growth() -> None:
    """ENOSPC at the nth allocation or write fails that append only; the rest is a whole log."""
    for nth in range(1, 8):
        disk = SimulatedDisk(nth)
        log = open_log(disk, segment_size=12 << 10)
        disk.inject("ENOSPC", nth)
        kept = []
        for number in range(1, 40):
            try:
                log.append(COMMIT, number, commit_payload(number, 500))
                kept.append(number)
            except DiskFull:
                continue
        log.barrier()
        found, report = replay_all(disk)
        assert [commit[0] for commit in found] == kept
        assert report.next_lsn == len(kept) + 1
        assert report.end.kind in ("clean", "torn")
