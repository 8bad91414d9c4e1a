"""Mathematics: numeric functions keep numeric precision, the rest work on double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from engine.errors import DataError
from engine.sql.functions import environment, operators
from engine.sql.functions.registry import ScalarFunction, register_scalar
from engine.types import BIGINT, DOUBLE, INTEGER, NUMERIC, REAL, SMALLINT, SqlType, numbers


def _math(
    name: str,
    args: tuple[SqlType, ...],
    result: SqlType,
    implementation: Callable[..., Any],
    doc: str,
    example: tuple[str, str] | None = None,
    *,
    volatile: bool = False,
) -> None:
    register_scalar(
        ScalarFunction(
            name=name,
            arg_types=args,
            return_type=result,
            implementation=implementation,
            volatile=volatile,
            category="math",
            doc=doc,
            example=example,
        )
    )


def _domain(message: str, sqlstate: str = "22003") -> DataError:
    return DataError(message, sqlstate=sqlstate)


# ── rounding and signs ───────────────────────────────────────────────────────────────────────
def _register_signs() -> None:
    for integer in (SMALLINT, INTEGER, BIGINT):
        check = numbers.integer_checker(integer.kind)
        absolute = _absolute_integer(check)
        _math("abs", (integer,), integer, absolute, "absolute value", ("abs(-5)", "5"))
        _math("mod", (integer, integer), integer, numbers.remainder_of_dividend, "remainder")
    for floating in (REAL, DOUBLE):
        _math("abs", (floating,), floating, abs, "absolute value")
    _math("abs", (NUMERIC,), NUMERIC, Decimal.copy_abs, "absolute value")
    doc = "remainder with the sign of the first argument"
    _math("mod", (NUMERIC, NUMERIC), NUMERIC, numbers.remainder_numeric, doc, ("mod(-7, 3)", "-1"))
    doc = "-1, 0 or 1"
    _math("sign", (DOUBLE,), DOUBLE, lambda x: float((x > 0) - (x < 0)), doc, ("sign(-8)", "-1"))
    _math("sign", (NUMERIC,), NUMERIC, lambda x: Decimal((x > 0) - (x < 0)), doc)
    _math(
        "div",
        (NUMERIC, NUMERIC),
        NUMERIC,
        _integer_quotient,
        "quotient, truncated toward zero",
        ("div(-7, 2)", "-3"),
    )


def _absolute_integer(check: Callable[[int], int]) -> Callable[[int], int]:
    return lambda value: check(abs(value))


def _integer_quotient(a: Decimal, b: Decimal) -> Decimal:
    if not b:
        raise numbers.division_by_zero()
    return numbers.truncate_numeric(numbers.EXACT.divide_int(a, b), 0)


def _float_whole(operation: Callable[[float], int]) -> Callable[[float], float]:
    return lambda x: float(operation(x)) if math.isfinite(x) else x


def _to_unit(rounding: str) -> Callable[[Decimal], Decimal]:
    def apply(value: Decimal) -> Decimal:
        if not value.is_finite():
            return value
        whole = value.quantize(Decimal(1), rounding=rounding, context=numbers.EXACT)
        return whole if whole else whole.copy_abs()

    return apply


def _round_double_to(value: float, digits: int) -> float:
    return round(value, digits) if math.isfinite(value) else value


def _truncate_double_to(value: float, digits: int) -> float:
    if not math.isfinite(value):
        return value
    return float(numbers.truncate_numeric(Decimal(repr(value)), digits))


def _register_rounding() -> None:
    for name in ("ceil", "ceiling"):
        doc = "nearest whole number not below"
        _math(name, (DOUBLE,), DOUBLE, _float_whole(math.ceil), doc)
        _math(name, (NUMERIC,), NUMERIC, _to_unit(ROUND_CEILING), doc, (f"{name}(-42.8)", "-42"))
    doc = "nearest whole number not above"
    _math("floor", (DOUBLE,), DOUBLE, _float_whole(math.floor), doc)
    _math("floor", (NUMERIC,), NUMERIC, _to_unit(ROUND_FLOOR), doc, ("floor(-42.8)", "-43"))
    doc = "nearest whole number: ties away from zero for numeric, to even for double precision"
    _math("round", (DOUBLE,), DOUBLE, _float_whole(round), doc)
    _math(
        "round",
        (NUMERIC,),
        NUMERIC,
        lambda x: numbers.round_numeric(x, 0),
        doc,
        ("round(42.5)", "43"),
    )
    doc = "rounded to that many digits after the point"
    _math(
        "round",
        (NUMERIC, INTEGER),
        NUMERIC,
        numbers.round_numeric,
        doc,
        ("round(42.4382, 2)", "42.44"),
    )
    _math("round", (DOUBLE, INTEGER), DOUBLE, _round_double_to, doc)
    doc = "toward zero, to that many digits (0 when left out)"
    _math("trunc", (DOUBLE,), DOUBLE, _float_whole(math.trunc), doc)
    _math("trunc", (NUMERIC,), NUMERIC, lambda x: numbers.truncate_numeric(x, 0), doc)
    _math(
        "trunc",
        (NUMERIC, INTEGER),
        NUMERIC,
        numbers.truncate_numeric,
        doc,
        ("trunc(42.4382, 2)", "42.43"),
    )
    _math("trunc", (DOUBLE, INTEGER), DOUBLE, _truncate_double_to, doc)


# ── powers and logarithms ────────────────────────────────────────────────────────────────────
def _square_root(x: float) -> float:
    if x < 0:
        raise _domain("cannot take square root of a negative number", "2201F")
    return math.sqrt(x)


def _cube_root(x: float) -> float:
    root = math.cbrt(x)
    if not math.isfinite(root):
        return root
    whole = float(round(root))
    return whole if whole * whole * whole == x else root  # some C libraries miss 27


def _exponential(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        raise _domain("value out of range: overflow") from None


def _require_positive(x: Any) -> None:
    if x == 0:
        raise _domain("cannot take logarithm of zero", "2201E")
    if x < 0:
        raise _domain("cannot take logarithm of a negative number", "2201E")


def _logarithm(operation: Callable[[float], float]) -> Callable[[float], float]:
    def apply(x: float) -> float:
        _require_positive(x)
        return operation(x)

    return apply


_SIGNIFICANT = 40
_LOGARITHM_SCALE = 16


def _numeric_logarithm(operation: Callable[[Decimal], Decimal]) -> Callable[[Decimal], Decimal]:
    def apply(x: Decimal) -> Decimal:
        _require_positive(x)
        result = operation(x)
        return numbers.round_numeric(result, max(_LOGARITHM_SCALE, numbers.scale_of(x)))

    return apply


def _numeric_exponential(x: Decimal) -> Decimal:
    if x > 300000:
        raise _domain("value overflows numeric format")
    digits = max(int(x / Decimal("2.3")), 0) if x.is_finite() else 0
    result = numbers.working_context(digits + _SIGNIFICANT).exp(x)
    return numbers.round_numeric(result, max(_LOGARITHM_SCALE, numbers.scale_of(x)))


def _numeric_log_base(base: Decimal, x: Decimal) -> Decimal:
    _require_positive(base)
    _require_positive(x)
    context = numbers.working_context(_SIGNIFICANT)
    divisor = context.ln(base)
    if not divisor:
        raise numbers.division_by_zero()
    scale = max(_LOGARITHM_SCALE, numbers.scale_of(base), numbers.scale_of(x))
    return numbers.round_numeric(context.divide(context.ln(x), divisor), scale)


def _register_powers() -> None:
    context = numbers.working_context(_SIGNIFICANT)
    _math(
        "sqrt", (DOUBLE,), DOUBLE, _square_root, "square root", ("sqrt(2.25)", "1.500000000000000")
    )
    _math("sqrt", (NUMERIC,), NUMERIC, numbers.square_root, "square root")
    _math("cbrt", (DOUBLE,), DOUBLE, _cube_root, "cube root", ("cbrt(27)", "3"))
    for name in ("power", "pow"):
        doc = "the first raised to the second"
        _math(
            name, (DOUBLE, DOUBLE), DOUBLE, operators.power_double, doc, (f"{name}(2, 10)", "1024")
        )
        _math(name, (NUMERIC, NUMERIC), NUMERIC, operators.power_numeric, doc)
    _math("exp", (DOUBLE,), DOUBLE, _exponential, "e to the power", ("exp(0)", "1"))
    _math("exp", (NUMERIC,), NUMERIC, _numeric_exponential, "e to the power")
    _math("ln", (DOUBLE,), DOUBLE, _logarithm(math.log), "natural logarithm", ("ln(1)", "0"))
    _math("ln", (NUMERIC,), NUMERIC, _numeric_logarithm(context.ln), "natural logarithm")
    for name in ("log", "log10"):
        doc = "logarithm to base 10"
        _math(name, (DOUBLE,), DOUBLE, _logarithm(math.log10), doc, (f"{name}(1000)", "3"))
        _math(name, (NUMERIC,), NUMERIC, _numeric_logarithm(context.log10), doc)
    doc = "logarithm to base 2"
    _math("log2", (DOUBLE,), DOUBLE, _logarithm(math.log2), doc, ("log2(8)", "3"))
    doc = "logarithm of the second to base the first"
    _math(
        "log",
        (NUMERIC, NUMERIC),
        NUMERIC,
        _numeric_log_base,
        doc,
        ("log(2, 64)", "6.0000000000000000"),
    )


# ── angles ───────────────────────────────────────────────────────────────────────────────────
def _guarded(operation: Callable[..., float]) -> Callable[..., float]:
    def apply(*args: float) -> float:
        try:
            return operation(*args)
        except (ValueError, OverflowError):
            raise _domain("input is out of range") from None

    return apply


def _cotangent(x: float) -> float:
    tangent = math.tan(x)
    return math.copysign(math.inf, tangent) if tangent == 0 else 1 / tangent


def _register_angles() -> None:
    for name in (
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
    ):
        operation = _guarded(getattr(math, name))
        value = "1" if name in ("cos", "cosh") else "0"
        argument = "1" if name in ("acos", "acosh") else "0"
        _math(
            name,
            (DOUBLE,),
            DOUBLE,
            operation,
            "of an angle in radians" if name[0] != "a" else "inverse, in radians",
            (f"{name}({argument})", value),
        )
    _math("cot", (DOUBLE,), DOUBLE, _guarded(_cotangent), "cotangent", ("cot(0)", "Infinity"))
    _math(
        "atan2",
        (DOUBLE, DOUBLE),
        DOUBLE,
        math.atan2,
        "angle of the point (y, x)",
        ("atan2(0, 1)", "0"),
    )
    _math(
        "degrees", (DOUBLE,), DOUBLE, math.degrees, "radians to degrees", ("degrees(pi())", "180")
    )
    _math("radians", (DOUBLE,), DOUBLE, math.radians, "degrees to radians", ("radians(0)", "0"))
    _math("pi", (), DOUBLE, lambda: math.pi, "π", ("pi()", "3.141592653589793"))


def _greatest_common_divisor(a: int, b: int) -> int:
    return math.gcd(a, b)


def _least_common_multiple(check: Callable[[int], int]) -> Callable[[int, int], int]:
    return lambda a, b: check(math.lcm(a, b))


def _factorial(n: int) -> Decimal:
    if n < 0:
        raise _domain("factorial of a negative number is undefined")
    if n > 32177:
        raise _domain("value overflows numeric format")
    return Decimal(math.factorial(n))


def _register_whole_numbers() -> None:
    for integer in (INTEGER, BIGINT):
        check = numbers.integer_checker(integer.kind)
        pair = (integer, integer)
        example = ("gcd(12, 18)", "6")
        doc = "greatest common divisor"
        _math("gcd", pair, integer, _greatest_common_divisor, doc, example)
        doc = "least common multiple"
        _math("lcm", pair, integer, _least_common_multiple(check), doc, ("lcm(4, 6)", "12"))
    _math("factorial", (BIGINT,), NUMERIC, _factorial, "product of 1 … n", ("factorial(5)", "120"))
    _math("random", (), DOUBLE, environment.random, "a number in [0, 1)", volatile=True)


_register_signs()
_register_rounding()
_register_powers()
_register_angles()
_register_whole_numbers()
