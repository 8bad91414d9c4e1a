"""One SELECT block: FROM, WHERE, the select list, GROUP BY, HAVING, DISTINCT, ORDER BY.

Literals that must be recognised again elsewhere in the block are baked: those of the select list
when there is a GROUP BY or a DISTINCT with ORDER BY, and all of GROUP BY, HAVING and ORDER BY
(`a + 1` in two places must be one expression).
"""

from __future__ import annotations

from engine.sql import ast
from engine.sql.binder.coercion import settle
from engine.sql.binder.dispatch import bind_condition, bind_expression, bind_value
from engine.sql.binder.drafts import QueryDraft, SelectDraft
from engine.sql.binder.grouping import Grouping
from engine.sql.binder.relations import bind_from, relation_star
from engine.sql.binder.rewrite import any_node, same_expression
from engine.sql.binder.scope import Scope
from engine.sql.binder.state import Binding, Expr, Pending, fail
from engine.sql.bound import (
    Aggregate,
    AggregateRef,
    BoundExpr,
    Column,
    JoinTree,
    OutputSort,
    Relation,
    TableScan,
)


def bind_select(
    binding: Binding, scope: Scope, select: ast.Select, order_by: tuple[ast.OrderItem, ...]
) -> QueryDraft:
    """The block with the ORDER BY that belongs to it."""
    from_ = where = None
    if select.from_ is not None:
        from_ = bind_from(binding, scope, select.from_)
    if select.where is not None:
        scope.clause = "WHERE"
        where = bind_condition(binding, scope, select.where, "WHERE")
    aggregates: list[Aggregate] = []
    scope.aggregates = aggregates
    literals = binding.literals
    if literals == "params" and (select.group_by or (select.distinct and order_by)):
        binding.literals = "baked"
    exprs, names = bind_items(binding, scope, select.items)
    draft = SelectDraft(from_, where, exprs, select.distinct)
    if literals == "params":
        binding.literals = "baked"
    keys = _bind_group_by(binding, scope, select, draft, names) if select.group_by else []
    sorts = _bind_order_by(binding, scope, order_by, draft, names) if order_by else ()
    if select.having is not None:
        draft.having = bind_condition(binding, scope, select.having, "HAVING")
    binding.literals = literals
    if aggregates or keys or select.having is not None:
        _lift(scope, draft, keys, from_)
        draft.aggregates = tuple(aggregates)
    types = [expr.type for expr in draft.outputs[: draft.visible]]
    query = QueryDraft(binding, draft, names, types, select.span)
    query.order_by = sorts
    query.origins = _origins(scope, exprs[: draft.visible])
    return query


def _lift(scope: Scope, draft: SelectDraft, keys: list[BoundExpr], from_: Relation | None) -> None:
    draft.grouped = True
    primary_keys = _primary_keys(from_) if keys and from_ is not None else {}
    grouping = Grouping(scope, keys, primary_keys)
    draft.outputs = [grouping.lift(expr) for expr in draft.outputs]
    if draft.having is not None:
        having = grouping.lift(draft.having)
        assert not isinstance(having, Pending)
        draft.having = having
    draft.group_by = tuple(grouping.keys)


def _primary_keys(relation: Relation) -> dict[int, tuple[int, ...]]:
    if isinstance(relation, TableScan):
        return {relation.relation: relation.table.primary_key}
    if isinstance(relation, JoinTree):
        return {**_primary_keys(relation.left), **_primary_keys(relation.right)}
    return {}


def _origins(scope: Scope, exprs: list[Expr]) -> list[tuple[str, str]]:
    tables = {relation.relation: relation.table_name for relation in scope.relations}
    return [
        (tables.get(expr.relation, ""), expr.name) if isinstance(expr, Column) else ("", "")
        for expr in exprs
    ]


# ── the select list ──────────────────────────────────────────────────────────────────────────
def bind_items(
    binding: Binding, scope: Scope, items: tuple[ast.SelectItem, ...]
) -> tuple[list[Expr], list[str]]:
    """Expressions and their names, stars expanded."""
    exprs: list[Expr] = []
    names: list[str] = []
    scope.clause = "SELECT"
    for item in items:
        node = item.expr
        if node.__class__ is ast.Star:
            for name, expr in _expand_star(scope, node):  # type: ignore[arg-type]
                exprs.append(expr)
                names.append(name)
            continue
        exprs.append(bind_expression(binding, scope, node))
        names.append(item.alias or output_name(node))
    return exprs, names


def _expand_star(scope: Scope, star: ast.Star) -> list[tuple[str, BoundExpr]]:
    if star.table is not None:
        relation = scope.by_alias.get(star.table)
        if relation is None:
            message = f'missing FROM-clause entry for table "{star.table}"'
            raise fail("42P01", message, star.span)
        return relation_star(relation, star.span)
    if not scope.relations:
        raise fail("42601", "SELECT * with no tables specified is not valid", star.span)
    if scope.star is not None:
        return scope.star
    return [pair for relation in scope.relations for pair in relation_star(relation, star.span)]


