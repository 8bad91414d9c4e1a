"""Dates, times and intervals as integers: text forms, fields, arithmetic.

form         unit                           range
date         days since 1970-01-01          0001-01-01 … 9999-12-31
time         µs since midnight              0 … 24 h (24:00:00 included)
timestamp    µs since 1970-01-01 00:00      years 1 … 9999
timestamptz  the same, in UTC
interval     (months, days, µs)             compared with months of 30 days, days of 24 hours

Input is ISO 8601 and PostgreSQL's output forms; `now`, `today` and locale-dependent orders
(DMY, month names) are not read, because a stored statement would change its meaning.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TypeAlias

from engine.errors import DataError

Interval: TypeAlias = tuple[int, int, int]

US_PER_SECOND = 1_000_000
US_PER_MINUTE = 60 * US_PER_SECOND
US_PER_HOUR = 60 * US_PER_MINUTE
US_PER_DAY = 24 * US_PER_HOUR
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
MIN_DAYS = 1 - EPOCH_ORDINAL
MAX_DAYS = date(9999, 12, 31).toordinal() - EPOCH_ORDINAL
MIN_TIMESTAMP = MIN_DAYS * US_PER_DAY
MAX_TIMESTAMP = (MAX_DAYS + 1) * US_PER_DAY - 1

_DATE = re.compile(r"\s*(\d{4})-(\d{1,2})-(\d{1,2})")
_COMPACT_DATE = re.compile(r"\s*(\d{4})(\d{2})(\d{2})")
_TIME = re.compile(r"\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(am|pm)?", re.I)
_ZONE = re.compile(r"\s*(z|utc|gmt|([+-])(\d{2})(?::?(\d{2}))?(?::?(\d{2}))?)\s*$", re.I)
_COMPACT_TIME = re.compile(r"(\d{2})(\d{2})(\d{2})?")


def _invalid(kind: str, text: str) -> DataError:
    return DataError(f'invalid input syntax for type {kind}: "{text}"', sqlstate="22007")


def _field_out_of_range(text: str) -> DataError:
    return DataError(f'date/time field value out of range: "{text}"', sqlstate="22008")


def checked_date(days: int) -> int:
    """`days` if it is within years 1 … 9999, else 22008."""
    if MIN_DAYS <= days <= MAX_DAYS:
        return days
    raise DataError("date out of range", sqlstate="22008")


def checked_timestamp(us: int) -> int:
    """`us` if it is within years 1 … 9999, else 22008."""
    if MIN_TIMESTAMP <= us <= MAX_TIMESTAMP:
        return us
    raise DataError("timestamp out of range", sqlstate="22008")


# ── reading ──────────────────────────────────────────────────────────────────────────────────
def parse_date(text: str) -> int:
    """'2020-01-31' (also 20200131, or a timestamp whose time is dropped). 22007, 22008."""
    if len(text) == 10 and text[4] == text[7] == "-":
        try:
            return date.fromisoformat(text).toordinal() - EPOCH_ORDINAL
        except ValueError:
            pass
    days, rest = _take_date(text, "date")
    if rest.strip():
        _take_clock(rest, text, "date")
    return days


def parse_time(text: str) -> int:
    """'04:05[:06[.789]]', an optional am/pm; a zone is dropped as in PostgreSQL. 22007, 22008."""
    return _take_clock(text, text, "time")[0]


def parse_timestamp(text: str) -> int:
    """A date, then optionally a time; a zone is dropped as in PostgreSQL. 22007, 22008."""
    days, rest = _take_date(text, "timestamp")
    if not rest.strip():
        return days * US_PER_DAY
    return checked_timestamp(days * US_PER_DAY + _take_clock(rest, text, "timestamp")[0])


def parse_timestamptz(text: str) -> int:
    """As parse_timestamp, with an offset or Z (UTC when absent). 22007, 22008."""
    days, rest = _take_date(text, "timestamp with time zone")
    if not rest.strip():
        return days * US_PER_DAY
    us, offset = _take_clock(rest, text, "timestamp with time zone")
    return checked_timestamp(days * US_PER_DAY + us - offset)


def _take_date(text: str, kind: str) -> tuple[int, str]:
    match = _DATE.match(text) or _COMPACT_DATE.match(text)
    if match is None:
        raise _invalid(kind, text)
    year, month, day = map(int, match.groups())
    try:
        days = date(year, month, day).toordinal() - EPOCH_ORDINAL
    except ValueError:
        raise _field_out_of_range(text) from None
    rest = text[match.end() :]
    if rest and rest[0] not in " \tT":
        raise _invalid(kind, text)
    return days, rest[1:] if rest[:1] == "T" else rest


def _take_clock(clock: str, text: str, kind: str) -> tuple[int, int]:
    """(µs since midnight, µs of zone offset)."""
    match = _TIME.match(clock)
    if match is None:
        match = _COMPACT_TIME.match(clock)
        if match is None:
            raise _invalid(kind, text)
        hour, minute, second = (int(part or 0) for part in match.groups())
        fraction, half = None, None
    else:
        hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
        fraction, half = match[4], match[5]
    if half is not None:
        if not 1 <= hour <= 12:
            raise _field_out_of_range(text)
        hour = hour % 12 + (12 if half.lower() == "pm" else 0)
    us = hour * US_PER_HOUR + minute * US_PER_MINUTE + second * US_PER_SECOND
    us += _fraction_to_us(fraction)
    if minute > 59 or second > 60 or us > US_PER_DAY:
        raise _field_out_of_range(text)
    rest = clock[match.end() :]
    if not rest.strip():
        return us, 0
    zone = _ZONE.match(rest)
    if zone is None:
        raise _invalid(kind, text)
    if zone[2] is None:
        return us, 0
    offset = int(zone[3]) * 3600 + int(zone[4] or 0) * 60 + int(zone[5] or 0)
    if offset >= 16 * 3600:
        raise DataError(f'time zone displacement out of range: "{text}"', sqlstate="22009")
    return us, (offset if zone[2] == "+" else -offset) * US_PER_SECOND


def _fraction_to_us(digits: str | None) -> int:
    if not digits:
        return 0
    return (
        int(digits.ljust(6, "0"))
        if len(digits) <= 6
        else round(int(digits) / 10 ** (len(digits) - 6))
    )


# ── writing ──────────────────────────────────────────────────────────────────────────────────
def format_date(days: int) -> str:
    return date.fromordinal(days + EPOCH_ORDINAL).isoformat()


def format_time(us: int) -> str:
    seconds, fraction = divmod(us, US_PER_SECOND)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text


def format_timestamp(us: int) -> str:
    days, clock = divmod(us, US_PER_DAY)
    return f"{format_date(days)} {format_time(clock)}"


def format_timestamptz(us: int) -> str:
    return format_timestamp(us) + "+00"


def split_date(days: int) -> tuple[int, int, int]:
    """(year, month, day)."""
    value = date.fromordinal(days + EPOCH_ORDINAL)
    return value.year, value.month, value.day


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01. Raises 22008 when there is no such date."""
    try:
        return date(year, month, day).toordinal() - EPOCH_ORDINAL
    except ValueError:
        message = f"date field value out of range: {year}-{month:02d}-{day:02d}"
        raise DataError(message, sqlstate="22008") from None


