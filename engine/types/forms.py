"""The borders between the forms of a value: storage, Python objects, comparison keys, Arrow.

Each function takes a type and gives a conversion of single values (never called with None), or
None when the forms are the same object, so that hot paths can leave the call out.

Invariants
1. from_storage(t)(to_storage(t)(v)) == v for every runtime value v of t.
2. comparison_key(t) maps values to Python objects that order, equal and hash as SQL compares them:
   NaN equals NaN and is greater than every number; intervals compare with 30-day months.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache, total_ordering
from typing import Any

import msgspec

from engine.errors import DataError, InterfaceError
from engine.types import dates, numbers
from engine.types.casts import cast_function
from engine.types.kinds import (
    BIGINT,
    BOOLEAN,
    BYTEA,
    DATE,
    DOUBLE,
    INTEGER,
    INTEGER_KINDS,
    INTEGER_RANGES,
    INTERVAL,
    JSON,
    NUMERIC,
    TEXT,
    TEXT_KINDS,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    UNKNOWN,
    UUID,
    SqlType,
    is_scaled,
    type_text,
)

Conversion = Callable[[Any], Any]

_INTERVAL = struct.Struct("<iiq")  # months, days, µs
_SCALED_NAN = 2**63 - 1  # above every 18-digit number, as NaN is above every number
_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


# ── storage ──────────────────────────────────────────────────────────────────────────────────
@lru_cache(512)
def to_storage(sql_type: SqlType) -> Conversion | None:
    """Runtime → storage; None when identical."""
    if sql_type.kind == "interval":
        return lambda value: _INTERVAL.pack(*value)
    if sql_type.kind != "numeric":
        return None
    if not is_scaled(sql_type):
        return numbers.format_numeric
    scale = sql_type.scale or 0
    scaleb = numbers.EXACT.scaleb

    def scaled(value: Decimal) -> int:
        return int(scaleb(value, scale)) if value == value else _SCALED_NAN

    return scaled


@lru_cache(512)
def from_storage(sql_type: SqlType) -> Conversion | None:
    """Storage → runtime; None when identical."""
    if sql_type.kind == "interval":
        return _INTERVAL.unpack
    if sql_type.kind != "numeric":
        return None
    if not is_scaled(sql_type):
        return Decimal
    scale = -(sql_type.scale or 0)
    scaleb = numbers.EXACT.scaleb

    def unscaled(value: int) -> Decimal:
        return scaleb(Decimal(value), scale) if value != _SCALED_NAN else numbers.NAN

    return unscaled


# ── comparison ───────────────────────────────────────────────────────────────────────────────
@total_ordering
class _Greatest:
    """Stands for NaN in comparison keys: equal to itself, above every number."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return 0x7FF8

    def __repr__(self) -> str:
        return "NaN"


NAN_KEY = _Greatest()


def _number_key(value: Any) -> Any:
    return value if value == value else NAN_KEY


def comparison_key(sql_type: SqlType) -> Conversion | None:
    """Runtime value → what to compare, sort, group and hash by; None for the value itself."""
    if sql_type.kind == "interval":
        return dates.interval_order
    if sql_type.kind in ("real", "double", "numeric"):
        return _number_key
    return None


# ── Python objects ───────────────────────────────────────────────────────────────────────────
class Interval(timedelta):
    """What the cursor gives for an interval with months: a timedelta of its days and time that
    also carries `months`."""

    __slots__ = ("months",)
    months: int

    @classmethod
    def of(cls, months: int, days: int, us: int) -> Interval:
        value = cls(days=days, microseconds=us)
        value.months = months
        return value

    def __repr__(self) -> str:
        return f"Interval.of({self.months}, {self.days}, {(self - timedelta(self.days)) // _US})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Interval) and other.months != self.months:
            return False
        if not isinstance(other, Interval) and self.months:
            return False
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.months, super().__hash__())) if self.months else super().__hash__()


def _python_date(days: int) -> date:
    return date.fromordinal(days + dates.EPOCH_ORDINAL)


