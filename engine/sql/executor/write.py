"""INSERT, UPDATE, DELETE: rows checked, keys and index entries derived, conflicts named.

A statement is compiled once a plan into a function (context, transaction) -> (rows changed,
returned rows). Rows are in runtime form in expressions and in storage form below.

Order of work
    1. The source is read to its end before the first write: a statement never sees its own rows.
    2. UPDATE and DELETE lock each row (`lock_for_update`); a row that changed since it was read
       is checked against WHERE again and changed from its newest version; a deleted one is skipped.
    3. UPDATE removes every old key and index entry before it adds new ones, so uniqueness is
       judged at the end of the statement: `SET id = id + 1` works in any order.

Invariants
1. Every error leaves undoing to the transaction's abort_statement; nothing is caught and ignored
   but the conflicts that ON CONFLICT DO NOTHING names.
2. A UniqueViolation from below leaves here with table, constraint, columns and detail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias

from engine.catalog import Table, codec_of_index, primary_key_codec
from engine.errors import CheckViolation, NotNullViolation, UniqueViolation
from engine.sql.executor.row.build import PlanCompiler, Profile
from engine.sql.executor.row.context import Context
from engine.sql.executor.row.source import Emitter, Scope, compile_function
from engine.sql.plan import DeletePlan, Expr, InsertPlan, UpdatePlan
from engine.storage.index import IndexEntries, changed_entries
from engine.storage.store import Key, Row
from engine.types import format_text, from_storage, to_storage

Changed: TypeAlias = tuple[int, list[tuple[Any, ...]]]
"""(rows changed, rows of RETURNING)."""
RowFunction: TypeAlias = Callable[[Context, Any], tuple[Any, ...]]

_BATCH_ROWS = 4096


class TableWriter:
    """What every statement that writes a table needs. transaction: engine.txn.Transaction."""

    __slots__ = ("_from_storage", "_key_positions", "_to_storage", "encode_key", "indexes", "table")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.indexes = index_entries(table)
        self._key_positions = table.primary_key
        self.encode_key = None if table.int_keys else primary_key_codec(table).encode
        self._to_storage = [
            (i, convert)
            for i, column in enumerate(table.columns)
            if (convert := to_storage(column.type)) is not None
        ]
        self._from_storage = [
            (i, convert)
            for i, column in enumerate(table.columns)
            if (convert := from_storage(column.type)) is not None
        ]

    def stored(self, row: Row) -> Row:
        """Runtime → storage form."""
        return _converted(row, self._to_storage) if self._to_storage else row

    def runtime(self, row: Row) -> Row:
        """Storage → runtime form."""
        return _converted(row, self._from_storage) if self._from_storage else row

    def key_of(self, row: Row, transaction: Any) -> Key:
        """The tree key of a new row (storage form); a fresh rowid when it has no primary key."""
        table = self.table
        if table.key_column is not None:
            return row[table.key_column]  # type: ignore[no-any-return]
        if self.encode_key is not None:
            return self.encode_key(tuple([row[i] for i in self._key_positions]))
        return transaction.manager.store.next_rowid(table.table_id)  # type: ignore[no-any-return]

    # ── single rows ──────────────────────────────────────────────────────────────────────────
    def insert(self, transaction: Any, key: Key, row: Row) -> None:
        """Add one row with its entries. Raises UniqueViolation, then nothing was written.

        What can fail comes first. An entry of no unique value may be that of the very row in the
        way (its key and the same value): it is written once that row is known not to exist, for
        undoing it would remove the other's."""
        unique: list[tuple[int, bytes]] = []
        others: list[tuple[int, bytes]] = []
        try:
            for index in self.indexes:
                prefix = index.unique_range(row)
                entry = index.entry(key, row)
                if prefix is None:
                    others.append((index.index_id, entry))
                else:
                    transaction.insert_unique(index.index_id, *prefix, entry)
                    unique.append((index.index_id, entry))
            transaction.insert(self.table.table_id, key, row)
        except UniqueViolation as error:
            for index_id, entry in unique:
                transaction.write_covered(index_id, entry, None)
            raise self.named(error) from None
        for index_id, entry in others:
            transaction.write_covered(index_id, entry, ())

    def delete(self, transaction: Any, key: Key, row: Row) -> None:
        """Remove a row whose lock is held, with its entries."""
        transaction.delete(self.table.table_id, key)
        for index in self.indexes:
            transaction.write_covered(index.index_id, index.entry(key, row), None)

    def insert_many(self, transaction: Any, rows: dict[Key, Row]) -> None:
        """Add rows under distinct keys."""
        try:
            transaction.insert_many(self.table.table_id, rows)
            for index in self.indexes:
                if index.unique:
                    self._insert_unique(transaction, index, rows)
                else:
                    entries = {index.entry(key, row): () for key, row in rows.items()}
                    transaction.write_many_covered(index.index_id, entries)
        except UniqueViolation as error:
            raise self.named(error) from None

    def insert_pairs(self, transaction: Any, pairs: list[tuple[Key, Row]]) -> None:
        """Add (key, row)s; equal keys among them are a violation."""
        rows = dict(pairs)
        if len(rows) < len(pairs):
            seen: set[Key] = set()
            for key, _ in pairs:
                if key in seen:
                    raise self.duplicate(key)
                seen.add(key)
        self.insert_many(transaction, rows)

    def _insert_unique(self, transaction: Any, index: IndexEntries, rows: dict[Key, Row]) -> None:
        for key, row in rows.items():
            unique = index.unique_range(row)
            entry = index.entry(key, row)
            if unique is None:
                transaction.write_covered(index.index_id, entry, ())
            else:
                transaction.insert_unique(index.index_id, *unique, entry)

    # ── errors ───────────────────────────────────────────────────────────────────────────────
    def duplicate(self, key: Key) -> UniqueViolation:
        """The violation of a primary key that one statement gives twice."""
        error = UniqueViolation("duplicate key")
        error.tree_id, error.key = self.table.table_id, key
        return self.named(error)

    def named(self, error: UniqueViolation) -> UniqueViolation:
        """The same violation with the names and values a user knows (Invariant 2)."""
        table = self.table
        if error.tree_id == table.table_id:
            positions: tuple[int, ...] = table.primary_key
            name = table.primary_key_name or f"{table.name}_pkey"
            if table.key_column is not None:
                values: tuple[Any, ...] = (error.key,)
            else:
                values = primary_key_codec(table).decode(error.key)  # type: ignore[arg-type]
        else:
            index = next(i for i in table.indexes if i.index_id == error.tree_id)
            positions = tuple([part.column_index for part in index.columns])
            name = index.name
            values = codec_of_index(table, index).decode(error.key)[0]  # type: ignore[arg-type]
        return unique_violation(table, name, positions, values, error)


