"""CREATE and DROP: implicit names as PostgreSQL gives them, and everything checked that can be.

constraint           name
PRIMARY KEY          t_pkey
UNIQUE (a, b)        t_a_b_key
CHECK on column a    t_a_check          (t_check when it reads no or several columns)
index on (a, b)      t_a_b_idx
A name that is taken gets 1, 2, … appended. Object ids are 0: execution allocates them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from msgspec.structs import replace

from engine.catalog import CheckConstraint, Column, Index, IndexColumn, Table
from engine.errors import NotSupportedError
from engine.sql import ast, bound
from engine.sql.binder.coercion import coerce
from engine.sql.binder.dispatch import bind_condition, bind_expression
from engine.sql.binder.query import bind_query
from engine.sql.binder.relations import add_table, unknown_table
from engine.sql.binder.rewrite import any_node
from engine.sql.binder.scope import Scope, columns_of
from engine.sql.binder.state import Binding, fail
from engine.types import INTEGER_KINDS, TEXT, SqlType, parse_type_name

_SUBQUERIES = (bound.ScalarSubquery, bound.Exists, bound.InSubquery)


def _require_free(binding: Binding, name: str, span: ast.Span) -> None:
    kind = binding.catalog.relation_kind(name)
    if kind is not None:
        raise fail("42P07", f'{kind} "{name}" already exists', span)


def _free_name(base: str, suffix: str, taken: Callable[[str], object]) -> str:
    """base_suffix, or base_suffix1, 2, …; cut to PostgreSQL's 63 characters."""
    stem = f"{base[: 62 - len(suffix)]}_{suffix}"
    name, number = stem, 0
    while taken(name):
        number += 1
        name = f"{stem}{number}"
    return name


# ── CREATE TABLE ─────────────────────────────────────────────────────────────────────────────
def bind_create_table(binding: Binding, node: ast.CreateTable) -> bound.CreateTable:
    if not node.if_not_exists:
        _require_free(binding, node.name, node.name_span)
    storage = _storage_option(node)
    query = None
    if node.query is not None:
        query = bind_query(binding, node.query).finish(None)
        columns = _columns_of_query(query, node)
    else:
        columns = _columns_of_definitions(node)
    primary, primary_name = _primary_key(node, columns)
    columns = tuple(
        _required(column) if i in primary else column for i, column in enumerate(columns)
    )
    single = len(primary) == 1 and columns[primary[0]].type.kind in INTEGER_KINDS
    table = Table(
        table_id=0,
        name=node.name,
        columns=columns,
        primary_key=primary,
        primary_key_name=primary_name,
        indexes=_unique_indexes(binding, node, columns, primary_name),
        key_column=primary[0] if single else None,
        storage=storage,
        next_column_id=len(columns),
    )
    checks = _bind_definitions(binding, node, table)
    return bound.CreateTable(replace(table, checks=checks), node.if_not_exists, query)


def _required(column: Column) -> Column:
    return Column(column.column_id, column.name, column.type, True, column.default)


def _storage_option(node: ast.CreateTable) -> str:
    storage = "btree"
    for name, value in node.options:
        if name != "storage":
            raise fail("22023", f'unrecognized parameter "{name}"', node.span)
        if value != "btree":
            message = f"storage {value!r} is not supported; storage is 'btree'"
            raise NotSupportedError(message, span=node.span)
        storage = str(value)
    return storage


def _columns_of_definitions(node: ast.CreateTable) -> tuple[Column, ...]:
    texts = dict(node.default_texts)
    columns: list[Column] = []
    seen: set[str] = set()
    for i, definition in enumerate(node.columns):
        if definition.name in seen:
            message = f'column "{definition.name}" specified more than once'
            raise fail("42701", message, definition.span)
        seen.add(definition.name)
        sql_type = parse_type_name(definition.type)
        default = texts.get(i) if definition.default is not None else None
        columns.append(Column(i, definition.name, sql_type, definition.not_null, default))
    if not columns:
        raise fail("42601", "a table needs at least one column", node.span)
    return tuple(columns)


def _columns_of_query(query: bound.BoundQuery, node: ast.CreateTable) -> tuple[Column, ...]:
    names = [definition.name for definition in node.columns]
    if len(names) > len(query.columns):
        raise fail("42601", "too many column names were specified", node.columns[-1].span)
    columns: list[Column] = []
    for i, output in enumerate(query.columns):
        name = names[i] if i < len(names) else output.name
        if any(name == column.name for column in columns):
            raise fail("42701", f'column "{name}" specified more than once', node.name_span)
        sql_type = TEXT if output.type.kind == "unknown" else output.type
        columns.append(Column(i, name, sql_type))
    return tuple(columns)


