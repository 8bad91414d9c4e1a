"""Numbers behave as PostgreSQL's: scales of quotients, rounding, text forms, ranges."""

from __future__ import annotations

import decimal
from decimal import Decimal

import pytest

from engine.errors import DataError
from engine.types import SqlType, numbers


@pytest.mark.parametrize(
    ("a", "b", "quotient"),
    [
        ("1", "3", "0.33333333333333333333"),
        ("2", "3", "0.66666666666666666667"),
        ("2", "1", "2.0000000000000000"),
        ("10", "4", "2.5000000000000000"),
        ("1", "7000", "0.00014285714285714286"),
        ("100000", "3", "33333.333333333333"),
        ("-7", "2", "-3.5000000000000000"),
        ("1.23456789012345678901", "1", "1.23456789012345678901"),
        ("0", "5", "0.00000000000000000000"),
    ],
)
def test_division_has_postgresqls_scale(a: str, b: str, quotient: str) -> None:
    result = numbers.divide_numeric(Decimal(a), Decimal(b))
    assert numbers.format_numeric(result) == quotient


def test_arithmetic_ignores_the_threads_context() -> None:
    with decimal.localcontext() as context:
        context.prec = 3
        assert str(numbers.add_numeric(Decimal("123456.789"), Decimal("1"))) == "123457.789"
        assert str(numbers.multiply_numeric(Decimal("99999999999"), Decimal("99999999999"))) == (
            "9999999999800000000001"
        )
        assert str(numbers.divide_numeric(Decimal(2), Decimal(3))) == "0.66666666666666666667"


def test_products_are_exact_at_any_length() -> None:
    a = Decimal("9" * 400)
    assert int(numbers.multiply_numeric(a, a)) == int(a) ** 2


def test_numeric_has_no_negative_zero() -> None:
    assert numbers.format_numeric(numbers.multiply_numeric(Decimal(-1), Decimal("0.0"))) == "0.0"
    assert numbers.format_numeric(numbers.parse_numeric("-0.00")) == "0.00"


@pytest.mark.parametrize(("a", "b", "q", "r"), [(7, 2, 3, 1), (-7, 2, -3, -1), (7, -2, -3, 1)])
def test_integer_division_truncates(a: int, b: int, q: int, r: int) -> None:
    assert numbers.divide_truncating(a, b) == q
    assert numbers.remainder_of_dividend(a, b) == r


def test_division_by_zero() -> None:
    for divide, a, b in (
        (numbers.divide_truncating, 1, 0),
        (numbers.remainder_of_dividend, 1, 0),
        (numbers.divide_numeric, Decimal(1), Decimal(0)),
        (numbers.remainder_numeric, Decimal(1), Decimal("0.0")),
    ):
        with pytest.raises(DataError) as caught:
            divide(a, b)  # type: ignore[operator]
        assert caught.value.sqlstate == "22012"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (0.1, "0.1"),
        (1e15, "1e+15"),
        (123456789012345.0, "123456789012345"),
        (1e-5, "1e-05"),
        (0.0001, "0.0001"),
        (-1.5e300, "-1.5e+300"),
        (0.0, "0"),
        (-0.0, "-0"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (1 / 3, "0.3333333333333333"),
    ],
)
def test_double_text(value: float, text: str) -> None:
    assert numbers.format_double(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (123456.0, "123456"), (1234567.0, "1.234567e+06"), (3.4e38, "3.4e+38")],
)
def test_real_text(value: float, text: str) -> None:
    assert numbers.format_real(numbers.round_to_real(value)) == text


def test_numeric_modifiers_round_half_away_and_refuse() -> None:
    fit = numbers.numeric_fitter(SqlType("numeric", 5, 2))
    assert fit is not None
    assert str(fit(Decimal("1.005"))) == "1.01"
    assert str(fit(Decimal("-1.005"))) == "-1.01"
    assert str(fit(Decimal("999.994"))) == "999.99"
    with pytest.raises(DataError) as caught:
        fit(Decimal("999.995"))
    assert caught.value.sqlstate == "22003"


@pytest.mark.parametrize(
    ("value", "integer"), [("2.5", 3), ("-2.5", -3), ("2.4999", 2), ("0.5", 1)]
)
def test_numeric_to_integer_rounds_away(value: str, integer: int) -> None:
    assert numbers.numeric_to_integer(Decimal(value), "integer") == integer


@pytest.mark.parametrize(("value", "integer"), [(2.5, 2), (3.5, 4), (-2.5, -2)])
def test_double_to_integer_rounds_to_even(value: float, integer: int) -> None:
    assert numbers.float_to_integer(value, "integer") == integer


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e9])
def test_floats_outside_integer_are_refused(value: float) -> None:
    with pytest.raises(DataError) as caught:
        numbers.float_to_integer(value, "integer")
    assert caught.value.sqlstate == "22003"


@pytest.mark.parametrize(
    ("value", "root"),
    [("2", "1.414213562373095"), ("4", "2.000000000000000"), ("0.0001", "0.0100000000000000000")],
)
def test_square_root_scale(value: str, root: str) -> None:
    assert abs(numbers.square_root(Decimal(value)) - Decimal(root)) < Decimal("1e-14")
    assert str(numbers.square_root(Decimal("2"))) == "1.414213562373095"


@pytest.mark.parametrize("text", ["", "abc", "1_000", "1e", "0x10", "snan", "--1"])
def test_bad_numeric_text(text: str) -> None:
    with pytest.raises(DataError) as caught:
        numbers.parse_numeric(text)
    assert caught.value.sqlstate == "22P02"


def test_float_text_overflow() -> None:
    with pytest.raises(DataError) as caught:
        numbers.parse_float("1e999")
    assert caught.value.sqlstate == "22003"
    assert numbers.parse_float(" -inf ") == float("-inf")
