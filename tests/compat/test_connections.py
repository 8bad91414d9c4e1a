"""What programs do to connections: generators that use them, drops without close, odd arguments."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mantisdb


@pytest.fixture
def path(tmp_path: Path) -> Path:
    where = tmp_path / "a.mantis"
    with mantisdb.connect(where, autocommit=True) as connection:
        connection.execute("create table t (a integer primary key, b text)")
    connection.close()
    return where


def count(connection: mantisdb.Connection) -> int:
    found: int = connection.execute("select count(*) from t").fetchone()[0]
    return found


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_generator_that_raises_leaves_nothing_and_breaks_nothing(
    path: Path, autocommit: bool
) -> None:
    def rows() -> Iterator[tuple[int, str]]:
        yield 1, "x"
        raise LookupError("no more")

    connection = mantisdb.connect(path, autocommit=autocommit)
    connection.execute("insert into t values (7, 'before')")
    with pytest.raises(LookupError):
        connection.executemany("insert into t values (?, ?)", rows())
    assert count(connection) == 1
    connection.commit()
    assert count(connection) == 1
    connection.close()


def test_rows_of_a_query_feed_executemany_of_the_same_connection(path: Path) -> None:
    connection = mantisdb.connect(path)
    connection.executemany("insert into t values (?, ?)", [(n, str(n)) for n in range(3000)])
    copied = connection.execute("select a + 10000, b from t")
    connection.executemany("insert into t values (?, ?)", copied)
    nested = (
        connection.execute("select a + 20000, b from t where a = ?", (n,)).fetchone()
        for n in range(5)
    )
    connection.executemany("insert into t values (?, ?)", nested)
    assert count(connection) == 6005
    connection.close()


def test_a_dropped_connection_gives_its_locks_back(path: Path) -> None:
    other = mantisdb.connect(path, autocommit=True, lock_timeout=20.0)
    dropped = mantisdb.connect(path)
    dropped.execute("insert into t values (1, 'dropped')")
    del dropped
    gc.collect()
    other.execute("insert into t values (1, 'kept')")
    assert other.execute("select b from t").fetchall() == [("kept",)]
    other.close()


def test_a_dropped_connection_gives_the_file_back(path: Path) -> None:
    mantisdb.connect(path).execute("insert into t values (1, 'dropped')")
    gc.collect()
    program = "import mantisdb, sys; mantisdb.connect(sys.argv[1], timeout=20.0).close()"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)


def test_a_program_that_closes_nothing_leaves_a_single_file(path: Path) -> None:
    program = (
        "import mantisdb, sys; c = mantisdb.connect(sys.argv[1]);"
        "c.execute('insert into t values (1, null)'); c.commit();"
        "c.execute('insert into t values (2, null)')"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [name for name in os.listdir(path.parent) if name != path.name] == []
    connection = mantisdb.connect(path)
    assert count(connection) == 1
    connection.close()


@pytest.mark.parametrize("operation", [None, 5, b"select 1"])
def test_a_statement_is_text(path: Path, operation: Any) -> None:
    connection = mantisdb.connect(path)
    for run in (connection.execute, lambda sql: connection.executemany(sql, [(1,)])):
        with pytest.raises(mantisdb.ProgrammingError, match="a statement is a str"):
            run(operation)
    connection.close()


def test_parameters_are_a_sequence_or_a_mapping(path: Path) -> None:
    connection = mantisdb.connect(path, autocommit=True)
    for wrong in (5, 1.5, object()):
        with pytest.raises(mantisdb.ProgrammingError):
            connection.execute("select ?", wrong)  # type: ignore[arg-type]
    connection.close()


def test_fetchmany_sizes(path: Path) -> None:
    connection = mantisdb.connect(path)
    connection.executemany("insert into t values (?, ?)", [(n, "") for n in range(2000)])
    cursor = connection.cursor()
    for size, expected in ((0, 0), (10**30, 2000), (True, 1)):
        assert len(cursor.execute("select a from t").fetchmany(size)) == expected
    for wrong in (-1, "x", 1.5):
        with pytest.raises(mantisdb.ProgrammingError):
            cursor.execute("select a from t").fetchmany(wrong)  # type: ignore[arg-type]
    connection.close()


def test_closing_a_cursor_twice(path: Path) -> None:
    connection = mantisdb.connect(path)
    with connection.cursor() as cursor:
        cursor.close()
    with pytest.raises(mantisdb.InterfaceError):
        cursor.execute("select 1")
    connection.close()


def test_a_path_may_be_bytes(path: Path) -> None:
    connection = mantisdb.connect(os.fsencode(path))  # type: ignore[arg-type]
    assert count(connection) == 0
    connection.execute("insert into t values (1, '')")
    connection.commit()
    connection.close()
    assert os.listdir(path.parent) == [path.name]


def test_import_is_light() -> None:
    heavy = {"asyncio", "pyarrow", "numpy", "pyparsing", "prompt_toolkit", "rich", "pygments"}
    heavy |= {"click", "logging", "subprocess", "tempfile", "json", "socket"}
    program = "import mantisdb, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    names = {name.split(".")[0] for name in done.stdout.split()}
    assert "mantisdb" in names
    assert not names & heavy
    # `inspect` comes with typing_extensions, which msgspec takes where it is installed.
    assert "inspect" not in names or "typing_extensions" in names


def test_a_lone_surrogate_is_no_text(path: Path) -> None:
    for where in (str(path), ":memory:"):
        connection = mantisdb.connect(where, autocommit=True)
        for sql in ("select '\ud800'", 'create table "\ud800" (a integer)', "select 1 -- \ud800"):
            with pytest.raises(mantisdb.DataError) as caught:
                connection.execute(sql)
            assert caught.value.sqlstate == "22021"
        connection.close()
