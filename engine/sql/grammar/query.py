"""Queries: SELECT, VALUES, FROM-first, set operations, WITH, ORDER BY, LIMIT.

INTERSECT binds tighter than UNION and EXCEPT, which read from left to right. A long run of one
associative operation is built as a balanced tree, as AND and OR are in expressions.

What it does not do: names. `FROM t` without SELECT arrives as SELECT *.
"""

from __future__ import annotations

from engine.sql.ast import (
    ColumnRef,
    CommonTable,
    DefaultMarker,
    Expr,
    Literal,
    OrderItem,
    Query,
    QueryBody,
    Select,
    SelectItem,
    SetOperation,
    Span,
    Star,
    Values,
)
from engine.sql.grammar.call import parse_order_by
from engine.sql.grammar.expression import parse_expression
from engine.sql.grammar.from_clause import parse_columns, parse_from
from engine.sql.grammar.stream import (
    IDENTIFIER_KINDS,
    MAX_CHAIN,
    PRODUCTIONS,
    QUERY_STARTS,
    TokenStream,
)

_AFTER_BODY = frozenset({"order", "limit", "offset", "fetch", "for"})
_SET_OPERATIONS = frozenset({"union", "except"})


def parse_query(p: TokenStream) -> Query:
    """A whole query, WITH to LIMIT."""
    first = p.pos
    return parse_query_after_with(p, first, parse_with(p) if p.kinds[first] == "with" else ())


def parse_query_after_with(p: TokenStream, first: int, ctes: tuple[CommonTable, ...]) -> Query:
    """The query whose WITH, beginning at token `first`, is read already."""
    kinds = p.kinds
    body = _parse_body(p)
    order_by: tuple[OrderItem, ...] = ()
    limit: Expr | None = None
    offset: Expr | None = None
    if kinds[p.pos] in _AFTER_BODY:
        if kinds[p.pos] == "order":
            order_by = parse_order_by(p)
        if kinds[p.pos] in _AFTER_BODY:
            limit, offset = _parse_limit(p)
    return Query(body, order_by, limit, offset, ctes, False, (p.starts[first], p.ends[p.pos - 1]))


# ── WITH ─────────────────────────────────────────────────────────────────────────────────────
def parse_with(p: TokenStream) -> tuple[CommonTable, ...]:
    """`WITH name [(columns)] AS (query), …`."""
    with_ = p.pos
    p.pos += 1
    if p.at_word("recursive"):
        p.unsupported("WITH RECURSIVE", with_)
    ctes: list[CommonTable] = []
    while True:
        first = p.pos
        name = p.identifier("a name for the common table")
        columns = parse_columns(p) if p.kinds[p.pos] == "(" else ()
        if not p.accept("as"):
            p.fail("as", *(() if columns else ("(",)))
        if p.at_word("materialized") or p.kinds[p.pos] == "not":
            p.unsupported("MATERIALIZED", p.pos)
        p.expect("(")
        p.enter()
        if p.values[p.pos] in ("insert", "update", "delete") and p.kinds[p.pos] == "NAME":
            p.unsupported(f"{p.values[p.pos].upper()} inside WITH", p.pos)
        query = parse_query(p)
        p.close()
        ctes.append(CommonTable(name, columns, query, p.span_from(first)))
        if not p.accept(","):
            return tuple(ctes)


# ── bodies and set operations ────────────────────────────────────────────────────────────────
def _parse_body(p: TokenStream) -> QueryBody:
    first = p.pos
    left = _parse_intersect(p)
    if p.kinds[p.pos] not in _SET_OPERATIONS:
        return left
    return _parse_operations(p, left, first, _SET_OPERATIONS)


def _parse_intersect(p: TokenStream) -> QueryBody:
    first = p.pos
    left = _parse_simple(p)
    if p.kinds[p.pos] != "intersect":
        return left
    return _parse_operations(p, left, first, frozenset({"intersect"}))


def _parse_operations(
    p: TokenStream, left: QueryBody, first: int, words: frozenset[str]
) -> QueryBody:
    """`left op right op right …` of equally strong operations."""
    run = [left]
    run_op: tuple[str, bool] | None = None
    chain = 0
    while p.kinds[p.pos] in words:
        word = p.kinds[p.pos]
        p.pos += 1
        all_ = p.accept("all")
        if not all_:
            p.accept("distinct")
        if p.values[p.pos] in ("by", "corresponding") and p.kinds[p.pos] == "NAME":
            p.unsupported(f"{word.upper()} {p.values[p.pos].upper()}", p.pos - 1)
        right = _parse_simple(p) if word == "intersect" else _parse_intersect(p)
        if run_op is not None and (run_op != (word, all_) or word == "except"):
            run = [_balance(run_op, run, first, p)]
            chain += 1
            if chain > MAX_CHAIN:
                p.too_deep()
        run_op = (word, all_)
        run.append(right)
    assert run_op is not None
    return _balance(run_op, run, first, p)