def unique_violation(
    table: Table,
    constraint: str,
    positions: tuple[int, ...],
    values: tuple[Any, ...],
    cause: UniqueViolation,
) -> UniqueViolation:
    """23505 in PostgreSQL's words; values in storage form."""
    columns = tuple([table.columns[i].name for i in positions])
    texts = []
    for position, value in zip(positions, values, strict=True):
        convert = from_storage(table.columns[position].type)
        texts.append(_text(table, position, value if convert is None else convert(value)))
    error = UniqueViolation(
        f'duplicate key value violates unique constraint "{constraint}"',
        table=table.name,
        constraint=constraint,
        columns=columns,
        detail=f"Key ({', '.join(columns)})=({', '.join(texts)}) already exists.",
    )
    error.tree_id, error.key = cause.tree_id, cause.key
    return error


def index_entries(table: Table) -> list[IndexEntries]:
    """The table's indexes as maintained by engine.storage.index."""
    return [
        IndexEntries(
            index.index_id,
            [part.column_index for part in index.columns],
            index.unique,
            codec_of_index(table, index),
        )
        for index in table.indexes
    ]


def _converted(row: Row, conversions: list[tuple[int, Callable[[Any], Any]]]) -> Row:
    values = list(row)
    for i, convert in conversions:
        if values[i] is not None:
            values[i] = convert(values[i])
    return tuple(values)


