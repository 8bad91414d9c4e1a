"""Dates and times: fields, truncation, construction, the current time.

A field may be taken from date, time, timestamp, timestamptz and interval; EXTRACT gives numeric as
PostgreSQL does, date_part double precision. The session's time zone is UTC.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from engine.errors import DataError
from engine.sql.functions import environment
from engine.sql.functions.registry import ScalarFunction, register_scalar
from engine.types import (
    BIGINT,
    DATE,
    DOUBLE,
    INTEGER,
    INTERVAL,
    NUMERIC,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    UUID,
    SqlType,
    dates,
    numbers,
)
from engine.types.dates import US_PER_DAY, US_PER_HOUR, US_PER_MINUTE, US_PER_SECOND, Interval


def _date(
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
            category="date and time",
            doc=doc,
            example=example,
        )
    )


def _unknown_field(field: str, kind: str) -> DataError:
    return DataError(f'unit "{field}" not supported for type {kind}', sqlstate="22023")


# ── fields ───────────────────────────────────────────────────────────────────────────────────
def _scaled(us: int, digits: int) -> Decimal:
    """µs as a decimal with `digits` places after the point."""
    return numbers.EXACT.scaleb(Decimal(us), -digits)


def _clock_field(field: str, us: int) -> Decimal | None:
    """Fields of a time of day (or of an interval's time, which may be negative)."""
    sign = -1 if us < 0 else 1
    size = abs(us)
    match field:
        case "hour":
            return Decimal(sign * (size // US_PER_HOUR))
        case "minute":
            return Decimal(sign * (size // US_PER_MINUTE % 60))
        case "second":
            return _scaled(sign * (size % US_PER_MINUTE), 6)
        case "millisecond" | "milliseconds":
            return _scaled(sign * (size % US_PER_MINUTE), 3)
        case "microsecond" | "microseconds":
            return Decimal(sign * (size % US_PER_MINUTE))
    return None


def _iso_week(days: int) -> tuple[int, int]:
    """(ISO year, week), ISO 8601."""
    thursday = days - (days + 3) % 7 + 3
    year = dates.split_date(min(max(thursday, dates.MIN_DAYS), dates.MAX_DAYS))[0]
    return year, (thursday - dates.days_from_civil(year, 1, 1)) // 7 + 1


def _calendar_field(field: str, days: int) -> int | None:
    year, month, day = dates.split_date(days)
    match field:
        case "year":
            return year
        case "month":
            return month
        case "day":
            return day
        case "quarter":
            return (month + 2) // 3
        case "decade":
            return year // 10
        case "century":
            return (year + 99) // 100
        case "millennium":
            return (year + 999) // 1000
        case "dow":
            return (days + 4) % 7
        case "isodow":
            return (days + 3) % 7 + 1
        case "doy":
            return days - dates.days_from_civil(year, 1, 1) + 1
        case "week":
            return _iso_week(days)[1]
        case "isoyear":
            return _iso_week(days)[0]
        case "julian":
            return days + 2440588
    return None


def _field_of_date(field: str, days: int) -> Decimal:
    field = field.lower()
    if field == "epoch":
        return Decimal(days * 86400)
    value = _calendar_field(field, days)
    if value is None:
        raise _unknown_field(field, "date")
    return Decimal(value)


def _field_of_timestamp(field: str, us: int) -> Decimal:
    field = field.lower()
    if field == "epoch":
        return _scaled(us, 6)
    days, clock = divmod(us, US_PER_DAY)
    value = _calendar_field(field, days)
    if value is not None:
        return Decimal(value)
    found = _clock_field(field, clock)
    if found is None:
        raise _unknown_field(field, "timestamp")
    return found


def _field_of_timestamptz(field: str, us: int) -> Decimal:
    if field.lower() in ("timezone", "timezone_hour", "timezone_minute"):
        return Decimal(0)
    return _field_of_timestamp(field, us)


def _field_of_time(field: str, us: int) -> Decimal:
    field = field.lower()
    if field == "epoch":
        return _scaled(us, 6)
    found = _clock_field(field, us)
    if found is None:
        raise _unknown_field(field, "time")
    return found


def _field_of_interval(field: str, value: Interval) -> Decimal:
    field = field.lower()
    months, days, us = value
    whole_months = abs(months)
    sign = -1 if months < 0 else 1
    match field:
        case "epoch":
            years, rest = sign * (whole_months // 12), sign * (whole_months % 12)
            seconds = years * 31557600 + rest * 30 * 86400 + days * 86400
            return _scaled(seconds * US_PER_SECOND + us, 6)
        case "year":
            return Decimal(sign * (whole_months // 12))
        case "month":
            return Decimal(sign * (whole_months % 12))
        case "quarter":
            return Decimal(sign * (whole_months % 12) // 3 + 1)
        case "day":
            return Decimal(days)
        case "decade":
            return Decimal(sign * (whole_months // 120))
        case "century":
            return Decimal(sign * (whole_months // 1200))
        case "millennium":
            return Decimal(sign * (whole_months // 12000))
    found = _clock_field(field, us)
    if found is None:
        raise _unknown_field(field, "interval")
    return found


def _as_double(function: Callable[[str, Any], Decimal]) -> Callable[[str, Any], float]:
    return lambda field, value: float(function(field, value))


def _register_fields() -> None:
    example = ("extract(year FROM DATE '2020-02-29')", "2020")
    for kind, function in (
        (DATE, _field_of_date),
        (TIMESTAMP, _field_of_timestamp),
        (TIMESTAMPTZ, _field_of_timestamptz),
        (TIME, _field_of_time),
        (INTERVAL, _field_of_interval),
    ):
        _date(
            "extract",
            (TEXT, kind),
            NUMERIC,
            function,
            "a field: year, month, day, hour, minute, second, dow, isodow, doy, week, quarter, "
            "epoch, …",
            example,
        )
        _date(
            "date_part",
            (TEXT, kind),
            DOUBLE,
            _as_double(function),
            "a field, as a double",
            ("date_part('month', DATE '2020-02-29')", "2"),
        )
    for name in ("year", "month", "day", "quarter", "week"):
        for kind, function in ((DATE, _field_of_date), (TIMESTAMP, _field_of_timestamp)):
            _date(
                name,
                (kind,),
                INTEGER,
                _whole_field(name, function),
                f"the {name}",
                (
                    f"{name}(DATE '2020-02-03')",
                    {"year": "2020", "month": "2", "day": "3", "quarter": "1", "week": "6"}[name],
                ),
            )
    for name in ("hour", "minute", "second"):
        _date(
            name,
            (TIMESTAMP,),
            INTEGER,
            _whole_field(name, _field_of_timestamp),
            f"the {name}",
            (f"{name}(TIMESTAMP '2020-01-01 05:05:05')", "5"),
        )


def _whole_field(name: str, function: Callable[[str, Any], Decimal]) -> Callable[[Any], int]:
    return lambda value: int(function(name, value))


# ── truncation ───────────────────────────────────────────────────────────────────────────────
_CLOCK_UNITS = {
    "hour": US_PER_HOUR,
    "minute": US_PER_MINUTE,
    "second": US_PER_SECOND,
    "millisecond": 1000,
    "milliseconds": 1000,
    "microsecond": 1,
    "microseconds": 1,
}
_YEAR_UNITS = {"decade": 10, "century": 100, "millennium": 1000}


def _truncate_days(unit: str, days: int) -> int | None:
    if unit == "day":
        return days
    if unit == "week":
        return dates.checked_date(days - (days + 3) % 7)
    year, month, _ = dates.split_date(days)
    if unit == "month":
        return dates.days_from_civil(year, month, 1)
    if unit == "quarter":
        return dates.days_from_civil(year, (month - 1) // 3 * 3 + 1, 1)
    if unit == "year":
        return dates.days_from_civil(year, 1, 1)
    size = _YEAR_UNITS.get(unit)
    if size is None:
        return None
    first = year // size * size if unit == "decade" else (year - 1) // size * size + 1
    return dates.days_from_civil(max(first, 1), 1, 1)


def _truncate_timestamp(unit: str, us: int) -> int:
    unit = unit.lower()
    step = _CLOCK_UNITS.get(unit)
    if step is not None:
        return us - us % step
    days = _truncate_days(unit, us // US_PER_DAY)
    if days is None:
        raise _unknown_field(unit, "timestamp")
    return days * US_PER_DAY


def _truncate_interval(unit: str, value: Interval) -> Interval:
    unit = unit.lower()
    months, days, us = value
    step = _CLOCK_UNITS.get(unit)
    if step is not None:
        return months, days, (abs(us) // step * step) * (-1 if us < 0 else 1)
    if unit == "day":
        return months, days, 0
    size = {
        "month": 1,
        "quarter": 3,
        "year": 12,
        "decade": 120,
        "century": 1200,
        "millennium": 12000,
    }.get(unit)
    if size is None:
        raise _unknown_field(unit, "interval")
    return (abs(months) // size * size) * (-1 if months < 0 else 1), 0, 0


def _register_truncation() -> None:
    doc = "cut to a unit: microsecond … millennium"
    for stamp in (TIMESTAMP, TIMESTAMPTZ):
        _date(
            "date_trunc",
            (TEXT, stamp),
            stamp,
            _truncate_timestamp,
            doc,
            ("date_trunc('month', TIMESTAMP '2020-02-29 12:34:56')", "2020-02-01 00:00:00"),
        )
    _date("date_trunc", (TEXT, INTERVAL), INTERVAL, _truncate_interval, doc)


# ── construction and differences ─────────────────────────────────────────────────────────────
def _make_time(hour: int, minute: int, second: float) -> int:
    us = round(second * US_PER_SECOND)
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= us < 60 * US_PER_SECOND):
        message = f"time field value out of range: {hour}:{minute:02d}:{second:g}"
        raise DataError(message, sqlstate="22008")
    return hour * US_PER_HOUR + minute * US_PER_MINUTE + us


def _make_timestamp(y: int, m: int, d: int, hour: int, minute: int, second: float) -> int:
    return dates.days_from_civil(y, m, d) * US_PER_DAY + _make_time(hour, minute, second)


def _age(later: int, earlier: int) -> Interval:
    """Years, months, days and time between, as a person counts them."""
    sign = 1
    if later < earlier:
        later, earlier, sign = earlier, later, -1
    (days_a, clock_a), (days_b, clock_b) = divmod(later, US_PER_DAY), divmod(earlier, US_PER_DAY)
    (year_a, month_a, day_a), (year_b, month_b, day_b) = map(dates.split_date, (days_a, days_b))
    months = (year_a - year_b) * 12 + month_a - month_b
    days, us = day_a - day_b, clock_a - clock_b
    if us < 0:
        us += US_PER_DAY
        days -= 1
    if days < 0:
        # PostgreSQL borrows the length of the earlier date's month, counted from its own end
        # when the sign is turned.
        borrow = (year_b, month_b) if sign > 0 else _month_before(year_a, month_a)
        days += dates.days_in_month(*borrow)
        months -= 1
    return sign * months, sign * days, sign * us


def _month_before(year: int, month: int) -> tuple[int, int]:
    return (year - 1, 12) if month == 1 else (year, month - 1)


def _from_epoch(seconds: float) -> int:
    if not math.isfinite(seconds):
        raise DataError("timestamp out of range", sqlstate="22008")
    return dates.checked_timestamp(round(seconds * US_PER_SECOND))


def _last_day(days: int) -> int:
    year, month, _ = dates.split_date(days)
    return dates.days_from_civil(year, month, dates.days_in_month(year, month))


def _register_construction() -> None:
    _date(
        "make_date",
        (INTEGER, INTEGER, INTEGER),
        DATE,
        dates.days_from_civil,
        "from year, month, day",
        ("make_date(2020, 2, 29)", "2020-02-29"),
    )
    _date(
        "make_time",
        (INTEGER, INTEGER, DOUBLE),
        TIME,
        _make_time,
        "from hour, minute, second",
        ("make_time(4, 5, 6.5)", "04:05:06.5"),
    )
    _date(
        "make_timestamp",
        (INTEGER,) * 5 + (DOUBLE,),
        TIMESTAMP,
        _make_timestamp,
        "from year, month, day, hour, minute, second",
        ("make_timestamp(2020, 2, 29, 4, 5, 6)", "2020-02-29 04:05:06"),
    )
    _date(
        "to_timestamp",
        (DOUBLE,),
        TIMESTAMPTZ,
        _from_epoch,
        "from seconds since 1970-01-01 UTC",
        ("to_timestamp(86400)", "1970-01-02 00:00:00+00"),
    )
    example = ("age(TIMESTAMP '2020-03-01', TIMESTAMP '2019-01-15')", "1 year 1 mon 17 days")
    for stamp in (TIMESTAMP, TIMESTAMPTZ):
        _date("age", (stamp, stamp), INTERVAL, _age, "years, months and days between", example)
        _date("date", (stamp,), DATE, lambda us: us // US_PER_DAY, "the date part")
    _date("date", (DATE,), DATE, lambda days: days, "the date itself")
    _date(
        "date",
        (TEXT,),
        DATE,
        dates.parse_date,
        "reads a date",
        ("date('2020-02-29')", "2020-02-29"),
    )
    _date(
        "last_day",
        (DATE,),
        DATE,
        _last_day,
        "last day of the month",
        ("last_day(DATE '2020-02-10')", "2020-02-29"),
    )
    _date(
        "justify_interval",
        (INTERVAL,),
        INTERVAL,
        _justify,
        "30 days as a month, 24 hours as a day",
        ("justify_interval(INTERVAL '35 days 25:00:00')", "1 mon 6 days 01:00:00"),
    )


def _justify(value: Interval) -> Interval:
    total = dates.interval_order(value)
    sign = -1 if total < 0 else 1
    days, us = divmod(abs(total), US_PER_DAY)
    return sign * (days // 30), sign * (days % 30), sign * us


# ── the current time ─────────────────────────────────────────────────────────────────────────
def _current_date() -> int:
    return environment.transaction_time() // US_PER_DAY


def _current_time() -> int:
    return environment.transaction_time() % US_PER_DAY


def _unix_seconds() -> int:
    return environment.transaction_time() // US_PER_SECOND


def _register_clocks() -> None:
    doc = "when the transaction began"
    for name in ("now", "current_timestamp", "transaction_timestamp"):
        _date(name, (), TIMESTAMPTZ, environment.transaction_time, doc, volatile=True)
    for name in ("localtimestamp",):
        _date(name, (), TIMESTAMP, environment.transaction_time, doc, volatile=True)
    _date("current_date", (), DATE, _current_date, doc, volatile=True)
    for name in ("current_time", "localtime"):
        _date(name, (), TIME, _current_time, doc, volatile=True)
    _date(
        "statement_timestamp",
        (),
        TIMESTAMPTZ,
        environment.statement_time,
        "when the statement began",
        volatile=True,
    )
    _date("clock_timestamp", (), TIMESTAMPTZ, environment.clock_time, "now", volatile=True)
    _date("unixepoch", (), BIGINT, _unix_seconds, "seconds since 1970 (SQLite's)", volatile=True)
    for name in ("gen_random_uuid", "uuid"):
        _date(name, (), UUID, environment.random_uuid, "a random UUID (version 4)", volatile=True)


_register_fields()
_register_truncation()
_register_construction()
_register_clocks()
