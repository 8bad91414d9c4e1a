"""Function calls, with the forms SQL gives some of them.

written                              becomes
f(a, b)                              f(a, b)
count(*)                             count(Star)
agg(DISTINCT a ORDER BY b) FILTER (WHERE c)   as it says
EXTRACT(year FROM x)                 extract('year', x)
SUBSTRING(a FROM b FOR c)            substring(a, b, c)
POSITION(a IN b)                     position(a, b)
TRIM([LEADING|TRAILING|BOTH] a FROM b)   ltrim/rtrim/btrim(b[, a]); trim(b) is btrim(b)
OVERLAY(a PLACING b FROM c FOR d)    overlay(a, b, c[, d])

What it does not do: know which functions exist (the binder's work). Window calls, ordered-set
aggregates and named arguments are recognised and refused.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.sql.ast import Expr, FunctionCall, Literal, OrderItem, Star
from engine.sql.grammar.stream import PRODUCTIONS, TokenStream


def parse_call(p: TokenStream, first: int) -> Expr:
    """The call of the function named by token `first`; `pos` is at its parenthesis."""
    name = p.values[first]
    kinds = p.kinds
    special = _SPECIAL.get(name)
    if special is not None and kinds[first] == "NAME":
        p.pos += 1
        p.enter()
        result = special(p, first)
        if result is not None:
            return result
        p.pos, p.depth = first + 1, p.depth - 1
    p.pos += 1
    p.enter()
    distinct = False
    order_by: tuple[OrderItem, ...] = ()
    if kinds[p.pos] == ")":
        args: tuple[Expr, ...] = ()
    elif kinds[p.pos] == "*":
        args = (Star(None, p.span(p.pos)),)
        p.pos += 1
    else:
        distinct = p.accept("distinct")
        if not distinct:
            p.accept("all")
        args = _parse_arguments(p)
        if kinds[p.pos] == "order":
            order_by = parse_order_by(p)
    p.close()
    filter_ = None
    if kinds[p.pos] == "NAME" and p.values[p.pos] in _AFTER_CALL:
        filter_ = _parse_after_call(p, first)
    span = (p.starts[first], p.ends[p.pos - 1])
    return FunctionCall(
        name, args, distinct, filter_, order_by, span, (p.starts[first], p.ends[first])
    )


def _parse_arguments(p: TokenStream) -> tuple[Expr, ...]:
    kinds = p.kinds
    expression = PRODUCTIONS.expression
    args: list[Expr] = []
    while True:
        if kinds[p.pos + 1] in ("=>", ":="):
            p.unsupported("a named argument", p.pos)
        args.append(expression(p))
        if kinds[p.pos] != ",":
            return tuple(args)
        p.pos += 1


_AFTER_CALL = frozenset({"filter", "over", "within", "ignore", "respect"})


def _parse_after_call(p: TokenStream, first: int) -> Expr | None:
    """FILTER (WHERE …); refuses OVER and WITHIN GROUP."""
    filter_ = None
    kinds, values = p.kinds, p.values
    if values[p.pos] == "filter" and kinds[p.pos + 1] == "(":
        p.pos += 2
        p.enter()
        p.expect("where")
        filter_ = PRODUCTIONS.expression(p)
        p.close()
    word = values[p.pos] if kinds[p.pos] == "NAME" else ""
    if word == "over" and kinds[p.pos + 1] in ("(", "NAME", "QUOTED"):
        p.unsupported("a window function (OVER)", first)
    if word == "within" and kinds[p.pos + 1] == "group":
        p.unsupported("an ordered-set aggregate (WITHIN GROUP)", first)
    if word in ("ignore", "respect") and values[p.pos + 1] == "nulls":
        p.unsupported(f"{word.upper()} NULLS", first)
    return filter_


def parse_order_by(p: TokenStream) -> tuple[OrderItem, ...]:
    """`ORDER BY e [ASC|DESC] [NULLS FIRST|LAST], …`; `pos` is at ORDER."""
    p.pos += 1
    p.expect_word("by")
    kinds = p.kinds
    items: list[OrderItem] = []
    while True:
        first = p.pos
        expr = PRODUCTIONS.expression(p)
        descending = p.accept("desc")
        if not descending:
            p.accept("asc")
        if kinds[p.pos] == "using":
            p.unsupported("ORDER BY … USING", p.pos)
        nulls_first: bool | None = None
        if kinds[p.pos] == "NAME" and p.accept_word("nulls"):
            if not (p.at_word("first") or p.at_word("last")):
                p.fail("first", "last")
            nulls_first = p.values[p.pos] == "first"
            p.pos += 1
        items.append(OrderItem(expr, descending, nulls_first, p.span_from(first)))
        if kinds[p.pos] != ",":
            return tuple(items)
        p.pos += 1


# ── special forms: `pos` is after the parenthesis. None: nothing was read, it is a plain call ─
def _finish(p: TokenStream, first: int, name: str, args: tuple[Expr, ...]) -> Expr:
    p.close()
    return FunctionCall(name, args, False, None, (), p.span_from(first), p.span(first))


def _plain(p: TokenStream, first: int, name: str, head: Expr) -> Expr:
    """The rest of a call whose first argument is read, in the form with commas."""
    args = (head, *_parse_arguments(p)) if p.accept(",") else (head,)
    return _finish(p, first, name, args)


def _parse_extract(p: TokenStream, first: int) -> Expr | None:
    field = p.pos
    if p.kinds[field + 1] != "from" or p.kinds[field] not in ("NAME", "STRING"):
        return None
    slot = p.slots[field] if p.kinds[field] == "STRING" else -1
    name = Literal(p.values[field], "string", slot, p.span(field))
    p.pos = field + 2
    return _finish(p, first, "extract", (name, PRODUCTIONS.expression(p)))


def _parse_substring(p: TokenStream, first: int) -> Expr | None:
    expression = PRODUCTIONS.expression
    text = expression(p)
    if p.kinds[p.pos] not in ("from", "for", "similar"):
        return _plain(p, first, "substring", text)
    start: Expr | None = None
    length: Expr | None = None
    while p.kinds[p.pos] in ("from", "for"):
        word = p.kinds[p.pos]
        p.pos += 1
        if word == "from" and start is None:
            start = expression(p)
        elif word == "for" and length is None:
            length = expression(p)
        else:
            p.pos -= 1
            p.fail(")")
    if p.kinds[p.pos] == "similar" or (p.at_word("escape")):
        p.unsupported("SUBSTRING … SIMILAR", first)
    if start is None:
        start = Literal(1, "integer", -1, p.span(first))
    args = (text, start) if length is None else (text, start, length)
    return _finish(p, first, "substring", args)


def _parse_position(p: TokenStream, first: int) -> Expr | None:
    needle = PRODUCTIONS.operand(p)
    if p.kinds[p.pos] != "in":
        return _plain(p, first, "position", needle)
    p.pos += 1
    return _finish(p, first, "position", (needle, PRODUCTIONS.expression(p)))


def _parse_trim(p: TokenStream, first: int) -> Expr | None:
    side = p.kinds[p.pos]
    name = _TRIMS.get(side)
    if name is None:
        text = PRODUCTIONS.expression(p)
        if p.kinds[p.pos] != "from":
            return _plain(p, first, "btrim", text)
        name = "btrim"
    else:
        p.pos += 1
        if p.accept("from"):
            return _finish(p, first, name, (PRODUCTIONS.expression(p),))
        text = PRODUCTIONS.expression(p)
        if p.kinds[p.pos] == ")":
            return _finish(p, first, name, (text,))
    p.expect("from")
    return _finish(p, first, name, (PRODUCTIONS.expression(p), text))


def _parse_overlay(p: TokenStream, first: int) -> Expr | None:
    args = [PRODUCTIONS.expression(p)]
    if p.kinds[p.pos] != "placing":
        return _plain(p, first, "overlay", args[0])
    for word in ("placing", "from"):
        p.expect(word)
        args.append(PRODUCTIONS.expression(p))
    if p.accept("for"):
        args.append(PRODUCTIONS.expression(p))
    return _finish(p, first, "overlay", tuple(args))


def _refuse_row(p: TokenStream, first: int) -> Expr | None:
    return p.unsupported("a row value", first)


def _refuse_grouping(p: TokenStream, first: int) -> Expr | None:
    return p.unsupported("GROUPING()", first)


_TRIMS = {"leading": "ltrim", "trailing": "rtrim", "both": "btrim"}
_SPECIAL: dict[str, Callable[[TokenStream, int], Expr | None]] = {
    "extract": _parse_extract,
    "substring": _parse_substring,
    "position": _parse_position,
    "trim": _parse_trim,
    "overlay": _parse_overlay,
    "row": _refuse_row,
    "grouping": _refuse_grouping,
}
