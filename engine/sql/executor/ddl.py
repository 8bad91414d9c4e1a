"""Schema changes: rows of the catalog and of the tree directory, in the statement's transaction.

statement      catalog rows           trees
CREATE TABLE   + table                + table, + each index
CREATE INDEX   ~ table                + index, with an entry for each row
CREATE VIEW    + view
DROP TABLE     - table                - table, - each index
DROP INDEX     ~ table                - index
DROP VIEW      - view

Invariants
1. `lock_schema` comes first, then X on every table that is changed or dropped: one schema change
   at a time, and no writer of another transaction on the table.
2. The transaction's catalog and the rows written here always say the same.
3. DDL is undone as any write: an aborted statement leaves neither rows nor a changed catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from msgspec.structs import replace

from engine.catalog import (
    CATALOG_TREE,
    TREE_DIRECTORY,
    Catalog,
    Column,
    Index,
    Table,
    View,
    codec_of_index,
    encode_table,
    encode_view,
    tree_spec,
    tree_spec_for_index,
)
from engine.errors import ProgrammingError, UniqueViolation
from engine.sql import bound
from engine.sql.executor.write import TableWriter, insert_batch, unique_violation
from engine.storage.store import TreeSpec, encode_tree_spec

_BATCH_ROWS = 4096
_INDEX_ROWS = 256


def execute_ddl(
    statement: bound.CreateTable | bound.CreateIndex | bound.CreateView | bound.Drop,
    transaction: Any,
    poll: Callable[[], None],
) -> None:
    """Run one schema change inside the transaction's current statement."""
    transaction.lock_schema()
    match statement:
        case bound.CreateTable():
            create_table(transaction, statement.table, statement.if_not_exists)
        case bound.CreateIndex():
            _create_index(transaction, statement, poll)
        case bound.CreateView():
            _create_view(transaction, statement)
        case bound.Drop(kind="index"):
            _drop_indexes(transaction, statement)
        case bound.Drop(kind="table"):
            _drop_views(transaction, statement.dependent_views)
            _drop_tables(transaction, statement)
        case bound.Drop():
            _drop_views(transaction, statement.dependent_views)
            _drop_views(transaction, statement.names)


def create_table(transaction: Any, table: Table, if_not_exists: bool) -> Table | None:
    """The table with its ids, or None when it exists already and that is forgiven."""
    catalog: Catalog = transaction.catalog
    if catalog.relation_kind(table.name) is not None:
        if if_not_exists:
            return None
        raise ProgrammingError(f'relation "{table.name}" already exists', sqlstate="42P07")
    allocate = transaction.manager.store.allocate_id
    table_id = allocate()
    columns: list[Column] = []
    for position, column in enumerate(table.columns):
        columns.append(replace(column, column_id=position + 1))
    indexes = tuple(
        [replace(index, index_id=allocate(), table_id=table_id) for index in table.indexes]
    )
    table = replace(
        table,
        table_id=table_id,
        columns=tuple(columns),
        indexes=indexes,
        next_column_id=len(columns) + 1,
    )
    _add_tree(transaction, tree_spec(table))
    for index in indexes:
        _require_free_name(catalog, index.name)
        _add_tree(transaction, tree_spec_for_index(table, index))
    _put_table(transaction, table)
    transaction.set_catalog(catalog.with_table(table))
    return table


