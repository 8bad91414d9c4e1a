"""The whole check of a database: pages and log, then what only the schema knows.

    pages    engine.storage.check.check_file: trees, checksums, order, counts, free space, log
    indexes  every row has its entry, every entry its row, counts agree
    schema   every table and index has its tree, every user tree is known
    values   NOT NULL and CHECK hold (checked by SQL), when asked

Findings name tables instead of tree numbers. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.catalog import Catalog, Index, Table, codec_of_index
from engine.database import Database
from engine.errors import Error
from engine.storage.check import IndexCheck, check_file, check_indexes
from engine.storage.check_tree import Finding
from engine.storage.store import FIRST_USER_ID, Key
from engine.vfs import OsVfs
from mantis_cli.catalog_view import current_catalog
from mantis_cli.schema_text import quote_identifier
from mantis_cli.signals import SIGNALS

FINDING_COLUMNS = (
    ("kind", "text"),
    ("object", "text"),
    ("page", "integer"),
    ("problem", "text"),
)


class NamedFinding:
    """A finding with the name of the table or index it is about."""

    __slots__ = ("kind", "message", "name", "page_no")

    def __init__(self, kind: str, name: str, page_no: int, message: str) -> None:
        self.kind = kind
        self.name = name
        self.page_no = page_no
        self.message = message


def finding_row(finding: NamedFinding) -> tuple[Any, ...]:
    """A row of FINDING_COLUMNS."""
    return finding.kind, finding.name or None, finding.page_no or None, finding.message


def finding_facts(finding: NamedFinding) -> dict[str, Any]:
    """A finding for JSON."""
    return {
        "kind": finding.kind,
        "object": finding.name or None,
        "page_no": finding.page_no or None,
        "message": finding.message,
    }


def check_open(database: Database, *, quick: bool = False) -> Iterator[NamedFinding]:
    """Check an open database whose newest commits are in the file (readonly, or checkpointed)."""
    catalog = current_catalog(database)
    names = tree_names(catalog)
    store = database.store
    for finding in check_file(OsVfs(), database.path, store.data.file):
        SIGNALS.check()
        yield _named(finding, names)
    if not quick:
        yield from _check_schema(database, catalog, names)


def check_unopenable(path: str) -> Iterator[NamedFinding]:
    """Check a file that cannot be opened as a database."""
    vfs = OsVfs()
    file = vfs.open(vfs.realpath(path), readonly=True)
    try:
        for finding in check_file(vfs, vfs.realpath(path), file):
            SIGNALS.check()
            yield _named(finding, {})
    finally:
        file.close()


def tree_names(catalog: Catalog) -> dict[int, str]:
    """Tree id → what a person calls it."""
    names = {0: "directory", 1: "catalog"}
    for table in catalog.tables.values():
        names[table.table_id] = f"table {table.name}"
        for index in table.indexes:
            names[index.index_id] = f"index {index.name}"
    return names


def _named(finding: Finding, names: dict[int, str]) -> NamedFinding:
    name = ""
    if finding.tree_id or finding.kind not in ("meta", "free space", "lost page", "log"):
        name = names.get(finding.tree_id, f"tree {finding.tree_id}")
    return NamedFinding(finding.kind, name, finding.page_no, finding.message)


def _check_schema(
    database: Database, catalog: Catalog, names: dict[int, str]
) -> Iterator[NamedFinding]:
    snapshot = database.store.snapshot()
    try:
        for tree_id, name in names.items():
            if tree_id >= FIRST_USER_ID and snapshot.tree_spec(tree_id) is None:
                yield NamedFinding("catalog", name, 0, "has no tree")
        for tree_id in database.store.state.trees:
            if tree_id >= FIRST_USER_ID and tree_id not in names:
                yield NamedFinding(
                    "catalog", f"tree {tree_id}", 0, "belongs to no table and no index"
                )
        for table in catalog.tables.values():
            for index in table.indexes:
                try:
                    for finding in check_indexes(snapshot, [index_check(table, index)]):
                        SIGNALS.check()
                        yield _named(finding, names)
                except Error as error:
                    yield NamedFinding("index", f"index {index.name}", 0, error.message)
    finally:
        snapshot.close()
    yield from _check_values(database, catalog)


def index_check(table: Table, index: Index) -> IndexCheck:
    """How the index follows from its table."""
    codec = codec_of_index(table, index)
    places = tuple(part.column_index for part in index.columns)

    def table_key_of(entry: Key) -> Key:
        assert isinstance(entry, bytes)
        return codec.table_key(entry)

    return IndexCheck(index.index_id, table.table_id, places, codec.encode, table_key_of)


def _check_values(database: Database, catalog: Catalog) -> Iterator[NamedFinding]:
    """NOT NULL and CHECK, asked in SQL."""
    session = database.session()
    try:
        for table in catalog.tables.values():
            rules = [
                (f"NULL in {column.name}, which is NOT NULL", f"{quoted} is null")
                for column in table.columns
                if column.not_null
                for quoted in [quote_identifier(column.name)]
            ]
            rules += [
                (f"constraint {check.name} does not hold", f"not ({check.text})")
                for check in table.checks
            ]
            for message, condition in rules:
                sql = f"select count(*) from {quote_identifier(table.name)} where {condition}"
                with SIGNALS.cancellable(session.cancel):
                    count = next(iter(session.execute(sql).rows))[0]
                if count:
                    yield NamedFinding(
                        "constraint", f"table {table.name}", 0, f"{message}: {count} rows"
                    )
    finally:
        session.close()
