"""INSERT, UPDATE, DELETE and schema changes: what the executor is told."""

from __future__ import annotations

from typing import Any

import pytest

from engine.catalog import EMPTY_CATALOG
from engine.sql import bound
from engine.sql.binder import bind
from engine.sql.grammar import parse
from engine.types import type_text


def test_insert_goes_to_the_named_columns(bind_text: Any) -> None:
    insert = bind_text("INSERT INTO t (c, a) VALUES (1, 2.5)").body
    assert insert.columns == (2, 0)
    row = insert.source.body.rows[0]
    assert [str(expr.value) for expr in row] == ["1.00", "3"]
    assert [type_text(column.type) for column in insert.source.columns] == [
        "numeric(10,2)",
        "integer",
    ]


def test_other_columns_take_their_defaults(bind_text: Any) -> None:
    insert = bind_text("INSERT INTO t (a) VALUES (1)").body
    assert insert.defaults[0] is None and insert.defaults[2] is None
    assert insert.defaults[1] is not None and insert.defaults[1].value == "none"


def test_default_marker_and_default_values(bind_text: Any) -> None:
    row = bind_text("INSERT INTO t (a, b, c) VALUES (1, DEFAULT, DEFAULT)").body.source.body.rows[0]
    assert [expr.value for expr in row] == [1, "none", None]
    insert = bind_text("INSERT INTO t DEFAULT VALUES").body
    assert insert.source is None and insert.columns == ()


def test_fewer_values_fill_the_first_columns(bind_text: Any) -> None:
    assert bind_text("INSERT INTO t VALUES (1, 'x')").body.columns == (0, 1)


def test_checks_read_the_target(bind_text: Any) -> None:
    insert = bind_text("INSERT INTO t (a) VALUES (1)").body
    ((name, condition),) = insert.checks
    assert name == "t_c_check" and condition.left.relation == insert.relation
    update = bind_text("UPDATE t AS k SET a = k.a + 1 WHERE k.b = 'x' RETURNING *, k.a + 1").body
    assert update.checks[0][1].left.relation == update.relation
    assert [column.name for column in update.returning_columns][-2:] == ["f", "?column?"]
    assert [position for position, _ in update.assignments] == [0]


def test_insert_select_casts_to_the_columns(bind_text: Any) -> None:
    insert = bind_text("INSERT INTO u (x, s) SELECT c, a FROM t").body
    assert [type_text(expr.type) for expr in insert.source.body.outputs] == [
        "bigint",
        "character varying(3)",
    ]


def test_foreign_literals_have_no_slots(bind_text: Any) -> None:
    statement = bind_text("INSERT INTO t (a) VALUES (7)", parameterize=True)
    assert [slot for slot, _ in statement.literal_slots] == [0]
    assert statement.baked_slots == ()


# ── schema changes ───────────────────────────────────────────────────────────────────────────
def created(sql: str) -> Any:
    return bind(parse(sql), EMPTY_CATALOG).body


def test_implicit_names() -> None:
    table = created(
        "CREATE TABLE t (a int PRIMARY KEY, b int UNIQUE CHECK (b > 0), c int, UNIQUE (b, c), "
        "UNIQUE (b, c), CHECK (b < c), CHECK (c > 0), CHECK (b > 1), CONSTRAINT own UNIQUE (c))"
    ).table
    assert table.primary_key_name == "t_pkey"
    assert [index.name for index in table.indexes] == [
        "t_b_key",
        "t_b_c_key",
        "t_b_c_key1",
        "own",
    ]
    assert [check.name for check in table.checks] == [
        "t_b_check",
        "t_check",
        "t_c_check",
        "t_b_check1",
    ]
    assert all(index.unique and index.constraint for index in table.indexes)


@pytest.mark.parametrize(
    ("definition", "key", "key_column"),
    [
        ("a int PRIMARY KEY, b text", (0,), 0),
        ("a text PRIMARY KEY, b text", (0,), None),
        ("a int, b bigint, PRIMARY KEY (b, a)", (1, 0), None),
        ("a int, b smallint, PRIMARY KEY (b)", (1,), 1),
        ("a int", (), None),
    ],
)
def test_primary_keys(definition: str, key: tuple[int, ...], key_column: int | None) -> None:
    table = created(f"CREATE TABLE t ({definition})").table
    assert (table.primary_key, table.key_column) == (key, key_column)
    assert all(table.columns[i].not_null for i in key)


def test_index_names_and_order(bind_text: Any) -> None:
    statement = bind_text("CREATE UNIQUE INDEX ON t (b, c DESC)").body
    assert statement.index.name == "t_b_c_idx" and statement.index.unique
    assert [(p.column_index, p.descending) for p in statement.index.columns] == [
        (1, False),
        (2, True),
    ]


def test_create_table_as(bind_text: Any) -> None:
    statement = bind_text("CREATE TABLE n AS SELECT a, b AS k, NULL AS z FROM t").body
    assert [(c.name, c.type.kind) for c in statement.table.columns] == [
        ("a", "integer"),
        ("k", "text"),
        ("z", "text"),
    ]
    assert isinstance(statement.query, bound.BoundQuery)


def test_drop_forgives_and_cascades(bind_text: Any) -> None:
    assert bind_text("DROP TABLE IF EXISTS nope, u").body.names == ("u",)
    drop = bind_text("DROP TABLE t CASCADE").body
    assert drop.dependent_views == ("v",)