def _text(table: Table, position: int, value: Any) -> str:
    if value is None:
        return "null"
    convert = format_text(table.columns[position].type)
    return str(value) if convert is None else convert(value)


def _failing_row(table: Table, row: tuple[Any, ...]) -> str:
    texts = [_text(table, i, value) for i, value in enumerate(row)]
    return f"Failing row contains ({', '.join(texts)})."


# ── new rows ─────────────────────────────────────────────────────────────────────────────────
def row_function(
    compiler: PlanCompiler,
    table: Table,
    relation: int,
    emitter: Emitter,
    values: list[str],
    checks: tuple[tuple[str, Expr], ...],
    argument: str,
) -> RowFunction:
    """A function (context, `argument`) -> the new row in runtime form, from the source of each
    column's value. Raises NotNullViolation and CheckViolation."""
    lines, whole = row_lines(compiler, table, relation, emitter, values, checks)
    head = [f"def run(x, {argument}):", "    p = x.params", "    o = x.outer"]
    text = [*head, *["    " + line for line in (*emitter.hoisted, *lines)], f"    return {whole}"]
    function: RowFunction = compile_function("\n".join(text) + "\n", emitter.environment)
    return function


def row_lines(
    compiler: PlanCompiler,
    table: Table,
    relation: int,
    emitter: Emitter,
    values: list[str],
    checks: tuple[tuple[str, Expr], ...],
) -> tuple[list[str], str]:
    """(lines that set c0, c1, … and refuse bad rows, source of the whole row)."""
    names = [f"c{i}" for i in range(len(values))]
    lines = [
        f"{name} = {value}" for name, value in zip(names, values, strict=True) if name != value
    ]
    whole = "(" + "".join([f"{name}, " for name in names]) + ")"

    def refuse_null(position: int, row: tuple[Any, ...]) -> None:
        column = table.columns[position].name
        raise NotNullViolation(
            f'null value in column "{column}" of relation "{table.name}" '
            "violates not-null constraint",
            table=table.name,
            columns=(column,),
            detail=_failing_row(table, row),
        )

    def refuse_check(name: str, row: tuple[Any, ...]) -> None:
        raise CheckViolation(
            f'new row for relation "{table.name}" violates check constraint "{name}"',
            table=table.name,
            constraint=name,
            detail=_failing_row(table, row),
        )

    sure = set()
    for position, column in enumerate(table.columns):
        if column.not_null or position in table.primary_key:
            null = emitter.constant(refuse_null)
            lines.append(f"if c{position} is None: {null}({position}, {whole})")
            sure.add((relation, position))
    scope = Scope(
        {(relation, i): name for i, name in enumerate(names)}, frozenset(sure), compiler.outer
    )
    emitter.hoisting = False  # checks read the new row
    for name, check in checks:
        refuse = emitter.constant(refuse_check)
        lines.append(
            f"if {emitter.is_false(check, scope)}: {refuse}({emitter.constant(name)}, {whole})"
        )
    return lines, whole


def returning_function(
    compiler: PlanCompiler, table: Table, relation: int, exprs: tuple[Expr, ...]
) -> RowFunction | None:
    """(context, row in runtime form) -> row of RETURNING."""
    if not exprs:
        return None
    ids = tuple([(relation, i) for i in range(len(table.columns))])
    return compiler.tuple_function(exprs, compiler.scope(ids, "r"), "x, r")


# ── INSERT ───────────────────────────────────────────────────────────────────────────────────
def compile_insert(
    plan: InsertPlan, profile: Profile | None = None
) -> Callable[[Context, Any], Changed]:
    compiler = PlanCompiler({}, profile)
    writer = TableWriter(plan.table)
    build = insert_row_function(compiler, plan)
    source = None if plan.source is None else compiler.open(plan.source)
    returning = returning_function(compiler, plan.table, plan.relation, plan.returning)

    def run(x: Context, transaction: Any) -> Changed:
        given: Iterable[tuple[Any, ...]] = ((),) if source is None else source(x)
        if plan.conflict == "replace":
            return _replace(writer, x, transaction, [build(x, row) for row in given], returning)
        rows = (build(x, row) for row in given)
        if plan.conflict == "nothing":
            return _insert_or_skip(writer, x, transaction, list(rows), returning)
        return _insert_all(writer, x, transaction, rows, returning)

    return run


