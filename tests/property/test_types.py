"""Text forms read back, storage round-trips, and numbers agree with exact arithmetic."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from engine.types import (
    SqlType,
    dates,
    from_python,
    from_storage,
    numbers,
    python_converter,
    text_forms,
    to_storage,
)

_NUMBERS = st.decimals(
    allow_nan=False, allow_infinity=False, places=6, min_value=-(10**15), max_value=10**15
)


@given(st.floats())
def test_doubles_read_back(value: float) -> None:
    back = numbers.parse_float(numbers.format_double(value))
    assert back == value or (math.isnan(back) and math.isnan(value))


@given(st.floats(width=32))
def test_reals_read_back(value: float) -> None:
    back = text_forms.parse_real(numbers.format_real(value))
    assert back == value or (math.isnan(back) and math.isnan(value))


@given(st.integers(dates.MIN_DAYS, dates.MAX_DAYS))
def test_dates_read_back(days: int) -> None:
    assert dates.parse_date(dates.format_date(days)) == days


@given(st.integers(dates.MIN_TIMESTAMP, dates.MAX_TIMESTAMP))
def test_timestamps_read_back(us: int) -> None:
    assert dates.parse_timestamp(dates.format_timestamp(us)) == us
    assert dates.parse_timestamptz(dates.format_timestamptz(us)) == us


@given(
    st.tuples(
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(10**15), 10**15),
    )
)
def test_intervals_read_back(value: tuple[int, int, int]) -> None:
    assert dates.parse_interval(dates.format_interval(value)) == value


@given(st.binary(max_size=20))
def test_bytes_read_back(value: bytes) -> None:
    assert text_forms.parse_bytea(text_forms.format_bytea(value)) == value


@given(st.uuids())
def test_uuids_read_back(value: object) -> None:
    _, raw = from_python(value)
    assert text_forms.format_uuid(raw) == str(value)
    assert text_forms.parse_uuid(str(value).upper()) == raw


@given(st.datetimes(timezones=st.just(dt.UTC) | st.none()))
def test_datetimes_come_back(value: dt.datetime) -> None:
    sql_type, us = from_python(value)
    convert = python_converter(sql_type)
    assert convert is not None
    assert convert(us) == value


@given(_NUMBERS, _NUMBERS.filter(bool))
def test_division_is_the_nearest_decimal_of_its_scale(a: Decimal, b: Decimal) -> None:
    quotient = numbers.divide_numeric(a, b)
    error = abs(Fraction(quotient) - Fraction(a) / Fraction(b))
    assert error * 2 <= Fraction(1, 10 ** numbers.scale_of(quotient))
    if a:
        digits = len(quotient.as_tuple().digits)
        assert digits >= 16


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1).filter(bool))
def test_integer_division_and_remainder_belong_together(a: int, b: int) -> None:
    quotient, remainder = numbers.divide_truncating(a, b), numbers.remainder_of_dividend(a, b)
    assert quotient * b + remainder == a
    assert abs(remainder) < abs(b)
    assert remainder == 0 or (remainder < 0) == (a < 0)


@given(st.integers(-(10**18) + 1, 10**18 - 1), st.integers(0, 18))
def test_scaled_numbers_are_stored_exactly(digits: int, scale: int) -> None:
    sql_type = SqlType("numeric", 18, scale)
    value = Decimal(digits).scaleb(-scale)
    store, load = to_storage(sql_type), from_storage(sql_type)
    assert store is not None and load is not None
    assert store(value) == digits
    assert load(digits) == value and numbers.scale_of(load(digits)) == scale


@given(st.text(max_size=30))
def test_bad_text_is_a_data_error(text: str) -> None:
    from engine.errors import DataError

    for kind in (
        "integer",
        "double",
        "numeric",
        "boolean",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "uuid",
        "bytea",
        "json",
        "real",
    ):
        parse = text_forms.parse_text(SqlType(kind))
        assert parse is not None
        try:
            parse(text)
        except DataError as error:
            assert error.sqlstate[:2] == "22", kind
