"""Plans: what the planner makes, the optimizer rewrites and the executor runs.

A plan is a tree of frozen nodes. Each node produces rows: tuples of runtime values whose
positions are described by `schema(node)`, a tuple of column ids (relation, column). Expressions
are bound expressions; a `bound.Column(relation, column)` finds its value by looking its id up in
the input's schema. An id that the input does not have belongs to an enclosing query: it is read
from the outer values of the subplan (see `Subplan.outer`).

Invariants
1. Relations >= 0 are the binder's; the planner numbers its own (projections, aggregates, set
   operations) downwards from -1, so ids never collide inside one statement.
2. Above an `Aggregate` no GroupKey or AggregateRef remains: they became Columns of its relation
   (keys first, then aggregates).
3. `KEY_COLUMN` is the column number of a table's tree key; only plans of UPDATE and DELETE read
   it, and only scans produce it.
4. Predicates are tuples of conjuncts; the empty tuple is TRUE.
5. A rewrite of a plan keeps its rows and the meaning of its schema ids; it may drop ids that
   nobody above reads.

The same nodes serve as logical and physical plan: the planner leaves the physical attributes
(`Scan.access`, `Join.left_keys`, `Sort.limit`) at their neutral values, which
the executor accepts, and the optimizer fills them in.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from engine.catalog import Index, Table
from engine.sql import bound
from engine.sql.ast import Span
from engine.sql.functions.registry import AggregateFunction
from engine.types import SqlType

ColumnId: TypeAlias = tuple[int, int]
Schema: TypeAlias = tuple[ColumnId, ...]

KEY_COLUMN = -1


class Plan(msgspec.Struct, frozen=True, gc=False):
    """Base of every plan node."""


# ── expressions that only plans have ─────────────────────────────────────────────────────────
class Subplan(bound.Bound, frozen=True, gc=False):
    """A planned subquery used as an expression.

    kind: 'scalar', 'exists' or 'in' (operand set). `outer`: the columns of enclosing queries
    that the plan reads, in the order of its outer value tuple; () = evaluated once per
    execution. values[i] gives outer[i] where the expression stands: the same column, until a
    rewrite moves the expression. type is the value's type.
    """

    kind: str
    plan: PlanNode
    outer: tuple[bound.Column, ...]
    values: tuple[Expr, ...]
    operand: Expr | None
    negated: bool
    type: SqlType
    span: Span


Expr: TypeAlias = bound.BoundExpr | Subplan


class SortKey(msgspec.Struct, frozen=True, gc=False):
    expr: Expr
    descending: bool
    nulls_first: bool


class AggregateCall(msgspec.Struct, frozen=True, gc=False):
    """One aggregate; `args`, `filter` and `order_by` read the aggregate's input."""

    function: AggregateFunction
    args: tuple[Expr, ...]
    distinct: bool
    filter: Expr | None
    order_by: tuple[SortKey, ...]
    type: SqlType


# ── access paths ─────────────────────────────────────────────────────────────────────────────
class Access(msgspec.Struct, frozen=True, gc=False):
    """How a scan finds its rows: by the primary key (index None) or by a secondary index.

    equal     values of the leading key columns
    any_of    alternatives for the next key column (an IN list, or one disjunct each); () = none
    lower, upper  bounds of the key column after those, with their inclusiveness
    reverse   read backwards

    Values are expressions without columns of this scan, typed as the key column. A NULL value
    matches nothing. With everything empty the whole tree is read in key order.
    """

    index: Index | None = None
    equal: tuple[Expr, ...] = ()
    any_of: tuple[Expr, ...] = ()
    lower: Expr | None = None
    lower_inclusive: bool = True
    upper: Expr | None = None
    upper_inclusive: bool = True
    reverse: bool = False


FULL_SCAN = Access()


# ── nodes ────────────────────────────────────────────────────────────────────────────────────
class OneRow(Plan, frozen=True, gc=False):
    """One row without columns: SELECT without FROM."""


class Empty(Plan, frozen=True, gc=False):
    """No rows."""

    schema: Schema


class Scan(Plan, frozen=True, gc=False):
    """Rows of a table, by key order or by `access`. columns: positions to produce, in order
    (KEY_COLUMN for the tree key)."""

    relation: int
    table: Table
    alias: str
    columns: tuple[int, ...]
    access: Access = FULL_SCAN


class CountRows(Plan, frozen=True, gc=False):
    """One row with the number of rows of a table, known without reading them."""

    relation: int
    table: Table


class ValuesRows(Plan, frozen=True, gc=False):
    relation: int
    rows: tuple[tuple[Expr, ...], ...]
    width: int


class CteScan(Plan, frozen=True, gc=False):
    """The rows of a common table, computed once per execution for all scans with this cte_id.
    The plan's columns become (relation, 0…)."""

    relation: int
    cte_id: int
    name: str
    plan: PlanNode


class Filter(Plan, frozen=True, gc=False):
    input: PlanNode
    predicates: tuple[Expr, ...]


class Project(Plan, frozen=True, gc=False):
    """Column i of `relation` is exprs[i]. `columns` maps positions to column numbers after
    pruning (column number of exprs[i] is columns[i])."""

    relation: int
    input: PlanNode
    exprs: tuple[Expr, ...]
    columns: tuple[int, ...]


