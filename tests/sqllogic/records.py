"""sqllogictest files as records.

A file is a list of records parted by blank lines:

    statement ok | statement error | statement count N
    <sql …>

    query <types> [nosort|rowsort|valuesort] [label]
    <sql …>
    ----
    <values, one a line, or "N values hashing to <md5>">

Conditions `skipif X` / `onlyif X` stand before a record; `halt` ends the file; `hash-threshold N`
changes nothing for a reader of expected results. Types: I integer, T text, R real. Queries that
share a label must give the same values.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

ENGINE = "mantis"
STRICT_GROUP_BY = "PostgreSQL has strict column usage for GROUP BY clauses"


class Record(msgspec.Struct, frozen=True):
    """kind: 'statement' or 'query'. expect: 'ok', 'error', 'count N' or the query's type
    letters."""

    kind: str
    line: int
    sql: str
    expect: str
    sort: str = "nosort"
    label: str = ""
    expected: tuple[str, ...] = ()


def read_records(path: Path) -> Iterator[Record]:
    """The records of one file that this engine has to run, in order."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    index = 0
    while index < len(lines):
        if not lines[index].strip() or lines[index].startswith("#"):
            index += 1
            continue
        start = index
        while index < len(lines) and lines[index].strip():
            index += 1
        block = lines[start:index]
        record = _read_block(block, start + 1)
        if record == "halt":
            return
        if isinstance(record, Record):
            yield record


def _read_block(block: list[str], line: int) -> Record | str | None:
    skipped = False
    while block and (block[0].startswith(("skipif", "onlyif", "#"))):
        word, _, rest = block[0].partition(" ")
        engine, _, comment = rest.partition("#")
        if word == "onlyif" and engine.strip() != ENGINE:
            skipped = True
        if word == "skipif" and (
            engine.strip() == ENGINE
            or (engine.strip() == "postgresql" and STRICT_GROUP_BY in comment)
        ):
            skipped = True
        block, line = block[1:], line + 1
    if not block or skipped:
        return None
    words = block[0].split()
    if words[0] == "halt":
        return "halt"
    if words[0] == "hash-threshold":
        return _read_block(block[1:], line + 1) if len(block) > 1 else None
    if words[0] == "statement":
        return Record("statement", line, "\n".join(block[1:]), " ".join(words[1:]))
    if words[0] == "query":
        body = block[1:]
        cut = body.index("----") if "----" in body else len(body)
        return Record(
            "query",
            line,
            "\n".join(body[:cut]),
            words[1],
            words[2] if len(words) > 2 else "nosort",
            words[3] if len(words) > 3 else "",
            tuple(body[cut + 1 :]),
        )
    raise ValueError(f"line {line}: unknown record {block[0]!r}")
