"""PEP 249 type objects and constructors.

`cursor.description[i][1]` is the name of the column's SQL type ('integer', 'text', …), a str that
equals exactly one of the type objects:

STRING    text, varchar, char, uuid, json, and a column whose type nothing decides
BINARY    bytea
NUMBER    boolean, smallint, integer, bigint, real, double, numeric
DATETIME  date, time, timestamp, timestamptz, interval
ROWID     nothing: row ids are not shown
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time
from time import localtime

Date = date
Time = time
Timestamp = datetime
Binary = bytes


def DateFromTicks(ticks: float) -> date:  # noqa: N802  (PEP 249 fixes the name)
    """The local date of a number of seconds since the epoch."""
    return date(*localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> time:  # noqa: N802
    """The local time of a number of seconds since the epoch."""
    return time(*localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> datetime:  # noqa: N802
    """The local timestamp of a number of seconds since the epoch."""
    return datetime(*localtime(ticks)[:6])


class TypeObject:
    """Equals the names of its SQL types."""

    __slots__ = ("kinds", "name")

    def __init__(self, name: str, kinds: Iterable[str]) -> None:
        self.name = name
        self.kinds = frozenset(kinds)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TypeObject):
            return self.name == other.name
        return other in self.kinds

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"mantisdb.{self.name}"


STRING = TypeObject("STRING", ("text", "varchar", "char", "uuid", "json", "unknown"))
BINARY = TypeObject("BINARY", ("bytea",))
NUMBER = TypeObject(
    "NUMBER", ("boolean", "smallint", "integer", "bigint", "real", "double", "numeric")
)
DATETIME = TypeObject("DATETIME", ("date", "time", "timestamp", "timestamptz", "interval"))
ROWID = TypeObject("ROWID", ())
