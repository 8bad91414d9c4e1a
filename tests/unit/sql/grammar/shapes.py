"""Syntax trees as short text, for tests: fully parenthesised, spans left out."""

from __future__ import annotations

from typing import Any

from engine.sql import ast


def show(node: Any) -> str:
    """`a + b * 2` as `(a + (b * 2))`; statements as `(select …)`."""
    if node is None:
        return "-"
    if isinstance(node, str):
        return node
    if isinstance(node, bool | int):
        return str(node).lower()
    if isinstance(node, tuple):
        return "[" + " ".join(show(item) for item in node) + "]"
    maker = _SHOWN.get(type(node))
    if maker is not None:
        return maker(node)
    fields = [
        show(getattr(node, name))
        for name in node.__struct_fields__
        if not name.endswith("span") and name not in ("slot", "slots")
    ]
    return f"({type(node).__name__.lower()} {' '.join(fields)})"


def _literal(node: ast.Literal) -> str:
    if node.kind in ("integer", "numeric"):
        return str(node.value)
    return repr(node.value) if node.value is not None else "null"


def _column(node: ast.ColumnRef) -> str:
    return ".".join(part for part in (node.schema, node.table, node.name) if part)


def _parameter(node: ast.Parameter) -> str:
    return f"${node.index + 1}" if node.name is None else f":{node.name}@{node.index}"


def _call(node: ast.FunctionCall) -> str:
    inner = ("distinct " if node.distinct else "") + " ".join(show(arg) for arg in node.args)
    if node.order_by:
        inner += " order " + show(node.order_by)
    tail = f" filter {show(node.filter)}" if node.filter is not None else ""
    return f"{node.name}({inner}){tail}"


def _item(node: ast.SelectItem) -> str:
    return show(node.expr) if node.alias is None else f"{show(node.expr)} as {node.alias}"


def _order(node: ast.OrderItem) -> str:
    nulls = {None: "", True: " nulls first", False: " nulls last"}[node.nulls_first]
    return show(node.expr) + (" desc" if node.descending else "") + nulls


def _type(node: ast.TypeName) -> str:
    return node.name + (f"({','.join(map(str, node.args))})" if node.args else "")


def _table(node: ast.TableRef) -> str:
    name = node.name if node.schema is None else f"{node.schema}.{node.name}"
    columns = show(node.column_aliases) if node.column_aliases else ""
    return name if node.alias is None else f"{name} as {node.alias}{columns}"


def _query(node: ast.Query) -> str:
    text = show(node.body)
    for word, part in (("order", node.order_by), ("with", node.ctes)):
        text += f" {word} {show(part)}" if part else ""
    for word, expr in (("limit", node.limit), ("offset", node.offset)):
        text += f" {word} {show(expr)}" if expr is not None else ""
    return "{" + text + "}"


def _select(node: ast.Select) -> str:
    text = ("select distinct " if node.distinct else "select ") + show(node.items)
    for word in ("from_", "where", "group_by", "having"):
        part = getattr(node, word)
        text += f" {word.rstrip('_')} {show(part)}" if part else ""
    return text


_SHOWN: dict[type, Any] = {
    ast.Literal: _literal,
    ast.TypedLiteral: lambda n: f"{_type(n.type)} {n.text!r}",
    ast.ColumnRef: _column,
    ast.Parameter: _parameter,
    ast.Star: lambda n: "*" if n.table is None else f"{n.table}.*",
    ast.Unary: lambda n: f"({n.op} {show(n.operand)})",
    ast.Binary: lambda n: f"({show(n.left)} {n.op} {show(n.right)})",
    ast.IsTest: lambda n: f"({show(n.operand)} is {'not ' if n.negated else ''}{n.test})",
    ast.FunctionCall: _call,
    ast.ScalarQuery: lambda n: show(n.query),
    ast.SelectItem: _item,
    ast.OrderItem: _order,
    ast.TypeName: _type,
    ast.Cast: lambda n: f"({show(n.operand)} :: {_type(n.type)})",
    ast.TableRef: _table,
    ast.Query: _query,
    ast.Select: _select,
    ast.DefaultMarker: lambda n: "default",
}
