"""JSON and JSON Lines, strict RFC 8259.

json    one array of objects, a row a line; `[]` when there are no rows
jsonl   one object a line

Numbers are exact (integers and NUMERIC with all digits). NaN and the infinities become null, and
a note says how many. A repeated column name gets `_2`, `_3`, …. Bytes are
`{"$base64": "…"}`. Dates, times and intervals are text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import msgspec

from mantis_cli.output.layout import Chunks, Columns, Options, Rows, batches
from mantis_cli.output.values import json_converter

ENCODER = msgspec.json.Encoder(decimal_format="number")


def unique_names(names: Sequence[str]) -> list[str]:
    """Names with repeats renamed: a, a → a, a_2 (skipping names that exist)."""
    taken = set(names)
    used: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 2
        while candidate in used or (candidate != name and candidate in taken):
            candidate = f"{name}_{number}"
            number += 1
        used.add(candidate)
        unique.append(candidate)
    return unique


def write_json(columns: Columns, rows: Rows, options: Options) -> Chunks:
    opened = False
    for lines in _encoded(columns, rows, options):
        yield b",\n" if opened else b"["
        opened = True
        yield b",\n".join(lines)
    yield b"]\n" if opened else b"[]\n"


def write_jsonl(columns: Columns, rows: Rows, options: Options) -> Chunks:
    for lines in _encoded(columns, rows, options):
        yield b"\n".join(lines) + b"\n"


def _encoded(columns: Columns, rows: Rows, options: Options) -> Iterator[list[bytes]]:
    names = unique_names([column.name for column in columns])
    converters = [json_converter(column.type) for column in columns]
    inexact = [column.type.kind in ("real", "double", "numeric") for column in columns]
    nulled = 0
    for batch in batches(rows):
        converted = []
        for values, convert, check in zip(zip(*batch), converters, inexact):
            column: Sequence[Any] = values
            if check:
                column, bad = _finite(values)
                nulled += bad
            if convert is not None:
                column = [None if value is None else convert(value) for value in column]
            converted.append(column)
        objects = map(dict, map(zip, repeat(names), zip(*converted)))
        yield list(map(ENCODER.encode, objects))
    if nulled:
        options.note(f"note: {nulled} NaN or infinite value{'s'[: nulled > 1]} written as null")


def _finite(values: Sequence[Any]) -> tuple[Sequence[Any], int]:
    """The values with NaN and infinities as None, and how many there were."""
    if all(value is None or math.isfinite(value) for value in values):
        return values, 0
    kept = [value if value is not None and math.isfinite(value) else None for value in values]
    return kept, kept.count(None) - list(values).count(None)