def _position(columns: tuple[Column, ...], name: str, span: ast.Span) -> int:
    for i, column in enumerate(columns):
        if column.name == name:
            return i
    close = difflib.get_close_matches(name, [column.name for column in columns], 1, 0.5)
    hint = f'Perhaps you meant "{close[0]}".' if close else None
    raise fail("42703", f'column "{name}" named in key does not exist', span, hint)


def _key_positions(
    columns: tuple[Column, ...], named: tuple[tuple[str, ast.Span], ...]
) -> tuple[int, ...]:
    positions: list[int] = []
    for name, span in named:
        position = _position(columns, name, span)
        if position in positions:
            message = f'column "{name}" appears twice in a key constraint'
            raise fail("42701", message, span)
        positions.append(position)
    return tuple(positions)


def _primary_key(node: ast.CreateTable, columns: tuple[Column, ...]) -> tuple[tuple[int, ...], str]:
    """(positions, constraint name) of the primary key; ((), '') without one."""
    found: list[tuple[tuple[int, ...], str | None, ast.Span]] = [
        ((i,), None, definition.span)
        for i, definition in enumerate(node.columns)
        if definition.primary_key
    ]
    for key in node.keys:
        if key.primary:
            found.append((_key_positions(columns, key.columns), key.name, key.span))
    if len(found) > 1:
        message = f'multiple primary keys for table "{node.name}" are not allowed'
        raise fail("42P16", message, found[1][2])
    if not found:
        return (), ""
    positions, name, _ = found[0]
    return positions, name or f"{node.name}_pkey"


def _unique_indexes(
    binding: Binding, node: ast.CreateTable, columns: tuple[Column, ...], primary_name: str
) -> tuple[Index, ...]:
    wanted: list[tuple[tuple[int, ...], str | None]] = [
        ((i,), None) for i, definition in enumerate(node.columns) if definition.unique
    ]
    wanted += [
        (_key_positions(columns, key.columns), key.name) for key in node.keys if not key.primary
    ]
    taken = {primary_name, *(name for _, name in wanted if name)}
    indexes = []
    for positions, name in wanted:
        if name is None:
            base = "_".join([node.name, *(columns[i].name for i in positions)])
            name = _free_name(base, "key", lambda n: n in taken or binding.catalog.relation_kind(n))
            taken.add(name)
        elif not node.if_not_exists:
            _require_free(binding, name, node.span)
        parts = tuple(IndexColumn(i) for i in positions)
        indexes.append(Index(0, name, 0, parts, unique=True, constraint=True))
    return tuple(indexes)


def _bind_definitions(
    binding: Binding, node: ast.CreateTable, table: Table
) -> tuple[CheckConstraint, ...]:
    """Defaults and checks, bound once to find their errors now. Returns the named checks."""
    for definition, column in zip(node.columns, table.columns, strict=False):
        if definition.default is not None:
            _check_default(binding, definition.default, column.type, column.name)
    scope = Scope()
    scope.clause = "check constraints"
    ref = ast.TableRef(node.name, None, None, (), node.name_span)
    add_table(binding, scope, table, ref)
    constraints: list[CheckConstraint] = []
    taken: set[str] = set()
    own = [(check, definition.name) for definition in node.columns for check in definition.checks]
    for check, column_name in [*own, *((check, "") for check in node.checks)]:
        condition = bind_condition(binding, scope, check.expr, "CHECK")
        if any_node(condition, lambda part: isinstance(part, _SUBQUERIES)):
            raise NotSupportedError("cannot use subquery in check constraint", span=check.span)
        name = check.name
        if name is None:
            read = {column.name for column in columns_of(condition)}
            only = column_name or (next(iter(read)) if len(read) == 1 else "")
            base = f"{node.name}_{only}" if only else node.name
            name = _free_name(base, "check", taken.__contains__)
        elif name in taken:
            raise fail("42710", f'constraint "{name}" already exists', check.span)
        taken.add(name)
        constraints.append(CheckConstraint(name, check.text))
    return tuple(constraints)


def _check_default(binding: Binding, node: ast.Expr, sql_type: SqlType, name: str) -> None:
    scope = Scope()
    scope.clause = "DEFAULT expressions"
    if isinstance(node, ast.ColumnRef):
        raise NotSupportedError("cannot use column reference in DEFAULT", span=node.span)
    expr = bind_expression(binding, scope, node)
    value = coerce(binding, expr, sql_type, "assignment", f'column "{name}"')
    if any_node(value, lambda part: isinstance(part, _SUBQUERIES)):
        raise NotSupportedError("cannot use subquery in DEFAULT expression", span=node.span)


