"""The session: transactions and their states, plan cache, parameters, cancellation, EXPLAIN."""

from __future__ import annotations

import json

import pytest

from engine import errors
from engine.session import Session
from tests.unit.sql.sessions import memory_session, rows, second_session


@pytest.fixture
def session() -> Session:
    made = memory_session()
    made.execute("create table t (id integer primary key, a integer, b text)")
    made.execute("insert into t values (1, 10, 'one'), (2, 20, 'two'), (3, null, null)")
    return made


# ── transactions ─────────────────────────────────────────────────────────────────────────────
def test_states_of_an_explicit_transaction(session: Session) -> None:
    assert session.status == "idle"
    assert session.execute("begin").tag == "BEGIN"
    assert session.status == "active" and session.in_transaction
    session.execute("insert into t values (4, 40, 'four')")
    assert rows(session, "select count(*) from t") == [(4,)]
    with pytest.raises(errors.UniqueViolation):
        session.execute("insert into t values (4, 1, 'again')")
    assert session.status == "failed"
    with pytest.raises(errors.TransactionAborted) as caught:
        session.execute("select 1")
    assert caught.value.sqlstate == "25P02"
    assert session.execute("commit").tag == "ROLLBACK"
    assert session.status == "idle"
    assert rows(session, "select count(*) from t") == [(3,)]


def test_savepoint_revives_a_failed_transaction(session: Session) -> None:
    session.execute("begin")
    session.execute("insert into t values (4, 40, 'four')")
    session.execute("savepoint s")
    with pytest.raises(errors.DataError):
        rows(session, "select 1 / 0")
    assert session.status == "failed"
    session.execute("rollback to s")
    assert session.execute("commit").tag == "COMMIT"
    assert rows(session, "select count(*) from t") == [(4,)]


def test_syntax_error_fails_the_transaction(session: Session) -> None:
    session.execute("begin")
    with pytest.raises(errors.ProgrammingError):
        session.execute("selec 1")
    assert session.status == "failed"


def test_autocommit_off_opens_a_transaction() -> None:
    first = memory_session(autocommit=False)
    first.execute("create table t (a integer)")
    assert first.in_transaction
    first.commit()
    first.execute("insert into t values (1)")
    other = second_session(first)
    assert rows(other, "select count(*) from t") == [(0,)]
    first.commit()
    assert rows(other, "select count(*) from t") == [(1,)]
    first.execute("insert into t values (2)")
    first.rollback()
    assert rows(other, "select count(*) from t") == [(1,)]


def test_begin_twice_and_commit_without(session: Session) -> None:
    session.execute("begin")
    with pytest.raises(errors.TransactionStateError) as caught:
        session.execute("begin")
    assert caught.value.sqlstate == "25001"
    session.execute("rollback")
    with pytest.raises(errors.TransactionStateError) as caught:
        session.execute("commit")
    assert caught.value.sqlstate == "25P01"


def test_failed_statement_changes_nothing(session: Session) -> None:
    with pytest.raises(errors.UniqueViolation):
        session.execute("insert into t values (7, 1, 'x'), (8, 2, 'y'), (1, 3, 'z')")
    assert rows(session, "select count(*) from t") == [(3,)]


def test_read_only_transaction(session: Session) -> None:
    session.execute("begin read only")
    with pytest.raises(errors.ReadOnly):
        session.execute("delete from t")
    session.execute("rollback")
    session.execute("set default_transaction_read_only = on")
    for _ in range(3):  # the specialised plan refuses as well
        with pytest.raises(errors.ReadOnly):
            session.execute("delete from t where id = ?", (1,))
        with pytest.raises(errors.ReadOnly):
            session.execute("insert into t values (?, ?, ?)", (9, 1, "x"))


# ── the plan cache ───────────────────────────────────────────────────────────────────────────
def test_literals_share_a_plan(session: Session) -> None:
    for key in (1, 2, 1, 2, 9):
        wanted = {1: [("one",)], 2: [("two",)], 9: []}[key]
        assert rows(session, f"select b from t where id = {key}") == wanted
    counters = session.cache.counters()
    assert counters["shape_hits"] >= 2
    assert counters["shapes"] >= 1


def test_literals_that_shape_a_plan_do_not_mix(session: Session) -> None:
    ascending = rows(session, "select id, a from t where id < 3 order by 1")
    by_second = rows(session, "select id, 0 - a from t where id < 3 order by 2")
    assert [row[0] for row in ascending] == [1, 2]
    assert [row[0] for row in by_second] == [2, 1]
    assert rows(session, "select id from t order by 1 limit 1") == [(1,)]
    assert rows(session, "select id from t order by 1 limit 2") == [(1,), (2,)]


def test_schema_change_replaces_plans(session: Session) -> None:
    sql = "select * from t where id = ?"
    for _ in range(3):
        assert rows(session, sql, 1) == [(1, 10, "one")]
    other = second_session(session)
    other.execute("drop table t")
    other.execute("create table t (id integer primary key, z text)")
    other.execute("insert into t values (1, 'new')")
    assert rows(session, sql, 1) == [(1, "new")]


def test_cache_is_bounded() -> None:
    session = memory_session()
    session.execute("set plan_cache_size = 10")
    for number in range(100):
        assert rows(session, f"select 1 as c{number}") == [(1,)]
    counters = session.cache.counters()
    assert counters["texts"] <= 10 and counters["shapes"] <= 10
    assert counters["evictions"] > 0


