"""The bridge to pyparsing: terminals over the token stream, and the hot productions as elements.

pyparsing walks a string; here the string is a `TokenText` with one character for each token, so
a location is a token's index and the lexer's spans stay exact. Terminals look at the token there;
`Production` hands the stream to a recursive-descent function (expression, query, statement) and
goes on behind what it read, so a rule holds one as it holds any other element:

    Keyword("as") + Production(parse_query)

Every terminal that fails notes what it wanted; the furthest such notes are the syntax error's
expectations. A hot production raises its own errors, which end the parse: rules put them only
where nothing else can stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import pyparsing as pp

from engine.sql.ast import Node, Span
from engine.sql.grammar.stream import IDENTIFIER_KINDS, NAME_KINDS, TokenStream


class TokenText(str):
    """One 't' a token, carrying the stream, the furthest failure and what was wanted there."""

    stream: TokenStream
    furthest: int
    wanted: list[str]

    @classmethod
    def of(cls, stream: TokenStream) -> TokenText:
        """The stand-in text of a stream."""
        text = cls("t" * len(stream.kinds))
        text.stream = stream
        text.furthest = 0
        text.wanted = []
        return text

    def miss(self, index: int, wanted: str) -> None:
        """A terminal wanted something else at `index`."""
        if index > self.furthest:
            self.furthest = index
            self.wanted = []
        if index == self.furthest and wanted not in self.wanted:
            self.wanted.append(wanted)


class Named(Node, frozen=True, gc=False):
    """A name in a rule's results."""

    name: str
    span: Span


