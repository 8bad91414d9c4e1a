"""Row and table locks: who may change what, who waits, in which order.

Definitions
    owner     a transaction, or a OneShot (an autocommit write in a single call)
    row lock  exclusive, on (tree_id, key); `rows[tree_id][key]` is its owner
    table lock  a mode of MODES on a table id; `owner.tables[table_id]` is what the owner holds.
              IS and IX are weak: they never conflict with each other. S, SIX and X are strong.
    waiter    a blocked request, in the queue of its resource, first in first out

              IS   IX   S    SIX  X        (x = conflict)
        IS                         x
        IX               x    x    x
        S          x          x    x
        SIX        x     x    x    x
        X     x    x     x    x    x

Invariants
1. The fast path takes a row lock by one `dict.setdefault` and gives it back by one `del`, with no
   mutex: both are atomic under the interpreter lock.
2. A waiter is in `waiting` before it looks at the lock again, and a release looks at `waiting`
   after it gave the lock back. So one of the two sees the other, and no wake-up is lost.
3. While a row has waiters, its lock passes to the first of them directly.
4. A weak request writes `owner.tables` before it looks at `strong`; a strong request writes
   `strong` before it looks at the owners. So one of the two sees the other. A one-shot counts as
   IX on the tree whose rows it holds, and looks at `strong` after it took its row.
5. `strong` has a table while a strong mode is held or anybody waits on it.
6. Deadlock search runs under the mutex at every block (engine.txn.deadlock).
7. Waits end by grant, deadlock, timeout, cancel or close; nobody polls.

States of a request
    requested ──free──► held
    requested ──taken──► queued ──grant──► held
                         queued ──error (40P01, 55P03, 57014, 08003)──► gone

It knows nothing of snapshots, rows' contents or commits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import msgspec

from engine.errors import (
    DeadlockDetected,
    Error,
    InterfaceError,
    LockTimeout,
    QueryCanceled,
    StatementTimeout,
)
from engine.storage.store import Key
from engine.txn.deadlock import VICTIM_POLICIES, choose_victim, find_cycle

MODES = ("IS", "IX", "S", "SIX", "X")
STRONG = frozenset(("S", "SIX", "X"))
CONFLICTS: dict[str, frozenset[str]] = {
    "IS": frozenset(("X",)),
    "IX": frozenset(("S", "SIX", "X")),
    "S": frozenset(("IX", "SIX", "X")),
    "SIX": frozenset(("IX", "S", "SIX", "X")),
    "X": frozenset(MODES),
}
# The weakest mode that grants both.
_RANK = {"IS": 0, "IX": 1, "S": 1, "SIX": 2, "X": 3}

Resource: TypeAlias = tuple[str, int, Any]
"""('row', tree_id, key) or ('table', table_id, None)."""


def combined_mode(held: str | None, wanted: str) -> str:
    """The mode that grants both: IX with S is SIX, otherwise the stronger of the two."""
    if held is None or held == wanted:
        return wanted
    if {held, wanted} == {"IX", "S"}:
        return "SIX"
    return held if _RANK[held] >= _RANK[wanted] else wanted


class LockInfo(msgspec.Struct, frozen=True, gc=False):
    """One row of the lock view. txn_id 0: a one-shot write. mode: one of MODES."""

    kind: str
    object_id: int
    key: Key | None
    mode: str
    txn_id: int
    granted: bool


class Waiter:
    """A queued request. `signal` is a held lock that the granter (or the breaker) releases."""

    __slots__ = ("error", "granted", "mode", "owner", "resource", "signal")

    def __init__(self, owner: Owner, resource: Resource, mode: str) -> None:
        self.owner = owner
        self.resource = resource
        self.mode = mode
        self.granted = False
        self.error: Error | None = None
        self.signal = threading.Lock()
        self.signal.acquire()


class Owner:
    """What the lock manager needs of a transaction. `work`: rows written, for least_work.
    deadline: when its statement must be over, on the clock of time.monotonic(); None: never."""

    __slots__ = ("deadline", "tables", "txn_id", "waiter")

    def __init__(self, txn_id: int) -> None:
        self.txn_id = txn_id
        self.deadline: float | None = None
        self.tables: dict[int, str] = {}
        self.waiter: Waiter | None = None

    @property
    def work(self) -> int:
        return 0


class OneShot:
    """Holds row locks for the length of one call. Never waits while it holds one."""

    __slots__ = ()
    deadline = None
    waiter = None
    txn_id = 0
    work = 0


RowOwner: TypeAlias = Any  # Owner | OneShot; Any keeps the fast path free of checks


class _RowTables(dict[int, dict[Key, RowOwner]]):
    """tree_id → its row locks, made on first use."""

    def __missing__(self, tree_id: int) -> dict[Key, RowOwner]:
        return self.setdefault(tree_id, {})


class LockManager:
    """Everything is public that a fast path reads: `rows`, `waiting`, `strong`.

    victim_policy: 'requester', 'youngest' or 'least_work'. on_block: called with the waiter after
    each request that has to wait, outside the mutex (tests and tracing).
    """

    __slots__ = ("_closed", "mutex", "on_block", "owners", "rows", "strong", "victim_policy",
                 "waiting")  # fmt: skip

    def __init__(self, victim_policy: str = "requester") -> None:
        if victim_policy not in VICTIM_POLICIES:
            raise ValueError(f"victim_policy is one of {VICTIM_POLICIES}")
        self.rows = _RowTables()
        self.strong: dict[int, int] = {}  # table_id → strong modes held
        self.waiting: dict[Resource, deque[Waiter]] = {}
        self.owners: dict[int, Owner] = {}  # txn_id → transaction
        self.victim_policy = victim_policy
        self.on_block: Callable[[Waiter], None] | None = None
        self.mutex = threading.Lock()
        self._closed = False

    # ── rows ─────────────────────────────────────────────────────────────────────────────────
    def wait_row(self, owner: Owner, tree_id: int, key: Key, timeout_s: float | None) -> None:
        """Take a row lock that the fast path did not get; returns when it is held.

        timeout_s None waits for ever, 0 does not wait (NOWAIT).
        Raises LockTimeout, DeadlockDetected, QueryCanceled, InterfaceError (closed).
        """
        waiter = Waiter(owner, ("row", tree_id, key), "X")
        try:
            with self.mutex:
                self._enqueue(waiter, first=False)
                self._grant(waiter.resource)  # Invariant 2: queued, so look again
                if waiter.granted:
                    return
                self._break_cycles(waiter)
            self._wait(waiter, timeout_s)
        except BaseException:
            self._abandon(waiter)
            raise

    def release_rows(self, owner: RowOwner, tree_id: int, keys: Iterable[Key]) -> None:
        """Give back the row locks of `keys` that `owner` holds. Never fails."""
        rows = self.rows[tree_id]
        if not self.waiting:
            for key in keys:
                if rows.get(key) is owner:
                    del rows[key]
        else:
            with self.mutex:
                _pass_rows(self, owner, tree_id, keys)
        if self.waiting:  # Invariant 2
            self.wake_waiters()

    def wake_waiters(self) -> None:
        """Grant every request at the head of its queue that is free now."""
        with self.mutex:
            for resource in list(self.waiting):
                self._grant(resource)

    def pass_row(self, tree_id: int, key: Key) -> None:
        queue = self.waiting.get(("row", tree_id, key))
        if queue:
            self.rows[tree_id][key] = queue[0].owner  # Invariant 3
            self._granted(queue[0])
        else:
            del self.rows[tree_id][key]

    # ── tables ───────────────────────────────────────────────────────────────────────────────
    def lock_table(self, owner: Owner, table_id: int, mode: str, timeout_s: float | None) -> bool:
        """Hold `mode` (or one that grants it) on the table. Returns whether it had to wait.

        Raises LockTimeout, DeadlockDetected, QueryCanceled, InterfaceError (closed).
        """
        held = owner.tables.get(table_id)
        wanted = combined_mode(held, mode)
        if wanted == held:
            return False
        if wanted not in STRONG:
            owner.tables[table_id] = wanted  # Invariant 4: before the look at `strong`
            if table_id not in self.strong:
                return False
        waiter = Waiter(owner, ("table", table_id, None), wanted)
        try:
            with self.mutex:
                if held is None:
                    owner.tables.pop(table_id, None)
                else:
                    owner.tables[table_id] = held
                # An upgrade goes first: everybody behind it waits for what it holds already.
                self._enqueue(waiter, first=held is not None)
                # The whole queue, not just this request: a strong one ahead may have waited for
                # the weak mode that was just taken back.
                self._grant(waiter.resource)
                if waiter.granted:
                    return False
                self._break_cycles(waiter)
            self._wait(waiter, timeout_s)
        except BaseException:
            self._abandon(waiter)
            raise
        return True

    def release_tables(self, owner: Owner) -> None:
        """Give back every table lock of the owner. Never fails."""
        held = owner.tables
        if not held:
            return
        if self.strong:
            with self.mutex:
                _release_held(self, held)
        else:
            held.clear()
        if self.waiting:
            self.wake_waiters()

    # ── the wait-for graph ───────────────────────────────────────────────────────────────────
    def _blockers(self, waiter: Waiter) -> Iterator[RowOwner]:
        """Owners that must give something up before this request can be granted."""
        kind, object_id, key = waiter.resource
        ahead = self.waiting[waiter.resource]
        if kind == "row":
            holder = self.rows[object_id].get(key)
            if holder is not None and holder is not waiter.owner:
                yield holder
            for other in ahead:
                if other is waiter:
                    return
                yield other.owner
            return
        conflicts = CONFLICTS[waiter.mode]
        for owner in list(self.owners.values()):
            if owner is not waiter.owner and owner.tables.get(object_id) in conflicts:
                yield owner
        if "IX" in conflicts:
            for holder in list(self.rows[object_id].values()):
                if type(holder) is OneShot:
                    yield holder
        for other in ahead:
            if other is waiter:
                return
            if other.mode in conflicts:
                yield other.owner

    def _break_cycles(self, waiter: Waiter) -> None:
        """Abort victims until the new request closes no cycle. Raises if it is one itself."""
        owner = waiter.owner
        owner.waiter = waiter

        def edges(owner: RowOwner) -> Iterable[RowOwner]:
            return () if owner.waiter is None else self._blockers(owner.waiter)

        while cycle := find_cycle(owner, edges):
            victim: RowOwner = choose_victim(cycle, self.victim_policy)
            error = DeadlockDetected(
                "deadlock: transactions "
                + " → ".join(str(member.txn_id) for member in (*cycle, cycle[0]))
                + " wait for each other",
                hint="run the transaction again",
            )
            if victim is owner:
                raise error
            self._fail(victim.waiter, error)

    # ── queues; all under the mutex ──────────────────────────────────────────────────────────
    def _enqueue(self, waiter: Waiter, *, first: bool) -> None:
        if self._closed:
            raise InterfaceError("the database is closed")
        queue = self.waiting.get(waiter.resource)
        if queue is None:
            queue = self.waiting[waiter.resource] = deque()
        if first:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)
        kind, table_id, _ = waiter.resource
        if kind == "table":
            self.strong.setdefault(table_id, 0)  # Invariants 4, 5

    def _dequeue(self, waiter: Waiter) -> None:
        waiter.owner.waiter = None
        queue = self.waiting.get(waiter.resource)
        if queue is None or waiter not in queue:
            return
        queue.remove(waiter)
        if not queue:
            del self.waiting[waiter.resource]
            if waiter.resource[0] == "table":
                self.forget_weak(waiter.resource[1])

    def _granted(self, waiter: Waiter) -> None:
        kind, object_id, _ = waiter.resource
        if kind == "table":
            held = waiter.owner.tables.get(object_id)
            waiter.owner.tables[object_id] = waiter.mode
            if waiter.mode in STRONG and held not in STRONG:
                self.strong[object_id] += 1
        waiter.granted = True
        self._dequeue(waiter)
        waiter.signal.release()

    def _fail(self, waiter: Waiter, error: Error) -> None:
        waiter.error = error
        self._dequeue(waiter)
        waiter.signal.release()
        self._grant(waiter.resource)

    def _grant(self, resource: Resource) -> None:
        """Grant from the head of the queue while requests are free."""
        kind, object_id, key = resource
        while queue := self.waiting.get(resource):
            waiter = queue[0]
            if kind == "row":
                if self.rows[object_id].setdefault(key, waiter.owner) is not waiter.owner:
                    return
            elif any(True for _ in self._blockers(waiter)):
                return
            self._granted(waiter)

    def forget_weak(self, table_id: int) -> None:
        """Invariant 5."""
        if self.strong.get(table_id) == 0 and ("table", table_id, None) not in self.waiting:
            del self.strong[table_id]

    # ── waiting ──────────────────────────────────────────────────────────────────────────────
    def _wait(self, waiter: Waiter, timeout_s: float | None) -> None:
        if self.on_block is not None:
            self.on_block(waiter)
        limit_s, last = _limit_wait(timeout_s, waiter.owner.deadline)
        waiter.signal.acquire(timeout=-1 if limit_s is None else limit_s)
        with self.mutex:
            if waiter.granted:
                return
            if waiter.error is not None:
                raise waiter.error
            self._dequeue(waiter)
        if last:
            raise StatementTimeout(
                "canceling statement due to statement timeout",
                hint=f"it waited for a {waiter.resource[0]} lock of another transaction",
            )
        raise LockTimeout(
            f"a {waiter.resource[0]} lock was not granted within {timeout_s:g} s",
            hint="another transaction holds it; see lock_timeout",
        )

    def _abandon(self, waiter: Waiter) -> None:
        """The request ends with an exception, maybe one that a signal handler raised."""
        kind, object_id, key = waiter.resource
        with self.mutex:
            if waiter.granted and kind == "row":
                if self.rows[object_id].get(key) is waiter.owner:
                    self.pass_row(object_id, key)
            elif not waiter.granted:
                self._dequeue(waiter)
                self._grant(waiter.resource)

    def cancel(self, owner: Owner) -> bool:
        """End the owner's wait with QueryCanceled. False when it does not wait."""
        with self.mutex:
            if owner.waiter is None:
                return False
            self._fail(owner.waiter, QueryCanceled("cancelled while waiting for a lock"))
            return True

    def close(self) -> None:
        """End every wait with InterfaceError and refuse new ones."""
        with self.mutex:
            self._closed = True
            for queue in list(self.waiting.values()):
                for waiter in list(queue):
                    waiter.error = InterfaceError("the database is closed")
                    self._dequeue(waiter)
                    waiter.signal.release()

    # ── views ────────────────────────────────────────────────────────────────────────────────
    def waits(self) -> dict[int, list[int]]:
        """The wait-for graph: txn_id of each blocked transaction → txn_ids it waits for."""
        with self.mutex:
            return {
                waiter.owner.txn_id: [blocker.txn_id for blocker in self._blockers(waiter)]
                for queue in self.waiting.values()
                for waiter in queue
            }