def insert_row_function(compiler: PlanCompiler, plan: InsertPlan) -> RowFunction:
    """(context, source row) -> the whole new row in runtime form."""
    emitter = Emitter(compiler.subplan)
    places = {column: i for i, column in enumerate(plan.columns)}
    scope = Scope({}, outer=compiler.outer)
    values: list[str] = []
    for position in range(len(plan.table.columns)):
        default = plan.defaults[position] if position < len(plan.defaults) else None
        if position in places:
            values.append(f"s[{places[position]}]")
        else:
            values.append("None" if default is None else emitter.value(default, scope))
    return row_function(compiler, plan.table, plan.relation, emitter, values, plan.checks, "s")


def _insert_all(
    writer: TableWriter,
    x: Context,
    transaction: Any,
    rows: Iterator[tuple[Any, ...]],
    returning: RowFunction | None,
) -> Changed:
    count = 0
    returned: list[tuple[Any, ...]] = []
    while batch := list(islice(rows, _BATCH_ROWS)):
        insert_batch(writer, transaction, batch)
        count += len(batch)
        if returning is not None:
            returned += [returning(x, row) for row in batch]
        x.poll()
    return count, returned


def insert_batch(writer: TableWriter, transaction: Any, batch: list[tuple[Any, ...]]) -> None:
    """Insert rows in runtime form."""
    if len(batch) == 1:
        row = writer.stored(batch[0])
        writer.insert(transaction, writer.key_of(row, transaction), row)
        return
    rows = [writer.stored(row) for row in batch]
    writer.insert_pairs(transaction, [(writer.key_of(row, transaction), row) for row in rows])


def _insert_or_skip(
    writer: TableWriter,
    x: Context,
    transaction: Any,
    rows: list[tuple[Any, ...]],
    returning: RowFunction | None,
) -> Changed:
    count = 0
    returned: list[tuple[Any, ...]] = []
    for runtime_row in rows:
        row = writer.stored(runtime_row)
        try:
            writer.insert(transaction, writer.key_of(row, transaction), row)
        except UniqueViolation:
            continue
        count += 1
        if returning is not None:
            returned.append(returning(x, runtime_row))
    return count, returned


def _replace(
    writer: TableWriter,
    x: Context,
    transaction: Any,
    rows: list[tuple[Any, ...]],
    returning: RowFunction | None,
) -> Changed:
    """INSERT OR REPLACE: rows that the new one conflicts with are deleted first. Rows replaced
    earlier in the same statement count, so each row is its own step of the transaction."""
    returned: list[tuple[Any, ...]] = []
    table = writer.table
    for runtime_row in rows:
        transaction.begin_statement()
        row = writer.stored(runtime_row)
        key = writer.key_of(row, transaction)
        conflicts: set[Key] = set()
        if table.primary_key and transaction.get(table.table_id, key) is not None:
            conflicts.add(key)
        for index, entries in zip(table.indexes, writer.indexes, strict=True):
            unique = entries.unique_range(row)
            if unique is not None:
                codec = codec_of_index(table, index)
                found = transaction.scan(index.index_id, *unique)
                conflicts.update([codec.table_key(raw) for raw, _ in found])
        for conflict in conflicts:
            old = transaction.lock_for_update(table.table_id, conflict)
            if old is not None:
                writer.delete(transaction, conflict, old)
        writer.insert(transaction, key, row)
        if returning is not None:
            returned.append(returning(x, runtime_row))
    return len(rows), returned


