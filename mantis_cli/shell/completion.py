"""What may come next: tables, columns, keywords, functions, dot commands. Plain data in and out.

    suggest(text before the cursor, text after it, names) -> [Suggestion]

The engine's lexer cuts the text; the statement around the cursor decides:

after                                    suggested
`x.`                                     columns of the table or alias x
FROM JOIN INTO UPDATE TABLE DESCRIBE …   tables and views (and CTEs)
SELECT WHERE ON BY SET AND ( , = …       columns of the statement's tables, functions, keywords
the start of a statement                 keywords that begin one
`.` or `\\` at the start of the input     shell commands

Words that begin with what was typed come first, then words that contain its letters in order.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from engine.sql.lexer import KEYWORDS, Token, scan
from mantis_cli.schema_text import quote_identifier

TABLE_WORDS = frozenset({"from", "join", "into", "update", "table", "describe", "summarize", "on"})
FIRST_WORDS = tuple(
    """select insert update delete create drop alter begin commit rollback savepoint release
    explain with values checkpoint pragma set show truncate describe""".split()  # noqa: SIM905
)
_LISTS = frozenset({"from", "join", "into", "update", "table"})
LIMIT = 200


class Names(msgspec.Struct, frozen=True):
    """The schema's names. tables: table or view → its columns."""

    tables: dict[str, tuple[str, ...]]
    indexes: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()


class Suggestion(msgspec.Struct, frozen=True):
    """text replaces the last `length` characters before the cursor. kind: for display."""

    text: str
    length: int
    kind: str


def suggest(before: str, after: str, names: Names, commands: Iterable[str]) -> list[Suggestion]:
    """Suggestions, best first; at most LIMIT."""
    stripped = before.lstrip()
    if stripped[:1] in (".", "\\"):
        if " " not in stripped:
            return _ranked(stripped, [(name, "command") for name in commands])
        word = stripped.rsplit(" ", 1)[1]
        return _ranked(word, [(table, "table") for table in names.tables]) if word else []
    tokens = _statement(scan(before))
    if tokens and tokens[-1].problem is not None:
        return []  # inside an open string, quoted name or comment
    word = ""
    if tokens and tokens[-1].kind in ("name", "keyword", "quoted"):
        word = tokens[-1].text
        tokens = tokens[:-1]
    tokens = [token for token in tokens if token.kind not in ("space", "comment")]
    if word == "" and not tokens:
        return []
    if not tokens:
        return _ranked(word, [(first, "keyword") for first in FIRST_WORDS], upper=word.isupper())
    following = [t for t in _until_semicolon(scan(after)) if t.kind not in ("space", "comment")]
    if tokens[-1].text == ".":
        return _ranked(word, _columns_of(tokens, following, names))
    if not word and tokens[-1].kind in ("name", "quoted", "number", "string"):
        return []  # nothing typed yet: do not pop up after every word
    return _ranked(word, _in_context(tokens, following, names), upper=word.isupper())


def _statement(tokens: list[Token]) -> list[Token]:
    """The tokens of the last statement."""
    for place in range(len(tokens) - 1, -1, -1):
        if tokens[place].text == ";" and tokens[place].kind == "operator":
            return tokens[place + 1 :]
    return tokens


def _until_semicolon(tokens: list[Token]) -> list[Token]:
    for place, token in enumerate(tokens):
        if token.text == ";" and token.kind == "operator":
            return tokens[:place]
    return tokens


def _folded(token: Token) -> str:
    if token.kind == "quoted":
        return token.text[1:-1].replace('""', '"')
    return token.text.lower()


def _sources(tokens: list[Token]) -> dict[str, str]:
    """Alias or table name → table name, for every FROM, JOIN, INTO and UPDATE item."""
    sources: dict[str, str] = {}
    expecting = False
    place = 0
    while place < len(tokens):
        token = tokens[place]
        text = token.text.lower()
        if token.kind == "keyword" and text in _LISTS:
            expecting = True
        elif expecting and token.kind in ("name", "quoted"):
            table = _folded(token)
            sources[table] = table
            following = place + 1
            if following < len(tokens) and tokens[following].text.lower() == "as":
                following += 1
            if following < len(tokens) and tokens[following].kind in ("name", "quoted"):
                sources[_folded(tokens[following])] = table
                place = following
            expecting = place + 1 < len(tokens) and tokens[place + 1].text == ","
        elif text != ",":
            expecting = False
        place += 1
    return sources


def _ctes(tokens: list[Token]) -> list[str]:
    """Names defined by WITH … AS (."""
    return [
        _folded(tokens[place])
        for place in range(len(tokens) - 2)
        if tokens[place].kind in ("name", "quoted")
        and tokens[place + 1].text.lower() == "as"
        and tokens[place + 2].text == "("
    ]


def _columns_of(tokens: list[Token], following: list[Token], names: Names) -> list[tuple[str, str]]:
    if len(tokens) < 2:
        return []
    sources = _sources(tokens + following)
    qualifier = _folded(tokens[-2])
    table = sources.get(qualifier, qualifier)
    return [(column, "column") for column in names.tables.get(table, ())]


def _in_context(tokens: list[Token], following: list[Token], names: Names) -> list[tuple[str, str]]:
    last_word = next((t.text.lower() for t in reversed(tokens) if t.kind == "keyword"), "")
    last = tokens[-1].text.lower()
    tables = [(table, "table") for table in names.tables]
    if last in TABLE_WORDS - {"on"} or (last == "," and last_word in ("from", "into", "update")):
        return tables + [(cte, "cte") for cte in _ctes(tokens)]
    if last == "on" and any(t.text.lower() == "index" for t in tokens):
        return tables
    if last == "index" and tokens[0].text.lower() == "drop":
        return [(index, "index") for index in names.indexes]
    everything = tokens + following
    found: list[tuple[str, str]] = []
    sources = _sources(everything)
    for table in dict.fromkeys(sources.values()):
        found += [(column, "column") for column in names.tables.get(table, ())]
    found += [(alias, "alias") for alias in sources]
    if not sources:  # the FROM is still to come: any column may be meant
        found += [(c, "column") for columns in names.tables.values() for c in columns]
    found += [(function, "function") for function in names.functions]
    return found + [(keyword, "keyword") for keyword in sorted(KEYWORDS)]


def _ranked(
    word: str, candidates: Iterable[tuple[str, str]], upper: bool = False
) -> list[Suggestion]:
    """Candidates that match the word: by prefix, then by letters in order; each text once."""
    typed = word.strip('"').lower()
    begins: list[Suggestion] = []
    contains: list[Suggestion] = []
    seen: set[str] = set()
    for name, kind in candidates:
        if name in seen:
            continue
        seen.add(name)
        text = name
        if kind in ("table", "column", "index", "alias", "cte"):
            text = quote_identifier(name)
        elif kind == "keyword":
            text = name.upper() if upper or not typed else name
        lowered = name.lower()
        if lowered.startswith(typed):
            begins.append(Suggestion(text, len(word), kind))
        elif len(typed) > 1 and _has_letters(lowered, typed):
            contains.append(Suggestion(text, len(word), kind))
    return (begins + contains)[:LIMIT]


def _has_letters(name: str, typed: str) -> bool:
    letters = iter(name)
    return all(letter in letters for letter in typed)
