"""Names to schema: tables, columns, constraints, indexes, views; immutable, versioned snapshots.

A `Catalog` is a value: changing the schema makes a new one with a higher `version`. It is stored
as rows of the system tree CATALOG_TREE (key = object id, row = (kind, name, MessagePack payload)),
so schema changes are transactional, logged and checkpointed like any other row.

Invariants
1. Object ids, tree ids and column ids are never reused.
2. A table's rows live in the tree `table_id`; each index in the tree `index_id`.
3. `Table.columns[i]` is position i of every row tuple of the table (storage form).
4. A table with a single-column integer PRIMARY KEY has int keys equal to that column
   (`key_column`); one with another primary key has bytes keys (engine.keys); one without has a
   hidden int rowid as key, which is not part of the row.
"""

from __future__ import annotations

import msgspec

from engine.types import SqlType

TREE_DIRECTORY = 0  # key = tree id, row = (MessagePack TreeSpec,): which trees exist
CATALOG_TREE = 1  # key = object id, row = (kind, name, payload)
FIRST_USER_ID = 16


class Column(msgspec.Struct, frozen=True, gc=False):
    """default: source text of the DEFAULT expression, or None."""

    column_id: int
    name: str
    type: SqlType
    not_null: bool = False
    default: str | None = None


class CheckConstraint(msgspec.Struct, frozen=True, gc=False):
    """text: source of the boolean expression over the table's columns."""

    name: str
    text: str


class IndexColumn(msgspec.Struct, frozen=True, gc=False):
    """column_index: position in Table.columns."""

    column_index: int
    descending: bool = False


class Index(msgspec.Struct, frozen=True, gc=False):
    """A secondary index: tree key = encoded (columns…, table key), row = ().

    `constraint` is True when it was made by a UNIQUE constraint (dropped with it only).
    """

    index_id: int
    name: str
    table_id: int
    columns: tuple[IndexColumn, ...]
    unique: bool = False
    constraint: bool = False


class Table(msgspec.Struct, frozen=True, gc=False):
    """primary_key: positions of its columns, () for a table with a hidden rowid.
    key_column: position of the single integer primary-key column, or None."""

    table_id: int
    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[int, ...] = ()
    primary_key_name: str = ""
    checks: tuple[CheckConstraint, ...] = ()
    indexes: tuple[Index, ...] = ()
    key_column: int | None = None
    storage: str = "btree"
    next_column_id: int = 0

    @property
    def int_keys(self) -> bool:
        """True when tree keys are ints (integer primary key or hidden rowid)."""
        return self.key_column is not None or not self.primary_key


class View(msgspec.Struct, frozen=True, gc=False):
    view_id: int
    name: str
    columns: tuple[str, ...]
    text: str


class Catalog:
    """An immutable snapshot of the schema. Look-ups are dictionary hits."""

    __slots__ = ("indexes", "next_id", "tables", "tables_by_id", "version", "views")

    def __init__(
        self,
        version: int,
        tables: dict[str, Table],
        views: dict[str, View],
        next_id: int = FIRST_USER_ID,
    ) -> None:
        self.version = version
        self.tables = tables
        self.views = views
        self.next_id = next_id
        self.tables_by_id = {table.table_id: table for table in tables.values()}
        self.indexes: dict[str, tuple[Table, Index]] = {
            index.name: (table, index) for table in tables.values() for index in table.indexes
        }
