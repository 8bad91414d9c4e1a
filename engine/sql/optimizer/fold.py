"""fold_constants: expressions without columns and parameters become their values; boolean
identities are simplified; filters that are always true or false disappear.

An expression whose evaluation raises stays as it is: the error belongs to the execution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from engine.errors import Error
from engine.sql import bound
from engine.sql.expressions import (
    exprs_of,
    map_children,
    map_exprs,
    split_conjuncts,
    transform,
)
from engine.sql.plan import Empty, Expr, Filter, Join, PlanNode, schema
from engine.types import cast_function, comparison_key

_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def fold_constants(plan: PlanNode, row_count: Callable[[int], int]) -> PlanNode:
    """See the module header."""
    return transform(plan, _fold_node)


def _fold_node(node: PlanNode) -> PlanNode:
    if any(type(expr) not in _LEAVES for expr in exprs_of(node)):
        node = map_exprs(node, fold)
    if isinstance(node, Filter):
        kept = _conjuncts(node.predicates)
        if kept is None:
            return Empty(schema(node))
        return replace(node, predicates=kept) if kept else node.input
    if isinstance(node, Join):
        kept = _conjuncts(node.on)
        if kept is None and node.kind == "inner":
            return Empty(schema(node))
        if kept is not None:
            return replace(node, on=kept)
    return node


_LEAVES = (bound.Column, bound.Const, bound.Param)


def _conjuncts(predicates: tuple[Expr, ...]) -> tuple[Expr, ...] | None:
    """Without those that are TRUE; None when one can never be true."""
    kept: dict[Expr, None] = {}  # the first of equal ones stays
    for predicate in predicates:
        for term in split_conjuncts(predicate):
            if type(term) is bound.Const:
                if term.value is not True:
                    return None
            else:
                kept[term] = None
    return tuple(kept)


def fold(expr: Expr) -> Expr:
    """The expression with constant parts replaced by their values."""
    expr = map_children(expr, fold)
    match expr:
        case bound.And():
            return _fold_and(expr)
        case bound.Or():
            return _fold_or(expr)
        case bound.Not(operand=bound.Not() as inner):
            return inner.operand
        case bound.Case():
            return _fold_case(expr)
        case _:
            value = _value(expr)
            return expr if value is None else value


def _value(expr: Expr) -> bound.Const | None:
    """The expression's value when all its operands are constants."""
    match expr:
        case bound.Call():
            if expr.function.volatile or not all(type(a) is bound.Const for a in expr.args):
                return None
            values = [arg.value for arg in expr.args]  # type: ignore[union-attr]
            if expr.function.strict and None in values:
                return _const(expr, None)
            return _attempt(expr, lambda: expr.function.implementation(*values))
        case bound.Cast(operand=bound.Const(value=value) as operand):
            if value is None:
                return _const(expr, None)
            return _attempt(expr, lambda: _cast(operand, expr))
        case bound.Compare(left=bound.Const() as left, right=bound.Const() as right):
            return _attempt(expr, lambda: _compare(expr.op, left, right))
        case bound.Not(operand=bound.Const(value=value)):
            return _const(expr, None if value is None else not value)
        case bound.IsNull(operand=bound.Const(value=value)):
            return _const(expr, (value is None) is not expr.negated)
        case _:
            return None


def _const(expr: Expr, value: Any) -> bound.Const:
    return bound.Const(value, expr.type, expr.span)


def _attempt(expr: Expr, compute: Callable[[], Any]) -> bound.Const | None:
    try:
        return _const(expr, compute())
    except Error:
        return None


def _cast(operand: bound.Const, cast: bound.Cast) -> Any:
    function = cast_function(operand.type, cast.type, cast.explicit)
    return operand.value if function is None else function(operand.value)


def _compare(op: str, left: bound.Const, right: bound.Const) -> Any:
    a, b = left.value, right.value
    key = comparison_key(left.type)
    if key is not None:
        a = None if a is None else key(a)
        b = None if b is None else key(b)
    if op.endswith("distinct"):
        return (a == b) is (op == "is not distinct")
    return None if a is None or b is None else _TESTS[op](a, b)


def _fold_and(expr: bound.And) -> Expr:
    kept: list[Any] = []
    for term in split_conjuncts(expr):
        if type(term) is bound.Const and term.value is False:
            return term
        if not (type(term) is bound.Const and term.value is True):
            kept.append(term)
    if not kept:
        return bound.Const(True, expr.type, expr.span)
    return kept[0] if len(kept) == 1 else replace(expr, args=tuple(kept))


def _fold_or(expr: bound.Or) -> Expr:
    kept: list[Any] = []
    for term in expr.args:
        if type(term) is bound.Const and term.value is True:
            return term
        if not (type(term) is bound.Const and term.value is False):
            kept.append(term)
    if not kept:
        return bound.Const(False, expr.type, expr.span)
    return kept[0] if len(kept) == 1 else replace(expr, args=tuple(kept))


def _fold_case(expr: bound.Case) -> Expr:
    whens: list[Any] = []
    for when, then in expr.whens:
        if type(when) is bound.Const:
            if when.value is True:
                if not whens:
                    return then
                return replace(expr, whens=tuple(whens), default=then)
            continue
        whens.append((when, then))
    if not whens:
        return expr.default
    return replace(expr, whens=tuple(whens)) if len(whens) < len(expr.whens) else expr
