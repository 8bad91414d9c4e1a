"""What the Python API adds to PEP 249: opening, streaming, cancelling, retrying, Arrow."""

from __future__ import annotations

import datetime as dt
import decimal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mantisdb
from mantisdb import cursor as cursor_module
from tests.isolation.actors import BLOCKED, Actors

MANY = 5000


@pytest.fixture
def connection() -> Iterator[mantisdb.Connection]:
    connection = mantisdb.connect(":memory:", autocommit=True)
    connection.execute("CREATE TABLE t (id integer PRIMARY KEY, day date)")
    connection.executemany(
        "INSERT INTO t VALUES (?, ?)", [(i, dt.date(2024, 1, 1)) for i in range(MANY)]
    )
    yield connection
    connection.close()


# ── opening ──────────────────────────────────────────────────────────────────────────────────
def test_modes(tmp_path: Path) -> None:
    path = tmp_path / "db.mantis"
    for mode in ("rw", "ro"):
        with pytest.raises(mantisdb.OperationalError) as caught:
            mantisdb.connect(path, mode=mode)
        assert caught.value.sqlstate == "58P01"
    assert list(tmp_path.iterdir()) == []
    connection = mantisdb.connect(path)
    connection.execute("CREATE TABLE t (a integer)")
    connection.commit()
    connection.close()
    for mode in ("rw", "ro"):
        again = mantisdb.connect(str(path), mode=mode)
        assert again.execute("SELECT count(*) FROM t").fetchone() == (0,)
        again.rollback()
        if mode == "ro":
            with pytest.raises(mantisdb.OperationalError) as caught:
                again.execute("INSERT INTO t VALUES (1)")
                again.commit()
            assert caught.value.sqlstate == "25006"
        again.close()
    with pytest.raises(mantisdb.ProgrammingError):
        mantisdb.connect(path, mode="w")


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam" * 1000)
    with pytest.raises(mantisdb.OperationalError):
        mantisdb.connect(path)


@pytest.mark.parametrize("options", [{"isolation": "chaos"}, {"durability": "maybe"}])
def test_bad_options(tmp_path: Path, options: dict[str, Any]) -> None:
    for path in (":memory:", str(tmp_path / "db.mantis")):
        with pytest.raises(mantisdb.Error) as caught:
            mantisdb.connect(path, **options)
        assert caught.value.sqlstate == "22023"
    mantisdb.connect(tmp_path / "db.mantis").close()  # nothing stayed open or locked


def test_options_reach_the_session(tmp_path: Path) -> None:
    connection = mantisdb.connect(
        tmp_path / "db.mantis", isolation="serializable", durability="os", lock_timeout=0.25
    )
    assert connection.execute("SHOW default_transaction_isolation").fetchone() == ("serializable",)
    assert connection.execute("SHOW durability").fetchone() == ("os",)
    assert connection.execute("SHOW lock_timeout").fetchone() == ("250ms",)
    connection.close()


def test_memory_databases_are_apart() -> None:
    one, two = mantisdb.connect(":memory:"), mantisdb.connect(":memory:")
    one.execute("CREATE TABLE t (a integer)")
    one.commit()
    with pytest.raises(mantisdb.ProgrammingError):
        two.execute("SELECT * FROM t")
    one.close()
    two.close()


def test_open_page_views_do_not_keep_the_file_locked(tmp_path: Path) -> None:
    """A mapping has its own descriptor of the open file, and a flock lives as long as the last of
    them: a second open used to wait for the garbage collector."""
    path = tmp_path / "db.mantis"
    kept = []
    for _ in range(3):
        connection = mantisdb.connect(path, autocommit=True, timeout=0)
        connection.execute("CREATE TABLE IF NOT EXISTS t (a integer)")
        connection.execute("INSERT INTO t VALUES (1)")
        kept.append(connection.execute("SELECT * FROM t"))
        connection.close()


# ── streaming ────────────────────────────────────────────────────────────────────────────────
def test_a_long_result_is_read_as_it_is_made(connection: mantisdb.Connection) -> None:
    cursor = connection.execute("SELECT id, day FROM t ORDER BY id")
    assert cursor.rowcount == -1
    assert cursor.fetchone() == (0, dt.date(2024, 1, 1))
    assert cursor.rownumber == 1
    assert len(cursor.fetchmany(10)) == 10
    connection.execute("DELETE FROM t")
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert cursor.rownumber == 11
    assert next(cursor)[0] == 11
    assert [row[0] for row in cursor.fetchall()] == list(range(12, MANY))
    assert cursor.fetchone() is None
    assert cursor.rownumber == MANY


