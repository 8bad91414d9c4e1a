"""The log of one database: its segments, what the data file says about it, names of its trees.

Works without a sound data file: then every LSN is wanted, and trees have only numbers and the
names that the log itself tells (catalog rows are logged like any others).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from engine.catalog import CATALOG_TREE
from engine.errors import Error, MissingFile
from engine.storage.page import Meta
from engine.vfs import Vfs
from engine.wal.reader import LogScan, scan_log
from engine.wal.record import CHUNK, COMMIT, Op, Record, decode_chunk, decode_commit
from engine.wal.segment import Segment, list_segments
from tools.tree_names import TreeNames, read_data_file

_SEGMENT_NAME = re.compile(r"-wal-\d{8,}$")


class LogSource(msgspec.Struct):
    """base_path: the database. meta: its newest meta page, None when unreadable."""

    vfs: Vfs
    base_path: str
    meta: Meta | None
    problem: str
    segments: list[Segment]
    names: TreeNames

    @property
    def first_lsn(self) -> int:
        """The oldest LSN the segments hold; 1 when there is none."""
        firsts = [s.header.first_lsn for s in self.segments if s.header is not None]
        return min(firsts, default=1)

    def scan(self, from_lsn: int | None = None, *, on_damage: str = "stop") -> LogScan:
        """The log's records; from the oldest when from_lsn is None."""
        start = self.first_lsn if from_lsn is None else max(from_lsn, self.first_lsn)
        return scan_log(self.vfs, self.base_path, None, start, on_damage=on_damage)


def open_source(vfs: Vfs, path: str) -> LogSource:
    """The log of the database `path`, which may also be one of its segment files.

    Raises MissingFile when there is neither a database nor a segment.
    """
    base_path = _SEGMENT_NAME.sub("", path)
    try:
        segments = list_segments(vfs, base_path)
    except Error:
        if vfs.exists(base_path):
            raise
        segments = []  # no such directory
    if not vfs.exists(base_path) and not segments:
        raise MissingFile(f'no such file: "{path}"', path=path)
    names = TreeNames()
    meta, problem = None, ""
    try:
        meta = read_data_file(vfs, base_path, names)
    except Error as error:
        if not segments:
            raise  # neither a database nor a log
        problem = error.message
    return LogSource(vfs, base_path, meta, problem, segments, names)


def record_ops(record: Record) -> list[Op]:
    """The rows in one record, [] for a kind that has none. Raises DamageFound."""
    if record.type == COMMIT:
        return decode_commit(record).ops
    return decode_chunk(record) if record.type == CHUNK else []


def learning(source: LogSource, records: LogScan) -> Iterator[tuple[Record, list[Op]]]:
    """(record, its rows), with names taken from catalog rows as they pass."""
    for record in records:
        ops = record_ops(record)
        for op in ops:
            if op[0] == CATALOG_TREE:
                source.names.learn_op(op)
        yield record, ops
