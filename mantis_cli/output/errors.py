"""Errors drawn for people: code, message, the line of the statement with a caret, the hint.

    error[42703]: column "totl" does not exist
      ┌─ query.sql:3:27
    3 │ SELECT * FROM orders WHERE totl > 10
      │                            ^^^^ did you mean "total"?
      = detail: …

A `Source` says where the statement's text came from; the caret's line and column are counted in
that file, not in the statement. Lines and columns are 1-based; a column is a character. What is
drawn is cut to a window around the caret when the line is long.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from mantis_cli.output.stream import paint, speaks_unicode, wants_color
from mantis_cli.output.text import display_width, escape_controls

WINDOW = 100  # columns of a long line that are shown around the caret
LONG_HINT = 60  # a longer hint goes under the drawing


class Source:
    """Where a statement came from: a name to print and the whole text, with the statement's
    offset in it (characters)."""

    __slots__ = ("first_line", "name", "offset", "text")

    def __init__(self, name: str, text: str, offset: int = 0, first_line: int = 1) -> None:
        self.name = name
        self.text = text
        self.offset = offset
        self.first_line = first_line

    def place(self, position: int) -> tuple[int, int]:
        """(line, column), 1-based, of a 0-based position in the statement."""
        at = min(self.offset + position, len(self.text))
        line_start = self.text.rfind("\n", 0, at) + 1
        return self.text.count("\n", 0, at) + self.first_line, at - line_start + 1


def draw_error(error: BaseException, source: Source | None = None) -> str:
    """The text of an error, without a final newline."""
    color = wants_color(sys.stderr)
    source = source or getattr(error, "source", None)
    sqlstate = getattr(error, "sqlstate", None)
    head = f"error[{sqlstate}]:" if sqlstate else "error:"
    message = escape_controls(str(getattr(error, "message", None) or error), keep="\n")
    lines = [f"{paint(head, 'error', color)} {message}"]
    span = getattr(error, "span", None)
    hint = _as_question(getattr(error, "hint", None))
    detail = getattr(error, "detail", None)
    if source is None and span is not None and getattr(error, "sql", None):
        source = Source("statement", error.sql)  # type: ignore[attr-defined]
    if source is not None and span is not None:
        beside = hint if hint and len(hint) <= LONG_HINT and "\n" not in hint else None
        lines += _drawing(source, span, beside, color)
        hint = None if beside else hint
    elif source is not None:
        line, _ = source.place(0)
        lines.append(f"  = in {source.name}:{line}")
    if detail:
        lines.append(f"  = detail: {escape_controls(str(detail), keep=chr(10))}")
    if hint:
        lines.append(f"  = {escape_controls(hint, keep=chr(10))}")
    return "\n".join(lines)


def _as_question(hint: str | None) -> str | None:
    """The engine's `Perhaps you meant "x".` in the shell's words."""
    head = "Perhaps you meant "
    if hint is not None and hint.startswith(head) and hint.endswith(".") and "\n" not in hint:
        return f"did you mean {hint[len(head) : -1]}?"
    return hint


def _drawing(source: Source, span: tuple[int, int], hint: str | None, color: bool) -> list[str]:
    line_no, column = source.place(span[0])
    at = min(source.offset + span[0], len(source.text))
    start = at - (column - 1)
    end = source.text.find("\n", at)
    line = source.text[start : end if end >= 0 else len(source.text)].rstrip("\r")
    width = max(1, min(span[1] - span[0], len(line) - (column - 1)))
    line, column = _window(line, column, width)
    before = _shown(line[: column - 1])
    marked = _shown(line[column - 1 : column - 1 + width])
    gutter = " " * len(str(line_no))
    corner, bar = ("┌─", "│") if speaks_unicode(sys.stderr) else ("--", "|")
    rule: Callable[[str], str] = lambda text: paint(text, "rule", color)  # noqa: E731
    caret = "^" * max(1, display_width(marked))
    return [
        f"{gutter} {rule(corner)} {source.name}:{line_no}:{source.place(span[0])[1]}",
        f"{rule(f'{line_no} {bar}')} {_shown(line)}",
        f"{gutter} {rule(bar)} {' ' * display_width(before)}{paint(caret, 'error', color)}"
        + (f" {paint(hint, 'hint', color)}" if hint else ""),
    ]


def _window(line: str, column: int, width: int) -> tuple[str, int]:
    """Cut a long line to WINDOW characters around the caret, marking each cut."""
    if len(line) <= WINDOW + 20:
        return line, column
    first = max(0, column - 1 - WINDOW // 2)
    last = min(len(line), max(first + WINDOW, column - 1 + min(width, WINDOW)))
    cut = line[first:last]
    if first:
        cut, column = "... " + cut, column - first + 4
    return cut + (" ..." if last < len(line) else ""), column


def _shown(text: str) -> str:
    return escape_controls(text.replace("\t", "    "))


def with_source(error: Any, source: Source) -> Any:
    """Attach the place a statement came from, for `run` to draw. Returns the error."""
    error.source = source
    return error
