"""INSERT, UPDATE, DELETE: target columns, defaults, checks, RETURNING.

Values go to columns in the assignment context: numbers narrow (22003 when they do not fit), any
type becomes text, everything else must match or be cast (42804). DEFAULT and CHECK texts of the
catalog are parsed by the injected `parse_expression` and bound here.
"""

from __future__ import annotations

import difflib

from engine.catalog import Column as TableColumn
from engine.catalog import Table
from engine.errors import InternalError
from engine.sql import ast
from engine.sql.binder.coercion import coerce, settle
from engine.sql.binder.dispatch import bind_condition, bind_expression
from engine.sql.binder.query import bind_query
from engine.sql.binder.relations import add_table, unknown_table
from engine.sql.binder.scope import Scope
from engine.sql.binder.select import bind_items
from engine.sql.binder.state import Binding, fail
from engine.sql.bound import (
    BoundExpr,
    BoundQuery,
    Const,
    Delete,
    Insert,
    OutputColumn,
    TableScan,
    Update,
    Values,
)


def _target_table(binding: Binding, ref: ast.TableRef, verb: str) -> Table:
    if ref.schema not in (None, "main"):
        raise fail("3F000", f'schema "{ref.schema}" does not exist', ref.span)
    table = binding.catalog.tables.get(ref.name)
    if table is not None:
        return table
    if ref.name in binding.catalog.views:
        raise fail("42809", f'cannot {verb} view "{ref.name}"', ref.span)
    raise unknown_table(binding, ref.name, ref.span)


def _column_position(binding: Binding, table: Table, name: str, span: ast.Span) -> int:
    positions = binding.catalog.positions(table)
    position = positions.get(name)
    if position is None:
        close = difflib.get_close_matches(name, positions, 1, 0.5)
        hint = f'Perhaps you meant "{close[0]}".' if close else None
        message = f'column "{name}" of table "{table.name}" does not exist'
        raise fail("42703", message, span, hint)
    return position


# ── INSERT ───────────────────────────────────────────────────────────────────────────────────
def bind_insert(binding: Binding, node: ast.Insert) -> Insert:
    table = _target_table(binding, node.table, "insert into")
    columns = _insert_columns(binding, table, node)
    source: BoundQuery | None = None
    if node.source is None:
        columns = ()
    elif _is_plain_values(node.source):
        source, columns = _bind_rows(binding, table, columns, node)
    else:
        draft = bind_query(binding, node.source)
        columns = _match_width(columns, len(draft.types), table, node)
        source = draft.finish([table.columns[i].type for i in columns], "assignment")
    scope = Scope()
    scan = add_table(binding, scope, table, node.table)
    defaults = tuple(
        None if i in columns else bind_default(binding, column, node.table.span)
        for i, column in enumerate(table.columns)
    )
    checks = bind_checks(binding, scope, table, node.table.span)
    returning, returning_columns = _bind_returning(binding, scope, node.returning)
    return Insert(
        table,
        scan.relation,
        columns,
        source,
        defaults,
        checks,
        node.conflict,
        returning,
        returning_columns,
    )


def _insert_columns(binding: Binding, table: Table, node: ast.Insert) -> tuple[int, ...]:
    if not node.columns:
        return tuple(range(len(table.columns)))
    positions: list[int] = []
    for name, span in node.columns:
        position = _column_position(binding, table, name, span)
        if position in positions:
            raise fail("42701", f'column "{name}" specified more than once', span)
        positions.append(position)
    return tuple(positions)


def _is_plain_values(query: ast.Query) -> bool:
    plain = not (query.order_by or query.ctes or query.limit or query.offset)
    return isinstance(query.body, ast.Values) and plain


def _match_width(
    columns: tuple[int, ...], width: int, table: Table, node: ast.Insert
) -> tuple[int, ...]:
    """The columns that `width` values go to: without a column list the first ones may be given."""
    if width == len(columns):
        return columns
    if width > len(columns):
        message = f"INSERT has more expressions than target columns ({width} for {len(columns)})"
        raise fail("42601", message, _surplus_span(node, len(columns)))
    if node.columns:
        message = f"INSERT has more target columns than expressions ({len(columns)} for {width})"
        raise fail("42601", message, node.columns[width][1])
    return columns[:width]


def _surplus_span(node: ast.Insert, count: int) -> ast.Span:
    assert node.source is not None
    body = node.source.body
    if isinstance(body, ast.Values):
        return next(row[count].span for row in body.rows if len(row) > count)
    return node.source.span