# ── intervals ────────────────────────────────────────────────────────────────────────────────
_UNITS: dict[str, tuple[int, int]] = {}  # name -> (which of months/days/µs, how many)
for _names, _part, _amount in (
    ("microsecond microseconds us usec usecs", 2, 1),
    ("millisecond milliseconds ms msec msecs", 2, 1000),
    ("second seconds s sec secs", 2, US_PER_SECOND),
    ("minute minutes m min mins", 2, US_PER_MINUTE),
    ("hour hours h hr hrs", 2, US_PER_HOUR),
    ("day days d", 1, 1),
    ("week weeks w", 1, 7),
    ("month months mon mons", 0, 1),
    ("year years y yr yrs", 0, 12),
    ("decade decades", 0, 120),
    ("century centuries", 0, 1200),
    ("millennium millennia", 0, 12000),
):
    for _name in _names.split():
        _UNITS[_name] = (_part, _amount)

_INTERVAL_TOKEN = re.compile(
    r"\s*(?:([+-]?)(\d+):(\d{2})(?::(\d{2})(?:\.(\d+))?)?"
    r"|([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*([a-z]+)"
    r"|([+-]?)(\d+)-(\d+)"
    r"|([+-]?\d+(?:\.\d*)?)(?=\s*$)"
    r"|(ago)\s*$)",
    re.I,
)
_ISO_PART = re.compile(r"([+-]?\d+(?:\.\d+)?)([YMWDHS])")
_ISO_DATE_UNITS = {"Y": "year", "M": "month", "W": "week", "D": "day"}
_ISO_TIME_UNITS = {"H": "hour", "M": "minute", "S": "second"}


