"""push_filters: each conjunct moves to the lowest node whose columns it needs.

through         when
Filter          always (merged)
Project         its expressions replace its columns; not if one it needs is volatile or a subquery
inner Join      conjuncts of one side go to that side; the others become its join condition
left Join       those of the left side go left; a conjunct that cannot be true for NULLs of the
                right side first makes it an inner join. Of ON, those of the right side go right
semi, anti      to the left
Aggregate       conjuncts over its keys
Distinct, Sort  always;  Limit and top-N: never
set operations  into both sides
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec.structs import replace

from engine.sql import bound
from engine.sql.expressions import (
    columns_of,
    has_subplan,
    is_volatile,
    map_inputs,
    substitute,
    walk,
)
from engine.sql.plan import (
    Aggregate,
    ColumnId,
    Distinct,
    Empty,
    Expr,
    Filter,
    Join,
    PlanNode,
    Project,
    SetOp,
    Sort,
    schema,
)

Predicates: TypeAlias = tuple[Expr, ...]


def push_filters(plan: PlanNode, row_count: Callable[[int], int]) -> PlanNode:
    """See the module header."""
    return _push(plan, ())


def _push(node: PlanNode, predicates: Predicates) -> PlanNode:
    match node:
        case Filter():
            return _push(node.input, (*node.predicates, *predicates))
        case Project():
            return _through_project(node, predicates)
        case Join():
            return _into_join(node, predicates)
        case Aggregate():
            return _through_aggregate(node, predicates)
        case Distinct() | Sort(limit=None):
            below, above = _split(predicates, lambda p: not is_volatile(p))
            return _keep(replace(node, input=_push(node.input, below)), above)
        case SetOp():
            return _into_set(node, predicates)
        case Empty():
            return node
        case _:
            return _keep(map_inputs(node, lambda child: _push(child, ())), predicates)


def _keep(node: PlanNode, predicates: Predicates) -> PlanNode:
    return Filter(node, predicates) if predicates else node


def _split(predicates: Predicates, test: Callable[[Expr], bool]) -> tuple[Predicates, Predicates]:
    """(those that pass, the others)."""
    passed: list[Expr] = []
    others: list[Expr] = []
    for predicate in predicates:
        (passed if test(predicate) else others).append(predicate)
    return tuple(passed), tuple(others)


def _through_project(node: Project, predicates: Predicates) -> PlanNode:
    mapping = {
        (node.relation, column): expr for column, expr in zip(node.columns, node.exprs, strict=True)
    }
    costly = {
        column_id for column_id, expr in mapping.items() if is_volatile(expr) or has_subplan(expr)
    }
    below, above = _split(
        predicates, lambda p: not is_volatile(p) and costly.isdisjoint(columns_of(p))
    )
    moved = tuple([substitute(predicate, mapping) for predicate in below])
    return _keep(replace(node, input=_push(node.input, moved)), above)


def _through_aggregate(node: Aggregate, predicates: Predicates) -> PlanNode:
    keys = {(node.relation, i): key for i, key in enumerate(node.keys)}
    produced = set(schema(node))

    def over_keys(predicate: Expr) -> bool:
        own = columns_of(predicate) & produced
        return bool(own) and own <= keys.keys() and not is_volatile(predicate)

    below, above = _split(predicates, over_keys)
    moved = tuple([substitute(predicate, keys) for predicate in below])
    return _keep(replace(node, input=_push(node.input, moved)), above)


def _into_set(node: SetOp, predicates: Predicates) -> PlanNode:
    below, above = _split(predicates, lambda p: not is_volatile(p))

    def side(child: PlanNode) -> PlanNode:
        mapping: dict[ColumnId, Expr] = {}
        types = _types_used(below)
        for i, (relation, column) in enumerate(schema(child)):
            old = types.get((node.relation, i))
            if old is not None:
                mapping[node.relation, i] = replace(old, relation=relation, column=column)
        return _push(child, tuple([substitute(predicate, mapping) for predicate in below]))

    return _keep(replace(node, left=side(node.left), right=side(node.right)), above)


def _types_used(predicates: Predicates) -> dict[ColumnId, bound.Column]:
    return {
        (part.relation, part.column): part
        for predicate in predicates
        for part in walk(predicate)
        if type(part) is bound.Column
    }


# ── joins ────────────────────────────────────────────────────────────────────────────────────
def _into_join(node: Join, predicates: Predicates) -> PlanNode:
    left, right = set(schema(node.left)), set(schema(node.right))
    if node.kind == "left" and any(rejects_null(p, right) for p in predicates):
        node = replace(node, kind="inner")
    if node.kind == "full":
        plain = replace(node, left=_push(node.left, ()), right=_push(node.right, ()))
        return _keep(plain, predicates)
    movable, above = _split(predicates, lambda p: not is_volatile(p))
    if node.kind == "inner":
        every = (*node.on, *movable)
        to_left, rest = _split(every, lambda p: columns_of(p).isdisjoint(right))
        to_right, on = _split(rest, lambda p: columns_of(p).isdisjoint(left))
        joined = replace(
            node, left=_push(node.left, to_left), right=_push(node.right, to_right), on=on
        )
        return _keep(joined, above)
    to_left, more = _split(movable, lambda p: columns_of(p).isdisjoint(right))
    on = node.on
    to_right = ()
    if not node.null_aware:
        to_right, on = _split(
            node.on, lambda p: columns_of(p).isdisjoint(left) and not is_volatile(p)
        )
    joined = replace(node, left=_push(node.left, to_left), right=_push(node.right, to_right), on=on)
    return _keep(joined, (*more, *above))


def rejects_null(expr: Expr, columns: set[ColumnId]) -> bool:
    """Whether the predicate is certainly not TRUE when all of `columns` are NULL."""
    match expr:
        case bound.Compare():
            if expr.op.endswith("distinct"):
                return False
            return gives_null(expr.left, columns) or gives_null(expr.right, columns)
        case bound.IsNull():
            return expr.negated and gives_null(expr.operand, columns)
        case bound.InList():
            return gives_null(expr.operand, columns)
        case bound.Like():
            return gives_null(expr.operand, columns)
        case bound.And():
            return any(rejects_null(arg, columns) for arg in expr.args)
        case bound.Or():
            return all(rejects_null(arg, columns) for arg in expr.args)
        case bound.Not():
            return gives_null(expr.operand, columns)
        case _:
            return gives_null(expr, columns)


def gives_null(expr: Expr, columns: set[ColumnId]) -> bool:
    """Whether the expression is certainly NULL when all of `columns` are."""
    match expr:
        case bound.Column():
            return (expr.relation, expr.column) in columns
        case bound.Call():
            return expr.function.strict and any(gives_null(arg, columns) for arg in expr.args)
        case bound.Cast():
            return gives_null(expr.operand, columns)
        case bound.Compare():
            return not expr.op.endswith("distinct") and (
                gives_null(expr.left, columns) or gives_null(expr.right, columns)
            )
        case bound.Not():
            return gives_null(expr.operand, columns)
        case _:
            return False