def _python_time(us: int) -> time:
    if us == dates.US_PER_DAY:
        us -= 1  # 24:00:00 has no datetime.time: the last one of the day stands for it
    seconds, fraction = divmod(us, dates.US_PER_SECOND)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, fraction)


def _python_timestamp(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def _python_timestamptz(us: int) -> datetime:
    return _EPOCH_UTC + timedelta(microseconds=us)


def _python_interval(value: dates.Interval) -> timedelta:
    months, days, us = value
    if months:
        return Interval.of(months, days, us)
    return timedelta(days=days, microseconds=us)


def _python_uuid(value: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=value)


_TO_PYTHON: dict[str, Conversion] = {
    "date": _python_date,
    "time": _python_time,
    "timestamp": _python_timestamp,
    "timestamptz": _python_timestamptz,
    "interval": _python_interval,
    "uuid": _python_uuid,
}


def python_converter(sql_type: SqlType) -> Conversion | None:
    """Runtime → what the cursor returns; None when identical."""
    return _TO_PYTHON.get(sql_type.kind)


def _from_int(value: int) -> tuple[SqlType, Any]:
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return INTEGER, value
    if -(2**63) <= value < 2**63:
        return BIGINT, value
    return NUMERIC, Decimal(value)


def _from_time(value: time) -> tuple[SqlType, Any]:
    seconds = value.hour * 3600 + value.minute * 60 + value.second
    return TIME, seconds * dates.US_PER_SECOND + value.microsecond


def _from_datetime(value: datetime) -> tuple[SqlType, Any]:
    if value.tzinfo is None:
        return TIMESTAMP, (value - _EPOCH) // _US
    return TIMESTAMPTZ, dates.checked_timestamp((value - _EPOCH_UTC) // _US)


def _from_timedelta(value: timedelta) -> tuple[SqlType, Any]:
    us = value.seconds * dates.US_PER_SECOND + value.microseconds
    return INTERVAL, dates.checked_interval(getattr(value, "months", 0), value.days, us)


def _from_json(value: Any) -> tuple[SqlType, Any]:
    try:
        return JSON, msgspec.json.encode(value).decode()
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise DataError(f"parameter is not JSON: {error}", sqlstate="22P02") from None


def _from_str(value: str) -> tuple[SqlType, Any]:
    if "\x00" in value or not value.isascii():
        _require_text(value)
    return TEXT, value


def _require_text(value: str) -> None:
    if "\x00" in value:
        raise DataError("text cannot hold NUL characters", sqlstate="22021")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError("text holds a lone surrogate", sqlstate="22021") from None


_FROM_PYTHON: dict[type, Callable[[Any], tuple[SqlType, Any]]] = {
    type(None): lambda value: (UNKNOWN, None),
    bool: lambda value: (BOOLEAN, value),
    int: _from_int,
    float: lambda value: (DOUBLE, value),
    Decimal: lambda value: (NUMERIC, numbers.parse_numeric(str(value))),
    str: _from_str,
    bytes: lambda value: (BYTEA, value),
    bytearray: lambda value: (BYTEA, bytes(value)),
    memoryview: lambda value: (BYTEA, bytes(value)),
    date: lambda value: (DATE, value.toordinal() - dates.EPOCH_ORDINAL),
    time: _from_time,
    datetime: _from_datetime,
    timedelta: _from_timedelta,
    uuid.UUID: lambda value: (UUID, value.bytes),
    dict: _from_json,
    list: _from_json,
    tuple: _from_json,
}


def from_python(value: object) -> tuple[SqlType, Any]:
    """A parameter's own type and runtime value; (UNKNOWN, None) for None. Mutable buffers are
    copied. Raises InterfaceError for a class that has no SQL type, DataError for bad values."""
    convert = _FROM_PYTHON.get(value.__class__)
    if convert is None:
        for base in value.__class__.__mro__:
            convert = _FROM_PYTHON.get(base)
            if convert is not None and base is not object:
                return convert(_plain_base(value, base))
        raise InterfaceError(
            f"a parameter of type {type(value).__name__} has no SQL type", sqlstate="42804"
        )
    return convert(value)


def _plain_base(value: Any, base: type) -> Any:
    """A subclass instance as its base: an IntEnum or numpy float becomes a plain number."""
    return base(value) if base in (int, float, str) else value


@lru_cache(512)
def parameter_converter(sql_type: SqlType) -> Conversion:
    """Python value → runtime value of a parameter that wants `sql_type` (None stays None).

    UNKNOWN takes values whose runtime form is their Python form. Raises DataError 42804
    (`TypeMismatch`) when the value's own type does not go there by itself (UNDECIDED: any value but
    None): the caller binds again with the values' types (`bind(param_types=…)`).
    """
    kind = sql_type.kind
    if kind in INTEGER_KINDS:
        low, high = INTEGER_RANGES[kind]

        def to_integer(value: Any) -> Any:
            if value.__class__ is int and low <= value <= high:
                return value
            return _convert_parameter(value, sql_type)

        return to_integer
    if kind in ("unknown", "undecided"):
        return _own_form if kind == "unknown" else _undecided
    exact = {"double": float, "boolean": bool, "bytea": bytes}.get(kind)
    if exact is not None:

        def pass_exact(value: Any) -> Any:
            return value if value.__class__ is exact else _convert_parameter(value, sql_type)

        return pass_exact
    if kind in TEXT_KINDS and sql_type.precision is None and kind != "char":

        def to_text(value: Any) -> Any:
            if value.__class__ is str and value.isascii() and "\x00" not in value:
                return value
            return _convert_parameter(value, sql_type)

        return to_text
    return lambda value: _convert_parameter(value, sql_type)


class TypeMismatch(DataError):
    """42804: a parameter's value has a type that the place it goes to does not take."""

    sqlstate = "42804"


def _own_form(value: Any) -> Any:
    own, runtime = from_python(value)
    if own.kind in _TO_PYTHON:
        raise _mismatch(own, UNKNOWN)  # a date must not come back as a number
    return runtime


def _undecided(value: Any) -> Any:
    if value is None:
        return None
    raise _mismatch(from_python(value)[0], UNKNOWN)


# (class of the value's own type, target kind) pairs that parameters convert between by themselves
_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double")
_TEMPORAL = ("date", "timestamp", "timestamptz")


def _convert_parameter(value: Any, target: SqlType) -> Any:
    if value is None:
        return None
    own, runtime = from_python(value)
    if own == target:
        return runtime
    if own.kind == "text":  # text is read by the target's input form, as an untyped literal
        convert = cast_function(UNKNOWN, target)
        return runtime if convert is None else convert(runtime)
    if own.kind in _NUMBERS and target.kind in _NUMBERS:
        if target.kind in INTEGER_KINDS and not _suits(runtime, target.kind):
            raise _mismatch(own, target)
    elif not (
        (own.kind in _TEMPORAL and target.kind in _TEMPORAL)
        or own.kind == target.kind
        or (own.kind == "boolean" and target.kind in INTEGER_KINDS)
        or (own.kind == "json" and target.kind in TEXT_KINDS)
    ):
        raise _mismatch(own, target)
    convert = cast_function(own, target)
    return runtime if convert is None else convert(runtime)


def _suits(value: Any, kind: str) -> bool:
    """Whether a number is a value of an integer type. 5000000000 where `? + 1` made the parameter
    an integer is none: the statement is bound for a bigint, as the literal would be."""
    if value - value != 0:
        return False  # NaN or infinite
    low, high = INTEGER_RANGES[kind]
    return bool(low <= value <= high and value == int(value))


def _mismatch(own: SqlType, target: SqlType) -> TypeMismatch:
    return TypeMismatch(
        f"parameter of type {type_text(own)} where {type_text(target)} is wanted",
        hint=f"Write CAST(? AS {type_text(own)}) or convert the value.",
    )
