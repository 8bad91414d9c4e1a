"""Delimited text read record by record: exact, with line numbers; the reference for the fast path.

CSV (RFC 4180): a field is quoted when its first character is `"`; inside, `""` is a quote and line
ends are data; after the closing quote comes a delimiter or the end of the line. A bare empty field
is NULL, `""` is the empty string. A quote inside an unquoted field is a plain character. Lines end
in LF, CRLF or CR LF mixed. Empty lines are skipped, except that in a file of one column they are
NULLs.

TSV: one record a line, fields cut at tabs; `\\t`, `\\n`, `\\r`, `\\\\` are escapes, `\\N` is NULL.

With `null`, an unquoted field that reads exactly that text is NULL instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

_QUOTED = re.compile('"((?:[^"]|"")*+)"')
_TSV_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TSV_CHARACTERS = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}

Fields: TypeAlias = list[str | None]


class Dialect(msgspec.Struct, frozen=True):
    """kind: 'csv' or 'tsv'. null: text of NULL, or None for the format's own."""

    kind: str
    delimiter: str
    null: str | None = None


class BadRecord(msgspec.Struct, frozen=True):
    """A record that is no record. line: 1-based line where it starts."""

    line: int
    reason: str
    text: str


Record: TypeAlias = "tuple[int, Fields] | BadRecord"


def read_records(data: bytes, dialect: Dialect) -> Iterator[Record]:
    """(line, fields) of each record, or a BadRecord. `data`: bytes-like, UTF-8, a BOM allowed."""
    lines = _decoded_lines(data)
    return _tsv(lines, dialect) if dialect.kind == "tsv" else _csv(lines, dialect)


def _decoded_lines(data: bytes) -> Iterator[tuple[int, str | None, bytes]]:
    """(line number, text with its line end or None when it is not UTF-8, raw bytes)."""
    position, line, size = 0, 0, len(data)
    if data[:3] == b"\xef\xbb\xbf":
        position = 3
    while position < size:
        end = data.find(b"\n", position)
        end = size if end < 0 else end + 1
        raw = bytes(data[position:end])
        position = end
        line += 1
        try:
            yield line, raw.decode(), raw
        except UnicodeDecodeError:
            yield line, None, raw


def _not_utf8(line: int, raw: bytes) -> BadRecord:
    return BadRecord(line, "not UTF-8 text", raw.decode("utf-8", "backslashreplace").rstrip("\r\n"))


def _tsv(lines: Iterator[tuple[int, str | None, bytes]], dialect: Dialect) -> Iterator[Record]:
    null = "\\N" if dialect.null is None else dialect.null
    for line, text, raw in lines:
        if text is None:
            yield _not_utf8(line, raw)
            continue
        text = text.rstrip("\r\n")
        fields: Fields = [
            None if field == null else _unescaped(field) for field in text.split(dialect.delimiter)
        ]
        yield line, fields


def _unescaped(field: str) -> str:
    if "\\" not in field:
        return field
    return _TSV_ESCAPE.sub(lambda match: _TSV_CHARACTERS.get(match[1], match[1]), field)


def _csv(lines: Iterator[tuple[int, str | None, bytes]], dialect: Dialect) -> Iterator[Record]:
    null = dialect.null or ""
    for line, text, raw in lines:
        if text is None:
            yield _not_utf8(line, raw)
            continue
        if '"' not in text:
            bare = text.rstrip("\r\n")
            yield (
                line,
                [None if field == null else field for field in bare.split(dialect.delimiter)],
            )
            continue
        parts, quote_count = [text], text.count('"')
        outcome = _quoted_fields(text, dialect.delimiter, null)
        while outcome is _OPEN:  # the quote goes on in the next line
            following = next(lines, None)
            if following is None:
                yield BadRecord(line, "a quote is opened here and never closed", _excerpt(text))
                return
            if following[1] is None:
                outcome = "not UTF-8 text"
                break
            parts.append(following[1])
            quote_count += following[1].count('"')
            if quote_count % 2 == 0:  # it cannot be closed before: a runaway quote costs O(n)
                text = "".join(parts)
                outcome = _quoted_fields(text, dialect.delimiter, null)
        if isinstance(outcome, str):
            yield BadRecord(line, outcome, _excerpt(text))
        else:
            assert isinstance(outcome, list)
            yield line, outcome


_OPEN = object()


def _quoted_fields(text: str, delimiter: str, null: str) -> object:
    """The fields of one record's text, _OPEN when a quote is not closed yet, or a reason (str)."""
    fields: Fields = []
    position, size = 0, len(text.rstrip("\r\n"))
    while True:
        if position < len(text) and text[position] == '"':
            match = _QUOTED.match(text, position)
            if match is None:
                return _OPEN
            end = match.end()
            size = max(size, end)
            if end < size and not text.startswith(delimiter, end):
                if text[end:size].strip("\r\n") == "":
                    size = end
                else:
                    return f"text after the closing quote of field {len(fields) + 1}"
            fields.append(match[1].replace('""', '"'))
        else:
            end = text.find(delimiter, position, size)
            end = size if end < 0 else end
            field = text[position:end]
            fields.append(None if field == null else field)
        if end >= size:
            return fields
        position = end + len(delimiter)


def _excerpt(text: str) -> str:
    text = text.rstrip("\r\n")
    return text if len(text) <= 2000 else text[:2000] + "…"
