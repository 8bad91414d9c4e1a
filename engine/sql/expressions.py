"""Looking into and rebuilding expressions and plans: the planner's and optimizer's grammar of
tree walks.

`map_children` and `map_inputs` rebuild one level, and return the very node they were given when
nothing changed, so that identity tells a rule whether it did anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import attrgetter, is_
from typing import Any, TypeVar

from msgspec.structs import replace

from engine.sql import bound
from engine.sql.plan import (
    Access,
    Aggregate,
    AggregateCall,
    ColumnId,
    CteScan,
    Distinct,
    Expr,
    Filter,
    Join,
    Limit,
    PlanNode,
    Project,
    Scan,
    SetOp,
    Sort,
    SortKey,
    Subplan,
    ValuesRows,
    inputs,
    schema,
)
from engine.types import BOOLEAN

_T = TypeVar("_T")
_NO_SPAN = (0, 0)
TRUE = bound.Const(True, BOOLEAN, _NO_SPAN)
FALSE = bound.Const(False, BOOLEAN, _NO_SPAN)
NULL = bound.Const(None, BOOLEAN, _NO_SPAN)

# Class → names of fields holding one expression (or None); names holding a tuple of them.
_ONE: dict[type, tuple[str, ...]] = {
    bound.Compare: ("left", "right"),
    bound.Not: ("operand",),
    bound.IsNull: ("operand",),
    bound.Cast: ("operand",),
    bound.InList: ("operand",),
    bound.Like: ("operand", "pattern", "escape"),
    bound.InSubquery: ("operand",),
    bound.Case: ("default",),
    Subplan: ("operand",),
}
_LEAVES = frozenset((bound.Column, bound.Const, bound.Param))
_MANY: dict[type, str] = {
    bound.Call: "args",
    bound.And: "args",
    bound.Or: "args",
    bound.InList: "items",
    Subplan: "values",
}


# The same as functions, made once, for the walks that every rule makes.
_CHILDREN: dict[type, Callable[[Any], Iterable[Any]]] = {
    bound.Compare: lambda e: (e.left, e.right),
    bound.Not: lambda e: (e.operand,),
    bound.IsNull: lambda e: (e.operand,),
    bound.Cast: lambda e: (e.operand,),
    bound.InSubquery: lambda e: (e.operand,),
    bound.InList: lambda e: (e.operand, *e.items),
    bound.Like: lambda e: (
        (e.operand, e.pattern) if e.escape is None else (e.operand, e.pattern, e.escape)
    ),
    bound.Call: attrgetter("args"),
    bound.And: attrgetter("args"),
    bound.Or: attrgetter("args"),
    bound.Case: lambda e: (e.default, *chain.from_iterable(e.whens)),
    Subplan: lambda e: e.values if e.operand is None else (e.operand, *e.values),
}


def children(expr: Expr) -> list[Expr]:
    """Direct operands, in evaluation order; a Subplan's are its operand and outer values."""
    of_kind = _CHILDREN.get(type(expr))
    return [] if of_kind is None else list(of_kind(expr))