def _balance(
    op: tuple[str, bool], bodies: list[QueryBody], first: int, p: TokenStream
) -> QueryBody:
    """A tree over the bodies in their order; a short run leans left as it was written."""
    if len(bodies) == 1:
        return bodies[0]
    middle = len(bodies) // 2 if len(bodies) > 8 else len(bodies) - 1
    left = _balance(op, bodies[:middle], first, p)
    right = _balance(op, bodies[middle:], first, p)
    span: Span = (left.span[0], right.span[1])
    return SetOperation(op[0], op[1], left, right, span)


def _parse_simple(p: TokenStream) -> QueryBody:
    """SELECT …, VALUES …, FROM …, or a query in parentheses."""
    kind = p.kinds[p.pos]
    if kind == "select" or kind == "from":
        return _parse_select(p)
    if kind == "values":
        return parse_values(p, False)
    if kind == "(":
        p.pos += 1
        p.enter()
        query = parse_query(p)
        p.close()
        plain = not (query.order_by or query.ctes or query.limit or query.offset)
        return query.body if plain else query
    if kind == "table":
        p.unsupported("TABLE name", p.pos, "write FROM name")
    return p.fail(*sorted(QUERY_STARTS), "(")


def parse_values(p: TokenStream, allow_default: bool) -> Values:
    """`VALUES (…), (…)`; DEFAULT may stand for a value inside INSERT only."""
    first = p.pos
    p.pos += 1
    kinds, values, slots, starts, ends = p.kinds, p.values, p.slots, p.starts, p.ends
    rows: list[tuple[Expr | DefaultMarker, ...]] = []
    while True:
        if kinds[p.pos] != "(":
            p.fail("(")
        p.depth += 1
        row: list[Expr | DefaultMarker] = []
        while True:
            p.pos = pos = p.pos + 1
            kind = kinds[pos]
            if kinds[pos + 1] in _AFTER_VALUE and kind in _VALUE_KINDS:
                # A bare literal: most of what is inserted; a third of the time of an expression.
                row.append(
                    Literal(values[pos], _VALUE_KINDS[kind], slots[pos], (starts[pos], ends[pos]))
                )
                p.pos = pos + 1
            elif kind == "default" and allow_default:
                row.append(DefaultMarker(p.span(pos)))
                p.pos = pos + 1
            else:
                row.append(parse_expression(p))
            if kinds[p.pos] != ",":
                break
        p.close()
        rows.append(tuple(row))
        if kinds[p.pos] != ",":
            return Values(tuple(rows), (starts[first], ends[p.pos - 1]))
        p.pos += 1


_VALUE_KINDS = {"INTEGER": "integer", "STRING": "string", "NUMERIC": "numeric"}
_AFTER_VALUE = frozenset({",", ")"})


# ── SELECT ───────────────────────────────────────────────────────────────────────────────────
def _parse_select(p: TokenStream) -> Select:
    """`SELECT … FROM … WHERE … GROUP BY … HAVING …`, or FROM first with SELECT after it or
    left out."""
    first = p.pos
    kinds = p.kinds
    from_ = None
    items: tuple[SelectItem, ...]
    distinct = False
    if kinds[first] == "from":
        p.pos += 1
        from_ = parse_from(p)
        if kinds[p.pos] == "select":
            p.pos += 1
            distinct = _parse_distinct(p)
            items = parse_select_items(p)
        else:
            star = p.span(first)
            items = (SelectItem(Star(None, star), None, star),)
    else:
        p.pos = first + 1
        if kinds[p.pos] in ("distinct", "all"):
            distinct = _parse_distinct(p)
        items = parse_select_items(p)
        if kinds[p.pos] == "into":
            p.unsupported("SELECT INTO", p.pos, "write CREATE TABLE … AS SELECT …")
        if kinds[p.pos] == "from":
            p.pos += 1
            from_ = parse_from(p)
    where = None
    if kinds[p.pos] == "where":
        p.pos += 1
        where = parse_expression(p)
    group_by: tuple[Expr, ...] = ()
    having = None
    if kinds[p.pos] == "group":
        group_by = _parse_group_by(p)
    if kinds[p.pos] == "having":
        p.pos += 1
        having = parse_expression(p)
    if kinds[p.pos] == "window":
        p.unsupported("WINDOW", p.pos)
    span = (p.starts[first], p.ends[p.pos - 1])
    return Select(items, distinct, from_, where, group_by, having, span)


def _parse_distinct(p: TokenStream) -> bool:
    if p.accept("distinct"):
        if p.kinds[p.pos] == "on":
            p.unsupported("DISTINCT ON", p.pos - 1)
        return True
    p.accept("all")
    return False


