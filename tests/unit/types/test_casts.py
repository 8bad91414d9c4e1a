"""Casts: what exists in which context, and what each does to values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine.errors import DataError, ProgrammingError
from engine.sql.ast import TypeName
from engine.types import (
    BIGINT,
    BOOLEAN,
    BYTEA,
    DATE,
    DOUBLE,
    INTEGER,
    INTERVAL,
    JSON,
    KINDS,
    NUMERIC,
    REAL,
    SMALLINT,
    TEXT,
    TIMESTAMP,
    TIMESTAMPTZ,
    UNKNOWN,
    UUID,
    SqlType,
    can_cast,
    cast_function,
    common_type,
    literal_converter,
    parse_type_name,
    type_text,
)

VARCHAR3 = SqlType("varchar", 3)
NUMERIC52 = SqlType("numeric", 5, 2)


def cast(value: Any, source: SqlType, target: SqlType, explicit: bool = True) -> Any:
    convert = cast_function(source, target, explicit)
    return value if convert is None else convert(value)


@pytest.mark.parametrize(
    ("value", "source", "target", "result"),
    [
        (5, INTEGER, BIGINT, 5),
        (5, INTEGER, NUMERIC, Decimal(5)),
        (5, INTEGER, NUMERIC52, Decimal("5.00")),
        (5, INTEGER, DOUBLE, 5.0),
        (5, INTEGER, TEXT, "5"),
        (1, INTEGER, BOOLEAN, True),
        (True, BOOLEAN, INTEGER, 1),
        (True, BOOLEAN, TEXT, "true"),
        (2.5, DOUBLE, INTEGER, 2),
        (0.1, DOUBLE, NUMERIC, Decimal("0.1")),
        (1e20, DOUBLE, NUMERIC, Decimal("100000000000000000000")),
        (0.1, DOUBLE, REAL, 0.10000000149011612),
        (Decimal("2.5"), NUMERIC, INTEGER, 3),
        (Decimal("2.345"), NUMERIC, NUMERIC52, Decimal("2.35")),
        (Decimal("2.50"), NUMERIC, TEXT, "2.50"),
        (1, DATE, TIMESTAMP, 86_400_000_000),
        (86_400_000_001, TIMESTAMP, DATE, 1),
        (-1, TIMESTAMP, DATE, -1),
        ("abcdef", TEXT, VARCHAR3, "abc"),
        ("ab   ", TEXT, SqlType("char", 3), "ab"),
        (" 42 ", TEXT, INTEGER, 42),
        ("t", TEXT, BOOLEAN, True),
        ("OFF", TEXT, BOOLEAN, False),
        ("\\x00ff", TEXT, BYTEA, b"\x00\xff"),
        ("a\\000b", TEXT, BYTEA, b"a\x00b"),
        (b"\x00\xff", BYTEA, TEXT, "\\x00ff"),
        ("1e3", UNKNOWN, NUMERIC, Decimal(1000)),
        ('{"a": 1}', TEXT, JSON, '{"a": 1}'),
        ((0, 1, 0), INTERVAL, TEXT, "1 day"),
        (
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            TEXT,
            UUID,
            bytes.fromhex("a0eebc999c0b4ef8bb6d6bb9bd380a11"),
        ),
    ],
)
def test_values(value: Any, source: SqlType, target: SqlType, result: Any) -> None:
    converted = cast(value, source, target)
    assert converted == result
    assert str(converted) == str(result)
    assert type(converted) is type(result)


@pytest.mark.parametrize(
    ("value", "source", "target", "code"),
    [
        (40000, INTEGER, SMALLINT, "22003"),
        (2**31, BIGINT, INTEGER, "22003"),
        (Decimal(2**63), NUMERIC, BIGINT, "22003"),
        (Decimal("1000"), NUMERIC, NUMERIC52, "22003"),
        (1e300, DOUBLE, REAL, "22003"),
        ("1.5", TEXT, INTEGER, "22P02"),
        ("99999999999", TEXT, INTEGER, "22003"),
        ("maybe", TEXT, BOOLEAN, "22P02"),
        ("x", TEXT, DATE, "22007"),
        ("{", TEXT, JSON, "22P02"),
        ("\\xzz", TEXT, BYTEA, "22P02"),
        ("not-a-uuid", TEXT, UUID, "22P02"),
    ],
)
def test_refused_values(value: Any, source: SqlType, target: SqlType, code: str) -> None:
    with pytest.raises(DataError) as caught:
        cast(value, source, target)
    assert caught.value.sqlstate == code


def test_assignment_to_varchar_refuses_but_forgives_spaces() -> None:
    with pytest.raises(DataError) as caught:
        cast("abcd", TEXT, VARCHAR3, explicit=False)
    assert caught.value.sqlstate == "22001"
    assert cast("abc  ", TEXT, VARCHAR3, explicit=False) == "abc"


@pytest.mark.parametrize(
    ("source", "target", "lowest"),
    [
        (INTEGER, BIGINT, "implicit"),
        (INTEGER, DOUBLE, "implicit"),
        (NUMERIC, DOUBLE, "implicit"),
        (BIGINT, INTEGER, "assignment"),
        (DOUBLE, NUMERIC, "assignment"),
        (DATE, TIMESTAMPTZ, "implicit"),
        (TIMESTAMP, DATE, "assignment"),
        (INTEGER, TEXT, "assignment"),
        (TEXT, INTEGER, "explicit"),
        (INTEGER, BOOLEAN, "explicit"),
        (UNKNOWN, UUID, "implicit"),
        (VARCHAR3, TEXT, "implicit"),
    ],
)
def test_contexts(source: SqlType, target: SqlType, lowest: str) -> None:
    contexts = ["implicit", "assignment", "explicit"]
    allowed = [context for context in contexts if can_cast(source, target, context)]
    assert allowed == contexts[contexts.index(lowest) :]


def test_pairs_without_a_cast() -> None:
    with pytest.raises(ProgrammingError) as caught:
        cast_function(DATE, INTEGER, True)
    assert caught.value.sqlstate == "42846"
    assert "date to integer" in str(caught.value)


def test_every_allowed_cast_has_a_function() -> None:
    for source in KINDS:
        for target in KINDS:
            if can_cast(SqlType(source), SqlType(target), "explicit"):
                cast_function(SqlType(source), SqlType(target), True)


@pytest.mark.parametrize(
    ("types", "common"),
    [
        ([INTEGER, BIGINT], BIGINT),
        ([SMALLINT, NUMERIC52], NUMERIC),
        ([INTEGER, NUMERIC, DOUBLE], DOUBLE),
        ([REAL, REAL], REAL),
        ([REAL, INTEGER], DOUBLE),
        ([DATE, TIMESTAMP], TIMESTAMP),
        ([TIMESTAMP, TIMESTAMPTZ], TIMESTAMPTZ),
        ([UNKNOWN, UNKNOWN], UNKNOWN),
        ([UNKNOWN, DATE], DATE),
        ([VARCHAR3, TEXT], TEXT),
        ([VARCHAR3, VARCHAR3], VARCHAR3),
        ([NUMERIC52, SqlType("numeric", 6, 1)], NUMERIC),
        ([INTEGER, TEXT], None),
        ([BOOLEAN, INTEGER], None),
    ],
)
def test_common_type(types: list[SqlType], common: SqlType | None) -> None:
    assert common_type(types) == common
    assert common_type(types[::-1]) == common


def test_literal_converter_refuses_what_does_not_fit() -> None:
    assert literal_converter("integer", SMALLINT)(7) == 7
    assert literal_converter("integer", NUMERIC52)("7") == Decimal("7.00")
    assert literal_converter("numeric", INTEGER)("2.5") == 3
    assert literal_converter("numeric", DOUBLE)("2.5") == 2.5
    assert literal_converter("string", DATE)("1970-01-02") == 1
    assert literal_converter("blob", BYTEA)(b"x") == b"x"
    assert literal_converter("integer", TEXT)(5) == "5"
    for kind, target, value in (
        ("integer", INTEGER, 2**31),
        ("string", DATE, "x"),
        ("string", VARCHAR3, "abcd"),
    ):
        with pytest.raises(DataError):
            literal_converter(kind, target)(value)


@pytest.mark.parametrize(
    ("name", "args", "shown"),
    [
        ("int", (), "integer"),
        ("int8", (), "bigint"),
        ("character varying", (20,), "character varying(20)"),
        ("varchar", (), "character varying"),
        ("decimal", (10, 2), "numeric(10,2)"),
        ("decimal", (), "numeric"),
        ("numeric", (5,), "numeric(5,0)"),
        ("float", (), "double precision"),
        ("float", (24,), "real"),
        ("blob", (), "bytea"),
        ("datetime", (), "timestamp"),
        ("timestamp with time zone", (), "timestamp with time zone"),
        ("char", (), "character(1)"),
        ("int", (11,), "integer"),
    ],
)
def test_type_names(name: str, args: tuple[int, ...], shown: str) -> None:
    assert type_text(parse_type_name(TypeName(name, args, (0, 0)))) == shown


def test_unknown_type_names_have_candidates() -> None:
    with pytest.raises(ProgrammingError) as caught:
        parse_type_name(TypeName("integr", (), (3, 9)))
    assert (caught.value.sqlstate, caught.value.span) == ("42704", (3, 9))
    assert caught.value.hint is not None and "integer" in caught.value.hint


@pytest.mark.parametrize(("name", "args"), [("varchar", (0,)), ("numeric", (5, 6)), ("date", (3,))])
def test_bad_modifiers(name: str, args: tuple[int, ...]) -> None:
    with pytest.raises(ProgrammingError) as caught:
        parse_type_name(TypeName(name, args, (0, 0)))
    assert caught.value.sqlstate == "22023"
