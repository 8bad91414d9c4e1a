"""Numbers: ranges, 32-bit rounding, decimal arithmetic with PostgreSQL's scales, text forms.

Invariants
1. Decimal arithmetic never uses the thread's own decimal context (the application may have
   changed it): EXACT has precision for any product of two stored values.
2. Rounding of numeric is half away from zero; rounding of floats to integers is half to even.

The scale of a numeric quotient follows PostgreSQL's select_div_scale (numeric.c): at least 16
significant digits, never less than either operand's scale.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    ROUND_05UP,
    ROUND_DOWN,
    ROUND_HALF_UP,
    Context,
    Decimal,
)

from engine.errors import DataError
from engine.types.kinds import INTEGER_RANGES, SqlType, type_text

MAX_DIGITS = 131072 + 16383  # PostgreSQL's limits before and after the point
MAX_SCALE = 1000
EXACT = Context(
    prec=MAX_DIGITS, rounding=ROUND_HALF_UP, Emin=MIN_EMIN, Emax=MAX_EMAX, capitals=1, traps=[]
)
_STICKY = Context(prec=40, rounding=ROUND_05UP, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
_GROUP = 4  # PostgreSQL computes in groups of four decimal digits
_MIN_SIGNIFICANT = 16
_FLOAT32 = struct.Struct("<f")
_pack32, _unpack32 = _FLOAT32.pack, _FLOAT32.unpack
NAN = Decimal("NaN")


def out_of_range(type_name: str) -> DataError:
    """22003 as PostgreSQL words it."""
    return DataError(f"{type_name} out of range", sqlstate="22003")


def division_by_zero() -> DataError:
    return DataError("division by zero", sqlstate="22012")


# ── integers ─────────────────────────────────────────────────────────────────────────────────
def integer_checker(kind: str) -> Callable[[int], int]:
    """A function that returns its argument or raises 22003 when outside the kind's range."""
    low, high = INTEGER_RANGES[kind]

    def check(value: int) -> int:
        if low <= value <= high:
            return value
        raise out_of_range(kind)

    return check


def divide_truncating(a: int, b: int) -> int:
    """Integer quotient toward zero. Raises 22012."""
    if b == 0:
        raise division_by_zero()
    quotient = a // b
    return quotient + 1 if quotient < 0 and quotient * b != a else quotient


def remainder_of_dividend(a: int, b: int) -> int:
    """Remainder with the sign of the dividend. Raises 22012."""
    if b == 0:
        raise division_by_zero()
    remainder = a % b
    return remainder - b if remainder and (a < 0) != (b < 0) else remainder


# ── floats ───────────────────────────────────────────────────────────────────────────────────
def round_to_real(value: float) -> float:
    """The nearest 32-bit float, as a Python float. Raises 22003 when it does not fit."""
    try:
        return float(_unpack32(_pack32(value))[0])
    except OverflowError:
        raise out_of_range("real") from None


def float_to_integer(value: float, kind: str) -> int:
    """Half to even. Raises 22003 (also for NaN and infinities)."""
    if not math.isfinite(value):
        raise out_of_range(kind)
    rounded = round(value)
    low, high = INTEGER_RANGES[kind]
    if low <= rounded <= high:
        return rounded
    raise out_of_range(kind)


def checked_float(value: float, *operands: float) -> float:
    """`value`, unless it overflowed to infinity from finite operands: 22003."""
    if math.isinf(value) and not any(math.isinf(operand) for operand in operands):
        raise DataError("value out of range: overflow", sqlstate="22003")
    return value


def format_double(value: float) -> str:
    """Shortest text that reads back as the same double, exponent form from 1e15."""
    return _format_float(value, repr(value), 15)


def format_real(value: float) -> str:
    """Shortest text that reads back as the same 32-bit float, exponent form from 1e6."""
    text = f"{value:.9g}"
    for digits in (6, 7, 8):
        candidate = f"{value:.{digits}g}"
        if math.isfinite(value) and _unpack32(_pack32(float(candidate)))[0] == value:
            text = candidate
            break
    return _format_float(value, text, 6)


