"""FROM: tables, views, common tables, derived tables, joins with ON, USING and NATURAL.

Binding a FROM item brings its relations into the scope and returns the bound tree. When USING or
NATURAL occurs anywhere in it, each item also answers its star list: the columns `*` stands for, in
order, merged ones first.
"""

from __future__ import annotations

import difflib
from typing import TypeAlias

from msgspec.structs import replace

from engine.catalog import Table, View
from engine.errors import InternalError, NotSupportedError
from engine.sql import ast
from engine.sql.binder.coercion import coerce
from engine.sql.binder.dispatch import bind_condition
from engine.sql.binder.operators import compare
from engine.sql.binder.scope import (
    AMBIGUOUS,
    CommonTableBinding,
    Merged,
    Scope,
    ScopeRelation,
    columns_of,
)
from engine.sql.binder.state import Binding, fail
from engine.sql.bound import (
    And,
    BoundExpr,
    BoundQuery,
    Case,
    Column,
    IsNull,
    JoinTree,
    Relation,
    SubqueryScan,
    TableScan,
)
from engine.types import BOOLEAN, common_type, type_text

Star: TypeAlias = list[tuple[str, BoundExpr]]


def bind_from(binding: Binding, scope: Scope, item: ast.FromItem) -> Relation:
    """The FROM tree; its relations are in scope afterwards."""
    if item.__class__ is ast.TableRef:
        return _bind_table_ref(binding, scope, item)  # type: ignore[arg-type]
    if _uses_merging(item):
        relation, scope.star = _bind_item(binding, scope, item, merging=True)
        return relation
    return _bind_item(binding, scope, item, merging=False)[0]


def _uses_merging(item: ast.FromItem) -> bool:
    if not isinstance(item, ast.Join):
        return False
    merges = bool(item.using) or item.natural
    return merges or _uses_merging(item.left) or _uses_merging(item.right)


def _bind_item(
    binding: Binding, scope: Scope, item: ast.FromItem, *, merging: bool
) -> tuple[Relation, Star]:
    if isinstance(item, ast.Join):
        return _bind_join(binding, scope, item, merging=merging)
    if isinstance(item, ast.TableRef):
        relation = _bind_table_ref(binding, scope, item)
    else:
        relation = _bind_derived(binding, scope, item)
    return relation, relation_star(scope.relations[-1], item.span) if merging else []


def relation_star(relation: ScopeRelation, span: ast.Span) -> Star:
    """What `t.*` stands for."""
    return [(name, relation.column(i, span)) for i, name in enumerate(relation.names)]


# ── single relations ─────────────────────────────────────────────────────────────────────────
def _bind_table_ref(binding: Binding, scope: Scope, item: ast.TableRef) -> Relation:
    if item.schema is None:
        common = scope.find_common_table(item.name)
        if common is not None:
            return _scan_common_table(binding, scope, item, common)
    elif item.schema != "main":
        raise fail("3F000", f'schema "{item.schema}" does not exist', item.span)
    table = binding.catalog.tables.get(item.name)
    if table is not None:
        return add_table(binding, scope, table, item)
    view = binding.catalog.views.get(item.name)
    if view is not None:
        query = _bind_view(binding, view, item.span)
        return _add_query(binding, scope, query, item.alias or item.name, item, 0, view.columns)
    raise unknown_table(binding, item.name, item.span)


def unknown_table(binding: Binding, name: str, span: ast.Span) -> Exception:
    """42P01 with the nearest name."""
    names = [*binding.catalog.tables, *binding.catalog.views]
    close = difflib.get_close_matches(name, names, 1)
    hint = f'Perhaps you meant "{close[0]}".' if close else None
    if name in binding.catalog.indexes:
        return fail("42809", f'"{name}" is an index', span)
    return fail("42P01", f'table "{name}" does not exist', span, hint)


def add_table(binding: Binding, scope: Scope, table: Table, item: ast.TableRef) -> TableScan:
    """Bring a stored table in sight."""
    columns = table.columns
    positions = binding.catalog.positions(table)
    names = tuple(positions)
    if item.column_aliases:
        names = _renamed(names, item.column_aliases, item.alias or item.name, item.span)
        positions = _positions(names)
    alias = item.alias or item.name
    number = binding.new_relation()
    scope.add(
        ScopeRelation(
            alias,
            number,
            positions,
            names,
            tuple([column.type for column in columns]),
            tuple([column.not_null for column in columns]),
            table.name,
        ),
        item.span,
    )
    return TableScan(number, table, alias, item.span)


def _positions(names: tuple[str, ...]) -> dict[str, int]:
    positions: dict[str, int] = {}
    for i, name in enumerate(names):
        positions[name] = AMBIGUOUS if name in positions else i
    return positions


def _renamed(
    names: tuple[str, ...], aliases: tuple[str, ...], relation: str, span: ast.Span
) -> tuple[str, ...]:
    if len(aliases) > len(names):
        message = f'"{relation}" has {len(names)} columns but {len(aliases)} column aliases'
        raise fail("42P10", message, span)
    return (*aliases, *names[len(aliases) :])


def _add_query(
    binding: Binding,
    scope: Scope,
    query: BoundQuery,
    alias: str,
    item: ast.TableRef | ast.SubqueryRef,
    cte_id: int,
    first_names: tuple[str, ...] = (),
) -> SubqueryScan:
    names = tuple(column.name for column in query.columns)
    for aliases in (first_names, item.column_aliases):
        names = _renamed(names, aliases, alias, item.span)
    number = binding.new_relation()
    types = tuple(column.type for column in query.columns)
    scope.add(ScopeRelation(alias, number, _positions(names), names, types, None, ""), item.span)
    return SubqueryScan(number, query, alias, cte_id, item.span)


