"""Runs sqllogictest records against MantisDB and compares as the format prescribes.

Rendering: NULL is `NULL`; type I is an integer (text counts for the digits it begins with, as
C's atoi reads it), R has three decimals, T is text with `(empty)` for '' and `@` for unprintable
characters. Sorting is by rendered text: `rowsort` whole rows, `valuesort` single values. Long
results are compared by the md5 of their lines, and so are the queries of one label.

A record of several statements runs them one by one. An error that says "not supported" (0A000) is
no answer to `statement error`: a version without triggers does not know when DROP TRIGGER fails.
"""

from __future__ import annotations

import hashlib
import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

import mantisdb
from engine.sql.lexer import split_statements
from tests.sqllogic.records import Record, read_records


class Failure(msgspec.Struct, frozen=True):
    line: int
    sql: str
    reason: str


class Outcome(msgspec.Struct, frozen=True):
    passed: int
    failures: tuple[Failure, ...]
    seconds: float


def render(value: Any, letter: str) -> str:
    """One value as the format writes it under type letter I, R or T."""
    if value is None:
        return "NULL"
    if letter == "I":
        if isinstance(value, str):
            return _integer_prefix(value)
        return str(int(value))
    if letter == "R":
        return f"{float(value):.3f}"
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (float, Decimal)):
        text = f"{value:.3f}"
    else:
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    if text == "":
        return "(empty)"
    return "".join(c if " " <= c <= "~" else "@" for c in text)


def _integer_prefix(text: str) -> str:
    digits = re.match(r"\s*([+-]?\d+)", text)
    return str(int(digits[1])) if digits else "0"


def compare(
    record: Record, rows: list[tuple[Any, ...]], labels: dict[str, str] | None = None
) -> str | None:
    """None when the rows are what the record expects, else what is wrong. `labels` remembers the
    digest of each label's values."""
    letters = record.expect
    if rows and len(rows[0]) != len(letters):
        return f"{len(rows[0])} columns, expected {len(letters)}"
    rendered = [[render(v, c) for v, c in zip(row, letters, strict=True)] for row in rows]
    if record.sort == "rowsort":
        rendered.sort()
    values = [value for row in rendered for value in row]
    if record.sort == "valuesort":
        values.sort()
    if record.label and labels is not None:
        digest = hashlib.md5("\n".join(values).encode()).hexdigest()
        if labels.setdefault(record.label, digest) != digest:
            return f"not what other queries of {record.label} give"
    expected = list(record.expected)
    if len(expected) == 1 and " values hashing to " in expected[0]:
        digest = hashlib.md5("".join(v + "\n" for v in values).encode()).hexdigest()
        actual = f"{len(values)} values hashing to {digest}"
        return None if actual == expected[0] else f"got {actual}, expected {expected[0]}"
    if values == expected:
        return None
    return f"got {values[:8]}, expected {expected[:8]}"


def run_record(
    connection: mantisdb.Connection, record: Record, labels: dict[str, str] | None = None
) -> str | None:
    """None when the record passes, else the reason it fails."""
    rows: list[tuple[Any, ...]] = []
    count = -1
    try:
        for start, end in split_statements(record.sql) or [(0, len(record.sql))]:
            cursor = connection.execute(record.sql[start:end])
            rows = cursor.fetchall() if cursor.description else []
            count = cursor.rowcount
    except mantisdb.Error as error:
        if record.expect == "error" and error.sqlstate != "0A000":
            return None
        return f"{error.sqlstate}: {error}"
    except Exception as error:  # a bug of the engine is a failure of the record, not of the run
        return f"{type(error).__name__}: {error}"
    if record.kind == "query":
        return compare(record, rows, labels)
    if record.expect == "error":
        return "an error was expected"
    if record.expect.startswith("count ") and int(record.expect[6:]) != count:
        return f"{count} rows, expected {record.expect[6:]}"
    return None


def run_file(path: Path) -> Outcome:
    """Every record of one file on a fresh in-memory database."""
    failures: list[Failure] = []
    passed = 0
    labels: dict[str, str] = {}
    start = time.perf_counter()
    with mantisdb.connect(":memory:", autocommit=True) as connection:
        for record in read_records(path):
            reason = run_record(connection, record, labels)
            if reason is None:
                passed += 1
            else:
                failures.append(Failure(record.line, record.sql, reason))
    return Outcome(passed, tuple(failures), time.perf_counter() - start)
