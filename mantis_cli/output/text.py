"""Text for terminals: display width, escaped control characters, padding and cutting.

A string of printable ASCII is its own width; wcwidth is imported at the first other one. Control
characters (C0, DEL, C1, line and paragraph separators, direction overrides) never reach a
terminal from a value: they are written as `\\n`, `\\t`, `\\x1b`, `\\u202e`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_wcswidth: Callable[[str], int] | None = None


def escape_controls(text: str, keep: str = "") -> str:
    """`text` with control characters as escapes, except those in `keep`."""
    if text.isprintable() and text.isascii():
        return text

    def escaped(match: re.Match[str]) -> str:
        char = match[0]
        if char in keep:
            return char
        code = ord(char)
        return _NAMED.get(char) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")

    return CONTROLS.sub(escaped, text)


def display_width(text: str) -> int:
    """Columns that `text` (without control characters) takes on a terminal."""
    if text.isascii():
        return len(text)
    global _wcswidth
    if _wcswidth is None:
        _wcswidth = importlib.import_module("wcwidth").wcswidth
    width = _wcswidth(text)
    return width if width >= 0 else len(text)


def pad(text: str, width: int, right: bool) -> str:
    """`text` filled with blanks to `width` columns; `right` puts the blanks in front."""
    if text.isascii():
        return text.rjust(width) if right else text.ljust(width)
    blanks = " " * (width - display_width(text))
    return blanks + text if right else text + blanks


def cut(text: str, width: int, mark: str) -> str:
    """`text` in at most `width` columns, ending in `mark` when something was cut off."""
    if display_width(text) <= width:
        return text
    room = max(0, width - display_width(mark))
    if text.isascii():
        return text[:room] + mark
    kept, used = [], 0
    for char in text:
        used += display_width(char)
        if used > room:
            break
        kept.append(char)
    return "".join(kept) + mark
