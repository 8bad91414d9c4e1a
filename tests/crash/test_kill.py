"""kill -9 of a real process again and again: what it acknowledged on a pipe is there.

A killed process loses nothing that the operating system has, so this holds for `os` too.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.storage.check import check_file
from engine.storage.file_store import open_file_store
from engine.storage.store import TREE_DIRECTORY, encode_tree_spec
from engine.vfs import OsVfs
from tests.crash.harness import ROWS
from tests.crash.kill_child import WRITER_KEYS, system_options

ROOT = Path(__file__).resolve().parents[2]
KILLS = 50


def kill_once(path: str, durability: str, checkpoint_every: int, life_s: float) -> dict[int, int]:
    """Start a child, let it live, kill it; returns what each writer acknowledged last."""
    arguments = [sys.executable, "-m", "tests.crash.kill_child", path, durability]
    child = subprocess.Popen(
        [*arguments, str(checkpoint_every)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    ready = child.stdout.readline()
    time.sleep(life_s)
    child.kill()
    rest = child.stdout.read().decode()
    child.wait()
    assert ready == b"ready\n", "the child could not open the database"
    acknowledged: dict[int, int] = {}
    for line in rest.splitlines(keepends=True):
        if line.endswith("\n"):
            writer, number = line.split()
            acknowledged[int(writer)] = int(number)
    return acknowledged


def require_kept(path: str, acknowledged: dict[int, int]) -> dict[int, int]:
    """Open, and prove that each writer's rows are 1 to its counter, and none that was
    acknowledged is missing. Returns the counters."""
    store = open_file_store(path, vfs=OsVfs(), options=system_options("group"))
    snapshot = store.snapshot()
    counters = {}
    for writer in (1, 2):
        base = writer * WRITER_KEYS
        rows = snapshot.scan(ROWS.tree_id, base, base + WRITER_KEYS)
        _, counter = next(rows, (base, (base, "counter", 0)))
        numbers = [row[2] for _, row in rows]
        assert numbers == list(range(1, counter[2] + 1)), "half a transaction, or a hole"
        assert counter[2] >= acknowledged.get(writer, 0), "an acknowledged commit is lost"
        counters[writer] = counter[2]
    snapshot.close()
    store.close()
    return counters


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["group", "os"])
def test_kill_9(tmp_path: Path, seed: int, durability: str) -> None:
    chance = random.Random(seed)
    path = str(tmp_path / "killed.mantis")
    store = open_file_store(
        path, vfs=OsVfs(), options=system_options("group"), create_page_size=8192
    )
    store.commit({TREE_DIRECTORY: {ROWS.tree_id: encode_tree_spec(ROWS)}})
    store.close()
    counters: dict[int, int] = {}
    for _ in range(KILLS // 2):
        life_s = chance.uniform(0.001, 0.2)
        acknowledged = kill_once(path, durability, chance.choice((7, 40, 10_000)), life_s)
        counters = require_kept(path, acknowledged)
    assert sum(counters.values()) > KILLS
    file = OsVfs().open(path, readonly=True)
    assert list(check_file(OsVfs(), path, file)) == []
    file.close()
    assert os.listdir(tmp_path) == ["killed.mantis"]