@pytest.mark.parametrize("way", ["close", "execute"])
def test_a_result_left_unread_gives_its_snapshot_back(
    connection: mantisdb.Connection, way: str
) -> None:
    store = connection.session.store
    cursor = connection.execute("SELECT id, day FROM t")
    cursor.fetchone()
    assert store.open_snapshot_count() == 1
    if way == "close":
        cursor.close()
    else:
        cursor.execute("SELECT 1")
    assert store.open_snapshot_count() == 0


def test_converters_are_bounded(
    connection: mantisdb.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursor_module, "CONVERTERS_MAX", 3)
    for i in range(10):
        row = connection.execute(f"SELECT id AS a{i}, day FROM t WHERE id = 1").fetchone()
        assert row == (1, dt.date(2024, 1, 1))
    assert len(connection.converters) <= 3


# ── errors ───────────────────────────────────────────────────────────────────────────────────
def test_errors_carry_facts(connection: mantisdb.Connection) -> None:
    with pytest.raises(mantisdb.ProgrammingError) as caught:
        connection.execute("SELECT idd FROM t")
    error = caught.value
    assert error.sqlstate == "42703"
    assert error.sql == "SELECT idd FROM t"
    assert error.span is not None and error.sql[slice(*error.span)] == "idd"
    assert error.position == 8
    assert error.is_retryable is False


def test_statusmessage(connection: mantisdb.Connection) -> None:
    cursor = connection.cursor()
    assert cursor.statusmessage is None
    assert cursor.execute("DELETE FROM t WHERE id < 3").statusmessage == "DELETE 3"


# ── threads: waiting, cancelling, timing out ─────────────────────────────────────────────────
@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[mantisdb.Connection, mantisdb.Connection]]:
    path = tmp_path / "db.mantis"
    one = mantisdb.connect(path)
    one.execute("CREATE TABLE t (id integer PRIMARY KEY, n integer)")
    one.execute("INSERT INTO t VALUES (1, 0), (2, 0)")
    one.commit()
    two = mantisdb.connect(path)
    yield one, two
    one.close()
    two.close()


def locks_of(connection: mantisdb.Connection) -> Any:
    return connection.session.transactions.lock_manager


def test_cancel_ends_a_wait(pair: tuple[mantisdb.Connection, mantisdb.Connection]) -> None:
    one, two = pair
    one.execute("UPDATE t SET n = 1 WHERE id = 1")
    with Actors(locks_of(one)) as actors:
        assert actors["two"].call(two.execute, "UPDATE t SET n = 2 WHERE id = 1") is BLOCKED
        two.cancel()
        outcome = actors["two"].next_event()
    assert isinstance(outcome, mantisdb.OperationalError) and outcome.sqlstate == "57014"


def test_lock_timeout(pair: tuple[mantisdb.Connection, mantisdb.Connection]) -> None:
    one, two = pair
    one.execute("UPDATE t SET n = 1 WHERE id = 1")
    two.execute("SET lock_timeout = '1ms'")
    two.commit()
    with pytest.raises(mantisdb.OperationalError) as caught:
        two.execute("UPDATE t SET n = 2 WHERE id = 1")
    assert caught.value.sqlstate == "55P03"


@pytest.mark.parametrize("autocommit", [False, True])
def test_run_transaction_retries(
    pair: tuple[mantisdb.Connection, mantisdb.Connection], autocommit: bool
) -> None:
    one, two = pair
    one.autocommit = autocommit
    pauses: list[float] = []
    calls = 0

    def work(connection: mantisdb.Connection) -> str:
        nonlocal calls
        calls += 1
        connection.execute("SELECT n FROM t WHERE id = 1").fetchone()
        if calls < 3:
            two.execute("UPDATE t SET n = n + 10 WHERE id = 1")
            two.commit()
        connection.execute("UPDATE t SET n = n + 1 WHERE id = 1")
        return "done"

    value = mantisdb.run_transaction(one, work, sleep=pauses.append, uniform=lambda low, high: high)
    assert (value, calls, pauses) == ("done", 3, [0.001, 0.002])
    assert not one.in_transaction
    assert two.execute("SELECT n FROM t WHERE id = 1").fetchone() == (21,)


