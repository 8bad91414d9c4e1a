"""CSV and TSV.

csv   RFC 4180 quoting; lines end in LF; NULL is a bare empty field and '' is `""`, so the two
      survive a round trip through `mantis import`. With --null STR, NULL is STR and a value that
      reads STR is quoted.
tsv   one line a row; tab, newline, carriage return and backslash in values are `\\t`, `\\n`, `\\r`,
      `\\\\`; NULL is `\\N` (or --null STR).

A value's control characters are data here and are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from engine.types import SqlType
from mantis_cli.output.layout import Chunks, Columns, Options, Rows, batches, column_texts
from mantis_cli.output.values import TEXTUAL, text_formatter

_CSV_SPECIAL = re.compile('[",\r\n]')
_TSV_SPECIAL = re.compile("[\t\r\n\\\\]")
_TSV_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}


def csv_quote(text: str) -> str:
    """`text` as a CSV field that is not NULL."""
    if text and _CSV_SPECIAL.search(text) is None:
        return text
    return '"' + text.replace('"', '""') + '"'


def tsv_escape(text: str) -> str:
    """`text` as a TSV field."""
    if _TSV_SPECIAL.search(text) is None:
        return text
    return _TSV_SPECIAL.sub(lambda match: _TSV_ESCAPES[match[0]], text)


def write_csv(columns: Columns, rows: Rows, options: Options) -> Chunks:
    null = options.null or ""

    def field(sql_type: SqlType) -> Callable[[Any], str]:
        to_text = text_formatter(sql_type)
        if not null:
            if sql_type.kind not in TEXTUAL:
                return to_text
            return csv_quote if to_text is str else lambda value: csv_quote(to_text(value))

        def quoted(value: Any) -> str:
            text = to_text(value)
            return f'"{text}"' if text == null else csv_quote(text)

        return quoted

    head = [csv_quote(column.name) for column in columns]
    return _write(columns, rows, options, ",", head, field, null)


def write_tsv(columns: Columns, rows: Rows, options: Options) -> Chunks:
    null = "\\N" if options.null is None else options.null

    def field(sql_type: SqlType) -> Callable[[Any], str]:
        to_text = text_formatter(sql_type)
        if sql_type.kind not in TEXTUAL and sql_type.kind != "bytea":
            return to_text
        return lambda value: tsv_escape(to_text(value))

    head = [tsv_escape(column.name) for column in columns]
    return _write(columns, rows, options, "\t", head, field, null)


def _write(
    columns: Columns,
    rows: Rows,
    options: Options,
    separator: str,
    head: Sequence[str],
    field: Callable[[SqlType], Callable[[Any], str]],
    null: str,
) -> Chunks:
    if options.header:
        yield separator.join(head) + "\n"
    converters = [field(column.type) for column in columns]
    for batch in batches(rows):
        texts = [
            column_texts(convert, values, null) for convert, values in zip(converters, zip(*batch))
        ]
        yield "\n".join(map(separator.join, zip(*texts))) + "\n"
