"""Small operations that generated code calls: casts, comparison keys, IN lists, patterns.

Patterns: LIKE's `%` and `_` with an escape character (default backslash, '' = none), and POSIX
regular expressions as Python's. Common LIKE shapes avoid the regular-expression engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from engine.errors import DataError
from engine.types import SqlType, cast_function, comparison_key

Matcher = Callable[[str], bool]


def caster(source: SqlType, target: SqlType, explicit: bool) -> Callable[[Any], Any] | None:
    """The conversion of non-NULL runtime values, or None when the value stays as it is."""
    return cast_function(source, target, explicit)


def compare_key(sql_type: SqlType) -> Callable[[Any], Any] | None:
    """What to compare values by, or None for themselves; real and double are compared inline."""
    return None if sql_type.kind in ("real", "double") else comparison_key(sql_type)


def in_list(items: tuple[Any, ...]) -> tuple[frozenset[Any], bool]:
    """(the values of an IN list, whether it holds a NULL)."""
    found = frozenset(items)
    if None in found:
        return found - {None}, True
    return found, False


def text_matcher(op: str) -> Callable[[str, str, str | None], bool]:
    """The match function (text, pattern, escape) of 'like', 'ilike', '~' or '~*'."""

    def match(text: str, pattern: str, escape: str | None) -> bool:
        return like_matcher(op, pattern, escape)(text)

    return match


@lru_cache(maxsize=512)
def like_matcher(op: str, pattern: str, escape: str | None) -> Matcher:
    """The compiled pattern. Raises DataError 22025 (bad escape) or 2201B (bad expression)."""
    if op in ("~", "~*"):
        return _regex_matcher(pattern, re.IGNORECASE if op == "~*" else 0)
    if escape is None:
        escape = "\\"
    if len(escape) > 1:
        raise DataError(
            "invalid escape string", sqlstate="22019", hint="Escape string must be one character."
        )
    parts = _split_like(pattern, escape)
    if op == "like":
        simple = _simple_matcher(parts)
        if simple is not None:
            return simple
    source = "".join([_LIKE_REGEX.get(p, "") if w else re.escape(p) for w, p in parts])
    flags = re.DOTALL | (re.IGNORECASE if op == "ilike" else 0)
    matches = re.compile(source, flags).fullmatch
    return lambda text: matches(text) is not None


_LIKE_REGEX = {"%": ".*", "_": "."}


def _split_like(pattern: str, escape: str) -> list[tuple[bool, str]]:
    """(is a wildcard, text) parts; literal runs are joined."""
    parts: list[tuple[bool, str]] = []
    literal: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if escape and character == escape:
            escaped = next(characters, None)
            if escaped is None:
                raise DataError("LIKE pattern must not end with escape character", sqlstate="22025")
            literal.append(escaped)
        elif character in "%_":
            if literal:
                parts.append((False, "".join(literal)))
                literal = []
            if character == "_" or not parts or parts[-1] != (True, "%"):
                parts.append((True, character))
        else:
            literal.append(character)
    if literal:
        parts.append((False, "".join(literal)))
    return parts


def _simple_matcher(parts: list[tuple[bool, str]]) -> Matcher | None:
    match parts:
        case []:
            return lambda text: not text
        case [(True, "%")]:
            return lambda text: True
        case [(False, whole)]:
            return lambda text: text == whole
        case [(False, head), (True, "%")]:
            return lambda text: text.startswith(head)
        case [(True, "%"), (False, tail)]:
            return lambda text: text.endswith(tail)
        case [(True, "%"), (False, inside), (True, "%")]:
            return lambda text: inside in text
        case _:
            return None


def _regex_matcher(pattern: str, flags: int) -> Matcher:
    try:
        search = re.compile(pattern, flags).search
    except re.error as error:
        raise DataError(f"invalid regular expression: {error.msg}", sqlstate="2201B") from None
    return lambda text: search(text) is not None
