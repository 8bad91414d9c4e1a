"""Power is lost at every disk operation of every workload; nothing that was promised may be gone.

The bar: at least 5,000 images in an ordinary run, 0 lost acknowledged commits, 0 half
transactions, and a clean `check` after each recovery. `--nightly` runs 200,000.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from engine.durability.sync import GroupSync
from engine.storage import recoverable_store
from engine.storage.recoverable_store import RecoverableStore
from engine.vfs_simulated import SimulatedDisk, SimulatedFile
from engine.wal.recovery import replay
from tests.crash.harness import PATH, ROWS, Run, Workload, crash_everywhere, verify_image
from tests.crash.workloads import WORKLOADS, bulk, lives, many_checkpoints, relaxed

SEEDS = (1, 2, 3)
IMAGES_PER_OPERATION = 2
IMAGES_MIN = 5000
NIGHTLY_IMAGES = 200_000


def images_of(workload: Workload, seed: int) -> int:
    return crash_everywhere(
        workload,
        seed,
        1 if workload is bulk else IMAGES_PER_OPERATION,
        durability="os" if workload is relaxed else "group",
    )


@pytest.mark.slow
def test_nothing_promised_is_lost() -> None:
    """One test, so that the number of images is counted where it is promised."""
    count = 0
    for workload in WORKLOADS:
        for seed in SEEDS if workload is not bulk else SEEDS[:1]:
            count += images_of(workload, seed)
    assert count >= IMAGES_MIN


@pytest.mark.parametrize("workload", WORKLOADS[:3], ids=lambda workload: workload.__name__)
def test_nothing_promised_is_lost_quick(workload: Workload, seed: int) -> None:
    """A new seed every run; see the header of the report for --seed."""
    assert crash_everywhere(workload, seed, 1) > 0


@pytest.mark.nightly
def test_nothing_promised_is_lost_nightly(seed: int) -> None:
    count = 0
    while count < NIGHTLY_IMAGES:
        for workload in WORKLOADS:
            count += images_of(workload, seed)
        seed += 1


@pytest.mark.slow
@pytest.mark.parametrize("workload", WORKLOADS[:10], ids=lambda workload: workload.__name__)
def test_a_crash_during_recovery_loses_nothing_either(workload: Workload) -> None:
    """Depth two: recover an image, commit and close, with power lost at every operation of that."""
    disk = SimulatedDisk(5)
    run = Run(disk, 5, "os" if workload is relaxed else "group")
    chance = random.Random(5)
    count = 0

    def look(index: int, operation: str, path: str) -> None:
        nonlocal count
        if chance.random() < 0.85:
            return
        heir = run.fork(disk.crash_image(chance.randrange(1 << 30)))

        def look_deeper(inner_index: int, inner_operation: str, inner_path: str) -> None:
            nonlocal count
            image_seed = chance.randrange(1 << 30)
            try:
                verify_image(heir, heir.disk.crash_image(image_seed))
            except BaseException as error:
                error.add_note(
                    f"at {index} {operation} {path}, then {inner_index} "
                    f"{inner_operation} {inner_path}, image {image_seed}"
                )
                raise
            count += 1

        heir.disk.on_operation = look_deeper
        if heir.disk.exists(PATH):
            # What was recovered but never acknowledged may still go in the next crash.
            heir.tip = heir.started = heir.open().visible_ts
            if 20 not in heir.states[heir.tip]:
                heir.create(ROWS)
            heir.commit({20: {-2: (-2, "second life", 0)}})
            heir.close()

    disk.on_operation = look
    workload(run, random.Random(5))
    assert count > 30


# ── the harness itself: it must catch an engine that breaks its promises ─────────────────────
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits are acknowledged before their sync."""
    monkeypatch.setattr(GroupSync, "wait", lambda self, position: None)


def no_name_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Directory entries of new segments and files are never made durable."""
    monkeypatch.setattr(SimulatedDisk, "sync_dir", lambda self, path: None)


def no_meta_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is removed although the meta page that makes it needless is not durable."""
    sync = SimulatedFile.sync

    def skip(self: SimulatedFile, data_only: bool = True) -> None:
        if not data_only or not self.path.endswith(".mantis"):
            sync(self, data_only)

    monkeypatch.setattr(SimulatedFile, "sync", skip)


def early_retirement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint removes the log before it is durable."""
    seal = RecoverableStore.seal_for_checkpoint

    def seal_and_retire(self: RecoverableStore, closing: bool) -> object:
        source = seal(self, closing)
        self.log.retire(source.ckpt_lsn + 1)
        return source

    monkeypatch.setattr(RecoverableStore, "seal_for_checkpoint", seal_and_retire)


def half_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery forgets the last row of a transaction."""

    def forgetful(*args: object, **more: object) -> object:
        *rest, apply = args
        return replay(*rest, lambda ts, us, ops: apply(ts, us, ops[:-1] or ops), **more)  # type: ignore

    monkeypatch.setattr(recoverable_store, "replay", forgetful)


def forgotten_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing drops what was committed since the last checkpoint."""
    monkeypatch.setattr(recoverable_store, "has_changes", lambda generations: False)


MUTANTS: tuple[tuple[Callable[[pytest.MonkeyPatch], None], Workload], ...] = (
    (no_wait, WORKLOADS[0]),
    (no_name_sync, WORKLOADS[0]),
    (no_meta_sync, lives),
    (early_retirement, many_checkpoints),
    (half_replay, WORKLOADS[1]),
    (forgotten_tail, lives),
)


@pytest.mark.parametrize(("mutate", "workload"), MUTANTS, ids=lambda value: value.__name__)
def test_the_harness_catches_a_broken_engine(
    mutate: Callable[[pytest.MonkeyPatch], None],
    workload: Workload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutate(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017  (an assertion, or DamageFound)
        crash_everywhere(workload, 1, 3)
