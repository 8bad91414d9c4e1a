"""The borders between forms: storage, Python objects, comparison keys, parameters."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

import pytest

from engine.errors import DataError, InterfaceError
from engine.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    INTERVAL,
    NUMERIC,
    SMALLINT,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    UNDECIDED,
    UNKNOWN,
    UUID,
    Interval,
    SqlType,
    TypeMismatch,
    comparison_key,
    from_python,
    from_storage,
    parameter_converter,
    python_converter,
    to_storage,
)

NUMERIC102 = SqlType("numeric", 10, 2)


def stored(value: Any, sql_type: SqlType) -> Any:
    convert = to_storage(sql_type)
    return value if convert is None else convert(value)


def loaded(value: Any, sql_type: SqlType) -> Any:
    convert = from_storage(sql_type)
    return value if convert is None else convert(value)


@pytest.mark.parametrize(
    ("value", "sql_type", "storage"),
    [
        (Decimal("12.34"), NUMERIC102, 1234),
        (Decimal("-0.05"), NUMERIC102, -5),
        (Decimal("12.340"), NUMERIC, "12.340"),
        (Decimal("1E+5"), NUMERIC, "100000"),
        ((14, -3, 5), INTERVAL, None),
        (5, INTEGER, 5),
        ("x", TEXT, "x"),
    ],
)
def test_storage_round_trip(value: Any, sql_type: SqlType, storage: Any) -> None:
    raw = stored(value, sql_type)
    if storage is not None:
        assert raw == storage
    assert loaded(raw, sql_type) == value


@pytest.mark.parametrize("sql_type", [NUMERIC102, NUMERIC])
def test_numeric_nan_is_stored(sql_type: SqlType) -> None:
    assert loaded(stored(Decimal("NaN"), sql_type), sql_type).is_nan()


@pytest.mark.parametrize(
    ("value", "sql_type", "runtime"),
    [
        (True, BOOLEAN, True),
        (5, INTEGER, 5),
        (2**40, BIGINT, 2**40),
        (2**70, NUMERIC, Decimal(2**70)),
        (1.5, DOUBLE, 1.5),
        (Decimal("1.50"), NUMERIC, Decimal("1.50")),
        ("é", TEXT, "é"),
        (dt.date(1970, 1, 2), DATE, 1),
        (dt.time(0, 0, 1, 5), TIME, 1_000_005),
        (dt.datetime(1970, 1, 1, 0, 0, 1), TIMESTAMP, 1_000_000),
        (
            dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            TIMESTAMPTZ,
            0,
        ),
        (dt.timedelta(days=-1, seconds=1), INTERVAL, (0, -1, 1_000_000)),
        (uuid.UUID(int=7), UUID, (7).to_bytes(16, "big")),
        (Interval.of(14, 3, 5), INTERVAL, (14, 3, 5)),
    ],
)
def test_python_round_trip(value: Any, sql_type: SqlType, runtime: Any) -> None:
    assert from_python(value) == (sql_type, runtime)
    convert = python_converter(sql_type)
    back = runtime if convert is None else convert(runtime)
    if not isinstance(value, Decimal) and sql_type is not NUMERIC:
        assert back == value


def test_mutable_buffers_are_copied() -> None:
    buffer = bytearray(b"abc")
    _, value = from_python(buffer)
    buffer[0] = 0
    assert value == b"abc"


def test_json_parameters() -> None:
    assert from_python({"a": [1, None]})[1] == '{"a":[1,null]}'
    with pytest.raises(DataError):
        from_python([object()])


def test_subclasses_become_plain_values() -> None:
    class Colour(enum.IntEnum):
        RED = 1

    sql_type, value = from_python(Colour.RED)
    assert sql_type == INTEGER and type(value) is int


def test_classes_without_a_type() -> None:
    with pytest.raises(InterfaceError):
        from_python(object())


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_text_that_cannot_be_stored(text: str) -> None:
    with pytest.raises(DataError) as caught:
        parameter_converter(TEXT)(text)
    assert caught.value.sqlstate == "22021"


@pytest.mark.parametrize(
    ("sql_type", "value", "runtime"),
    [
        (INTEGER, 5, 5),
        (INTEGER, 5.0, 5),
        (INTEGER, "5", 5),
        (INTEGER, True, 1),
        (DOUBLE, 1, 1.0),
        (NUMERIC102, 1.5, Decimal("1.50")),
        (DATE, "1970-01-02", 1),
        (TIMESTAMP, dt.date(1970, 1, 2), 86_400_000_000),
        (UNKNOWN, 5, 5),
        (INTEGER, None, None),
        (UNDECIDED, None, None),
    ],
)
def test_parameters_go_to_their_type(sql_type: SqlType, value: Any, runtime: Any) -> None:
    converted = parameter_converter(sql_type)(value)
    assert converted == runtime and type(converted) is type(runtime)


@pytest.mark.parametrize(
    ("sql_type", "value"),
    [
        (INTEGER, 1.5),
        (INTEGER, float("nan")),
        (TEXT, 5),
        (DATE, 5),
        (BOOLEAN, 1),
        (UNKNOWN, dt.date(2020, 1, 1)),
        (UNDECIDED, 1),
    ],
)
def test_mismatches_ask_for_another_binding(sql_type: SqlType, value: Any) -> None:
    with pytest.raises(TypeMismatch):
        parameter_converter(sql_type)(value)


def test_parameters_out_of_range() -> None:
    with pytest.raises(TypeMismatch):  # `? + 1` is then bound for a bigint
        parameter_converter(INTEGER)(2**31)
    with pytest.raises(DataError) as caught:
        parameter_converter(SMALLINT)("40000")
    assert caught.value.sqlstate == "22003"


@pytest.mark.parametrize("sql_type", [DOUBLE, NUMERIC])
def test_nan_is_equal_to_itself_and_greatest(sql_type: SqlType) -> None:
    make = float if sql_type is DOUBLE else Decimal
    key = comparison_key(sql_type)
    assert key is not None
    values = [make("NaN"), make("1"), make("Infinity"), make("NaN"), make("-Infinity")]
    shown = [str(value).lower() for value in sorted(values, key=key)]
    assert shown[3:] == ["nan", "nan"] and shown[0].startswith("-inf")
    assert key(make("NaN")) == key(make("NaN"))
    assert hash(key(make("NaN"))) == hash(key(make("NaN")))
    assert key(make("1")) < key(make("NaN")) and key(make("NaN")) > key(make("Infinity"))
    assert not key(make("NaN")) < key(make("1"))


def test_intervals_with_months_are_not_timedeltas() -> None:
    convert = python_converter(INTERVAL)
    assert convert is not None
    assert convert((0, 1, 5)) == dt.timedelta(days=1, microseconds=5)
    assert convert((1, 1, 5)) != dt.timedelta(days=1, microseconds=5)
    assert convert((1, 1, 5)).months == 1
