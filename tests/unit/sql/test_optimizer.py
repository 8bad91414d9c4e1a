"""Plans after the rules, as EXPLAIN shows them: one small query a rule."""

from __future__ import annotations

import pytest

from engine.session import Session
from tests.unit.sql.sessions import memory_session, rows


@pytest.fixture(scope="module")
def session() -> Session:
    made = memory_session()
    made.execute("create table t (id integer primary key, a integer, b text, c integer)")
    made.execute("create table u (x integer, y integer, z text, primary key (x, y))")
    made.execute("create index t_ab on t (a, b desc)")
    made.execute_many("insert into t values (?, ?, 'w', ?)", [(n, n % 7, n) for n in range(100)])
    made.execute_many("insert into u values (?, ?, 'w')", [(n, n) for n in range(10)])
    return made


def plan(session: Session, sql: str) -> str:
    return "\n".join(line for (line,) in rows(session, "explain " + sql))


PLANS = [
    # fold_constants
    ("select 1 + 2 * 3 from t where 1 = 1", "Project 7\n  Scan t ()"),
    ("select id from t where 1 = 2", "Project id\n  Empty"),
    ("select id from t where id = 1 and null", "Project id\n  Empty"),
    # choose_access
    ("select b from t where id = 5", "Project b\n  KeyScan t where id = 5 (b)"),
    ("select b from t where id in (5, 6)", "Project b\n  KeyScan t where id in (5, 6) (b)"),
    (
        "select b from t where id > 5 and id <= 10 and c = 1",
        "Project b\n  Filter c = 1\n    KeyScan t where id > 5 and id <= 10 (b, c)",
    ),
    (
        "select c from t where a = 3 and b > 'k'",
        "Project c\n  IndexScan t by t_ab where a = 3 and b > 'k' (c)",
    ),
    ("select c from t where a > 3", "Project c\n  Filter a > 3\n    Scan t (a, c)"),
    (
        "select z from u where y = 2 and x = 1",
        "Project z\n  KeyScan u where x = 1 and y = 2 (z)",
    ),
    ("select z from u where x = 1 and y > 0", "Project z\n  KeyScan u where x = 1 and y > 0 (z)"),
    # count_rows
    ("select count(*) from t", "Project count(*)\n  Project count(*)\n    CountRows t"),
    # use_key_order and choose_top_n
    ("select id from t order by id", "Project id\n  Scan t (id)"),
    ("select id from t order by id desc limit 3", "Limit 3\n  Project id\n    Scan t backwards (id)"),
    (
        "select a, b from t order by a desc, b limit 3",
        "Limit 3\n  Project a, b\n    IndexScan t by t_ab backwards (a, b)",
    ),
    (
        "select c from t order by c limit 3",
        "Limit 3\n  TopN c limit 3\n    Project c\n      Scan t (c)",
    ),
    # push_filters
    (
        "select * from (select a, count(*) as n from t group by a) g where a = 3 and n > 1",
        "Project a, count(*)\n  Project a, count(*)\n    Filter count(*) > 1\n"
        "      Aggregate count(*) by a\n        IndexScan t by t_ab where a = 3 (a)",
    ),
    (
        "select t.id from t left join u on t.id = u.x where u.y > 3",
        "Project id\n  HashJoin inner id = x\n    Scan t (id)\n    Filter y > 3\n"
        "      Scan u (x, y)",
    ),
    # join_subqueries
    (
        "select id from t where exists (select 1 from u where u.x = t.a and u.y > 3)",
        "Project id\n  HashJoin semi a = x\n    Scan t (id, a)\n    Filter y > 3\n"
        "      Scan u (x, y)",
    ),
    (
        "select id from t where c not in (select y from u)",
        "Project id\n  HashJoin anti null-aware c = y\n    Scan t (id, c)\n    Project y\n"
        "      Scan u (y)",
    ),
    # order_joins and choose_hash_keys: the larger table streams
    (
        "select z from u, t where u.x = t.a and t.c + u.y > 5",
        "Project z\n  HashJoin inner a = x and (c + y) > 5\n    Scan t (a, c)\n    Scan u (x, y, z)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), PLANS)
def test_plan(session: Session, sql: str, expected: str) -> None:
    assert plan(session, sql) == expected


def test_correlated_subquery_for_one_row_stays_a_look_up(session: Session) -> None:
    text = plan(session, "select id from t where id = 7 and exists (select 1 from u where x = a)")
    assert "Join" not in text
    assert "KeyScan u where x = a" in text


def test_cross_products_come_last(session: Session) -> None:
    text = plan(session, "select 1 from u a, u b, t where a.x = t.a and b.y = t.c")
    assert "NestedLoop" not in text
    assert text.count("HashJoin") == 2


def test_rules_can_be_switched_off(session: Session) -> None:
    session.execute("set optimizer = off")
    try:
        assert plan(session, "select b from t where id = 5") == (
            "Project b\n  Filter id = 5\n    Scan t (id, a, b, c)"
        )
    finally:
        session.execute("set optimizer = on")
