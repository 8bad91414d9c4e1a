"""The log writer: append records, make them durable as the policy says, retire segments.

One writer per database. Callers of `append*`, `vouch` and `rotate` hold the commit mutex;
`make_durable`, `barrier`, `prepare_next`, `retire` and `stats` may be called by any thread.

Invariants (those of the bytes are in appender.py)
1. `sync_shared(lsn)` and `sync_alone` return only after a sync that covers what was asked. A
   commit returns when its policy's `settle(log, lsn)` does; `make_durable` is that one call, for
   users of the log without a store.
2. No thread is started unless `background` is set, and then only when there is work for it.
3. After a failed sync nothing is appended again (durability/sync.py).

States: open → failed (a sync failed, or a write could not be taken back) → closed; open → closed.

It does not encode rows (record.py), decide when a commit may return (durability/policy.py), or
read anything back (reader.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from engine.durability.policy import Policy, parse_policy
from engine.durability.sync import SyncStats
from engine.errors import EngineFailed
from engine.vfs import Vfs, directory_of
from engine.wal.appender import LogAppender
from engine.wal.housekeeping import Housekeeper
from engine.wal.record import NOTE, encode_note
from engine.wal.segment import SEGMENT_SIZE_DEFAULT, SealedSegment, remove_leftovers

IDLE_VOUCH_S = 0.5


class LogStats(msgspec.Struct, frozen=True):
    """Sizes in bytes; see SyncStats for the syncs."""

    written_lsn: int
    durable_lsn: int
    written_size: int
    unsynced_size: int
    segment_no: int
    segment_count: int
    policy: str
    failed: bool
    sync: SyncStats


class LogWriter(LogAppender):
    """Appends to the log of one database. See the module header for who may call what.

    segment_no     the number the first new segment gets: above every number ever used
    next_lsn       LSN of the next record; all before it are durable (in the log or the file)
    chain          chain value after record next_lsn - 1
    sealed         segments that exist already, oldest first
    clock_us       Unix microseconds; random_bytes(n) and timer() (seconds) as their names say
    commit_mutex   what callers of `append` hold; without it the log is not vouched when idle
    background     whether a thread may sync, vouch and prepare segments
    """

    def __init__(
        self,
        vfs: Vfs,
        base_path: str,
        uuid: bytes,
        *,
        segment_no: int,
        next_lsn: int,
        clock_us: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        timer: Callable[[], float],
        chain: int = 0,
        sealed: Sequence[SealedSegment] = (),
        segment_size: int = SEGMENT_SIZE_DEFAULT,
        policy: str | Policy = "group",
        commit_mutex: threading.Lock | None = None,
        background: bool = False,
    ) -> None:
        super().__init__(
            vfs,
            base_path,
            uuid,
            segment_no=segment_no,
            next_lsn=next_lsn,
            clock_us=clock_us,
            random_bytes=random_bytes,
            timer=timer,
            chain=chain,
            sealed=sealed,
            segment_size=segment_size,
            policy=parse_policy(policy) if isinstance(policy, str) else policy,
        )
        self._commit_mutex = commit_mutex
        self._housekeeper = Housekeeper(self, timer) if background else None

    # ── durability ───────────────────────────────────────────────────────────────────────────
    @property
    def durable_lsn(self) -> int:
        """Every record up to this LSN is on the disk."""
        return self._group.durable

    @property
    def failed(self) -> EngineFailed | None:
        """Why nothing more can be written, or None."""
        return self._group.failure

    def make_durable(self, lsn: int, policy_name: str | None = None) -> None:
        """Return when the commit at `lsn` may be acknowledged under the policy.

        policy_name overrides the log's own policy for this commit. What a signal handler raises
        comes out only when the outcome is settled: look at `durable_lsn` then.
        Raises CommitOutcomeUnknown when its sync failed.
        """
        policy = self.policy if policy_name is None else parse_policy(policy_name)
        policy.settle(self, lsn)

    def sync_shared(self, lsn: int) -> None:
        """Return when `lsn` is durable, sharing a sync with other callers."""
        self._group.wait(lsn)
        if self._housekeeper is not None and self._commit_mutex is not None:
            self._housekeeper.ask_vouch(IDLE_VOUCH_S)

    def sync_alone(self) -> None:
        """A sync of the caller's own."""
        self._group.sync_alone()
        if self._housekeeper is not None and self._commit_mutex is not None:
            self._housekeeper.ask_vouch(IDLE_VOUCH_S)

    def sync_within(self, interval_s: float) -> None:
        """Everything written so far is synced within interval_s; returns at once with a
        background thread, and without one syncs here when the interval is over."""
        if self._housekeeper is not None:
            self._housekeeper.ask_sync(interval_s)
        elif self._timer() - self._last_sync_s >= interval_s:
            self._group.wait(self.written_lsn)

    def barrier(self) -> None:
        """All records written so far, and the names of all segments, are durable on return,
        whatever the policy. Raises CommitOutcomeUnknown, EngineFailed."""
        if self._file is None and not self._names_unsynced:
            return
        if self._group.durable < self.written_lsn or self._names_unsynced:
            self._group.sync_alone()

    def append_note(self, kind: str, facts: dict[str, Any] | None = None) -> int:
        """Append a NOTE ('vouch', 'close', 'checkpoint', 'load'). Holds: the commit mutex."""
        lsn = self.append_urgent(NOTE, 0, encode_note(kind, self._clock_us(), facts or {}))
        self._noted_lsn = lsn
        return lsn

    def vouch(self) -> bool:
        """Append a NOTE if the last synced records have no later record that says they were
        synced; returns whether it did. The caller syncs it. Holds: the commit mutex."""
        if self.failed is not None or self._closed or not self.needs_vouching:
            return False
        self.append_note("vouch")
        return True

    def vouch_idle(self) -> None:
        """`vouch` and sync, taking the commit mutex itself: for the background thread."""
        if self._commit_mutex is None or not self._commit_mutex.acquire(blocking=False):
            return  # not idle
        try:
            appended = self.vouch()
        finally:
            self._commit_mutex.release()
        if appended:
            self._group.wait(self.written_lsn)

    @property
    def needs_vouching(self) -> bool:
        return self._group.durable > self._vouched_lsn and self.written_lsn != self._noted_lsn

    # ── segments ─────────────────────────────────────────────────────────────────────────────
    def retire(self, before_lsn: int) -> list[str]:
        """Remove the segments all of whose records are below before_lsn; returns their paths."""
        removed = []
        while self._sealed:
            follows = self._sealed[1].first_lsn if len(self._sealed) > 1 else self._first_lsn
            if follows > before_lsn:
                break
            path = self._sealed.pop(0).path
            if self._vfs.exists(path):
                self._vfs.remove(path)
                removed.append(path)
        if removed:
            self._vfs.sync_dir(directory_of(self._base_path))
        return removed

    def prepare_next(self, size: int | None = None) -> None:
        """Have the next segment's file ready, `size` bytes long. Raises DiskFull."""
        if not self._closed:
            self._spare.prepare(self._segment_size if size is None else size)

    def _ask_spare(self) -> None:
        if self._housekeeper is not None:
            self._housekeeper.ask_spare()

    def close(self, clean: bool, *, remove: bool = False) -> None:
        """Stop. clean: append and sync a closing NOTE, so that any damage to the log shows.

        remove: afterwards remove every segment, because a checkpoint holds everything.
        Idempotent. Raises StorageError, CommitOutcomeUnknown when the note cannot be synced.
        """
        if self._closed:
            return
        if self._housekeeper is not None:
            self._housekeeper.stop()
        try:
            if clean and not remove and self._file is not None and self.failed is None:
                self.append_note("close")
                self._group.sync_alone()
        finally:
            self._closed = True
            self._await_taken_back()
            self._discard_unfinished()
            self._stop_appends()
            self._spare.drop()
            if self._file is not None:
                self._file.close()
        if remove:
            self._remove_all()

    def _remove_all(self) -> None:
        paths = [segment.path for segment in self._sealed]
        if self._file is not None:
            paths.append(self._file.path)
        self._sealed.clear()
        self._file = None
        for path in paths:
            self._vfs.remove(path)
        remove_leftovers(self._vfs, self._base_path)
        if paths:
            self._vfs.sync_dir(directory_of(self._base_path))

    def stats(self) -> LogStats:
        written_size = self._written_size()
        return LogStats(
            written_lsn=self.written_lsn,
            durable_lsn=self._group.durable,
            written_size=written_size,
            unsynced_size=max(0, written_size - self._synced_size),
            segment_no=self._segment_no,
            segment_count=len(self._sealed) + (self._file is not None),
            policy=self.policy.name,
            failed=self.failed is not None,
            sync=self._group.stats(),
        )
