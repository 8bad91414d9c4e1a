"""Read the log: records in order, and where and why it ends.

The end of the log is the first offset where the next LSN does not verify. What follows decides
what kind of end it is (`LogEnd.kind`):

    clean   only zeros follow
    torn    other bytes follow, but nothing says that the missing record was ever durable:
            the last, unacknowledged write of a machine that lost power
    damage  something vouches that the missing record was durable, so bytes have been lost

Vouchers, any of which makes it damage:
    1. a later record of the same segment that verifies and whose durable_lsn ≥ the missing LSN
    2. a later segment: it was created only after all before it was synced (segment.py)
    3. the caller: `vouched_lsn` from the meta page
    4. where a segment's header is unreadable: records in it that chain by length and LSN and say
       so (their checksums cannot be verified without the header's epoch)

Invariants
1. Records come in LSN order without a gap, from `from_lsn` on, and every one is verified.
2. Damage before `from_lsn` does not matter: those records are inside the data file.
3. Segments join by first_lsn and chain value; a swapped or missing one is damage. A segment is
   superseded by a later one that begins at or below its first LSN.
4. Any bytes may be in the files: nothing is believed before it verifies, lengths are bounded by
   the file, the look-ahead hashes at most LOOK_AHEAD_FACTOR times what the segment holds.
5. Nothing is written, and files are opened read-only.

With on_damage='skip' (salvage) the scan goes on at the next record that verifies and collects
every gap in `gaps`; otherwise it stops at the end it found.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from engine.errors import DamageFound
from engine.vfs import File, Vfs
from engine.wal.record import (
    HEADER_SIZE,
    KNOWN_TYPES,
    RECORD_MAGIC_BYTES,
    Record,
    RecordHeader,
    decode_header,
    decode_record,
    next_chain,
    record_size,
    require_known_type,
)
from engine.wal.segment import (
    HEADER_BLOCK_SIZE,
    Segment,
    SegmentHeader,
    list_segments,
    segment_path,
)

WINDOW_SIZE = 1 << 20
LOOK_AHEAD_FACTOR = 8


class LogEnd(msgspec.Struct, frozen=True):
    """Where the log ends. Everything below next_lsn was read.

    kind         'clean', 'torn' or 'damage'
    chain        chain value after record next_lsn - 1 (0 when nothing was read)
    path         segment file of the end, None when there is no segment
    offset       byte offset of the end in it
    torn_size    bytes after the end up to the last that is not zero
    first_lsn    damage: first record lost; last_lsn: the highest LSN known to be lost
    reason       damage: what vouches, in words
    """

    kind: str
    next_lsn: int
    chain: int = 0
    path: str | None = None
    offset: int = 0
    torn_size: int = 0
    first_lsn: int = 0
    last_lsn: int = 0
    reason: str = ""

    def error(self) -> DamageFound:
        """The error to raise for a damaged end."""
        lsns = f"LSN {self.first_lsn}"
        if self.last_lsn > self.first_lsn:
            lsns += f" to {self.last_lsn}"
        where = f'at byte {self.offset} of "{self.path}"'
        return DamageFound(
            f"the log is damaged {where}: {lsns} lost ({self.reason})",
            path=self.path or "",
            offset=self.offset,
            first_lsn=self.first_lsn,
            last_lsn=self.last_lsn,
            hint="`mantis wal verify` shows the extent; restore a copy of the database",
        )


class LogScan:
    """Iterate once to get the records; then `end` says how the log ended.

    segments     all segment files found, sound or not, by number
    gaps         on_damage='skip': the damage passed over
    """

    def __init__(
        self,
        vfs: Vfs,
        base_path: str,
        uuid: bytes | None,
        from_lsn: int,
        *,
        vouched_lsn: int = 0,
        on_damage: str = "stop",
    ) -> None:
        self.segments = list_segments(vfs, base_path)
        self.end: LogEnd | None = None
        self.gaps: list[LogEnd] = []
        self._vfs = vfs
        self._base_path = base_path
        self._from_lsn = from_lsn
        self._vouched_lsn = vouched_lsn
        self._skip = on_damage == "skip"
        self._expected = from_lsn
        self._chain: int | None = None
        self._require_own(uuid)

    def next_segment_no(self) -> int:
        """A number above every segment there is."""
        return 1 + max((segment.segment_no for segment in self.segments), default=0)

    def __iter__(self) -> Iterator[Record]:
        sound = _in_force(self.segments)
        start = _start_index(sound, self._from_lsn)
        if start is None:
            self.end = self._end_without_segments(sound)
            if self.end.kind != "damage" or not self._skip or not sound:
                return
            self.gaps.append(self.end)
            start = 0
        for index in range(start, len(sound)):
            following = sound[index + 1] if index + 1 < len(sound) else None
            yield from self._segment_records(sound[index], following, first=index == start)
            if self.end is not None and self.end.kind == "damage":
                if not self._skip:
                    return
                self.gaps.append(self.end)
                self._chain = None
        if not self._skip or not self.gaps:
            self._check_headless(sound)

    # ── one segment ──────────────────────────────────────────────────────────────────────────
    def _segment_records(
        self, segment: Segment, following: Segment | None, *, first: bool
    ) -> Iterator[Record]:
        header = segment.header
        assert header is not None
        if not first and not self._joins(segment, header):
            return
        self._expected = header.first_lsn
        self._chain = header.chain
        file = self._vfs.open(segment.path, readonly=True)
        try:
            cursor = _Cursor(file, header)
            while True:
                for record in cursor.records(self._expected):
                    require_known_type(record)
                    self._expected = record.lsn + 1
                    if self._chain is not None:
                        self._chain = next_chain(self._chain, record.checksum)
                    if record.lsn >= self._from_lsn:
                        yield record
                resumed = self._judge_end(cursor, segment, following)
                if resumed is None:
                    return
                cursor.position = resumed.offset
                self._expected = resumed.lsn
                self._chain = None
        finally:
            file.close()

    def _judge_end(
        self, cursor: _Cursor, segment: Segment, following: Segment | None
    ) -> Record | None:
        """Set `end` for the offset where the cursor stopped; or the record to go on from."""
        missing = self._expected
        needed = max(missing, self._from_lsn)
        voucher, resume = cursor.look_ahead(missing, needed, self._skip)
        if resume is not None and missing < self._from_lsn and resume.lsn <= self._from_lsn:
            return resume  # Invariant 2
        torn_size = cursor.rest_size()
        follows = following.header if following is not None else None
        reason, last_lsn = "", missing
        if voucher is not None:
            last_lsn = max(needed, (resume or voucher).lsn - 1)
            reason = f"record {voucher.lsn} says that LSN {voucher.durable_lsn} was durable"
        elif follows is not None and follows.first_lsn > needed:
            reason = f"the next segment begins with LSN {follows.first_lsn}"
            last_lsn = follows.first_lsn - 1
        elif follows is None and self._vouched_lsn >= needed:
            reason = f"the data file says that LSN {self._vouched_lsn} was durable"
            last_lsn = self._vouched_lsn
        if missing < needed:
            self._expected, self._chain = needed, None
        self.end = LogEnd(
            kind="damage" if reason else "torn" if torn_size else "clean",
            next_lsn=needed,
            chain=self._chain or 0,
            path=segment.path,
            offset=cursor.position,
            torn_size=torn_size,
            first_lsn=needed if reason else 0,
            last_lsn=last_lsn if reason else 0,
            reason=reason,
        )
        if self._skip and reason and resume is not None:
            self.gaps.append(self.end)
            return resume
        return None

    # ── between segments ─────────────────────────────────────────────────────────────────────
    def _joins(self, segment: Segment, header: SegmentHeader) -> bool:
        """Whether a segment continues what was read; sets a damaged `end` when not."""
        expected, chain = self._expected, self._chain
        if header.first_lsn == expected and chain in (None, header.chain):
            return True
        if self._skip and header.first_lsn >= expected:
            return True
        if header.first_lsn == expected:
            reason = "it does not continue the segment before it"
        else:
            reason = f"it begins with LSN {header.first_lsn} where {expected} is due"
        self.end = LogEnd(
            kind="damage",
            next_lsn=expected,
            path=segment.path,
            first_lsn=expected,
            last_lsn=max(expected, header.first_lsn - 1),
            reason=reason,
        )
        return False

    def _end_without_segments(self, sound: list[Segment]) -> LogEnd:
        """The log has no segment that holds from_lsn."""
        needed = self._from_lsn
        if sound:
            header = sound[0].header
            assert header is not None
            return LogEnd(
                kind="damage",
                next_lsn=needed,
                path=sound[0].path,
                first_lsn=needed,
                last_lsn=header.first_lsn - 1,
                reason=f"the oldest segment begins with LSN {header.first_lsn}",
            )
        if self._vouched_lsn >= needed:
            return LogEnd(
                kind="damage",
                next_lsn=needed,
                path=segment_path(self._base_path, 0),
                first_lsn=needed,
                last_lsn=self._vouched_lsn,
                reason="the log is missing, and the data file needs it",
            )
        self.end = LogEnd(kind="clean", next_lsn=needed)
        self._check_headless(sound)
        return self.end

    def _check_headless(self, sound: list[Segment]) -> None:
        """A newest segment with an unreadable header: torn at birth, or damaged (voucher 4)."""
        newest_no = sound[-1].segment_no if sound else -1
        for segment in self.segments:
            if segment.header is not None or segment.segment_no < newest_no:
                continue
            vouched = self._vouched_without_header(segment)
            if vouched >= self._expected and self.end is not None:
                self.end = LogEnd(
                    kind="damage",
                    next_lsn=self._expected,
                    chain=self.end.chain,
                    path=segment.path,
                    first_lsn=self._expected,
                    last_lsn=vouched,
                    reason="its header is unreadable, and records in it were durable",
                )
                return

    def _vouched_without_header(self, segment: Segment) -> int:
        """Highest durable_lsn in records that chain from the start of the segment."""
        file = self._vfs.open(segment.path, readonly=True)
        try:
            offset, lsn, vouched = HEADER_BLOCK_SIZE, None, 0
            while True:
                head = decode_header(file.read(offset, HEADER_SIZE))
                if head is None or head.type not in KNOWN_TYPES or head.durable_lsn >= head.lsn:
                    return vouched
                if lsn is not None and head.lsn != lsn + 1:
                    return vouched
                lsn = head.lsn
                vouched = max(vouched, head.durable_lsn)
                offset += record_size(head.length)
        finally:
            file.close()

    def _require_own(self, uuid: bytes | None) -> None:
        for segment in self.segments:
            if uuid is not None and segment.header is not None and segment.header.uuid != uuid:
                raise DamageFound(
                    f'"{segment.path}" is the log of another database',
                    path=segment.path,
                    hint="move it away; if this database had a log of its own, bring that back",
                )


class _Cursor:
    """A position in one segment's records."""

    def __init__(self, file: File, header: SegmentHeader) -> None:
        self.position = HEADER_BLOCK_SIZE
        self._file = file
        self._header = header
        self._size = file.size()

    def records(self, lsn: int) -> Iterator[Record]:
        """Verified records with LSNs from `lsn` on, one by one; stops at the first that is not."""
        epoch, segment_no = self._header.epoch, self._header.segment_no
        raw, base = b"", self.position
        while True:
            record = decode_record(
                raw, self.position - base, epoch, segment_no=segment_no, base_offset=base
            )
            if record is None:
                wanted = self._unread_size(raw, base)
                if not wanted:
                    return
                base = self.position
                raw = self._file.read(base, wanted)
                continue
            if record.lsn != lsn:
                return
            self.position += record.size
            lsn += 1
            yield record

    def _unread_size(self, raw: bytes, base: int) -> int:
        """Bytes to read at `position` to see the whole record there; 0 when raw shows it all."""
        read_end = base + len(raw)
        if self.position + HEADER_SIZE > read_end:
            needed = HEADER_SIZE
        else:
            head = decode_header(raw, self.position - base)
            needed = 0 if head is None else record_size(head.length)
        if self.position + needed <= read_end or self.position + needed > self._size:
            return 0
        return max(WINDOW_SIZE, needed)

    def look_ahead(
        self, missing: int, needed: int, skip: bool
    ) -> tuple[Record | None, Record | None]:
        """(a later record that vouches for LSN `needed`, the first later record that verifies).

        The second is looked for only as far as the first, unless there is no voucher.
        """
        budget = LOOK_AHEAD_FACTOR * self._size
        resume: Record | None = None
        for record, hashed in self._candidates(missing):
            budget -= hashed
            if record is not None and record.lsn >= missing and record.durable_lsn < record.lsn:
                resume = resume or (record if record.lsn > missing or skip else None)
                if record.durable_lsn >= needed:
                    return record, resume or record
            if budget < 0:
                raise DamageFound(
                    f'"{self._file.path}" holds bytes made to look like log records',
                    path=self._file.path,
                    offset=self.position,
                )
        return None, resume

    def _candidates(self, missing: int) -> Iterator[tuple[Record | None, int]]:
        """Every place from `position` on where a record at or after LSN `missing` may begin: (the
        record if it verifies, bytes hashed to find out)."""
        epoch, segment_no = self._header.epoch, self._header.segment_no
        lsn_max = missing + self._size // HEADER_SIZE
        offset = self.position
        while offset < self._size:
            raw = self._file.read(offset, WINDOW_SIZE)
            if not raw:
                return
            at = raw.find(RECORD_MAGIC_BYTES)
            while at >= 0:
                head = None if (offset + at) % 8 else self._header_at(raw, offset, at)
                if head is not None and missing <= head.lsn <= lsn_max:
                    whole = self._file.read(offset + at, record_size(head.length))
                    record = decode_record(
                        whole, 0, epoch, segment_no=segment_no, base_offset=offset + at
                    )
                    yield record, len(whole)
                at = raw.find(RECORD_MAGIC_BYTES, at + 1)
            offset += len(raw)

    def _header_at(self, raw: bytes, base: int, at: int) -> RecordHeader | None:
        """The header of the record that may begin at raw[at:], None when none can."""
        head = decode_header(raw, at) or decode_header(self._file.read(base + at, HEADER_SIZE))
        if head is None or base + at + record_size(head.length) > self._size:
            return None
        return head

    def rest_size(self) -> int:
        """Bytes from `position` to the last that is not zero."""
        offset, last = self.position, self.position
        while raw := self._file.read(offset, WINDOW_SIZE):
            used = len(raw.rstrip(b"\0"))
            if used:
                last = offset + used
            offset += len(raw)
        return last - self.position


