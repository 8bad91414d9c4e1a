"""Result rows as an Arrow table with the types of their columns.

boolean bool · smallint int16 · integer int32 · bigint int64 · real float32 · double float64 ·
numeric(p,s) decimal128(p,s) or decimal256 · numeric decimal with the digits that the values need ·
text, varchar, char, json string · bytea binary · uuid fixed_size_binary(16) · date date32 ·
time time64[us] · timestamp timestamp[us] · timestamptz timestamp[us, UTC] ·
interval month_day_nano_interval

Rows come in runtime form (engine.types), so dates and times are not made into Python objects on
the way. pyarrow is imported when the first table is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from engine.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.sql.bound import OutputColumn
    from engine.types import SqlType

BATCH_ROWS = 65_536
DECIMAL128_DIGITS = 38
DECIMAL256_DIGITS = 76


def table_of_rows(columns: Sequence[OutputColumn], rows: Iterable[tuple[Any, ...]]) -> pa.Table:
    """All rows (runtime form) as one table. Columns of the same name stay apart.

    Raises DataError for a numeric that Arrow has no type for (NaN, over 76 digits).
    """
    import pyarrow as pa

    chunks: list[list[Any]] = [[] for _ in columns]
    for batch in _batches(iter(rows)):
        for chunk, part in zip(chunks, zip(*batch)):
            chunk.extend(part)
    arrays = []
    for column, values in zip(columns, chunks):
        try:
            arrays.append(_array(pa, column.type, values))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(
                f'column "{column.name}" does not fit its Arrow type: {error}', sqlstate="22003"
            ) from None
    fields = [pa.field(c.name, array.type) for c, array in zip(columns, arrays)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _batches(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


def _array(pa: Any, sql_type: SqlType, values: list[Any]) -> Any:
    kind = sql_type.kind
    if kind == "numeric":
        return pa.array(values, _decimal_type(pa, sql_type, values))
    if kind == "interval":
        values = [None if v is None else pa.MonthDayNano([v[0], v[1], v[2] * 1000]) for v in values]
    return pa.array(values, _arrow_type(pa, kind))


def _arrow_type(pa: Any, kind: str) -> Any:
    match kind:
        case "boolean":
            return pa.bool_()
        case "smallint":
            return pa.int16()
        case "integer":
            return pa.int32()
        case "bigint":
            return pa.int64()
        case "real":
            return pa.float32()
        case "double":
            return pa.float64()
        case "bytea":
            return pa.binary()
        case "uuid":
            return pa.binary(16)
        case "date":
            return pa.date32()
        case "time":
            return pa.time64("us")
        case "timestamp":
            return pa.timestamp("us")
        case "timestamptz":
            return pa.timestamp("us", tz="UTC")
        case "interval":
            return pa.month_day_nano_interval()
        case _:
            return pa.string()


def _decimal_type(pa: Any, sql_type: SqlType, values: list[Any]) -> Any:
    """decimal(p, s) as declared; without a declaration, as wide as possible for the values."""
    if sql_type.precision is not None:
        precision, scale = sql_type.precision, sql_type.scale or 0
    else:
        whole, scale = 1, 0
        for value in values:
            if value is not None:
                _, digits, exponent = value.as_tuple()
                if isinstance(exponent, str):
                    raise DataError(f"Arrow has no decimal for {value}", sqlstate="22003")
                scale = max(scale, -exponent)
                whole = max(whole, len(digits) + exponent)
        precision = max(whole + scale, DECIMAL128_DIGITS)
    if precision <= DECIMAL128_DIGITS:
        return pa.decimal128(precision, scale)
    if precision <= DECIMAL256_DIGITS:
        return pa.decimal256(precision, scale)
    raise DataError(
        f"Arrow decimals have at most {DECIMAL256_DIGITS} digits, not {precision}",
        sqlstate="22003",
    )
