"""A small catalog and a `bind_text` over the real grammar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.catalog import EMPTY_CATALOG, Catalog, CheckConstraint, Column, Table, View
from engine.sql.binder import bind
from engine.sql.bound import BoundStatement
from engine.sql.grammar import parse, parse_expression
from engine.types import BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, TEXT, TIMESTAMP, SqlType


def make_catalog() -> Catalog:
    t = Table(
        16,
        "t",
        (
            Column(0, "a", INTEGER, True),
            Column(1, "b", TEXT, False, "'none'"),
            Column(2, "c", SqlType("numeric", 10, 2)),
            Column(3, "d", DATE),
            Column(4, "e", DOUBLE),
            Column(5, "f", BOOLEAN),
        ),
        (0,),
        "t_pkey",
        (CheckConstraint("t_c_check", "c > 0"),),
        key_column=0,
    )
    u = Table(
        17,
        "u",
        (
            Column(0, "a", INTEGER, True),
            Column(1, "x", BIGINT),
            Column(2, "ts", TIMESTAMP),
            Column(3, "s", SqlType("varchar", 3)),
        ),
    )
    catalog = EMPTY_CATALOG.with_table(t).with_table(u)
    return catalog.with_view(View(18, "v", ("p", "q"), "SELECT a, b FROM t WHERE a > 1"))


BindText = Callable[..., BoundStatement]


@pytest.fixture(scope="session")
def bind_text() -> BindText:
    catalog = make_catalog()

    def call(sql: str, **options: Any) -> BoundStatement:
        return bind(parse(sql), catalog, parse=parse, parse_expression=parse_expression, **options)

    return call
