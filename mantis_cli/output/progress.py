"""Progress on stderr: a bar on a terminal, lines elsewhere; nothing at all when it is off.

rich is imported when a bar is really shown. A bar is removed when its work ends; what stays is the
closing line that the command writes. Lines stay: one for each stage that had rows, when it ends,
and one every LINE_EVERY_S before that.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any

from mantis_cli.output.stream import complain

LINE_EVERY_S = 5.0


class Progress:
    """A bar or lines over rows. total: rows expected, or None."""

    def __init__(self, enabled: bool, label: str) -> None:
        self._label = label
        self._bar: Any = None
        self._task: Any = None
        self._lines = enabled and not _can_draw()
        self._done = 0
        self._written = time.monotonic()
        if enabled and not self._lines:
            self._start()

    def _start(self) -> None:
        import rich.console
        import rich.progress

        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.TextColumn("{task.completed:,.0f} rows"),
            rich.progress.TimeElapsedColumn(),
            console=rich.console.Console(stderr=True, force_terminal=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self._label, total=None)

    def stage(self, label: str, total: int | None) -> None:
        """Begin another stage of the same work."""
        if self._bar is not None:
            self._bar.reset(self._task, total=total, description=label)
        self._end_stage()
        self._label = label

    def _end_stage(self) -> None:
        if self._lines and self._done:
            self._write_line()
        self._done = 0

    def _write_line(self) -> None:
        complain(f"{self._label}: {self._done:,} rows")
        self._written = time.monotonic()

    def advance(self, rows: int) -> None:
        self._done += rows
        if self._lines and time.monotonic() - self._written >= LINE_EVERY_S:
            self._write_line()
        if self._bar is not None:
            self._bar.advance(self._task, rows)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._end_stage()


def wants_progress(choice: bool | None, quiet: bool) -> bool:
    """Whether to show progress: as chosen, else on a terminal unless quiet."""
    if choice is not None:
        return choice
    return not quiet and _can_draw()


def _can_draw() -> bool:
    """Whether stderr is a terminal that can take a line back."""
    if sys.stderr is None or sys.stderr.closed or not sys.stderr.isatty():
        return False
    return os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