def parse_select_items(p: TokenStream) -> tuple[SelectItem, ...]:
    """`expr [[AS] alias], *, t.*, …`."""
    kinds, values = p.kinds, p.values
    items: list[SelectItem] = []
    while True:
        first = p.pos
        kind = kinds[first]
        alias: str | None = None
        expr: Expr
        if kind == "NAME" and kinds[first + 1] in _AFTER_COLUMN:
            # A bare column, the most frequent item.
            span = (p.starts[first], p.ends[first])
            items.append(SelectItem(ColumnRef(values[first], None, None, span), None, span))
            p.pos = first + 1
        else:
            if kind == "*":
                expr = Star(None, p.span(first))
                p.pos = first + 1
                _refuse_star_options(p)
            elif kind in IDENTIFIER_KINDS and kinds[first + 1 : first + 3] == (".", "*"):
                p.pos = first + 3
                expr = Star(values[first], p.span_from(first))
                _refuse_star_options(p)
            else:
                expr = parse_expression(p)
                kind = kinds[p.pos]
                if kind == "as":
                    p.pos += 1
                    alias = p.any_word("an alias")
                elif kind in IDENTIFIER_KINDS:
                    alias = values[p.pos]
                    p.pos += 1
            items.append(SelectItem(expr, alias, (p.starts[first], p.ends[p.pos - 1])))
        if kinds[p.pos] != ",":
            return tuple(items)
        p.pos += 1


_AFTER_COLUMN = frozenset({",", "from"})


def _refuse_star_options(p: TokenStream) -> None:
    if p.kinds[p.pos] == "NAME" and p.values[p.pos] in ("exclude", "replace", "rename"):
        p.unsupported(f"* {p.values[p.pos].upper()}", p.pos - 1)
    if p.kinds[p.pos : p.pos + 2] == ("except", "(") and p.kinds[p.pos + 2] in IDENTIFIER_KINDS:
        p.unsupported("* EXCEPT", p.pos - 1)


_GROUPING = {"rollup": "ROLLUP", "cube": "CUBE", "grouping": "GROUPING SETS"}


def _refuse_grouping(p: TokenStream) -> None:
    """ROLLUP (…), CUBE (…), GROUPING SETS; as columns they are names like others."""
    if p.kinds[p.pos + 1] == "(" or p.values[p.pos + 1] == "sets":
        p.unsupported(_GROUPING[p.values[p.pos]], p.pos)


def _parse_group_by(p: TokenStream) -> tuple[Expr, ...]:
    p.pos += 1
    p.expect_word("by")
    kinds = p.kinds
    if kinds[p.pos] == "all":
        p.unsupported("GROUP BY ALL", p.pos - 2)
    if kinds[p.pos] == "distinct":
        p.unsupported("GROUP BY DISTINCT", p.pos - 2)
    exprs: list[Expr] = []
    while True:
        if kinds[p.pos] == "NAME" and p.values[p.pos] in _GROUPING:
            _refuse_grouping(p)
        if kinds[p.pos] == "(" and kinds[p.pos + 1] == ")":
            p.unsupported("an empty grouping set", p.pos)
        exprs.append(parse_expression(p))
        if kinds[p.pos] != ",":
            return tuple(exprs)
        p.pos += 1


# ── LIMIT, OFFSET, FETCH ─────────────────────────────────────────────────────────────────────
def _parse_limit(p: TokenStream) -> tuple[Expr | None, Expr | None]:
    """LIMIT and OFFSET in either order; FETCH FIRST n ROWS ONLY is LIMIT n."""
    limit: Expr | None = None
    offset: Expr | None = None
    seen: set[str] = set()
    while p.kinds[p.pos] in _AFTER_BODY:
        word = p.kinds[p.pos]
        if word == "for":
            strength = p.values[p.pos + 1]
            p.pos += 1
            p.unsupported(f"FOR {str(strength).upper()}", p.pos - 1)
        part = "offset" if word == "offset" else "limit"
        if word == "order" or part in seen:
            p.fail()
        seen.add(part)
        p.pos += 1
        if word == "offset":
            offset = parse_expression(p)
            if not p.accept_word("rows"):
                p.accept_word("row")
        elif word == "fetch":
            limit = _parse_fetch(p)
        elif not p.accept("all"):
            limit = parse_expression(p)
            if p.kinds[p.pos] == ",":
                p.unsupported("LIMIT with two numbers", p.pos - 2, "write LIMIT n OFFSET m")
    return limit, offset


def _parse_fetch(p: TokenStream) -> Expr:
    """After FETCH: `FIRST|NEXT [n] ROW|ROWS ONLY`."""
    if not (p.accept_word("first") or p.accept_word("next")):
        p.fail("first", "next")
    limit: Expr
    if p.at_word("row") or p.at_word("rows"):
        limit = Literal(1, "integer", -1, p.span(p.pos))
    else:
        limit = parse_expression(p)
    if not (p.accept_word("rows") or p.accept_word("row")):
        p.fail("rows")
    if p.kinds[p.pos] == "with":
        p.unsupported("FETCH … WITH TIES", p.pos)
    p.expect("only")
    return limit


PRODUCTIONS.query = parse_query
