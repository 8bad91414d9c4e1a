"""SQL text to tokens: the only tokenizer (engine, highlighter, completer, statement splitter).

Three readers share one set of patterns:

reader       for                       gives
tokenize     the grammar               five parallel columns, END last; raises on bad text
scan         highlighter, completer    every character as a Token, spaces and comments too;
             and statement splitter    never raises: `problem` says what is wrong with a token
normalize    the plan cache            text with literals replaced by markers, and the literals

Kinds in the columns: a reserved word or an operator is its own kind ('select', '<='); the others
are NAME (any other word, value folded to lower case), QUOTED, INTEGER (value int, fits 64 bits),
NUMERIC (value str), STRING (value str), BLOB (value bytes), PARAMETER (value str: '?', '$1',
':name') and END, three times, so that a look ahead needs no check of bounds.

Markers in a normalised text: 'i' integer that fits 32 bits, 'I' 64 bits, 'n' numeric, 's' string,
'b' blob. They cannot be mistaken for source text, where every closed quote is itself a literal.

Invariants
1. scan(text): the tokens' texts joined are the text.
2. slots[i] is the number of literal tokens before token i; normalize(text)[1][slots[i]] is the
   value of literal token i.
3. Equal keys from normalize mean token sequences that differ in spans and literal values only
   (and never in a literal's marker).

What it does not do: SQL's joining of strings across lines, Unicode escapes U&'…', bit strings.
"""

from __future__ import annotations

import re
from itertools import accumulate
from operator import add
from typing import Any, TypeAlias

import msgspec

from engine.errors import DataError, ProgrammingError

Columns: TypeAlias = tuple[
    tuple[str, ...], tuple[Any, ...], list[int], list[int], list[int]
]  # kinds, values, starts, ends, slots

_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric between both case cast check collate
    column constraint create cross current_catalog current_date current_role current_schema
    current_time current_timestamp current_user default deferrable desc distinct do else end
    except exists false fetch for foreign from full grant group having ilike in initially inner
    intersect into is isnull join lateral leading left like limit localtime localtimestamp natural
    not notnull null offset on only or order outer overlaps placing primary references returning
    right select session_user similar some symmetric table tablesample then to trailing true union
    unique user using values variadic when where window with
"""
_OTHER_WORDS = """
    abort action add alter always analyze at begin bigint blob boolean by bytea cascade char
    character checkpoint coalesce comment commit committed conflict copy cube current date day
    decimal deferred delete describe double drop escape exclude exclusive execute explain extract
    filter first float following format generated grouping hour identity if ignore immediate
    include index insert int integer interval isolation json key last level materialized merge
    microsecond millisecond minute month next no nothing nulls numeric of over overlay partition
    plan position pragma preceding precision prepare quarter range read real recursive reindex
    release rename repeatable replace reset restrict rollback rollup row rows savepoint schema
    second sequence serializable set sets show smallint start substring temp temporary text ties
    time timestamp timestamptz transaction trigger trim truncate uncommitted unbounded unknown
    update uuid vacuum varchar varying verbose view week within without work write year zone
