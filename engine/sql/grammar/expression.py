"""Expressions by precedence climbing.

Operators from weak to strong, as in PostgreSQL:

power  operators
1      or
2      and
3      not (prefix)
4      is, isnull, notnull
5      = <> < <= > >=                                  do not chain
6      between, in, like, ilike, not between, …        do not chain
7      || -> ->> & | # << >> ~ ~* !~ !~*, prefix ~
8      + -
9      * / %
10     ^
11     at time zone
13     + - (prefix)
15     ::

A chain of AND or OR is built as a balanced tree (both are associative), so a thousand terms nest
ten deep; other chains lean left and are bounded by MAX_CHAIN (invariant 2 of the stream).

Hot: dispatch is one dictionary hit on the token's kind, and plain columns and integers are made
without a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.errors import ProgrammingError
from engine.sql.ast import (
    Between,
    Binary,
    Cast,
    ColumnRef,
    Expr,
    FunctionCall,
    InList,
    InQuery,
    IsDistinct,
    IsTest,
    Like,
    Literal,
    Span,
    Unary,
)
from engine.sql.grammar.operand import OPERANDS, no_operand
from engine.sql.grammar.stream import (
    MAX_CHAIN,
    PRODUCTIONS,
    QUERY_STARTS,
    TokenStream,
)
from engine.sql.grammar.type_name import parse_type_name

OR, AND, NOT, IS, COMPARE, TEST, OTHER, ADD, MULTIPLY, POWER, ZONE, SIGN, CAST = (
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15,
)  # fmt: skip

_BINARY = {
    **dict.fromkeys(("=", "<>", "<", "<=", ">", ">="), COMPARE),
    **dict.fromkeys(("||", "->", "->>", "&", "|", "#", "<<", ">>"), OTHER),
    **dict.fromkeys(("+", "-"), ADD),
    **dict.fromkeys(("*", "/", "%"), MULTIPLY),
    "^": POWER,
}
_QUANTIFIERS = frozenset({"any", "some", "all"})
_AFTER_NAME = frozenset({"(", ".", "STRING", "with"})  # more of a name than a plain column


def parse_expression(p: TokenStream, min_power: int = 0) -> Expr:
    """An expression of operators at least as strong as `min_power`."""
    kinds = p.kinds
    first = pos = p.pos
    kind = kinds[pos]
    left: Expr
    if kind == "NAME" and kinds[pos + 1] not in _AFTER_NAME:
        left = ColumnRef(p.values[pos], None, None, (p.starts[pos], p.ends[pos]))
        p.pos = pos + 1
    elif kind == "INTEGER":
        left = Literal(p.values[pos], "integer", p.slots[pos], (p.starts[pos], p.ends[pos]))
        p.pos = pos + 1
    else:
        left = OPERANDS.get(kind, no_operand)(p)
    chain = 0
    while True:
        pos = p.pos
        kind = kinds[pos]
        power = _BINARY.get(kind)
        if power is not None:
            if power < min_power:
                return left
            p.pos = pos + 1
            if power == COMPARE and kinds[pos + 1] in _QUANTIFIERS:
                left = _parse_quantified(p, left, first)
                continue
            right = parse_expression(p, power + 1)
            span = (p.starts[first], p.ends[p.pos - 1])
            left = Binary(kind, left, right, span, (p.starts[pos], p.ends[pos]))
            if power == COMPARE and _BINARY.get(kinds[p.pos]) == COMPARE:
                _refuse_chain(p)
        else:
            infix = _INFIX.get(kind)
            if infix is None or infix[0] < min_power:
                return left
            result = infix[1](p, left, first)
            if result is None:
                return left
            left = result
        chain += 1
        if chain > MAX_CHAIN:
            p.too_deep()


def _refuse_chain(p: TokenStream) -> None:
    """`a < b < c`: an error in PostgreSQL, and a wrong answer where it is not."""
    raise ProgrammingError(
        f'syntax error at or near "{p.text[p.starts[p.pos] : p.ends[p.pos]]}"',
        sqlstate="42601",
        span=p.span(p.pos),
        hint="comparisons do not chain; write a < b AND b < c, or use parentheses",
    )


# ── AND, OR ──────────────────────────────────────────────────────────────────────────────────
def _parse_and(p: TokenStream, left: Expr, first: int) -> Expr:
    return _parse_logical(p, left, first, "and", AND + 1)


def _parse_or(p: TokenStream, left: Expr, first: int) -> Expr:
    return _parse_logical(p, left, first, "or", OR + 1)


def _parse_logical(p: TokenStream, left: Expr, first: int, word: str, power: int) -> Expr:
    kinds = p.kinds
    op = p.pos
    p.pos = op + 1
    right = parse_expression(p, power)
    if kinds[p.pos] != word:
        span = (p.starts[first], p.ends[p.pos - 1])
        return Binary(word, left, right, span, (p.starts[op], p.ends[op]))
    terms = [left, right]
    ops = [p.span(op)]
    while kinds[p.pos] == word:
        ops.append(p.span(p.pos))
        p.pos += 1
        terms.append(parse_expression(p, power))
    bounds = (p.starts[first], p.ends[p.pos - 1])
    return _balance(word, terms, ops, bounds)


def _balance(word: str, terms: Sequence[Expr], ops: Sequence[Span], bounds: Span) -> Expr:
    """A tree over the terms in their order; a short chain leans left as it was written."""
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2 if len(terms) > 8 else len(terms) - 1
    split = ops[middle - 1]
    left = _balance(word, terms[:middle], ops[: middle - 1], (bounds[0], split[0]))
    right = _balance(word, terms[middle:], ops[middle:], (split[1], bounds[1]))
    return Binary(word, left, right, (left.span[0], right.span[1]), split)


# ── the tests: IS, BETWEEN, IN, LIKE ─────────────────────────────────────────────────────────
def _parse_is(p: TokenStream, left: Expr, first: int) -> Expr:
    p.pos += 1
    negated = p.accept("not")
    kind = p.kinds[p.pos]
    if kind in ("null", "true", "false") or p.at_word("unknown"):
        test = p.values[p.pos]
        p.pos += 1
        return IsTest(left, test, negated, p.span_from(first))
    if kind == "distinct":
        p.pos += 1
        p.expect("from")
        right = parse_expression(p, IS + 1)
        return IsDistinct(left, right, negated, p.span_from(first))
    if p.values[p.pos] in ("json", "document", "normalized"):
        p.unsupported(f"IS {p.values[p.pos].upper()}", p.pos)
    return p.fail("null", "not", "true", "false", "unknown", "distinct from")


def _parse_isnull(p: TokenStream, left: Expr, first: int) -> Expr:
    negated = p.kinds[p.pos] == "notnull"
    p.pos += 1
    return IsTest(left, "null", negated, p.span_from(first))


def _parse_not_test(p: TokenStream, left: Expr, first: int) -> Expr | None:
    """`a NOT IN …` and its like, and SQLite's `a NOT NULL`; None when the NOT begins something
    else."""
    if p.kinds[p.pos + 1] == "null":
        p.pos += 2
        return IsTest(left, "null", True, p.span_from(first))
    test = _TESTS.get(p.kinds[p.pos + 1])
    if test is None:
        return None
    p.pos += 1
    return test(p, left, first, True)


def _parse_test(p: TokenStream, left: Expr, first: int) -> Expr:
    return _TESTS[p.kinds[p.pos]](p, left, first, False)


def _parse_between(p: TokenStream, left: Expr, first: int, negated: bool) -> Expr:
    p.pos += 1
    if p.kinds[p.pos] in ("symmetric", "asymmetric"):
        p.unsupported(f"BETWEEN {p.kinds[p.pos].upper()}", p.pos)
    low = parse_expression(p, OTHER)
    p.expect("and")
    high = parse_expression(p, OTHER)
    return Between(left, low, high, negated, p.span_from(first))


def _parse_in(p: TokenStream, left: Expr, first: int, negated: bool) -> Expr:
    p.pos += 1
    p.expect("(")
    p.enter()
    if p.kinds[p.pos] in QUERY_STARTS:
        query = PRODUCTIONS.query(p)
        p.close()
        return InQuery(left, query, negated, p.span_from(first))
    items: list[Expr] = []
    if p.kinds[p.pos] != ")":
        items.append(parse_expression(p))
        while p.kinds[p.pos] == ",":
            p.pos += 1
            items.append(parse_expression(p))
    p.close()
    return InList(left, tuple(items), negated, p.span_from(first))


def _parse_like(p: TokenStream, left: Expr, first: int, negated: bool) -> Expr:
    op = p.kinds[p.pos]
    p.pos += 1
    if p.kinds[p.pos] in _QUANTIFIERS:
        p.unsupported(f"{op.upper()} {p.kinds[p.pos].upper()}", p.pos)
    pattern = parse_expression(p, OTHER)
    escape = parse_expression(p, OTHER) if p.accept_word("escape") else None
    return Like(op, left, pattern, escape, negated, p.span_from(first))


def _parse_similar(p: TokenStream, left: Expr, first: int, negated: bool) -> Expr:
    return p.unsupported("SIMILAR TO", p.pos)


_TESTS: dict[str, Callable[[TokenStream, Expr, int, bool], Expr]] = {
    "between": _parse_between,
    "in": _parse_in,
    "like": _parse_like,
    "ilike": _parse_like,
    "similar": _parse_similar,
}
_REGEX = {"~": ("~", False), "~*": ("~*", False), "!~": ("~", True), "!~*": ("~*", True)}


def _parse_regex(p: TokenStream, left: Expr, first: int) -> Expr:
    op, negated = _REGEX[p.kinds[p.pos]]
    p.pos += 1
    pattern = parse_expression(p, OTHER + 1)
    return Like(op, left, pattern, None, negated, p.span_from(first))


def _parse_quantified(p: TokenStream, left: Expr, first: int) -> Expr:
    """`= ANY (query)` is IN, `<> ALL (query)` is NOT IN; the other quantified comparisons are
    not supported."""
    op, word = p.kinds[p.pos - 1], p.kinds[p.pos]
    quantifier = "all" if word == "all" else "any"
    if (op, quantifier) not in (("=", "any"), ("<>", "all")):
        p.unsupported(f"{op} {word.upper()}", p.pos - 1)
    p.pos += 1
    p.expect("(")
    if p.kinds[p.pos] not in QUERY_STARTS:
        p.pos -= 2
        p.unsupported(f"{op} {word.upper()} over an array", p.pos)
    p.enter()
    query = PRODUCTIONS.query(p)
    p.close()
    return InQuery(left, query, quantifier == "all", p.span_from(first))


# ── casts, time zones, and what is not supported ─────────────────────────────────────────────
def _parse_cast(p: TokenStream, left: Expr, first: int) -> Expr:
    p.pos += 1
    return Cast(left, parse_type_name(p), p.span_from(first))


def _parse_at_time_zone(p: TokenStream, left: Expr, first: int) -> Expr | None:
    """`x AT TIME ZONE z` is timezone(z, x). None when the word is no AT TIME ZONE."""
    pos = p.pos
    if p.values[pos : pos + 3] != ("at", "time", "zone"):
        return None
    p.pos = pos + 3
    zone = parse_expression(p, ZONE + 1)
    name_span = (p.starts[pos], p.ends[pos + 2])
    return FunctionCall("timezone", (zone, left), False, None, (), p.span_from(first), name_span)


_UNSUPPORTED = {
    "similar": "SIMILAR TO",
    "collate": "COLLATE",
    "overlaps": "OVERLAPS",
    "[": "array subscripting",
    "#>": "operator #>",
    "#>>": "operator #>>",
    "@>": "operator @>",
    "<@": "operator <@",
    "&&": "operator &&",
}


def _refuse_infix(p: TokenStream, left: Expr, first: int) -> Expr:
    return p.unsupported(_UNSUPPORTED[p.kinds[p.pos]], p.pos)


_INFIX: dict[str, tuple[int, Callable[[TokenStream, Expr, int], Expr | None]]] = {
    "and": (AND, _parse_and),
    "or": (OR, _parse_or),
    "is": (IS, _parse_is),
    "isnull": (IS, _parse_isnull),
    "notnull": (IS, _parse_isnull),
    "not": (TEST, _parse_not_test),
    **dict.fromkeys(_TESTS, (TEST, _parse_test)),
    **dict.fromkeys(_REGEX, (OTHER, _parse_regex)),
    "::": (CAST, _parse_cast),
    "NAME": (ZONE, _parse_at_time_zone),
    **dict.fromkeys(_UNSUPPORTED, (CAST, _refuse_infix)),
}


# ── prefix operators ─────────────────────────────────────────────────────────────────────────
def _parse_prefix(p: TokenStream) -> Expr:
    """A run of prefix operators of one kind of power, and its operand."""
    first = p.pos
    word = p.kinds[first]
    power = NOT if word == "not" else (OTHER + 1 if word == "~" else SIGN)
    same = ("-", "+") if power == SIGN else (word,)
    while p.kinds[p.pos] in same:
        p.pos += 1
    last = p.pos
    if last - first > MAX_CHAIN:
        p.too_deep()
    operand = parse_expression(p, power)
    end = p.ends[p.pos - 1]
    for index in range(last - 1, first - 1, -1):
        operand = Unary(p.kinds[index], operand, (p.starts[index], end))
    return operand


def _parse_tight(p: TokenStream) -> Expr:
    return parse_expression(p, OTHER)


OPERANDS.update(dict.fromkeys(("-", "+", "~", "not"), _parse_prefix))
PRODUCTIONS.expression = parse_expression
PRODUCTIONS.operand = _parse_tight
