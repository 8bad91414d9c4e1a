"""SQL types: storage form, runtime form, Python form, Arrow form, casts, comparison.

A value has three forms. Conversions happen at two borders only.

type         runtime form (expressions)     storage form (rows, keys, log)   Python form (cursor)
boolean      bool                           bool                             bool
smallint     int                            int                              int
integer      int                            int                              int
bigint       int                            int                              int
real         float (rounded to 32 bits)     float                            float
double       float                          float                            float
numeric(p≤18,s) decimal.Decimal             int, scaled by 10**s             decimal.Decimal
numeric      decimal.Decimal                str (canonical digits)           decimal.Decimal
text/varchar/char str                       str                              str
bytea        bytes                          bytes                            bytes
date         int, days since 1970-01-01     same                             datetime.date
time         int, µs since midnight         same                             datetime.time
timestamp    int, µs since 1970-01-01       same                             datetime.datetime
timestamptz  int, µs since 1970 UTC         same                             aware datetime (UTC)
interval     (months, days, µs)             bytes, 16                        datetime.timedelta, or
                                                                             Interval if months != 0
uuid         bytes, 16                      same                             uuid.UUID
json         str (valid JSON text)          same                             str
unknown      str | None                     never stored                     str
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

Value: TypeAlias = Any
Row: TypeAlias = tuple[Value, ...]


class SqlType(msgspec.Struct, frozen=True, gc=False):
    """A SQL type. kind: one of the names in the module header ('unknown' for an untyped string
    literal, parameter or NULL). precision: NUMERIC p, VARCHAR/CHAR n. scale: NUMERIC s."""

    kind: str
    precision: int | None = None
    scale: int | None = None


BOOLEAN = SqlType("boolean")
SMALLINT = SqlType("smallint")
INTEGER = SqlType("integer")
BIGINT = SqlType("bigint")
REAL = SqlType("real")
DOUBLE = SqlType("double")
NUMERIC = SqlType("numeric")
TEXT = SqlType("text")
BYTEA = SqlType("bytea")
DATE = SqlType("date")
TIME = SqlType("time")
TIMESTAMP = SqlType("timestamp")
TIMESTAMPTZ = SqlType("timestamptz")
INTERVAL = SqlType("interval")
UUID = SqlType("uuid")
JSON = SqlType("json")
UNKNOWN = SqlType("unknown")
