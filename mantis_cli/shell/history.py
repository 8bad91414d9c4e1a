"""History, one file a database, in the state directory: mode 0600, bounded.

Entries are JSON strings, one a line, so that statements of several lines come back whole. A line
that begins with a blank is not kept (the way to keep a secret out), nor is a repeat of the last.
Reading keeps the newest ENTRIES_MAX entries and rewrites the file when it has grown to twice that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

import msgspec
from prompt_toolkit.history import History

from mantis_cli.directories import state_directory

ENTRIES_MAX = 5000


def history_path(database: str) -> str:
    """Where the history of a database file is kept."""
    full = os.path.realpath(database)
    name = hashlib.sha256(full.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return os.path.join(state_directory(), f"history-{os.path.basename(full)}-{name}.jsonl")


class DatabaseHistory(History):
    """prompt-toolkit's history over such a file. Failing to write it never disturbs the shell."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__()

    def load_history_strings(self) -> Iterable[str]:
        """Newest first."""
        entries = read_entries(self.path)
        if len(entries) > 2 * ENTRIES_MAX:
            entries = entries[-ENTRIES_MAX:]
            self._rewrite(entries)
        return reversed(entries[-ENTRIES_MAX:])

    def append_string(self, string: str) -> None:
        if string.startswith(" ") or not string.strip():
            return
        strings = self.get_strings()
        if not strings or strings[-1] != string:
            super().append_string(string)

    def store_string(self, string: str) -> None:
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(string) + b"\n")
        except OSError:
            pass

    def _rewrite(self, entries: list[str]) -> None:
        try:
            temporary = f"{self.path}.{os.getpid()}"
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
            os.replace(temporary, self.path)
        except OSError:
            pass


def read_entries(path: str) -> list[str]:
    """All entries, oldest first; lines that are no entry are left out."""
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    entries = []
    for line in lines:
        try:
            entries.append(msgspec.json.decode(line, type=str))
        except msgspec.DecodeError:
            continue
    return entries
