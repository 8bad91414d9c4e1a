"""Opening and closing: one engine per file, locks between processes, forks, errors, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engine import database as database_module
from engine.database import Database, read_lock_file
from engine.errors import (
    CannotOpen,
    DamageFound,
    DatabaseLocked,
    DataError,
    InterfaceError,
    MissingFile,
    NotADatabase,
    ReadOnly,
)
from engine.storage.store import TREE_DIRECTORY, ColumnSpec, TreeSpec, encode_tree_spec
from engine.vfs import OsVfs

ROOT = Path(__file__).resolve().parents[2]
SPEC = TreeSpec(20, "int", (ColumnSpec(0, "int64"), ColumnSpec(1, "utf8")), key_column=0)


def make(path: Path, count: int = 3) -> None:
    with Database.open(path, create=True) as database:
        database.store.commit({TREE_DIRECTORY: {20: encode_tree_spec(SPEC)}})
        database.store.commit({20: {n: (n, f"row {n}") for n in range(count)}})


def count_rows(database: Database) -> int:
    snapshot = database.store.snapshot()
    try:
        return snapshot.count(20)
    finally:
        snapshot.close()


def run_child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def start_holder(path: Path, *, readonly: bool = False) -> subprocess.Popen[str]:
    """A process that has the file open until its stdin ends."""
    code = (
        "import sys; from engine.database import Database\n"
        f"d = Database.open(sys.argv[1], readonly={readonly})\n"
        "print('open', flush=True); sys.stdin.read(); d.close()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    return child


def stop(child: subprocess.Popen[str]) -> None:
    child.communicate("", timeout=60)


# ── life ─────────────────────────────────────────────────────────────────────────────────────
def test_a_clean_close_leaves_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    make(path)
    assert os.listdir(tmp_path) == ["a.mantis"]
    with Database.open(path) as database:
        assert count_rows(database) == 3
        assert sorted(os.listdir(tmp_path)) == ["a.mantis", "a.mantis-lock"]
        database.store.commit({20: {9: (9, "nine")}})
        assert any("-wal-" in name for name in os.listdir(tmp_path))
    assert os.listdir(tmp_path) == ["a.mantis"]


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        Database.open(tmp_path / "none.mantis")
    with pytest.raises(MissingFile):
        Database.open(tmp_path / "none.mantis", create=True, readonly=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + bytes(5000), b"x" * 100_000])
def test_other_files_are_refused_untouched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(NotADatabase):
        Database.open(path)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["other"]


def test_a_truncated_file_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    make(path, 2000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamageFound):
        Database.open(path)
    assert os.listdir(tmp_path) == ["a.mantis"]


def test_a_directory_without_write_permission(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    path = tmp_path / "a.mantis"
    make(path)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(CannotOpen):
            Database.open(path)
        with Database.open(path, readonly=True) as database:
            assert count_rows(database) == 3
    finally:
        tmp_path.chmod(0o755)


def test_page_sizes(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a.mantis", create=True, page_size=8192) as database:
        assert database.stats()["page_size"] == 8192
    with pytest.raises(DataError, match="page_size"):
        Database.open(tmp_path / "b.mantis", create=True, page_size=5000)
    assert os.listdir(tmp_path) == ["a.mantis"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"io": "bogus"},
        {"page_size": 0},
        {"page_size": -4096},
        {"memtable_bytes": 0},
        {"memtable_bytes": -1},
        {"wait_s": float("nan")},
        {"durability": "bogus"},
        {"durability": "interval(0)"},
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_a_wrong_argument_leaves_nothing(
    tmp_path: Path, wrong: dict[str, Any], shared: bool
) -> None:
    """It used to create the file, or to keep its engine, and so its lock, for ever."""
    path = tmp_path / "a.mantis"
    first = Database.open(path, create=True) if shared else None
    with pytest.raises(DataError) as caught:
        Database.open(path, create=True, **wrong)
    assert caught.value.sqlstate == "22023"
    if first is None:
        assert os.listdir(tmp_path) == []
        return
    assert first.stats()["handles"] == 1
    first.close()
    assert os.listdir(tmp_path) == ["a.mantis"]
    assert not database_module._engines


def test_an_interval_in_milliseconds(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    with Database.open(path, create=True, durability="interval(50)") as database:
        session = database.session()
        assert next(session.execute("SHOW durability").rows) == ("interval(50)",)
        session.execute("SET durability = 'interval( 20 ms )'")
        assert next(session.execute("SHOW durability").rows) == ("interval(20)",)
        session.execute("CREATE TABLE t (a integer)")
        session.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(DataError):
            session.execute("SET durability = 'interval(-1)'")
    assert os.listdir(tmp_path) == ["a.mantis"]


def test_memory_of_a_clean_shutdown_is_not_needed(tmp_path: Path) -> None:
    """Either meta page may be lost after a clean close."""
    path = tmp_path / "a.mantis"
    make(path)
    whole = bytearray(path.read_bytes())
    for slot in (0, 1):
        broken = whole.copy()
        broken[slot * 32768 : slot * 32768 + 512] = bytes(512)
        path.write_bytes(broken)
        with Database.open(path, readonly=True) as database:
            assert count_rows(database) == 3
            assert database.stats()["problems_at_open"]


# ── one engine per file and process ──────────────────────────────────────────────────────────
def test_opening_twice_shares_one_engine(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    make(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    first, second, third = (
        Database.open(path),
        Database.open(link),
        Database.open(path, readonly=True),
    )
    assert first.store is second.store is third.store
    assert first.stats()["handles"] == 3
    first.close()
    first.close()
    with pytest.raises(InterfaceError):
        first.session()
    assert count_rows(second) == 3
    second.close()
    third.close()
    assert sorted(os.listdir(tmp_path)) == ["a.mantis", "link"]


def test_a_reader_does_not_become_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    make(path)
    before = path.read_bytes()
    with Database.open(path, readonly=True) as database:
        with pytest.raises(ReadOnly):
            database.store.commit({20: {7: (7, "")}})
        with pytest.raises(ReadOnly):
            database.store.checkpoint()
        with pytest.raises(ReadOnly):
            Database.open(path)
        with pytest.raises(ReadOnly):
            database.session().execute("create table t(a int)")
        assert os.listdir(tmp_path) == ["a.mantis"]
    assert path.read_bytes() == before


# ── other processes ──────────────────────────────────────────────────────────────────────────
def test_a_second_writer_is_told_who_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    make(path)
    child = start_holder(path)
    try:
        assert read_lock_file(OsVfs(), str(path))[0] == child.pid  # type: ignore[index]
        for readonly in (False, True):
            with pytest.raises(DatabaseLocked) as caught:
                Database.open(path, readonly=readonly)
            assert caught.value.holder_pid == child.pid
            assert abs((caught.value.since or 0) - time.time()) < 60
    finally:
        stop(child)
    with Database.open(path) as database:
        assert count_rows(database) == 3


def test_waiting_for_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    make(path)
    child = start_holder(path)
    threading.Timer(0.2, stop, [child]).start()
    with Database.open(path, wait_s=30) as database:
        assert count_rows(database) == 3
    child.wait()


def test_readers_share_and_keep_writers_out(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    make(path)
    child = start_holder(path, readonly=True)
    try:
        with Database.open(path, readonly=True) as database:
            assert count_rows(database) == 3
        with pytest.raises(DatabaseLocked):
            Database.open(path)
    finally:
        stop(child)


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    make(path)
    child = start_holder(path)
    child.kill()
    child.communicate()
    assert (tmp_path / "a.mantis-lock").exists()
    with Database.open(path) as database:
        assert count_rows(database) == 3
    assert os.listdir(tmp_path) == ["a.mantis"]


def test_reading_after_a_crash_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    make(path)
    code = (
        "import sys, os; from engine.database import Database\n"
        "d = Database.open(sys.argv[1]); d.store.commit({20: {5: (5, 'tail')}}); os._exit(9)"
    )
    assert run_child(code, str(path)).returncode == 9
    files = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with Database.open(path, readonly=True) as database:
        assert count_rows(database) == 4
        assert database.stats()["replayed_transactions"] == 1
    assert files == {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with Database.open(path) as database:
        assert count_rows(database) == 4
    assert os.listdir(tmp_path) == ["a.mantis"]


def test_a_process_that_forgets_to_close(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    make(path)
    code = (
        "import sys; from engine.database import Database\n"
        "d = Database.open(sys.argv[1]); d.store.commit({20: {5: (5, 'late')}})"
    )
    child = run_child(code, str(path))
    assert (child.returncode, child.stderr) == (0, "")
    assert os.listdir(tmp_path) == ["a.mantis"]
    with Database.open(path) as database:
        assert count_rows(database) == 4


# ── forks and signals ────────────────────────────────────────────────────────────────────────
def test_handles_are_dead_in_the_child_of_a_fork(tmp_path: Path) -> None:
    path = tmp_path / "a.mantis"
    make(path)
    code = """
