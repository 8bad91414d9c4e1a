"""What a syntax error probably meant: the error a person sees.

Guesses are tried, not trusted: a misspelt word is replaced, a comma added or left out, and the
statement is parsed again. A guess counts when the parser then gets through, or clearly further.

guess                      the error points at           says
an open parenthesis        the innermost open one        it is never closed
a closing one too many     it                            nothing opens it
a misspelt keyword         it, even when it was first    did you mean FROM?
                           read as an alias
a comma too many           the comma                     remove it
a missing comma            where it should be            a comma is missing
a reserved word as name    it                            quote it
none of these              where the parser stopped      what could stand there

What it does not do: run on the way of statements that parse.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from engine.errors import Error, ProgrammingError
from engine.sql.ast import Span
from engine.sql.grammar.stream import SyntaxFailure, TokenStream
from engine.sql.lexer import KEYWORDS, RESERVED

_DONE = 1 << 30  # how far a parse gets that goes through
_RECOGNISED = _DONE - 1  # … or is refused for another reason than its syntax
_CLOSENESS = 0.6
_EXPECTED_SHOWN = 8

Parse = Callable[[TokenStream], Any]


def explain_failure(failure: SyntaxFailure, stream: TokenStream, parse: Parse) -> ProgrammingError:
    """The error for a failure of `parse` on `stream`: message, span and hint."""
    for guess in _GUESSES:
        error = guess(failure, stream, parse)
        if error is not None:
            return error
    return _error(failure.message, failure.span or (0, 0), _describe(failure.expected))


def _error(message: str, span: Span, hint: str | None) -> ProgrammingError:
    return ProgrammingError(message, sqlstate="42601", span=span, hint=hint)


def _describe(expected: tuple[str, ...]) -> str | None:
    """`expected "," or FROM`; keywords in capitals, punctuation quoted, phrases as they are."""
    if not expected:
        return None
    shown = [_shown(item) for item in expected[:_EXPECTED_SHOWN]]
    if len(expected) > _EXPECTED_SHOWN:
        shown.append("…")
    if len(shown) == 1:
        return f"expected {shown[0]}"
    return f"expected {', '.join(shown[:-1])} or {shown[-1]}"


def _shown(item: str) -> str:
    if item.startswith(("a ", "an ", "the ", "end of", "each ")):
        return item
    return item.upper() if item[0].isalpha() else f'"{item}"'


def _reach(text: str, parse: Parse) -> int:
    """The index of the token at which a parse of the text stops."""
    try:
        parse(TokenStream(text))
    except SyntaxFailure as failure:
        return failure.index
    except Error:
        return _RECOGNISED
    return _DONE


# ── parentheses ──────────────────────────────────────────────────────────────────────────────
def _open_parentheses(stream: TokenStream, end: int) -> list[int]:
    """Indexes of the parentheses open before token `end`, the innermost last."""
    found: list[int] = []
    for index in range(end):
        kind = stream.kinds[index]
        if kind == "(":
            found.append(index)
        elif kind == ")" and found:
            found.pop()
    return found


def _closes_later(stream: TokenStream, start: int) -> bool:
    """Whether a parenthesis that is open before token `start` is closed at it or after."""
    depth = 0
    for kind in stream.kinds[start:]:
        depth += (kind == "(") - (kind == ")")
        if depth < 0:
            return True
    return False


_ENDS_INNER = frozenset(
    {"END", ";", "from", "where", "group", "having", "order", "limit", "union", "then", "values"}
)


def _guess_parenthesis(
    failure: SyntaxFailure, stream: TokenStream, parse: Parse
) -> ProgrammingError | None:
    kind = stream.kinds[failure.index]
    open_ = _open_parentheses(stream, failure.index)
    if kind == ")" and not open_:
        return _error('unmatched ")"', stream.span(failure.index), "nothing opens it")
    never_closed = open_ and not _closes_later(stream, failure.index)
    if ")" in failure.expected and kind in _ENDS_INNER and never_closed:
        return _error('unmatched "("', stream.span(open_[-1]), "it is opened here, never closed")
    return None


# ── misspelt keywords ────────────────────────────────────────────────────────────────────────
def _guess_keyword(
    failure: SyntaxFailure, stream: TokenStream, parse: Parse
) -> ProgrammingError | None:
    """The word the parser stopped at, or one of the two before it: a misspelt keyword is often
    read as an alias first; or the name of the call it is in: `extrat(year from d)`."""
    best: tuple[int, int, str] | None = None
    places = [failure.index, failure.index - 1, failure.index - 2]
    places += [index - 1 for index in _open_parentheses(stream, failure.index)[-1:]]
    for index in places:
        if index < 0 or stream.kinds[index] != "NAME":
            continue
        word = stream.values[index]
        wanted = [item for item in failure.expected if item in KEYWORDS]
        close = get_close_matches(word, wanted, 2, 0.5) if index == failure.index else []
        if word not in KEYWORDS:
            close += get_close_matches(word, KEYWORDS, 4, _CLOSENESS)
        start, end = stream.span(index)
        for candidate in dict.fromkeys(close):
            if candidate == word:
                continue
            reach = _reach(stream.text[:start] + candidate + stream.text[end:], parse)
            if reach > failure.index + 1 and (best is None or reach > best[0]):
                best = (reach, index, candidate)
    if best is None:
        return None
    _, index, keyword = best
    shown = stream.text[stream.starts[index] : stream.ends[index]]
    return _error(
        f'syntax error at or near "{shown}"', stream.span(index), f"did you mean {keyword.upper()}?"
    )


# ── commas ───────────────────────────────────────────────────────────────────────────────────
def _guess_comma(
    failure: SyntaxFailure, stream: TokenStream, parse: Parse
) -> ProgrammingError | None:
    index = failure.index
    if index == 0:
        return None
    text = stream.text
    before, after = stream.span(index - 1)
    if stream.kinds[index - 1] == ",":
        if _reach(text[:before] + " " + text[after:], parse) > index:
            return _error('syntax error at or near ","', (before, after), "remove this comma")
        return None
    if stream.kinds[index] != "END" and _reach(f"{text[:after]}, {text[after:]}", parse) == _DONE:
        return _error(failure.message, stream.span(index), "a comma is missing before it")
    return None


# ── reserved words ───────────────────────────────────────────────────────────────────────────
def _guess_reserved(
    failure: SyntaxFailure, stream: TokenStream, parse: Parse
) -> ProgrammingError | None:
    index = failure.index
    word = stream.kinds[index]
    if word not in RESERVED:
        return None
    start, end = stream.span(index)
    if _reach(f'{stream.text[:start]}"{word}"{stream.text[end:]}', parse) <= index + 1:
        return None
    hint = f'{word.upper()} is a reserved word; as a name it is written "{word}"'
    return _error(failure.message, (start, end), hint)


_GUESSES = (_guess_parenthesis, _guess_keyword, _guess_comma, _guess_reserved)
