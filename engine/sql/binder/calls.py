"""Function calls: overloads, aggregates with DISTINCT and FILTER, and the special forms
(COALESCE, NULLIF, GREATEST, LEAST).

COALESCE and NULLIF of plain arguments become Case nodes: no argument after the first value that
counts is evaluated. Where an argument is costly or volatile it must be evaluated once, so the
form is a call with all arguments evaluated.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from engine.errors import NotSupportedError, ProgrammingError
from engine.sql import ast
from engine.sql.binder.coercion import as_boolean, coerce, settle, unified_type, unify
from engine.sql.binder.dispatch import bind_condition, bind_expression, binds
from engine.sql.binder.operators import compare
from engine.sql.binder.resolve import choose_overload, parameter_types
from engine.sql.binder.rewrite import any_node, same_expression
from engine.sql.binder.scope import Scope
from engine.sql.binder.state import Binding, Expr, Pending, fail
from engine.sql.bound import (
    Aggregate,
    AggregateRef,
    BoundExpr,
    Call,
    Case,
    Cast,
    Column,
    Compare,
    Const,
    GroupKey,
    IsNull,
    Param,
    SortKey,
)
from engine.sql.functions import conditional, registry
from engine.sql.functions.registry import AggregateFunction, ScalarFunction
from engine.types import (
    BOOLEAN,
    INTEGER,
    NUMBER_KINDS,
    TEXT,
    UNKNOWN,
    SqlType,
    common_type,
    comparison_key,
    type_text,
)

_BAKED_FIRST = frozenset(("extract", "date_part", "date_trunc"))
_TAKES_ANY_AS_TEXT = frozenset(("concat", "concat_ws", "group_concat"))
_PLAIN = (Column, Const, Param, GroupKey, AggregateRef)


@binds(ast.FunctionCall)
def _bind_call(binding: Binding, scope: Scope, node: ast.FunctionCall) -> Expr:
    special = _SPECIAL.get(node.name)
    if special is not None:
        _require_plain(node, node.name)
        args = [bind_expression(binding, scope, arg) for arg in node.args]
        return special(binding, node, args)
    aggregates = registry.aggregate_overloads(node.name)
    scalars = registry.scalar_overloads(node.name)
    if aggregates and not (scalars and len(node.args) > 1):  # min(a, b) is not an aggregate
        return _bind_aggregate(binding, scope, node, aggregates)
    if not scalars or not node.name[0].isalpha():
        raise _unknown_function(node)
    _require_plain(node, node.name)
    return _bind_scalar(binding, scope, node, scalars)


def _require_plain(node: ast.FunctionCall, name: str) -> None:
    for used, what in (
        (node.distinct, "DISTINCT"),
        (node.filter is not None, "FILTER"),
        (node.order_by, "ORDER BY"),
    ):
        if used:
            message = f"{what} specified, but {name} is not an aggregate function"
            raise fail("42809", message, node.span)


def _bind_scalar(
    binding: Binding, scope: Scope, node: ast.FunctionCall, overloads: list[ScalarFunction]
) -> BoundExpr:
    with binding.baking(node.name in _BAKED_FIRST):
        args = [bind_expression(binding, scope, arg) for arg in node.args]
    if node.name in _TAKES_ANY_AS_TEXT:
        args = [coerce(binding, arg, TEXT, "assignment") for arg in args]
    chosen = _overload(node, overloads, args)
    assert isinstance(chosen, ScalarFunction)
    if chosen.volatile:
        binding.volatile = True
    wanted = parameter_types(chosen, len(args))
    if len(overloads) > 1:
        _mark_guesses(binding, args, wanted)
    any_type = _any_type(node, wanted, args)
    with binding.baking(node.name in _BAKED_FIRST):
        bound = tuple(
            coerce(binding, arg, any_type if target is registry.ANY else target)
            for arg, target in zip(args, wanted, strict=True)
        )
    result = any_type if chosen.return_type is registry.ANY else chosen.return_type
    return Call(chosen, bound, result, node.span)


def _mark_guesses(binding: Binding, args: list[Expr], wanted: list[SqlType]) -> None:
    """abs(?) is double precision only until a value says integer: the result's type follows it."""
    for arg, target in zip(args, wanted, strict=True):
        if isinstance(arg, Pending) and arg.kind == "param" and target.kind in NUMBER_KINDS:
            binding.weak.add(arg.index)


def _any_type(node: ast.FunctionCall, wanted: list[SqlType], args: list[Expr]) -> SqlType:
    given = [arg.type for arg, target in zip(args, wanted, strict=True) if target is registry.ANY]
    if not given:
        return UNKNOWN
    target = common_type(given)
    if target is None:
        message = f"arguments of {node.name}() do not have one type"
        raise fail("42804", message, node.span)
    return TEXT if target.kind == "unknown" else target


