"""Statements about the session itself: transactions, settings, EXPLAIN, CHECKPOINT, PRAGMA.

They have no plan of their own and run outside a transaction's statement, except EXPLAIN and the
PRAGMAs that read the schema.

PRAGMA           rows
table_info(t)    cid, name, type, notnull, dflt_value, pk
index_list(t)    seq, name, unique, origin ('pk', 'u', 'c')
index_info(i)    seqno, cid, name
database_list    seq, name, file
Any other name of a PRAGMA is a setting: PRAGMA name shows it, PRAGMA name = value sets it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from engine.catalog import Catalog, Table
from engine.errors import InterfaceError, ProgrammingError, ReadOnly, TransactionStateError
from engine.session.explain import explain
from engine.settings import SETTINGS
from engine.sql import ast
from engine.sql.bound import OutputColumn
from engine.sql.executor.result import Result
from engine.sql.executor.row.context import Context
from engine.sql.executor.write import TableWriter
from engine.types import BIGINT, INTEGER, TEXT, SqlType, TypeMismatch, type_text

if TYPE_CHECKING:
    from engine.session.plan_cache import Hit
    from engine.session.session import Session
    from engine.session.statements import Entry, Params
    from engine.txn.transaction import Transaction

CONTROL_STATEMENTS = (
    ast.Begin,
    ast.Commit,
    ast.Rollback,
    ast.Savepoint,
    ast.Release,
    ast.SetTransaction,
    ast.Explain,
    ast.Checkpoint,
    ast.SetSetting,
    ast.ShowSetting,
)
_BATCH_ROWS = 4096
_SCHEMA_PRAGMAS = ("table_info", "index_list", "index_info", "database_list")


def run_control(session: Session, sql: str, statement: ast.Statement, params: Params) -> Result:
    """Run one of CONTROL_STATEMENTS."""
    match statement:
        case ast.Begin():
            session.begin(statement.isolation, statement.read_only)
            return _done("BEGIN")
        case ast.Commit():
            return _commit(session)
        case ast.Rollback(savepoint=None):
            if session.transaction is None and session.autocommit:
                raise _no_transaction()
            session.rollback()
            return _done("ROLLBACK")
        case ast.Rollback() | ast.Savepoint() | ast.Release():
            return _savepoint(session, statement)
        case ast.SetTransaction():
            return _set_transaction(session, statement)
        case ast.Explain():
            return explain(session, sql, statement, params)
        case ast.Checkpoint():
            session.require_active()
            if session.settings.fixed_read_only:
                raise ReadOnly("cannot checkpoint: the database is open read-only")
            session.store.checkpoint()
            return _done("CHECKPOINT")
        case ast.SetSetting():
            return _set(session, statement)
        case ast.ShowSetting():
            return _show(session, statement)
        case _:
            raise AssertionError(statement)


def _done(tag: str) -> Result:
    return Result(None, iter(()), -1, tag)


def table_result(
    columns: tuple[tuple[str, SqlType], ...], rows: Iterable[tuple[Any, ...]], tag: str
) -> Result:
    """Rows made by a control statement."""
    found = list(rows)
    outputs = tuple([OutputColumn(name, sql_type) for name, sql_type in columns])
    return Result(outputs, iter(found), len(found), tag)


# ── transactions ─────────────────────────────────────────────────────────────────────────────
def _no_transaction() -> TransactionStateError:
    return TransactionStateError("there is no transaction in progress", sqlstate="25P01")


def _commit(session: Session) -> Result:
    if session.transaction is None and session.autocommit:
        raise _no_transaction()
    failed = session.status == "failed"
    session.commit()
    return _done("ROLLBACK" if failed else "COMMIT")


def _savepoint(session: Session, statement: ast.Rollback | ast.Savepoint | ast.Release) -> Result:
    transaction = session.transaction
    if transaction is None and not session.autocommit:
        transaction = session.begin()
    if transaction is None:
        raise _no_transaction()
    match statement:
        case ast.Rollback():
            assert statement.savepoint is not None
            transaction.rollback_to(statement.savepoint)
            return _done("ROLLBACK")
        case ast.Savepoint():
            session.require_active()
            transaction.savepoint(statement.name)
            return _done("SAVEPOINT")
        case ast.Release():
            session.require_active()
            transaction.release(statement.name)
            return _done("RELEASE")


def _set_transaction(session: Session, statement: ast.SetTransaction) -> Result:
    """SET TRANSACTION: only before the transaction's first statement, as its snapshot decides."""
    transaction = session.transaction
    if transaction is None:
        if session.autocommit:
            raise _no_transaction()
        session.begin(statement.isolation, statement.read_only)
        return _done("SET")
    session.require_active()
    if transaction.snapshot.commit_ts >= 0:
        raise TransactionStateError(
            "SET TRANSACTION must be called before any query", sqlstate="25001"
        )
    session.require_mode(statement.read_only)
    isolation = statement.isolation or transaction.level.name
    read_only = transaction.read_only if statement.read_only is None else statement.read_only
    session.rollback()
    session.begin(isolation, read_only)
    return _done("SET")


