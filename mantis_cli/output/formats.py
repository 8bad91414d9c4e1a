"""The formats' names, apart from their writers so that asking for one costs no import."""

from __future__ import annotations

import difflib

FORMATS = ("table", "csv", "tsv", "json", "jsonl", "markdown", "vertical")
LAYOUTS = frozenset({"table", "markdown", "vertical"})  # for people: capped on a terminal
TERMINAL_ROWS = 1000


_NULL_BREAKERS = {
    "csv": {",": "the delimiter", '"': "a quote", "\r": "a carriage return", "\n": "a line feed"},
    "tsv": {"\t": "the delimiter", "\r": "a carriage return", "\n": "a line feed"},
}


def null_problem(format_name: str | None, null: str | None) -> str | None:
    """Why a file with this text for NULL would not read back, or None when it would. The text
    stands in the file as it is: quoted or escaped it would be a value."""
    for character, what in _NULL_BREAKERS.get(format_name or "", {}).items():
        if null is not None and character in null:
            return f"{null!r} holds {what}, so {format_name} written with it would not read back"
    return None


def suggest_format(name: str) -> str:
    """The message for an unknown format."""
    close = difflib.get_close_matches(name, FORMATS, n=1)
    guess = f' (did you mean "{close[0]}"?)' if close else ""
    return f"no such format: {name}{guess}; there are {', '.join(FORMATS)}"
