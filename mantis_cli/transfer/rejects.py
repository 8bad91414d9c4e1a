"""Rows that could not be loaded: a CSV file of line, reason, text.

The file appears with the first reject; a run without rejects leaves none. It never overwrites.
"""

from __future__ import annotations

import os
from typing import IO

from mantis_cli.exits import CannotRead
from mantis_cli.output.delimited import csv_quote


class Rejects:
    """Collects rejects into `path`."""

    def __init__(self, path: str) -> None:
        if os.path.exists(path):
            raise CannotRead(f"{path} exists", hint="rejects never overwrite a file")
        self.path = path
        self.count = 0
        self.first_line = 0
        self._file: IO[str] | None = None

    def add(self, line: int, reason: str, text: str) -> None:
        """Keep one row. line: 1-based line of the source, 0 when it has none."""
        if self._file is None:
            try:
                self._file = open(self.path, "x", encoding="utf-8", newline="")  # noqa: SIM115
            except OSError as error:
                raise CannotRead(f"cannot write {self.path}: {error.strerror}") from None
            self._file.write("line,reason,text\n")
            self.first_line = line
        self.count += 1
        self._file.write(f"{line or ''},{csv_quote(reason)},{csv_quote(text)}\n")

    def restart(self) -> None:
        """Forget all: the source is read again from its start."""
        if self._file is not None:
            self._file.close()
            self._file = None
            os.unlink(self.path)
        self.count = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
