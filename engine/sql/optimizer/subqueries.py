"""join_subqueries: IN and EXISTS at the top of WHERE become semi and anti joins.

conjunct                                    becomes
x IN (query)                                semi join on x = its column
x NOT IN (query), not correlated            null-aware anti join
[NOT] EXISTS (SELECT … FROM r WHERE c)      semi (anti) join with r on c, when only the top-level
x IN (SELECT y FROM r WHERE c)              WHERE of the subquery reads outer columns

A correlated subquery is joined only when many outer rows are expected: for a few, looking each up
(by an index, if there is one) is cheaper than reading all of r. What is not joined stays a
subquery: it runs once, or once for each distinct outer value.

This rule comes first, and sees subqueries as they were planned.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.sql import bound
from engine.sql.expressions import free_columns, has_subplan, is_volatile, transform, walk
from engine.sql.optimizer.joins import estimate_rows
from engine.sql.plan import (
    Distinct,
    Expr,
    Filter,
    Join,
    PlanNode,
    Project,
    Subplan,
    schema,
)
from engine.types import BOOLEAN

_MANY_ROWS = 50.0
_NO_SPAN = (0, 0)


def join_subqueries(plan: PlanNode, row_count: Callable[[int], int]) -> PlanNode:
    """See the module header."""

    def go(node: PlanNode) -> PlanNode:
        if not isinstance(node, Filter):
            return node
        source, kept = node.input, list(node.predicates)
        for predicate in node.predicates:
            if type(predicate) is not Subplan:
                continue
            rest = tuple([p for p in kept if p is not predicate])
            size = estimate_rows(Filter(node.input, rest) if rest else node.input, row_count)
            joined = _joined(source, predicate, size >= _MANY_ROWS)
            if joined is not None:
                source = joined
                kept.remove(predicate)
        if source is node.input:
            return node
        return Filter(source, tuple(kept)) if kept else source

    return transform(plan, go)


def _joined(source: PlanNode, subplan: Subplan, many: bool) -> PlanNode | None:
    """The join that keeps the rows for which the subquery's condition is TRUE, or None."""
    operand = subplan.operand
    if operand is not None and (is_volatile(operand) or has_subplan(operand)):
        return None
    if subplan.kind == "in" and not subplan.outer:
        assert operand is not None
        key = _first_column(subplan.plan, operand)
        kind = "anti" if subplan.negated else "semi"
        return Join(kind, source, subplan.plan, (), (operand,), (key,), null_aware=subplan.negated)
    if not many or not subplan.outer or subplan.outer != subplan.values:
        return None
    parts = _inner_parts(subplan.plan)
    if parts is None:
        return None
    inner, conditions, first = parts
    if subplan.kind == "exists":
        return Join("anti" if subplan.negated else "semi", source, inner, conditions)
    if subplan.kind != "in" or subplan.negated:
        return None
    assert operand is not None
    equal = bound.Compare("=", operand, first, BOOLEAN, _NO_SPAN)  # type: ignore[arg-type]
    return Join("semi", source, inner, (*conditions, equal))


def _first_column(plan: PlanNode, operand: Expr) -> bound.Column:
    relation, column = schema(plan)[0]
    return bound.Column(relation, column, "", operand.type, False, _NO_SPAN)


def _inner_parts(plan: PlanNode) -> tuple[PlanNode, tuple[Expr, ...], Expr] | None:
    """(rows of the subquery without its WHERE, the WHERE, its first output), when only the WHERE
    reads outer columns."""
    if isinstance(plan, Distinct):
        plan = plan.input
    if not isinstance(plan, Project) or not isinstance(plan.input, Filter) or not plan.exprs:
        return None
    inner, conditions, first = plan.input.input, plan.input.predicates, plan.exprs[0]
    if free_columns(inner) or any(is_volatile(c) or has_subplan(c) for c in conditions):
        return None
    produced = set(schema(inner))
    if is_volatile(first) or has_subplan(first):
        return None
    for part in walk(first):
        if type(part) is bound.Column and (part.relation, part.column) not in produced:
            return None
    return inner, conditions, first
