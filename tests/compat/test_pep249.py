"""PEP 249 (DB-API 2.0), clause by clause: each test names the clause it holds the module to."""

from __future__ import annotations

import datetime as dt
import decimal
import inspect
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import mantisdb


@pytest.fixture
def connection() -> Iterator[mantisdb.Connection]:
    connection = mantisdb.connect(":memory:")
    connection.execute("CREATE TABLE t (id integer PRIMARY KEY, name text, price numeric(8,2))")
    connection.execute("INSERT INTO t VALUES (1, 'one', 1.50), (2, 'two', NULL), (3, 'three', 3)")
    connection.commit()
    yield connection
    connection.close()


# ── Module interface ─────────────────────────────────────────────────────────────────────────
def test_globals() -> None:
    assert mantisdb.apilevel == "2.0"
    assert mantisdb.threadsafety == 2
    assert mantisdb.paramstyle == "qmark"
    assert inspect.signature(mantisdb.connect).return_annotation == "Connection"


def test_exception_tree() -> None:
    """Warning and Error come from Exception, the others as PEP 249 draws them."""
    tree = {
        "Warning": Exception,
        "Error": Exception,
        "InterfaceError": mantisdb.Error,
        "DatabaseError": mantisdb.Error,
        "DataError": mantisdb.DatabaseError,
        "OperationalError": mantisdb.DatabaseError,
        "IntegrityError": mantisdb.DatabaseError,
        "InternalError": mantisdb.DatabaseError,
        "ProgrammingError": mantisdb.DatabaseError,
        "NotSupportedError": mantisdb.DatabaseError,
    }
    for name, base in tree.items():
        assert getattr(mantisdb, name).__bases__ == (base,)


def test_exceptions_are_attributes_of_connections(connection: mantisdb.Connection) -> None:
    """Optional extension: multi-connection code catches connection.Error."""
    for name in ("Warning", "Error", "InterfaceError", "DatabaseError", "DataError"):
        assert getattr(connection, name) is getattr(mantisdb, name)
    for name in ("OperationalError", "IntegrityError", "InternalError", "ProgrammingError"):
        assert getattr(connection, name) is getattr(mantisdb, name)
    assert connection.NotSupportedError is mantisdb.NotSupportedError


@pytest.mark.parametrize(
    ("sql", "error", "sqlstate"),
    [
        ("SELEC 1", mantisdb.ProgrammingError, "42601"),
        ("SELECT nothing FROM t", mantisdb.ProgrammingError, "42703"),
        ("SELECT 1 FROM nowhere", mantisdb.ProgrammingError, "42P01"),
        ("SELECT 1 / 0", mantisdb.DataError, "22012"),
        ("SELECT CAST('x' AS integer)", mantisdb.DataError, "22P02"),
        ("INSERT INTO t (id) VALUES (1)", mantisdb.IntegrityError, "23505"),
        ("INSERT INTO t (id) VALUES (NULL)", mantisdb.IntegrityError, "23502"),
        ("SELECT * FROM t FOR UPDATE", mantisdb.NotSupportedError, "0A000"),
        ("ROLLBACK TO SAVEPOINT nowhere", mantisdb.Error, "3B001"),
    ],
)
def test_errors_map_to_the_class_of_their_cause(
    connection: mantisdb.Connection, sql: str, error: type[mantisdb.Error], sqlstate: str
) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    with pytest.raises(error) as caught:
        cursor.execute(sql)
    assert caught.value.sqlstate == sqlstate


def test_wrong_parameters_are_programming_errors(connection: mantisdb.Connection) -> None:
    for sql, params in (
        ("SELECT ?", ()),
        ("SELECT ?", (1, 2)),
        ("SELECT :a", {"b": 1}),
    ):
        with pytest.raises(mantisdb.ProgrammingError):
            connection.execute(sql, params)
        connection.rollback()


# ── Connection ───────────────────────────────────────────────────────────────────────────────
def test_connection_close_makes_it_unusable() -> None:
    connection = mantisdb.connect(":memory:")
    cursor = connection.cursor()
    connection.close()
    connection.close()
    for use in (
        connection.cursor,
        connection.commit,
        connection.rollback,
        lambda: connection.execute("SELECT 1"),
        lambda: connection.autocommit,
        lambda: setattr(connection, "autocommit", True),
        lambda: connection.in_transaction,
        connection.cancel,
        connection.__enter__,
        lambda: cursor.execute("SELECT 1"),
    ):
        with pytest.raises(mantisdb.Error):
            use()