class Join(Plan, frozen=True, gc=False):
    """kind: 'inner', 'left', 'full', 'semi', 'anti' (a RIGHT JOIN is a left one, sides swapped).

    left_keys[i] = right_keys[i] are hash keys (equality, NULL matches nothing); `on` are the other
    conjuncts, over both sides. Without keys it is a nested loop. semi and anti produce left
    columns only. null_aware (anti only): NOT IN, where a NULL on the right or in the left key
    makes the answer unknown. The right input is hashed or buffered; the left one streams.
    """

    kind: str
    left: PlanNode
    right: PlanNode
    on: tuple[Expr, ...]
    left_keys: tuple[Expr, ...] = ()
    right_keys: tuple[Expr, ...] = ()
    null_aware: bool = False


class Aggregate(Plan, frozen=True, gc=False):
    """Groups by `keys`; produces (relation, i): keys, then aggregates. Without keys: one row.
    `columns` are the column numbers produced, after pruning of unused aggregates."""

    relation: int
    input: PlanNode
    keys: tuple[Expr, ...]
    aggregates: tuple[AggregateCall, ...]
    columns: tuple[int, ...]


class Distinct(Plan, frozen=True, gc=False):
    input: PlanNode


class Sort(Plan, frozen=True, gc=False):
    """limit (with offset): keep only the first rows (top-N)."""

    input: PlanNode
    keys: tuple[SortKey, ...]
    limit: Expr | None = None
    offset: Expr | None = None


class Limit(Plan, frozen=True, gc=False):
    input: PlanNode
    limit: Expr | None
    offset: Expr | None


class SetOp(Plan, frozen=True, gc=False):
    """op: 'union', 'intersect', 'except'; both inputs have `width` columns."""

    relation: int
    op: str
    all: bool
    left: PlanNode
    right: PlanNode
    width: int


PlanNode: TypeAlias = (
    OneRow
    | Empty
    | Scan
    | CountRows
    | ValuesRows
    | CteScan
    | Filter
    | Project
    | Join
    | Aggregate
    | Distinct
    | Sort
    | Limit
    | SetOp
)


# ── whole statements ─────────────────────────────────────────────────────────────────────────
class QueryPlan(Plan, frozen=True, gc=False):
    """`plan` produces exactly the visible columns, in order."""

    plan: PlanNode
    columns: tuple[bound.OutputColumn, ...]


class InsertPlan(Plan, frozen=True, gc=False):
    """`source` yields values for `columns`; see bound.Insert."""

    table: Table
    relation: int
    columns: tuple[int, ...]
    source: PlanNode | None
    defaults: tuple[Expr | None, ...]
    checks: tuple[tuple[str, Expr], ...]
    conflict: str | None
    returning: tuple[Expr, ...]
    columns_out: tuple[bound.OutputColumn, ...]


class UpdatePlan(Plan, frozen=True, gc=False):
    """`source` yields the tree key and every column of the rows to change (schema: KEY_COLUMN,
    0, 1, …). predicates: the whole WHERE, for the re-check after waiting for a row."""

    table: Table
    relation: int
    source: PlanNode
    predicates: tuple[Expr, ...]
    assignments: tuple[tuple[int, Expr], ...]
    checks: tuple[tuple[str, Expr], ...]
    returning: tuple[Expr, ...]
    columns_out: tuple[bound.OutputColumn, ...]


class DeletePlan(Plan, frozen=True, gc=False):
    """As UpdatePlan."""

    table: Table
    relation: int
    source: PlanNode
    predicates: tuple[Expr, ...]
    returning: tuple[Expr, ...]
    columns_out: tuple[bound.OutputColumn, ...]


class CreateTableAsPlan(Plan, frozen=True, gc=False):
    table: Table
    if_not_exists: bool
    source: PlanNode


class DdlPlan(Plan, frozen=True, gc=False):
    """Schema changes carry no rows: the bound statement says it all."""

    statement: bound.CreateTable | bound.CreateIndex | bound.CreateView | bound.Drop


StatementPlan: TypeAlias = (
    QueryPlan | InsertPlan | UpdatePlan | DeletePlan | CreateTableAsPlan | DdlPlan
)


def schema(node: PlanNode) -> Schema:
    """The column ids a node produces, by position."""
    match node:
        case Scan() | Project() | Aggregate():
            relation = node.relation
            return tuple([(relation, column) for column in node.columns])
        case Filter() | Distinct() | Sort() | Limit():
            return schema(node.input)
        case Join():
            if node.kind in ("semi", "anti"):
                return schema(node.left)
            return schema(node.left) + schema(node.right)
        case ValuesRows() | SetOp():
            return tuple([(node.relation, i) for i in range(node.width)])
        case CteScan():
            width = len(schema(node.plan))
            return tuple([(node.relation, i) for i in range(width)])
        case CountRows():
            return ((node.relation, 0),)
        case Empty():
            return node.schema
        case OneRow():
            return ()


def inputs(node: PlanNode) -> tuple[PlanNode, ...]:
    """A node's input nodes (not the plans of subqueries in its expressions)."""
    match node:
        case Filter() | Project() | Aggregate() | Distinct() | Sort() | Limit():
            return (node.input,)
        case Join() | SetOp():
            return (node.left, node.right)
        case CteScan():
            return (node.plan,)
        case _:
            return ()
