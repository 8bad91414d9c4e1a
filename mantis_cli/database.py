"""Opening a database for a command, and adding to its errors what a person at a shell can do."""

from __future__ import annotations

import time
from typing import Any

from engine import errors
from engine.database import Database
from mantis_cli.hints import missing_hint


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
            # Not --readonly: a writer in another process excludes readers, and they exclude it.
            error.hint = "wait until it is closed: --wait 30"
        if error.since is not None and "since" not in error.message:
            error.message += f" since {_clock(error.since)}"
        raise


def _clock(since: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
