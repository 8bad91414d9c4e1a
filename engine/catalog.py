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
5. Tables, views and indexes share one namespace.

The payload of a table's row is the MessagePack map of its `Table` (indexes included), that of a
view its `View`: names travel with values, so later versions may add fields with defaults.

What it does not do: allocate ids or write rows (executor.ddl does both, in a transaction).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from engine.errors import DamageFound
from engine.keys import IndexKeyCodec, KeyCodec, index_key_codec, key_codec
from engine.storage.store import ColumnSpec, Row, TreeSpec
from engine.types import SqlType, physical_kind

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

    __slots__ = ("_positions", "indexes", "next_id", "tables", "tables_by_id", "version", "views")

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
        self._positions: dict[int, dict[str, int]] = {}
        self.tables_by_id = {table.table_id: table for table in tables.values()}
        self.indexes: dict[str, tuple[Table, Index]] = {
            index.name: (table, index) for table in tables.values() for index in table.indexes
        }

    def positions(self, table: Table) -> dict[str, int]:
        """Column name → position in the table's rows; made once for each catalog (a table that is
        only being defined has no id yet)."""
        if not table.table_id:
            return {column.name: i for i, column in enumerate(table.columns)}
        found = self._positions.get(table.table_id)
        if found is None:
            found = {column.name: i for i, column in enumerate(table.columns)}
            self._positions[table.table_id] = found
        return found

    def relation_kind(self, name: str) -> str | None:
        """'table', 'view', 'index', or None when the name is free."""
        if name in self.tables:
            return "table"
        if name in self.views:
            return "view"
        return "index" if name in self.indexes else None

    def _changed(
        self, tables: dict[str, Table] | None = None, views: dict[str, View] | None = None
    ) -> Catalog:
        return Catalog(
            self.version + 1,
            self.tables if tables is None else tables,
            self.views if views is None else views,
            self.next_id,
        )

    def with_table(self, table: Table) -> Catalog:
        """A catalog with the table added, or replaced when its id is there already."""
        old = self.tables_by_id.get(table.table_id)
        tables = {name: other for name, other in self.tables.items() if other is not old}
        tables[table.name] = table
        changed = self._changed(tables=tables)
        highest = max((table.table_id, *(index.index_id for index in table.indexes)))
        changed.next_id = max(self.next_id, highest + 1)
        return changed

    def without_table(self, name: str) -> Catalog:
        """A catalog without the table and its indexes."""
        return self._changed(tables={n: t for n, t in self.tables.items() if n != name})

    def with_view(self, view: View) -> Catalog:
        """A catalog with the view added, or replaced when one has its name."""
        changed = self._changed(views={**self.views, view.name: view})
        changed.next_id = max(self.next_id, view.view_id + 1)
        return changed

    def without_view(self, name: str) -> Catalog:
        """A catalog without the view."""
        return self._changed(views={n: v for n, v in self.views.items() if n != name})


EMPTY_CATALOG = Catalog(0, {}, {})

# ── rows of CATALOG_TREE ─────────────────────────────────────────────────────────────────────
_encode = msgspec.msgpack.Encoder().encode
_decode_table = msgspec.msgpack.Decoder(Table).decode
_decode_view = msgspec.msgpack.Decoder(View).decode


def encode_table(table: Table) -> tuple[int, Row]:
    """(key, row) of CATALOG_TREE for the table with its indexes."""
    return table.table_id, ("table", table.name, _encode(table))


def encode_view(view: View) -> tuple[int, Row]:
    """(key, row) of CATALOG_TREE for the view."""
    return view.view_id, ("view", view.name, _encode(view))


def load_catalog(rows: Iterable[tuple[int, Row]], version: int) -> Catalog:
    """The catalog that rows of CATALOG_TREE spell. Raises DamageFound for a row it cannot read."""
    tables: dict[str, Table] = {}
    views: dict[str, View] = {}
    next_id = FIRST_USER_ID
    for key, (kind, name, payload) in rows:
        try:
            if kind == "table":
                table = tables[name] = _decode_table(payload)
                used = (key, *(index.index_id for index in table.indexes))
            else:
                views[name] = _decode_view(payload)
                used = (key,)
        except msgspec.MsgspecError as error:
            raise DamageFound(f"catalog entry {key} ({kind} {name}) is damaged: {error}") from None
        next_id = max(next_id, max(used) + 1)
    return Catalog(version, tables, views, next_id)


# ── trees and keys of a table ────────────────────────────────────────────────────────────────
def tree_spec(table: Table) -> TreeSpec:
    """What the table's tree stores."""
    return TreeSpec(
        tree_id=table.table_id,
        key_kind="int" if table.int_keys else "bytes",
        columns=tuple(
            ColumnSpec(column.column_id, physical_kind(column.type)) for column in table.columns
        ),
        key_column=table.key_column,
        storage=table.storage,
    )


def tree_spec_for_index(table: Table, index: Index) -> TreeSpec:
    """What the index's tree stores: keys only."""
    return TreeSpec(tree_id=index.index_id, key_kind="bytes", storage=table.storage)


def primary_key_codec(table: Table) -> KeyCodec:
    """Encodes the primary key of a table whose keys are bytes (not `table.int_keys`)."""
    return key_codec(tuple((table.columns[i].type, False) for i in table.primary_key))


def codec_of_index(table: Table, index: Index) -> IndexKeyCodec:
    """Encodes the index's keys: its columns, then the table key."""
    parts = tuple(
        (table.columns[part.column_index].type, part.descending) for part in index.columns
    )
    return index_key_codec(parts, table.int_keys)
