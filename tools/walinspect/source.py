"""The log of one database: its segments, what the data file says about it, names of its trees.

Works without a sound data file: then every LSN is wanted, and trees have only numbers and the
names that the log itself tells (catalog rows are logged like any others).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from engine.catalog import CATALOG_TREE, TREE_DIRECTORY, Catalog, Table, load_catalog
from engine.errors import DamageFound, Error, MissingFile
from engine.storage.data_file import DataFile
from engine.storage.page import Meta, read_metas
from engine.types import SqlType, from_storage
from engine.types.text_forms import format_text
from engine.vfs import Vfs
from engine.wal.reader import LogScan, scan_log
from engine.wal.record import CHUNK, COMMIT, Key, Op, Record, Row, decode_chunk, decode_commit
from engine.wal.segment import Segment, list_segments

_SEGMENT_NAME = re.compile(r"-wal-\d{8,}$")
SYSTEM_NAMES = {TREE_DIRECTORY: "(trees)", CATALOG_TREE: "(catalog)"}


class TreeNames:
    """Names of trees, and the text of their keys and values."""

    def __init__(self) -> None:
        self._tables: dict[int, Table] = {}
        self._indexes: dict[int, str] = {}
        self._rows: dict[Key, Row] = {}

    def learn(self, catalog: Catalog) -> None:
        """Take the names of a catalog; older names of dropped tables stay."""
        for table in catalog.tables.values():
            self._tables[table.table_id] = table
            for index in table.indexes:
                self._indexes[index.index_id] = index.name

    def learn_op(self, op: Op) -> None:
        """Take the name a logged catalog row tells."""
        tree_id, key, row = op
        if tree_id == CATALOG_TREE and isinstance(key, int) and row is not None:
            try:
                self.learn(load_catalog([(key, row)], 0))
            except (DamageFound, ValueError, TypeError):
                return  # a row this version cannot read has no name to give

    def name(self, tree_id: int) -> str:
        """The table's or index's name, or `tree N`."""
        table = self._tables.get(tree_id)
        if table is not None:
            return table.name
        return self._indexes.get(tree_id) or SYSTEM_NAMES.get(tree_id) or f"tree {tree_id}"

    def columns(self, tree_id: int) -> tuple[str, ...] | None:
        """Column names of a table's rows, None when they are not known."""
        table = self._tables.get(tree_id)
        return None if table is None else tuple(column.name for column in table.columns)

    def tree_ids(self, name: str) -> set[int]:
        """Trees with this name (`tree 17` and `17` work too)."""
        found = {tree_id for tree_id, table in self._tables.items() if table.name == name}
        found |= {tree_id for tree_id, index_name in self._indexes.items() if index_name == name}
        found |= {tree_id for tree_id, system_name in SYSTEM_NAMES.items() if system_name == name}
        number = name.removeprefix("tree ")
        return found | {int(number)} if number.isdecimal() else found

    def value_texts(self, tree_id: int, row: Row) -> list[str | None]:
        """The row's values as SQL text, None for NULL."""
        table = self._tables.get(tree_id)
        if table is None or len(table.columns) != len(row):
            return [None if value is None else plain_text(value) for value in row]
        return [
            None if value is None else sql_text(column.type, value)
            for column, value in zip(table.columns, row)
        ]


def plain_text(value: object) -> str:
    """A storage value whose type is not known: bytes as hex, the rest as Python says it."""
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)


def sql_text(sql_type: SqlType, value: object) -> str:
    """A storage value as the text SQL shows; plain_text where it is not one of the type."""
    try:
        convert = from_storage(sql_type)
        runtime = value if convert is None else convert(value)
        formatter = format_text(sql_type)
        return str(runtime) if formatter is None else formatter(runtime)
    except (Error, TypeError, ValueError, ArithmeticError):
        return plain_text(value)


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
    segments = list_segments(vfs, base_path)
    if not vfs.exists(base_path) and not segments:
        raise MissingFile(f'no such file: "{path}"', path=path)
    names = TreeNames()
    meta, problem = None, ""
    try:
        meta = _read_data_file(vfs, base_path, names)
    except Error as error:
        problem = error.message
    return LogSource(vfs, base_path, meta, problem, segments, names)


def _read_data_file(vfs: Vfs, path: str, names: TreeNames) -> Meta:
    file = vfs.open(path, readonly=True)
    try:
        meta = read_metas(file).newest
        try:
            data = DataFile(file, io="pread", readonly=True, verify=False)
            rows = data.frozen_trees()[CATALOG_TREE].scan()
            names.learn(load_catalog(((int(key), row) for key, row in rows), 0))
        except DamageFound:
            pass  # no names from this file; the log may tell some
        return meta
    finally:
        file.close()


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
