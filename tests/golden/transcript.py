"""Transcripts: statements with what they answer, kept as text files that people read.

    # Why this transcript exists, in one sentence.

    > SELECT a, b
    . FROM t;
    a | b
    --+--
    1 | x
    (1 row)

A line with `>` begins a statement, lines with `.` go on with it; what follows up to the next
statement or comment is its answer. `replay` runs the statements on a fresh in-memory database and
gives the file as it should be; equal texts are a pass. Lines with `#` and blank lines are kept.
"""

from __future__ import annotations

from typing import Any

import mantisdb


def replay(text: str) -> str:
    """The transcript with the answers of this engine."""
    out: list[str] = []
    with mantisdb.connect(":memory:", autocommit=True) as connection:
        statement: list[str] = []
        for line in [*text.rstrip("\n").split("\n"), "#end"]:
            if line.startswith(". "):
                statement.append(line)
                continue
            if statement and (not line or line[0] in "#>" or not _is_statement(statement)):
                out += [*statement, *answer(connection, statement), ""]
                statement = []
            if line.startswith("> "):
                statement = [line]
            elif line.startswith("#") and line != "#end":
                if out and out[-1].startswith("#"):
                    out.append(line)
                else:
                    out += [line] if not out or out[-1] == "" else ["", line]
            elif not line and out and out[-1].startswith("#"):
                out.append("")
    return "\n".join(out).rstrip("\n") + "\n"


def _is_statement(lines: list[str]) -> bool:
    return lines[0].startswith("> ")


def answer(connection: mantisdb.Connection, lines: list[str]) -> list[str]:
    """What the engine says to one statement: rows, a count, or an error with its caret."""
    sql = "\n".join(line[2:] for line in lines)
    try:
        cursor = connection.execute(sql)
        if cursor.description is None:
            return [f"ok, {cursor.rowcount} rows"] if cursor.rowcount >= 0 else ["ok"]
        names = [column[0] for column in cursor.description]
        return table(names, cursor.fetchall())
    except mantisdb.Error as error:
        return _error(error, sql)


def _error(error: mantisdb.Error, sql: str) -> list[str]:
    shown = [f"error[{error.sqlstate}]: {error}"]
    if error.span is not None:
        start, end = error.span
        line = sql.count("\n", 0, start)
        column = start - (sql.rfind("\n", 0, start) + 1)
        width = max(1, min(end, len(sql)) - start)
        shown += [f"  {sql.split(chr(10))[line]}", f"  {' ' * column}{'^' * width}"]
    if error.hint:
        shown.append(f"  hint: {error.hint}")
    if error.detail:
        shown.append(f"  detail: {error.detail}")
    return shown


def table(names: list[str], rows: list[tuple[Any, ...]]) -> list[str]:
    """Rows under their names, columns aligned, NULL as ∅."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells)]
    lines = [" | ".join(n.ljust(w) for n, w in zip(names, widths)).rstrip()]
    lines.append("-+-".join("-" * width for width in widths))
    lines += [" | ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in cells]
    return [*lines, f"({len(rows)} row{'' if len(rows) == 1 else 's'})"]


def _cell(value: Any) -> str:
    if value is None:
        return "∅"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).replace("\n", "⏎")