def _scan_common_table(
    binding: Binding, scope: Scope, item: ast.TableRef, common: CommonTableBinding
) -> SubqueryScan:
    if common.query is None:
        message = f'WITH RECURSIVE: "{common.name}" refers to itself, which is not supported'
        raise NotSupportedError(message, span=item.span)
    alias = item.alias or item.name
    return _add_query(binding, scope, common.query, alias, item, common.cte_id, common.names)


def _bind_view(binding: Binding, view: View, span: ast.Span) -> BoundQuery:
    """The view's stored text, parsed and bound in a scope of its own."""
    if binding.parse is None:
        raise InternalError(f'bind() was given no parser to read view "{view.name}" with')
    if view.name in binding.view_stack:
        raise fail("42P17", f'infinite recursion in view "{view.name}"', span)
    stack = binding.view_stack
    binding.view_stack = (*stack, view.name)
    try:
        with binding.foreign_text(span):
            statement = binding.parse(view.text)
            return binding.query_binder(binding, statement, Scope()).finish(None)
    finally:
        binding.view_stack = stack


def _bind_derived(binding: Binding, scope: Scope, item: ast.SubqueryRef) -> SubqueryScan:
    inner = Scope(scope, hides_parent=True)
    query = binding.query_binder(binding, item.query, inner).finish(None)
    alias = item.alias or f"unnamed_subquery_{binding.relation_count}"
    return _add_query(binding, scope, query, alias, item, 0)


# ── joins ────────────────────────────────────────────────────────────────────────────────────
def _bind_join(
    binding: Binding, scope: Scope, join: ast.Join, *, merging: bool
) -> tuple[JoinTree, Star]:
    start = len(scope.relations)
    left, left_star = _bind_item(binding, scope, join.left, merging=merging)
    middle = len(scope.relations)
    right, right_star = _bind_item(binding, scope, join.right, merging=merging)
    on: BoundExpr | None = None
    star = left_star + right_star
    if join.on is not None:
        on = _bind_on(binding, scope, join.on, start)
    elif join.using or join.natural:
        on, star = _merge_columns(binding, scope, join, left_star, right_star)
    if join.kind in ("left", "full"):
        _make_nullable(scope.relations[middle:])
    if join.kind in ("right", "full"):
        _make_nullable(scope.relations[start:middle])
    if merging and join.kind != "inner":
        star = [(name, _nullable(expr)) for name, expr in star]
    return JoinTree(join.kind, left, right, on, join.span), star


def _bind_on(binding: Binding, scope: Scope, node: ast.Expr, start: int) -> BoundExpr:
    """Only the relations of this join are in sight of its ON."""
    relations, by_alias = scope.relations, scope.by_alias
    if start:
        scope.relations = relations[start:]
        scope.by_alias = {relation.alias: relation for relation in scope.relations}
    scope.clause = "JOIN conditions"
    try:
        return bind_condition(binding, scope, node, "JOIN/ON")
    finally:
        scope.relations, scope.by_alias = relations, by_alias


def _make_nullable(relations: list[ScopeRelation]) -> None:
    for relation in relations:
        relation.not_null = None


def _nullable(expr: BoundExpr) -> BoundExpr:
    return replace(expr, not_null=False) if isinstance(expr, Column) else expr


def _merge_columns(
    binding: Binding, scope: Scope, join: ast.Join, left_star: Star, right_star: Star
) -> tuple[BoundExpr | None, Star]:
    """The condition USING or NATURAL stands for, and the star list with merged columns first."""
    names = join.using
    if join.natural:
        right_names = {name for name, _ in right_star}
        names = tuple(dict.fromkeys(name for name, _ in left_star if name in right_names))
    conditions: list[BoundExpr] = []
    merged: Star = []
    for name in names:
        left = _one_named(name, left_star, "left", join.span)
        right = _one_named(name, right_star, "right", join.span)
        conditions.append(compare(binding, "=", left, right, join.span))
        expr = _merged_expr(binding, join.kind, left, right, join.span)
        merged.append((name, expr))
        both = frozenset(column.relation for side in (left, right) for column in columns_of(side))
        if scope.merged is None:
            scope.merged = {}
        before = scope.merged.get(name)
        scope.merged[name] = Merged(expr, both | before.relations if before else both)
    rest = [item for item in left_star + right_star if item[0] not in names]
    if not conditions:
        return None, rest
    on = conditions[0] if len(conditions) == 1 else And(tuple(conditions), BOOLEAN, join.span)
    return on, merged + rest


def _one_named(name: str, star: Star, side: str, span: ast.Span) -> BoundExpr:
    found = [expr for other, expr in star if other == name]
    if len(found) == 1:
        return found[0]
    if found:
        message = f'common column name "{name}" appears more than once in {side} table'
        raise fail("42702", message, span)
    message = f'column "{name}" specified in USING clause does not exist in {side} table'
    raise fail("42703", message, span)


def _merged_expr(
    binding: Binding, kind: str, left: BoundExpr, right: BoundExpr, span: ast.Span
) -> BoundExpr:
    target = common_type([left.type, right.type])
    if target is None:
        pair = f"{type_text(left.type)} and {type_text(right.type)}"
        raise fail("42804", f"JOIN/USING types {pair} cannot be matched", span)
    if kind == "right":
        return coerce(binding, right, target)
    first = coerce(binding, left, target)
    if kind != "full":
        return first
    second = coerce(binding, _nullable(right), target)
    first = _nullable(first)
    return Case(((IsNull(first, True, BOOLEAN, span), first),), second, target, span)
