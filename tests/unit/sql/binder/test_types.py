"""Expressions get PostgreSQL's types; untyped literals and parameters those of what they meet."""

from __future__ import annotations

from typing import Any

import pytest

from engine.sql import bound
from engine.types import SqlType, type_text


def output_types(bind_text: Any, expression: str, source: str = "FROM t") -> list[str]:
    query = bind_text(f"SELECT {expression} {source}").body
    return [type_text(column.type) for column in query.columns]


@pytest.mark.parametrize(
    ("expression", "sql_type"),
    [
        ("1", "integer"),
        ("2147483648", "bigint"),
        ("9223372036854775808", "numeric"),
        ("-2147483648", "integer"),
        ("1.5", "numeric"),
        ("1e3", "numeric"),
        ("'x'", "text"),
        ("NULL", "text"),
        ("TRUE", "boolean"),
        ("x'00'", "bytea"),
        ("a + 1", "integer"),
        ("a + 2147483648", "bigint"),
        ("a / 2", "integer"),
        ("a * 1.5", "numeric"),
        ("a * e", "double precision"),
        ("c * 2", "numeric"),
        ("c + e", "double precision"),
        ("a + NULL", "integer"),
        ("NULL + NULL", "integer"),
        ("- NULL", "integer"),
        ("a + '5'", "integer"),
        ("2 ^ 3", "double precision"),
        ("2.0 ^ 3", "numeric"),
        ("d + 1", "date"),
        ("d - d", "integer"),
        ("d - '2020-01-01'", "integer"),
        ("d + '1 day'", "timestamp"),
        ("d + INTERVAL '1 day'", "timestamp"),
        ("b || 1", "text"),
        ("'a' || 'b'", "text"),
        ("a = 1", "boolean"),
        ("CASE WHEN f THEN 1 ELSE 2.5 END", "numeric"),
        ("CASE WHEN f THEN NULL ELSE d END", "date"),
        ("COALESCE(a, 1.5)", "numeric"),
        ("COALESCE(NULL, d)", "date"),
        ("NULLIF(a, 1.5)", "integer"),
        ("GREATEST(a, e)", "double precision"),
        ("CAST(a AS varchar(5))", "character varying(5)"),
        ("a::numeric(5,1)", "numeric(5,1)"),
        ("sum(a)", "bigint"),
        ("sum(c)", "numeric"),
        ("sum(e)", "double precision"),
        ("avg(a)", "numeric"),
        ("avg(e)", "double precision"),
        ("min(d)", "date"),
        ("max(NULL)", "text"),
        ("sum(NULL)", "bigint"),
        ("count(*)", "bigint"),
        ("string_agg(b, ',')", "text"),
        ("group_concat(a)", "text"),
        ("abs(a)", "integer"),
        ("ceil(a)", "double precision"),
        ("round(c, 1)", "numeric"),
        ("length(b)", "integer"),
        ("extract(year FROM d)", "numeric"),
        ("date_trunc('month', d)", "timestamp with time zone"),
        ("EXISTS (SELECT 1)", "boolean"),
        ("(SELECT max(x) FROM u)", "bigint"),
        ("iif(f, 1, 2)", "integer"),
    ],
)
def test_result_types(bind_text: Any, expression: str, sql_type: str) -> None:
    aggregate = expression.split("(")[0] in (
        "sum",
        "avg",
        "min",
        "max",
        "count",
        "string_agg",
        "group_concat",
    )
    assert output_types(bind_text, expression, "FROM t") == [sql_type], aggregate


def test_sum_of_bigint_is_numeric(bind_text: Any) -> None:
    assert output_types(bind_text, "sum(x), avg(x)", "FROM u") == ["numeric", "numeric"]


@pytest.mark.parametrize(
    ("condition", "literal"),
    [
        ("d = '2020-01-01'", bound.Const(18262, SqlType("date"), (0, 0))),
        ("a = '5'", bound.Const(5, SqlType("bigint"), (0, 0))),
        ("f = 'yes'", bound.Const(True, SqlType("boolean"), (0, 0))),
        ("e > 1", bound.Const(1.0, SqlType("double"), (0, 0))),
        ("b = 'x'", bound.Const("x", SqlType("text"), (0, 0))),
    ],
)
def test_literals_take_the_other_sides_type(
    bind_text: Any, condition: str, literal: bound.Const
) -> None:
    compare = bind_text(f"SELECT 1 FROM t WHERE {condition}").body.body.where
    assert isinstance(compare, bound.Compare)
    assert isinstance(compare.left, bound.Column), "no cast may hide the column from the planner"
    assert (compare.right.value, compare.right.type) == (literal.value, literal.type)


