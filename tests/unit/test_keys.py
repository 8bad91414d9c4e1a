"""Key bytes: the drawing in engine/keys.py, prefixes, ranges, table keys."""

from __future__ import annotations

import pytest

from engine.keys import index_key_codec, key_codec, successor
from engine.types import BOOLEAN, BYTEA, DOUBLE, INTEGER, NUMERIC, TEXT, SqlType

NUMERIC102 = SqlType("numeric", 10, 2)


def test_the_drawn_bytes() -> None:
    one = bytes.fromhex("8000000000000001")
    assert key_codec(((INTEGER, False),)).encode((1,)) == b"\x01" + one
    assert key_codec(((INTEGER, True),)).encode((1,)) == bytes.fromhex("fe7ffffffffffffffe")
    assert key_codec(((BOOLEAN, False),)).encode((True,)) == b"\x01\x01"
    assert key_codec(((TEXT, False),)).encode(("a\x00",)) == b"\x01a\x00"
    assert key_codec(((TEXT, False), (INTEGER, False))).encode(("a\x00", 1)) == (
        b"\x01a\x00\xff\x00\x00\x01" + one
    )
    assert key_codec(((INTEGER, False),)).encode((None,)) == b"\x02"
    assert key_codec(((INTEGER, True),)).encode((None,)) == b"\xfd"
    assert index_key_codec(((INTEGER, False),), True).encode((1,), 1) == b"\x01" + one + one
    assert index_key_codec(((INTEGER, False),), False).encode((1,), b"k") == b"\x01" + one + b"k"


def test_equal_values_have_equal_bytes() -> None:
    double, numeric = key_codec(((DOUBLE, False),)), key_codec(((NUMERIC, False),))
    assert double.encode((0.0,)) == double.encode((-0.0,))
    assert numeric.encode(("1.50",)) == numeric.encode(("1.5",))
    assert numeric.encode(("0.00",)) == numeric.encode(("0",))


def test_looking_for_a_value_outside_the_columns_range_is_no_error() -> None:
    codec = index_key_codec(((SqlType("smallint"), False),), True)
    assert codec.prefix((32767,)) < codec.prefix((10**12,)) < codec.prefix((None,))


@pytest.mark.parametrize("descending", [False, True])
def test_a_prefix_range_holds_exactly_the_keys_with_that_prefix(descending: bool) -> None:
    codec = index_key_codec(((TEXT, descending), (INTEGER, False)), True)
    keys = {
        (text, number): codec.encode((text, number), 5)
        for text in ("", "a", "a\x00", "ab", "b", None)
        for number in (-1, 0, 7, None)
    }
    for wanted in ("", "a", "ab", None):
        low, high = codec.prefix_range((wanted,))
        inside = {values for values, raw in keys.items() if low <= raw and (not high or raw < high)}
        assert inside == {values for values in keys if values[0] == wanted}


def test_whole_prefix_of_a_key_that_ends_in_text_is_that_key_only() -> None:
    codec = key_codec(((INTEGER, False), (TEXT, False)))
    low, high = codec.prefix_range((1, "a"))
    assert high is not None
    assert low <= codec.encode((1, "a")) < high
    assert not low <= codec.encode((1, "ab")) < high
    low, high = codec.prefix_range((1,))
    assert high is not None
    assert low <= codec.encode((1, "zzz")) < high <= codec.encode((2, ""))


@pytest.mark.parametrize("table_key", [0, -(2**63), 2**63 - 1, b"", b"\x00\xff"])
def test_table_key_comes_back(table_key: int | bytes) -> None:
    parts = ((TEXT, True), (NUMERIC, False), (BYTEA, False), (NUMERIC102, True))
    codec = index_key_codec(parts, isinstance(table_key, int))
    for values in (("a\x00b", "-1.5", b"\x00", 150), (None, None, None, None)):
        raw = codec.encode(values, table_key)
        assert codec.table_key(raw) == table_key
        assert codec.decode(raw) == (values, table_key)
        assert raw.startswith(codec.prefix(values))


def test_successor() -> None:
    assert successor(b"ab") == b"ac"
    assert successor(b"a\xff\xff") == b"b"
    assert successor(b"\xff") is None
