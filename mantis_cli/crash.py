"""The report of a bug of ours: a traceback in a file, never on the user's screen.

It goes to the state directory (mode 0600), or to the temporary directory where that cannot be
written. It holds no SQL and no values beyond what the traceback's own message says.
"""

from __future__ import annotations

import os
import sys
import time
import traceback

from mantis_cli.directories import state_directory


def write_crash_report(error: BaseException) -> str | None:
    """Write the traceback of `error`; returns the path, or None when no place can be written."""
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    text = "".join(
        [
            f"command: {' '.join(sys.argv[1:2])}\n",
            f"python: {sys.version}\nsystem: {' '.join(os.uname())}\n\n",
            *traceback.format_exception(error),
        ]
    )
    for directory in (state_directory(), os.environ.get("TMPDIR", "/tmp")):
        path = os.path.join(directory, name)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            continue
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        return path
    return None
