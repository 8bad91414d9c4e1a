"""Operators as functions: `a + b` is a call of '+'.

Numbers have one overload per type (the binder brings both sides to one type first); results follow
PostgreSQL: integer arithmetic that leaves its type's range is 22003, integer division truncates
toward zero, `%` has the dividend's sign, division by zero is 22012, date - date is days.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from engine.errors import DataError
from engine.sql.functions.registry import ScalarFunction, register_scalar
from engine.types import (
    BIGINT,
    BYTEA,
    DATE,
    DOUBLE,
    INTEGER,
    INTERVAL,
    NUMERIC,
    REAL,
    SMALLINT,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    SqlType,
    dates,
    numbers,
)

_CHECKS = {"smallint": "int16", "integer": "int32", "bigint": "int64"}


def _operator(
    name: str,
    args: tuple[SqlType, ...],
    result: SqlType,
    implementation: Callable[..., Any],
    operator: str | None = None,
    check: str | None = None,
) -> None:
    register_scalar(
        ScalarFunction(
            name=name,
            arg_types=args,
            return_type=result,
            implementation=implementation,
            operator=operator,
            check=check,
            category="operator",
        )
    )


# ── integers ─────────────────────────────────────────────────────────────────────────────────
def _register_integers(integer: SqlType) -> None:
    check = numbers.integer_checker(integer.kind)
    pair = (integer, integer)
    name = _CHECKS[integer.kind]
    _operator("+", pair, integer, lambda a, b: check(a + b), "+", name)
    _operator("-", pair, integer, lambda a, b: check(a - b), "-", name)
    _operator("*", pair, integer, lambda a, b: check(a * b), "*", name)
    _operator("/", pair, integer, lambda a, b: check(numbers.divide_truncating(a, b)))
    _operator("%", pair, integer, numbers.remainder_of_dividend)
    _operator("&", pair, integer, lambda a, b: a & b, "&")
    _operator("|", pair, integer, lambda a, b: a | b, "|")
    _operator("#", pair, integer, lambda a, b: a ^ b, "^")
    _operator("-", (integer,), integer, lambda a: check(-a))
    _operator("~", (integer,), integer, lambda a: ~a)
    bits = {"int16": 16, "int32": 32, "int64": 64}[name]
    half = 1 << (bits - 1)

    def shift_left(a: int, count: int) -> int:
        """As the machine does: bits that leave on the left are lost, the count wraps."""
        return ((a << (count % bits)) + half) % (2 * half) - half

    _operator("<<", (integer, INTEGER), integer, shift_left)
    _operator(">>", (integer, INTEGER), integer, lambda a, count: a >> (count % bits))


# ── floats ───────────────────────────────────────────────────────────────────────────────────
def _finite(operation: Callable[[float, float], float]) -> Callable[[float, float], float]:
    def apply(a: float, b: float) -> float:
        result = operation(a, b)
        if result - result == 0.0:  # finite: neither infinity nor NaN
            return result
        return numbers.checked_float(result, a, b)

    return apply


def _divide_floats(a: float, b: float) -> float:
    if b == 0.0:
        if a != a:
            return a
        raise numbers.division_by_zero()
    return a / b


def power_double(base: float, exponent: float) -> float:
    """22003 on overflow, 2201F for a negative base with a fraction or zero to a negative power."""
    try:
        result = math.pow(base, exponent)
    except OverflowError:
        raise DataError("value out of range: overflow", sqlstate="22003") from None
    except ValueError:
        if base == 0:
            message = "zero raised to a negative power is undefined"
        else:
            message = "a negative number raised to a non-integer power yields a complex result"
        raise DataError(message, sqlstate="2201F") from None
    return result


def power_numeric(base: Decimal, exponent: Decimal) -> Decimal:
    """Exact for small whole exponents, else 16 significant digits or more."""
    if not (base.is_finite() and exponent.is_finite()):
        return Decimal(power_double(float(base), float(exponent)))
    whole = exponent == exponent.to_integral_value()
    if not base and exponent < 0:
        raise DataError("zero raised to a negative power is undefined", sqlstate="2201F")
    if base < 0 and not whole:
        message = "a negative number raised to a non-integer power yields a complex result"
        raise DataError(message, sqlstate="2201F")
    if not base:
        return numbers.round_numeric(Decimal(0 if exponent else 1), 16)
    size = float(exponent) * (abs(base.adjusted()) + 1)
    if size > 131072:
        raise DataError("value overflows numeric format", sqlstate="22003")
    context = numbers.working_context(max(int(size), 0) + 40)
    result = context.power(base, exponent)
    scale = max(16 - result.adjusted(), numbers.scale_of(base), numbers.scale_of(exponent), 0)
    return numbers.round_numeric(result, min(scale, numbers.MAX_SCALE))


def _register_floats() -> None:
    pair = (DOUBLE, DOUBLE)
    _operator("+", pair, DOUBLE, _finite(lambda a, b: a + b), "+", "float64")
    _operator("-", pair, DOUBLE, _finite(lambda a, b: a - b), "-", "float64")
    _operator("*", pair, DOUBLE, _finite(lambda a, b: a * b), "*", "float64")
    _operator("/", pair, DOUBLE, _finite(_divide_floats))
    _operator("^", pair, DOUBLE, power_double)
    _operator("-", (DOUBLE,), DOUBLE, lambda a: -a, "-")
    single = numbers.round_to_real
    reals = (REAL, REAL)
    _operator("+", reals, REAL, lambda a, b: single(a + b))
    _operator("-", reals, REAL, lambda a, b: single(a - b))
    _operator("*", reals, REAL, lambda a, b: single(a * b))
    _operator("/", reals, REAL, lambda a, b: single(_divide_floats(a, b)))
    _operator("-", (REAL,), REAL, lambda a: -a, "-")


def _negate_numeric(a: Decimal) -> Decimal:
    return a.copy_negate() if a else a


def _register_numeric() -> None:
    pair = (NUMERIC, NUMERIC)
    _operator("+", pair, NUMERIC, numbers.add_numeric)
    _operator("-", pair, NUMERIC, numbers.subtract_numeric)
    _operator("*", pair, NUMERIC, numbers.multiply_numeric)
    _operator("/", pair, NUMERIC, numbers.divide_numeric)
    _operator("%", pair, NUMERIC, numbers.remainder_numeric)
    _operator("^", pair, NUMERIC, power_numeric)
    _operator("-", (NUMERIC,), NUMERIC, _negate_numeric)


# ── dates and times ──────────────────────────────────────────────────────────────────────────
def negate_interval(value: dates.Interval) -> dates.Interval:
    return dates.checked_interval(-value[0], -value[1], -value[2])


def add_intervals(a: dates.Interval, b: dates.Interval) -> dates.Interval:
    return dates.checked_interval(a[0] + b[0], a[1] + b[1], a[2] + b[2])


def multiply_interval(value: dates.Interval, factor: float) -> dates.Interval:
    """Fractions of months spill into days of a 30-day month, fractions of days into time."""
    if not math.isfinite(factor):
        raise DataError("interval out of range", sqlstate="22008")
    months_exact = value[0] * factor
    months = int(months_exact)
    days_exact = value[1] * factor + (months_exact - months) * 30
    days = int(round(days_exact, 9))
    us = round(value[2] * factor + (days_exact - days) * dates.US_PER_DAY)
    return dates.checked_interval(months, days, us)


def divide_interval(value: dates.Interval, divisor: float) -> dates.Interval:
    if divisor == 0:
        raise numbers.division_by_zero()
    return multiply_interval(value, 1 / divisor)


def _add_to_date(days: int, interval: dates.Interval) -> int:
    return dates.add_interval(days * dates.US_PER_DAY, interval)


def _subtract_from_date(days: int, interval: dates.Interval) -> int:
    return dates.add_interval(days * dates.US_PER_DAY, negate_interval(interval))


def _register_dates() -> None:
    date, day = dates.checked_date, dates.US_PER_DAY
    _operator("+", (DATE, INTEGER), DATE, lambda a, b: date(a + b))
    _operator("+", (INTEGER, DATE), DATE, lambda a, b: date(a + b))
    _operator("-", (DATE, INTEGER), DATE, lambda a, b: date(a - b))
    _operator("-", (DATE, DATE), INTEGER, lambda a, b: a - b, "-")
    _operator("+", (DATE, TIME), TIMESTAMP, lambda a, b: a * day + b)
    _operator("+", (TIME, DATE), TIMESTAMP, lambda a, b: b * day + a)
    _operator("+", (DATE, INTERVAL), TIMESTAMP, _add_to_date)
    _operator("+", (INTERVAL, DATE), TIMESTAMP, lambda a, b: _add_to_date(b, a))
    _operator("-", (DATE, INTERVAL), TIMESTAMP, _subtract_from_date)
    for stamp in (TIMESTAMP, TIMESTAMPTZ):
        _operator("+", (stamp, INTERVAL), stamp, dates.add_interval)
        _operator("+", (INTERVAL, stamp), stamp, lambda a, b: dates.add_interval(b, a))
        _operator(
            "-", (stamp, INTERVAL), stamp, lambda a, b: dates.add_interval(a, negate_interval(b))
        )
        _operator("-", (stamp, stamp), INTERVAL, lambda a, b: dates.justify_difference(a - b))
    _operator("+", (INTERVAL, INTERVAL), INTERVAL, add_intervals)
    _operator(
        "-", (INTERVAL, INTERVAL), INTERVAL, lambda a, b: add_intervals(a, negate_interval(b))
    )
    _operator("-", (INTERVAL,), INTERVAL, negate_interval)
    _operator("*", (INTERVAL, DOUBLE), INTERVAL, multiply_interval)
    _operator("*", (DOUBLE, INTERVAL), INTERVAL, lambda a, b: multiply_interval(b, a))
    _operator("/", (INTERVAL, DOUBLE), INTERVAL, divide_interval)
    _operator("+", (TIME, INTERVAL), TIME, lambda a, b: (a + b[2]) % day)
    _operator("+", (INTERVAL, TIME), TIME, lambda a, b: (b + a[2]) % day)
    _operator("-", (TIME, INTERVAL), TIME, lambda a, b: (a - b[2]) % day)
    _operator("-", (TIME, TIME), INTERVAL, lambda a, b: (0, 0, a - b))


def _register_strings() -> None:
    _operator("||", (TEXT, TEXT), TEXT, lambda a, b: a + b, "+")
    _operator("||", (BYTEA, BYTEA), BYTEA, lambda a, b: a + b, "+")


for _integer in (SMALLINT, INTEGER, BIGINT):
    _register_integers(_integer)
_register_floats()
_register_numeric()
_register_dates()
_register_strings()