def parse_interval(text: str) -> Interval:
    """'1 year 2 mons 3 days 04:05:06', '2 hours ago', '1-2', 'P1Y2DT3H'. Raises 22007."""
    word = text.strip()
    if word[:1] == "@":
        word = word[1:].strip()
    if not word:
        raise _invalid("interval", text)
    if word[0] in "Pp" and len(word) > 1:
        return _parse_iso_interval(word.upper(), text)
    parts = [0, 0, 0]
    position = 0
    while position < len(word):
        match = _INTERVAL_TOKEN.match(word, position)
        if match is None:
            raise _invalid("interval", text)
        position = match.end()
        if match[12]:
            parts = [-part for part in parts]
        elif match[3]:
            us = int(match[2]) * US_PER_HOUR + int(match[3]) * US_PER_MINUTE
            us += int(match[4] or 0) * US_PER_SECOND + _fraction_to_us(match[5])
            parts[2] += -us if match[1] == "-" else us
        elif match[7]:
            _add_unit(parts, match[6], match[7].lower(), text)
        elif match[9]:
            months = int(match[9]) * 12 + int(match[10])
            parts[0] += -months if match[8] == "-" else months
        else:
            _add_unit(parts, match[11], "second", text)
        while position < len(word) and word[position] in " ,\t":
            position += 1
    return parts[0], parts[1], parts[2]


def _parse_iso_interval(word: str, text: str) -> Interval:
    parts = [0, 0, 0]
    date_part, _, time_part = word[1:].partition("T")
    for section, units in ((date_part, _ISO_DATE_UNITS), (time_part, _ISO_TIME_UNITS)):
        matched = 0
        for match in _ISO_PART.finditer(section):
            if match.start() != matched or match[2] not in units:
                raise _invalid("interval", text)
            matched = match.end()
            _add_unit(parts, match[1], units[match[2]], text)
        if matched != len(section):
            raise _invalid("interval", text)
    return parts[0], parts[1], parts[2]


def _add_unit(parts: list[int], amount: str, unit: str, text: str) -> None:
    found = _UNITS.get(unit)
    if found is None:
        raise _invalid("interval", text)
    part, factor = found
    whole, _, fraction = amount.partition(".")
    if not fraction:
        parts[part] += int(whole) * factor
        return
    value = float(amount) * factor
    if part == 2:
        parts[2] += round(value)
        return
    count = int(value)
    parts[part] += count
    rest = value - count
    if part == 0 and factor == 1:
        days = rest * 30
        parts[1] += int(days)
        rest = days - int(days)
    elif part == 0:
        return  # a fraction of a year is rounded to months, as in PostgreSQL
    parts[2] += round(rest * US_PER_DAY)


def format_interval(value: Interval) -> str:
    """PostgreSQL's default style: '1 year 2 mons -3 days +04:05:06'."""
    months, days, us = value
    words: list[str] = []
    negative_before = False
    years, rest = abs(months) // 12, abs(months) % 12
    sign = -1 if months < 0 else 1
    for count, unit in ((sign * years, "year"), (sign * rest, "mon"), (days, "day")):
        if count:
            plus = "+" if negative_before and count > 0 else ""
            words.append(f"{plus}{count} {unit}{'' if count == 1 else 's'}")
            negative_before = count < 0
    if us or not words:
        plus = "-" if us < 0 else "+" if negative_before else ""
        words.append(plus + format_time(abs(us)))
    return " ".join(words)


def interval_order(value: Interval) -> int:
    """Total µs with 30-day months: equal and ordered as PostgreSQL compares intervals."""
    return (value[0] * 30 + value[1]) * US_PER_DAY + value[2]


def checked_interval(months: int, days: int, us: int) -> Interval:
    """Raises 22008 when a part leaves 32 (months, days) or 64 bits (µs)."""
    if -(2**31) <= months < 2**31 and -(2**31) <= days < 2**31 and -(2**63) <= us < 2**63:
        return months, days, us
    raise DataError("interval out of range", sqlstate="22008")


def add_interval(us: int, interval: Interval) -> int:
    """timestamp + interval: months first (clamped to the month's end), then days, then µs."""
    months, days, extra = interval
    if months:
        us = add_months(us // US_PER_DAY, months) * US_PER_DAY + us % US_PER_DAY
    return checked_timestamp(us + days * US_PER_DAY + extra)


def add_months(days: int, months: int) -> int:
    """The same day `months` later, or the last day of that month."""
    year, month, day = split_date(days)
    year, month0 = divmod(year * 12 + month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise DataError("date out of range", sqlstate="22008")
    return days_from_civil(year, month0 + 1, min(day, days_in_month(year, month0 + 1)))


def days_in_month(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def justify_difference(us: int) -> Interval:
    """timestamp - timestamp: whole days and the rest, both with one sign."""
    sign = -1 if us < 0 else 1
    days, rest = divmod(abs(us), US_PER_DAY)
    return 0, sign * days, sign * rest