def _bind_rows(
    binding: Binding, table: Table, columns: tuple[int, ...], node: ast.Insert
) -> tuple[BoundQuery, tuple[int, ...]]:
    """INSERT … VALUES: each value goes to its column's type at once; DEFAULT may stand for one."""
    assert node.source is not None
    body = node.source.body
    assert isinstance(body, ast.Values)
    scope = Scope()
    scope.clause = "VALUES"
    width = max(len(row) for row in body.rows)
    columns = _match_width(columns, width, table, node)
    targets = [table.columns[i] for i in columns]
    rows = []
    for row in body.rows:
        if len(row) != width:
            span = row[0].span if row else body.span
            raise fail("42601", "VALUES lists must all be the same length", span)
        rows.append(
            tuple(
                [
                    _bind_assigned(binding, scope, item, column)
                    for item, column in zip(row, targets, strict=True)
                ]
            )
        )
    outputs = tuple([OutputColumn(column.name, column.type) for column in targets])
    return BoundQuery(Values(tuple(rows)), outputs, (), None, None), columns


def _bind_assigned(
    binding: Binding, scope: Scope, item: ast.Expr | ast.DefaultMarker, column: TableColumn
) -> BoundExpr:
    if item.__class__ is ast.DefaultMarker:
        default = bind_default(binding, column, item.span)
        return Const(None, column.type, item.span) if default is None else default
    expr = bind_expression(binding, scope, item)  # type: ignore[arg-type]
    return coerce(binding, expr, column.type, "assignment", f'column "{column.name}"')


def bind_default(binding: Binding, column: TableColumn, span: ast.Span) -> BoundExpr | None:
    """The column's DEFAULT in its type; None when it has none."""
    if column.default is None:
        return None
    scope = Scope()
    scope.clause = "DEFAULT expressions"
    with binding.foreign_text(span):
        expr = bind_expression(binding, scope, _parse_stored(binding, column.default))
        return coerce(binding, expr, column.type, "assignment", f'column "{column.name}"')


def bind_checks(
    binding: Binding, scope: Scope, table: Table, span: ast.Span
) -> tuple[tuple[str, BoundExpr], ...]:
    """(name, condition) of every CHECK, over the relation in `scope`."""
    if not table.checks:
        return ()
    inner = Scope()
    inner.clause = "check constraints"
    target = scope.relations[0]
    # Under its own name, whatever alias the statement gave the table.
    inner.relations = [target]
    inner.by_alias = {table.name: target}
    with binding.foreign_text(span):
        return tuple(
            (
                check.name,
                bind_condition(binding, inner, _parse_stored(binding, check.text), "CHECK"),
            )
            for check in table.checks
        )


def _parse_stored(binding: Binding, text: str) -> ast.Expr:
    if binding.parse_expression is None:
        raise InternalError(f"bind() was given no parser to read {text!r} with")
    return binding.parse_expression(text)  # type: ignore[no-any-return]


def _bind_returning(
    binding: Binding, scope: Scope, items: tuple[ast.SelectItem, ...]
) -> tuple[tuple[BoundExpr, ...], tuple[OutputColumn, ...]]:
    if not items:
        return (), ()
    exprs, names = bind_items(binding, scope, items)
    bound = tuple(settle(binding, expr) for expr in exprs)
    columns = tuple(OutputColumn(name, expr.type) for name, expr in zip(names, bound, strict=True))
    return bound, columns


# ── UPDATE and DELETE ────────────────────────────────────────────────────────────────────────
def bind_update(binding: Binding, node: ast.Update) -> Update:
    table, scope, scan = _bind_target(binding, node.table, "update")
    assignments: list[tuple[int, BoundExpr]] = []
    scope.clause = "UPDATE"
    for item in node.assignments:
        position = _column_position(binding, table, item.column, item.span)
        if any(position == other for other, _ in assignments):
            message = f'multiple assignments to same column "{item.column}"'
            raise fail("42601", message, item.span)
        column = table.columns[position]
        assignments.append((position, _bind_assigned(binding, scope, item.value, column)))
    where = None
    if node.where is not None:
        scope.clause = "WHERE"
        where = bind_condition(binding, scope, node.where, "WHERE")
    checks = bind_checks(binding, scope, table, node.table.span)
    returning, columns = _bind_returning(binding, scope, node.returning)
    return Update(table, scan.relation, tuple(assignments), where, checks, returning, columns)


def bind_delete(binding: Binding, node: ast.Delete) -> Delete:
    table, scope, scan = _bind_target(binding, node.table, "delete from")
    where = None
    if node.where is not None:
        scope.clause = "WHERE"
        where = bind_condition(binding, scope, node.where, "WHERE")
    returning, columns = _bind_returning(binding, scope, node.returning)
    return Delete(table, scan.relation, where, returning, columns)


def _bind_target(binding: Binding, ref: ast.TableRef, verb: str) -> tuple[Table, Scope, TableScan]:
    table = _target_table(binding, ref, verb)
    scope = Scope()
    scan = add_table(binding, scope, table, ref)
    return table, scope, scan