def output_name(node: ast.Expr) -> str:
    """The name PostgreSQL gives an output column without an alias."""
    if isinstance(node, (ast.ColumnRef, ast.FunctionCall)):
        return node.name
    if isinstance(node, ast.Cast):
        name = output_name(node.operand)
        return node.type.name if name == "?column?" else name
    if isinstance(node, ast.TypedLiteral):
        return node.type.name
    if isinstance(node, ast.Case):
        name = output_name(node.default) if node.default is not None else "case"
        return "case" if name == "?column?" else name
    if isinstance(node, ast.Exists):
        return "exists"
    if isinstance(node, ast.ScalarQuery) and isinstance(node.query.body, ast.Select):
        item = node.query.body.items[0]
        return item.alias or output_name(item.expr)
    if isinstance(node, ast.Literal) and node.kind == "boolean":
        return "bool"
    return "?column?"


# ── GROUP BY and ORDER BY ────────────────────────────────────────────────────────────────────
def output_position(binding: Binding, node: ast.Expr, count: int, clause: str) -> int | None:
    """`ORDER BY 2` as a 0-based position; None for anything but a literal. 42P10, 42601."""
    if not isinstance(node, ast.Literal) or node.kind == "null":
        return None
    if node.kind != "integer":
        raise fail("42601", f"non-integer constant in {clause}", node.span)
    if node.slot >= 0 and binding.literals in ("params", "baked"):
        binding.baked.append(node.slot)
    position = int(node.value or 0)
    if not 1 <= position <= count:
        raise fail("42P10", f"{clause} position {position} is not in select list", node.span)
    return position - 1


def _bind_group_by(
    binding: Binding, scope: Scope, select: ast.Select, draft: SelectDraft, names: list[str]
) -> list[BoundExpr]:
    """The distinct group keys. An input column wins over an output name, as in PostgreSQL."""
    aggregates, scope.aggregates = scope.aggregates, None
    scope.clause = "GROUP BY"
    keys: list[BoundExpr] = []
    for node in select.group_by:
        position = output_position(binding, node, draft.visible, "GROUP BY")
        if position is None:
            position = _output_named(scope, node, draft, names)
        if position is None:
            key = bind_value(binding, scope, node)
        else:
            key = settle(binding, draft.outputs[position])
            draft.outputs[position] = key
            _refuse_aggregates(key, node)
        if not any(same_expression(key, other) for other in keys):
            keys.append(key)
    scope.aggregates = aggregates
    return keys


def _refuse_aggregates(key: BoundExpr, node: ast.Expr) -> None:
    if any_node(key, lambda part: isinstance(part, AggregateRef)):
        raise fail("42803", "aggregate functions are not allowed in GROUP BY", node.span)


def _output_named(scope: Scope, node: ast.Expr, draft: SelectDraft, names: list[str]) -> int | None:
    if not isinstance(node, ast.ColumnRef) or node.table is not None:
        return None
    if scope.find_local(node.name, node.span) is not None:
        return None
    return _unique_output(node, draft, names)


def _unique_output(node: ast.ColumnRef, draft: SelectDraft, names: list[str]) -> int | None:
    """The output of that name. 42702 when two different ones have it."""
    matches = [i for i, name in enumerate(names) if name == node.name]
    if len(matches) > 1:
        first = draft.outputs[matches[0]]
        if not all(same_expression(first, draft.outputs[i]) for i in matches[1:]):
            raise fail("42702", f'"{node.name}" is ambiguous among output columns', node.span)
    return matches[0] if matches else None


def _bind_order_by(
    binding: Binding,
    scope: Scope,
    items: tuple[ast.OrderItem, ...],
    draft: SelectDraft,
    names: list[str],
) -> tuple[OutputSort, ...]:
    """Positions of outputs to sort by; expressions that are no output become hidden ones."""
    scope.clause = "ORDER BY"
    sorts: list[OutputSort] = []
    for item in items:
        node = item.expr
        position = output_position(binding, node, draft.visible, "ORDER BY")
        if position is None and isinstance(node, ast.ColumnRef) and node.table is None:
            position = _unique_output(node, draft, names)
        if position is None:
            position = _sort_expression(binding, scope, node, draft)
        nulls_first = item.descending if item.nulls_first is None else item.nulls_first
        sorts.append(OutputSort(position, item.descending, nulls_first))
    return tuple(sorts)


def _sort_expression(binding: Binding, scope: Scope, node: ast.Expr, draft: SelectDraft) -> int:
    expr = bind_value(binding, scope, node)
    for i, output in enumerate(draft.outputs):
        if same_expression(output, expr):
            return i
    if draft.distinct:
        message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list"
        raise fail("42P10", message, node.span)
    draft.outputs.append(expr)
    return len(draft.outputs) - 1
