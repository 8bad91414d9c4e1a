"""Strings: PostgreSQL's functions, and the names SQLite and MySQL users reach for.

Positions count characters from 1. Text compares and sorts by code point.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from engine.errors import DataError
from engine.sql.functions.registry import ScalarFunction, register_scalar
from engine.types import BIGINT, BOOLEAN, BYTEA, INTEGER, TEXT, SqlType
from engine.types.text_forms import format_bytea, parse_bytea

_MAX_RESULT = 1 << 28  # characters: repeat() and lpad() refuse more


def _text(
    name: str,
    args: tuple[SqlType, ...],
    result: SqlType,
    implementation: Callable[..., Any],
    doc: str,
    example: tuple[str, str] | None = None,
    *,
    strict: bool = True,
    variadic: bool = False,
) -> None:
    register_scalar(
        ScalarFunction(
            name=name,
            arg_types=args,
            return_type=result,
            implementation=implementation,
            strict=strict,
            variadic=variadic,
            category="text",
            doc=doc,
            example=example,
        )
    )


def _bad_argument(message: str) -> DataError:
    return DataError(message, sqlstate="22023")


def _require_size(size: int) -> None:
    if size > _MAX_RESULT:
        raise DataError("requested length too large", sqlstate="54000")


# ── length and case ──────────────────────────────────────────────────────────────────────────
def _initial_capitals(text: str) -> str:
    return re.sub(r"[^\W_]+", lambda m: m[0][:1].upper() + m[0][1:].lower(), text)


def _register_basics() -> None:
    for name in ("length", "char_length", "character_length"):
        _text(name, (TEXT,), INTEGER, len, "number of characters", (f"{name}('héllo')", "5"))
    _text("length", (BYTEA,), INTEGER, len, "number of bytes")
    _text(
        "octet_length",
        (TEXT,),
        INTEGER,
        lambda t: len(t.encode()),
        "number of bytes",
        ("octet_length('héllo')", "6"),
    )
    _text("octet_length", (BYTEA,), INTEGER, len, "number of bytes")
    _text(
        "bit_length",
        (TEXT,),
        INTEGER,
        lambda t: 8 * len(t.encode()),
        "number of bits",
        ("bit_length('ab')", "16"),
    )
    _text("lower", (TEXT,), TEXT, str.lower, "in lower case", ("lower('Tom')", "tom"))
    _text("upper", (TEXT,), TEXT, str.upper, "in upper case", ("upper('Tom')", "TOM"))
    _text(
        "initcap",
        (TEXT,),
        TEXT,
        _initial_capitals,
        "each word capitalised",
        ("initcap('hi THOMAS')", "Hi Thomas"),
    )
    _text("reverse", (TEXT,), TEXT, lambda t: t[::-1], "backwards", ("reverse('abc')", "cba"))


# ── trimming and padding ─────────────────────────────────────────────────────────────────────
def _pad(left: bool) -> Callable[..., str]:
    def apply(text: str, size: int, fill: str = " ") -> str:
        size = max(size, 0)
        _require_size(size)
        missing = size - len(text)
        if missing <= 0 or not fill:
            return text[:size]
        padding = (fill * (missing // len(fill) + 1))[:missing]
        return padding + text if left else text + padding

    return apply


def _register_trimming() -> None:
    for names, strip, doc, result in (
        (("trim", "btrim"), str.strip, "both ends", "abc"),
        (("ltrim",), str.lstrip, "the start", "abcxx"),
        (("rtrim",), str.rstrip, "the end", "xxabc"),
    ):
        for name in names:
            _text(name, (TEXT,), TEXT, _strip_spaces(strip), f"spaces removed from {doc}")
            _text(
                name,
                (TEXT, TEXT),
                TEXT,
                strip,
                f"any of the given characters removed from {doc}",
                (f"{name}('xxabcxx', 'x')", result),
            )
    for name, left, result in (("lpad", True, "xyabc"), ("rpad", False, "abcxy")):
        doc = f"filled up on the {'left' if left else 'right'} to a length, or cut"
        _text(name, (TEXT, INTEGER), TEXT, _pad(left), doc)
        _text(
            name, (TEXT, INTEGER, TEXT), TEXT, _pad(left), doc, (f"{name}('abc', 5, 'xy')", result)
        )
    _text(
        "repeat", (TEXT, INTEGER), TEXT, _repeat, "the text n times", ("repeat('ab', 3)", "ababab")
    )


def _strip_spaces(strip: Callable[[str, str], str]) -> Callable[[str], str]:
    return lambda text: strip(text, " ")


def _repeat(text: str, count: int) -> str:
    _require_size(len(text) * count)
    return text * count


# ── parts ────────────────────────────────────────────────────────────────────────────────────
def _substring(text: Any, start: int, count: int | None = None) -> Any:
    if count is None:
        return text[max(start - 1, 0) :]
    if count < 0:
        raise DataError("negative substring length not allowed", sqlstate="22011")
    return text[max(start - 1, 0) : max(start - 1 + count, 0)]


def _left(text: str, count: int) -> str:
    return text[:count]


def _right(text: str, count: int) -> str:
    return text[-count:] if count else ""


def _split_part(text: str, separator: str, field: int) -> str:
    if field == 0:
        raise _bad_argument("field position must not be zero")
    parts = text.split(separator) if separator else [text]
    position = field - 1 if field > 0 else len(parts) + field
    return parts[position] if 0 <= position < len(parts) else ""


def _overlay(text: str, new: str, start: int, count: int | None = None) -> str:
    if start < 1:
        raise DataError("negative substring length not allowed", sqlstate="22011")
    size = len(new) if count is None else count
    return text[: start - 1] + new + text[max(start - 1 + size, 0) :]


def _register_parts() -> None:
    for name in ("substring", "substr"):
        doc = "from a position, optionally a number of characters"
        for kind in (TEXT, BYTEA):
            example = (f"{name}('Thomas', 2, 3)", "hom") if kind is TEXT else None
            _text(name, (kind, INTEGER), kind, _substring, doc)
            _text(name, (kind, INTEGER, INTEGER), kind, _substring, doc, example)
    _text(
        "left",
        (TEXT, INTEGER),
        TEXT,
        _left,
        "first n characters, or all but the last -n",
        ("left('abcde', 2)", "ab"),
    )
    _text(
        "right",
        (TEXT, INTEGER),
        TEXT,
        _right,
        "last n characters, or all but the first -n",
        ("right('abcde', 2)", "de"),
    )
    _text(
        "split_part",
        (TEXT, TEXT, INTEGER),
        TEXT,
        _split_part,
        "n-th field between separators; negative counts from the end",
        ("split_part('a,b,c', ',', 2)", "b"),
    )
    doc = "part replaced, from a position, a number of characters"
    _text("overlay", (TEXT, TEXT, INTEGER), TEXT, _overlay, doc)
    _text(
        "overlay",
        (TEXT, TEXT, INTEGER, INTEGER),
        TEXT,
        _overlay,
        doc,
        ("overlay('Txxxxas', 'hom', 2, 4)", "Thomas"),
    )


def _register_searches() -> None:
    for name in ("strpos", "instr"):
        _text(
            name,
            (TEXT, TEXT),
            INTEGER,
            lambda t, part: t.find(part) + 1,
            "position of the second text in the first, or 0",
            (f"{name}('high', 'ig')", "2"),
        )
    _text(
        "position",
        (TEXT, TEXT),
        INTEGER,
        lambda part, t: t.find(part) + 1,
        "position('ig' IN 'high'): where the first text is in the second, or 0",
        ("position('ig' IN 'high')", "2"),
    )
    _text(
        "starts_with",
        (TEXT, TEXT),
        BOOLEAN,
        str.startswith,
        "begins with the second text",
        ("starts_with('alphabet', 'alph')", "true"),
    )
    for name in ("ends_with", "suffix"):
        _text(
            name,
            (TEXT, TEXT),
            BOOLEAN,
            str.endswith,
            "ends with the second text",
            (f"{name}('alphabet', 'bet')", "true"),
        )
    _text(
        "contains",
        (TEXT, TEXT),
        BOOLEAN,
        lambda t, part: part in t,
        "has the second text in it",
        ("contains('alphabet', 'hab')", "true"),
    )


# ── replacing and joining ────────────────────────────────────────────────────────────────────
def _replace(text: str, old: str, new: str) -> str:
    return text.replace(old, new) if old else text


def _translate(text: str, old: str, new: str) -> str:
    table: dict[int, str | None] = {}
    for i, character in enumerate(old):
        table.setdefault(ord(character), new[i] if i < len(new) else None)
    return text.translate(table)


def _concat(*parts: str | None) -> str:
    return "".join([part for part in parts if part is not None])


def _concat_with(separator: str | None, *parts: str | None) -> str | None:
    return None if separator is None else separator.join([p for p in parts if p is not None])


def _quote_literal(text: str) -> str:
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def _quote_identifier(text: str) -> str:
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", text) is not None
    return text if plain else '"' + text.replace('"', '""') + '"'


def _register_replacing() -> None:
    _text(
        "replace",
        (TEXT, TEXT, TEXT),
        TEXT,
        _replace,
        "every occurrence replaced",
        ("replace('abcabc', 'b', 'x')", "axcaxc"),
    )
    _text(
        "translate",
        (TEXT, TEXT, TEXT),
        TEXT,
        _translate,
        "characters replaced one for one",
        ("translate('12345', '143', 'ax')", "a2x5"),
    )
    _text(
        "concat",
        (TEXT,),
        TEXT,
        _concat,
        "joined, NULLs left out (takes any types)",
        ("concat('a', 1, NULL, 'b')", "a1b"),
        strict=False,
        variadic=True,
    )
    _text(
        "concat_ws",
        (TEXT, TEXT),
        TEXT,
        _concat_with,
        "joined with a separator, NULLs left out (takes any types)",
        ("concat_ws(',', 'a', NULL, 'b')", "a,b"),
        strict=False,
        variadic=True,
    )
    _text(
        "quote_literal",
        (TEXT,),
        TEXT,
        _quote_literal,
        "as a literal in SQL text",
        ("quote_literal('O''Reilly')", "'O''Reilly'"),
    )
    _text(
        "quote_ident",
        (TEXT,),
        TEXT,
        _quote_identifier,
        "as an identifier in SQL text",
        ("quote_ident('Foo bar')", '"Foo bar"'),
    )


# ── codes ────────────────────────────────────────────────────────────────────────────────────
def _character(code: int) -> str:
    if code == 0:
        raise DataError("null character not permitted", sqlstate="54000")
    if not 0 < code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        message = f"requested character not valid for encoding: {code}"
        raise DataError(message, sqlstate="54000")
    return chr(code)


def _hexadecimal(value: int) -> str:
    return f"{value & 0xFFFFFFFFFFFFFFFF:x}" if value < 0 else f"{value:x}"


def _encode(value: bytes, form: str) -> str:
    if form == "hex":
        return value.hex()
    if form == "base64":
        return b2a_base64(value, newline=False).decode()
    if form == "escape":
        return "".join(
            "\\\\" if b == 0x5C else chr(b) if 0 < b < 0x80 else f"\\{b:03o}" for b in value
        )
    raise _bad_argument(f'unrecognized encoding: "{form}"')


def _decode(text: str, form: str) -> bytes:
    try:
        if form == "hex":
            return bytes.fromhex(text)
        if form == "base64":
            return a2b_base64(text, strict_mode=False)
    except ValueError as error:
        raise _bad_argument(f"invalid {form} data: {error}") from None
    if form == "escape":
        return parse_bytea(text) if not text.startswith("\\x") else text.encode()
    raise _bad_argument(f'unrecognized encoding: "{form}"')


def _register_codes() -> None:
    _text(
        "ascii",
        (TEXT,),
        INTEGER,
        lambda t: ord(t[0]) if t else 0,
        "code of the first character",
        ("ascii('x')", "120"),
    )
    _text("chr", (INTEGER,), TEXT, _character, "the character of a code", ("chr(65)", "A"))
    _text("to_hex", (BIGINT,), TEXT, _hexadecimal, "in hexadecimal", ("to_hex(255)", "ff"))
    _text(
        "hex",
        (BYTEA,),
        TEXT,
        lambda b: b.hex().upper(),
        "bytes in hexadecimal (SQLite's)",
        ("hex(x'abcd')", "ABCD"),
    )
    _text(
        "encode",
        (BYTEA, TEXT),
        TEXT,
        _encode,
        "bytes as 'hex', 'base64' or 'escape'",
        ("encode(x'3031', 'base64')", "MDE="),
    )
    _text(
        "decode",
        (TEXT, TEXT),
        BYTEA,
        _decode,
        "bytes from 'hex', 'base64' or 'escape'",
        ("decode('MDE=', 'base64')", format_bytea(b"01")),
    )


# ── regular expressions ──────────────────────────────────────────────────────────────────────
@lru_cache(256)
def _pattern(text: str, flags: str) -> re.Pattern[str]:
    """Python's regular expressions; PostgreSQL's flags i, n, s, x (g is the caller's)."""
    options = 0
    for flag in flags:
        if flag in "im":
            options |= re.IGNORECASE if flag == "i" else re.MULTILINE
        elif flag == "s":
            options |= re.DOTALL
        elif flag == "n":
            options |= re.MULTILINE
        elif flag == "x":
            options |= re.VERBOSE
        elif flag != "g":
            raise _bad_argument(f'invalid regular expression option: "{flag}"')
    try:
        return re.compile(text, options)
    except re.error as error:
        message = f"invalid regular expression: {error}"
        raise DataError(message, sqlstate="2201B") from None


def _regexp_replace(text: str, pattern: str, new: str, flags: str = "") -> str:
    compiled = _pattern(pattern, flags)
    template = re.sub(r"\\&", r"\\g<0>", new)
    try:
        return compiled.sub(template, text, count=0 if "g" in flags else 1)
    except (re.error, IndexError) as error:
        raise DataError(f"invalid replacement: {error}", sqlstate="2201B") from None


def _regexp_substr(text: str, pattern: str) -> str | None:
    found = _pattern(pattern, "").search(text)
    return None if found is None else found[0]


def _register_regular_expressions() -> None:
    doc = "whether the pattern occurs (flags: i, n, s, x)"
    _text(
        "regexp_like",
        (TEXT, TEXT),
        BOOLEAN,
        lambda t, p: _pattern(p, "").search(t) is not None,
        doc,
        ("regexp_like('Hello', '^H.*o$')", "true"),
    )
    _text(
        "regexp_like",
        (TEXT, TEXT, TEXT),
        BOOLEAN,
        lambda t, p, f: _pattern(p, f).search(t) is not None,
        doc,
    )
    doc = "first match replaced (all with flag g); \\1 is the first group"
    _text("regexp_replace", (TEXT, TEXT, TEXT), TEXT, _regexp_replace, doc)
    _text(
        "regexp_replace",
        (TEXT, TEXT, TEXT, TEXT),
        TEXT,
        _regexp_replace,
        doc,
        ("regexp_replace('abcabc', 'b(.)', '[\\1]', 'g')", "a[c]a[c]"),
    )
    _text(
        "regexp_count",
        (TEXT, TEXT),
        INTEGER,
        lambda t, p: sum(1 for _ in _pattern(p, "").finditer(t)),
        "number of matches",
        ("regexp_count('ababab', 'ab')", "3"),
    )
    _text(
        "regexp_substr",
        (TEXT, TEXT),
        TEXT,
        _regexp_substr,
        "the first match, or NULL",
        ("regexp_substr('x12y', '[0-9]+')", "12"),
    )


_register_basics()
_register_trimming()
_register_parts()
_register_searches()
_register_replacing()
_register_codes()
_register_regular_expressions()
