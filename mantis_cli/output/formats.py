"""The formats' names, apart from their writers so that asking for one costs no import."""

from __future__ import annotations

import difflib

FORMATS = ("table", "csv", "tsv", "json", "jsonl", "markdown", "vertical")
LAYOUTS = frozenset({"table", "markdown", "vertical"})  # for people: capped on a terminal
TERMINAL_ROWS = 1000


def suggest_format(name: str) -> str:
    """The message for an unknown format."""
    close = difflib.get_close_matches(name, FORMATS, n=1)
    guess = f' (did you mean "{close[0]}"?)' if close else ""
    return f"no such format: {name}{guess}; there are {', '.join(FORMATS)}"
