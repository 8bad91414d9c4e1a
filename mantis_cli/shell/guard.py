"""Statements that take a whole table away: the question to ask first.

Only an interactive shell asks; scripts and `query` never do.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.sql.lexer import Token, scan


def destroys(sql: str, count: Callable[[str], int | None]) -> str | None:
    """The question for UPDATE and DELETE without WHERE, DROP TABLE and TRUNCATE, or None.

    count: rows of a table given as it is written in the statement, or None when unknown."""
    tokens = [token for token in scan(sql) if token.kind not in ("space", "comment")]
    words = [token.text.lower() for token in tokens]
    if not words:
        return None
    table: str | None = None
    if words[0] in ("update", "delete") and "where" not in words:
        table = _table(tokens, 2 if words[:2] == ["delete", "from"] else 1)
        verb = "change" if words[0] == "update" else "delete"
    elif words[:2] == ["drop", "table"]:
        table = _table(tokens, 4 if words[2:4] == ["if", "exists"] else 2)
        verb = "drop the table with"
    elif words[0] == "truncate":
        table = _table(tokens, 2 if words[1:2] == ["table"] else 1)
        verb = "delete"
    if table is None:
        return None
    rows = count(table)
    if rows is None:
        return None
    return f"{verb} all {rows} row{'s'[: rows != 1]} of {table}?"


def _table(tokens: list[Token], place: int) -> str | None:
    if place < len(tokens) and tokens[place].kind in ("name", "quoted"):
        return tokens[place].text
    return None
