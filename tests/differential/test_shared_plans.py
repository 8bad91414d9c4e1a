"""A plan shared between texts that differ in literals gives what a plan of its own gives.

Found this way: `CAST(x AS numeric(5, 1))` ran the plan of `numeric(5, 2)`, because the arguments of a
type are literals that no expression holds; and `-10` in a grouped query lost its sign.
"""

from __future__ import annotations

import pytest

import mantisdb

SETUP = (
    "CREATE TABLE t (id integer PRIMARY KEY, a integer, b text, c numeric(8, 3))",
    "INSERT INTO t VALUES (1, 5, 'x', 1.5), (2, 6, 'xy', 22.125), (3, NULL, NULL, NULL)",
)
PAIRS = [
    ("SELECT CAST('123.456' AS numeric(5, 2))", "SELECT CAST('123.456' AS numeric(5, 1))"),
    ("SELECT '123.456'::varchar(3)", "SELECT '123.456'::varchar(5)"),
    ("SELECT -10 FROM t GROUP BY a", "SELECT -11 FROM t GROUP BY a"),
    ("SELECT a + 1 FROM t GROUP BY a + 1 ORDER BY 1", "SELECT a + 2 FROM t GROUP BY a + 2 ORDER BY 1"),
    ("SELECT a, b FROM t ORDER BY 1 DESC", "SELECT a, b FROM t ORDER BY 2 DESC"),
    ("SELECT id FROM t ORDER BY id LIMIT 1", "SELECT id FROM t ORDER BY id LIMIT 2"),
    ("SELECT b LIKE 'x' FROM t ORDER BY id", "SELECT b LIKE 'x%' FROM t ORDER BY id"),
    ("SELECT INTERVAL '5' DAY", "SELECT INTERVAL '6' DAY"),
    ("SELECT DATE '2020-01-01'", "SELECT DATE '2021-02-03'"),
    ("SELECT extract('year' FROM DATE '2020-02-03')", "SELECT extract('day' FROM DATE '2020-02-03')"),
    ("SELECT * FROM t WHERE id = 1", "SELECT * FROM t WHERE id = 2147483648"),
    ("SELECT id FROM t WHERE c > 1.5 ORDER BY id", "SELECT id FROM t WHERE c > 1.25 ORDER BY id"),
    ("SELECT a FROM t WHERE a IN (5, 6) ORDER BY 1", "SELECT a FROM t WHERE a IN (6, 7) ORDER BY 1"),
    ("SELECT sum(a) FILTER (WHERE a > 5) FROM t", "SELECT sum(a) FILTER (WHERE a > 4) FROM t"),
    ("SELECT CASE WHEN a > 5 THEN 'p' ELSE 'q' END FROM t", "SELECT CASE WHEN a > 4 THEN 'r' ELSE 's' END FROM t"),
    ("SELECT 1 UNION SELECT 2 ORDER BY 1", "SELECT 4 UNION SELECT 3 ORDER BY 1"),
    ("SELECT substring('hello' FROM 2)", "SELECT substring('hello' FROM 3)"),
    ("SELECT coalesce(NULL, 1, 2)", "SELECT coalesce(NULL, 3, 4)"),
    ("SELECT round(2.567, 1)", "SELECT round(2.567, 2)"),
    ("SELECT DISTINCT a > 5 FROM t ORDER BY a > 5", "SELECT DISTINCT a > 6 FROM t ORDER BY a > 6"),
    ("SELECT (SELECT max(a) + 1 FROM t)", "SELECT (SELECT max(a) + 2 FROM t)"),
    ("INSERT INTO t VALUES (7, 1, 'p', 1.5) RETURNING *", "INSERT INTO t VALUES (8, 2, 'q', 2.25) RETURNING *"),
    ("UPDATE t SET a = 1 WHERE id = 1 RETURNING a", "UPDATE t SET a = 9 WHERE id = 2 RETURNING a"),
]  # fmt: skip


def _answer(connection: mantisdb.Connection, sql: str) -> object:
    try:
        return connection.execute(sql).fetchall()
    except mantisdb.Error as error:
        return error.sqlstate


def _fresh() -> mantisdb.Connection:
    connection = mantisdb.connect(":memory:", autocommit=True)
    for statement in SETUP:
        connection.execute(statement)
    return connection


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[1])
def test_second_text_of_a_shape(pair: tuple[str, str]) -> None:
    for first, second in (pair, pair[::-1]):
        with _fresh() as alone, _fresh() as after:
            _answer(after, first)
            assert _answer(after, second) == _answer(alone, second)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "+".join(["a"] * 190) + " FROM t WHERE id = 1",
        "SELECT " + "+".join(["a"] * 5000) + " FROM t",
        "SELECT id FROM t WHERE " + " OR ".join(f"id = {i}" for i in range(1, 1500)),
        "SELECT " + "abs(" * 95 + "a" + ")" * 95 + " FROM t",
        "SELECT " + "(SELECT " * 99 + "1" + ")" * 99,
        "SELECT " + "(" * 5000,
        "SELECT 1 FROM t t0" + "".join(f" JOIN t t{i} USING (id)" for i in range(1, 40)),
    ],
    ids=lambda sql: sql[:30],
)
def test_deep_and_wide_statements(sql: str) -> None:
    """An answer or 54001; no RecursionError, no SyntaxError of generated code."""
    with _fresh() as connection:
        answer = _answer(connection, sql)
    assert isinstance(answer, list) or answer == "54001"