"""
RESERVED = frozenset(_RESERVED_WORDS.split())
KEYWORDS = RESERVED | frozenset(_OTHER_WORDS.split())

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
LITERAL_KINDS = frozenset({"INTEGER", "NUMERIC", "STRING", "BLOB"})

_WORD = r"[a-zA-Z_][a-zA-Z_0-9$]*+"
_WORD_WIDE = r"[^\W\d][\w$]*+"
_STRING = r"'[^']*+(?:''[^']*+)*+'"
_PREFIXED = r"[eE]'(?:[^'\\]|\\.|'')*+'|[xX]'[^']*+'"
_QUOTED = r'"[^"]*+(?:""[^"]*+)*+"'
_NUMBER_REST = r"[\w.]*+(?:(?<=[eE])[+-][0-9]+\w*+)?"
_NUMBER = rf"\.?[0-9]{_NUMBER_REST}"  # checked by _number
_PARAMETER = r"\?|\$[0-9]++|:[^\W\d]\w*+"
_OPERATOR = (
    r"::|->>|->|<=|>=|<>|!=|==|=>|:=|\|\||<<|>>|!~\*|!~|~\*|#>>|#>|@>|<@|&&"
    r"|[-+*/%^<>=(),.;:\[\]{}&|#~@]"
)
_SPACE = r"\s*+(?:--[^\n]*+\s*+)*+"
_DOLLAR = r"\$(?:[^\W\d]\w*+)?\$"


def _chunk_pattern(word: str) -> re.Pattern[str]:
    """A token with the space and line comments after it. An ASCII word class is a bitmap: 1.8 µs
    a statement where \\w takes 2.6. The last branch catches what is no token, for _entry."""
    return re.compile(
        rf"(?:{_PREFIXED}){_SPACE}|{word}{_SPACE}|[,()*]{_SPACE}|=(?![=>]){_SPACE}"
        rf"|[0-9]++(?![\w.]){_SPACE}"
        rf"|(?:{_NUMBER}|{_STRING}|{_QUOTED}|{_PARAMETER}|{_OPERATOR}|.){_SPACE}",
        re.DOTALL,
    )


_CHUNK = _chunk_pattern(_WORD)
_CHUNK_WIDE = _chunk_pattern(_WORD_WIDE)
_LEADING = re.compile(_SPACE)
_DOLLAR_START = re.compile(_DOLLAR)
_SCAN = re.compile(
    rf"(?P<space>\s++)|(?P<comment>--[^\n]*+)|(?P<block>/\*)|(?P<string>{_PREFIXED}|{_STRING})"
    rf"|(?P<open_string>[eExX]?')|(?P<quoted>{_QUOTED})|(?P<open_quoted>\")"
    rf"|(?P<word>{_WORD_WIDE})|(?P<number>{_NUMBER})|(?P<dollar>{_DOLLAR})"
    rf"|(?P<parameter>{_PARAMETER})|(?P<operator>{_OPERATOR})|(?P<bad>.)",
    re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_NUMBER_FORM = re.compile(
    r"(?:[0-9]+(?:_[0-9]+)*)?(?:\.[0-9]*(?:_[0-9]+)*)?(?:[eE][+-]?[0-9]+)?", re.ASCII
)
# One character picks the branch: a set at the front lets the search skip (1.2 µs a statement; 5.1
# with the look-behind in front).
_SPLIT_LITERALS = re.compile(
    r"(['0-9.](?:(?<=')[^']*+(?:''[^']*+)*+'"
    rf"|(?<=[0-9])(?<![\w$.].){_NUMBER_REST}|(?<=\.)[0-9]{_NUMBER_REST}))"
)


class Token(msgspec.Struct, frozen=True, gc=False):
    """kind: 'keyword', 'name', 'quoted', 'number', 'string', 'parameter', 'operator', 'space',
    'comment' or 'error'. problem: what is wrong with it (unterminated, unknown character)."""

    kind: str
    text: str
    start: int
    end: int
    problem: str | None = None


class _Unreadable(Exception):
    """A chunk is no token; `scan` finds out which and why."""


# ── the value of a token ─────────────────────────────────────────────────────────────────────
_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|''", re.DOTALL
)
_SIMPLE_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _unescape(match: re.Match[str]) -> str:
    octal, hexadecimal, short, long, simple = match.groups()
    if simple is not None:
        if simple in "xuU":
            raise _Unreadable
        return _SIMPLE_ESCAPES.get(simple, simple)
    digits, base = (octal, 8) if octal is not None else (hexadecimal or short or long, 16)
    if digits is None:
        return "'"
    code = int(digits, base)
    if not 0 < code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise _Unreadable
    return chr(code)


def _number(text: str) -> tuple[str, Any]:
    """(kind, value) of a number's text."""
    if text.isdecimal() and text.isascii():
        value = int(text) if len(text) <= 19 else INT64_MAX + 1
        return ("INTEGER", value) if value <= INT64_MAX else ("NUMERIC", text.lstrip("0") or "0")
    if text[:2].lower() in ("0x", "0o", "0b"):
        try:
            value = int(text, 0)
        except ValueError:
            raise _Unreadable from None
        return ("INTEGER", value) if value <= INT64_MAX else ("NUMERIC", str(value))
    if not _NUMBER_FORM.fullmatch(text):
        raise _Unreadable
    if "_" in text:
        return _number(text.replace("_", ""))
    return "NUMERIC", text


def _string(text: str) -> tuple[str, Any]:
    """(kind, value) of '…', E'…' or X'…'."""
    first = text[0]
    if first == "'":
        body = text[1:-1]
        return "STRING", body.replace("''", "'") if "'" in body else body
    if first in "eE":
        return "STRING", _ESCAPE.sub(_unescape, text[2:-1])
    digits = text[2:-1]
    try:
        if digits and not digits.isalnum():  # fromhex lets spaces pass
            raise _Unreadable
        return "BLOB", bytes.fromhex(digits)
    except ValueError:
        raise _Unreadable from None


# Operators with two spellings.
_SAME_OPERATOR = {"!=": "<>", "==": "="}

_Entry: TypeAlias = tuple[str, Any, int, int]  # kind, value, length, 1 for a literal


