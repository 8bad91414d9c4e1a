"""PostgreSQL's text input and output forms, one function a type.

`parse_text(type)` gives text → runtime value, `format_text(type)` runtime value → text; None when
the text is the value. Bad text is DataError 22P02 (22007 for dates and times).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from engine.errors import DataError
from engine.types import dates, numbers
from engine.types.kinds import INTEGER_KINDS, SqlType, type_text

_TRUE_WORDS = ("true", "yes", "on", "1", "t", "y", "tr", "tru", "ye")
_FALSE_WORDS = ("false", "no", "off", "0", "f", "n", "fa", "fal", "fals", "of")
_INTEGER = re.compile(r"\s*[+-]?\d+\s*\Z", re.ASCII)
_HEX_PREFIX = "\\x"
_OCTAL = re.compile(r"\\(\\|[0-3][0-7]{2})")
_UUID = re.compile(r"\{?[0-9a-f]{4}(?:-?[0-9a-f]{4}){7}\}?\Z", re.I)
_decode_json = msgspec.json.Decoder().decode


def invalid_text(type_name: str, text: str, *, detail: str | None = None) -> DataError:
    """22P02 as PostgreSQL words it."""
    return DataError(
        f'invalid input syntax for type {type_name}: "{text}"', sqlstate="22P02", detail=detail
    )


def parse_boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE_WORDS:
        return True
    if word in _FALSE_WORDS:
        return False
    raise invalid_text("boolean", text)


def format_boolean(value: bool) -> str:
    return "true" if value else "false"


def integer_parser(kind: str) -> Callable[[str], int]:
    """Text → int of the kind; 22P02 or 22003."""
    check = numbers.integer_checker(kind)

    def parse(text: str) -> int:
        if _INTEGER.match(text) is None or len(text) > 4000:
            raise invalid_text(kind, text)
        try:
            return check(int(text))
        except DataError:
            message = f'value "{text}" is out of range for type {kind}'
            raise DataError(message, sqlstate="22003") from None

    return parse


def parse_real(text: str) -> float:
    return numbers.round_to_real(numbers.parse_float(text, "real"))


def parse_bytea(text: str) -> bytes:
    """'\\x00ff' (hex) or the escape form."""
    if text.startswith(_HEX_PREFIX):
        try:
            return bytes.fromhex(text[2:])
        except ValueError:
            raise invalid_text("bytea", text) from None
    raw = text.encode()
    if b"\\" not in raw:
        return raw
    if "\\" in _OCTAL.sub("", text):
        raise invalid_text("bytea", text)
    parts = _OCTAL.split(text)
    octets = [
        part.encode() if i % 2 == 0 else b"\\" if part == "\\" else bytes([int(part, 8)])
        for i, part in enumerate(parts)
    ]
    return b"".join(octets)


def format_bytea(value: bytes) -> str:
    return _HEX_PREFIX + value.hex()


def parse_uuid(text: str) -> bytes:
    if _UUID.match(text.strip()) is None:
        raise invalid_text("uuid", text)
    return bytes.fromhex(text.strip().strip("{}").replace("-", ""))


def format_uuid(value: bytes) -> str:
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def parse_json(text: str) -> str:
    """The text itself when it is valid JSON; 22P02 otherwise."""
    try:
        _decode_json(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid_text("json", text, detail=str(error)) from None
    return text


def length_fitter(sql_type: SqlType, explicit: bool) -> Callable[[str], str] | None:
    """Enforce VARCHAR(n)/CHAR(n): an explicit cast truncates, anything else is 22001 (unless
    only spaces are lost). None when there is no limit."""
    limit = sql_type.precision
    trim = sql_type.kind == "char"
    if limit is None:
        return (lambda text: text.rstrip(" ")) if trim else None

    def fit(text: str) -> str:
        if len(text) > limit:
            if not explicit and text[limit:].strip(" "):
                message = f"value too long for type {type_text(sql_type)}"
                raise DataError(message, sqlstate="22001")
            text = text[:limit]
        return text.rstrip(" ") if trim else text

    return fit


_PARSERS: dict[str, Callable[[str], Any]] = {
    "boolean": parse_boolean,
    "smallint": integer_parser("smallint"),
    "integer": integer_parser("integer"),
    "bigint": integer_parser("bigint"),
    "real": parse_real,
    "double": numbers.parse_float,
    "bytea": parse_bytea,
    "date": dates.parse_date,
    "time": dates.parse_time,
    "timestamp": dates.parse_timestamp,
    "timestamptz": dates.parse_timestamptz,
    "interval": dates.parse_interval,
    "uuid": parse_uuid,
    "json": parse_json,
}
_FORMATTERS: dict[str, Callable[[Any], str]] = {
    "boolean": format_boolean,
    "real": numbers.format_real,
    "double": numbers.format_double,
    "numeric": numbers.format_numeric,
    "bytea": format_bytea,
    "date": dates.format_date,
    "time": dates.format_time,
    "timestamp": dates.format_timestamp,
    "timestamptz": dates.format_timestamptz,
    "interval": dates.format_interval,
    "uuid": format_uuid,
}


def parse_text(sql_type: SqlType, *, explicit: bool = False) -> Callable[[str], Any] | None:
    """Text → runtime value of the type; None for text itself."""
    kind = sql_type.kind
    if kind == "numeric":
        fit = numbers.numeric_fitter(sql_type)
        if fit is None:
            return numbers.parse_numeric
        return lambda text: fit(numbers.parse_numeric(text))
    if kind in ("text", "unknown"):
        return None
    if kind in ("varchar", "char"):
        return length_fitter(sql_type, explicit)
    return _PARSERS[kind]


def format_text(sql_type: SqlType) -> Callable[[Any], str] | None:
    """Runtime value → text as PostgreSQL prints it (booleans as true/false); None for text."""
    if sql_type.kind in INTEGER_KINDS:
        return str
    return _FORMATTERS.get(sql_type.kind)
