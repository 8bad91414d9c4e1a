"""Specialised plans: one generated function for a statement that touches one row by its key.

statement                                    autocommit                in a transaction
SELECT … WHERE whole primary key = values    Store.point_reader        Transaction.get
SELECT … a short range of a key or index     engine.sql.executor.short
INSERT … VALUES (one row)                    manager.write_one         Transaction.insert
UPDATE, DELETE … WHERE whole primary key =   manager.modify_one        Transaction.modify

`point(session, vector)` runs outside a transaction, `within(transaction, vector)` inside one whose
statement has begun. Both check classes of parameters inline; what is not the plain case (another
class, NULL in a key, a lock to wait for) is declined by returning None, and the ordinary plan runs.
So a specialised plan never raises an error that the ordinary plan would not.

Measured: a prepared SELECT by key through generated code is 1.3 us where the operators of the
row executor take 9.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from engine.catalog import Table
from engine.errors import Error, UniqueViolation
from engine.sql import bound
from engine.sql.executor.result import Result
from engine.sql.executor.row.build import PlanCompiler
from engine.sql.executor.row.source import Emitter, Scope, TooDeep, compile_function
from engine.sql.executor.short import short_lines, short_plan
from engine.sql.executor.write import TableWriter, row_lines
from engine.sql.expressions import is_volatile, walk
from engine.sql.plan import (
    DeletePlan,
    Expr,
    InsertPlan,
    PlanNode,
    Project,
    QueryPlan,
    Scan,
    StatementPlan,
    Subplan,
    UpdatePlan,
    ValuesRows,
)
from engine.types import INTEGER_RANGES, SqlType, from_storage, parameter_converter, to_storage

Point = Callable[..., Any]
_NO_ROWS = iter(())
_EMPTY: tuple[Any, ...] = ()


class Vector:
    """The parameter vector of a statement: `given` parameters of the caller, then literals,
    which are runtime values already."""

    __slots__ = ("size", "types")

    def __init__(self, given: list[SqlType], literal_count: int) -> None:
        self.types = given
        self.size = len(given) + literal_count

    def lines(self, emitter: Emitter, used: set[int], decline: str = "return None") -> list[str]:
        """Source that sets p0, p1, … to runtime values, or declines; with decline '' it converts
        values of other classes instead, and calls wrong(v) for another length."""
        lines = [f"if len(v) != {self.size}: {decline or 'wrong(v)'}"]
        converted: list[str] = []
        whole = not decline and len(used) == self.size
        if whole and used:
            lines.append("".join([f"p{index}, " for index in range(self.size)]) + "= v")
        for index in sorted(used):
            name = f"p{index}"
            if not whole:
                lines.append(f"{name} = v[{index}]")
            if index < len(self.types):
                converted += _check(name, self.types[index], emitter, decline)
        return [*lines, *converted]


def _check(name: str, sql_type: SqlType, emitter: Emitter, decline: str) -> list[str]:
    kind = sql_type.kind
    plain = {"double": "float", "boolean": "bool", "bytea": "bytes"}.get(kind)
    if kind in INTEGER_RANGES:
        low, high = INTEGER_RANGES[kind]
        test = f"{name}.__class__ is not int or not {low} <= {name} <= {high}"
    elif kind in ("text", "varchar") and sql_type.precision is None:
        test = f"{name}.__class__ is not str or not {name}.isascii() or '\\0' in {name}"
    elif plain is not None:
        test = f"{name}.__class__ is not {plain}"
    else:
        convert = emitter.constant(parameter_converter(sql_type))
        if not decline:
            return [f"if {name} is not None: {name} = {convert}({name})"]
        return [
            f"if {name} is not None:",
            f"    try: {name} = {convert}({name})",
            f"    except {emitter.constant(Error)}: {decline}",
        ]
    if not decline:
        convert = emitter.constant(parameter_converter(sql_type))
        decline = f"{name} = {convert}({name})"
    return [f"if {name} is not None and ({test}): {decline}"]


def compile_point(
    plan: StatementPlan, vector: Vector, catalog: Any, store: Any
) -> tuple[Point | None, Point | None]:
    """(point, within) for the plan; None where there is no specialised way."""
    try:
        match plan:
            case QueryPlan():
                return _compile_select(plan, vector, store)
            case InsertPlan():
                within = _insert_within(plan, vector, store)
                return _compile_insert(plan, vector, catalog), within
            case UpdatePlan() | DeletePlan():
                return _compile_change(plan, vector, catalog)
    except TooDeep:
        pass
    return None, None


def _params_of(exprs: tuple[Expr, ...]) -> set[int] | None:
    """Parameters the expressions read; None when they hold a subquery."""
    used: set[int] = set()
    for expr in exprs:
        for part in walk(expr):
            if type(part) is Subplan:
                return None
            if type(part) is bound.Param:
                used.add(part.index)
    return used


def _whole_key(node: PlanNode) -> Scan | None:
    """The scan when the node reads one row by its whole primary key."""
    if not isinstance(node, Scan):
        return None
    access = node.access
    key_count = len(node.table.primary_key)
    if access.index is None and key_count and len(access.equal) == key_count:
        return node
    return None


def _function(
    name: str, arguments: str, lines: list[str], environment: dict[str, Any]
) -> Callable[..., Any]:
    text = "\n".join([f"def {name}({arguments}):", *["    " + line for line in lines]]) + "\n"
    function: Callable[..., Any] = compile_function(text, environment, name)
    return function


def _no_subplan(subplan: Subplan) -> Any:
    raise AssertionError(subplan)


def _key_lines(emitter: Emitter, scan_table: Table, equal: tuple[Expr, ...]) -> list[str]:
    """Source that sets `k` to the tree key, or declines."""
    scope = Scope({})
    lines = [f"q{i} = {emitter.value(expr, scope)}" for i, expr in enumerate(equal)]
    if scan_table.key_column is not None:
        lines.append("if q0 is None or not -9223372036854775808 <= q0 < 9223372036854775808:")
        lines.append("    return None")
        return [*lines, "k = q0"]
    lines.append(f"if {' or '.join([f'q{i} is None' for i in range(len(equal))])}: return None")
    parts: list[str] = []
    for i, column in enumerate(scan_table.primary_key):
        sql_type = scan_table.columns[column].type
        if sql_type.kind in INTEGER_RANGES:
            low, high = INTEGER_RANGES[sql_type.kind]
            lines.append(f"if not {low} <= q{i} <= {high}: return None")
        convert = to_storage(sql_type)
        parts.append(f"q{i}" if convert is None else f"{emitter.constant(convert)}(q{i})")
    encode = emitter.constant(TableWriter(scan_table).encode_key)
    return [*lines, f"k = {encode}(({''.join([part + ', ' for part in parts])}))"]


# ── SELECT ───────────────────────────────────────────────────────────────────────────────────
def _compile_select(
    plan: QueryPlan, vector: Vector, store: Any
) -> tuple[Point | None, Point | None]:
    project = plan.plan
    scan = _whole_key(project.input) if isinstance(project, Project) else None
    if scan is None:
        return _compile_short(plan, vector, store)
    assert isinstance(project, Project)
    used = _params_of((*project.exprs, *scan.access.equal))
    if used is None or any(is_volatile(expr) for expr in project.exprs):
        return None, None
    table = scan.table
    whole, narrow = _output_sources(project, scan)
    functions: list[Point] = []
    for inside in (False, True):
        emitter = Emitter(_no_subplan)
        emitter.hoisting = False
        emitter.known_params = True
        emitter.has_context = False
        lines = [*vector.lines(emitter, used), *_key_lines(emitter, table, scan.access.equal)]
        if inside:
            lines.append(f"r = transaction.get({table.table_id}, k)")
            arguments = "transaction, v"
        elif narrow is not None:
            # The reader gives exactly the wanted columns.
            lines.append(f"r = {emitter.constant(store.point_reader(table.table_id, narrow))}(k)")
            arguments = "session, v"
        else:
            lines.append(f"r = {emitter.constant(store.point_reader(table.table_id))}(k)")
            arguments = "session, v"
        columns = emitter.constant(plan.columns)
        result = emitter.constant(Result)
        empty = emitter.constant(_EMPTY)
        lines.append(f"if r is None: return {result}({columns}, iter({empty}), 0, 'SELECT 0')")
        row = "r" if narrow is not None and not inside else whole(emitter)
        if row is None:
            return None, None
        lines.append(f"return {result}({columns}, iter(({row},)), 1, 'SELECT 1')")
        functions.append(_function("point", arguments, lines, emitter.environment))
    return functions[0], functions[1]


def _compile_short(
    plan: QueryPlan, vector: Vector, store: Any
) -> tuple[Point | None, Point | None]:
    """See engine.sql.executor.short."""
    short = short_plan(plan)
    used = None if short is None else _params_of(short.exprs())
    if short is None or used is None:
        return None, None
    table, relation = short.scan.table, short.scan.relation
    functions: list[Point] = []
    for inside, arguments in ((False, "session, v"), (True, "transaction, v")):
        emitter = Emitter(_no_subplan)
        emitter.hoisting = False
        emitter.known_params = True
        emitter.has_context = False
        lines = short_lines(
            short,
            emitter,
            store,
            partial(row_scope, table, relation),
            _plain(short.output, table),
            inside,
        )
        head = vector.lines(emitter, used)
        functions.append(_function("point", arguments, [*head, *lines], emitter.environment))
    return functions[0], functions[1]


def _plain(exprs: tuple[Expr, ...], table: Table) -> tuple[int, ...] | None:
    """The table positions that are the output row as they stand, or None."""
    plain = [
        expr.column
        for expr in exprs
        if type(expr) is bound.Column and from_storage(table.columns[expr.column].type) is None
    ]
    return tuple(plain) if len(plain) == len(exprs) else None


def _output_sources(
    project: Project, scan: Scan
) -> tuple[Callable[[Emitter], str], tuple[int, ...] | None]:
    """(source of the output row from the whole table row `r`, or the table positions that are
    the output row as they stand)."""
    table = scan.table
    narrow = _plain(project.exprs, table)

    def whole(emitter: Emitter) -> str:
        if narrow == tuple(range(len(table.columns))):
            return "r"
        scope = row_scope(table, scan.relation, emitter)
        return "(" + "".join([emitter.value(e, scope) + ", " for e in project.exprs]) + ")"

    return whole, narrow


def row_scope(table: Table, relation: int, emitter: Emitter) -> Scope:
    """Columns read from `r`, a row in storage form."""
    names: dict[tuple[int, int], str] = {}
    sure = set()
    for i, column in enumerate(table.columns):
        convert = from_storage(column.type)
        text = f"r[{i}]"
        if column.not_null or i in table.primary_key:
            sure.add((relation, i))
            if convert is not None:
                text = f"{emitter.constant(convert)}({text})"
        elif convert is not None:
            text = f"(None if {text} is None else {emitter.constant(convert)}({text}))"
        names[relation, i] = text
    return Scope(names, frozenset(sure))


# ── INSERT ───────────────────────────────────────────────────────────────────────────────────
def insert_lines(
    plan: InsertPlan, vector: Vector, emitter: Emitter, decline: str = "return None"
) -> tuple[list[str], str] | None:
    """(lines that make a row in c0, c1, … from v, source of the row in storage form); None when
    the plan is not a VALUES of one row without subqueries."""
    source = plan.source
    if not isinstance(source, ValuesRows) or len(source.rows) != 1 or plan.conflict is not None:
        return None
    if plan.returning:
        return None
    checks = tuple([check for _, check in plan.checks])
    defaults = tuple([default for default in plan.defaults if default is not None])
    used = _params_of((*source.rows[0], *checks, *defaults))
    if used is None:
        return None
    emitter.hoisting = False
    emitter.known_params = True
    emitter.has_context = False
    scope = Scope({})
    places = {column: i for i, column in enumerate(plan.columns)}
    values: list[str] = []
    for position in range(len(plan.table.columns)):
        if position in places:
            values.append(emitter.value(source.rows[0][places[position]], scope))
        else:
            default = plan.defaults[position]
            values.append("None" if default is None else emitter.value(default, scope))
    compiler = PlanCompiler({})
    lines, _ = row_lines(compiler, plan.table, plan.relation, emitter, values, plan.checks)
    stored: list[str] = []
    for position, column in enumerate(plan.table.columns):
        convert = to_storage(column.type)
        name = f"c{position}"
        if convert is not None:
            name = f"None if {name} is None else {emitter.constant(convert)}({name})"
        stored.append(name + ", ")
    return [*vector.lines(emitter, used, decline), *lines], f"({''.join(stored)})"


def key_source(table: Table, emitter: Emitter, store: str) -> str:
    """Source of the tree key of the row `row`; store: source of the Store."""
    if table.key_column is not None:
        return f"row[{table.key_column}]"
    if table.primary_key:
        encode = emitter.constant(TableWriter(table).encode_key)
        return f"{encode}(({''.join([f'row[{i}], ' for i in table.primary_key])}))"
    return f"{store}.next_rowid({table.table_id})"


def _compile_insert(plan: InsertPlan, vector: Vector, catalog: Any) -> Point | None:
    emitter = Emitter(_no_subplan)
    made = insert_lines(plan, vector, emitter)
    if made is None:
        return None
    lines, stored = made
    table = plan.table
    writer = TableWriter(table)
    key = key_source(table, emitter, "session.store")
    lines += [
        "s = session.settings.values",
        "if s['default_transaction_read_only']: return None",
        f"row = {stored}",
        f"k = {key}",
    ]
    entries: list[str] = []
    unique: list[str] = []
    for number, index in enumerate(writer.indexes):
        values = "(" + "".join([f"row[{i}], " for i in index.positions]) + ")"
        lines.append(f"e{number} = {emitter.constant(index.encode)}({values}, k)")
        entries.append(f", {index.index_id}: {{e{number}: ()}}")
        if index.unique:
            lines.append(f"u{number} = {emitter.constant(index.unique_range)}(row)")
            unique.append(f"*((({index.index_id}, *u{number}, e{number}),) if u{number} else ())")
    writes = f"{{{table.table_id}: {{k: row}}{''.join(entries)}}}"
    uniques = f"({', '.join(unique)},)" if unique else "()"
    known = emitter.constant(catalog)
    violation, named = emitter.constant(UniqueViolation), emitter.constant(writer.named)
    done = emitter.constant(Result(None, _NO_ROWS, 1, "INSERT 0 1"))
    lines += [
        "try:",
        f"    ts = session.transactions.write_one({table.table_id}, k, {writes}, {known}, "
        f"{uniques}, s['durability'])",
        f"except {violation} as error:",
        f"    raise {named}(error) from None",
        f"return None if ts is None else {done}",
    ]
    return _function("point", "session, v", lines, emitter.environment)


def _insert_within(plan: InsertPlan, vector: Vector, store: Any) -> Point | None:
    """The row, then its index entries; a duplicate key fails the statement as a whole."""
    emitter = Emitter(_no_subplan)
    made = insert_lines(plan, vector, emitter)
    if made is None:
        return None
    lines, stored = made
    table = plan.table
    writer = TableWriter(table)
    lines += [
        "if transaction.read_only: return None",
        f"row = {stored}",
        f"k = {key_source(table, emitter, emitter.constant(store))}",
        "try:",
        f"    transaction.insert({table.table_id}, k, row)",
    ]
    for number, index in enumerate(writer.indexes):
        values = "(" + "".join([f"row[{i}], " for i in index.positions]) + ")"
        lines.append(f"    e{number} = {emitter.constant(index.encode)}({values}, k)")
        covered = f"transaction.write_covered({index.index_id}, e{number}, ())"
        if index.unique:
            lines += [
                f"    u{number} = {emitter.constant(index.unique_range)}(row)",
                f"    if u{number}: transaction.insert_unique({index.index_id}, *u{number}, "
                f"e{number})",
                f"    else: {covered}",
            ]
        else:
            lines.append(f"    {covered}")
    violation, named = emitter.constant(UniqueViolation), emitter.constant(writer.named)
    done = emitter.constant(Result(None, _NO_ROWS, 1, "INSERT 0 1"))
    lines += [
        f"except {violation} as error:",
        f"    raise {named}(error) from None",
        f"return {done}",
    ]
    return _function("within", "transaction, v", lines, emitter.environment)


def compile_bulk(plan: InsertPlan, vector: Vector) -> Point | None:
    """executemany of an INSERT: a function (vectors, store, wrong, again) that gives {key: row in
    storage form}. A value of another class is converted, which may raise; wrong(v) raises for a
    vector of another length, again(key) for a key that came before."""
    emitter = Emitter(_no_subplan)
    try:
        made = insert_lines(plan, vector, emitter, decline="")
    except TooDeep:
        return None
    if made is None:
        return None
    lines, stored = made
    text = [
        "rows = {}",
        "for v in vectors:",
        *["    " + line for line in lines],
        f"    row = {stored}",
        f"    k = {key_source(plan.table, emitter, 'store')}",
        "    if rows.setdefault(k, row) is not row: again(k)",
        "return rows",
    ]
    return _function("bulk", "vectors, store, wrong, again", text, emitter.environment)


# ── UPDATE, DELETE ───────────────────────────────────────────────────────────────────────────
def _compile_change(
    plan: UpdatePlan | DeletePlan, vector: Vector, catalog: Any
) -> tuple[Point | None, Point | None]:
    scan = _whole_key(plan.source)
    if scan is None or plan.returning:
        return None, None
    emitter = Emitter(_no_subplan)
    emitter.hoisting = False
    emitter.known_params = True
    emitter.has_context = False
    used = _params_of(scan.access.equal)
    change: Any
    if isinstance(plan, UpdatePlan):
        change = _update_change(plan, vector)
    else:
        change = _delete_change(plan.table)
    if used is None or change is None:
        return None, None
    table = plan.table
    verb = "UPDATE" if isinstance(plan, UpdatePlan) else "DELETE"
    done = emitter.constant(Result(None, _NO_ROWS, 1, f"{verb} 1"))
    missing = emitter.constant(Result(None, _NO_ROWS, 0, f"{verb} 0"))
    refused = emitter.constant(_REFUSED)
    head = [*vector.lines(emitter, used), *_key_lines(emitter, table, scan.access.equal)]
    arguments = f"{table.table_id}, k, {emitter.constant(change)}, (k, v)"
    outside = [
        *head,
        "s = session.settings.values",
        "if s['default_transaction_read_only']: return None",
        "try:",
        f"    ts = session.transactions.modify_one({arguments}, {emitter.constant(catalog)}, "
        "s['durability'])",
        f"except {refused}:",
        "    return None",
        f"return {done} if ts else None if ts is None else {missing}",
    ]
    inside = [
        *head,
        "if transaction.read_only: return None",
        "try:",
        f"    return {done} if transaction.modify({arguments}) else {missing}",
        f"except {refused}:",
        "    return None",
    ]
    return (
        _function("point", "session, v", outside, emitter.environment),
        _function("within", "transaction, v", inside, emitter.environment),
    )


class _Refused(Exception):
    """The vector is not the plain case."""


_REFUSED = _Refused


def _update_change(plan: UpdatePlan, vector: Vector) -> Point | None:
    """(row, (key, v)) -> writes of the new row and the index entries that change."""
    table = plan.table
    assigned = dict(plan.assignments)
    writer = TableWriter(table)
    touched = [index for index in writer.indexes if not assigned.keys().isdisjoint(index.positions)]
    if not assigned.keys().isdisjoint(table.primary_key) or any(i.unique for i in touched):
        return None
    checks = tuple([check for _, check in plan.checks])
    used = _params_of((*assigned.values(), *checks))
    if used is None:
        return None
    emitter = Emitter(_no_subplan)
    emitter.hoisting = False
    emitter.known_params = True
    emitter.has_context = False
    scope = row_scope(table, plan.relation, emitter)
    values = [
        emitter.value(assigned[i], scope) if i in assigned else scope.names[plan.relation, i]
        for i in range(len(table.columns))
    ]
    lines, _ = row_lines(PlanCompiler({}), table, plan.relation, emitter, values, plan.checks)
    stored: list[str] = []
    for i, column in enumerate(table.columns):
        convert = to_storage(column.type)
        name = f"c{i}" if i in assigned else f"r[{i}]"
        if convert is not None and i in assigned:
            name = f"None if {name} is None else {emitter.constant(convert)}({name})"
        stored.append(name + ", ")
    refuse = f"raise {emitter.constant(_REFUSED)}"
    head = ["k, v = a", *vector.lines(emitter, used, refuse)]
    tail = [f"new = ({''.join(stored)})"]
    if not touched:
        tail.append(f"return {{{table.table_id}: {{k: new}}}}")
    else:
        entries = emitter.constant(_entry_writes(touched))
        tail.append(f"return {{{table.table_id}: {{k: new}}, **{entries}(k, r, new)}}")
    return _function("change", "r, a", [*head, *lines, *tail], emitter.environment)


def _entry_writes(indexes: list[Any]) -> Callable[..., dict[int, dict[Any, Any]]]:
    def writes(key: Any, old: Any, new: Any) -> dict[int, dict[Any, Any]]:
        changes: dict[int, dict[Any, Any]] = {}
        for index in indexes:
            before, after = index.entry(key, old), index.entry(key, new)
            if before != after:
                changes[index.index_id] = {before: None, after: ()}
        return changes

    return writes


def _delete_change(table: Table) -> Point:
    writer = TableWriter(table)
    table_id, indexes = table.table_id, writer.indexes

    def change(row: Any, argument: Any) -> dict[int, dict[Any, Any]]:
        key = argument[0]
        writes: dict[int, dict[Any, Any]] = {table_id: {key: None}}
        for index in indexes:
            writes[index.index_id] = {index.entry(key, row): None}
        return writes

    return change
