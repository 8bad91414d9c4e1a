"""When written bytes become durable: one sync for many callers, and failures that stick.

`GroupSync` lets threads wait until a position (an LSN) is durable. The first to come leads: it
syncs everything written so far. Those that come meanwhile wait; when the sync ends, all it covered
go on together and one of the rest leads the next. There is no dedicated thread and no polling.

Invariants
1. `durable` only grows, and only after a sync that began after those bytes were written returned.
2. At most one caller leads at any time; an action run by `run_exclusive` leads too, so the file
   is never swapped under a sync.
3. A failed sync is never tried again: the kernel may have dropped the pages and marked them
   clean, so a second sync would lie. `failure` is set once and for ever; every waiter of that
   batch raises CommitOutcomeUnknown, every later caller EngineFailed.
4. An exception from a signal handler (KeyboardInterrupt) never leaves a wait half-way: the wait
   goes on to its end, and only then is it raised. What was cut short is done again by a helper
   thread, which signals do not reach; so the lead is never lost.

States of a Ticket: NEW → WAITING (queued behind a leader) → LEADING | SETTLED | FAILED,
NEW → LEADING (nobody leads) → SETTLED | FAILED. Only the leader changes another's state, with the
mutex held, and opens its gate right after.

It does not know files or logs: the action it is given does.
"""

from __future__ import annotations

import threading
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable

import msgspec

from engine.errors import CommitOutcomeUnknown, EngineFailed, Error

_NEW, _WAITING, _LEADING, _SETTLED, _FAILED = range(5)
_UNFINISHED = (_NEW, _LEADING)
RECENT_SYNCS = 512


class SyncStats(msgspec.Struct, frozen=True):
    """count: syncs done; waits: callers that asked; recent_s: last durations, oldest first."""

    count: int
    waits: int
    recent_s: tuple[float, ...]

    def percentile_s(self, fraction: float) -> float | None:
        """Duration that `fraction` of the recent syncs did not exceed; None before the first."""
        if not self.recent_s:
            return None
        ordered = sorted(self.recent_s)
        return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


class _Ticket:
    """One caller. gate: opened by whoever settles the ticket; claim: taken by the one helper
    thread that may act for it; abandoned: its thread was interrupted and does not act any more."""

    __slots__ = ("abandoned", "claim", "gate", "position", "state")

    def __init__(self, position: int | None) -> None:
        self.position = position  # None: wants to lead whatever is durable
        self.state = _NEW
        self.abandoned = False
        self.claim = threading.Lock()
        self.gate = threading.Lock()
        self.gate.acquire()