# ── settings ─────────────────────────────────────────────────────────────────────────────────
def _set(session: Session, statement: ast.SetSetting) -> Result:
    session.require_active()
    name = statement.name.lower()
    if statement.pragma:
        if name in _SCHEMA_PRAGMAS:
            return _schema_pragma(session, name, str(statement.value))
        _require_pragma(statement.name, statement.span)
    session.settings.set(name, statement.value)
    if name in ("optimizer", "plan_cache_size"):
        session.reset_cache()
    return _done("SET")


def _show(session: Session, statement: ast.ShowSetting) -> Result:
    session.require_active()
    name = statement.name.lower()
    if statement.pragma and name in _SCHEMA_PRAGMAS:
        return _schema_pragma(session, name, None)
    if name == "all":
        columns = (("name", TEXT), ("setting", TEXT), ("description", TEXT))
        rows = [(n, _shown(session, n), SETTINGS[n].description) for n in sorted(SETTINGS)]
        return table_result(columns, rows, "SHOW")
    if statement.pragma:
        _require_pragma(statement.name, statement.span)
    return table_result(((name, TEXT),), [(_shown(session, name),)], "SHOW")


def _shown(session: Session, name: str) -> str:
    if name == "transaction_isolation":
        transaction = session.transaction
        if transaction is not None:
            return transaction.level.name
        return session.settings.show("default_transaction_isolation")
    return session.settings.show(name)


def _require_pragma(name: str, span: tuple[int, int]) -> None:
    if name.lower() in SETTINGS:
        return
    known = [*_SCHEMA_PRAGMAS, *SETTINGS]
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = "Perhaps you meant " + " or ".join(near) + "." if near else None
    raise ProgrammingError(f"unknown PRAGMA {name}", sqlstate="42704", hint=hint, span=span)


# ── PRAGMAs that read the schema ─────────────────────────────────────────────────────────────
def _schema_pragma(session: Session, name: str, argument: str | None) -> Result:
    catalog = session.current_catalog()
    if name == "database_list":
        columns = (("seq", INTEGER), ("name", TEXT), ("file", TEXT))
        path = str(getattr(session.store, "path", "") or "")
        return table_result(columns, [(0, "main", path)], "PRAGMA")
    if argument is None:
        raise ProgrammingError(f"PRAGMA {name} needs a name: {name}(…)", sqlstate="42601")
    if name == "table_info":
        return _table_info(_require_table(catalog, argument))
    if name == "index_list":
        return _index_list(_require_table(catalog, argument))
    return _index_info(catalog, argument)


def _require_table(catalog: Catalog, name: str) -> Table:
    table = catalog.tables.get(name) or catalog.tables.get(name.lower())
    if table is None:
        near = difflib.get_close_matches(name, catalog.tables, n=3, cutoff=0.5)
        hint = "Perhaps you meant " + " or ".join(near) + "." if near else None
        raise ProgrammingError(f'relation "{name}" does not exist', sqlstate="42P01", hint=hint)
    return table