def _entry(text: str) -> _Entry:
    """The columns' entry for one token's exact text."""
    first = text[0]
    if first == "'" or (text[-1] == "'" and first in "eExX"):
        if len(text) < 2:
            raise _Unreadable
        return (*_string(text), len(text), 1)
    if first in "0123456789" or (first == "." and len(text) > 1):
        return (*_number(text), len(text), 1)
    if first == '"':
        value = text[1:-1].replace('""', '"')
        if len(text) < 2 or not value or "\0" in value:
            raise _Unreadable
        return "QUOTED", value, len(text), 0
    if first == "_" or first.isalpha():
        value = text.lower()
        return (value if value in RESERVED else "NAME"), value, len(text), 0
    if first == "?" or (first in "$:" and len(text) > 1 and text not in ("::", ":=")):
        return "PARAMETER", text, len(text), 0
    if (first == "!" and len(text) == 1) or not _OPERATOR_FORM.fullmatch(text):
        raise _Unreadable
    text_kind = _SAME_OPERATOR.get(text, text)
    return text_kind, text_kind, len(text), 0


_OPERATOR_FORM = re.compile(_OPERATOR)
_TOKEN = re.compile(
    rf"{_PREFIXED}|{_WORD_WIDE}|{_NUMBER}|{_STRING}|{_QUOTED}|{_PARAMETER}|{_OPERATOR}|.",
    re.DOTALL,
)


class _Entries(dict[str, _Entry]):
    """Chunk → entry, remembered for words, operators and short numbers: most chunks of a new
    statement are old ones, so a token costs one dictionary hit. Bounded by starting over."""

    def __missing__(self, chunk: str) -> _Entry:
        match = _TOKEN.match(chunk)
        if match is None:
            raise _Unreadable
        entry = _entry(match[0])
        if (not entry[3] and len(chunk) <= 64) or len(chunk) <= 3:
            if len(self) >= 4096:
                self.clear()
            self[chunk] = entry
        return entry


_ENTRIES = _Entries()
_MAYBE_SPACE = " \n\t\r\f\v-\u00a0"  # the first characters of leading space and line comments
_ENDS: tuple[_Entry, ...] = (("END", "", 0, 0),) * 3


# ── tokenize ─────────────────────────────────────────────────────────────────────────────────
def tokenize(text: str) -> Columns:
    """Columns (kinds, values, starts, ends, slots). After the last token the first two hold END
    three times, the others once.

    Raises ProgrammingError 42601 for text that is no SQL token, DataError 22P02 or 22025 for a
    blob or an escape that is malformed.
    """
    if "/*" in text or ("$" in text and _DOLLAR_START.search(text)):
        return _tokenize_carefully(text)
    lead = 0
    if text[:1] in _MAYBE_SPACE:
        match = _LEADING.match(text)
        lead = match.end() if match is not None else 0
    chunks = (_CHUNK if text.isascii() else _CHUNK_WIDE).findall(text, lead)
    try:
        entries = list(map(_ENTRIES.__getitem__, chunks))
    except _Unreadable:
        return _tokenize_carefully(text)
    entries.extend(_ENDS)
    kinds, values, lengths, literals = zip(*entries)
    starts = list(accumulate(map(len, chunks), initial=lead))
    return (
        kinds,
        values,
        starts,
        list(map(add, starts, lengths)),
        list(accumulate(literals, initial=0)),
    )


def _tokenize_carefully(text: str) -> Columns:
    """The same columns by way of `scan`: block comments, dollar strings, and errors."""
    entries: list[_Entry] = []
    starts: list[int] = []
    for token in scan(text):
        if token.problem is not None:
            raise unreadable(token)
        if token.kind in ("space", "comment"):
            continue
        if token.text[0] == "$" and token.kind == "string":
            body = token.text[token.text.index("$", 1) + 1 :]
            body = body[: body.rindex("$", 0, -1)]
            entries.append(("STRING", body, len(token.text), 1))
        else:
            try:
                entries.append(_entry(token.text))
            except _Unreadable:
                raise unreadable(token) from None
        starts.append(token.start)
    entries.extend(_ENDS)
    starts.append(len(text.rstrip()))
    kinds, values, lengths, literals = zip(*entries)
    ends = list(map(add, starts, lengths))
    return kinds, values, starts, ends, list(accumulate(literals, initial=0))


def unreadable(token: Token) -> ProgrammingError | DataError:
    """The error for a token that cannot be read."""
    span = (token.start, token.end)
    shown = token.text if len(token.text) <= 40 else token.text[:37] + "…"
    if token.problem is not None:
        start_only = (token.start, min(token.end, token.start + 1))
        if token.problem.startswith("unterminated"):
            return ProgrammingError(
                token.problem,
                sqlstate="42601",
                span=start_only,
                hint="it is opened here and never closed",
            )
        return ProgrammingError(f"{token.problem} {shown}", sqlstate="42601", span=span)
    if token.kind == "number":
        return ProgrammingError(f'malformed number "{shown}"', sqlstate="42601", span=span)
    if token.kind == "quoted":
        return ProgrammingError("zero-length quoted identifier", sqlstate="42601", span=span)
    if token.text[:1] in "xX":
        hint = "X'…' takes an even number of hexadecimal digits"
        return DataError("malformed blob literal", sqlstate="22P02", span=span, hint=hint)
    return DataError("invalid escape in E'…' string", sqlstate="22025", span=span)


