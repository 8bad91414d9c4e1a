"""SQL scripts: a stream of text becomes statements, each with the place it came from.

Statements are cut with the engine's own lexer as lines arrive, so a pipe is answered statement by
statement and a dump of any size runs in the memory of its longest statement.

Invariant 1: a statement's `source` places any span of it in the script: name, line, column.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

import msgspec

from engine.sql.lexer import is_complete, split_statements
from mantis_cli.exits import CannotRead, Failed
from mantis_cli.output.errors import Source
from mantis_cli.signals import SIGNALS

ROW_WORDS = frozenset(
    {"select", "values", "with", "from", "table", "show", "explain", "describe", "summarize"}
)


class Statement(msgspec.Struct, frozen=True):
    text: str
    source: Source


def statements(name: str, lines: Iterable[str], first_line: int = 1) -> Iterator[Statement]:
    """The statements of a script. name: what errors call it; first_line: the number of its first
    line. The last statement needs no semicolon."""
    pending: list[str] = []
    line_no = first_line
    for line in lines:
        pending.append(line)
        line_no += line.count("\n")
        if ";" in line:
            text = "".join(pending)
            if is_complete(text):
                yield from _cut(name, text, first_line)
                pending.clear()
                first_line = line_no
    if pending:
        yield from _cut(name, "".join(pending), first_line)


def _cut(name: str, text: str, first_line: int) -> Iterator[Statement]:
    for start, end in split_statements(text):
        yield Statement(text[start:end], Source(name, text, start, first_line))


def lines_of_text(text: str) -> list[str]:
    """The lines of a string, each with its newline."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def lines_of_file(path: str) -> Iterator[str]:
    """The lines of a UTF-8 file (`-` is standard input). Raises CannotRead, Failed."""
    if path == "-":
        yield from _decoded_lines("<stdin>", sys.stdin)
        return
    try:
        stream = open(path, encoding="utf-8-sig")  # noqa: SIM115
    except OSError as error:
        raise CannotRead(f"cannot read {path}: {error.strerror}") from None
    with stream:
        yield from _decoded_lines(path, stream)


def _decoded_lines(name: str, stream: TextIO) -> Iterator[str]:
    line_no = 0
    while True:
        try:
            with SIGNALS.interruptible():
                line = stream.readline()
        except UnicodeDecodeError as error:
            raise Failed(
                f"{name}: not UTF-8 near line {line_no + 1} (byte {error.object[error.start]:#04x})"
            ) from None
        except IsADirectoryError:
            raise CannotRead(f"cannot read {name}: is a directory") from None
        if not line:
            return
        line_no += 1
        yield line


def may_give_rows(text: str) -> bool:
    """Whether a statement looks like one that answers with rows (first word, or RETURNING)."""
    words = text.lstrip("( \t\r\n").split(None, 1)
    first = words[0].lower() if words else ""
    return first in ROW_WORDS or "returning" in text.lower()
