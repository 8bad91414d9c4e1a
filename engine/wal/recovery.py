"""Replay: feed committed transactions from the log to whoever applies them, and report.

mode           a torn tail           damage
strict         refused               refused
tail           kept aside, go on     refused (default)
point-in-time  kept aside, go on     stop there; the report names the lost range
salvage        kept aside, go on     skip it, go on behind it; only into a new database

Reached today: `tail` when a database is opened, `point-in-time` by the surveys of tools/recover.
`strict`, `salvage` and `copy_tail` are library functions that only tests run so far.

Invariants
1. `apply` is called once per committed transaction, in commit order, with all of its rows.
2. A transaction is applied whole or not at all: CHUNK records count only when the COMMIT that
   counts them follows them directly.
3. Replay writes nothing but the file of torn bytes, and that only when asked; a crash anywhere in
   it equals no recovery.
4. Bytes after the end of the log are copied to `<db>-wal-torn-<lsn>` before anything else goes on.

After an unclean stop the page cache may show log bytes that never reached the disk. So before the
first new record the caller makes what was replayed durable somewhere new: the store by a
checkpoint, a user of the log alone by `copy_tail`, which writes the last segment again under the
next number.

It knows no trees, memtables or files of data: `apply` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from engine.errors import DamageFound
from engine.vfs import Vfs, directory_of
from engine.wal.reader import LogEnd, LogScan, scan_log
from engine.wal.record import (
    CHECKSUM,
    CHUNK,
    COMMIT,
    FLAG_CHUNKED,
    NOTE,
    Op,
    Record,
    decode_chunk,
    decode_commit,
    decode_note,
    encode_record,
    next_chain,
)
from engine.wal.segment import (
    HEADER_BLOCK_SIZE,
    SealedSegment,
    SegmentHeader,
    encode_segment_header,
    new_epoch,
    segment_path,
    spare_path,
    torn_path,
)

MODES = ("strict", "tail", "point-in-time", "salvage")

Apply: TypeAlias = Callable[[int, int, list[Op]], object]
"""(commit_ts, wall_us, ops): one committed transaction. ops: [(tree_id, key, row | None), …]"""


class RecoveryReport(msgspec.Struct, frozen=True):
    """What replay found and did. LSNs count records; times are Unix microseconds.

    next_lsn, chain, next_segment_no, sealed   what LogWriter is to be opened with
    clean_close    the last record is the NOTE of a clean close
    torn_path      where torn bytes were kept, None when there were none (or read-only)
    stopped_early  until_lsn or until_us ended the replay before the end of the log
    """

    mode: str
    from_lsn: int
    next_lsn: int
    chain: int
    next_segment_no: int
    sealed: tuple[SealedSegment, ...]
    record_count: int
    transaction_count: int
    row_count: int
    last_commit_ts: int
    last_wall_us: int
    clean_close: bool
    stopped_early: bool
    end: LogEnd
    gaps: tuple[LogEnd, ...]
    torn_path: str | None

    @property
    def lost(self) -> bool:
        """Whether records that were durable are gone."""
        return self.end.kind == "damage" or bool(self.gaps)

    def facts(self) -> dict[str, Any]:
        """The report as JSON-ready facts."""
        return {
            "mode": self.mode,
            "from_lsn": self.from_lsn,
            "next_lsn": self.next_lsn,
            "records": self.record_count,
            "transactions": self.transaction_count,
            "rows": self.row_count,
            "last_commit_ts": self.last_commit_ts,
            "last_wall_us": self.last_wall_us,
            "clean_close": self.clean_close,
            "stopped_early": self.stopped_early,
            "segments": [segment.path for segment in self.sealed],
            "end": msgspec.to_builtins(self.end),
            "gaps": [msgspec.to_builtins(gap) for gap in self.gaps],
            "torn_path": self.torn_path,
            "lost": self.lost,
        }


class _Replayer:
    """Turns records into transactions."""

    def __init__(self, apply: Apply) -> None:
        self._apply = apply
        self._chunks: list[Record] = []
        self.record_count = 0
        self.transaction_count = 0
        self.row_count = 0
        self.last_commit_ts = 0
        self.last_wall_us = 0
        self.clean_close = False

    def take(self, record: Record, until_us: int | None) -> bool:
        """Handle one record; False when it is a commit after until_us."""
        kind = record.type
        if kind == CHUNK:
            self._chunks.append(record)
        elif kind == COMMIT:
            commit_ts, wall_us, ops = decode_commit_ops(record, self._chunks)
            if until_us is not None and wall_us > until_us:
                return False
            self._chunks.clear()
            self._apply(commit_ts, wall_us, ops)
            self.transaction_count += 1
            self.row_count += len(ops)
            self.last_commit_ts, self.last_wall_us = commit_ts, wall_us
        else:
            self._chunks.clear()
        self.clean_close = kind == NOTE and decode_note(record).kind == "close"
        self.record_count += 1
        return True


def decode_commit_ops(record: Record, chunks: list[Record]) -> tuple[int, int, list[Op]]:
    """(commit_ts, wall_us, all ops) of a COMMIT and the CHUNKs read before it.

    Raises DamageFound when the CHUNKs it counts are not the records right before it.
    """
    commit = decode_commit(record)
    if not record.flags & FLAG_CHUNKED:
        return commit.commit_ts, commit.wall_us, commit.ops
    count = commit.chunk_count
    own = chunks[-count:] if count > 0 else []
    if len(own) != count or any(
        chunk.txn_id != record.txn_id or chunk.lsn != record.lsn - count + index
        for index, chunk in enumerate(own)
    ):
        raise DamageFound(
            f"log record {record.lsn} commits {count} chunks that do not precede it",
            offset=record.offset,
            first_lsn=record.lsn,
            last_lsn=record.lsn,
        )
    ops: list[Op] = []
    for chunk in own:
        ops += decode_chunk(chunk)
    ops += commit.ops
    return commit.commit_ts, commit.wall_us, ops


def replay(
    vfs: Vfs,
    base_path: str,
    uuid: bytes,
    from_lsn: int,
    apply: Apply,
    *,
    mode: str = "tail",
    vouched_lsn: int = 0,
    keep_torn: bool = True,
    until_lsn: int | None = None,
    until_us: int | None = None,
) -> RecoveryReport:
    """Apply every transaction committed at LSN ≥ from_lsn, as `mode` says about a bad end.

    vouched_lsn: see scan_log. keep_torn: copy torn bytes aside (not for read-only opens).
    until_lsn, until_us: apply nothing after this LSN, or after this commit time.
    Raises DamageFound (by mode), NewerFormat, StorageError, and what `apply` raises.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, not {mode!r}")
    scan = scan_log(
        vfs,
        base_path,
        uuid,
        from_lsn,
        vouched_lsn=vouched_lsn,
        on_damage="skip" if mode == "salvage" else "stop",
    )
    replayer = _Replayer(apply)
    last: Record | None = None
    stopped_early = False
    for record in scan:
        if (until_lsn is not None and record.lsn > until_lsn) or not replayer.take(
            record, until_us
        ):
            stopped_early = True
            break
        last = record
    end = scan.end
    if end is None:  # stopped early: the log was not read to its end
        end = LogEnd("clean", next_lsn=from_lsn if last is None else last.lsn + 1)
    _require_mode_allows(mode, end)
    kept = None
    if keep_torn and end.torn_size and not stopped_early:
        kept = keep_torn_bytes(vfs, base_path, end)
    return RecoveryReport(
        mode=mode,
        from_lsn=from_lsn,
        next_lsn=end.next_lsn,
        chain=end.chain,
        next_segment_no=scan.next_segment_no(),
        sealed=sealed_segments(scan, end.next_lsn),
        record_count=replayer.record_count,
        transaction_count=replayer.transaction_count,
        row_count=replayer.row_count,
        last_commit_ts=replayer.last_commit_ts,
        last_wall_us=replayer.last_wall_us,
        clean_close=replayer.clean_close,
        stopped_early=stopped_early,
        end=end,
        gaps=tuple(scan.gaps),
        torn_path=kept,
    )