# ── UPDATE, DELETE ───────────────────────────────────────────────────────────────────────────
def compile_update(
    plan: UpdatePlan, profile: Profile | None = None
) -> Callable[[Context, Any], Changed]:
    compiler = PlanCompiler({}, profile)
    writer = TableWriter(plan.table)
    source = compiler.open(plan.source)
    recheck = recheck_function(compiler, plan)
    assign = assign_function(compiler, plan)
    returning = returning_function(compiler, plan.table, plan.relation, plan.returning)

    def run(x: Context, transaction: Any) -> Changed:
        changes: list[tuple[Key, Row, Row]] = []
        returned: list[tuple[Any, ...]] = []
        for key, row in locked_rows(writer, x, transaction, source(x), recheck):
            new = assign(x, writer.runtime(row))
            changes.append((key, row, writer.stored(new)))
            if returning is not None:
                returned.append(returning(x, new))
        apply_changes(writer, transaction, changes)
        return len(changes), returned

    return run


def assign_function(compiler: PlanCompiler, plan: UpdatePlan) -> RowFunction:
    """(context, old row) -> new row, both in runtime form."""
    emitter = Emitter(compiler.subplan)
    table = plan.table
    ids = tuple([(plan.relation, i) for i in range(len(table.columns))])
    scope = compiler.scope(ids, "r")
    assigned = dict(plan.assignments)
    values = [
        emitter.value(assigned[i], scope) if i in assigned else f"r[{i}]"
        for i in range(len(table.columns))
    ]
    return row_function(compiler, table, plan.relation, emitter, values, plan.checks, "r")


def recheck_function(
    compiler: PlanCompiler, plan: UpdatePlan | DeletePlan
) -> Callable[[Context, Any], Any]:
    """(context, row in runtime form) -> whether WHERE holds."""
    ids = tuple([(plan.relation, i) for i in range(len(plan.table.columns))])
    return compiler.test_function(plan.predicates, compiler.scope(ids, "r"), "x, r")


def locked_rows(
    writer: TableWriter,
    x: Context,
    transaction: Any,
    found: Iterable[tuple[Any, ...]],
    recheck: Callable[[Context, Any], Any],
) -> Iterator[tuple[Key, Row]]:
    """(key, newest row in storage form) of rows that still qualify, locked."""
    table_id = writer.table.table_id
    for position, values in enumerate(list(found)):
        key = values[0]
        row = transaction.lock_for_update(table_id, key)
        if row is None:
            continue
        current = writer.runtime(row)
        if current != values[1:] and not recheck(x, current):
            continue
        yield key, row
        if not position & 1023:
            x.poll()


def apply_changes(
    writer: TableWriter, transaction: Any, changes: list[tuple[Key, Row, Row]]
) -> None:
    """Write updated rows (key, old, new): removals first, then additions."""
    table_id = writer.table.table_id
    moved: list[tuple[Key, Row]] = []
    added: list[tuple[IndexEntries, Row, bytes]] = []
    has_key = bool(writer.table.primary_key)
    for key, old, new in changes:
        new_key = writer.key_of(new, transaction) if has_key else key
        if new_key != key:
            transaction.delete(table_id, key)
            moved.append((new_key, new))
        else:
            transaction.put(table_id, key, new)
        for index, old_entry, new_entry in changed_entries(writer.indexes, key, old, new_key, new):
            transaction.write_covered(index.index_id, old_entry, None)
            added.append((index, new, new_entry))
    try:
        for new_key, new in moved:
            transaction.insert(table_id, new_key, new)
        for index, new, entry in added:
            unique = index.unique_range(new)
            if unique is None:
                transaction.write_covered(index.index_id, entry, ())
            else:
                transaction.insert_unique(index.index_id, *unique, entry)
    except UniqueViolation as error:
        raise writer.named(error) from None


def compile_delete(
    plan: DeletePlan, profile: Profile | None = None
) -> Callable[[Context, Any], Changed]:
    compiler = PlanCompiler({}, profile)
    writer = TableWriter(plan.table)
    source = compiler.open(plan.source)
    recheck = recheck_function(compiler, plan)
    returning = returning_function(compiler, plan.table, plan.relation, plan.returning)

    def run(x: Context, transaction: Any) -> Changed:
        count = 0
        returned: list[tuple[Any, ...]] = []
        for key, row in locked_rows(writer, x, transaction, source(x), recheck):
            writer.delete(transaction, key, row)
            count += 1
            if returning is not None:
                returned.append(returning(x, writer.runtime(row)))
        return count, returned

    return run