def test_closing_without_committing_rolls_back(tmp_path: Path) -> None:
    path = tmp_path / "db.mantis"
    first = mantisdb.connect(path)
    first.execute("CREATE TABLE t (a integer)")
    first.commit()
    first.execute("INSERT INTO t VALUES (1)")
    first.close()
    second = mantisdb.connect(path)
    assert second.execute("SELECT count(*) FROM t").fetchone() == (0,)
    second.close()


def test_commit_and_rollback(connection: mantisdb.Connection) -> None:
    """A transaction is open from the first statement; commit and rollback end it."""
    assert not connection.in_transaction
    connection.execute("DELETE FROM t WHERE id = 1")
    assert connection.in_transaction
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)
    connection.execute("DELETE FROM t WHERE id = 1")
    connection.commit()
    connection.rollback()
    connection.commit()
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_commit_after_a_failed_statement_says_so(connection: mantisdb.Connection) -> None:
    connection.execute("DELETE FROM t WHERE id = 1")
    with pytest.raises(mantisdb.IntegrityError):
        connection.execute("INSERT INTO t (id) VALUES (2)")
    with pytest.raises(mantisdb.InternalError) as caught:
        connection.execute("SELECT 1")
    assert caught.value.sqlstate == "25P02"
    with pytest.raises(mantisdb.InternalError) as caught:
        connection.commit()
    assert caught.value.sqlstate == "25P02"
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)


def test_autocommit_attribute(connection: mantisdb.Connection) -> None:
    """Off by default; True commits what is open, then every statement is its own transaction;
    False leaves that mode again."""
    assert connection.autocommit is False
    connection.execute("DELETE FROM t WHERE id = 1")
    connection.autocommit = True
    assert connection.autocommit is True
    assert not connection.in_transaction
    connection.rollback()
    connection.execute("DELETE FROM t WHERE id = 2")
    connection.rollback()
    assert connection.execute("SELECT id FROM t").fetchall() == [(3,)]
    connection.autocommit = False
    connection.execute("DELETE FROM t WHERE id = 3")
    connection.rollback()
    assert connection.execute("SELECT id FROM t").fetchall() == [(3,)]


def test_begin_is_allowed_in_both_modes(connection: mantisdb.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("DELETE FROM t")
    connection.execute("ROLLBACK")
    connection.autocommit = True
    connection.execute("BEGIN")
    connection.execute("DELETE FROM t WHERE id = 1")
    assert connection.in_transaction
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)


def test_context_manager_commits_or_rolls_back(connection: mantisdb.Connection) -> None:
    with connection as same:
        assert same is connection
        connection.execute("DELETE FROM t WHERE id = 1")
    with pytest.raises(KeyError):
        with connection:
            connection.execute("DELETE FROM t WHERE id = 2")
            raise KeyError
    assert connection.execute("SELECT id FROM t ORDER BY id").fetchall() == [(2,), (3,)]


# ── Cursor: attributes ───────────────────────────────────────────────────────────────────────
def test_description(connection: mantisdb.Connection) -> None:
    cursor = connection.cursor()
    assert cursor.description is None
    cursor.execute("DELETE FROM t WHERE id = 99")
    assert cursor.description is None
    cursor.execute("SELECT id, name AS label, price FROM t")
    assert cursor.description is not None
    assert [len(column) for column in cursor.description] == [7, 7, 7]
    assert [column[0] for column in cursor.description] == ["id", "label", "price"]
    assert [column[4:6] for column in cursor.description] == [(None, None), (None, None), (8, 2)]
    cursor.execute("SELECT id FROM t WHERE false")
    assert cursor.description is not None and cursor.fetchall() == []


TYPES = {
    "true": mantisdb.NUMBER,
    "CAST(1 AS smallint)": mantisdb.NUMBER,
    "1": mantisdb.NUMBER,
    "CAST(1 AS bigint)": mantisdb.NUMBER,
    "1.5": mantisdb.NUMBER,
    "CAST(1 AS real)": mantisdb.NUMBER,
    "CAST(1 AS double precision)": mantisdb.NUMBER,
    "CAST('a' AS text)": mantisdb.STRING,
    "CAST('a' AS varchar(3))": mantisdb.STRING,
    "CAST('{}' AS json)": mantisdb.STRING,
    "CAST('00000000-0000-0000-0000-000000000001' AS uuid)": mantisdb.STRING,
    "CAST('a' AS bytea)": mantisdb.BINARY,
    "DATE '2024-01-02'": mantisdb.DATETIME,
    "CAST('10:11:12' AS time)": mantisdb.DATETIME,
    "TIMESTAMP '2024-01-02 10:11:12'": mantisdb.DATETIME,
    "CAST('2024-01-02 10:11:12+00' AS timestamptz)": mantisdb.DATETIME,
    "INTERVAL '1 day'": mantisdb.DATETIME,
}
OBJECTS = [mantisdb.STRING, mantisdb.BINARY, mantisdb.NUMBER, mantisdb.DATETIME, mantisdb.ROWID]