def fill_table(
    transaction: Any,
    table: Table,
    rows: Iterable[tuple[Any, ...]],
    poll: Callable[[], None],
) -> int:
    """CREATE TABLE … AS: write the query's rows; returns their number."""
    writer = TableWriter(table)
    count = 0
    batch: list[tuple[Any, ...]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH_ROWS:
            insert_batch(writer, transaction, batch)
            count += len(batch)
            batch = []
            poll()
    if batch:
        insert_batch(writer, transaction, batch)
    return count + len(batch)


def _require_free_name(catalog: Catalog, name: str) -> None:
    if catalog.relation_kind(name) is not None:
        raise ProgrammingError(f'relation "{name}" already exists', sqlstate="42P07")


def _add_tree(transaction: Any, spec: TreeSpec) -> None:
    transaction.put(TREE_DIRECTORY, spec.tree_id, encode_tree_spec(spec))


def _put_table(transaction: Any, table: Table) -> None:
    key, row = encode_table(table)
    transaction.put(CATALOG_TREE, key, row)


# ── indexes ──────────────────────────────────────────────────────────────────────────────────
def _create_index(transaction: Any, statement: bound.CreateIndex, poll: Callable[[], None]) -> None:
    catalog: Catalog = transaction.catalog
    if catalog.relation_kind(statement.index.name) is not None:
        if statement.if_not_exists:
            return
        _require_free_name(catalog, statement.index.name)
    transaction.lock_table(statement.table.table_id, "X")
    table = catalog.tables_by_id[statement.table.table_id]
    index = replace(
        statement.index,
        index_id=transaction.manager.store.allocate_id(),
        table_id=table.table_id,
    )
    _add_tree(transaction, tree_spec_for_index(table, index))
    changed = replace(table, indexes=(*table.indexes, index))
    _build_index(transaction, changed, index, poll)
    _put_table(transaction, changed)
    transaction.set_catalog(catalog.with_table(changed))


def _build_index(transaction: Any, table: Table, index: Index, poll: Callable[[], None]) -> None:
    """An entry for each row the table has; duplicates in a unique index are 23505."""
    codec = codec_of_index(table, index)
    columns = tuple([part.column_index for part in index.columns])
    pairs = transaction.scan(table.table_id, columns=columns)
    entries: list[bytes] = []
    seen: set[bytes] = set()
    encode = codec.encode
    # Only the index's columns are read, and few rows at a time, so that the garbage collector has
    # nothing to look through: a fifth of the time of whole rows one by one.
    while chunk := list(islice(pairs, _INDEX_ROWS)):
        if index.unique:
            for _, values in chunk:
                if None not in values:
                    prefix = codec.prefix(values)
                    if prefix in seen:
                        raise _cannot_be_unique(table, index, values)
                    seen.add(prefix)
        entries += [encode(values, key) for key, values in chunk]
        poll()
    entries.sort()  # the memtable would sort them anyway, and slower
    transaction.write_many_covered(index.index_id, dict.fromkeys(entries, ()))


def _cannot_be_unique(table: Table, index: Index, values: tuple[Any, ...]) -> UniqueViolation:
    positions = tuple([part.column_index for part in index.columns])
    named = unique_violation(table, index.name, positions, values, UniqueViolation(""))
    detail = (
        None if named.detail is None else named.detail.replace("already exists", "is duplicated")
    )
    return UniqueViolation(
        f'could not create unique index "{index.name}"',
        table=table.name,
        constraint=index.name,
        columns=named.columns,
        detail=detail,
    )


# ── views ────────────────────────────────────────────────────────────────────────────────────
def _create_view(transaction: Any, statement: bound.CreateView) -> None:
    catalog: Catalog = transaction.catalog
    kind = catalog.relation_kind(statement.name)
    view_id = None
    if kind == "view" and statement.or_replace:
        view_id = catalog.views[statement.name].view_id
    elif kind is not None:
        if statement.if_not_exists:
            return
        _require_free_name(catalog, statement.name)
    if view_id is None:
        view_id = transaction.manager.store.allocate_id()
    view = View(view_id, statement.name, statement.columns, statement.text)
    key, row = encode_view(view)
    transaction.put(CATALOG_TREE, key, row)
    transaction.set_catalog(catalog.with_view(view))


# ── DROP ─────────────────────────────────────────────────────────────────────────────────────
def _drop_tables(transaction: Any, statement: bound.Drop) -> None:
    for name in statement.names:
        catalog: Catalog = transaction.catalog
        table = catalog.tables[name]
        transaction.lock_table(table.table_id, "X")
        for tree_id in (table.table_id, *[index.index_id for index in table.indexes]):
            transaction.delete(TREE_DIRECTORY, tree_id)
        transaction.delete(CATALOG_TREE, table.table_id)
        transaction.set_catalog(catalog.without_table(name))


def _drop_indexes(transaction: Any, statement: bound.Drop) -> None:
    for name in statement.names:
        catalog: Catalog = transaction.catalog
        table, index = catalog.indexes[name]
        if index.constraint:
            raise ProgrammingError(
                f"cannot drop index {name} because constraint {name} on table {table.name} "
                "requires it",
                sqlstate="2BP01",
                hint=f"Drop the table {table.name} instead.",
            )
        transaction.lock_table(table.table_id, "X")
        kept = tuple([other for other in table.indexes if other.index_id != index.index_id])
        changed = replace(table, indexes=kept)
        transaction.delete(TREE_DIRECTORY, index.index_id)
        _put_table(transaction, changed)
        transaction.set_catalog(catalog.with_table(changed))


def _drop_views(transaction: Any, names: Iterable[str]) -> None:
    for name in names:
        catalog: Catalog = transaction.catalog
        transaction.delete(CATALOG_TREE, catalog.views[name].view_id)
        transaction.set_catalog(catalog.without_view(name))
