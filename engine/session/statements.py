"""Compiled statements: from a bound statement to something that runs many times.

    bind -> plan -> optimize -> compile -> Entry

An Entry belongs to one catalog object. It knows how to read parameters and literals into the
parameter vector (runtime values: the caller's parameters first, then the literals).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from engine.catalog import Catalog
from engine.errors import Error, ProgrammingError
from engine.sql import ast, bound
from engine.sql.binder import bind
from engine.sql.executor.ddl import create_table, execute_ddl, fill_table
from engine.sql.executor.point import Vector, compile_bulk, compile_point
from engine.sql.executor.row.build import Profile, compile_plan
from engine.sql.executor.row.context import Context
from engine.sql.executor.row.emitter import PLAIN, Style
from engine.sql.executor.write import compile_delete, compile_insert, compile_update
from engine.sql.expressions import exprs_of, walk
from engine.sql.grammar import parse, parse_expression
from engine.sql.optimizer import optimize
from engine.sql.plan import (
    CreateTableAsPlan,
    DdlPlan,
    DeletePlan,
    InsertPlan,
    PlanNode,
    QueryPlan,
    Scan,
    StatementPlan,
    Subplan,
    UpdatePlan,
    inputs,
)
from engine.sql.planner import plan_statement
from engine.types import literal_converter, parameter_converter

Params: TypeAlias = Sequence[Any] | Mapping[str, Any]
Outcome: TypeAlias = tuple[Iterator[tuple[Any, ...]], int, str]
"""(rows, row count or -1 when only the rows tell, tag or '' when the count completes it)."""

_SMALL_ROWS = 2000  # plans over fewer are compiled compactly (emitter.Style)
_HOT_USES = 16  # and again, in full, when they are used so often
_PASS_KINDS = ("integer", "bigint")


class Entry:
    """A compiled statement.

    run(context, transaction)   executes it
    point(session, vector)      the specialised plan outside a transaction, or None
    within(transaction, vector) the same inside one; both give None to decline
    writes                      whether it needs a read-write transaction
    """

    __slots__ = (
        "baked_slots",
        "baked_values",
        "catalog",
        "columns",
        "compact",
        "converters",
        "literal_slots",
        "literal_types",
        "params",
        "plan",
        "point",
        "run",
        "specialized",
        "streams",
        "uses",
        "volatile",
        "within",
        "writes",
    )

    def __init__(
        self,
        statement: bound.BoundStatement,
        plan: StatementPlan,
        catalog: Any,
        run: Callable[[Context, Any], Outcome],
        columns: tuple[bound.OutputColumn, ...] | None,
    ) -> None:
        self.catalog = catalog
        self.plan = plan
        self.run = run
        self.columns = columns
        self.streams = isinstance(plan, QueryPlan)
        self.writes = not self.streams
        self.params = statement.params
        self.volatile = statement.volatile
        self.converters = [parameter_converter(spec.type) for spec in statement.params]
        self.literal_types = statement.literal_slots
        self.literal_slots: list[tuple[int, Any]] = [(slot, None) for slot, _ in self.literal_types]
        self.baked_slots = statement.baked_slots
        self.baked_values: tuple[Any, ...] = ()
        self.point: Callable[..., Any] | None = None
        self.within: Callable[..., Any] | None = None
        self.specialized = False
        self.compact = False
        self.uses = 0

    def specialize(self, store: Any) -> None:
        """Make the specialised functions, if the plan has any. Called when the entry is used for
        the second time: generating them costs as much as a hundred runs save."""
        self.specialized = True
        if all(spec.name is None for spec in self.params):
            self.point, self.within = compile_point(self.plan, self._vector(), self.catalog, store)

    def used(self, store: Any) -> None:
        """The entry was found again: make what pays from the second or the 16th time on."""
        if not self.specialized:
            self.specialize(store)
        if self.compact:
            self.uses += 1
            if self.uses == _HOT_USES:
                self.compact = False
                style = Style(False, len(self.params))
                self.run, _ = compile_plan_of(self.plan, None, style)

    def bulk(self) -> Callable[..., Any] | None:
        """See point.compile_bulk; None when executemany has to run the plan each time."""
        if isinstance(self.plan, InsertPlan):
            return compile_bulk(self.plan, self._vector())
        return None

    def _vector(self) -> Vector:
        return Vector([spec.type for spec in self.params], len(self.literal_slots))

    # ── literals and parameters ──────────────────────────────────────────────────────────────
    def read_literals_as(self, kinds: Sequence[str]) -> None:
        """Fix how literals become runtime values: kinds[slot] is the kind of the slot's token
        (an entry's shape never changes them), so that '1' can stand where 1 is meant."""
        self.literal_slots = [
            (
                slot,
                None
                if kinds[slot] == "integer" and type_.kind in _PASS_KINDS
                else literal_converter(kinds[slot], type_),
            )
            for slot, type_ in self.literal_types
        ]

    def fits(self, literals: list[Any]) -> bool:
        """Whether the literals that shaped this plan have the same values."""
        for slot, value in zip(self.baked_slots, self.baked_values):
            if literals[slot] != value:
                return False
        return True

    def literal_values(self, literals: list[Any]) -> tuple[Any, ...] | None:
        """The literals' runtime values; None when one is bad (binding says what is wrong)."""
        try:
            return tuple(
                [
                    literals[slot] if convert is None else convert(literals[slot])
                    for slot, convert in self.literal_slots
                ]
            )
        except Error:
            return None

    def vector(self, params: Params, literals: tuple[Any, ...]) -> tuple[Any, ...]:
        """The parameter vector. Raises ProgrammingError 07001 when the count or a name is wrong,
        DataError when a value does not fit."""
        if not self.converters:
            if params:
                raise self._wrong_count(len(params))
            return literals
        values = self.given(params)
        converted = [convert(value) for convert, value in zip(self.converters, values)]
        return (*converted, *literals)

    def given(self, params: Params) -> Sequence[Any]:
        """The caller's values in the order of the statement's parameters."""
        if isinstance(params, Mapping):
            return self._named(params)
        if len(params) != len(self.converters):
            raise self._wrong_count(len(params))
        return params

    def _named(self, params: Mapping[str, Any]) -> list[Any]:
        values = []
        for spec in self.params:
            name = spec.name
            if name is None:
                raise ProgrammingError(
                    "the statement has positional parameters but a mapping was given",
                    sqlstate="07001",
                    hint="Give a sequence of values.",
                )
            if name not in params:
                raise ProgrammingError(
                    f"no value was given for parameter :{name}", sqlstate="07001"
                )
            values.append(params[name])
        return values

    def _wrong_count(self, given: int) -> ProgrammingError:
        wanted = len(self.converters)
        return ProgrammingError(
            f"the statement has {wanted} parameter{'' if wanted == 1 else 's'}, "
            f"{given} {'was' if given == 1 else 'were'} given",
            sqlstate="07001",
        )


def bind_statement(
    statement: ast.Statement, catalog: Catalog, **options: Any
) -> bound.BoundStatement:
    """`bind` with the grammar for the texts of views, defaults and checks."""
    return bind(statement, catalog, parse=parse, parse_expression=parse_expression, **options)


def compile_statement(
    statement: bound.BoundStatement,
    catalog: Any,
    *,
    optimized: bool,
    row_count: Callable[[int], int] | None,
) -> Entry:
    """Plan, optimize and compile."""
    plan = plan_statement(statement.body)
    if optimized:
        plan = optimize(plan, row_count)
    small = row_count is not None and isinstance(plan, QueryPlan)
    small = small and _rows_scanned(plan.plan, row_count) <= _SMALL_ROWS  # type: ignore
    run, columns = compile_plan_of(plan, None, Style(small, len(statement.params)))
    entry = Entry(statement, plan, catalog, run, columns)
    entry.compact = small
    return entry


def _rows_scanned(node: PlanNode, row_count: Callable[[int], int]) -> int:
    """Rows of the tables of the plan and of the subqueries in it."""
    found = row_count(node.table.table_id) if isinstance(node, Scan) else 0
    for below in inputs(node):
        found += _rows_scanned(below, row_count)
    for expr in exprs_of(node):
        for part in walk(expr):
            if type(part) is Subplan:
                found += _rows_scanned(part.plan, row_count)
    return found


def compile_plan_of(
    plan: StatementPlan, profile: Profile | None = None, style: Style = PLAIN
) -> tuple[Callable[[Context, Any], Outcome], tuple[bound.OutputColumn, ...] | None]:
    """(run, output columns) of a statement's plan."""
    match plan:
        case QueryPlan():
            rows = compile_plan(plan.plan, profile=profile, style=style)
            return (lambda x, transaction: (rows(x), -1, "")), plan.columns
        case InsertPlan():
            return _writer(compile_insert(plan, profile), "INSERT 0"), plan.columns_out or None
        case UpdatePlan():
            return _writer(compile_update(plan, profile), "UPDATE"), plan.columns_out or None
        case DeletePlan():
            return _writer(compile_delete(plan, profile), "DELETE"), plan.columns_out or None
        case CreateTableAsPlan():
            return _create_table_as(plan, profile), None
        case DdlPlan():
            return _ddl(plan), None


def _writer(
    write: Callable[[Context, Any], tuple[int, list[tuple[Any, ...]]]], verb: str
) -> Callable[[Context, Any], Outcome]:
    def run(x: Context, transaction: Any) -> Outcome:
        count, returned = write(x, transaction)
        return iter(returned), count, f"{verb} {count}"

    return run


def _create_table_as(
    plan: CreateTableAsPlan, profile: Profile | None
) -> Callable[[Context, Any], Outcome]:
    source = compile_plan(plan.source, profile=profile)

    def run(x: Context, transaction: Any) -> Outcome:
        transaction.lock_schema()
        table = create_table(transaction, plan.table, plan.if_not_exists)
        if table is None:
            return iter(()), 0, "CREATE TABLE AS"
        count = fill_table(transaction, table, source(x), x.poll)
        return iter(()), count, f"SELECT {count}"

    return run


def _ddl(plan: DdlPlan) -> Callable[[Context, Any], Outcome]:
    statement = plan.statement
    tag = {
        bound.CreateTable: "CREATE TABLE",
        bound.CreateIndex: "CREATE INDEX",
        bound.CreateView: "CREATE VIEW",
    }.get(type(statement))
    if isinstance(statement, bound.Drop):
        tag = f"DROP {statement.kind.upper()}"
    final_tag = tag or ""

    def run(x: Context, transaction: Any) -> Outcome:
        execute_ddl(statement, transaction, x.poll)
        return iter(()), -1, final_tag

    return run
