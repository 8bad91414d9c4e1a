"""Every disk operation fails in turn: EIO, a full disk, short writes, EINTR, failed syncs, no memory.

Whatever fails: the error is one of engine.errors (or MemoryError), reads go on, and after a
restart and after a power loss the database is right: acknowledged commits are there, a commit
that was refused is not, one whose outcome is unknown may be.
"""

from __future__ import annotations

import random

import pytest

from engine.errors import CommitOutcomeUnknown, EngineFailed, Error, MissingFile
from engine.vfs_simulated import SimulatedCrash, SimulatedDisk
from tests.crash.harness import ROWS, Run, Workload, dump, require_right, verify_image
from tests.crash.workloads import (
    across_trees,
    group_commits,
    lives,
    long_values,
    trees_come_and_go,
    updates_and_deletes,
)

FAULTS = ("EIO", "ENOSPC", "short write", "EINTR", "failed sync", "MemoryError")
STEP = 2


class FaultyRun(Run):
    untouched = False  # the workload ended before the fault's turn


def run_with_fault(
    workload: Workload, kind: str, nth: int, *, forever: bool
) -> tuple[FaultyRun, BaseException | None]:
    disk = SimulatedDisk(nth)
    run = FaultyRun(disk, nth)
    disk.inject(kind, nth, forever=forever)
    (fault,) = disk._faults
    error: BaseException | None = None
    try:
        workload(run, random.Random(9))
    except (Error, MemoryError) as caught:
        error = caught
    run.untouched = fault.countdown > 0
    return run, error


def require_served(run: Run, kind: str) -> None:
    """Reads go on in the process that met the fault, and see only what was published."""
    store = run.store
    if store is None or store.closed or kind in ("EIO", "MemoryError"):
        return  # these two break reads as well
    if store.visible_ts in run.states:
        assert dump(store) == run.states[store.visible_ts]


def require_survived(run: Run, nth: int) -> None:
    """A new process on the same machine, and one after a power loss."""
    run.disk.clear_faults()
    image = run.disk.crash_image(nth)
    verify_image(run, image)
    run.disk.restart()
    heir = run.fork(run.disk)
    try:
        store = heir.open()
    except MissingFile:
        assert run.acknowledged == 0
        return
    require_right(heir, store)
    store.close()


def sweep(workload: Workload, kind: str, *, forever: bool, step: int, start: int) -> int:
    """Fail operation start, start + step, … until the workload runs untouched."""
    nth = start
    hit = 0
    while True:
        run, error = run_with_fault(workload, kind, nth, forever=forever)
        try:
            if isinstance(error, (CommitOutcomeUnknown, EngineFailed)) and run.store is not None:
                with pytest.raises(Error):
                    run.store.commit({20: {-5: (-5, "", 0)}})
            require_served(run, kind)
            require_survived(run, nth)
        except (SimulatedCrash, Exception) as failure:
            failure.add_note(f"{workload.__name__}: {kind} at operation {nth}, raised {error!r}")
            raise
        if run.untouched:
            return hit
        hit += 1
        nth += step


@pytest.mark.slow
@pytest.mark.parametrize("forever", [False, True], ids=["once", "forever"])
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize(
    "workload",
    [updates_and_deletes, across_trees, trees_come_and_go, long_values, group_commits, lives],
    ids=lambda workload: workload.__name__,
)
def test_every_operation_may_fail(workload: Workload, kind: str, forever: bool) -> None:
    hit = sweep(workload, kind, forever=forever, step=STEP, start=1 + len(kind) % 3)
    assert hit > 5


def test_a_full_disk_refuses_one_commit_and_no_more() -> None:
    disk = SimulatedDisk(1)
    run = Run(disk, 1)
    run.open(create=True)
    run.create(ROWS)
    disk.inject("ENOSPC", 1, forever=True, operations=("allocate", "write"))
    with pytest.raises(Error) as caught:
        run.commit({20: {1: (1, "x" * 30_000, 1)}})
    assert caught.value.sqlstate == "53100"
    disk.clear_faults()
    run.commit({20: {2: (2, "fits", 2)}})
    assert run.store is not None
    assert run.store.point_reader(20)(1) is None
    run.close()
    verify_image(run, disk)
