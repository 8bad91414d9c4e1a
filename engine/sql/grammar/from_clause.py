"""FROM: tables, subqueries, joins.

A comma binds weaker than JOIN; `a JOIN b JOIN c ON x ON y` nests to the right as in the standard.
Every join form parses; the binder decides which it can do. LATERAL, functions, ONLY, TABLESAMPLE
and files in FROM are recognised and refused.
"""

from __future__ import annotations

from engine.sql.ast import Expr, FromItem, Join, SubqueryRef, TableRef
from engine.sql.grammar.expression import parse_expression
from engine.sql.grammar.stream import (
    IDENTIFIER_KINDS,
    MAX_CHAIN,
    PRODUCTIONS,
    QUERY_STARTS,
    TokenStream,
    try_query,
)

_JOIN_STARTS = frozenset({"join", "inner", "left", "right", "full", "cross", "natural"})


def parse_from(p: TokenStream) -> FromItem:
    """The items after FROM; commas become cross joins."""
    first = p.pos
    left = _parse_joined(p)
    chain = 0
    while p.kinds[p.pos] == ",":
        p.pos += 1
        right = _parse_joined(p)
        left = Join("cross", left, right, None, (), False, p.span_from(first))
        chain += 1
        if chain > MAX_CHAIN:
            p.too_deep()
    return left


def _parse_joined(p: TokenStream) -> FromItem:
    """One item with the joins that follow it."""
    first = p.pos
    left = _parse_item(p)
    chain = 0
    while p.kinds[p.pos] in _JOIN_STARTS:
        left = _parse_join(p, left, first)
        chain += 1
        if chain > MAX_CHAIN:
            p.too_deep()
    return left


def _parse_join(p: TokenStream, left: FromItem, first: int) -> Join:
    natural = p.accept("natural")
    kind = _parse_join_kind(p)
    right_first = p.pos
    right = _parse_item(p)
    on: Expr | None = None
    using: tuple[str, ...] = ()
    if kind != "cross" and not natural:
        p.enter()
        while p.kinds[p.pos] in _JOIN_STARTS:
            right = _parse_join(p, right, right_first)
        p.depth -= 1
        if p.accept("on"):
            on = parse_expression(p)
        elif p.accept("using"):
            using = parse_columns(p)
        else:
            p.fail("on", "using")
    return Join(kind, left, right, on, using, natural, p.span_from(first))


def _parse_join_kind(p: TokenStream) -> str:
    """`[INNER | LEFT [OUTER] | RIGHT [OUTER] | FULL [OUTER] | CROSS] JOIN`."""
    kind = p.kinds[p.pos]
    if kind == "join":
        p.pos += 1
        return "inner"
    if kind not in ("inner", "left", "right", "full", "cross"):
        p.fail("join", "left", "right", "full", "inner")
    p.pos += 1
    if kind in ("left", "right", "full"):
        p.accept("outer")
    p.expect("join")
    return kind


def parse_columns(p: TokenStream) -> tuple[str, ...]:
    """`(a, b)`."""
    p.expect("(")
    p.enter()
    names = [p.identifier("a column name")]
    while p.accept(","):
        names.append(p.identifier("a column name"))
    p.close()
    return tuple(names)


# ── one item ─────────────────────────────────────────────────────────────────────────────────
def _parse_item(p: TokenStream) -> FromItem:
    kind = p.kinds[p.pos]
    if kind in IDENTIFIER_KINDS:
        return parse_table(p, True)
    if kind == "(":
        return _parse_parenthesis(p)
    if kind in ("lateral", "only"):
        p.unsupported(kind.upper(), p.pos)
    if kind == "STRING":
        p.unsupported("a file in FROM", p.pos, "load it first: mantis import FILE TABLE SOURCE")
    return p.fail("a table name", "(")


def parse_table(p: TokenStream, bare_alias: bool) -> TableRef:
    """`[schema.]name [[AS] alias [(columns)]]`; without `bare_alias`, AS is required."""
    first = p.pos
    kinds, values = p.kinds, p.values
    if kinds[first] not in IDENTIFIER_KINDS:
        p.fail("a table name")
    name = values[first]
    schema: str | None = None
    pos = p.pos = first + 1
    if kinds[pos] == ".":
        p.pos += 1
        schema, name = name, p.any_word("a table name")
        if kinds[p.pos] == ".":
            p.unsupported("a database name before the schema", first)
    kind = kinds[p.pos]
    if kind == "(" and bare_alias:
        p.unsupported("a function in FROM", first)
    if kind == "tablesample":
        p.unsupported("TABLESAMPLE", p.pos)
    if kind == "not" and values[p.pos + 1] == "indexed":
        p.unsupported("NOT INDEXED", p.pos)
    if kind == "NAME" and values[p.pos] == "indexed" and values[p.pos + 1] == "by":
        p.unsupported("INDEXED BY", p.pos)
    alias: str | None = None
    columns: tuple[str, ...] = ()
    if kind == "as" or (bare_alias and kind in IDENTIFIER_KINDS):
        alias, columns = _parse_alias(p)
    return TableRef(name, schema, alias, columns, (p.starts[first], p.ends[p.pos - 1]))


def _parse_alias(p: TokenStream) -> tuple[str | None, tuple[str, ...]]:
    """`[AS] alias [(columns)]` or nothing. UPDATE's SET is no alias."""
    if p.kinds[p.pos] == "as":
        p.pos += 1
        alias = p.identifier("an alias")
    elif p.kinds[p.pos] not in IDENTIFIER_KINDS or p.at_word("set"):
        return None, ()
    else:
        alias = p.values[p.pos]
        p.pos += 1
    if p.kinds[p.pos] == "tablesample":
        p.unsupported("TABLESAMPLE", p.pos)
    return alias, parse_columns(p) if p.kinds[p.pos] == "(" else ()


def _parse_parenthesis(p: TokenStream) -> FromItem:
    """`(query) [AS] alias`, or joins in parentheses."""
    first = p.pos
    p.pos += 1
    p.enter()
    query = PRODUCTIONS.query(p) if p.kinds[p.pos] in QUERY_STARTS else try_query(p)
    if query is None:
        item = parse_from(p)
        p.close()
        if p.kinds[p.pos] == "as" or p.kinds[p.pos] in IDENTIFIER_KINDS:
            p.unsupported("an alias for joined tables", p.pos)
        return item
    p.close()
    alias, columns = _parse_alias(p)
    return SubqueryRef(query, alias, columns, p.span_from(first))
