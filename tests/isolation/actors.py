"""Threads that run one call at a time and tell whether it ended or waits for a lock.

Whether a call waits is not guessed from time: the lock manager calls `on_block` in the thread that
is about to wait, after its request is queued. Time limits only turn a hang into a failure.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from engine.txn.lock_manager import LockManager, Waiter

HANG_S = 30


class Blocked:
    """The call waits for a lock."""

    def __repr__(self) -> str:
        return "BLOCKED"


BLOCKED = Blocked()


class Actor:
    """One thread. `call` gives the call's result or exception, or BLOCKED."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                outcome: Any = call()
            except Exception as error:
                outcome = error
            self.events.put(outcome)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        self._calls.put(lambda: function(*args))
        return self.next_event()

    def next_event(self) -> Any:
        """The outcome of a call that was blocked, once it has one (or BLOCKED again)."""
        return self.events.get(timeout=HANG_S)

    def stop(self) -> None:
        self._calls.put(None)
        self.thread.join(HANG_S)
        assert not self.thread.is_alive(), f"{self.name} hangs"


class Actors:
    """Actors by name, made on first use: `with Actors(manager.lock_manager) as actors`."""

    def __init__(self, locks: LockManager) -> None:
        self._actors: dict[str, Actor] = {}
        locks.on_block = self._on_block

    def _on_block(self, waiter: Waiter) -> None:
        actor = self._actors.get(threading.current_thread().name)
        if actor is not None:
            actor.events.put(BLOCKED)

    def __getitem__(self, name: str) -> Actor:
        if name not in self._actors:
            self._actors[name] = Actor(name)
        return self._actors[name]

    def __enter__(self) -> Actors:
        return self

    def __exit__(self, *exc: object) -> None:
        for actor in self._actors.values():
            actor.stop()