def _require_mode_allows(mode: str, end: LogEnd) -> None:
    if end.kind == "damage" and mode in ("strict", "tail"):
        raise end.error()
    if end.kind == "torn" and mode == "strict":
        raise DamageFound(
            f'"{end.path}" ends in {end.torn_size} torn bytes after LSN {end.next_lsn - 1}',
            path=end.path or "",
            offset=end.offset,
            first_lsn=end.next_lsn,
            last_lsn=end.next_lsn,
            hint="open it in mode `tail`: an interrupted last write is normal after a power loss",
        )


def sealed_segments(scan: LogScan, next_lsn: int) -> tuple[SealedSegment, ...]:
    """The segments of a scan as LogWriter wants them; headerless ones count as empty."""
    sealed = []
    for segment in scan.segments:
        first_lsn = next_lsn if segment.header is None else segment.header.first_lsn
        sealed.append(SealedSegment(segment.segment_no, first_lsn, segment.path))
    return tuple(sealed)


def keep_torn_bytes(vfs: Vfs, base_path: str, end: LogEnd) -> str:
    """Copy the bytes after the end of the log aside, durably; returns the path (Invariant 4)."""
    assert end.path is not None
    path = torn_path(base_path, end.next_lsn)
    source = vfs.open(end.path, readonly=True)
    try:
        target = vfs.open(path, create=True)
        try:
            target.truncate(0)
            for done in range(0, end.torn_size, 1 << 20):
                size = min(1 << 20, end.torn_size - done)
                target.write(done, source.read(end.offset + done, size))
            target.sync(data_only=False)
        finally:
            target.close()
    finally:
        source.close()
    vfs.sync_dir(directory_of(base_path))
    return path


