"""Text to one syntax tree: `parse` and `parse_expression`.

A statement's first word picks its rule. The hot ones (queries, INSERT, UPDATE, DELETE, and
BEGIN, COMMIT, ROLLBACK alone) go straight to their functions; every other statement is a pyparsing
rule of `engine.sql.grammar.statements`, which is imported when the first of them arrives:
importing pyparsing takes about 90 ms, and most programs never need it.

What it does not do: say what a syntax error probably meant; that is `repair`, which tries.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.errors import ProgrammingError
from engine.sql.ast import Begin, Commit, Expr, Rollback, Span, Statement
from engine.sql.grammar import change, query
from engine.sql.grammar.expression import parse_expression as parse_expression_from
from engine.sql.grammar.stream import SyntaxFailure, TokenStream

_HOT: dict[str, Callable[[TokenStream], Statement]] = {
    "select": query.parse_query,
    "with": change.parse_with_statement,
    "values": query.parse_query,
    "from": query.parse_query,
    "(": query.parse_query,
    "insert": change.parse_insert,
    "replace": change.parse_insert,
    "update": change.parse_update,
    "delete": change.parse_delete,
}
_BARE: dict[str, Callable[[Span], Statement]] = {
    "begin": lambda span: Begin(None, None, span),
    "commit": Commit,
    "rollback": lambda span: Rollback(None, span),
}


def parse(text: str) -> Statement:
    """The one statement of `text`; a semicolon may end it.

    Raises ProgrammingError 42601 (syntax), 54001 (nested too deeply), 42P02 (bad parameter),
    NotSupportedError, DataError (malformed literal); all with spans.
    """
    stream = TokenStream(text)
    try:
        return parse_statement(stream)
    except SyntaxFailure as failure:
        raise _explain(failure, stream, parse_statement) from None


def parse_expression(text: str) -> Expr:
    """The one expression of `text`, as in a stored DEFAULT or CHECK. Raises as `parse`."""
    stream = TokenStream(text)
    try:
        return _whole_expression(stream)
    except SyntaxFailure as failure:
        raise _explain(failure, stream, _whole_expression) from None


def _explain(
    failure: SyntaxFailure, stream: TokenStream, parse: Callable[[TokenStream], object]
) -> ProgrammingError:
    # Imported here: only a failing statement needs it (and difflib, 1.4 ms).
    from engine.sql.grammar.repair import explain_failure

    return explain_failure(failure, stream, parse)


def _whole_expression(stream: TokenStream) -> Expr:
    expr = parse_expression_from(stream)
    if stream.kinds[stream.pos] != "END":
        stream.fail("an operator", "end of the expression")
    return expr


def parse_statement(p: TokenStream) -> Statement:
    """The one statement of the stream; raises SyntaxFailure unexplained."""
    word = p.values[0]
    hot = _HOT.get(word)
    if hot is not None and p.kinds[0] not in _TEXT_KINDS:
        statement = hot(p)
    elif word in _BARE and p.kinds[1] in _ENDS and p.kinds[0] == "NAME":
        p.pos = 1
        statement = _BARE[word](p.span(0))
    else:
        statement = _parse_cold(p)
    kind = p.kinds[p.pos]
    if kind == "END":
        return statement
    return _require_end(p, statement)


_ENDS = frozenset({"END", ";"})
_TEXT_KINDS = frozenset({"STRING", "QUOTED", "BLOB"})


def _require_end(p: TokenStream, statement: Statement) -> Statement:
    while p.kinds[p.pos] == ";":
        p.pos += 1
    if p.kinds[p.pos] == "END":
        return statement
    if p.kinds[p.pos - 1] == ";":
        raise ProgrammingError(
            "only one statement can be run at a time",
            sqlstate="42601",
            span=p.span(p.pos),
            hint="send the statements one by one, or run them as a script",
        )
    return p.fail("end of the statement")


def _parse_cold(p: TokenStream) -> Statement:
    if p.kinds[0] in _ENDS:
        while p.kinds[p.pos] == ";":
            p.pos += 1
        if p.kinds[p.pos] == "END":
            raise ProgrammingError(
                "there is no statement", sqlstate="42601", span=(0, len(p.text)), hint=None
            )
    # Imported here: pyparsing, about 90 ms.
    from engine.sql.grammar.statements import parse_by_rule

    return parse_by_rule(p)
