"""Progress on stderr: rows done, rate, time left; nothing at all when it is off.

rich is imported when a bar is really shown. A bar is removed when its work ends; what stays is the
closing line that the command writes.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class Progress:
    """A bar over rows. total: rows expected, or None."""

    def __init__(self, enabled: bool, label: str) -> None:
        self._label = label
        self._bar: Any = None
        self._task: Any = None
        self._done = 0
        if enabled:
            self._start()

    def _start(self) -> None:
        import rich.console
        import rich.progress

        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.TextColumn("{task.completed:,.0f} rows"),
            rich.progress.TimeElapsedColumn(),
            console=rich.console.Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self._label, total=None)

    def stage(self, label: str, total: int | None) -> None:
        """Begin another stage of the same work."""
        if self._bar is not None:
            self._bar.reset(self._task, total=total, description=label)

    def advance(self, rows: int) -> None:
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


def wants_progress(choice: bool | None, quiet: bool) -> bool:
    """Whether to show progress: as chosen, else on a terminal unless quiet."""
    if choice is not None:
        return choice
    return not quiet and sys.stderr is not None and sys.stderr.isatty()