class Terminal(pp.Token):
    """One token that it `accepts`; contributes `value` to the results, or nothing."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self.wanted = wanted
        self.errmsg = f"expected {wanted}"
        self.mayIndexError = False
        self.leave_whitespace()

    def _generateDefaultName(self) -> str:  # noqa: N802  (pyparsing's name)
        return self.wanted

    def accepts(self, stream: TokenStream, index: int) -> bool:
        """Is the token at `index` this terminal?"""
        raise NotImplementedError

    def value(self, stream: TokenStream, index: int) -> list[Any]:
        """What the token adds to the results."""
        return []

    def parseImpl(  # noqa: N802  (pyparsing's name)
        self, instring: str, loc: int, do_actions: bool = True
    ) -> tuple[int, Any]:
        assert isinstance(instring, TokenText)
        if self.accepts(instring.stream, loc):
            return loc + 1, self.value(instring.stream, loc)
        instring.miss(loc, self.wanted)
        raise pp.ParseException(instring, loc, self.errmsg, self)


class Keyword(Terminal):
    """A word, reserved or not, never quoted. Adds nothing; `flag` makes it add itself."""

    def __init__(self, word: str, flag: bool = False) -> None:
        super().__init__(word)
        self.flag = flag

    def accepts(self, stream: TokenStream, index: int) -> bool:
        return stream.values[index] == self.wanted and stream.kinds[index] in ("NAME", self.wanted)

    def value(self, stream: TokenStream, index: int) -> list[Any]:
        return [self.wanted] if self.flag else []


class Symbol(Terminal):
    """Punctuation or an operator; adds nothing."""

    def accepts(self, stream: TokenStream, index: int) -> bool:
        return stream.kinds[index] == self.wanted


class Name(Terminal):
    """A name: adds a `Named`."""

    def __init__(self, wanted: str = "a name") -> None:
        super().__init__(wanted)

    def accepts(self, stream: TokenStream, index: int) -> bool:
        return stream.kinds[index] in NAME_KINDS

    def value(self, stream: TokenStream, index: int) -> list[Any]:
        return [Named(stream.values[index], stream.span(index))]


class Constant(Terminal):
    """A literal or a word as the value of a setting: adds str, int, float or bool."""

    _WORDS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}

    def __init__(self) -> None:
        super().__init__("a value")

    def accepts(self, stream: TokenStream, index: int) -> bool:
        kind = stream.kinds[index]
        return (
            kind in ("INTEGER", "NUMERIC", "STRING", "on", "true", "false", "full")
            or kind in IDENTIFIER_KINDS
        )

    def value(self, stream: TokenStream, index: int) -> list[Any]:
        kind, value = stream.kinds[index], stream.values[index]
        if kind == "NUMERIC":
            return [float(value)]
        if kind in ("INTEGER", "STRING", "QUOTED"):
            return [value]
        return [self._WORDS.get(value, value)]


class Production(pp.Token):
    """A recursive-descent function as a grammar element: adds the node it returns."""

    def __init__(self, parse: Callable[[TokenStream], Any], wanted: str) -> None:
        super().__init__()
        self.parse = parse
        self.wanted = wanted
        self.mayIndexError = False
        self.leave_whitespace()

    def _generateDefaultName(self) -> str:  # noqa: N802  (pyparsing's name)
        return self.wanted

    def parseImpl(  # noqa: N802  (pyparsing's name)
        self, instring: str, loc: int, do_actions: bool = True
    ) -> tuple[int, Any]:
        assert isinstance(instring, TokenText)
        stream = instring.stream
        stream.pos = loc
        node = self.parse(stream)
        return stream.pos, [node]


Make: TypeAlias = Callable[[TokenStream, pp.ParseResults, Span], Any]


class Build(pp.ParseElementEnhance):
    """Makes one value of what its element matched: make(stream, results, span of all of it)."""

    def __init__(self, expr: pp.ParserElement, make: Make) -> None:
        super().__init__(expr)
        self.make = make
        self.saveAsList = False
        self.leave_whitespace()

    def parseImpl(  # noqa: N802  (pyparsing's name)
        self, instring: str, loc: int, do_actions: bool = True
    ) -> tuple[int, Any]:
        assert isinstance(instring, TokenText)
        end, results = self.expr._parse(instring, loc, do_actions, callPreParse=False)
        stream = instring.stream
        return end, [self.make(stream, results, (stream.starts[loc], stream.ends[end - 1]))]


class Choice(pp.ParseExpression):
    """One of several elements, picked by the word at hand: {word: element}, and `otherwise` for
    any other token. What MatchFirst finds by trying, this looks up (0.3 µs in place of 5 µs and
    an exception for each alternative before the right one)."""

    def __init__(
        self, by_word: dict[str, pp.ParserElement], otherwise: pp.ParserElement | None = None
    ) -> None:
        elements = list(by_word.values())
        super().__init__(elements if otherwise is None else [*elements, otherwise])
        self.words = {word: index for index, word in enumerate(by_word)}
        self.has_otherwise = otherwise is not None
        self.mayIndexError = False
        self.leave_whitespace(recursive=False)

    def _generateDefaultName(self) -> str:  # noqa: N802  (pyparsing's name)
        return " | ".join(self.words)

    def parseImpl(  # noqa: N802  (pyparsing's name)
        self, instring: str, loc: int, do_actions: bool = True
    ) -> tuple[int, Any]:
        assert isinstance(instring, TokenText)
        stream = instring.stream
        word = stream.values[loc]
        index = self.words.get(word) if stream.kinds[loc] in ("NAME", word) else None
        if index is None:
            if not self.has_otherwise:
                for wanted in self.words:
                    instring.miss(loc, wanted)
                raise pp.ParseException(instring, loc, self.errmsg, self)
            index = len(self.words)
        return self.exprs[index]._parse(instring, loc, do_actions, callPreParse=False)


class Unless(pp.Token):
    """Matches nothing and reads nothing, but raises 0A000 when words stand here that begin
    something not supported. Rows are a construct and its words; they are no expectations."""

    def __init__(self, rows: Iterable[tuple[str, ...]]) -> None:
        super().__init__()
        self.rows: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        for construct, *words in rows:
            self.rows.setdefault(words[0], []).append((construct, tuple(words)))
        self.mayIndexError = False
        self.leave_whitespace()

    def _generateDefaultName(self) -> str:  # noqa: N802  (pyparsing's name)
        return "unless " + ", ".join(self.rows)

    def parseImpl(  # noqa: N802  (pyparsing's name)
        self, instring: str, loc: int, do_actions: bool = True
    ) -> tuple[int, Any]:
        assert isinstance(instring, TokenText)
        stream = instring.stream
        for construct, words in self.rows.get(stream.values[loc], ()):
            end = loc + len(words)
            kinds = stream.kinds[loc:end]
            if stream.values[loc:end] == words and all(
                kind in ("NAME", word) for kind, word in zip(kinds, words)
            ):
                stream.pos = end - 1
                stream.unsupported(construct, loc)
        return loc, []


# ── combinations ─────────────────────────────────────────────────────────────────────────────
def keywords(*words: str) -> pp.ParserElement:
    """The words in this order."""
    return _sequence([Keyword(word) for word in words])


def flag(name: str, *words: str) -> pp.ParserElement:
    """The words, if they stand here; `name` in the results is then true."""
    first, *rest = words
    element = _sequence([Keyword(first, flag=True), *(Keyword(word) for word in rest)])
    return pp.Opt(element(name))


def listed(element: pp.ParserElement) -> pp.ParserElement:
    """`( element , element … )`."""
    return Symbol("(") + separated(element) + Symbol(")")


def optional(results: pp.ParseResults, key: str, default: Any = None) -> Any:
    """The result named `key`, or the default where its element was left out."""
    if key in results:
        return results[key]
    return default


def gathered(element: pp.ParserElement) -> pp.ParserElement:
    """The element's results as one tuple."""
    return Build(element, lambda stream, results, span: tuple(results))


def separated(element: pp.ParserElement) -> pp.ParserElement:
    """`element , element …`."""
    return element + pp.ZeroOrMore(Symbol(",") + element)


def _sequence(elements: list[pp.ParserElement]) -> pp.ParserElement:
    return pp.And(elements) if len(elements) > 1 else elements[0]
