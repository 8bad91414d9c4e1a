"""Standard output for data, standard error for narration; colour and width decided here once.

stdout carries data only and is written as UTF-8 bytes by machine formats; text layouts use the
stream's own encoding and fall back to escapes for what it cannot say. Format, order and content
never depend on a terminal; only colour, fitting to the width, the row cap and progress do. The
terminal is never probed.

Colour: --color, then NO_COLOR (not empty), then FORCE_COLOR or CLICOLOR_FORCE (not empty, not
"0"), then TERM=dumb, then whether that stream is a terminal.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

COLORS = {
    "error": "\x1b[1;31m",
    "hint": "\x1b[33m",
    "dim": "\x1b[2m",
    "bold": "\x1b[1m",
    "good": "\x1b[32m",
    "rule": "\x1b[34m",
}
RESET = "\x1b[0m"


class Narration:
    """How this process narrates: set once from the command's options."""

    def __init__(self) -> None:
        self.quiet = False
        self.color = "auto"


NARRATION = Narration()


def wants_color(stream: TextIO) -> bool:
    """Whether text written to `stream` may be coloured."""
    if NARRATION.color != "auto":
        return NARRATION.color == "always"
    environment = os.environ
    if environment.get("NO_COLOR"):
        return False
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        if environment.get(name, "0") not in ("", "0"):
            return True
    return environment.get("TERM") != "dumb" and stream.isatty()


def paint(text: str, color: str, enabled: bool) -> str:
    """`text` in one of COLORS when enabled."""
    return f"{COLORS[color]}{text}{RESET}" if enabled else text


def speaks_unicode(stream: TextIO) -> bool:
    """Whether lines and marks outside ASCII may be drawn on `stream`: a UTF-8 stream, no locale
    that was set to C or POSIX by name, no MANTIS_ASCII."""
    if os.environ.get("MANTIS_ASCII"):
        return False
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = os.environ.get(name)
        if value:
            if value in ("C", "POSIX"):
                return False
            break
    return (stream.encoding or "").lower().replace("_", "-") in ("utf-8", "utf8")


def terminal_width(stream: TextIO) -> int | None:
    """Columns of the terminal behind `stream`, or None when it is not one."""
    if not stream.isatty():
        return None
    return shutil.get_terminal_size((80, 24)).columns


def encodable(text: str, stream: TextIO) -> str:
    """`text` with what the stream's encoding cannot say as backslash escapes."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def complain(text: str) -> None:
    """Write an error or a warning to stderr, after what stdout already holds."""
    _write_error(text)


def note(text: str) -> None:
    """Write narration to stderr; silent under --quiet."""
    if not NARRATION.quiet:
        _write_error(text)


def _write_error(text: str) -> None:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        pass  # `run` flushes again, and deals with a closed pipe or a full disk
    stream = sys.stderr
    if stream is None or stream.closed:
        return
    try:
        stream.write(encodable(text, stream) + "\n")
        stream.flush()
    except OSError:
        pass  # nobody hears us; what was asked for goes on