def test_run_transaction_gives_up(pair: tuple[mantisdb.Connection, mantisdb.Connection]) -> None:
    one, two = pair

    def clash(connection: mantisdb.Connection) -> None:
        connection.execute("SELECT n FROM t WHERE id = 1").fetchone()
        two.execute("UPDATE t SET n = n + 1 WHERE id = 1")
        two.commit()
        connection.execute("UPDATE t SET n = n + 1 WHERE id = 1")

    with pytest.raises(mantisdb.OperationalError) as caught:
        one.run_transaction(clash, attempts=2)
    assert caught.value.sqlstate == "40001" and caught.value.is_retryable
    assert not one.in_transaction
    with pytest.raises(KeyError):
        one.run_transaction(lambda connection: {}["missing"])
    one.execute("SELECT 1")
    with pytest.raises(mantisdb.InternalError):
        one.run_transaction(clash)
    with pytest.raises(ValueError, match="attempts"):
        two.run_transaction(clash, attempts=0)


def test_threads_with_their_own_connections_lose_no_update(tmp_path: Path) -> None:
    path = tmp_path / "db.mantis"
    setup = mantisdb.connect(path, autocommit=True)
    setup.execute("CREATE TABLE t (id integer PRIMARY KEY, n integer)")
    setup.execute("INSERT INTO t VALUES (1, 0)")

    def add(connection: mantisdb.Connection) -> None:
        (n,) = connection.execute("SELECT n FROM t WHERE id = 1").fetchone()
        connection.execute("UPDATE t SET n = ? WHERE id = 1", (n + 1,))

    def work() -> None:
        connection = mantisdb.connect(path, durability="os")
        for _ in range(20):
            connection.run_transaction(add, attempts=1000)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert setup.execute("SELECT n FROM t").fetchone() == (80,)
    setup.close()


# ── Arrow ────────────────────────────────────────────────────────────────────────────────────
ARROW = {
    "boolean": (True, "bool"),
    "smallint": (-1, "int16"),
    "integer": (7, "int32"),
    "bigint": (2**62, "int64"),
    "real": (0.5, "float"),
    "double precision": (0.1, "double"),
    "numeric(10,3)": (decimal.Decimal("12.345"), "decimal128(10, 3)"),
    "numeric": (decimal.Decimal("1.25"), "decimal128(38, 2)"),
    "text": ("é", "string"),
    "bytea": (b"\x00\xff", "binary"),
    "date": (dt.date(1969, 12, 31), "date32[day]"),
    "time": (dt.time(1, 2, 3, 4), "time64[us]"),
    "timestamp": (dt.datetime(2024, 2, 29, 1, 2, 3, 4), "timestamp[us]"),
    "timestamptz": (dt.datetime(2024, 2, 29, tzinfo=dt.UTC), "timestamp[us, tz=UTC]"),
    "uuid": (uuid.UUID(int=5), "fixed_size_binary[16]"),
}


@pytest.mark.parametrize("sql_type", ARROW)
def test_arrow_types(connection: mantisdb.Connection, sql_type: str) -> None:
    value, arrow_type = ARROW[sql_type]
    connection.execute(f"CREATE TABLE v (id integer PRIMARY KEY, a {sql_type})")
    connection.executemany("INSERT INTO v VALUES (?, ?)", [(1, value), (2, None)])
    table = connection.execute("SELECT a FROM v ORDER BY id").fetch_arrow_table()
    assert str(table.schema.field("a").type) == arrow_type
    expected = value.bytes if isinstance(value, uuid.UUID) else value
    assert table.column("a").to_pylist() == [expected, None]


def test_arrow_interval_and_wide_numeric(connection: mantisdb.Connection) -> None:
    table = connection.execute(
        "SELECT INTERVAL '2 months 3 days 1 second' AS i,"
        " CAST('1234567890123456789012345678901234567890.5' AS numeric) AS n"
    ).fetch_arrow_table()
    assert tuple(table.column("i").to_pylist()[0]) == (2, 3, 1_000_000_000)
    assert str(table.schema.field("n").type) == "decimal256(41, 1)"


def test_arrow_of_a_stream_of_part_of_a_result_and_of_nothing(
    connection: mantisdb.Connection,
) -> None:
    cursor = connection.execute("SELECT id FROM t ORDER BY id")
    cursor.fetchmany(100)
    table = cursor.fetch_arrow_table()
    assert table.column("id").to_pylist() == list(range(100, MANY))
    assert cursor.fetchone() is None
    empty = connection.execute("SELECT id, day FROM t WHERE id < 0").fetch_arrow_table()
    assert empty.num_rows == 0
    assert [str(field.type) for field in empty.schema] == ["int32", "date32[day]"]