@lru_cache(1024)
def _choose(name: str, aggregate: bool, types: tuple[SqlType, ...]) -> Any:
    if aggregate:
        return choose_overload(registry.aggregate_overloads(name), list(types))
    return choose_overload(registry.scalar_overloads(name), list(types))


def _overload(
    node: ast.FunctionCall, overloads: list[Any], args: list[Expr]
) -> ScalarFunction | AggregateFunction:
    aggregate = isinstance(overloads[0], AggregateFunction)
    types = tuple(SqlType(arg.type.kind) for arg in args)
    chosen = _choose(node.name, aggregate, types)
    if chosen == "ambiguous" and aggregate:
        # sum(NULL), avg(?): PostgreSQL refuses; here an untyped number is an integer.
        types = tuple(INTEGER if t.kind == "unknown" else t for t in types)
        chosen = _choose(node.name, aggregate, types)
    if isinstance(chosen, (ScalarFunction, AggregateFunction)):
        return chosen
    signature = f"{node.name}({', '.join(type_text(arg.type) for arg in args)})"
    if chosen is None:
        message = f"function {signature} does not exist"
        raise fail("42883", message, node.name_span, _signatures_hint(node.name, overloads))
    hint = "Add explicit casts to the untyped arguments."
    raise fail("42725", f"function {signature} is not unique", node.name_span, hint)


def _signatures_hint(name: str, overloads: list[Any]) -> str:
    texts = sorted(
        {f"{name}({', '.join(type_text(t) for t in overload.arg_types)})" for overload in overloads}
    )
    shown = ", ".join(texts[:4]) + (", …" if len(texts) > 4 else "")
    return f"There is {shown}."


def _unknown_function(node: ast.FunctionCall) -> ProgrammingError:
    close = difflib.get_close_matches(node.name, [*registry.function_names(), *_SPECIAL], 1)
    hint = f'Perhaps you meant "{close[0]}".' if close else None
    return fail("42883", f"function {node.name} does not exist", node.name_span, hint)


# ── aggregates ───────────────────────────────────────────────────────────────────────────────
def _bind_aggregate(
    binding: Binding, scope: Scope, node: ast.FunctionCall, overloads: list[AggregateFunction]
) -> BoundExpr:
    _require_aggregates_allowed(scope, node)
    scope.in_aggregate = True
    try:
        args, filter_, order_by = _bind_aggregate_parts(binding, scope, node)
    finally:
        scope.in_aggregate = False
    if node.name in _TAKES_ANY_AS_TEXT:
        args = [coerce(binding, arg, TEXT, "assignment") for arg in args]
    chosen = _overload(node, overloads, args)
    assert isinstance(chosen, AggregateFunction)
    wanted = list(chosen.arg_types)
    any_type = _any_type(node, wanted, args)
    bound = tuple(
        coerce(binding, arg, any_type if target is registry.ANY else target)
        for arg, target in zip(args, wanted, strict=True)
    )
    if scope.parent is not None:
        _require_local(scope, node, bound)
    result = any_type if chosen.return_type is registry.ANY else chosen.return_type
    aggregate = Aggregate(chosen, bound, node.distinct, filter_, order_by, result, node.span)
    assert scope.aggregates is not None
    for i, other in enumerate(scope.aggregates):
        if same_expression(other, aggregate):
            return AggregateRef(i, result, node.span)
    scope.aggregates.append(aggregate)
    return AggregateRef(len(scope.aggregates) - 1, result, node.span)


def _require_aggregates_allowed(scope: Scope, node: ast.FunctionCall) -> None:
    if scope.in_aggregate:
        raise fail("42803", "aggregate function calls cannot be nested", node.span)
    if scope.aggregates is None:
        where = scope.clause or "this context"
        hint = "Use HAVING to filter groups." if where == "WHERE" else None
        message = f"aggregate functions are not allowed in {where}"
        raise fail("42803", message, node.span, hint)


def _bind_aggregate_parts(
    binding: Binding, scope: Scope, node: ast.FunctionCall
) -> tuple[list[Expr], BoundExpr | None, tuple[SortKey, ...]]:
    args: list[Expr] = []
    if not (len(node.args) == 1 and isinstance(node.args[0], ast.Star)):
        args = [bind_expression(binding, scope, arg) for arg in node.args]
    elif node.name != "count" or node.distinct:
        raise fail("42883", f"{node.name}(*) does not exist; only count(*) does", node.span)
    if node.name == "count" and not node.args:
        raise fail("42809", "count(*) must be used to call a parameterless aggregate", node.span)
    filter_ = None
    if node.filter is not None:
        filter_ = bind_condition(binding, scope, node.filter, "FILTER")
    order_by = []
    for item in node.order_by:
        nulls_first = item.descending if item.nulls_first is None else item.nulls_first
        key = settle(binding, bind_expression(binding, scope, item.expr))
        order_by.append(SortKey(key, item.descending, nulls_first))
    if node.distinct and order_by and not any(same_expression(order_by[0].expr, a) for a in args):
        message = "in an aggregate with DISTINCT, ORDER BY expressions must appear in arguments"
        raise fail("42P10", message, node.span)
    return args, filter_, tuple(order_by)