def _in_force(segments: list[Segment]) -> list[Segment]:
    """The segments with a sound header that no later one supersedes by beginning at or below
    their first LSN (an empty one left by a crash, or a tail copied by recovery)."""
    kept: list[Segment] = []
    for segment in segments:
        if segment.header is None:
            continue
        while kept and _first_lsn(kept[-1]) >= segment.header.first_lsn:
            kept.pop()
        kept.append(segment)
    return kept


def _first_lsn(segment: Segment) -> int:
    assert segment.header is not None
    return segment.header.first_lsn


def _start_index(sound: list[Segment], from_lsn: int) -> int | None:
    """Index of the segment that holds from_lsn, or would: the last that begins at or below it."""
    found = None
    for index, segment in enumerate(sound):
        if segment.header is not None and segment.header.first_lsn <= from_lsn:
            found = index
    return found


def scan_log(
    vfs: Vfs,
    base_path: str,
    uuid: bytes | None,
    from_lsn: int,
    *,
    vouched_lsn: int = 0,
    on_damage: str = "stop",
) -> LogScan:
    """The records of a database's log from LSN `from_lsn` on; iterate, then look at `.end`.

    uuid: segments of another database raise DamageFound; None accepts any.
    vouched_lsn: an LSN the data file knows to have been durable, 0 when it knows none.
    on_damage: 'stop' or 'skip'. Raises NewerFormat for unknown formats and record types.
    """
    return LogScan(vfs, base_path, uuid, from_lsn, vouched_lsn=vouched_lsn, on_damage=on_damage)