def _format_float(value: float, text: str, switch_exponent: int) -> str:
    if value != value:
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "-0" if math.copysign(1.0, value) < 0 else "0"
    sign, digits, exponent = Decimal(text).normalize(EXACT).as_tuple()
    assert isinstance(exponent, int)
    magnitude = len(digits) + exponent - 1
    prefix = "-" if sign else ""
    figures = "".join(map(str, digits))
    if -4 <= magnitude < switch_exponent:
        if exponent >= 0:
            return prefix + figures + "0" * exponent
        if magnitude >= 0:
            return f"{prefix}{figures[: magnitude + 1]}.{figures[magnitude + 1 :]}"
        return f"{prefix}0.{'0' * (-magnitude - 1)}{figures}"
    mantissa = figures[0] + ("." + figures[1:] if len(figures) > 1 else "")
    return f"{prefix}{mantissa}e{'+' if magnitude >= 0 else '-'}{abs(magnitude):02d}"


def parse_float(text: str, type_name: str = "double precision") -> float:
    """Raises 22P02 (not a number) or 22003 (overflow)."""
    word = text.strip()
    try:
        if "_" in word:
            raise ValueError
        value = float(word)
    except ValueError:
        raise DataError(
            f'invalid input syntax for type {type_name}: "{text}"', sqlstate="22P02"
        ) from None
    if math.isinf(value) and "inf" not in word.lower():
        raise DataError(f'"{text}" is out of range for type {type_name}', sqlstate="22003")
    return value


# ── numeric ──────────────────────────────────────────────────────────────────────────────────
def scale_of(value: Decimal) -> int:
    """Digits after the point (0 for NaN and infinities)."""
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0


def add_numeric(a: Decimal, b: Decimal) -> Decimal:
    return EXACT.add(a, b)


def subtract_numeric(a: Decimal, b: Decimal) -> Decimal:
    return EXACT.subtract(a, b)


def multiply_numeric(a: Decimal, b: Decimal) -> Decimal:
    product = EXACT.multiply(a, b)
    return product if product else product.copy_abs()  # numeric has no negative zero


def divide_numeric(a: Decimal, b: Decimal) -> Decimal:
    """Quotient with PostgreSQL's scale. Raises 22012."""
    if not b:
        if a.is_nan():
            return NAN
        raise division_by_zero()
    if not (a.is_finite() and b.is_finite()):
        return Decimal(0) if b.is_infinite() and a.is_finite() else EXACT.divide(a, b)
    scale = max(_quotient_scale(a, b), scale_of(a), scale_of(b))
    return divide_to_scale(a, b, min(scale, MAX_SCALE))


def working_context(digits: int) -> Context:
    """A context for irrational results: `digits` significant digits, no traps."""
    return Context(prec=digits, rounding=ROUND_HALF_UP, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])


def divide_to_scale(a: Decimal, b: Decimal, scale: int) -> Decimal:
    """a / b rounded half away from zero to `scale` digits. b is not zero; both are finite."""
    digits = a.adjusted() - b.adjusted() + scale + 3
    if digits <= _STICKY.prec:
        quotient = _STICKY.divide(a, b)
    else:
        # ROUND_05UP keeps a sticky last digit, so rounding twice cannot go wrong.
        quotient = Context(
            prec=digits, rounding=ROUND_05UP, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[]
        ).divide(a, b)
    return round_numeric(quotient, scale)


def _quotient_scale(a: Decimal, b: Decimal) -> int:
    weight_a, first_a = _leading_group(a)
    weight_b, first_b = _leading_group(b)
    weight = weight_a - weight_b
    if first_a <= first_b:
        weight -= 1
    return max(_MIN_SIGNIFICANT - weight * _GROUP, 0)


def _leading_group(value: Decimal) -> tuple[int, int]:
    """(weight, digits) of the first base-10000 digit."""
    if not value:
        return 0, 0
    weight = value.adjusted() // _GROUP
    return weight, int(EXACT.scaleb(EXACT.abs(value), -_GROUP * weight))