import os, sys
from engine.database import Database
from engine.errors import DatabaseLocked, InterfaceError
d = Database.open(sys.argv[1])
read = d.store.point_reader(20)
assert read(1) == (1, "row 1")
snapshot, store = d.store.snapshot(), d.store
pid = os.fork()
if pid == 0:
    failed = 0
    for ask in (d.session, d.stats, lambda: store.commit({20: {8: (8, "")}}), lambda: read(1),
                store.checkpoint, lambda: store.snapshot().get(20, 1)):
        try:
            ask()
            failed = 1
        except InterfaceError:
            pass
    try:
        Database.open(sys.argv[1])
        failed = 2
    except DatabaseLocked:
        pass
    d.close()
    os._exit(failed)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
d.store.commit({20: {8: (8, "parent")}})
assert read(8) == (8, "parent")
d.close()
"""
    child = run_child(code, str(path))
    assert (child.returncode, child.stderr) == (0, "")
    assert os.listdir(tmp_path) == ["a.mantis"]


class Interrupted(Exception):
    """What the test's signal handler raises."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("durability", ["os", "group", "full", "off"])
def test_a_signal_never_leaves_half_a_commit(tmp_path: Path, durability: str) -> None:
    """A timer's handler raises at random places of commits and checkpoints in the main thread.

    Each commit is afterwards there whole (installed, published, in the log) or not at all, the
    next ones work, and what memory says is what a reopened file says."""

    def handler(signum: int, frame: object) -> None:
        raise Interrupted

    path = tmp_path / "a.mantis"
    make(path, 0)
    database = Database.open(path, durability=durability)
    store = database.store
    read = store.point_reader(20)
    old = signal.signal(signal.SIGALRM, handler)
    interrupted = done = 0
    try:
        for number in range(1500):
            before = store.visible_ts
            finished = False
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + number % 40))
                store.commit({20: {number: (number, "x" * (number % 50))}})
                if number % 100 == 99:
                    store.checkpoint()
                finished = True
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                interrupted += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert store.failure is None
            assert store.visible_ts == store.last_ts, "installed, but not published"
            published = store.visible_ts - before
            assert published in (0, 1)
            assert (read(number) is not None) == (published == 1)
            if finished:
                assert published == 1
            done += published
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert interrupted > 50
    assert count_rows(database) == done
    database.close()
    with Database.open(path) as database:
        assert count_rows(database) == done


def test_the_registry_is_empty_between_tests() -> None:
    assert database_module._engines == {}