# ── CREATE INDEX, CREATE VIEW ────────────────────────────────────────────────────────────────
def bind_create_index(binding: Binding, node: ast.CreateIndex) -> bound.CreateIndex:
    catalog = binding.catalog
    table = catalog.tables.get(node.table)
    if table is None:
        if node.table in catalog.views:
            raise fail("42809", f'cannot index view "{node.table}"', node.table_span)
        raise unknown_table(binding, node.table, node.table_span)
    parts = tuple(
        IndexColumn(_position(table.columns, item.column, item.span), item.descending)
        for item in node.items
    )
    name = node.name
    if name is None:
        base = "_".join([table.name, *(item.column for item in node.items)])
        name = _free_name(base, "idx", catalog.relation_kind)
    elif not node.if_not_exists:
        _require_free(binding, name, node.span)
    index = Index(0, name, table.table_id, parts, unique=node.unique)
    return bound.CreateIndex(table, index, node.if_not_exists)


def bind_create_view(binding: Binding, node: ast.CreateView) -> bound.CreateView:
    kind = binding.catalog.relation_kind(node.name)
    if kind == "view" and not (node.or_replace or node.if_not_exists):
        raise fail("42P07", f'view "{node.name}" already exists', node.span)
    if kind in ("table", "index"):
        code = "42809" if node.or_replace else "42P07"
        message = f'"{node.name}" is not a view' if node.or_replace else f'{kind} "{node.name}" '
        raise fail(code, message + ("" if node.or_replace else "already exists"), node.span)
    # A view being replaced must not read itself.
    binding.view_stack = (node.name,)
    query = bind_query(binding, node.query).finish(None)
    if binding.caller_names:
        raise fail("42P02", "a view cannot hold parameters", node.span)
    names = [column.name for column in query.columns]
    if len(node.columns) > len(names):
        raise fail("42601", "CREATE VIEW specifies more column names than columns", node.span)
    names[: len(node.columns)] = node.columns
    for i, name in enumerate(names):
        if name in names[:i]:
            raise fail("42701", f'column "{name}" specified more than once', node.span)
    return bound.CreateView(node.name, tuple(names), node.text, node.or_replace, node.if_not_exists)


# ── DROP ─────────────────────────────────────────────────────────────────────────────────────
def bind_drop(binding: Binding, node: ast.Drop) -> bound.Drop:
    names: list[str] = []
    for name, span in node.names:
        kind = binding.catalog.relation_kind(name)
        if kind == node.kind:
            if name not in names:
                names.append(name)
            if kind == "index":
                _require_droppable_index(binding, name, span)
        elif kind is not None:
            hint = f"Use DROP {kind.upper()}."
            raise fail("42809", f'"{name}" is not {_article(node.kind)}', span, hint)
        elif not node.if_exists:
            raise _missing(binding, node.kind, name, span)
    views = _dependent_views(binding, names) if node.kind != "index" else []
    if views and not node.cascade:
        message = f'cannot drop {node.kind} "{views[0][1]}" because view "{views[0][0]}" reads it'
        raise fail("2BP01", message, node.span, "Use DROP … CASCADE to drop the view too.")
    return bound.Drop(node.kind, tuple(names), node.cascade, tuple(view for view, _ in views))


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "index" else f"a {kind}"


def _missing(binding: Binding, kind: str, name: str, span: ast.Span) -> Exception:
    catalog = binding.catalog
    known = [*(catalog.tables if kind == "table" else ())]
    known += catalog.views if kind == "view" else catalog.indexes if kind == "index" else ()
    close = difflib.get_close_matches(name, known, 1)
    hint = f'Perhaps you meant "{close[0]}".' if close else None
    code = "42704" if kind == "index" else "42P01"
    return fail(code, f'{kind} "{name}" does not exist', span, hint)


def _require_droppable_index(binding: Binding, name: str, span: ast.Span) -> None:
    table, index = binding.catalog.indexes[name]
    if index.constraint:
        message = f'cannot drop index "{name}": constraint of table "{table.name}" requires it'
        raise fail("2BP01", message, span)


def _dependent_views(binding: Binding, names: list[str]) -> list[tuple[str, str]]:
    """(view, what it reads) of every other view that reads one of `names`, directly or through
    views, in an order in which each comes before what it reads."""
    dropped = set(names)
    found: list[tuple[str, str]] = []
    changed = bool(names) and binding.parse is not None
    while changed:
        changed = False
        for view in binding.catalog.views.values():
            if view.name in dropped:
                continue
            assert binding.parse is not None
            read = tables_read(binding.parse(view.text)) & dropped
            if read:
                found.insert(0, (view.name, min(read)))
                dropped.add(view.name)
                changed = True
    return found


def tables_read(node: object) -> set[str]:
    """Names of all tables, views and common tables mentioned in a syntax tree."""
    if isinstance(node, ast.TableRef):
        return {node.name}
    found: set[str] = set()
    if isinstance(node, ast.Node):
        for name in node.__struct_fields__:
            found |= tables_read(getattr(node, name))
    elif isinstance(node, tuple):
        for item in node:
            found |= tables_read(item)
    return found