# ── scan ─────────────────────────────────────────────────────────────────────────────────────
def _close_block(text: str, start: int) -> tuple[int, str | None]:
    """End of the block comment opened at `start` (comments nest), and its problem."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end(), None
    return len(text), "unterminated comment"


def scan(text: str) -> list[Token]:
    """Every token of the text, spaces and comments included (Invariant 1). Never raises."""
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _SCAN.match(text, position)
        assert match is not None
        kind = match.lastgroup or "bad"
        end = match.end()
        problem = None
        if kind == "word":
            kind = "keyword" if match[0].lower() in KEYWORDS else "name"
        elif kind == "block":
            end, problem = _close_block(text, position)
            kind = "comment"
        elif kind == "dollar":
            close = text.find(match[0], end)
            kind, end = "string", (close + len(match[0]) if close >= 0 else len(text))
            problem = None if close >= 0 else "unterminated dollar-quoted string"
        elif kind == "open_string":
            kind, end, problem = "string", len(text), "unterminated quoted string"
        elif kind == "open_quoted":
            kind, end, problem = "quoted", len(text), "unterminated quoted identifier"
        elif kind == "bad":
            kind, problem = "error", "unknown character"
        tokens.append(Token(kind, text[position:end], position, end, problem))
        position = end
    return tokens


# ── statements of a script ───────────────────────────────────────────────────────────────────
def split_statements(text: str) -> list[tuple[int, int]]:
    """(start, end) of each statement: from its first token to its last, without the semicolon.
    Empty statements are left out."""
    spans: list[tuple[int, int]] = []
    start = end = -1
    for token in scan(text):
        if token.kind in ("space", "comment") and token.problem is None:
            continue
        if token.text == ";" and token.kind == "operator":
            if start >= 0:
                spans.append((start, end))
            start = -1
            continue
        if start < 0:
            start = token.start
        end = token.end
    if start >= 0:
        spans.append((start, end))
    return spans


def is_complete(text: str) -> bool:
    """True when the text's last statement is closed by a semicolon, or there is none: what a
    shell asks before it runs what was typed. An open quote or comment is not complete."""
    last = ";"
    for token in scan(text):
        if token.problem is not None and token.problem.startswith("unterminated"):
            return False
        if token.kind not in ("space", "comment"):
            last = token.text
    return last == ";"


# ── normalize ────────────────────────────────────────────────────────────────────────────────
def normalize(text: str) -> tuple[str, list[Any]]:
    """(key, literals): the text with each literal replaced by the marker of its kind and white
    space folded, and the literals' values in order (int, str for numeric, str, bytes).

    Never raises: text that is no SQL has a key of its own that no statement shares.
    """
    if '"' in text or "--" in text or "/*" in text or "$" in text:
        return _normalize_tokens(text)
    parts = _SPLIT_LITERALS.split(text)
    literals: list[Any] = []
    for index in range(1, len(parts), 2):
        part = parts[index]
        if part[0] == "'":
            # E'…' and X'…': the prefix is the end of the text before.
            if parts[index - 1][-1:] in _PREFIX_LETTERS:
                return _normalize_tokens(text)
            body = part[1:-1]
            literals.append(body.replace("''", "'") if "'" in body else body)
            parts[index] = "'s'"
        elif len(part) < 10 and part.isdecimal():
            literals.append(int(part))
            parts[index] = "'i'"
        else:
            try:
                kind, value = _number(part)
            except _Unreadable:
                return text, []
            literals.append(value)
            parts[index] = _integer_marker(value) if kind == "INTEGER" else "'n'"
    return " ".join("".join(parts).split()), literals


_PREFIX_LETTERS = frozenset("eExX")
_MARKERS = {"NUMERIC": "'n'", "STRING": "'s'", "BLOB": "'b'"}


def _integer_marker(value: int) -> str:
    return "'i'" if value <= INT32_MAX else "'I'"


def _normalize_tokens(text: str) -> tuple[str, list[Any]]:
    """The careful way: through the tokens."""
    try:
        kinds, values, starts, ends, _ = tokenize(text)
    except (ProgrammingError, DataError):
        return text, []
    pieces: list[str] = []
    literals: list[Any] = []
    for kind, value, start, end in zip(kinds, values, starts, ends):
        if kind in LITERAL_KINDS:
            literals.append(value)
            pieces.append(_integer_marker(value) if kind == "INTEGER" else _MARKERS[kind])
        else:
            pieces.append(text[start:end])
    return " ".join(pieces), literals