def copy_tail(
    vfs: Vfs,
    base_path: str,
    uuid: bytes,
    report: RecoveryReport,
    *,
    clock_us: Callable[[], int],
    random_bytes: Callable[[int], bytes],
) -> RecoveryReport:
    """Write the records of the last segment again, durably, as a new segment that supersedes it.

    Returns the report with the new segments, number and chain for LogWriter. The old file stays
    until it is retired. Re-entrant: a crash in it leaves the old segments as they were.
    """
    scan = scan_log(vfs, base_path, uuid, report.from_lsn)
    source = next((s for s in scan.segments if s.path == report.end.path), None)
    if source is None or source.header is None:
        return report
    old = source.header
    segment_no, created_us = report.next_segment_no, clock_us()
    epoch = new_epoch(uuid, segment_no, random_bytes(16), created_us)
    header = SegmentHeader(uuid, segment_no, old.first_lsn, old.chain, epoch, created_us)
    target = vfs.open(spare_path(base_path), create=True)
    try:
        target.truncate(0)
        target.write(0, encode_segment_header(header))
        offset, chain = HEADER_BLOCK_SIZE, old.chain
        # Only the records of this segment, which may begin before the LSN replay began with.
        for record in scan_log(vfs, base_path, uuid, old.first_lsn):
            if record.lsn >= report.next_lsn:
                break
            raw = encode_record(
                epoch, record.type, record.txn_id, record.lsn, record.durable_lsn,
                record.payload, record.flags,
            )  # fmt: skip
            target.write(offset, raw)
            offset += len(raw)
            (checksum,) = CHECKSUM.unpack_from(raw, 32)
            chain = next_chain(chain, checksum)
        target.sync(data_only=False)
        path = segment_path(base_path, segment_no)
        vfs.rename(spare_path(base_path), path)
        vfs.sync_dir(directory_of(base_path))
    finally:
        target.close()
    return msgspec.structs.replace(
        report,
        sealed=(*report.sealed, SealedSegment(segment_no, old.first_lsn, path)),
        next_segment_no=segment_no + 1,
        chain=chain,
    )
