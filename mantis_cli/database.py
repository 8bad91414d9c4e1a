"""Opening a database for a command, and adding to its errors what a person at a shell can do."""

from __future__ import annotations

import difflib
import os
import time
from typing import Any

from engine.database import Database

from engine import errors


def open_database(
    path: str, *, readonly: bool = False, wait_s: float = 0.0, **more: Any
) -> Database:
    """Open an existing database. Never creates a file unless create=True is passed on.

    Raises CannotOpen and its kin with a hint that names the commands and flags to use.
    """
    try:
        return Database.open(path, readonly=readonly, wait_s=wait_s, **more)
    except errors.MissingFile as error:
        error.hint = missing_hint(path)
        raise
    except errors.DatabaseLocked as error:
        if error.hint is None or "--" not in error.hint:
            error.hint = "read it anyway: --readonly · wait: --wait 30"
        if error.since is not None and "since" not in error.message:
            error.message += f" since {_clock(error.since)}"
        raise


def missing_hint(path: str) -> str:
    """What to do about a file that is not there: a near name, or how to create one."""
    directory, name = os.path.split(path)
    try:
        names = [entry for entry in os.listdir(directory or ".") if "-wal-" not in entry]
    except OSError:
        names = []
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {os.path.join(directory, close[0])}?"
    return f"to create it: mantis new {path}"


def _clock(since: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
