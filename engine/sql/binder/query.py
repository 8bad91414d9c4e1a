"""Queries: WITH, set operations, VALUES, LIMIT; SELECT blocks are engine.sql.binder.select's."""

from __future__ import annotations

from engine.sql import ast
from engine.sql.binder.coercion import coerce
from engine.sql.binder.dispatch import bind_expression
from engine.sql.binder.drafts import QueryDraft, SelectDraft, SetDraft, ValuesDraft
from engine.sql.binder.scope import CommonTableBinding, Scope
from engine.sql.binder.select import bind_select, output_position
from engine.sql.binder.state import Binding, Expr, fail
from engine.sql.bound import BoundExpr, BoundQuery, Column, OutputSort, SubqueryScan
from engine.types import BIGINT, SqlType, common_type, type_text


def bind_query(binding: Binding, node: ast.Query, scope: Scope | None = None) -> QueryDraft:
    """A query in a scope of its own (whose parent is the query around it)."""
    if scope is None:
        scope = Scope()
    if node.ctes:
        _bind_common_tables(binding, scope, node)
    body = node.body
    if body.__class__ is ast.Select:
        draft = bind_select(binding, scope, body, node.order_by)  # type: ignore[arg-type]
    else:
        draft = _bind_body(binding, scope, body)
        if node.order_by and isinstance(body, ast.Query):
            draft = _wrapped(binding, draft)
        if node.order_by:
            draft.order_by = _order_by_outputs(binding, draft, node.order_by)
    if node.limit is not None or node.offset is not None:
        if draft.limit is not None or draft.offset is not None:
            draft = _wrapped(binding, draft)
        draft.limit = _bind_limit(binding, scope, node.limit, "LIMIT")
        draft.offset = _bind_limit(binding, scope, node.offset, "OFFSET")
    return draft


def _bind_body(binding: Binding, scope: Scope, body: ast.QueryBody) -> QueryDraft:
    if isinstance(body, ast.Query):
        return bind_query(binding, body, scope)
    if isinstance(body, ast.Values):
        return _bind_values(binding, scope, body)
    if isinstance(body, ast.SetOperation):
        return _bind_set_operation(binding, scope, body)
    return bind_select(binding, scope, body, ())


def _wrapped(binding: Binding, draft: QueryDraft) -> QueryDraft:
    """SELECT * FROM (draft): for a second ORDER BY or LIMIT around parentheses."""
    query: BoundQuery = draft.finish(None)
    relation = binding.new_relation()
    outputs: list[Expr] = [
        Column(relation, i, column.name, column.type, False, draft.span)
        for i, column in enumerate(query.columns)
    ]
    body = SelectDraft(SubqueryScan(relation, query, "", 0, draft.span), None, outputs, False)
    types = [column.type for column in query.columns]
    return QueryDraft(binding, body, draft.names, types, draft.span)


def _bind_common_tables(binding: Binding, scope: Scope, node: ast.Query) -> None:
    for common in node.ctes:
        if common.name in scope.common_tables:
            message = f'WITH query name "{common.name}" specified more than once'
            raise fail("42712", message, common.span)
        inner = Scope(scope)
        if node.recursive:
            inner.common_tables[common.name] = CommonTableBinding(common.name, (), None, 0)
        query = bind_query(binding, common.query, inner).finish(None)
        aliases, columns = common.column_aliases, query.columns
        if len(aliases) > len(columns):
            message = f'WITH query "{common.name}" has {len(columns)} columns available but '
            raise fail("42P10", f"{message}{len(aliases)} columns specified", common.span)
        binding.cte_count += 1
        scope.common_tables[common.name] = CommonTableBinding(
            common.name, aliases, query, binding.cte_count
        )


def _bind_limit(
    binding: Binding, scope: Scope, node: ast.Expr | None, what: str
) -> BoundExpr | None:
    """A count that reads no column of the query itself."""
    if node is None:
        return None
    inner = Scope(scope.parent, hides_parent=scope.hides_parent)
    inner.clause = what
    expr = bind_expression(binding, inner, node)
    if expr.type.kind in ("numeric", "real", "double") and not isinstance(expr, Column):
        return coerce(binding, expr, BIGINT, "assignment")
    return coerce(binding, expr, BIGINT, what=f"argument of {what}")


# ── VALUES and set operations ────────────────────────────────────────────────────────────────
def _bind_values(binding: Binding, scope: Scope, node: ast.Values) -> QueryDraft:
    scope.clause = "VALUES"
    rows = [[bind_expression(binding, scope, item) for item in row] for row in node.rows]
    width = len(rows[0])
    for i, row in enumerate(rows):
        if len(row) != width:
            span = node.rows[i][0].span if row else node.span
            raise fail("42601", "VALUES lists must all be the same length", span)
    types = [_column_type([row[i] for row in rows]) for i in range(width)]
    names = [f"column{i + 1}" for i in range(width)]
    return QueryDraft(binding, ValuesDraft(rows, types), names, types, node.span)


def _column_type(exprs: list[Expr]) -> SqlType:
    target = common_type([expr.type for expr in exprs])
    if target is not None:
        return target
    first = next(expr.type for expr in exprs if expr.type.kind != "unknown")
    bad = next(expr for expr in exprs if common_type([first, expr.type]) is None)
    pair = f"{type_text(first)} and {type_text(bad.type)}"
    raise fail("42804", f"VALUES types {pair} cannot be matched", bad.span)


def _bind_set_operation(binding: Binding, scope: Scope, node: ast.SetOperation) -> QueryDraft:
    left = _bind_side(binding, scope, node.left)
    right = _bind_side(binding, scope, node.right)
    if len(left.types) != len(right.types):
        message = f"each {node.op.upper()} query must have the same number of columns"
        raise fail("42601", message, right.span)
    body = SetDraft(node.op, node.all, left, right)
    return QueryDraft(binding, body, left.names, body.types, node.span)


def _bind_side(binding: Binding, scope: Scope, body: ast.QueryBody) -> QueryDraft:
    if isinstance(body, ast.SetOperation):
        return _bind_set_operation(binding, scope, body)
    return _bind_body(binding, Scope(scope), body)


def _order_by_outputs(
    binding: Binding, draft: QueryDraft, items: tuple[ast.OrderItem, ...]
) -> tuple[OutputSort, ...]:
    """ORDER BY of a set operation or VALUES: output names and positions only."""
    sorts = []
    for item in items:
        position = output_position(binding, item.expr, len(draft.names), "ORDER BY")
        if position is None and isinstance(item.expr, ast.ColumnRef) and item.expr.table is None:
            if item.expr.name not in draft.names:
                message = f'column "{item.expr.name}" does not exist'
                hint = "ORDER BY of a UNION names output columns."
                raise fail("42703", message, item.expr.span, hint)
            position = draft.names.index(item.expr.name)
        if position is None:
            message = "invalid UNION/INTERSECT/EXCEPT ORDER BY clause"
            hint = "Only result column names or positions can be used here."
            raise fail("0A000", message, item.expr.span, hint)
        nulls_first = item.descending if item.nulls_first is None else item.nulls_first
        sorts.append(OutputSort(position, item.descending, nulls_first))
    return tuple(sorts)
