"""The schema as SQL text, and as rows for listings.

Invariant 1: running the statements of `schema_statements` in an empty database makes an equal
schema.
"""

from __future__ import annotations

import re

from engine.catalog import Catalog, Index, Table, View
from engine.sql.lexer import RESERVED
from engine.types.kinds import type_text

_BARE = re.compile(r"[a-z_][a-z0-9_$]*")


def quote_identifier(name: str) -> str:
    """`name` as it must be written in SQL: bare where the lexer folds it to itself."""
    if _BARE.fullmatch(name) and name not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def _names(names: list[str]) -> str:
    return ", ".join(quote_identifier(name) for name in names)


def table_statement(table: Table) -> str:
    """CREATE TABLE … for the table with its constraints, without a semicolon."""
    parts = []
    for column in table.columns:
        part = f"{quote_identifier(column.name)} {type_text(column.type)}"
        in_key = table.columns.index(column) in table.primary_key
        if column.not_null and not in_key:
            part += " NOT NULL"
        if column.default is not None:
            part += f" DEFAULT {column.default}"
        parts.append(part)
    if table.primary_key:
        key = _names([table.columns[place].name for place in table.primary_key])
        name = table.primary_key_name
        named = f"CONSTRAINT {quote_identifier(name)} " if name != f"{table.name}_pkey" else ""
        parts.append(f"{named if name else ''}PRIMARY KEY ({key})")
    for index in table.indexes:
        if index.constraint:
            columns = _names([table.columns[part.column_index].name for part in index.columns])
            parts.append(f"CONSTRAINT {quote_identifier(index.name)} UNIQUE ({columns})")
    for check in table.checks:
        parts.append(f"CONSTRAINT {quote_identifier(check.name)} CHECK ({check.text})")
    body = ",\n  ".join(parts)
    return f"CREATE TABLE {quote_identifier(table.name)} (\n  {body}\n)"


def index_statement(table: Table, index: Index) -> str:
    """CREATE INDEX …, without a semicolon."""
    columns = ", ".join(
        quote_identifier(table.columns[part.column_index].name)
        + (" DESC" if part.descending else "")
        for part in index.columns
    )
    unique = "UNIQUE " if index.unique else ""
    return (
        f"CREATE {unique}INDEX {quote_identifier(index.name)} "
        f"ON {quote_identifier(table.name)} ({columns})"
    )


def view_statement(view: View) -> str:
    """CREATE VIEW …, without a semicolon."""
    columns = f" ({_names(list(view.columns))})" if view.columns else ""
    return f"CREATE VIEW {quote_identifier(view.name)}{columns} AS {view.text}"


def schema_statements(catalog: Catalog, names: tuple[str, ...] = ()) -> list[str]:
    """The statements that make the schema, or only the named tables, indexes and views, in order
    of creation."""
    wanted = set(names)
    statements = []
    for table in sorted(catalog.tables.values(), key=lambda table: table.table_id):
        whole = not wanted or table.name in wanted
        if whole:
            statements.append(table_statement(table))
        for index in sorted(table.indexes, key=lambda index: index.index_id):
            if not index.constraint and (whole or index.name in wanted):
                statements.append(index_statement(table, index))
    for view in sorted(catalog.views.values(), key=lambda view: view.view_id):
        if not wanted or view.name in wanted:
            statements.append(view_statement(view))
    return statements