@pytest.mark.parametrize("expression", TYPES)
def test_type_code_equals_exactly_one_type_object(
    connection: mantisdb.Connection, expression: str
) -> None:
    description = connection.execute(f"SELECT {expression}").description
    assert description is not None
    assert [o for o in OBJECTS if description[0][1] == o] == [TYPES[expression]]
    assert [o for o in OBJECTS if o == description[0][1]] == [TYPES[expression]]


def test_type_objects_are_distinct_and_hashable() -> None:
    assert len(set(OBJECTS)) == 5
    assert mantisdb.STRING != mantisdb.NUMBER
    assert repr(mantisdb.STRING) == "mantisdb.STRING"


def test_rowcount(connection: mantisdb.Connection) -> None:
    cursor = connection.cursor()
    assert cursor.rowcount == -1
    assert cursor.execute("UPDATE t SET name = 'x' WHERE id > 1").rowcount == 2
    assert cursor.execute("SELECT * FROM t").rowcount == 3
    assert cursor.execute("DELETE FROM t").rowcount == 3
    with pytest.raises(mantisdb.ProgrammingError):
        cursor.execute("SELEC")
    assert cursor.rowcount == -1


# ── Cursor: methods ──────────────────────────────────────────────────────────────────────────
def test_optional_methods_that_do_not_apply_are_absent(connection: mantisdb.Connection) -> None:
    """callproc and nextset: no stored procedures, one result set a statement."""
    cursor = connection.cursor()
    assert not hasattr(cursor, "callproc")
    assert not hasattr(cursor, "nextset")


def test_cursor_close(connection: mantisdb.Connection) -> None:
    cursor = connection.execute("SELECT * FROM t")
    cursor.close()
    for use in (
        cursor.fetchone,
        cursor.fetchmany,
        cursor.fetchall,
        cursor.fetch_arrow_table,
        lambda: next(cursor),
        lambda: cursor.execute("SELECT 1"),
        lambda: cursor.executemany("DELETE FROM t WHERE id = ?", [(1,)]),
        lambda: cursor.executescript("SELECT 1"),
    ):
        with pytest.raises(mantisdb.Error):
            use()


def test_fetching_without_a_result_is_an_error(connection: mantisdb.Connection) -> None:
    cursor = connection.cursor()
    uses = (
        cursor.fetchone,
        cursor.fetchmany,
        cursor.fetchall,
        cursor.fetch_arrow_table,
        lambda: next(cursor),
    )
    for use in uses:
        with pytest.raises(mantisdb.Error):
            use()
    cursor.execute("DELETE FROM t WHERE id = 1")
    for use in uses:
        with pytest.raises(mantisdb.Error):
            use()


def test_fetchone_fetchmany_fetchall(connection: mantisdb.Connection) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT id FROM t ORDER BY id")
    assert cursor.fetchone() == (1,)
    assert cursor.fetchall() == [(2,), (3,)]
    assert cursor.fetchone() is None
    assert cursor.fetchmany() == []
    assert cursor.fetchall() == []
    assert cursor.arraysize == 1
    cursor.execute("SELECT id FROM t ORDER BY id")
    assert cursor.fetchmany() == [(1,)]
    cursor.arraysize = 5
    assert cursor.fetchmany() == [(2,), (3,)]
    cursor.execute("SELECT id FROM t ORDER BY id")
    assert cursor.fetchmany(2) == [(1,), (2,)]
    assert cursor.fetchmany(0) == []
    assert cursor.fetchmany(size=2) == [(3,)]


def test_iteration_and_rownumber(connection: mantisdb.Connection) -> None:
    cursor = connection.cursor()
    assert cursor.rownumber is None
    cursor.execute("SELECT id FROM t ORDER BY id")
    assert iter(cursor) is cursor
    assert cursor.rownumber == 0
    assert next(cursor) == (1,)
    assert cursor.rownumber == 1
    assert list(cursor) == [(2,), (3,)]
    assert cursor.rownumber == 3
    with pytest.raises(StopIteration):
        next(cursor)


