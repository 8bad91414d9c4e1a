"""What listings show of the schema: tables with rows, indexes, columns."""

from __future__ import annotations

import difflib
import fnmatch
from typing import Any

from engine.catalog import Catalog, Table
from engine.errors import ProgrammingError
from engine.types.kinds import type_text

TABLE_COLUMNS = (
    ("name", "text"),
    ("kind", "text"),
    ("rows", "integer"),
    ("columns", "integer"),
    ("indexes", "integer"),
)
INDEX_COLUMNS = (
    ("name", "text"),
    ("table", "text"),
    ("columns", "text"),
    ("unique", "boolean"),
    ("entries", "integer"),
)
DESCRIBE_COLUMNS = (
    ("column", "text"),
    ("type", "text"),
    ("nullable", "boolean"),
    ("default", "text"),
    ("key", "text"),
)


def current_catalog(database: Any) -> Catalog:
    """The newest committed catalog."""
    catalog: Catalog = database.transactions.catalog
    return catalog


def table_rows(database: Any, pattern: str | None = None) -> list[tuple[Any, ...]]:
    """Rows of TABLE_COLUMNS, by name; pattern is a glob (* and ?)."""
    catalog = current_catalog(database)
    snapshot = database.store.snapshot()
    try:
        rows: list[tuple[Any, ...]] = [
            (t.name, "table", snapshot.count(t.table_id), len(t.columns), len(t.indexes))
            for t in catalog.tables.values()
        ]
    finally:
        snapshot.close()
    rows += [(v.name, "view", None, len(v.columns) or None, None) for v in catalog.views.values()]
    return sorted(row for row in rows if _matches(row[0], pattern))


def index_rows(database: Any, table_name: str | None = None) -> list[tuple[Any, ...]]:
    """Rows of INDEX_COLUMNS, by table and name, primary keys that are trees' own left out."""
    catalog = current_catalog(database)
    snapshot = database.store.snapshot()
    rows = []
    try:
        for table in catalog.tables.values():
            for index in table.indexes:
                columns = ", ".join(
                    table.columns[part.column_index].name + (" desc" if part.descending else "")
                    for part in index.columns
                )
                count = snapshot.count(index.index_id)
                rows.append((index.name, table.name, columns, index.unique, count))
    finally:
        snapshot.close()
    wanted = [row for row in rows if table_name is None or row[1] == table_name]
    return sorted(wanted, key=lambda row: (row[1], row[0]))


def describe_rows(table: Table) -> list[tuple[Any, ...]]:
    """Rows of DESCRIBE_COLUMNS, in the table's order."""
    rows = []
    for place, column in enumerate(table.columns):
        keys = ["primary key"] if place in table.primary_key else []
        keys += [
            index.name
            for index in table.indexes
            if any(part.column_index == place for part in index.columns)
        ]
        nullable = not column.not_null and place not in table.primary_key
        rows.append(
            (column.name, type_text(column.type), nullable, column.default, ", ".join(keys) or None)
        )
    return rows


def find_table(catalog: Catalog, name: str) -> Table:
    """The table of that name, folded as SQL would. Raises ProgrammingError 42P01."""
    folded = name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
    table = catalog.tables.get(folded) or catalog.tables.get(name)
    if table is None:
        close = difflib.get_close_matches(folded, catalog.tables, n=1)
        hint = f'did you mean "{close[0]}"?' if close else None
        raise ProgrammingError(f'table "{name}" does not exist', sqlstate="42P01", hint=hint)
    return table


def _matches(name: str, pattern: str | None) -> bool:
    return pattern is None or fnmatch.fnmatchcase(name, pattern)
