"""The log's background thread: interval syncs, a vouching note when idle, the next segment.

It starts with the first request and sleeps on a condition until the next one is due; an idle log
costs no wake-ups. Errors end nothing here: a failed sync is kept by GroupSync and shows at the
next append, a full disk shows when the segment is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from engine.errors import Error


class KeptLog(Protocol):
    """What the thread may do with a log."""

    @property
    def needs_vouching(self) -> bool: ...

    @property
    def written_lsn(self) -> int: ...

    def sync_shared(self, lsn: int) -> None: ...

    def vouch_idle(self) -> None: ...

    def prepare_next(self) -> None: ...


class Housekeeper:
    """timer: seconds, monotonic. Times due are None when there is nothing to do."""

    def __init__(self, log: KeptLog, timer: Callable[[], float]) -> None:
        self._log = log
        self._timer = timer
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._sync_due_s: float | None = None
        self._vouch_due_s: float | None = None
        self._vouch_seen_lsn = 0
        self._idle_s = 0.0
        self._spare_wanted = False
        self._stopped = False

    def ask_sync(self, interval_s: float) -> None:
        """Sync within interval_s. Cheap when a sync is due already."""
        if self._sync_due_s is None:
            with self._changed:
                self._sync_due_s = self._timer() + interval_s
                self._wake()

    def ask_vouch(self, idle_s: float) -> None:
        """Vouch once nothing has been written for idle_s. Cheap when that is due already."""
        if self._vouch_due_s is None:
            with self._changed:
                self._idle_s = idle_s
                self._vouch_seen_lsn = self._log.written_lsn
                self._vouch_due_s = self._timer() + idle_s
                self._wake()

    def ask_spare(self) -> None:
        """Prepare the next segment."""
        with self._changed:
            self._spare_wanted = True
            self._wake()

    def stop(self) -> None:
        """End the thread and wait for it."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _wake(self) -> None:
        if self._stopped:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mantis-log", daemon=True)
            self._thread.start()
        else:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                work = self._due_work()
                while work is None and not self._stopped:
                    self._changed.wait(self._wait_s())
                    work = self._due_work()
                if self._stopped:
                    return
            assert work is not None
            try:
                work()
            except Error:
                continue

    def _wait_s(self) -> float | None:
        due = [at for at in (self._sync_due_s, self._vouch_due_s) if at is not None]
        return max(0.0, min(due) - self._timer()) if due else None

    def _due_work(self) -> Callable[[], None] | None:
        """The next thing to do now, taken off the list; None when nothing is due."""
        now = self._timer()
        if self._sync_due_s is not None and self._sync_due_s <= now:
            self._sync_due_s = None
            return self._sync
        if self._spare_wanted:
            self._spare_wanted = False
            return self._log.prepare_next
        if self._vouch_due_s is not None and self._vouch_due_s <= now:
            if self._log.written_lsn != self._vouch_seen_lsn:  # not idle: look again later
                self._vouch_seen_lsn = self._log.written_lsn
                self._vouch_due_s = now + self._idle_s
                return None
            self._vouch_due_s = None
            return self._log.vouch_idle
        return None

    def _sync(self) -> None:
        self._log.sync_shared(self._log.written_lsn)