def map_children(expr: Expr, function: Callable[[Expr], Expr]) -> Expr:
    """The expression with `function` applied to each direct operand."""
    kind = type(expr)
    if kind in _LEAVES:
        return expr
    changes: dict[str, Any] = {}
    for name in _ONE.get(kind, ()):
        old = getattr(expr, name)
        if old is not None and (new := function(old)) is not old:
            changes[name] = new
    many = _MANY.get(kind)
    if many is not None:
        olds = getattr(expr, many)
        news = _many(olds, function)
        if news is not olds:
            changes[many] = news
    if isinstance(expr, bound.Case):
        changes["whens"] = tuple([(function(when), function(then)) for when, then in expr.whens])
    return replace(expr, **changes) if changes else expr


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and everything below it, not entering the plans of subqueries."""
    pending = [expr]
    pop, extend, of_kind = pending.pop, pending.extend, _CHILDREN.get
    while pending:
        node = pop()
        yield node
        below = of_kind(type(node))
        if below is not None:
            extend(below(node))


def columns_of(expr: Expr) -> set[ColumnId]:
    """Ids of every column the expression reads, outer ones of its subqueries included."""
    if type(expr) is bound.Column:
        return {(expr.relation, expr.column)}
    return {(e.relation, e.column) for e in walk(expr) if type(e) is bound.Column}


def substitute(expr: Expr, mapping: dict[ColumnId, Expr]) -> Expr:
    """The expression with columns replaced."""
    if type(expr) is bound.Column:
        return mapping.get((expr.relation, expr.column), expr)
    return map_children(expr, lambda child: substitute(child, mapping))


def split_conjuncts(expr: Expr | None) -> tuple[Expr, ...]:
    """Top-level AND terms; () for None."""
    if expr is None:
        return ()
    if type(expr) is bound.And:
        return tuple([term for arg in expr.args for term in split_conjuncts(arg)])
    return (expr,)


def is_volatile(expr: Expr) -> bool:
    """Whether two evaluations on one row may differ."""
    if type(expr) in _LEAVES:
        return False
    return any(type(e) is bound.Call and e.function.volatile for e in walk(expr))


def has_subplan(expr: Expr) -> bool:
    """Whether a planned subquery stands in the expression."""
    if type(expr) in _LEAVES:
        return False
    return any(type(e) is Subplan for e in walk(expr))


# ── plans ────────────────────────────────────────────────────────────────────────────────────
def map_inputs(node: PlanNode, function: Callable[[PlanNode], PlanNode]) -> PlanNode:
    """The node with `function` applied to each input plan."""
    match node:
        case Filter() | Project() | Aggregate() | Distinct() | Sort() | Limit():
            new = function(node.input)
            return node if new is node.input else replace(node, input=new)
        case Join() | SetOp():
            left, right = function(node.left), function(node.right)
            if left is node.left and right is node.right:
                return node
            return replace(node, left=left, right=right)
        case CteScan():
            new = function(node.plan)
            return node if new is node.plan else replace(node, plan=new)
        case _:
            return node


def map_exprs(node: PlanNode, function: Callable[[Expr], Expr]) -> PlanNode:
    """The node with `function` applied to each of its own expressions."""
    match node:
        case Scan():
            return _replaced(node, access=map_access(node.access, function))
        case ValuesRows():
            return replace(node, rows=tuple([_many(row, function) for row in node.rows]))
        case Filter():
            return _replaced(node, predicates=_many(node.predicates, function))
        case Project():
            return _replaced(node, exprs=_many(node.exprs, function))
        case Join():
            return _replaced(
                node,
                on=_many(node.on, function),
                left_keys=_many(node.left_keys, function),
                right_keys=_many(node.right_keys, function),
            )
        case Aggregate():
            return _replaced(
                node,
                keys=_many(node.keys, function),
                aggregates=tuple([_map_call(call, function) for call in node.aggregates]),
            )
        case Sort():
            return _replaced(
                node,
                keys=_map_sort(node.keys, function),
                limit=_maybe(node.limit, function),
                offset=_maybe(node.offset, function),
            )
        case Limit():
            return _replaced(
                node, limit=_maybe(node.limit, function), offset=_maybe(node.offset, function)
            )
        case _:
            return node


def _replaced(node: _T, **fields: Any) -> _T:
    """The node with these fields; itself when they are what it has."""
    for name, value in fields.items():
        if getattr(node, name) is not value:
            changed: _T = replace(node, **fields)  # type: ignore[type-var]
            return changed
    return node


def exprs_of(node: PlanNode) -> list[Expr]:
    """Every expression of the node itself."""
    match node:
        case Filter():
            return list(node.predicates)
        case Project():
            return list(node.exprs)
        case Scan():
            access = node.access
            bounds = [expr for expr in (access.lower, access.upper) if expr is not None]
            return [*access.equal, *access.any_of, *bounds]
        case Join():
            return [*node.on, *node.left_keys, *node.right_keys]
        case Sort():
            ends = [expr for expr in (node.limit, node.offset) if expr is not None]
            return [*[key.expr for key in node.keys], *ends]
        case Limit():
            return [expr for expr in (node.limit, node.offset) if expr is not None]
        case Aggregate():
            found = list(node.keys)
            for call in node.aggregates:
                found.extend(call.args)
                found.extend([key.expr for key in call.order_by])
                if call.filter is not None:
                    found.append(call.filter)
            return found
        case ValuesRows():
            return [expr for row in node.rows for expr in row]
        case _:
            return []


def map_access(access: Access, function: Callable[[Expr], Expr]) -> Access:
    if not (access.equal or access.any_of or access.lower or access.upper):
        return access
    return _replaced(
        access,
        equal=_many(access.equal, function),
        any_of=_many(access.any_of, function),
        lower=_maybe(access.lower, function),
        upper=_maybe(access.upper, function),
    )


def _many(exprs: tuple[Expr, ...], function: Callable[[Expr], Expr]) -> tuple[Expr, ...]:
    """The very tuple that was given when nothing changed."""
    news = [function(expr) for expr in exprs]
    for new, old in zip(news, exprs):
        if new is not old:
            return tuple(news)
    return exprs


def _maybe(expr: Expr | None, function: Callable[[Expr], Expr]) -> Expr | None:
    return None if expr is None else function(expr)


def _map_sort(keys: tuple[SortKey, ...], function: Callable[[Expr], Expr]) -> tuple[SortKey, ...]:
    news = [_replaced(key, expr=function(key.expr)) for key in keys]
    return keys if all(map(is_, news, keys)) else tuple(news)


def _map_call(call: AggregateCall, function: Callable[[Expr], Expr]) -> AggregateCall:
    return replace(
        call,
        args=_many(call.args, function),
        filter=_maybe(call.filter, function),
        order_by=_map_sort(call.order_by, function),
    )


def map_subplans(expr: Expr, function: Callable[[PlanNode], PlanNode]) -> Expr:
    """The expression with `function` applied to the plan of each subquery in it."""
    expr = map_children(expr, lambda child: map_subplans(child, function))
    if type(expr) is Subplan and (new := function(expr.plan)) is not expr.plan:
        return replace(expr, plan=new)
    return expr


def transform(node: PlanNode, function: Callable[[PlanNode], PlanNode]) -> PlanNode:
    """`function` applied to every node bottom-up; the plans of subqueries are left alone."""

    def go(plan: PlanNode) -> PlanNode:
        return function(map_inputs(plan, go))

    return go(node)


def free_columns(node: PlanNode) -> dict[ColumnId, bound.Column]:
    """Columns the plan reads from enclosing queries, in order of appearance."""
    free: dict[ColumnId, bound.Column] = {}

    def visit(plan: PlanNode) -> None:
        produced = {column for child in inputs(plan) for column in schema(child)}
        for expr in exprs_of(plan):
            for part in walk(expr):
                if type(part) is bound.Column:
                    column_id = (part.relation, part.column)
                    if column_id not in produced:
                        free.setdefault(column_id, part)
        for child in inputs(plan):
            visit(child)

    visit(node)
    return free


def non_null(node: PlanNode) -> frozenset[ColumnId]:
    """Ids of columns that are never NULL in the node's rows."""
    match node:
        case Scan():
            columns = node.table.columns
            return frozenset(
                [
                    (node.relation, i)
                    for i in node.columns
                    if i < 0 or columns[i].not_null or i in node.table.primary_key
                ]
            )
        case Filter() | Distinct() | Sort() | Limit():
            return non_null(node.input)
        case Join():
            left = non_null(node.left) if node.kind not in ("right", "full") else frozenset()
            if node.kind in ("semi", "anti"):
                return left
            right = non_null(node.right) if node.kind not in ("left", "full") else frozenset()
            return left | right
        case Project():
            below = non_null(node.input)
            return frozenset(
                [
                    (node.relation, column)
                    for column, expr in zip(node.columns, node.exprs, strict=True)
                    if is_non_null(expr, below)
                ]
            )
        case Aggregate():
            below = non_null(node.input)
            return frozenset(
                [
                    (node.relation, column)
                    for column, expr in zip(node.columns, node.keys, strict=False)
                    if is_non_null(expr, below)
                ]
            )
        case _:
            return frozenset()


def is_non_null(expr: Expr, columns: frozenset[ColumnId]) -> bool:
    """Whether the expression is certainly not NULL, given columns that are not."""
    match expr:
        case bound.Const():
            return expr.value is not None
        case bound.Column():
            return (expr.relation, expr.column) in columns
        case bound.IsNull() | bound.Exists():
            return True
        case bound.Compare():
            return expr.op.endswith("distinct") or (
                is_non_null(expr.left, columns) and is_non_null(expr.right, columns)
            )
        case _:
            return False