def _table_info(table: Table) -> Result:
    columns = (
        ("cid", INTEGER),
        ("name", TEXT),
        ("type", TEXT),
        ("notnull", INTEGER),
        ("dflt_value", TEXT),
        ("pk", INTEGER),
    )
    rows = []
    for position, column in enumerate(table.columns):
        key = table.primary_key.index(position) + 1 if position in table.primary_key else 0
        not_null = int(column.not_null or key > 0)
        rows.append((position, column.name, type_text(column.type), not_null, column.default, key))
    return table_result(columns, rows, "PRAGMA")


def _index_list(table: Table) -> Result:
    columns = (("seq", INTEGER), ("name", TEXT), ("unique", INTEGER), ("origin", TEXT))
    rows: list[tuple[Any, ...]] = []
    if table.primary_key:
        rows.append((0, table.primary_key_name or f"{table.name}_pkey", 1, "pk"))
    for index in table.indexes:
        origin = "u" if index.constraint else "c"
        rows.append((len(rows), index.name, int(index.unique), origin))
    return table_result(columns, rows, "PRAGMA")


def _index_info(catalog: Catalog, name: str) -> Result:
    found = catalog.indexes.get(name) or catalog.indexes.get(name.lower())
    if found is None:
        raise ProgrammingError(f'index "{name}" does not exist', sqlstate="42704")
    table, index = found
    columns = (("seqno", BIGINT), ("cid", BIGINT), ("name", TEXT))
    rows = [
        (place, part.column_index, table.columns[part.column_index].name)
        for place, part in enumerate(index.columns)
    ]
    return table_result(columns, rows, "PRAGMA")


# ── executemany ──────────────────────────────────────────────────────────────────────────────
def run_many(
    session: Session, sql: str, hit: Hit, seq: Iterable[Params], transaction: Transaction
) -> tuple[int, str]:
    """Run a write once for each parameter set; (rows changed, tag)."""
    entry: Entry = hit.entry
    if entry.streams or entry.columns is not None:
        raise InterfaceError("executemany takes a statement that returns no rows")
    session.require_writable(entry, transaction)
    bulk = entry.bulk()
    if bulk is not None:
        total = _run_bulk(session, sql, hit, bulk, seq, transaction)
        return total, f"INSERT 0 {total}"
    total = 0
    tag = ""
    started = False
    for params in seq:
        if started:
            transaction.begin_statement()
        started = True
        count, tag = _run_once(session, sql, hit, params, transaction)
        total += max(count, 0)
    verb = tag.rsplit(" ", 1)[0] if tag else "INSERT 0"
    return total, f"{verb} {total}"


def _run_once(
    session: Session, sql: str, hit: Hit, params: Params, transaction: Transaction
) -> tuple[int, str]:
    """One parameter set through the plan; where its types mean another statement, through its."""
    entry: Entry = hit.entry
    try:
        vector = entry.vector(params, hit.literals)
    except TypeMismatch:
        entry, vector = session.bind_for(sql, entry, params, transaction)
    _, count, tag = entry.run(Context(vector, transaction, session.poll), transaction)
    return count, tag


def _run_bulk(
    session: Session,
    sql: str,
    hit: Hit,
    bulk: Any,
    seq: Iterable[Params],
    transaction: Transaction,
) -> int:
    """INSERT … VALUES of one row for each parameter set: rows are made by one generated loop and
    written in batches."""
    entry: Entry = hit.entry
    literals = hit.literals
    vectors: Iterable[Any] = seq
    if literals or any(spec.name is not None for spec in entry.params):
        vectors = ((*entry.given(params), *literals) for params in seq)

    def wrong(params: Params) -> None:
        entry.given(params[: len(params) - len(literals)])  # type: ignore[index]

    writer = TableWriter(entry.plan.table)  # type: ignore[union-attr]

    def again(key: Any) -> None:
        raise writer.duplicate(key)

    total = 0
    remaining = iter(vectors)
    while batch := list(islice(remaining, _BATCH_ROWS)):
        try:
            rows = bulk(batch, session.store, wrong, again)
        except TypeMismatch:
            for vector in batch:
                params = vector[: len(vector) - len(literals)]
                total += _run_once(session, sql, hit, params, transaction)[0]
        else:
            writer.insert_many(transaction, rows)
            total += len(rows)
        session.poll()
    return total
