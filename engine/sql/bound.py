"""Resolved, typed statements: what the binder makes and the planner reads.

Expressions know their type; columns are (relation, position); functions are registry entries.
Relations are numbered within a statement: every FROM item (table, subquery) has its own
`relation`, subqueries included, so a `Column` whose relation is not produced by the query at hand
is a correlated reference to an outer one.

Implicit conversions are explicit `Cast` nodes, left out where the runtime form is the same (integer
to bigint, varchar to text). BETWEEN, USING, NATURAL, `*`, IS TRUE and row
lists are already expanded; `a <> b` etc. are `Compare`.

A literal that came from the text may be a `Param` (see `BoundStatement.literal_slots`): plans are
shared between statements that differ only in literals.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from engine.catalog import Index, Table
from engine.sql.ast import Span
from engine.sql.functions.registry import AggregateFunction, ScalarFunction
from engine.types import SqlType


class Bound(msgspec.Struct, frozen=True, gc=False):
    """Base of every bound node."""


# ── expressions: each has `type` and `span` ──────────────────────────────────────────────────
class Const(Bound, frozen=True, gc=False):
    """value in runtime form; None is SQL NULL."""

    value: Any
    type: SqlType
    span: Span


class Param(Bound, frozen=True, gc=False):
    """index into the statement's parameter vector: the caller's parameters first, then the
    literals taken from the text. The vector holds runtime values of `type`."""

    index: int
    type: SqlType
    span: Span


class Column(Bound, frozen=True, gc=False):
    relation: int
    column: int
    name: str
    type: SqlType
    not_null: bool
    span: Span


class GroupKey(Bound, frozen=True, gc=False):
    """The i-th GROUP BY expression, seen from above the aggregation."""

    index: int
    type: SqlType
    span: Span


class AggregateRef(Bound, frozen=True, gc=False):
    """The i-th aggregate of the Select, seen from above the aggregation."""

    index: int
    type: SqlType
    span: Span


class Call(Bound, frozen=True, gc=False):
    """A scalar function or arithmetic/text operator (function.name is '+', '||', 'upper', …)."""

    function: ScalarFunction
    args: tuple[BoundExpr, ...]
    type: SqlType
    span: Span


class Compare(Bound, frozen=True, gc=False):
    """op: '=', '<>', '<', '<=', '>', '>=', 'is distinct', 'is not distinct'. Both sides have one
    type, or types of one runtime form (integers of any width; text, varchar, char), compared
    through engine.types.comparison_key. NULL on either side gives NULL except for the distinct
    tests."""

    op: str
    left: BoundExpr
    right: BoundExpr
    type: SqlType
    span: Span


class And(Bound, frozen=True, gc=False):
    args: tuple[BoundExpr, ...]
    type: SqlType
    span: Span


class Or(Bound, frozen=True, gc=False):
    args: tuple[BoundExpr, ...]
    type: SqlType
    span: Span


class Not(Bound, frozen=True, gc=False):
    operand: BoundExpr
    type: SqlType
    span: Span


class IsNull(Bound, frozen=True, gc=False):
    operand: BoundExpr
    negated: bool
    type: SqlType
    span: Span


class InList(Bound, frozen=True, gc=False):
    operand: BoundExpr
    items: tuple[BoundExpr, ...]
    negated: bool
    type: SqlType
    span: Span


class Like(Bound, frozen=True, gc=False):
    """op: 'like', 'ilike', '~', '~*'."""

    op: str
    operand: BoundExpr
    pattern: BoundExpr
    escape: BoundExpr | None
    negated: bool
    type: SqlType
    span: Span


class Case(Bound, frozen=True, gc=False):
    """Searched form only; default is a NULL Const when ELSE is absent."""

    whens: tuple[tuple[BoundExpr, BoundExpr], ...]
    default: BoundExpr
    type: SqlType
    span: Span


class Cast(Bound, frozen=True, gc=False):
    """explicit: written by the user (may truncate varchar); else implicit or assignment."""

    operand: BoundExpr
    type: SqlType
    explicit: bool
    span: Span


class ScalarSubquery(Bound, frozen=True, gc=False):
    """More than one row is 21000; no row is NULL. `outer`: columns of enclosing queries that it
    reads; () means it is evaluated once per statement."""

    query: BoundQuery
    outer: tuple[Column, ...]
    type: SqlType
    span: Span


class Exists(Bound, frozen=True, gc=False):
    query: BoundQuery
    outer: tuple[Column, ...]
    negated: bool
    type: SqlType
    span: Span


class InSubquery(Bound, frozen=True, gc=False):
    operand: BoundExpr
    query: BoundQuery
    outer: tuple[Column, ...]
    negated: bool
    type: SqlType
    span: Span


BoundExpr: TypeAlias = (
    Const
    | Param
    | Column
    | GroupKey
    | AggregateRef
    | Call
    | Compare
    | And
    | Or
    | Not
    | IsNull
    | InList
    | Like
    | Case
    | Cast
    | ScalarSubquery
    | Exists
    | InSubquery
)


class Aggregate(Bound, frozen=True, gc=False):
    """One aggregate call of a Select. args () for count(*)."""

    function: AggregateFunction
    args: tuple[BoundExpr, ...]
    distinct: bool
    filter: BoundExpr | None
    order_by: tuple[SortKey, ...]
    type: SqlType
    span: Span


# ── queries ──────────────────────────────────────────────────────────────────────────────────
class SortKey(Bound, frozen=True, gc=False):
    expr: BoundExpr
    descending: bool
    nulls_first: bool


class OutputColumn(Bound, frozen=True, gc=False):
    """`table`/`column` name the origin when the output is a plain column, else ''."""

    name: str
    type: SqlType
    table: str = ""
    column: str = ""


class TableScan(Bound, frozen=True, gc=False):
    relation: int
    table: Table
    alias: str
    span: Span


class SubqueryScan(Bound, frozen=True, gc=False):
    """A derived table, view or CTE: column i is output i of `query`. `cte` names the common table
    it came from ('' otherwise); equal non-empty `cte_id`s are the same query, computed once."""

    relation: int
    query: BoundQuery
    alias: str
    cte_id: int
    span: Span


class JoinTree(Bound, frozen=True, gc=False):
    """kind: 'inner', 'left', 'right', 'full', 'cross'."""

    kind: str
    left: Relation
    right: Relation
    on: BoundExpr | None
    span: Span


Relation: TypeAlias = TableScan | SubqueryScan | JoinTree


class Select(Bound, frozen=True, gc=False):
    """`grouped`: has GROUP BY or aggregates; then `outputs`, `having` and sort keys read
    GroupKey/AggregateRef only. A correlated subquery above the aggregation still reads Columns of
    this block; each is one of `group_by`."""

    from_: Relation | None
    where: BoundExpr | None
    grouped: bool
    group_by: tuple[BoundExpr, ...]
    aggregates: tuple[Aggregate, ...]
    having: BoundExpr | None
    outputs: tuple[BoundExpr, ...]
    distinct: bool


class Values(Bound, frozen=True, gc=False):
    rows: tuple[tuple[BoundExpr, ...], ...]


class SetOperation(Bound, frozen=True, gc=False):
    """op: 'union', 'intersect', 'except'. Both sides have been cast to the output types."""

    op: str
    all: bool
    left: BoundQuery
    right: BoundQuery


class BoundQuery(Bound, frozen=True, gc=False):
    """columns describe the visible outputs. `body.outputs` may be longer: the extra ones exist
    only for ORDER BY. order_by refers to outputs by position (see OutputSort)."""

    body: Select | Values | SetOperation
    columns: tuple[OutputColumn, ...]
    order_by: tuple[OutputSort, ...]
    limit: BoundExpr | None
    offset: BoundExpr | None


class OutputSort(Bound, frozen=True, gc=False):
    """Sort by the output at position `output` (0-based, may be a hidden one)."""

    output: int
    descending: bool
    nulls_first: bool


# ── statements ───────────────────────────────────────────────────────────────────────────────
class Insert(Bound, frozen=True, gc=False):
    """`source` yields exactly the values for `columns` (positions in table.columns), already cast
    to the column types; the other columns take `defaults[position]` (None = NULL).
    `returning` reads columns of relation `relation`."""

    table: Table
    relation: int
    columns: tuple[int, ...]
    source: BoundQuery | None
    defaults: tuple[BoundExpr | None, ...]
    checks: tuple[tuple[str, BoundExpr], ...]
    conflict: str | None
    returning: tuple[BoundExpr, ...]
    returning_columns: tuple[OutputColumn, ...]


class Update(Bound, frozen=True, gc=False):
    table: Table
    relation: int
    assignments: tuple[tuple[int, BoundExpr], ...]
    where: BoundExpr | None
    checks: tuple[tuple[str, BoundExpr], ...]
    returning: tuple[BoundExpr, ...]
    returning_columns: tuple[OutputColumn, ...]


class Delete(Bound, frozen=True, gc=False):
    table: Table
    relation: int
    where: BoundExpr | None
    returning: tuple[BoundExpr, ...]
    returning_columns: tuple[OutputColumn, ...]


class CreateTable(Bound, frozen=True, gc=False):
    """ids in `table` (table_id, index_id) are 0: DDL execution allocates them."""

    table: Table
    if_not_exists: bool
    query: BoundQuery | None


class CreateIndex(Bound, frozen=True, gc=False):
    table: Table
    index: Index
    if_not_exists: bool


class CreateView(Bound, frozen=True, gc=False):
    name: str
    columns: tuple[str, ...]
    text: str
    or_replace: bool
    if_not_exists: bool


class Drop(Bound, frozen=True, gc=False):
    """kind: 'table', 'index', 'view'. Names that IF EXISTS forgave are already gone.
    dependent_views: to be dropped first, in this order (only with CASCADE; else 2BP01)."""

    kind: str
    names: tuple[str, ...]
    cascade: bool
    dependent_views: tuple[str, ...] = ()


BoundBody: TypeAlias = (
    BoundQuery | Insert | Update | Delete | CreateTable | CreateIndex | CreateView | Drop
)


class ParamSpec(Bound, frozen=True, gc=False):
    """One caller parameter: its position or name, and the type the statement wants. UNKNOWN when
    nothing decides it: the value's own type is used; UNDECIDED when its type was guessed and the
    statement must be bound again with the value's (engine.types.parameter_converter tells)."""

    index: int
    name: str | None
    type: SqlType


class BoundStatement(Bound, frozen=True, gc=False):
    """params: the caller's. literal_slots: for each literal that became Param number
    len(params) + i, (slot in the normalised text, its type). baked_slots: literals whose value
    shaped the plan (ORDER BY 1, LIKE patterns kept constant, types): a cached plan fits another
    text only if these values are equal. One slot may feed several Params. A literal that
    engine.types.literal_converter cannot turn into its slot's type needs a plan of its own.
    volatile: reads the clock or random numbers (functions.environment.begin_statement first)."""

    body: BoundBody
    params: tuple[ParamSpec, ...]
    literal_slots: tuple[tuple[int, SqlType], ...]
    baked_slots: tuple[int, ...]
    volatile: bool = False