@pytest.mark.parametrize(
    ("sql", "types"),
    [
        ("SELECT * FROM t WHERE a = ?", ["bigint"]),
        ("SELECT * FROM t WHERE d BETWEEN ? AND ?", ["date", "date"]),
        ("SELECT * FROM t WHERE b IN (?, 'x')", ["text"]),
        ("SELECT * FROM u WHERE s = ?", ["text"]),
        (
            "INSERT INTO u VALUES (?, ?, ?, ?)",
            ["integer", "bigint", "timestamp", "character varying(3)"],
        ),
        ("INSERT INTO u (x, ts) SELECT ?, ?", ["bigint", "timestamp"]),
        ("UPDATE t SET c = ?, b = ? WHERE a = ?", ["numeric(10,2)", "text", "bigint"]),
        ("SELECT a + ? FROM t", ["integer"]),
        ("SELECT CAST(? AS date)", ["date"]),
        ("SELECT ?", ["unknown"]),
        ("SELECT ? + ?", ["undecided", "undecided"]),
        ("SELECT 1 FROM t WHERE a = $2 AND b = $1", ["text", "bigint"]),
        ("SELECT 1 LIMIT ? OFFSET ?", ["bigint", "bigint"]),
        ("SELECT coalesce(c, ?) FROM t", ["numeric"]),
        ("SELECT 1 FROM t WHERE b LIKE ?", ["text"]),
        ("SELECT sum(?)", ["integer"]),
    ],
)
def test_parameters_take_the_type_of_what_they_meet(
    bind_text: Any, sql: str, types: list[str]
) -> None:
    assert [type_text(spec.type) for spec in bind_text(sql).params] == types


def test_a_parameter_may_learn_its_type_after_its_first_use(bind_text: Any) -> None:
    statement = bind_text("SELECT :x FROM t WHERE d = :x")
    assert [spec.name for spec in statement.params] == ["x"]
    assert type_text(statement.params[0].type) == "date"
    assert statement.body.columns[0].type == SqlType("date")


def test_given_parameter_types_are_taken(bind_text: Any) -> None:
    statement = bind_text("SELECT ? + 1", param_types={0: SqlType("double")})
    assert statement.body.columns[0].type == SqlType("double")


def test_parameters_of_two_types_are_refused(bind_text: Any) -> None:
    from engine.errors import ProgrammingError

    with pytest.raises(ProgrammingError):
        bind_text("SELECT 1 FROM t WHERE d = $1 AND f = $1")


# ── parameterize ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("sql", "slots", "baked"),
    [
        ("SELECT * FROM t WHERE a = 42", [(0, "bigint")], []),
        ("SELECT a + 1 FROM t LIMIT 5", [(1, "bigint"), (0, "integer")], []),
        ("SELECT a FROM t ORDER BY 1", [], [0]),
        ("SELECT a FROM t WHERE b LIKE 'x%'", [], [0]),
        ("SELECT a + 1 FROM t GROUP BY a + 1", [], [0, 1]),
        ("SELECT DATE '2020-01-01'", [], [0]),
        ("SELECT extract('year' FROM d) FROM t", [], [0]),
        (
            "INSERT INTO u VALUES (1, 2, '2020-01-01', 'abc')",
            [(0, "integer"), (1, "bigint"), (2, "timestamp"), (3, "character varying(3)")],
            [],
        ),
        ("SELECT * FROM v WHERE p = 7", [(0, "bigint")], []),
    ],
)
def test_literals_become_parameters_where_any_value_fits(
    bind_text: Any, sql: str, slots: list[tuple[int, str]], baked: list[int]
) -> None:
    statement = bind_text(sql, parameterize=True)
    found = [(slot, type_text(sql_type)) for slot, sql_type in statement.literal_slots]
    assert sorted(found) == sorted(slots)
    assert sorted(statement.baked_slots) == baked


def test_literal_parameters_come_after_the_callers(bind_text: Any) -> None:
    statement = bind_text("SELECT 1 FROM t WHERE a = 5 AND b = ?", parameterize=True)
    where = statement.body.body.where
    indexes = {part.left.name: part.right.index for part in where.args}
    assert indexes["b"] == 0
    literal = next(i for i, (slot, _) in enumerate(statement.literal_slots) if slot == 1)
    assert indexes["a"] == len(statement.params) + literal


def test_bad_literals_are_found_while_binding(bind_text: Any) -> None:
    from engine.errors import DataError

    for parameterize in (False, True):
        with pytest.raises(DataError) as caught:
            bind_text("SELECT 1 FROM t WHERE d = '2020-02-30'", parameterize=parameterize)
        assert caught.value.span == (26, 38)
        with pytest.raises(DataError):
            bind_text("INSERT INTO u VALUES (99999999999, 1)", parameterize=parameterize)
