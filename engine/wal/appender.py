"""The end of the log: write records into the current segment, go on in the next one.

`LogAppender` is the half of the log writer that touches bytes; `LogWriter` (writer.py) adds
durability policies, vouching and closing. Callers of `append*` and `rotate` hold the commit
mutex; the sync of GroupSync may run beside them.

Invariants
1. LSNs are dense. One record is one write at the end of the segment, 8-byte aligned.
2. A record carries the durable LSN of its moment, so later records vouch for earlier ones.
3. An append that raises leaves no record: what it may have written is taken back. Where that
   fails too, the engine is failed (sticky), and the outcome of that commit is unknown.
4. The segment is grown before a record is written into it: a full disk fails an append before
   its first byte. A reserve stays free for `append_urgent` (deletes, notes).
5. A new segment is created only after everything before it is synced (segment.py, Invariant 1).

A log without a record has no file: the first append creates the first segment.
"""

from __future__ import annotations

import threading
from _thread import start_new_thread
from collections.abc import Callable, Sequence

from xxhash import xxh3_64_intdigest

from engine.durability.policy import Policy
from engine.durability.sync import GroupSync
from engine.errors import DiskFull, Error
from engine.vfs import File, Vfs, directory_of
from engine.wal.record import (
    CHECKED_HEADER,
    CHECKSUM,
    HEADER_SIZE,
    PADDING,
    PAYLOAD_SIZE_MAX,
    RECORD_MAGIC,
    record_size,
)
from engine.wal.segment import (
    HEADER_BLOCK_SIZE,
    SealedSegment,
    SegmentHeader,
    SpareSegment,
    adopt_spare,
    new_epoch,
    segment_path,
    spare_path,
)

FIRST_ALLOCATION_SIZE = 1 << 20
RESERVE_SIZE = 1 << 16
BUFFER_SIZE = 1 << 18

_pack_head = CHECKED_HEADER.pack
_pack_checksum = CHECKSUM.pack


class _Buffer:
    """Holds the newest records of a log whose policy is `off`, and writes them in one go."""

    __slots__ = ("_file", "_held", "_mutex", "_start")

    def __init__(self, file: File, start: int) -> None:
        self._file = file
        self._start = start
        self._held = bytearray()
        self._mutex = threading.Lock()

    def write(self, offset: int, data: bytes) -> None:
        with self._mutex:
            del self._held[offset - self._start :]  # an append that is taken back
            self._held += data
            if len(self._held) >= BUFFER_SIZE:
                self._flush()

    def flush(self) -> None:
        with self._mutex:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._file.write(self._start, self._held)
            self._start += len(self._held)
            self._held = bytearray()


