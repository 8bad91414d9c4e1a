"""What a log is made of: kinds and sizes of records, rows per tree, how often it was synced.

`sync_count` is a lower bound read off the records: each carries the durable LSN of its moment, so
every step of that number is at least one sync. Bytes per tree are those of the rows' MessagePack.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.wal.reader import LogEnd
from engine.wal.record import COMMIT, NOTE, Op, Record, decode_commit, decode_note, encode_msgpack
from engine.wal.segment import Segment
from tools.walinspect.source import LogSource, learning


class KindCount(msgspec.Struct):
    """Records of one type; sizes in bytes on disk."""

    count: int = 0
    size: int = 0
    size_max: int = 0


class TreeCount(msgspec.Struct):
    """Row operations on one tree. size: bytes of their MessagePack; key_count: distinct keys;
    rewrites: operations on a key that the log had already written."""

    tree_id: int
    puts: int = 0
    deletes: int = 0
    size: int = 0
    key_count: int = 0
    rewrites: int = 0


class SegmentFacts(msgspec.Struct, frozen=True):
    """One segment file. first_lsn is None when its header is unreadable."""

    segment_no: int
    path: str
    size: int
    first_lsn: int | None
    created_us: int | None


class LogStatistics(msgspec.Struct):
    """See the module header. LSNs are 0 and times None when there is no record."""

    segments: list[SegmentFacts]
    ckpt_lsn: int | None
    first_lsn: int = 0
    last_lsn: int = 0
    replay_records: int = 0
    kinds: dict[str, KindCount] = {}
    trees: dict[str, TreeCount] = {}
    notes: dict[str, int] = {}
    transactions: int = 0
    rows: int = 0
    rows_max: int = 0
    sync_count: int = 0
    first_us: int | None = None
    last_us: int | None = None
    end: LogEnd | None = None


KEYS_MAX = 1_000_000
"""Distinct keys remembered to count rewrites; beyond it new keys are not."""


def collect(source: LogSource) -> LogStatistics:
    """Read the whole log once. Raises DamageFound for a payload that cannot be decoded."""
    scan = source.scan()
    found = LogStatistics(
        segments=[_segment_facts(segment) for segment in source.segments],
        ckpt_lsn=None if source.meta is None else source.meta.ckpt_lsn,
        kinds={},
        trees={},
        notes={},
    )
    seen: set[tuple[int, int | bytes]] = set()
    durable_lsn = -1
    for record, ops in learning(source, scan):
        found.first_lsn = found.first_lsn or record.lsn
        found.last_lsn = record.lsn
        if found.ckpt_lsn is None or record.lsn > found.ckpt_lsn:
            found.replay_records += 1
        if record.durable_lsn > durable_lsn >= 0:
            found.sync_count += 1
        durable_lsn = record.durable_lsn
        _count_kind(found, record)
        _count_rows(found, source, ops, seen)
    found.end = scan.end
    by_size = sorted(found.trees.values(), key=lambda tree: (-tree.size, tree.tree_id))
    found.trees = {}
    for tree in by_size:
        name = source.names.name(tree.tree_id)
        if name in found.trees:  # a table dropped and made again
            name += f" (tree {tree.tree_id})"
        found.trees[name] = tree
    return found


def _segment_facts(segment: Segment) -> SegmentFacts:
    header = segment.header
    return SegmentFacts(
        segment.segment_no,
        segment.path,
        segment.size,
        None if header is None else header.first_lsn,
        None if header is None else header.created_us,
    )


def _count_kind(found: LogStatistics, record: Record) -> None:
    kind = found.kinds.setdefault(record.type_name, KindCount())
    kind.count += 1
    kind.size += record.size
    kind.size_max = max(kind.size_max, record.size)
    wall_us = None
    if record.type == COMMIT:
        wall_us = decode_commit(record).wall_us
        found.transactions += 1
    elif record.type == NOTE:
        note = decode_note(record)
        wall_us = note.wall_us
        found.notes[note.kind] = found.notes.get(note.kind, 0) + 1
    if wall_us is not None:
        found.first_us = wall_us if found.first_us is None else found.first_us
        found.last_us = wall_us


def _count_rows(
    found: LogStatistics, source: LogSource, ops: list[Op], seen: set[tuple[int, int | bytes]]
) -> None:
    found.rows += len(ops)
    found.rows_max = max(found.rows_max, len(ops))
    for op in ops:
        tree_id, key, row = op
        # Grouped by number first: a tree's name may change while the log is read.
        tree = found.trees.setdefault(str(tree_id), TreeCount(tree_id))
        if row is None:
            tree.deletes += 1
        else:
            tree.puts += 1
        tree.size += len(encode_msgpack(op))
        if (tree_id, key) in seen:
            tree.rewrites += 1
        elif len(seen) < KEYS_MAX:
            seen.add((tree_id, key))
            tree.key_count += 1


def facts(found: LogStatistics) -> dict[str, Any]:
    """The statistics as JSON-ready facts."""
    built: dict[str, Any] = msgspec.to_builtins(found)
    return built