def test_arrow_has_no_nan_decimal(connection: mantisdb.Connection) -> None:
    with pytest.raises(mantisdb.DataError):
        connection.execute("SELECT CAST('NaN' AS numeric) AS n").fetch_arrow_table()


# ── arguments of connect ─────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "wrong",
    [
        {"isolation": "bogus"},
        {"durability": "bogus"},
        *[{"lock_timeout": v} for v in (0, -1.0, float("nan"), float("inf"), "5s", True)],
        *[{"timeout": v} for v in (-1.0, float("nan"), float("inf"), "5s", None)],
    ],
)
def test_wrong_arguments_create_nothing(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(mantisdb.DatabaseError) as caught:
        mantisdb.connect(tmp_path / "new.mantis", **wrong)
    assert caught.value.sqlstate == "22023"
    assert list(tmp_path.iterdir()) == []


def test_the_shortest_lock_timeout_is_not_for_ever() -> None:
    with mantisdb.connect(":memory:", lock_timeout=1e-9) as connection:
        assert connection.execute("SHOW lock_timeout").fetchone() == ("0.001ms",)
    connection.close()


def test_an_interval_as_durability(tmp_path: Path) -> None:
    connection = mantisdb.connect(tmp_path / "db.mantis", durability="interval(50)")
    assert connection.execute("SHOW durability").fetchone() == ("interval(50)",)
    connection.execute("CREATE TABLE t (a integer)")
    connection.commit()
    connection.close()


def test_memory_is_never_read_only() -> None:
    with pytest.raises(mantisdb.ProgrammingError) as caught:
        mantisdb.connect(":memory:", mode="ro")
    assert caught.value.sqlstate == "22023"


@pytest.mark.parametrize("autocommit", [True, False])
def test_read_only_beside_a_writer_never_writes(tmp_path: Path, autocommit: bool) -> None:
    path = tmp_path / "db.mantis"
    writer = mantisdb.connect(path, autocommit=True)
    writer.execute("CREATE TABLE t (id integer PRIMARY KEY, n integer)")
    writer.execute("INSERT INTO t VALUES (1, 1)")
    reader = mantisdb.connect(path, mode="ro", autocommit=autocommit)
    insert, update = "INSERT INTO t VALUES (2, 2)", "UPDATE t SET n = 9 WHERE id = 1"
    refused = [
        "SET default_transaction_read_only = off",
        "SET default_transaction_read_only = 'default'",
        "BEGIN READ WRITE",
        "CHECKPOINT",
        insert,
        update,
        "DELETE FROM t WHERE id = 1",
        "CREATE TABLE u (a integer)",
    ]
    for _ in range(3):  # plans are specialised when they come again
        for sql in refused:
            with pytest.raises(mantisdb.OperationalError) as caught:
                reader.execute(sql)
            assert caught.value.sqlstate == "25006", sql
            reader.rollback()
    reader.execute("BEGIN")
    with pytest.raises(mantisdb.OperationalError) as caught:
        reader.execute("SET TRANSACTION READ WRITE")
    assert caught.value.sqlstate == "25006"
    reader.rollback()
    assert reader.execute("SELECT * FROM t").fetchall() == [(1, 1)]
    reader.close()
    writer.close()


@pytest.mark.parametrize("sql", ["UPDATE t SET n = 2 WHERE id = 1", "UPDATE t SET n = n + 1"])
def test_statement_timeout_ends_a_lock_wait(
    pair: tuple[mantisdb.Connection, mantisdb.Connection], sql: str
) -> None:
    one, two = pair
    one.execute("UPDATE t SET n = 1 WHERE id = 1")
    two.execute("SET statement_timeout = '20ms'")
    for lock_timeout in ("0", "1h"):
        two.execute(f"SET lock_timeout = '{lock_timeout}'")
        two.rollback()
        two.execute("SELECT 1")
        with pytest.raises(mantisdb.OperationalError) as caught:
            two.execute(sql)
        assert caught.value.sqlstate == "57014"
        two.rollback()
    two.execute("SET lock_timeout = '1ms'")
    two.execute("SET statement_timeout = '1h'")
    two.rollback()
    with pytest.raises(mantisdb.OperationalError) as caught:
        two.execute(sql)
    assert caught.value.sqlstate == "55P03"
    two.rollback()
