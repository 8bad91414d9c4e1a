"""Names, joins, grouping, ordering, set operations, subqueries: the shape of bound queries."""

from __future__ import annotations

from typing import Any

import pytest

from engine.sql import bound


def names(bind_text: Any, sql: str) -> list[str]:
    return [column.name for column in bind_text(sql).body.columns]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM t", ["a", "b", "c", "d", "e", "f"]),
        ("SELECT u.* FROM t, u", ["a", "x", "ts", "s"]),
        ("SELECT * FROM v", ["p", "q"]),
        ("SELECT * FROM v AS w (k)", ["k", "q"]),
        ("SELECT * FROM u JOIN (SELECT a, b FROM t) AS k USING (a)", ["a", "x", "ts", "s", "b"]),
        ("SELECT * FROM u NATURAL JOIN (SELECT a, b FROM t) AS k", ["a", "x", "ts", "s", "b"]),
        (
            "SELECT a, a + 1, sum(a), 5, CAST(a AS text), CAST(5 AS text) FROM t GROUP BY a",
            ["a", "?column?", "sum", "?column?", "a", "text"],
        ),
        ("SELECT 1 AS one UNION SELECT 2", ["one"]),
        ("VALUES (1, 'x')", ["column1", "column2"]),
        ("WITH q (k) AS (SELECT a FROM t) SELECT * FROM q", ["k"]),
        (
            "SELECT CASE WHEN f THEN a END, EXISTS (SELECT 1), (SELECT max(x) FROM u) FROM t",
            ["case", "exists", "max"],
        ),
    ],
)
def test_output_names(bind_text: Any, sql: str, expected: list[str]) -> None:
    assert names(bind_text, sql) == expected


def test_origins_of_plain_columns(bind_text: Any) -> None:
    columns = bind_text("SELECT k.a AS z, k.a + 1, p FROM t AS k, v").body.columns
    assert [(c.table, c.column) for c in columns] == [("t", "a"), ("", ""), ("", "p")]


def test_every_relation_has_its_own_number(bind_text: Any) -> None:
    query = bind_text("SELECT 1 FROM t AS x, t AS y WHERE EXISTS (SELECT 1 FROM t)").body
    tree = query.body.from_
    inner = query.body.where.query.body.from_
    assert len({tree.left.relation, tree.right.relation, inner.relation}) == 3


def test_correlated_subqueries_list_outer_columns(bind_text: Any) -> None:
    where = bind_text(
        "SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a AND u.x IN "
        "(SELECT x FROM u AS w WHERE w.s = t.b))"
    ).body.body.where
    assert sorted(column.name for column in where.outer) == ["a", "b"]
    inner = where.query.body.where.args[1]
    assert [column.name for column in inner.outer] == ["b"]
    free = bind_text("SELECT 1 FROM t WHERE a IN (SELECT a FROM u)").body.body.where
    assert free.outer == ()


def test_derived_tables_do_not_see_their_neighbours(bind_text: Any) -> None:
    from engine.errors import ProgrammingError

    with pytest.raises(ProgrammingError) as caught:
        bind_text("SELECT 1 FROM t, (SELECT t.a) AS k")
    assert caught.value.sqlstate == "42P01"


def test_outer_joins_make_columns_nullable(bind_text: Any) -> None:
    query = bind_text("SELECT t.a, u.a FROM t LEFT JOIN u ON t.a = u.a").body
    assert [expr.not_null for expr in query.body.outputs] == [True, False]
    query = bind_text("SELECT t.a, u.a FROM t JOIN u ON t.a = u.a").body
    assert [expr.not_null for expr in query.body.outputs] == [True, True]


def test_full_join_using_merges_both_sides(bind_text: Any) -> None:
    query = bind_text("SELECT a FROM t FULL JOIN u USING (a)").body
    assert isinstance(query.body.outputs[0], bound.Case)
    assert query.body.from_.on.op == "="


def test_equal_ctes_share_an_id(bind_text: Any) -> None:
    tree = bind_text("WITH q AS (SELECT a FROM t) SELECT 1 FROM q AS x, q AS y").body.body.from_
    assert tree.left.cte_id == tree.right.cte_id > 0
    assert tree.left.query is tree.right.query