class GroupSync:
    """Shared syncs of one log.

    sync: makes all written bytes durable, returns the position now durable; raises Error.
    timer: seconds, for the statistics only. on_failure: called when `failure` is set.
    """

    def __init__(
        self,
        sync: Callable[[], int],
        durable: int,
        *,
        timer: Callable[[], float],
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        self.durable = durable
        self.failure: EngineFailed | None = None
        self._sync = sync
        self._timer = timer
        self._on_failure = on_failure
        self._mutex = threading.Lock()
        self._leading = False
        self._waiters: list[_Ticket] = []
        self._sync_count = 0
        self._wait_count = 0
        self._recent_s: deque[float] = deque(maxlen=RECENT_SYNCS)

    def wait(self, position: int) -> None:
        """Return when `position` is durable, sharing a sync with others where possible.

        Raises CommitOutcomeUnknown when the sync that would have covered it failed.
        """
        if self.durable < position:
            self._settle(_Ticket(position))

    def sync_alone(self) -> None:
        """Lead a sync of one's own, however much is durable already. Raises as `wait`."""
        self._settle(_Ticket(None))

    def run_exclusive(self, action: Callable[[], None]) -> None:
        """Run `action` while no sync is in progress; it may call `sync_within`.

        Its errors are raised as they are, and mark nothing failed by themselves. Raises
        EngineFailed when a sync has failed before.
        """
        ticket = _Ticket(None)
        try:
            self._enter(ticket)
            if ticket.state == _LEADING:
                action()
                self._finish(ticket)
        except BaseException:
            # Invariant 4: no call, so no signal handler, before the helper is started.
            ticket.abandoned = True
            if ticket.state == _LEADING:
                start_new_thread(self._finish_aside, (ticket,))
            self._await(ticket)
            raise
        if ticket.state == _FAILED:
            raise self.failed_error()

    def sync_within(self) -> None:
        """Sync, called from inside `run_exclusive`'s action. Raises as `wait`."""
        self._sync_now()

    def stats(self) -> SyncStats:
        return SyncStats(self._sync_count, self._wait_count, tuple(self._recent_s))

    def failed_error(self) -> EngineFailed:
        """A fresh EngineFailed that says which sync failed."""
        message = "the log is closed" if self.failure is None else self.failure.message
        hint = None if self.failure is None else self.failure.hint
        return EngineFailed(message, hint=hint)

    def fail(self, error: BaseException, doing: str) -> None:
        """Refuse all further work because `doing` ended with `error` (Invariant 3)."""
        if self.failure is None:
            self.failure = EngineFailed(
                f"nothing more is written: {doing} failed: {error}",
                hint="close and reopen the database, and look at the disk",
            )
        if self._on_failure is not None:
            self._on_failure()

    def _settle(self, ticket: _Ticket) -> None:
        try:
            self._wait_count += 1
            self._enter(ticket)
            if ticket.state == _LEADING:
                self._lead(ticket)
        except BaseException:
            # Invariant 4: no call, so no signal handler, before the helper is started.
            ticket.abandoned = True
            if ticket.state in _UNFINISHED:
                start_new_thread(self._settle_aside, (ticket,))
            self._await(ticket)
            raise
        if ticket.state == _FAILED:
            raise self.outcome_unknown()

    def _enter(self, ticket: _Ticket) -> None:
        """Become the leader, or wait until a leader has settled the ticket."""
        with self._mutex:
            if ticket.state == _NEW:
                if self.failure is not None:
                    ticket.state = _FAILED
                elif ticket.position is not None and self.durable >= ticket.position:
                    ticket.state = _SETTLED
                elif not self._leading:
                    self._leading = True
                    ticket.state = _LEADING
                else:
                    ticket.state = _WAITING
                    self._waiters.append(ticket)
        while ticket.state == _WAITING:
            ticket.gate.acquire()

    def _lead(self, ticket: _Ticket) -> None:
        try:
            self._sync_now()
        except Error:
            self._finish(ticket)
            raise
        self._finish(ticket)

    def _await(self, ticket: _Ticket) -> None:
        """After an interruption: until a helper or a leader has settled the ticket."""
        while ticket.state in (_WAITING, _LEADING):
            ticket.gate.acquire()

    def _settle_aside(self, ticket: _Ticket) -> None:
        """In a helper thread, which no signal reaches: do what the interrupted caller was at."""
        if not ticket.claim.acquire(blocking=False):
            return
        try:
            if ticket.state == _NEW:
                self._enter(ticket)
            if ticket.state == _LEADING:
                self._lead(ticket)
        except BaseException:
            self._finish(ticket)
        finally:
            _open_gate(ticket)

    def _finish_aside(self, ticket: _Ticket) -> None:
        try:
            self._finish(ticket)
        finally:
            _open_gate(ticket)

    def _sync_now(self) -> None:
        started = self._timer()
        try:
            durable = self._sync()
        except (Error, MemoryError) as error:
            self.fail(error, "a sync of the log")
            raise self.outcome_unknown() from error
        self._recent_s.append(self._timer() - started)
        self._sync_count += 1
        if durable > self.durable:
            self.durable = durable  # Invariant 1

    def outcome_unknown(self) -> CommitOutcomeUnknown:
        reason = "" if self.failure is None else f": {self.failure.message}"
        return CommitOutcomeUnknown(
            f"the commit may or may not survive{reason}",
            hint="reopen the database and look whether the transaction is there",
        )

    def _finish(self, ticket: _Ticket) -> None:
        """Wake all that are covered (or all, after a failure) and hand the lead over.

        Entered again after an interruption it goes on where it was."""
        with self._mutex:
            if ticket.state != _LEADING:
                return
            next_leader = None
            for waiter in self._waiters:
                if waiter.state != _WAITING:
                    continue
                if self.failure is not None:
                    waiter.state = _FAILED
                elif waiter.position is not None and waiter.position <= self.durable:
                    waiter.state = _SETTLED
                else:
                    next_leader = next_leader or waiter
                    continue
                waiter.gate.release()
            # One whose caller was interrupted before it queued has a helper, waiting at the gate.
            alone = next_leader is not None and next_leader.abandoned
            if alone and next_leader is not None:
                alone = not next_leader.claim.locked()
            # The lead changes hands in one stretch without a call.
            ticket.state = _SETTLED if self.failure is None else _FAILED
            if next_leader is None:
                self._leading = False
            else:
                next_leader.state = _LEADING
                if alone:
                    start_new_thread(self._settle_aside, (next_leader,))
                else:
                    next_leader.gate.release()
            self._waiters = _still_waiting(self._waiters)


def _still_waiting(waiters: list[_Ticket]) -> list[_Ticket]:
    """In a frame of its own: tests/tidy/test_interruption.py says why."""
    return [waiter for waiter in waiters if waiter.state == _WAITING]


def _open_gate(ticket: _Ticket) -> None:
    """Open a gate that a leader may have opened already, when the interruption came."""
    try:
        ticket.gate.release()
    except RuntimeError:
        pass
