"""The token stream every grammar function reads, and the syntax errors they raise.

A grammar function takes the stream, reads from `pos` on, leaves `pos` behind what it consumed
and returns a node; it raises through `fail` (42601), `unsupported` (0A000) or `too_deep` (54001).

Invariants
1. `kinds[pos]` always exists: END is last and no function steps over it.
2. `depth` bounds the nesting of nodes, and so the recursion of everything that walks them.

What it does not do: build nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from engine.errors import NotSupportedError, ProgrammingError
from engine.sql.ast import Expr, Parameter, Query, Span
from engine.sql.lexer import Columns, tokenize

MAX_DEPTH = 100  # nested parentheses, subqueries, CASEs, function calls
MAX_CHAIN = 200  # operators of one left-deep chain: a + b + c + …

IDENTIFIER_KINDS = frozenset({"NAME", "QUOTED"})
QUERY_STARTS = frozenset({"select", "values", "with", "from"})
# Reserved here so that expressions can end at them, but fine as the name of a column.
NAME_KINDS = IDENTIFIER_KINDS | {"values", "between", "exists", "isnull", "notnull"}


class SyntaxFailure(ProgrammingError):
    """42601 at token `index`; `expected` are the things that could have stood there.

    `repair` (engine.sql.grammar.repair) turns it into the error a person sees.
    """

    sqlstate = "42601"

    def __init__(
        self, message: str, *, span: Span, index: int, expected: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, span=span)
        self.index = index
        self.expected = expected


class TokenStream:
    """Columns of tokens with a reading position; see the lexer for kinds and values."""

    __slots__ = (
        "depth",
        "ends",
        "kinds",
        "parameters",
        "pos",
        "slots",
        "starts",
        "text",
        "tried",
        "values",
    )

    def __init__(self, text: str, columns: Columns | None = None) -> None:
        self.text = text
        self.kinds, self.values, self.starts, self.ends, self.slots = (
            tokenize(text) if columns is None else columns
        )
        self.pos = 0
        self.depth = 0
        self.parameters: dict[int, Parameter] | None = None  # token index → node
        self.tried: dict[int, tuple[Query, int] | None] | None = None  # see try_query

    # ── reading ──────────────────────────────────────────────────────────────────────────
    def accept(self, kind: str) -> bool:
        """Step over the token if it is of this kind."""
        if self.kinds[self.pos] == kind:
            self.pos += 1
            return True
        return False

    def expect(self, kind: str) -> None:
        """Step over a token of this kind or fail."""
        if self.kinds[self.pos] != kind:
            self.fail(kind)
        self.pos += 1

    def at_word(self, word: str) -> bool:
        """Is the token this unreserved, unquoted word?"""
        return self.kinds[self.pos] == "NAME" and self.values[self.pos] == word

    def accept_word(self, word: str) -> bool:
        """Step over the token if it is this unreserved word."""
        if self.values[self.pos] == word and self.kinds[self.pos] == "NAME":
            self.pos += 1
            return True
        return False

    def expect_word(self, word: str) -> None:
        """Step over this unreserved word or fail."""
        if not self.accept_word(word):
            self.fail(word)

    def identifier(self, what: str = "a name") -> str:
        """The next token as a name, folded unless quoted."""
        if self.kinds[self.pos] not in NAME_KINDS:
            self.fail(what)
        self.pos += 1
        name: str = self.values[self.pos - 1]
        return name

    def any_word(self, what: str = "a name") -> str:
        """The next token as a name where even reserved words may stand (after AS and '.')."""
        value: Any = self.values[self.pos]
        kind = self.kinds[self.pos]
        if kind in IDENTIFIER_KINDS or (kind == value and value[0].isalpha()):
            self.pos += 1
            name: str = value
            return name
        return self.fail(what)

    def span(self, index: int) -> Span:
        """Characters of the token at `index`."""
        return (self.starts[index], self.ends[index])

    def span_from(self, index: int) -> Span:
        """Characters from the token at `index` to the last one consumed."""
        return (self.starts[index], self.ends[self.pos - 1])

    def close(self) -> None:
        """Step over the parenthesis that ends what `enter` began, or fail."""
        if self.kinds[self.pos] != ")":
            self.fail(",", ")")
        self.pos += 1
        self.depth -= 1

    # ── failing ──────────────────────────────────────────────────────────────────────────
    def fail(self, *expected: str) -> NoReturn:
        """Raise the syntax error of the token at `pos`."""
        index = self.pos
        if self.kinds[index] == "END":
            end = self.ends[index - 1] if index else len(self.text)
            raise SyntaxFailure(
                "syntax error at end of input", span=(end, end), index=index, expected=expected
            )
        start, end = self.span(index)
        raise SyntaxFailure(
            f'syntax error at or near "{_shown(self.text[start:end])}"',
            span=(start, end),
            index=index,
            expected=expected,
        )

    def unsupported(self, construct: str, first: int, hint: str | None = None) -> NoReturn:
        """Raise 0A000 for a construct whose first token is at `first`; the span ends at the
        token at `pos`."""
        last = max(first, self.pos if self.kinds[self.pos] != "END" else self.pos - 1)
        raise NotSupportedError(
            f"{construct} is not supported", span=(self.starts[first], self.ends[last]), hint=hint
        )

    def too_deep(self) -> NoReturn:
        """Raise 54001 at `pos`."""
        raise ProgrammingError(
            "statement is nested too deeply",
            sqlstate="54001",
            span=self.span(self.pos),
            hint=f"at most {MAX_DEPTH} nested parentheses and {MAX_CHAIN} chained operators",
        )

    def enter(self) -> None:
        """One level deeper; the caller undoes it with `depth -= 1`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.too_deep()


def _shown(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "…"


class Productions:
    """The grammar is recursive, its modules are not: productions that need each other across
    modules meet here; the modules that define them set them."""

    __slots__ = ("expression", "operand", "query")

    expression: Callable[[TokenStream], Expr]
    operand: Callable[[TokenStream], Expr]  # an expression of operators stronger than IN
    query: Callable[[TokenStream], Query]


PRODUCTIONS = Productions()


def try_query(p: TokenStream) -> Query | None:
    """The query that begins with the parenthesis at `pos` and fills the one around it, as in
    ((SELECT 1) UNION (SELECT 2)); None, with nothing read, for ((SELECT 1) + 2).

    Found by trying; what was found is remembered, so that nested tries cost no more than n².
    """
    start, depth = p.pos, p.depth
    pos = start
    while p.kinds[pos] == "(":
        pos += 1
    if p.kinds[pos] not in QUERY_STARTS:
        return None
    if p.tried is None:
        p.tried = {}
    if start not in p.tried:
        p.tried[start] = None
        try:
            query = PRODUCTIONS.query(p)
            if p.kinds[p.pos] == ")":
                p.tried[start] = (query, p.pos)
        except SyntaxFailure:
            pass
        p.pos, p.depth = start, depth
    found = p.tried[start]
    if found is None:
        return None
    p.pos = found[1]
    return found[0]
