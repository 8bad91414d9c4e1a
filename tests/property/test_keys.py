"""Key bytes order, equal and decode as the values they stand for, for every type and direction."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.keys import index_key_codec, key_codec
from engine.types import SqlType, comparison_key, from_storage, is_scaled

TYPES = [
    SqlType(kind)
    for kind in (
        "boolean",
        "smallint",
        "integer",
        "bigint",
        "real",
        "double",
        "numeric",
        "text",
        "bytea",
        "date",
        "timestamp",
        "interval",
        "uuid",
    )
] + [SqlType("numeric", 10, 2)]

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_DECIMALS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9),
    st.sampled_from([Decimal("0.00"), Decimal("-0.001"), Decimal("1E+30"), Decimal("-1E-30")]),
)


def _interval(parts: tuple[int, int, int]) -> bytes:
    return struct.pack("<iiq", *parts)


def storage_values(sql_type: SqlType) -> st.SearchStrategy[Any]:
    kind = sql_type.kind
    if kind == "numeric" and not is_scaled(sql_type):
        special = st.sampled_from(["NaN", "Infinity", "-Infinity"])
        return st.one_of(_DECIMALS.map(lambda d: format(d, "f")), special)
    return {
        "boolean": st.booleans(),
        "smallint": st.integers(-(2**15), 2**15 - 1),
        "integer": st.integers(-(2**31), 2**31 - 1),
        "bigint": st.integers(-(2**63), 2**63 - 1),
        "real": st.floats(width=32),
        "double": st.floats(),
        "numeric": st.integers(-(10**10), 10**10),
        "text": _TEXT,
        "bytea": st.binary(max_size=6),
        "date": st.integers(-700000, 2900000),
        "timestamp": st.integers(-(6 * 10**16), 2 * 10**17),
        "interval": st.tuples(
            st.integers(-(2**31), 2**31 - 1),
            st.integers(-(2**31), 2**31 - 1),
            st.integers(-(2**63), 2**63 - 1),
        ).map(_interval),
        "uuid": st.binary(min_size=16, max_size=16),
    }[kind]


def order_of(sql_type: SqlType, descending: bool, value: Any) -> tuple[Any, ...]:
    """A Python key with SQL's order: NULL last for ASC, first for DESC."""
    if value is None:
        return (0 if descending else 1,)
    load = from_storage(sql_type)
    runtime = value if load is None else load(value)
    key = comparison_key(sql_type)
    return (1 if descending else 0, runtime if key is None else key(runtime))


def compare(parts: Any, a: tuple[Any, ...], b: tuple[Any, ...]) -> int:
    for (sql_type, descending), x, y in zip(parts, a, b, strict=True):
        left, right = order_of(sql_type, descending, x), order_of(sql_type, descending, y)
        if left[0] != right[0]:
            return -1 if left[0] < right[0] else 1
        if left != right:
            below = left[1] < right[1]
            return -1 if below is not descending else 1
    return 0


@st.composite
def pairs(draw: Any) -> Any:
    parts = tuple(
        draw(st.lists(st.tuples(st.sampled_from(TYPES), st.booleans()), min_size=1, max_size=3))
    )
    row = st.tuples(*(st.none() | storage_values(sql_type) for sql_type, _ in parts))
    first = draw(row)
    # Often a neighbour that differs in one place: equal prefixes are where encodings go wrong.
    second = list(draw(row))
    for i in range(len(parts)):
        if draw(st.booleans()):
            second[i] = first[i]
    return parts, first, tuple(second)


def same(sql_type: SqlType, a: Any, b: Any) -> bool:
    return order_of(sql_type, False, a) == order_of(sql_type, False, b)


@given(pairs())
def test_order_and_equality(case: Any) -> None:
    parts, a, b = case
    codec = key_codec(parts)
    left, right = codec.encode(a), codec.encode(b)
    assert (left > right) - (left < right) == compare(parts, a, b)


@given(pairs())
def test_index_keys_order_by_columns_then_table_key(case: Any) -> None:
    parts, a, b = case
    codec = index_key_codec(parts, True)
    left, right = codec.encode(a, 7), codec.encode(b, 7)
    assert (left > right) - (left < right) == compare(parts, a, b)
    assert codec.encode(a, 6) < left < codec.encode(a, 8)


@given(pairs())
def test_decode_gives_equal_values(case: Any) -> None:
    parts, a, _ = case
    decoded = key_codec(parts).decode(key_codec(parts).encode(a))
    values, key = index_key_codec(parts, False).decode(
        index_key_codec(parts, False).encode(a, b"\x00k")
    )
    assert key == b"\x00k"
    for (sql_type, _), value, first, second in zip(parts, a, decoded, values, strict=True):
        assert same(sql_type, value, first) and same(sql_type, value, second)


@given(pairs())
def test_no_key_is_a_prefix_of_another(case: Any) -> None:
    parts, a, b = case
    codec = index_key_codec(parts, True)
    left, right = codec.prefix(a), codec.prefix(b)
    assert left == right or not (left.startswith(right) or right.startswith(left))


@given(st.floats(width=32))
def test_floats_come_back_exactly(value: float) -> None:
    codec = key_codec(((SqlType("double"), False),))
    back = codec.decode(codec.encode((value,)))[0]
    assert back == value or (math.isnan(back) and math.isnan(value))