def square_root(value: Decimal) -> Decimal:
    """At least 16 significant digits, never less than the value's scale. Raises 2201F."""
    if value < 0:
        raise DataError("cannot take square root of a negative number", sqlstate="2201F")
    if not value.is_finite():
        return value
    weight = (value.adjusted() // _GROUP + 1) * _GROUP // 2 - 1 if value else 0
    scale = min(max(_MIN_SIGNIFICANT - weight, scale_of(value), 0), MAX_SCALE)
    return round_numeric(working_context(max(weight, 0) + scale + 8).sqrt(value), scale)


def remainder_numeric(a: Decimal, b: Decimal) -> Decimal:
    """Remainder with the sign of the dividend. Raises 22012."""
    if a.is_nan() or b.is_nan():
        return NAN
    if not b:
        raise division_by_zero()
    result = EXACT.remainder(a, b)
    rounded = round_numeric(result, max(scale_of(a), scale_of(b)))
    return rounded if rounded else rounded.copy_abs()


_UNITS = tuple(Decimal(1).scaleb(-scale) for scale in range(32))


def round_numeric(value: Decimal, scale: int) -> Decimal:
    """Half away from zero to `scale` digits after the point (negative: before it)."""
    if not value.is_finite():
        return value
    if scale < 0:
        return EXACT.quantize(EXACT.quantize(value, EXACT.scaleb(Decimal(1), -scale)), _UNITS[0])
    unit = _UNITS[scale] if scale < len(_UNITS) else EXACT.scaleb(Decimal(1), -scale)
    return EXACT.quantize(value, unit)


def truncate_numeric(value: Decimal, scale: int) -> Decimal:
    """Toward zero to `scale` digits after the point (negative: before it)."""
    if not value.is_finite():
        return value
    unit = EXACT.scaleb(Decimal(1), -scale)
    result = value.quantize(unit, rounding=ROUND_DOWN, context=EXACT)
    return EXACT.quantize(result, _UNITS[0]) if scale < 0 else result


def numeric_fitter(sql_type: SqlType) -> Callable[[Decimal], Decimal] | None:
    """A function that rounds to numeric(p, s) or raises 22003; None when there is no limit."""
    precision, scale = sql_type.precision, sql_type.scale or 0
    if precision is None:
        return None
    bound = EXACT.scaleb(Decimal(1), precision - scale)
    unit = EXACT.scaleb(Decimal(1), -scale)
    quantize = EXACT.quantize

    def fit(value: Decimal) -> Decimal:
        if value.is_finite():
            rounded = quantize(value, unit)
            if -bound < rounded < bound:
                return rounded
        elif value.is_nan():
            return value
        raise DataError(
            "numeric field overflow",
            sqlstate="22003",
            detail=f"A field of type {type_text(sql_type)} holds absolute values below "
            f"10^{precision - scale}.",
        )

    return fit


def numeric_to_integer(value: Decimal, kind: str) -> int:
    """Half away from zero. Raises 22003 (also for NaN and infinities)."""
    if not value.is_finite():
        raise DataError(f"cannot convert {format_numeric(value)} to {kind}", sqlstate="0A000")
    low, high = INTEGER_RANGES[kind]
    if value.adjusted() < 20:
        rounded = int(EXACT.quantize(value, _UNITS[0]))
        if low <= rounded <= high:
            return rounded
    raise out_of_range(kind)


def double_to_numeric(value: float) -> Decimal:
    """15 significant digits, as PostgreSQL."""
    return _float_to_numeric(f"{value:.15g}")


def real_to_numeric(value: float) -> Decimal:
    """6 significant digits, as PostgreSQL."""
    return _float_to_numeric(f"{value:.6g}")


def _float_to_numeric(text: str) -> Decimal:
    value = EXACT.create_decimal(text)
    return EXACT.quantize(value, _UNITS[0]) if _has_positive_exponent(value) else value


def _has_positive_exponent(value: Decimal) -> bool:
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent > 0


def numeric_to_float(value: Decimal) -> float:
    """Raises 22003 when a finite value overflows."""
    result = float(value)
    if math.isinf(result) and value.is_finite():
        raise DataError("value out of range for type double precision", sqlstate="22003")
    return result


def parse_numeric(text: str) -> Decimal:
    """Raises 22P02 (not a number) or 22003 (too many digits)."""
    word = text.strip()
    value = None if "_" in word else _decimal_or_none(word)
    if value is None:
        raise DataError(f'invalid input syntax for type numeric: "{text}"', sqlstate="22P02")
    if value.is_finite():
        if value.adjusted() >= 131072 or scale_of(value) > 16383:
            raise DataError("value overflows numeric format", sqlstate="22003")
        if _has_positive_exponent(value):
            value = EXACT.quantize(value, _UNITS[0])
        return value if value else value.copy_abs()
    return NAN if value.is_nan() else value


def _decimal_or_none(word: str) -> Decimal | None:
    if word[:5].lower().lstrip("+-").startswith("snan"):
        return None
    try:
        return Decimal(word)
    except ArithmeticError:
        return None


def format_numeric(value: Decimal) -> str:
    """Plain digits with the value's own scale; 'NaN', 'Infinity', '-Infinity'."""
    return format(value, "f")