def test_execute_returns_the_cursor_and_keeps_the_connection(
    connection: mantisdb.Connection,
) -> None:
    cursor = connection.cursor()
    assert cursor.execute("SELECT 1") is cursor
    assert cursor.connection is connection
    assert isinstance(connection.execute("SELECT 1"), mantisdb.Cursor)


def test_parameter_styles(connection: mantisdb.Connection) -> None:
    assert connection.execute("SELECT ? + 1, ?", (1, "a")).fetchone() == (2, "a")
    assert connection.execute("SELECT ? + 1", [1]).fetchone() == (2,)
    assert connection.execute("SELECT :a || :b || :a", {"a": "x", "b": "y"}).fetchone() == ("xyx",)
    assert connection.execute("SELECT $2 || $1", ("a", "b")).fetchone() == ("ba",)


def test_executemany(connection: mantisdb.Connection) -> None:
    cursor = connection.cursor()
    rows = ((i, f"n{i}") for i in range(10, 20))
    cursor.executemany("INSERT INTO t (id, name) VALUES (?, ?)", rows)
    assert cursor.rowcount == 10
    cursor.executemany("DELETE FROM t WHERE id = :id", [{"id": 10}, {"id": 11}, {"id": 99}])
    assert cursor.rowcount == 2
    cursor.executemany("DELETE FROM t WHERE id = ?", [])
    assert cursor.rowcount == 0
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (11,)
    with pytest.raises(mantisdb.Error):
        cursor.executemany("SELECT ?", [(1,), (2,)])


def test_executemany_is_all_or_nothing(connection: mantisdb.Connection) -> None:
    connection.autocommit = True
    with pytest.raises(mantisdb.IntegrityError):
        connection.executemany("INSERT INTO t (id) VALUES (?)", [(10,), (11,), (1,)])
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)


def test_executescript(connection: mantisdb.Connection) -> None:
    connection.executescript(
        "INSERT INTO t (id) VALUES (7); SELECT * FROM t;\n-- a ; in a comment\nUPDATE t SET name = ';';"
    )
    assert connection.execute("SELECT count(*), min(name) FROM t").fetchone() == (4, ";")


def test_setinputsizes_and_setoutputsize_are_there(connection: mantisdb.Connection) -> None:
    cursor = connection.cursor()
    cursor.setinputsizes([mantisdb.NUMBER, 20])
    cursor.setoutputsize(1000)
    cursor.setoutputsize(1000, 2)
    assert cursor.execute("SELECT ?, ?", (1, "x" * 50)).fetchone() == (1, "x" * 50)


def test_lastrowid_is_none_where_rows_have_no_ids(connection: mantisdb.Connection) -> None:
    cursor = connection.execute("INSERT INTO t (id) VALUES (8) RETURNING id")
    assert cursor.lastrowid is None
    assert cursor.fetchone() == (8,)


def test_cursors_of_a_connection_are_not_isolated(connection: mantisdb.Connection) -> None:
    one, two = connection.cursor(), connection.cursor()
    one.execute("INSERT INTO t (id) VALUES (9)")
    assert two.execute("SELECT id FROM t WHERE id = 9").fetchone() == (9,)


def test_an_open_result_survives_other_statements(connection: mantisdb.Connection) -> None:
    rows = connection.execute("SELECT id FROM t ORDER BY id")
    assert rows.fetchone() == (1,)
    connection.execute("DELETE FROM t")
    connection.commit()
    assert rows.fetchall() == [(2,), (3,)]


# ── Type objects and constructors ────────────────────────────────────────────────────────────
def test_constructors() -> None:
    assert mantisdb.Date(2024, 1, 2) == dt.date(2024, 1, 2)
    assert mantisdb.Time(10, 11, 12) == dt.time(10, 11, 12)
    assert mantisdb.Timestamp(2024, 1, 2, 10, 11, 12) == dt.datetime(2024, 1, 2, 10, 11, 12)
    ticks = 1_700_000_000.0
    local = dt.datetime(*time.localtime(ticks)[:6])
    assert mantisdb.DateFromTicks(ticks) == local.date()
    assert mantisdb.TimeFromTicks(ticks) == local.time()
    assert mantisdb.TimestampFromTicks(ticks) == local
    assert mantisdb.Binary(b"\x00\xff") == b"\x00\xff"


