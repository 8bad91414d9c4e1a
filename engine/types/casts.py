"""Casts: which exist, when they happen by themselves, and the function that does each.

context      written as                         what is allowed
implicit     nothing (operands, arguments)      only what loses nothing of the value's kind
assignment   nothing (INSERT, UPDATE)           implicit, and numbers into narrower numbers,
                                                timestamps into dates, anything into text
explicit     CAST(x AS t), x::t                 assignment, text into anything, boolean <-> integer,
                                                bytea <-> uuid, json <-> text; VARCHAR truncates

An `unknown` source (an untyped string literal or parameter) casts to anything in every context:
its text is read by the target's input form. Overflow is 22003, bad text 22P02/22007, a string too
long 22001, a pair with no cast 42846.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from engine.errors import DataError, ProgrammingError
from engine.types import dates, numbers
from engine.types.kinds import (
    BIGINT,
    DOUBLE,
    FLOAT_KINDS,
    INTEGER_KINDS,
    NUMBER_KINDS,
    NUMERIC,
    TEXT,
    TEXT_KINDS,
    TIMESTAMP,
    TIMESTAMPTZ,
    UNKNOWN,
    SqlType,
    type_text,
)
from engine.types.text_forms import format_text, length_fitter, parse_text

Conversion = Callable[[Any], Any]

_NUMBER_ORDER = ("smallint", "integer", "bigint", "numeric", "real", "double")
_DATETIME_ORDER = ("date", "timestamp", "timestamptz")
_RANKS = {"implicit": 0, "assignment": 1, "explicit": 2}
_LOWEST: dict[tuple[str, str], int] = {}  # (source kind, target kind) -> rank that allows it


def _declare() -> None:
    for source in _NUMBER_ORDER:
        for target in _NUMBER_ORDER:
            widens = _NUMBER_ORDER.index(source) <= _NUMBER_ORDER.index(target)
            _LOWEST[source, target] = 0 if widens else 1
    for i, source in enumerate(_DATETIME_ORDER):
        for j, target in enumerate(_DATETIME_ORDER):
            _LOWEST[source, target] = 0 if i <= j else 1
    for source in ("timestamp", "timestamptz"):
        _LOWEST[source, "time"] = 1
    _LOWEST["time", "interval"] = 0
    _LOWEST["interval", "time"] = 1
    for kind in INTEGER_KINDS:
        _LOWEST[kind, "boolean"] = _LOWEST["boolean", kind] = 2
    _LOWEST["bytea", "uuid"] = _LOWEST["uuid", "bytea"] = 2
    kinds = (
        *NUMBER_KINDS,
        *_DATETIME_ORDER,
        "boolean",
        "bytea",
        "time",
        "interval",
        "uuid",
        "json",
    )
    for kind in kinds:
        _LOWEST.setdefault((kind, kind), 0)
        for text in TEXT_KINDS:
            _LOWEST[kind, text] = 1
            _LOWEST[text, kind] = 2
    for source in TEXT_KINDS:
        for target in TEXT_KINDS:
            _LOWEST[source, target] = 0


_declare()


def can_cast(source: SqlType, target: SqlType, context: str) -> bool:
    """context: 'implicit', 'assignment' or 'explicit'."""
    if source.kind == "unknown" or source == target:
        return True
    rank = _LOWEST.get((source.kind, target.kind))
    return rank is not None and rank <= _RANKS[context]


@lru_cache(1024)
def cast_function(source: SqlType, target: SqlType, explicit: bool = False) -> Conversion | None:
    """The conversion of runtime values (never called with None); None when the value stays as it
    is. Raises ProgrammingError 42846 when there is no such cast."""
    if source == target:
        return None
    if source.kind == "unknown" or source.kind in TEXT_KINDS:
        if target.kind in TEXT_KINDS and target.precision is None and target.kind != "char":
            return None
        return parse_text(target, explicit=explicit)
    if (source.kind, target.kind) not in _LOWEST:
        raise cannot_cast(source, target)
    if target.kind in TEXT_KINDS:
        return _then(format_text(source), length_fitter(target, explicit))
    if target.kind == "numeric":
        convert = _TO_NUMERIC[source.kind]
        fit = None if source == target else numbers.numeric_fitter(target)
        return _then(convert, fit)
    if target.kind in INTEGER_KINDS:
        return _to_integer(source.kind, target.kind)
    return _SPECIAL.get((source.kind, target.kind))


def cannot_cast(source: SqlType, target: SqlType) -> ProgrammingError:
    """42846 as PostgreSQL words it."""
    message = f"cannot cast type {type_text(source)} to {type_text(target)}"
    return ProgrammingError(message, sqlstate="42846")


def _then(first: Conversion | None, second: Conversion | None) -> Conversion | None:
    if first is None:
        return second
    if second is None:
        return first
    return lambda value: second(first(value))


def _to_integer(source: str, target: str) -> Conversion | None:
    if source in INTEGER_KINDS:
        order = _NUMBER_ORDER
        return (
            None if order.index(source) < order.index(target) else numbers.integer_checker(target)
        )
    if source == "boolean":
        return int
    if source == "numeric":
        return lambda value: numbers.numeric_to_integer(value, target)
    return lambda value: numbers.float_to_integer(value, target)


def _uuid_from_bytes(value: bytes) -> bytes:
    if len(value) != 16:
        raise DataError("a uuid has 16 bytes", sqlstate="22P03")
    return value


_TO_NUMERIC: dict[str, Conversion | None] = {
    "smallint": Decimal,
    "integer": Decimal,
    "bigint": Decimal,
    "numeric": None,
    "real": numbers.real_to_numeric,
    "double": numbers.double_to_numeric,
}
_SPECIAL: dict[tuple[str, str], Conversion] = {
    ("smallint", "boolean"): bool,
    ("integer", "boolean"): bool,
    ("bigint", "boolean"): bool,
    ("smallint", "real"): numbers.round_to_real,
    ("integer", "real"): numbers.round_to_real,
    ("bigint", "real"): numbers.round_to_real,
    ("numeric", "real"): lambda value: numbers.round_to_real(numbers.numeric_to_float(value)),
    ("double", "real"): numbers.round_to_real,
    ("smallint", "double"): float,
    ("integer", "double"): float,
    ("bigint", "double"): float,
    ("numeric", "double"): numbers.numeric_to_float,
    ("date", "timestamp"): lambda days: days * dates.US_PER_DAY,
    ("date", "timestamptz"): lambda days: days * dates.US_PER_DAY,
    ("timestamp", "date"): lambda us: us // dates.US_PER_DAY,
    ("timestamptz", "date"): lambda us: us // dates.US_PER_DAY,
    ("timestamp", "time"): lambda us: us % dates.US_PER_DAY,
    ("timestamptz", "time"): lambda us: us % dates.US_PER_DAY,
    ("time", "interval"): lambda us: (0, 0, us),
    ("interval", "time"): lambda value: value[2] % dates.US_PER_DAY,
    ("bytea", "uuid"): _uuid_from_bytes,
}


def common_type(types: list[SqlType]) -> SqlType | None:
    """The one type that CASE, UNION, IN, VALUES, COALESCE and comparisons give all of `types`;
    UNKNOWN when all are; None when they do not go together (numbers with text, say).

    Numbers meet in the wider (integer, bigint, numeric, real, double; real with bigint or numeric
    is double), dates in the more precise, text kinds in text. Modifiers survive only when equal.
    """
    result = UNKNOWN
    for other in types:
        if other.kind == "unknown" or other == result:
            continue
        if result.kind == "unknown":
            result = other
            continue
        joined = _join(result, other)
        if joined is None:
            return None
        result = joined
    return result


def _join(a: SqlType, b: SqlType) -> SqlType | None:
    if a.kind == b.kind:
        return SqlType(a.kind) if a.kind != "char" else TEXT
    if a.kind in NUMBER_KINDS and b.kind in NUMBER_KINDS:
        if a.kind in FLOAT_KINDS or b.kind in FLOAT_KINDS:
            return DOUBLE  # also real with integer, as PostgreSQL's operators do
        return max(a, b, key=lambda t: _NUMBER_ORDER.index(t.kind)) if _plain(a, b) else NUMERIC
    if a.kind in TEXT_KINDS and b.kind in TEXT_KINDS:
        return TEXT
    if a.kind in _DATETIME_ORDER and b.kind in _DATETIME_ORDER:
        return TIMESTAMPTZ if "timestamptz" in (a.kind, b.kind) else TIMESTAMP
    if {a.kind, b.kind} == {"time", "interval"}:
        return SqlType("interval")
    return None


def _plain(a: SqlType, b: SqlType) -> bool:
    return a.kind != "numeric" and b.kind != "numeric"


def literal_converter(kind: str, target: SqlType) -> Conversion:
    """What turns a literal token's value into a runtime value of `target`.

    kind: 'integer' (int or str of digits), 'numeric' (str), 'string' (str), 'blob' (bytes). Raises
    DataError when the literal does not fit: a plan made for another literal does not fit it then.
    """
    return _literal_converter(kind, target)


@lru_cache(256)
def _literal_converter(kind: str, target: SqlType) -> Conversion:
    if kind == "integer":
        if target.kind in INTEGER_KINDS:
            check = numbers.integer_checker(target.kind)
            return lambda value: check(int(value))
        convert = cast_function(NUMERIC if target.kind in NUMBER_KINDS else BIGINT, target)
        wide = Decimal if target.kind in NUMBER_KINDS else int
        return _then(wide, convert) or wide
    if kind == "numeric":
        return _then(numbers.parse_numeric, cast_function(NUMERIC, target)) or numbers.parse_numeric
    source = SqlType("bytea") if kind == "blob" else UNKNOWN
    return cast_function(source, target) or (lambda value: value)
