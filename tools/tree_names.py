"""Names of trees, and their keys and values as text, for tools that look below SQL.

Names come from the catalog in a data file, and from catalog rows that a log tells (they are logged
like any others). Where both are missing, trees have numbers.
"""

from __future__ import annotations

from engine.catalog import CATALOG_TREE, TREE_DIRECTORY, Catalog, Table, load_catalog
from engine.errors import DamageFound, Error
from engine.storage.data_file import DataFile
from engine.storage.page import Meta, read_metas
from engine.types import SqlType, from_storage
from engine.types.text_forms import format_text
from engine.vfs import Vfs
from engine.wal.record import Key, Op, Row

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


def read_data_file(vfs: Vfs, path: str, names: TreeNames) -> Meta:
    """The newest meta page of a data file; its catalog goes into `names` where it is readable.

    Takes no lock. Raises MissingFile, NotADatabase, NewerFormat, DamageFound, StorageError.
    """
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
