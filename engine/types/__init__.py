"""SQL types: storage form, runtime form, Python form, casts, comparison.

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

Modules: kinds (SqlType, names), numbers, dates, text_forms (input and output), casts (which casts
exist and the function of each), forms (storage, Python and comparison forms).
"""

from __future__ import annotations

from engine.types.casts import (
    can_cast,
    cannot_cast,
    cast_function,
    common_type,
    literal_converter,
)
from engine.types.forms import (
    NAN_KEY,
    Interval,
    TypeMismatch,
    comparison_key,
    from_python,
    from_storage,
    parameter_converter,
    python_converter,
    to_storage,
)
from engine.types.kinds import (
    BIGINT,
    BOOLEAN,
    BYTEA,
    DATE,
    DOUBLE,
    FLOAT_KINDS,
    INTEGER,
    INTEGER_KINDS,
    INTEGER_RANGES,
    INTERVAL,
    JSON,
    KINDS,
    NUMBER_KINDS,
    NUMERIC,
    REAL,
    SMALLINT,
    TEXT,
    TEXT_KINDS,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    UNDECIDED,
    UNKNOWN,
    UUID,
    Row,
    SqlType,
    Value,
    family,
    is_scaled,
    parse_type_name,
    physical_kind,
    type_names,
    type_text,
)
from engine.types.text_forms import format_text, parse_text

__all__ = [
    "BIGINT",
    "BOOLEAN",
    "BYTEA",
    "DATE",
    "DOUBLE",
    "FLOAT_KINDS",
    "INTEGER",
    "INTEGER_KINDS",
    "INTEGER_RANGES",
    "INTERVAL",
    "JSON",
    "KINDS",
    "NAN_KEY",
    "NUMBER_KINDS",
    "NUMERIC",
    "REAL",
    "SMALLINT",
    "TEXT",
    "TEXT_KINDS",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "UNDECIDED",
    "UNKNOWN",
    "UUID",
    "Interval",
    "Row",
    "SqlType",
    "TypeMismatch",
    "Value",
    "can_cast",
    "cannot_cast",
    "cast_function",
    "common_type",
    "comparison_key",
    "family",
    "format_text",
    "from_python",
    "from_storage",
    "is_scaled",
    "literal_converter",
    "parameter_converter",
    "parse_text",
    "parse_type_name",
    "physical_kind",
    "python_converter",
    "to_storage",
    "type_names",
    "type_text",
]
