"""JSON and JSON Lines files as blocks of text columns.

json    one array of objects (or one object)
jsonl   one object a line; empty lines are skipped

Values become text as the engine reads it: numbers their digits, booleans true and false, nested
values JSON text, `{"$base64": …}` a bytea. A key that an object lacks is NULL. What a column may be
follows from the JSON types seen: strings can be dates and times, but never numbers.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from engine.errors import DataError
from mantis_cli.signals import SIGNALS
from mantis_cli.transfer.delimited import (
    BLOCK_ROWS,
    Block,
    bad_record_error,
    column_names,
    text_block,
)
from mantis_cli.transfer.inputs import Input
from mantis_cli.transfer.records import BadRecord, Fields
from mantis_cli.transfer.rejects import Rejects

_STRING_KINDS = ("date", "timestamp", "timestamptz")


class JsonSource:
    """A JSON or JSONL file. `names`: all keys, in order of first appearance (they are found by
    reading the file once). kinds_of[i]: what column i may be."""

    careful = True
    detects_words = False  # JSON has its own null: "NA" is a text

    def __init__(self, source: Input, rejects: Rejects | None) -> None:
        self.source = source
        self.rejects = rejects
        kinds: dict[str, set[str]] = {}
        for _, record in self._objects(report=False):
            for key, value in record.items():
                if value is not None:
                    kinds.setdefault(key, set()).add(_json_kind(value))
                else:
                    kinds.setdefault(key, set())
        if not kinds:
            raise DataError(f"{source.name} holds no objects", sqlstate="22P04")
        self.keys = list(kinds)
        self.names = column_names(list(kinds))
        self.kinds_of: list[tuple[str, ...]] | None = [_possible(kinds[key]) for key in self.keys]

    def blocks(self) -> Iterator[Block]:
        rows = self._objects(report=True)
        while batch := list(islice(rows, BLOCK_ROWS)):
            SIGNALS.check()
            fields: list[Fields] = [
                [_text(record.get(key)) for key in self.keys] for _, record in batch
            ]
            yield text_block(fields, [line for line, _ in batch])

    def _objects(self, report: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        """(line, object) of each record; bad ones are rejected (once: when `report`) or raised."""
        records = self._lines() if self.source.format == "jsonl" else self._array()
        for record in records:
            if isinstance(record, tuple):
                yield record
            elif self.rejects is None:
                raise bad_record_error(self.source.name, record)
            elif report:
                self.rejects.add(record.line, record.reason, record.text)

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]] | BadRecord]:
        data, position, line = self.source.data, 0, 0
        while position < len(data):
            end = data.find(b"\n", position)
            end = len(data) if end < 0 else end + 1
            raw = bytes(data[position:end]).strip()
            position = end
            line += 1
            if line == 1 and raw[:3] == b"\xef\xbb\xbf":
                raw = raw[3:]
            if raw:
                yield _decoded(raw, line)

    def _array(self) -> Iterator[tuple[int, dict[str, Any]] | BadRecord]:
        data = bytes(self.source.data)
        data = data[3:] if data[:3] == b"\xef\xbb\xbf" else data
        try:
            decoded = msgspec.json.decode(data)
        except msgspec.DecodeError as error:
            raise DataError(
                f"{self.source.name}: not JSON: {_placed(str(error), data)}", sqlstate="22P04"
            ) from None
        records = [decoded] if isinstance(decoded, dict) else decoded
        if not isinstance(records, list):
            raise DataError(f"{self.source.name}: not an array of objects", sqlstate="22P04")
        for place, record in enumerate(records):
            if isinstance(record, dict):
                yield 0, record
            else:
                text = msgspec.json.encode(record).decode()
                yield BadRecord(0, f"element {place + 1} is not an object", text[:2000])


def _decoded(raw: bytes, line: int) -> tuple[int, dict[str, Any]] | BadRecord:
    try:
        record = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return BadRecord(line, f"not JSON: {error}", raw.decode("utf-8", "backslashreplace")[:2000])
    if not isinstance(record, dict):
        return BadRecord(line, "not a JSON object", raw.decode("utf-8", "backslashreplace")[:2000])
    return line, record


def _placed(message: str, data: bytes) -> str:
    """A decode error with the line of its byte position, where it tells one."""
    head, separator, tail = message.rpartition("(byte ")
    if not separator or not tail.rstrip(")").isdigit():
        return message
    line = data.count(b"\n", 0, int(tail.rstrip(")"))) + 1
    return f"{head.strip()} in line {line}"


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "double"
    if isinstance(value, str):
        return "string"
    return "bytes" if _base64_text(value) is not None else "nested"


def _possible(kinds: set[str]) -> tuple[str, ...]:
    """The detectable kinds of a column in which these JSON kinds occur."""
    if kinds == {"boolean"}:
        return ("boolean",)
    if kinds and kinds <= {"integer", "double"}:
        return ("integer", "double")
    if kinds == {"string"}:
        return _STRING_KINDS
    if kinds == {"bytes"}:
        return ("bytea",)
    return ("json",) if kinds and kinds <= {"nested"} else ()


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return _base64_text(value) or msgspec.json.encode(value).decode()


def _base64_text(value: Any) -> str | None:
    """The bytea text of {"$base64": …}, or None for any other value."""
    if not isinstance(value, dict) or list(value) != ["$base64"]:
        return None
    try:
        return "\\x" + base64.b64decode(value["$base64"], validate=True).hex()
    except (TypeError, ValueError, binascii.Error):
        return None
