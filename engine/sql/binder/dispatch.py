"""From syntax node to the function that binds it; each module of expressions adds its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from engine.sql import ast
from engine.sql.binder.coercion import as_boolean, settle
from engine.sql.binder.scope import Scope
from engine.sql.binder.state import Binding, Expr
from engine.sql.bound import BoundExpr

Binder: TypeAlias = Callable[[Binding, Scope, Any], Expr]
BINDERS: dict[type, Binder] = {}


def binds(node_class: type) -> Callable[[Binder], Binder]:
    """Decorator: the function binds this class of syntax node."""

    def register(function: Binder) -> Binder:
        BINDERS[node_class] = function
        return function

    return register


def bind_expression(binding: Binding, scope: Scope, node: ast.Expr | ast.DefaultMarker) -> Expr:
    """The expression, possibly still Pending."""
    return BINDERS[node.__class__](binding, scope, node)


def bind_value(binding: Binding, scope: Scope, node: ast.Expr) -> BoundExpr:
    """The expression with the type it has by itself."""
    return settle(binding, BINDERS[node.__class__](binding, scope, node))


def bind_condition(binding: Binding, scope: Scope, node: ast.Expr, where: str) -> BoundExpr:
    """A boolean expression. 42804."""
    return as_boolean(binding, BINDERS[node.__class__](binding, scope, node), where)