def _require_local(scope: Scope, node: ast.FunctionCall, args: tuple[BoundExpr, ...]) -> None:
    """SQL gives an aggregate over outer columns only to the outer query; we do not."""
    columns = [column for arg in args for column in _columns(arg)]
    if columns and not any(scope.owns(column.relation) for column in columns):
        message = f"{node.name}() of an outer query's columns inside a subquery is not supported"
        raise NotSupportedError(message, span=node.span)


def _columns(expr: BoundExpr) -> list[Column]:
    found: list[Column] = []

    def collect(node: Any) -> bool:
        if isinstance(node, Column):
            found.append(node)
        return False

    any_node(expr, collect)
    return found


# ── special forms ────────────────────────────────────────────────────────────────────────────
def _require_count(node: ast.FunctionCall, low: int, high: int | None = None) -> None:
    count = len(node.args)
    if count < low or (high is not None and count > high):
        wanted = f"{low} arguments" if low == high else f"at least {low} argument"
        raise fail("42601", f"{node.name} takes {wanted}", node.span)


def _bind_coalesce(binding: Binding, node: ast.FunctionCall, args: list[Expr]) -> BoundExpr:
    _require_count(node, 1)
    target = unified_type(args, "COALESCE")
    values = [coerce(binding, arg, target) for arg in _reachable(args)]
    if all(_is_plain(value) for value in values[:-1]):
        whens = tuple((IsNull(value, True, BOOLEAN, node.span), value) for value in values[:-1])
        return Case(whens, values[-1], target, node.span) if whens else values[0]
    return Call(_form("coalesce", target), tuple(values), target, node.span)


def _reachable(args: list[Expr]) -> list[Expr]:
    """COALESCE's arguments up to the first literal: it is never NULL."""
    for i, arg in enumerate(args):
        if isinstance(arg, Pending) and arg.kind not in ("null", "param"):
            return args[: i + 1]
    return args


def _bind_nullif(binding: Binding, node: ast.FunctionCall, args: list[Expr]) -> BoundExpr:
    """The result has the first argument's type, or the compared type where that is costly."""
    _require_count(node, 2, 2)
    first = args[0]
    if first.type.kind != "unknown":
        first = settle(binding, first)
    equal = compare(binding, "=", first, args[1], node.span)
    assert isinstance(equal, Compare)
    value = equal.left if isinstance(first, Pending) else first
    if _is_plain(value):
        nothing = Const(None, value.type, node.span)
        return Case(((equal, nothing),), value, value.type, node.span)
    target = equal.left.type
    return Call(_form("nullif", target), (equal.left, equal.right), target, node.span)


def _bind_extreme(binding: Binding, node: ast.FunctionCall, args: list[Expr]) -> BoundExpr:
    _require_count(node, 1)
    values, target = unify(binding, args, node.name.upper())
    return Call(_form(node.name, target), tuple(values), target, node.span)


def _bind_iif(binding: Binding, node: ast.FunctionCall, args: list[Expr]) -> BoundExpr:
    """iif(condition, a, b) is CASE WHEN condition THEN a ELSE b END."""
    _require_count(node, 3, 3)
    condition = as_boolean(binding, args[0], node.name)
    (first, second), target = unify(binding, args[1:], node.name)
    return Case(((condition, first),), second, target, node.span)


def _bind_type_name(binding: Binding, node: ast.FunctionCall, args: list[Expr]) -> BoundExpr:
    """pg_typeof(x): known while binding; x is not evaluated."""
    _require_count(node, 1, 1)
    return Const(type_text(settle(binding, args[0]).type), TEXT, node.span)


def _is_plain(expr: BoundExpr) -> bool:
    return isinstance(expr, _PLAIN) or (isinstance(expr, Cast) and isinstance(expr.operand, _PLAIN))


@lru_cache(256)
def _form(name: str, target: SqlType) -> ScalarFunction:
    """The form as a function that is given NULLs too."""
    return ScalarFunction(
        name=name,
        arg_types=(target,),
        return_type=target,
        implementation=conditional.implementation(name, comparison_key(target)),
        strict=False,
        variadic=True,
        category="conditional",
    )


_SPECIAL: dict[str, Callable[[Binding, ast.FunctionCall, list[Expr]], BoundExpr]] = {
    "coalesce": _bind_coalesce,
    "ifnull": _bind_coalesce,
    "nullif": _bind_nullif,
    "greatest": _bind_extreme,
    "least": _bind_extreme,
    "iif": _bind_iif,
    "if": _bind_iif,
    "pg_typeof": _bind_type_name,
    "typeof": _bind_type_name,
}