VALUES = {
    "boolean": True,
    "smallint": -32768,
    "integer": 2**31 - 1,
    "bigint": -(2**63),
    "double precision": 0.1,
    "numeric(10,3)": decimal.Decimal("12.345"),
    "numeric": decimal.Decimal("1234567890123456789012345.5"),
    "text": "Füße ∑",
    "bytea": b"\x00\xff",
    "date": dt.date(1969, 12, 31),
    "time": dt.time(23, 59, 59, 999999),
    "timestamp": dt.datetime(2024, 2, 29, 1, 2, 3, 4),
    "timestamptz": dt.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=dt.UTC),
    "interval": dt.timedelta(days=-3, microseconds=5),
    "uuid": uuid.UUID(int=5),
}


@pytest.mark.parametrize("sql_type", VALUES)
def test_values_come_back_as_they_went_in(connection: mantisdb.Connection, sql_type: str) -> None:
    """Python types in, the same types out; NULL is None."""
    connection.execute(f"CREATE TABLE v (id integer PRIMARY KEY, a {sql_type})")
    connection.executemany("INSERT INTO v VALUES (?, ?)", [(1, VALUES[sql_type]), (2, None)])
    (first,), (second,) = connection.execute("SELECT a FROM v ORDER BY id").fetchall()
    assert first == VALUES[sql_type] and type(first) is type(VALUES[sql_type])
    assert second is None


def test_mutable_parameters_are_copied_in(connection: mantisdb.Connection) -> None:
    connection.execute("CREATE TABLE v (a bytea)")
    buffer = bytearray(b"before")
    connection.execute("INSERT INTO v VALUES (?)", (buffer,))
    buffer[:] = b"after!"
    connection.commit()
    assert connection.execute("SELECT a FROM v").fetchone() == (b"before",)


# ── Thread safety level 2 ────────────────────────────────────────────────────────────────────
def test_threads_share_a_connection(connection: mantisdb.Connection) -> None:
    connection.autocommit = True
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(50):
                key = 1000 + number * 50 + i
                connection.execute("INSERT INTO t (id, name) VALUES (?, ?)", (key, str(key)))
                row = connection.execute("SELECT name FROM t WHERE id = ?", (key,)).fetchone()
                assert row == (str(key),)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (203,)


def test_connections_of_one_file_see_each_others_commits(tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "db.mantis")
    one, two = mantisdb.connect(path), mantisdb.connect(path, autocommit=True)
    one.execute("CREATE TABLE t (a integer)")
    one.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(mantisdb.ProgrammingError):
        two.execute("SELECT * FROM t")
    one.commit()
    assert two.execute("SELECT * FROM t").fetchall() == [(1,)]
    one.close()
    assert two.execute("SELECT * FROM t").fetchall() == [(1,)]
    two.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["db.mantis"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_must_not_use_the_connection(tmp_path: Path) -> None:
    connection = mantisdb.connect(tmp_path / "db.mantis")
    connection.execute("CREATE TABLE t (a integer)")
    connection.commit()
    child = os.fork()
    if child == 0:  # no pytest here: only the exit code leaves the child
        status = 1
        try:
            connection.execute("SELECT 1")
        except mantisdb.InterfaceError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    connection.close()


def test_closing_the_connection_ends_its_cursors(connection: mantisdb.Connection) -> None:
    """.close() of a connection: "an Error exception will be raised if any operation is attempted
    ... The same applies to all cursor objects trying to use the connection"."""
    connection.executemany("INSERT INTO t VALUES (?, 'more', 1)", [(n,) for n in range(10, 3000)])
    connection.commit()
    made = connection.execute("SELECT id FROM t WHERE id < 4")
    connection.commit()
    connection.autocommit = True
    streamed = connection.execute("SELECT id FROM t")
    idle, closed = connection.cursor(), connection.cursor()
    closed.close()
    assert made.fetchone() == (1,)
    assert streamed.fetchone() == (1,)
    connection.close()
    for cursor in (made, streamed, idle, closed):
        for use in (
            cursor.fetchone,
            cursor.fetchmany,
            cursor.fetchall,
            lambda cursor=cursor: next(cursor),
            lambda cursor=cursor: list(cursor),
            lambda cursor=cursor: cursor.execute("SELECT 1"),
        ):
            with pytest.raises(mantisdb.Error):
                use()
        cursor.close()


def test_a_connection_does_not_keep_its_cursors(connection: mantisdb.Connection) -> None:
    kept = [connection.cursor() for _ in range(300)]
    del kept[10:]
    for _ in range(600):
        kept.append(connection.cursor())
    assert len(connection.cursors) == 610
    del kept
    for _ in range(3000):
        connection.execute("SELECT 1")
    assert len(connection.cursors) <= 3000