class LogAppender:
    """The current segment of a log. Arguments as of LogWriter."""

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
        chain: int,
        sealed: Sequence[SealedSegment],
        segment_size: int,
        policy: Policy,
    ) -> None:
        self.policy = policy
        self.written_lsn = next_lsn - 1
        self._vfs = vfs
        self._base_path = base_path
        self._uuid = uuid
        self._clock_us = clock_us
        self._random_bytes = random_bytes
        self._timer = timer
        self._segment_size = max(segment_size, 2 * HEADER_BLOCK_SIZE)
        self._reserve_size = min(RESERVE_SIZE, self._segment_size // 4)
        self._sealed = list(sealed)

        self._next_segment_no = segment_no
        self._file: File | None = None
        self._first_lsn = next_lsn
        self._segment_no = 0
        self._epoch = 0
        self._chain = chain
        self._offset = 0
        self._soft_end = 0  # an append past it goes through _make_room
        self._allocated = 0
        self._write: Callable[[int, bytes], None] = _refuse_write
        self._buffer: _Buffer | None = None
        self._unfinished: tuple[File, int] | None = None  # a segment being created
        self._taking_back = False  # a helper thread is about to take a write back
        self._taken_back = threading.Lock()
        self._taken_back.acquire()
        self._names_unsynced = False
        self._closed = False
        self._vouched_lsn = next_lsn - 1
        self._noted_lsn = next_lsn - 1
        self._earlier_size = 0  # bytes appended to segments before this one
        self._synced_size = 0
        self._last_sync_s = timer()

        self._spare = SpareSegment(vfs, base_path)
        self._spare_asked = False
        self._group = GroupSync(
            self._sync_file, next_lsn - 1, timer=timer, on_failure=self._stop_appends
        )

    def append(self, record_type: int, txn_id: int, payload: bytes, flags: int = 0) -> int:
        """Write one record; returns its LSN. It is not durable yet. Holds: the commit mutex.

        Raises DiskFull or StorageError (there is no record), EngineFailed.
        """
        # One straight line without calls into our own code: 1.7 µs with the system call.
        length = len(payload)
        offset = self._offset
        end = offset + HEADER_SIZE + ((length + 7) & ~7)
        if end > self._soft_end:
            self._make_room(end - offset)
            end += self._offset - offset
            offset = self._offset
        lsn = self.written_lsn + 1
        durable_lsn = self._group.durable
        head = _pack_head(RECORD_MAGIC, record_type, flags, length, txn_id, lsn, durable_lsn)
        body = payload + PADDING[length & 7]
        checksum = _pack_checksum(xxh3_64_intdigest(body, xxh3_64_intdigest(head, self._epoch)))
        chain = xxh3_64_intdigest(checksum, self._chain)
        try:
            self._write(offset, head + checksum + body)
            # No call from here to the return, so no signal handler can run in between.
            self._chain = chain
            self._offset = end
            self._vouched_lsn = durable_lsn
            self.written_lsn = lsn
        except BaseException as error:
            # Again no call before the helper thread is started: signals do not reach it.
            self._soft_end, self._taking_back = 0, True
            start_new_thread(self._take_back, (offset, error))
            self._await_taken_back()
            if self._group.failure is not None:
                raise self._group.outcome_unknown() from error
            raise
        return lsn

    def append_urgent(self, record_type: int, txn_id: int, payload: bytes, flags: int = 0) -> int:
        """`append` that may use the reserve on a full disk: for what frees space."""
        try:
            return self.append(record_type, txn_id, payload, flags)
        except DiskFull:
            self._discard_unfinished()
            self._soft_end = self._allocated
            try:
                return self.append(record_type, txn_id, payload, flags)
            finally:
                self._soft_end = min(self._soft_end, self._allocated - self._reserve_size)

    def rotate(self) -> int:
        """Go on in a new segment; returns the LSN of the next record. Holds: the commit mutex.

        Syncs what is unsynced first: call `barrier` and `prepare_next` before taking the mutex
        to make it quick. On a full disk the log stays in its segment: a checkpoint needs no new
        one, it only cannot retire this one yet.
        """
        if self._file is not None and self._offset > HEADER_BLOCK_SIZE:
            try:
                self._change_segment(FIRST_ALLOCATION_SIZE)
            except DiskFull:
                pass
        return self.written_lsn + 1

    def _ask_spare(self) -> None:
        """Called once when a segment has grown to its full size: time to prepare the next."""

    # ── inside ───────────────────────────────────────────────────────────────────────────────
    def _written_size(self) -> int:
        return self._earlier_size + max(0, self._offset - HEADER_BLOCK_SIZE)

    def _sync_file(self) -> int:
        """Called by GroupSync, by one thread at a time."""
        target_lsn = self.written_lsn
        written_size = self._written_size()
        if self._buffer is not None:
            self._buffer.flush()
        if self._file is not None:
            self._file.sync()
        if self._names_unsynced:
            self._vfs.sync_dir(directory_of(self._base_path))
            self._names_unsynced = False
        self._synced_size = written_size
        self._last_sync_s = self._timer()
        return target_lsn

    def _stop_appends(self) -> None:
        self._soft_end = 0

    def _take_back(self, offset: int, error: BaseException) -> None:
        """Make sure that a write that raised left no record behind (Invariant 3)."""
        try:
            if self._buffer is not None and isinstance(error, Error):
                raise error  # the buffer held earlier records too
            self._write(offset, bytes(8))
            self._soft_end = self._allocated - self._reserve_size
        except BaseException:
            self._group.fail(error, "a write to the log")
        self._taking_back = False
        try:
            self._taken_back.release()
        except RuntimeError:
            pass  # open already: an earlier wait for it was interrupted

    def _await_taken_back(self) -> None:
        while self._taking_back:
            self._taken_back.acquire()

    def _make_room(self, size: int) -> None:
        """Make `size` bytes at the end of the segment writable, or raise."""
        self._await_taken_back()
        if self._closed or self._group.failure is not None:
            raise self._group.failed_error()
        self._discard_unfinished()
        if size > record_size(PAYLOAD_SIZE_MAX):
            raise DiskFull(f"a log record of {size} bytes is too large")
        if self._file is None:
            self._group.run_exclusive(lambda: self._open_segment(FIRST_ALLOCATION_SIZE))
        elif self._offset + size > self._segment_size and self._offset > HEADER_BLOCK_SIZE:
            try:
                self._change_segment(self._segment_size)
            except DiskFull:
                pass  # go on in this one as long as it can grow
        if self._offset + size > self._allocated - self._reserve_size:
            self._grow(self._offset + size)
        if not self._spare_asked and self._allocated >= self._segment_size:
            self._spare_asked = True
            self._ask_spare()

    def _grow(self, end: int) -> None:
        assert self._file is not None
        wanted = max(end, min(2 * self._allocated, self._segment_size)) + self._reserve_size
        try:
            self._file.allocate(wanted, durable=False)
        except DiskFull:
            if end > self._soft_end or end > self._allocated:
                raise
        else:
            self._allocated = wanted
            self._soft_end = wanted - self._reserve_size

    def _change_segment(self, size: int) -> None:
        def change() -> None:
            if self._group.durable < self.written_lsn or self._names_unsynced:
                self._group.sync_within()  # Invariant 5
            self._open_segment(size)

        self._group.run_exclusive(change)

    def _open_segment(self, size: int) -> None:
        """Create the next segment and make it the current one. Leads, so no sync is running."""
        segment_no, first_lsn = self._next_segment_no, self.written_lsn + 1
        created_us = self._clock_us()
        epoch = new_epoch(self._uuid, segment_no, self._random_bytes(16), created_us)
        header = SegmentHeader(self._uuid, segment_no, first_lsn, self._chain, epoch, created_us)
        spare = self._spare.take(min(size, self._segment_size) + self._reserve_size)
        old_file, earlier_size = self._file, self._written_size()
        sealed = self._sealed
        if old_file is not None:
            old = SealedSegment(self._segment_no, self._first_lsn, old_file.path)
            sealed = [*sealed, old]
        # An error from here on leaves a segment that claims LSNs which go on in the one before it;
        # so nothing is appended (_soft_end) until _make_room has discarded it.
        self._soft_end, self._unfinished = 0, (spare, segment_no)
        allocated = spare.size()
        file = adopt_spare(self._vfs, self._base_path, spare, header)
        buffer = _Buffer(file, HEADER_BLOCK_SIZE) if self.policy.buffered else None
        write = file.write if buffer is None else buffer.write
        # No call from here on, so no signal handler can run in between.
        self._first_lsn = first_lsn  # before _sealed: `retire` may run beside us
        self._sealed = sealed
        self._earlier_size = earlier_size
        self._file, self._buffer, self._write = file, buffer, write
        self._segment_no, self._next_segment_no = segment_no, segment_no + 1
        self._epoch = epoch
        self._offset, self._allocated = HEADER_BLOCK_SIZE, allocated
        self._soft_end, self._unfinished = allocated - self._reserve_size, None
        self._names_unsynced = True
        self._spare_asked = False
        if old_file is not None:
            old_file.close()

    def _discard_unfinished(self) -> None:
        """Remove, durably, what an interrupted _open_segment left; go on in the old segment."""
        if self._unfinished is None:
            return
        file, segment_no = self._unfinished
        file.close()
        for path in (spare_path(self._base_path), segment_path(self._base_path, segment_no)):
            if self._vfs.exists(path):
                self._vfs.remove(path)
        self._vfs.sync_dir(directory_of(self._base_path))
        self._unfinished = None
        self._soft_end = 0 if self._file is None else self._allocated - self._reserve_size


def _refuse_write(offset: int, data: bytes) -> None:
    raise AssertionError("append before a segment is open")
