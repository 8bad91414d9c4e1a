"""Leaves and subqueries: literals, parameters, column names, EXISTS, IN (SELECT …), scalar ones."""

from __future__ import annotations

from engine.sql import ast
from engine.sql.binder.coercion import coerce_for_comparison, comparison_type
from engine.sql.binder.dispatch import bind_expression, binds
from engine.sql.binder.drafts import QueryDraft
from engine.sql.binder.operators import literal_type, no_operator
from engine.sql.binder.scope import Scope
from engine.sql.binder.state import Binding, Expr, Pending, fail
from engine.sql.bound import (
    BoundExpr,
    Column,
    Const,
    Exists,
    InSubquery,
    Param,
    ScalarSubquery,
)
from engine.types import BOOLEAN, BYTEA, UNKNOWN, SqlType


@binds(ast.Literal)
def _bind_literal(binding: Binding, scope: Scope, node: ast.Literal) -> Expr:
    kind, value = node.kind, node.value
    if kind == "string" or kind == "null":
        return Pending(kind, value, node.slot, -1, UNKNOWN, node.span)
    if kind == "boolean":
        return Const(value, BOOLEAN, node.span)
    if kind == "blob":
        return Pending(kind, value, node.slot, -1, BYTEA, node.span)
    return Pending(kind, value, node.slot, -1, literal_type(kind, str(value)), node.span)


@binds(ast.Parameter)
def _bind_parameter(binding: Binding, scope: Scope, node: ast.Parameter) -> Expr:
    binding.caller_names[node.index] = node.name
    if node.name is not None and node.name in binding.named_types:
        binding.caller_types.setdefault(node.index, binding.named_types[node.name])
    known = binding.caller_types.get(node.index)
    if known is not None:
        return Param(node.index, known, node.span)
    return Pending("param", None, -1, node.index, UNKNOWN, node.span)


@binds(ast.ColumnRef)
def _bind_column(binding: Binding, scope: Scope, node: ast.ColumnRef) -> BoundExpr:
    if node.schema is not None and node.schema != "main":
        raise fail("3F000", f'schema "{node.schema}" does not exist', node.span)
    return scope.resolve(node)


@binds(ast.Star)
def _bind_star(binding: Binding, scope: Scope, node: ast.Star) -> BoundExpr:
    raise fail("42601", '"*" is only allowed in a select list and in count(*)', node.span)


@binds(ast.DefaultMarker)
def _bind_default_marker(binding: Binding, scope: Scope, node: ast.DefaultMarker) -> BoundExpr:
    raise fail("42601", "DEFAULT is not allowed in this context", node.span)


# ── subqueries ───────────────────────────────────────────────────────────────────────────────
def _bind_subquery(
    binding: Binding, scope: Scope, query: ast.Query
) -> tuple[QueryDraft, tuple[Column, ...]]:
    """The query, and the columns of enclosing queries that it reads."""
    inner = Scope(scope)
    draft = binding.query_binder(binding, query, inner)
    return draft, tuple(inner.outer.values())


def _require_one_column(draft: QueryDraft, span: ast.Span) -> None:
    if len(draft.types) != 1:
        raise fail("42601", "subquery must return only one column", span)


@binds(ast.ScalarQuery)
def _bind_scalar_query(binding: Binding, scope: Scope, node: ast.ScalarQuery) -> BoundExpr:
    draft, outer = _bind_subquery(binding, scope, node.query)
    _require_one_column(draft, node.span)
    query = draft.finish(None)
    return ScalarSubquery(query, outer, query.columns[0].type, node.span)


@binds(ast.Exists)
def _bind_exists(binding: Binding, scope: Scope, node: ast.Exists) -> BoundExpr:
    draft, outer = _bind_subquery(binding, scope, node.query)
    return Exists(draft.finish(None), outer, False, BOOLEAN, node.span)


@binds(ast.InQuery)
def _bind_in_query(binding: Binding, scope: Scope, node: ast.InQuery) -> BoundExpr:
    operand = bind_expression(binding, scope, node.operand)
    draft, outer = _bind_subquery(binding, scope, node.query)
    _require_one_column(draft, node.span)
    inner = draft.types[0]
    target = comparison_type(operand, Const(None, inner, node.span))
    if target is None:
        raise no_operator("=", operand.type, inner, node.span)
    query = draft.finish([_subquery_target(inner, target)])
    bound = coerce_for_comparison(binding, operand, target)
    return InSubquery(bound, query, outer, node.negated, BOOLEAN, node.span)


def _subquery_target(inner: SqlType, target: SqlType) -> SqlType:
    """Integers and texts compare across widths: leave such a subquery's column as it is."""
    same = inner.kind == target.kind or (
        target.kind in ("bigint", "text") and inner.kind not in ("unknown", "char")
    )
    return inner if same else target
