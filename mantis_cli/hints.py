"""What to do about a file that is not there."""

from __future__ import annotations

import difflib
import os


def missing_hint(path: str) -> str:
    """What to do about a file that is not there: a near name, or how to create one."""
    directory, name = os.path.split(path)
    try:
        entries = os.listdir(directory or ".")
    except OSError:
        return "check the path"
    if any(entry.startswith(f"{name}-wal-") for entry in entries):
        return "its log is still there: bring the database file back"
    names = [entry for entry in entries if "-wal-" not in entry]
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {os.path.join(directory, close[0])}?"
    return f"to create it: mantis new {path}"
