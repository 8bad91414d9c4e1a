"""Verify a log: every checksum, the chain over all segments, every payload.

A finding has a severity:

    damage   bytes that were durable are gone, or a record says what cannot be
    note     worth knowing, harmless: a torn tail, damage in records that a checkpoint already
             holds, segments with no readable header
"""

from __future__ import annotations

import msgspec

from engine.errors import DamageFound, NewerFormat
from engine.storage.data_file import CLOSED_CLEANLY
from engine.storage.page import Meta
from engine.wal.reader import LogEnd, LogScan
from engine.wal.record import CHUNK, COMMIT, NOTE, Record, decode_note
from engine.wal.recovery import decode_commit_ops
from tools.walinspect.source import LogSource


class LogFinding(msgspec.Struct, frozen=True):
    """severity: 'damage' or 'note'. first_lsn, last_lsn: 0 when it is not about records."""

    severity: str
    message: str
    path: str | None = None
    offset: int | None = None
    first_lsn: int = 0
    last_lsn: int = 0


class VerifyReport(msgspec.Struct, frozen=True):
    """records, transactions, bytes: what verified. end: how the log ends."""

    findings: list[LogFinding]
    records: int
    transactions: int
    size: int
    first_lsn: int
    last_lsn: int
    end: LogEnd | None

    @property
    def is_damaged(self) -> bool:
        return any(finding.severity == "damage" for finding in self.findings)


def verify(source: LogSource) -> VerifyReport:
    """Read everything, go on behind damage, and say all that was found."""
    checker = _Checker(source)
    checker.run()
    return VerifyReport(
        findings=checker.findings,
        records=checker.records,
        transactions=checker.transactions,
        size=checker.size,
        first_lsn=checker.first_lsn,
        last_lsn=checker.last_lsn,
        end=checker.end,
    )


class _Checker:
    def __init__(self, source: LogSource) -> None:
        self.source = source
        self.findings: list[LogFinding] = []
        self.records = 0
        self.transactions = 0
        self.size = 0
        self.first_lsn = 0
        self.last_lsn = 0
        self.end: LogEnd | None = None
        self._chunks: list[Record] = []
        self._commit_ts = 0

    def run(self) -> None:
        source = self.source
        self._check_segments()
        if source.problem:
            self._note(f"the data file cannot be read: {source.problem}")
        scan = source.scan(on_damage="skip")
        try:
            for record in scan:
                self._check_record(record)
        except (NewerFormat, DamageFound) as error:
            self.findings.append(LogFinding("damage", error.message))
        self.end = scan.end
        for gap in scan.gaps:
            self._report_gap(gap)
        if not scan.gaps:
            self._check_end(scan)

    def _check_segments(self) -> None:
        meta = self.source.meta
        for segment in self.source.segments:
            if segment.header is None:
                self._note("the segment has no readable header", segment.path)
            elif meta is not None and segment.header.uuid != meta.uuid:
                self.findings.append(
                    LogFinding("damage", "the segment is of another database", segment.path)
                )

    def _check_record(self, record: Record) -> None:
        self.records += 1
        self.size += record.size
        self.first_lsn = self.first_lsn or record.lsn
        self.last_lsn = record.lsn
        try:
            if record.type == CHUNK:
                self._chunks.append(record)
                return
            if record.type == COMMIT:
                commit_ts, _, _ = decode_commit_ops(record, self._chunks)
                self.transactions += 1
                if commit_ts <= self._commit_ts:
                    raise DamageFound(
                        f"log record {record.lsn} commits {commit_ts} after {self._commit_ts}"
                    )
                self._commit_ts = commit_ts
            elif record.type == NOTE:
                decode_note(record)
        except DamageFound as error:
            self.findings.append(
                LogFinding("damage", error.message, None, record.offset, record.lsn, record.lsn)
            )
        self._chunks.clear()

    def _report_gap(self, gap: LogEnd) -> None:
        needed = self.source.meta is None or gap.last_lsn > self.source.meta.ckpt_lsn
        message = f"LSN {gap.first_lsn} to {gap.last_lsn} lost: {gap.reason}"
        if not needed:
            message += "; a checkpoint holds these records"
        self.findings.append(
            LogFinding(
                "damage" if needed else "note",
                message,
                gap.path,
                gap.offset,
                gap.first_lsn,
                gap.last_lsn,
            )
        )

    def _check_end(self, scan: LogScan) -> None:
        end = scan.end
        if end is None:
            return
        due = _due_lsn(self.source.meta)
        if end.kind == "damage":
            self._report_gap(end)
        elif due >= end.next_lsn:
            message = f"the data file needs the log up to LSN {due}"
            self.findings.append(
                LogFinding("damage", message, end.path, end.offset, end.next_lsn, due)
            )
        elif end.kind == "torn":
            self._note(
                f"{end.torn_size} torn bytes after LSN {end.next_lsn - 1}: a write that was "
                "interrupted before it was acknowledged",
                end.path,
                end.offset,
            )

    def _note(self, message: str, path: str | None = None, offset: int | None = None) -> None:
        self.findings.append(LogFinding("note", message, path, offset))


def _due_lsn(meta: Meta | None) -> int:
    """The LSN that the meta page says was durable in the log, 0 when it needs none."""
    if meta is None or meta.optional_features & CLOSED_CLEANLY:
        return 0
    return meta.ckpt_lsn + 1
