"""Records and rows of a log as data, and as one line of text each.

Lines (aligned by hand so that they stay greppable):

    lsn 12  seg 1 @4272  COMMIT  112 bytes  durable 11  commit 9  2026-03-01T10:00:00.000000Z  …
    lsn 12  commit 9  put     t       key 5  (5, 'five', NULL)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.types.dates import format_timestamp
from engine.wal.reader import LogEnd, LogScan
from engine.wal.record import COMMIT, FLAG_CHUNKED, NOTE, Op, Record, decode_commit, decode_note
from tools.tree_names import TreeNames
from tools.walinspect.filters import LogFilter, key_text, row_kind
from tools.walinspect.source import LogSource, learning


class RecordEntry(msgspec.Struct, frozen=True):
    """One record. commit_ts and wall_us are None where the record has none; trees: name → rows;
    note: kind of a NOTE and its facts."""

    lsn: int
    segment_no: int
    offset: int
    size: int
    type: str
    txn_id: int
    durable_lsn: int
    commit_ts: int | None
    wall_us: int | None
    rows: int
    trees: dict[str, int]
    chunks: int
    note: dict[str, Any] | None


class RowEntry(msgspec.Struct, frozen=True):
    """One row operation. commit_ts is None for rows of a CHUNK (its COMMIT comes later).

    values: SQL text by position, None for NULL; all of it None for a delete."""

    lsn: int
    commit_ts: int | None
    wall_us: int | None
    kind: str
    tree_id: int
    table: str
    key: str
    columns: tuple[str, ...] | None
    values: list[str | None] | None


class Dump:
    """Iterate `records()` or `rows()` once; then `end` says how the log ended."""

    def __init__(self, source: LogSource, wanted: LogFilter) -> None:
        self._source = source
        self._wanted = wanted
        # From the start, not from first_lsn: names of tables may be told by earlier records.
        self._scan: LogScan = source.scan()

    @property
    def end(self) -> LogEnd | None:
        """None until the log was read to its end."""
        return self._scan.end

    def records(self) -> Iterator[RecordEntry]:
        """The wanted records in LSN order. Raises DamageFound for a payload that cannot be."""
        for record, ops in learning(self._source, self._scan):
            if self._wanted.wants_record(record, ops):
                yield record_entry(record, ops, self._source.names)

    def rows(self) -> Iterator[RowEntry]:
        """The wanted rows of the wanted records, in the order of the log."""
        for record, ops in learning(self._source, self._scan):
            if not self._wanted.wants_record(record, ops):
                continue
            commit_ts = wall_us = None
            if record.type == COMMIT:
                commit = decode_commit(record)
                commit_ts, wall_us = commit.commit_ts, commit.wall_us
            for op in ops:
                if self._wanted.wants_row(op):
                    yield row_entry(record.lsn, commit_ts, wall_us, op, self._source.names)


def record_entry(record: Record, ops: list[Op], names: TreeNames) -> RecordEntry:
    """What there is to say about one record."""
    commit_ts = wall_us = note = None
    chunks = 0
    if record.type == COMMIT:
        commit = decode_commit(record)
        commit_ts, wall_us, chunks = commit.commit_ts, commit.wall_us, commit.chunk_count
    elif record.type == NOTE:
        decoded = decode_note(record)
        wall_us, note = decoded.wall_us, {"kind": decoded.kind, **decoded.facts}
    trees: dict[str, int] = {}
    for tree_id, _, _ in ops:
        name = names.name(tree_id)
        trees[name] = trees.get(name, 0) + 1
    return RecordEntry(
        lsn=record.lsn,
        segment_no=record.segment_no,
        offset=record.offset,
        size=record.size,
        type=record.type_name,
        txn_id=record.txn_id,
        durable_lsn=record.durable_lsn,
        commit_ts=commit_ts,
        wall_us=wall_us,
        rows=len(ops),
        trees=trees,
        chunks=chunks if record.flags & FLAG_CHUNKED else 0,
        note=note,
    )


def row_entry(
    lsn: int, commit_ts: int | None, wall_us: int | None, op: Op, names: TreeNames
) -> RowEntry:
    """What there is to say about one row."""
    tree_id, key, row = op
    return RowEntry(
        lsn=lsn,
        commit_ts=commit_ts,
        wall_us=wall_us,
        kind=row_kind(op),
        tree_id=tree_id,
        table=names.name(tree_id),
        key=key_text(key),
        columns=names.columns(tree_id),
        values=None if row is None else names.value_texts(tree_id, row),
    )


def time_text(wall_us: int) -> str:
    """Unix microseconds as 2026-03-01T10:00:00.000000Z."""
    seconds, rest = divmod(wall_us, 1_000_000)
    return f"{format_timestamp(seconds * 1_000_000).replace(' ', 'T', 1)}.{rest:06}Z"


def record_line(entry: RecordEntry) -> str:
    """One line for a record."""
    parts = [
        f"lsn {entry.lsn}",
        f"seg {entry.segment_no} @{entry.offset}",
        f"{entry.type:<6}",
        f"{entry.size} bytes",
        f"durable {entry.durable_lsn}",
    ]
    if entry.commit_ts is not None:
        parts.append(f"commit {entry.commit_ts}")
    if entry.wall_us is not None:
        parts.append(time_text(entry.wall_us))
    if entry.note is not None:
        facts = " ".join(f"{k}={v}" for k, v in entry.note.items() if k != "kind")
        parts.append(f"{entry.note['kind']} {facts}".rstrip())
    if entry.rows:
        trees = ", ".join(f"{name} {count}" for name, count in entry.trees.items())
        parts.append(f"{entry.rows} row{'s' * (entry.rows != 1)}: {trees}")
    if entry.chunks:
        parts.append(f"and those of {entry.chunks} chunks")
    return "  ".join(parts)


def row_line(entry: RowEntry) -> str:
    """One line for a row."""
    commit = "commit -" if entry.commit_ts is None else f"commit {entry.commit_ts}"
    line = f"lsn {entry.lsn}  {commit}  {entry.kind:<6}  {entry.table}  key {entry.key}"
    if entry.values is None:
        return line
    shown = ", ".join("NULL" if value is None else _quoted(value) for value in entry.values)
    return f"{line}  ({shown})"


def _quoted(text: str) -> str:
    """Numbers bare, everything else quoted with controls escaped."""
    bare = text.lstrip("-").replace(".", "", 1)
    if bare.isascii() and bare.isdigit():
        return text
    return ascii(text) if not text.isprintable() else "'" + text.replace("'", "''") + "'"