# ── grouping ─────────────────────────────────────────────────────────────────────────────────
def test_outputs_above_groups_read_keys_and_aggregates(bind_text: Any) -> None:
    select = bind_text(
        "SELECT b || '!', sum(a) + 1 FROM t GROUP BY b HAVING count(*) > 1 ORDER BY sum(a)"
    ).body.body
    assert select.grouped and len(select.group_by) == 1
    assert isinstance(select.outputs[0].args[0], bound.GroupKey)
    assert isinstance(select.outputs[1].args[0], bound.AggregateRef)
    assert [aggregate.function.name for aggregate in select.aggregates] == ["sum", "count"]
    assert len(select.outputs) == 3, "ORDER BY sum(a) is a hidden output"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a + 1 FROM t GROUP BY a + 1",
        "SELECT a + 1 AS k FROM t GROUP BY k",
        "SELECT a + 1 FROM t GROUP BY 1",
        "SELECT a + 1 + a FROM t GROUP BY a",
        "SELECT b, c FROM t GROUP BY a",  # a is the primary key
        "SELECT b FROM t GROUP BY b HAVING b > 'x'",
        "SELECT (SELECT max(x) FROM u WHERE u.a = t.a) FROM t GROUP BY a",
        "SELECT count(*) FROM t HAVING count(*) > 1",
        "SELECT 5 FROM t GROUP BY b",
    ],
)
@pytest.mark.parametrize("parameterize", [False, True])
def test_grouped_queries_that_are_right(bind_text: Any, sql: str, parameterize: bool) -> None:
    select = bind_text(sql, parameterize=parameterize).body.body
    assert select.grouped
    assert not any(isinstance(output, bound.Column) for output in select.outputs)


def test_aggregates_with_distinct_filter_and_order(bind_text: Any) -> None:
    aggregate = bind_text(
        "SELECT string_agg(DISTINCT b, ',') FILTER (WHERE a > 1), count(DISTINCT a) FROM t"
    ).body.body.aggregates
    assert [item.distinct for item in aggregate] == [True, True]
    assert isinstance(aggregate[0].filter, bound.Compare)
    ordered = bind_text("SELECT string_agg(b, ',' ORDER BY a DESC) FROM t").body.body.aggregates[0]
    assert [(key.descending, key.nulls_first) for key in ordered.order_by] == [(True, True)]


def test_equal_aggregates_are_one(bind_text: Any) -> None:
    select = bind_text("SELECT sum(a), sum(a) + 1 FROM t ORDER BY sum(a)").body.body
    assert len(select.aggregates) == 1


# ── ordering and set operations ──────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("sql", "outputs"),
    [
        ("SELECT a, b FROM t ORDER BY b", [1]),
        ("SELECT a, b FROM t ORDER BY 2 DESC, 1", [1, 0]),
        ("SELECT a AS b, b AS a FROM t ORDER BY a", [1]),
        ("SELECT a FROM t ORDER BY b", [1]),
        ("SELECT a FROM t ORDER BY t.a", [0]),
        ("SELECT a + 1 FROM t ORDER BY a + 1", [0]),
        ("SELECT a FROM t UNION SELECT a FROM u ORDER BY a", [0]),
        ("SELECT DISTINCT a, b FROM t ORDER BY b, a", [1, 0]),
    ],
)
def test_order_by_names_outputs(bind_text: Any, sql: str, outputs: list[int]) -> None:
    assert [sort.output for sort in bind_text(sql).body.order_by] == outputs


def test_nulls_sort_as_in_postgresql(bind_text: Any) -> None:
    sorts = bind_text("SELECT a FROM t ORDER BY a, b DESC, c NULLS FIRST").body.order_by
    assert [sort.nulls_first for sort in sorts] == [False, True, True]


def test_set_operations_unify_types(bind_text: Any) -> None:
    query = bind_text("SELECT a FROM t UNION ALL SELECT 1.5").body
    assert query.columns[0].type.kind == "numeric"
    assert isinstance(query.body.left.body.outputs[0], bound.Cast)
    query = bind_text("SELECT NULL UNION SELECT a FROM t").body
    assert query.columns[0].type.kind == "integer"


def test_a_cast_never_goes_below_a_sort(bind_text: Any) -> None:
    query = bind_text("SELECT 'x' UNION ALL (SELECT b FROM t ORDER BY a LIMIT 3)").body
    assert query.body.right.order_by
    insert = bind_text("INSERT INTO u (a, s) SELECT a, a FROM t ORDER BY 2 LIMIT 3").body
    inner = insert.source.body.from_
    assert isinstance(inner, bound.SubqueryScan) and inner.query.order_by
