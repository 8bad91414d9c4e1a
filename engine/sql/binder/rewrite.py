"""Walking and rebuilding bound expressions: children, equality without spans, aggregation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from engine.sql import bound
from engine.sql.binder.state import Expr, Pending
from engine.sql.bound import BoundExpr

_LEAVES = frozenset(
    (bound.Const, bound.Param, bound.Column, bound.GroupKey, bound.AggregateRef, Pending)
)


def map_children(expr: BoundExpr, change: Callable[[Any], Any]) -> BoundExpr:
    """`expr` with every direct child expression replaced by `change(child)`. Queries inside
    subquery nodes are not entered. The same node comes back when nothing changed."""
    kind = expr.__class__
    if kind in _LEAVES:
        return expr
    changes: dict[str, Any] = {}
    for name in expr.__struct_fields__:
        value = getattr(expr, name)
        new = _mapped(value, change) if name not in ("outer", "query", "span") else value
        if new is not value:
            changes[name] = new
    return replace(expr, **changes) if changes else expr


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, bound.Bound):
        return change(value)
    if isinstance(value, tuple):
        items = tuple(_mapped(item, change) for item in value)
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    return value


def same_expression(a: Any, b: Any) -> bool:
    """Equal but for source spans."""
    if a.__class__ is not b.__class__:
        return False
    if isinstance(a, bound.Column):
        return bool(a.relation == b.relation and a.column == b.column)
    if isinstance(a, bound.Bound):
        return all(
            same_expression(getattr(a, name), getattr(b, name))
            for name in a.__struct_fields__
            if name != "span"
        )
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same_expression, a, b))
    return bool(a is b or a == b)


def any_node(expr: Expr, test: Callable[[Any], bool]) -> bool:
    """True when the expression or a part of it (not inside subqueries) passes the test."""
    if test(expr):
        return True
    found = False

    def visit(child: Any) -> Any:
        nonlocal found
        found = found or any_node(child, test)
        return child

    if not isinstance(expr, Pending):
        map_children(expr, visit)
    return found
