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

Measured: dispatch by dictionary on the token's kind and reading the columns through locals make
an operand with its operator cost about 1 µs.
"""

from __future__ import annotations

from collections.abc import Callable

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
    Parameter,
    ScalarQuery,
    Span,
    Star,
    TypedLiteral,
    TypeName,
    Unary,
)
from engine.sql.grammar.call import parse_call
from engine.sql.grammar.special import (
    parse_case,
    parse_cast,
    parse_current,
    parse_exists,
    parse_interval,
)
from engine.sql.grammar.stream import MAX_CHAIN, PRODUCTIONS, SyntaxFailure, TokenStream
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
_REGEX = {"~": ("~", False), "~*": ("~*", False), "!~": ("~", True), "!~*": ("~*", True)}
_UNSUPPORTED_INFIX = {
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
QUERY_STARTS = frozenset({"select", "values", "with", "from"})


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
        left = _OPERANDS.get(kind, _no_operand)(p)
    chain = 0
    while True:
        pos = p.pos
        kind = kinds[pos]
        power = _BINARY.get(kind, 0)
        if power:
            if power < min_power:
                return left
            p.pos = pos + 1
            right = parse_expression(p, power + 1)
            op_span = (p.starts[pos], p.ends[pos])
            left = Binary(kind, left, right, (p.starts[first], p.ends[p.pos - 1]), op_span)
            if power == COMPARE:
                if _BINARY.get(kinds[p.pos]) == COMPARE:
                    _comparison_chain(p)
                min_power = max(min_power, 0)
            chain += 1
            if chain > MAX_CHAIN:
                p.too_deep()
            continue
        infix = _INFIX.get(kind)
        if infix is None:
            if kind in _CONTEXTUAL:
                _require_no_contextual(p)
            return left
        power, parse = infix
        if power < min_power:
            return left
        if kind == "not" and kinds[pos + 1] not in _NEGATABLE:
            return left
        result = parse(p, left, first)
        if result is None:
            return left
        left = result
        chain += 1
        if chain > MAX_CHAIN:
            p.too_deep()