# ── parameters ───────────────────────────────────────────────────────────────────────────────
def test_parameters_by_position_and_name(session: Session) -> None:
    assert rows(session, "select b from t where id = $1 or id = $2 order by id", 1, 2) == [
        ("one",),
        ("two",),
    ]
    found = session.execute("select b from t where id = :key", {"key": 2})
    assert list(found.rows) == [("two",)]
    with pytest.raises(errors.ProgrammingError) as caught:
        session.execute("select b from t where id = :key", {"other": 2})
    assert caught.value.sqlstate == "07001"
    for _ in range(3):
        with pytest.raises(errors.ProgrammingError):
            session.execute("select b from t where id = ?", (1, 2))
        with pytest.raises(errors.ProgrammingError):
            session.execute("select b from t where id = ?", ())


def test_point_plan_takes_other_classes_the_ordinary_way(session: Session) -> None:
    sql = "select b from t where id = ?"
    for _ in range(3):
        assert rows(session, sql, 1) == [("one",)]
        assert rows(session, sql, None) == []
        assert rows(session, sql, "2") == [("two",)]
        assert rows(session, sql, 2**40) == []
        assert rows(session, sql, 2**70) == []  # as for the literal, which is numeric


# ── executemany ──────────────────────────────────────────────────────────────────────────────
def test_executemany_inserts_all_or_nothing(session: Session) -> None:
    many = [(number, number, "x") for number in range(10, 5010)]
    assert session.execute_many("insert into t values (?, ?, ?)", many).rowcount == 5000
    with pytest.raises(errors.UniqueViolation) as caught:
        session.execute_many("insert into t values (?, ?, ?)", [(1_000_000, 1, "a"), (10, 1, "b")])
    assert caught.value.constraint == "t_pkey"
    with pytest.raises(errors.UniqueViolation):
        session.execute_many("insert into t values (?, ?, ?)", [(7, 1, "a"), (7, 1, "b")])
    assert rows(session, "select count(*) from t") == [(5003,)]


def test_executemany_of_updates(session: Session) -> None:
    result = session.execute_many("update t set a = ? where id = ?", [(5, 1), (6, 2), (7, 99)])
    assert result.rowcount == 2
    assert rows(session, "select a from t where id < 3 order by id") == [(5,), (6,)]


# ── cancellation ─────────────────────────────────────────────────────────────────────────────
def test_cancel_stops_a_running_statement(session: Session) -> None:
    session.execute_many("insert into t values (?, 1, 'x')", [(n,) for n in range(10, 3000)])
    calls = 0

    def clock() -> float:
        nonlocal calls
        calls += 1
        if calls == 20:
            session.cancel()
        return 0.0

    session.clock = clock
    session.execute("set statement_timeout = '1h'")
    with pytest.raises(errors.QueryCanceled):
        rows(session, "select count(*) from t x, t y where x.a + y.a = 5")
    assert rows(session, "select 1") == [(1,)]


def test_statement_timeout(session: Session) -> None:
    session.execute_many("insert into t values (?, 1, 'x')", [(n,) for n in range(10, 3000)])
    ticks = iter(range(10**9))
    session.clock = lambda: next(ticks) * 0.001
    session.execute("set statement_timeout = '5ms'")
    with pytest.raises(errors.StatementTimeout):
        rows(session, "select count(*) from t x, t y where x.a + y.a = 5")


def test_long_results_stream_and_end_their_transaction(session: Session) -> None:
    session.execute_many("insert into t values (?, 1, 'x')", [(n,) for n in range(10, 5000)])
    result = session.execute("select id from t")
    assert result.rowcount == -1
    assert next(result.rows) == (1,)
    assert len(session.transactions.active()) == 1
    session.execute("delete from t")
    assert len(list(result.rows)) == 4992  # of the 4993 rows of its snapshot, one was read
    assert session.transactions.active() == []


# ── settings, PRAGMA, EXPLAIN ────────────────────────────────────────────────────────────────
def test_settings(session: Session) -> None:
    session.execute("set lock_timeout = '2s'")
    assert rows(session, "show lock_timeout") == [("2000ms",)]
    with pytest.raises(errors.ProgrammingError) as caught:
        session.execute("show lock_timeou")
    assert caught.value.hint is not None and "lock_timeout" in caught.value.hint
    with pytest.raises(errors.DataError) as bad:
        session.execute("set durability = 'never'")
    assert bad.value.sqlstate == "22023"


def test_pragmas(session: Session) -> None:
    session.execute("create unique index t_a on t (a)")
    assert rows(session, "pragma table_info(t)")[0] == (0, "id", "integer", 1, None, 1)
    assert rows(session, "pragma index_list(t)") == [(0, "t_pkey", 1, "pk"), (1, "t_a", 1, "c")]
    with pytest.raises(errors.ProgrammingError) as caught:
        session.execute("pragma table_inf(t)")
    assert caught.value.hint is not None and "table_info" in caught.value.hint


def test_explain(session: Session) -> None:
    text = "\n".join(row[0] for row in rows(session, "explain select a from t where id = 2"))
    assert "KeyScan t where id = 2" in text
    verbose = rows(session, "explain verbose select a from t where id = 2")
    assert ("-- choose_access",) in verbose
    analyzed = rows(session, "explain analyze select a from t where a > 5")
    assert any("rows=2" in row[0] for row in analyzed)
    (answer,) = rows(session, "explain (format json, analyze) select count(*) from t where a > 5")
    tree = json.loads(answer[0])
    assert tree["plan"]["node"] == "Project"
    assert tree["plan"]["actual_rows"] == 1
    assert tree["execution_ms"] >= 0


def test_errors_carry_their_statement(session: Session) -> None:
    sql = "select nothing from t"
    with pytest.raises(errors.ProgrammingError) as caught:
        session.execute(sql)
    assert caught.value.sql == sql
    assert caught.value.span is not None
    assert sql[slice(*caught.value.span)] == "nothing"
