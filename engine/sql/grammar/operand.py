"""What an expression is made of: literals, names, parameters, parentheses, CASE, CAST, EXISTS.

OPERANDS maps a token's kind to the function that reads an operand beginning with it; the prefix
operators add themselves from the expression module. Function calls are in `call`.

What it does not do: operators.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.errors import ProgrammingError
from engine.sql.ast import (
    Binary,
    Case,
    Cast,
    ColumnRef,
    Exists,
    Expr,
    FunctionCall,
    Literal,
    Parameter,
    Query,
    ScalarQuery,
    TypedLiteral,
    TypeName,
)
from engine.sql.grammar.call import parse_call
from engine.sql.grammar.stream import PRODUCTIONS, QUERY_STARTS, TokenStream, try_query
from engine.sql.grammar.type_name import parse_type_name

_EXPECTED = ("an expression",)
_TYPED = frozenset({"date", "time", "timestamp", "timestamptz", "interval", "uuid", "json"})
_INTERVAL_UNITS = frozenset({"year", "month", "day", "hour", "minute", "second"})


def no_operand(p: TokenStream) -> Expr:
    """The token begins no expression."""
    if p.kinds[p.pos] in ("array", "variadic"):
        p.unsupported(p.kinds[p.pos].upper(), p.pos)
    if p.kinds[p.pos] in ("[", "{"):
        p.unsupported("a list or struct literal", p.pos)
    return p.fail(*_EXPECTED)


# ── literals and parameters ──────────────────────────────────────────────────────────────────
_KINDS = {"INTEGER": "integer", "NUMERIC": "numeric", "STRING": "string", "BLOB": "blob"}
_WORDS = {"null": ("null", None), "true": ("boolean", True), "false": ("boolean", False)}


def _parse_literal(p: TokenStream) -> Expr:
    pos = p.pos
    p.pos = pos + 1
    return Literal(p.values[pos], _KINDS[p.kinds[pos]], p.slots[pos], (p.starts[pos], p.ends[pos]))


def _parse_word_literal(p: TokenStream) -> Expr:
    pos = p.pos
    p.pos = pos + 1
    kind, value = _WORDS[p.kinds[pos]]
    return Literal(value, kind, -1, (p.starts[pos], p.ends[pos]))


def _parse_parameter(p: TokenStream) -> Expr:
    pos = p.pos
    p.pos = pos + 1
    if p.parameters is None:
        p.parameters = _number_parameters(p)
    return p.parameters[pos]


def _number_parameters(p: TokenStream) -> dict[int, Parameter]:
    """Every parameter of the statement by token index. One statement keeps to one style."""
    style = ""
    numbers: dict[str, int] = {}
    found: dict[int, Parameter] = {}
    for pos, kind in enumerate(p.kinds):
        if kind != "PARAMETER":
            continue
        text = p.values[pos]
        if style and text[0] != style:
            raise ProgrammingError(
                f"a statement cannot mix {style} and {text[0]} parameters",
                sqlstate="42601",
                span=p.span(pos),
            )
        style = text[0]
        if style == "?":
            found[pos] = Parameter(len(found), None, p.span(pos))
        elif style == "$":
            number = int(text[1:]) if len(text) < 7 else 0
            if not 1 <= number <= 65535:
                raise ProgrammingError(
                    f"there is no parameter {text}", sqlstate="42P02", span=p.span(pos)
                )
            found[pos] = Parameter(number - 1, None, p.span(pos))
        else:
            index = numbers.setdefault(text[1:], len(numbers))
            found[pos] = Parameter(index, text[1:], p.span(pos))
    return found


# ── names: columns, typed literals, calls ────────────────────────────────────────────────────
def _parse_name(p: TokenStream) -> Expr:
    """A name and what makes it more than one: `.`, `(`, or a string (DATE '…')."""
    first = p.pos
    kinds, values = p.kinds, p.values
    name = values[first]
    p.pos = first + 1
    following = kinds[first + 1]
    if following == "(":
        return parse_call(p, first)
    if following == "STRING" and kinds[first] == "NAME":
        return _parse_typed(p, first, name)
    if following == "with" and values[first + 2 : first + 4] == ("time", "zone"):
        p.pos = first + 4
        if p.kinds[p.pos] != "STRING":
            p.fail("a string")
        return _parse_typed(p, first, f"{name} with time zone")
    if following != ".":
        return ColumnRef(name, None, None, p.span(first))
    parts = [name]
    while kinds[p.pos] == "." and kinds[p.pos + 1] != "*":
        p.pos += 1
        parts.append(p.any_word("a column name"))
    if kinds[p.pos] == "(":
        p.unsupported("a schema-qualified function name", first)
    if len(parts) == 2:
        return ColumnRef(parts[1], name, None, (p.starts[first], p.ends[p.pos - 1]))
    if len(parts) == 3:
        return ColumnRef(parts[2], parts[1], name, p.span_from(first))
    if len(parts) == 1:
        p.fail("a column name")
    raise ProgrammingError(
        "improper qualified name (too many dotted names)",
        sqlstate="42601",
        span=p.span_from(first),
    )


def _parse_typed(p: TokenStream, first: int, name: str) -> Expr:
    """`DATE '2020-01-01'`; p.pos is at the string."""
    pos = p.pos
    if name.split(" ")[0] not in _TYPED:
        p.fail()
    type_span = (p.starts[first], p.ends[pos - 1])
    p.pos = pos + 1
    unit = p.values[p.pos]
    if name == "interval" and p.kinds[p.pos] == "NAME" and unit in _INTERVAL_UNITS:
        return _parse_interval_unit(p, first, pos)
    literal_type = TypeName(name, (), type_span)
    return TypedLiteral(literal_type, p.values[pos], p.slots[pos], p.span_from(first))


def _parse_interval_unit(p: TokenStream, first: int, string: int) -> Expr:
    """`INTERVAL '5' DAY` is CAST('5' || ' day' AS interval), so the number keeps its slot."""
    unit = p.values[p.pos]
    p.pos += 1
    if p.kinds[p.pos] == "to":
        p.unsupported(
            "an interval with two fields", first, "write it as one string: '1 day 2 hours'"
        )
    span = p.span_from(first)
    number = Literal(p.values[string], "string", p.slots[string], p.span(string))
    suffix = Literal(f" {unit}", "string", -1, p.span(p.pos - 1))
    text = Binary("||", number, suffix, span, p.span(string))
    return Cast(text, TypeName("interval", (), p.span(first)), span)


def _parse_reserved_call(p: TokenStream) -> Expr:
    """`left(…)`, `right(…)`: reserved words that are also functions."""
    first = p.pos
    if p.kinds[first + 1] != "(":
        p.fail(*_EXPECTED)
    p.pos = first + 1
    return parse_call(p, first)


def _parse_current(p: TokenStream) -> Expr:
    """`CURRENT_DATE`, `CURRENT_TIMESTAMP(3)`, …: calls without parentheses."""
    first = p.pos
    p.pos = first + 1
    if p.kinds[p.pos] == "(":
        p.unsupported(f"{p.kinds[first].upper()} with a precision", first)
    span = p.span(first)
    return FunctionCall(p.kinds[first], (), False, None, (), span, span)


# ── parentheses, CASE, CAST, EXISTS ──────────────────────────────────────────────────────────
def _parse_parenthesis(p: TokenStream) -> Expr:
    """`(expression)` or `(query)`."""
    first = p.pos
    p.pos = first + 1
    p.enter()
    kind = p.kinds[p.pos]
    if kind in QUERY_STARTS:
        query: Query | None = PRODUCTIONS.query(p)
    else:
        query = try_query(p) if kind == "(" else None
    if query is not None:
        p.close()
        return ScalarQuery(query, p.span_from(first))
    expr = PRODUCTIONS.expression(p)
    if p.kinds[p.pos] == ",":
        p.unsupported("a row value", first)
    p.close()
    return expr


def _parse_case(p: TokenStream) -> Expr:
    first = p.pos
    p.pos = first + 1
    p.enter()
    expression = PRODUCTIONS.expression
    operand = None if p.kinds[p.pos] == "when" else expression(p)
    whens: list[tuple[Expr, Expr]] = []
    while p.kinds[p.pos] == "when":
        p.pos += 1
        condition = expression(p)
        p.expect("then")
        whens.append((condition, expression(p)))
    if not whens:
        p.fail("when")
    default = expression(p) if p.accept("else") else None
    if p.kinds[p.pos] != "end":
        p.fail("end", *(() if default is not None else ("when", "else")))
    p.pos += 1
    p.depth -= 1
    return Case(operand, tuple(whens), default, p.span_from(first))


def _parse_cast(p: TokenStream) -> Expr:
    first = p.pos
    p.pos = first + 1
    p.expect("(")
    p.enter()
    operand = PRODUCTIONS.expression(p)
    if not p.accept("as"):
        p.fail("as")
    type_name = parse_type_name(p)
    if p.kinds[p.pos] != ")":
        p.fail(")")
    p.pos += 1
    p.depth -= 1
    return Cast(operand, type_name, p.span_from(first))


def _parse_exists(p: TokenStream) -> Expr:
    first = p.pos
    if p.kinds[first + 1] != "(":
        p.pos += 1
        p.fail("(")
    p.pos = first + 2
    p.enter()
    query = PRODUCTIONS.query(p)
    p.close()
    return Exists(query, p.span_from(first))


OPERANDS: dict[str, Callable[[TokenStream], Expr]] = {
    "NAME": _parse_name,
    "QUOTED": _parse_name,
    **dict.fromkeys(_KINDS, _parse_literal),
    **dict.fromkeys(_WORDS, _parse_word_literal),
    "PARAMETER": _parse_parameter,
    "(": _parse_parenthesis,
    "case": _parse_case,
    "cast": _parse_cast,
    "exists": _parse_exists,
    "left": _parse_reserved_call,
    "right": _parse_reserved_call,
    **dict.fromkeys(
        (
            "current_catalog",
            "current_date",
            "current_role",
            "current_schema",
            "current_time",
            "current_timestamp",
            "current_user",
            "localtime",
            "localtimestamp",
            "session_user",
            "user",
        ),
        _parse_current,
    ),
}
