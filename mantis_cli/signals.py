"""Signals: a handler only sets a flag; nothing is ever raised inside storage or log code.

SIGINT   first: sets `requested`, calls the cancel function of the statement that runs (the
         executor sees it within 100 ms and the statement is undone). Second within two seconds:
         the process ends with 130; the log makes that safe.
SIGTERM, SIGHUP   the same as a first SIGINT, and `terminated` is set: `run` closes the database
         and then dies by that signal, so that the parent sees the true reason.

Invariants
1. The handler raises `Interrupted` only inside `interruptible()`: around reads of standard input,
   prompts and sleeps of the command line itself, where no lock of the engine is held.
2. `cancellable(cancel)` is entered around every statement; a request that came just before is
   delivered on entry, so none is lost.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mantis_cli.exits import INTERRUPTED, Interrupted

SECOND_WITHIN_S = 2.0


class Signals:
    """What has been asked of the process, and whom to tell."""

    def __init__(self) -> None:
        self.requested = False
        self.terminated: int | None = None
        self._last = float("-inf")
        self._cancels: list[Callable[[], None]] = []
        self._interruptible = 0

    def install(self) -> None:
        """Take SIGINT, SIGTERM and SIGHUP (a SIGHUP ignored by nohup stays ignored)."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        signal.signal(signal.SIGTERM, self._on_terminate)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_terminate)

    def clear(self) -> None:
        """Forget an interrupt that has been dealt with (the shell lives on)."""
        self.requested = False
        self._last = float("-inf")  # the next Ctrl-C is a first one again

    def check(self) -> None:
        """Raise `Interrupted` if it has been asked for: what loops of the command line call."""
        if self.requested:
            raise Interrupted

    @contextmanager
    def cancellable(self, cancel: Callable[[], None]) -> Iterator[None]:
        """While inside, an interrupt calls `cancel`."""
        self._cancels.append(cancel)
        if self.requested:  # Invariant 2
            cancel()
        try:
            yield
        finally:
            self._cancels.pop()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """While inside, an interrupt raises `Interrupted` at once."""
        if self.requested:
            raise Interrupted
        self._interruptible += 1
        try:
            yield
        finally:
            self._interruptible -= 1

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last < SECOND_WITHIN_S:
            os._exit(INTERRUPTED)
        self._last = now
        self._request()

    def _on_terminate(self, number: int, _frame: FrameType | None) -> None:
        self.terminated = number
        self._request()

    def _request(self) -> None:
        self.requested = True
        for cancel in self._cancels:
            cancel()
        if self._interruptible:  # Invariant 1
            raise Interrupted


SIGNALS = Signals()
