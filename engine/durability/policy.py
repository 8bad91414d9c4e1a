"""Durability policies: when a commit returns. One small class each, without state of their own.

policy        a commit returns when           a dead process loses   a power loss loses
full          its own sync is done            nothing                nothing
group         the sync it shared is done      nothing                nothing
interval(ms)  written; synced within ms       nothing                at most the last ms
os            written                         nothing                what the OS had not flushed
off           copied to a buffer              the buffer             the buffer and more

Invariants
1. Under every policy what survives is a prefix of the log: a suffix may go, never a hole.
2. Checkpoints and segment changes sync whatever the policy is; no policy can corrupt a file.
"""

from __future__ import annotations

from typing import Protocol

from engine.errors import DataError

INTERVAL_MS_DEFAULT = 100


class DurableLog(Protocol):
    """What a policy may ask of the log."""

    def sync_shared(self, lsn: int) -> None:
        """Return when `lsn` is durable, sharing a sync with other callers."""
        ...

    def sync_alone(self) -> None:
        """Sync, sharing with nobody."""
        ...

    def sync_within(self, interval_s: float) -> None:
        """Return at once; everything written so far is synced within `interval_s` seconds."""
        ...


class Policy(Protocol):
    """waits: `settle` returns only when the commit is durable. buffered: the log may keep
    records in memory for a while."""

    name: str
    waits: bool
    buffered: bool

    def settle(self, log: DurableLog, lsn: int) -> None:
        """Return when the commit whose last record is `lsn` may be acknowledged.

        Raises CommitOutcomeUnknown, EngineFailed.
        """
        ...


class FullPolicy:
    """Each commit waits for a sync of its own."""

    name = "full"
    waits = True
    buffered = False

    def settle(self, log: DurableLog, lsn: int) -> None:
        log.sync_alone()


class GroupPolicy:
    """Concurrent commits share one sync."""

    name = "group"
    waits = True
    buffered = False

    def settle(self, log: DurableLog, lsn: int) -> None:
        log.sync_shared(lsn)


class IntervalPolicy:
    """Commits return when written; the log is synced at least every interval_ms."""

    name = "interval"
    waits = False
    buffered = False

    def __init__(self, interval_ms: float = INTERVAL_MS_DEFAULT) -> None:
        self.interval_s = interval_ms / 1000

    def settle(self, log: DurableLog, lsn: int) -> None:
        log.sync_within(self.interval_s)


class OsPolicy:
    """Commits return when the operating system has the bytes."""

    name = "os"
    waits = False
    buffered = False

    def settle(self, log: DurableLog, lsn: int) -> None:
        return None


class OffPolicy:
    """Commits return when the bytes are in the log's buffer."""

    name = "off"
    waits = False
    buffered = True

    def settle(self, log: DurableLog, lsn: int) -> None:
        return None


_SIMPLE: dict[str, Policy] = {
    "full": FullPolicy(),
    "group": GroupPolicy(),
    "interval": IntervalPolicy(),
    "os": OsPolicy(),
    "off": OffPolicy(),
}


def parse_policy(text: str) -> Policy:
    """The policy named by `full`, `group`, `interval`, `interval(50)`, `os` or `off`.

    Raises DataError (22023) for anything else.
    """
    name = text.strip().lower()
    policy = _SIMPLE.get(name)
    if policy is not None:
        return policy
    if name.startswith("interval(") and name.endswith(")"):
        number = name[len("interval(") : -1].strip().removesuffix("ms").strip()
        try:
            interval_ms = float(number)
        except ValueError:
            interval_ms = 0.0
        if 0 < interval_ms < 86_400_000:
            return IntervalPolicy(interval_ms)
    raise DataError(
        f'no such durability policy: "{text}"',
        sqlstate="22023",
        hint="use full, group, interval, interval(MILLISECONDS), os or off",
    )
