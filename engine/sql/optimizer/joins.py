"""order_joins and choose_hash_keys: trees of inner joins are put in a good order, and equalities
become hash keys.

Order is greedy: start with the largest input (it streams; everything else is hashed), then always
the smallest input that an equality connects to what is joined already; cross products come last.
Sizes are row counts of the tables, reduced for each predicate on them:

predicate                      keeps
whole primary key = values     one row
column = value                 1/20
IN list                        1/10
anything else                  1/3
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from engine.sql import bound
from engine.sql.expressions import columns_of, has_subplan, is_volatile, map_inputs, transform
from engine.sql.plan import (
    Aggregate,
    ColumnId,
    CteScan,
    Distinct,
    Empty,
    Expr,
    Filter,
    Join,
    Limit,
    OneRow,
    PlanNode,
    Project,
    Scan,
    SetOp,
    Sort,
    ValuesRows,
    schema,
)

RowCount = Callable[[int], int]


def order_joins(plan: PlanNode, row_count: RowCount) -> PlanNode:
    """See the module header."""

    def go(node: PlanNode) -> PlanNode:
        if isinstance(node, Join) and node.kind == "inner" and not node.left_keys:
            inputs: list[PlanNode] = []
            predicates: list[Expr] = []
            _flatten(node, inputs, predicates)
            inputs = [map_inputs(child, go) for child in inputs]
            return _ordered(inputs, predicates, row_count)
        return map_inputs(node, go)

    return go(plan)


def _flatten(node: PlanNode, inputs: list[PlanNode], predicates: list[Expr]) -> None:
    if isinstance(node, Join) and node.kind == "inner" and not node.left_keys:
        _flatten(node.left, inputs, predicates)
        _flatten(node.right, inputs, predicates)
        predicates.extend(node.on)
    else:
        inputs.append(node)


def _ordered(inputs: list[PlanNode], predicates: list[Expr], row_count: RowCount) -> PlanNode:
    sizes = [estimate_rows(child, row_count) for child in inputs]
    ids = [set(schema(child)) for child in inputs]
    needs = [(predicate, columns_of(predicate)) for predicate in predicates]
    every = set().union(*ids)
    remaining = list(range(len(inputs)))
    first = max(remaining, key=lambda i: (sizes[i], -i))
    remaining.remove(first)
    node, joined = inputs[first], ids[first]
    while remaining:
        connected = [
            i
            for i in remaining
            if any(_connects(predicate, joined, ids[i]) for predicate, _ in needs)
        ]
        chosen = min(connected or remaining, key=lambda i: (sizes[i], i))
        remaining.remove(chosen)
        joined = joined | ids[chosen]
        on = [p for p, wanted in needs if wanted & every <= joined]
        needs = [(p, wanted) for p, wanted in needs if not wanted & every <= joined]
        node = Join("inner", node, inputs[chosen], tuple(on))
    return node


def _connects(predicate: Expr, left: set[ColumnId], right: set[ColumnId]) -> bool:
    return _sides(predicate, left, right) is not None


def estimate_rows(node: PlanNode, row_count: RowCount) -> float:
    """A guess at the number of rows a node produces."""
    match node:
        case Scan():
            return float(row_count(node.table.table_id))
        case Filter():
            return max(estimate_rows(node.input, row_count) * _selectivity(node), 1.0)
        case Project() | Distinct() | Sort() | Limit():
            return estimate_rows(node.input, row_count)
        case Aggregate():
            return max(estimate_rows(node.input, row_count) / 10, 1.0) if node.keys else 1.0
        case Join():
            left, right = (
                estimate_rows(node.left, row_count),
                estimate_rows(node.right, row_count),
            )
            if node.kind in ("semi", "anti"):
                return left
            return max(left, right) if node.on or node.left_keys else left * right
        case SetOp():
            return estimate_rows(node.left, row_count) + estimate_rows(node.right, row_count)
        case ValuesRows():
            return float(len(node.rows))
        case CteScan():
            return estimate_rows(node.plan, row_count)
        case OneRow() | Empty():
            return 1.0
        case _:
            return 1.0


def _selectivity(node: Filter) -> float:
    kept = 1.0
    fixed: set[int] = set()
    for predicate in node.predicates:
        if isinstance(predicate, bound.Compare) and predicate.op == "=":
            kept /= 20
            for side in (predicate.left, predicate.right):
                if isinstance(side, bound.Column):
                    fixed.add(side.column)
        else:
            kept /= 10 if isinstance(predicate, bound.InList) else 3
    if isinstance(node.input, Scan):
        key = node.input.table.primary_key
        if key and fixed.issuperset(key):
            return 0.0
    return kept


# ── hash keys ────────────────────────────────────────────────────────────────────────────────
def choose_hash_keys(plan: PlanNode, row_count: RowCount) -> PlanNode:
    """left = right in a join condition becomes a pair of hash keys."""
    return transform(plan, _with_keys)


def _with_keys(node: PlanNode) -> PlanNode:
    if not isinstance(node, Join) or not node.on or node.null_aware:
        return node
    left, right = set(schema(node.left)), set(schema(node.right))
    left_keys, right_keys = list(node.left_keys), list(node.right_keys)
    on: list[Expr] = []
    for predicate in node.on:
        sides = _sides(predicate, left, right)
        if sides is None:
            on.append(predicate)
        else:
            left_keys.append(sides[0])
            right_keys.append(sides[1])
    return replace(node, on=tuple(on), left_keys=tuple(left_keys), right_keys=tuple(right_keys))


def _sides(predicate: Expr, left: set[ColumnId], right: set[ColumnId]) -> tuple[Expr, Expr] | None:
    """(left expression, right expression) of an equality between the two inputs."""
    if type(predicate) is not bound.Compare or predicate.op != "=":
        return None
    a, b = predicate.left, predicate.right
    if is_volatile(predicate) or has_subplan(predicate):
        return None
    in_a, in_b = columns_of(a), columns_of(b)
    if in_a & left and not in_a & right and in_b & right and not in_b & left:
        return a, b
    if in_a & right and not in_a & left and in_b & left and not in_b & right:
        return b, a
    return None