def _limit_wait(timeout_s: float | None, deadline: float | None) -> tuple[float | None, bool]:
    """(how many seconds a lock may be waited for, whether the statement ends with them)."""
    if deadline is None:
        return timeout_s, False
    left_s = max(deadline - time.monotonic(), 0.0)
    if timeout_s is None or left_s < timeout_s:
        return min(left_s, threading.TIMEOUT_MAX), True
    return timeout_s, False


def view_locks(manager: LockManager) -> list[LockInfo]:
    """Every lock held or waited for, in no particular order."""
    with manager.mutex:
        waiters = [waiter for queue in manager.waiting.values() for waiter in queue]
    found = [
        LockInfo("row", tree_id, key, "X", owner.txn_id, True)
        for tree_id, rows in list(manager.rows.items())
        for key, owner in list(rows.items())
    ]
    found += [
        LockInfo("table", table_id, None, mode, owner.txn_id, True)
        for owner in list(manager.owners.values())
        for table_id, mode in list(owner.tables.items())
    ]
    for waiter in waiters:
        kind, object_id, key = waiter.resource
        found.append(LockInfo(kind, object_id, key, waiter.mode, waiter.owner.txn_id, False))
    return found


# Loops under the mutex in frames of their own: tests/tidy/test_interruption.py says why.
def _pass_rows(locks: LockManager, owner: RowOwner, tree_id: int, keys: Iterable[Key]) -> None:
    rows = locks.rows[tree_id]
    for key in keys:
        if rows.get(key) is owner:
            locks.pass_row(tree_id, key)


def _release_held(locks: LockManager, held: dict[int, str]) -> None:
    while held:
        table_id, mode = held.popitem()
        if mode in STRONG:
            locks.strong[table_id] -= 1
        locks.forget_weak(table_id)
