"""Order-preserving key bytes: comparing encoded keys as bytes orders rows as SQL does.

A key is the concatenation of its components; an index key ends with the table key.

component     bytes (before inversion for DESC)
NULL          02
any value     01, then:
boolean       1   00 or 01
integers, date, time, timestamp[tz], numeric(p≤18,s)
              8   big endian, biased by 2**63: any 64-bit bound can be encoded, so a look-up for
                  a value outside the column's range needs no care
real, double  8   IEEE 754 double; sign bit flipped, negatives inverted; -0 = 0, NaN greatest
text, json    n   UTF-8, 00 → 00 FF, ended by 00 00
bytea         n   as text
uuid          16  as it is
interval      16  big endian total µs (30-day months), biased by 2**127
numeric       n   class (00 -inf, 01 negative, 02 zero, 03 positive, 04 +inf, 05 NaN); for numbers
                  exponent (4, biased by 2**31) and ASCII digits, ended by 00; negatives inverted
table key     8   int: big endian, biased by 2**63;  bytes: n, as it is

Invariants
1. a < b in SQL's order (NULL last for ASC, first for DESC) if and only if encode(a) < encode(b).
2. Equal values (1.5 and 1.50, -0.0 and 0.0) have equal bytes; decode gives one of them.
3. No component's encoding is a prefix of another value's, so prefixes of keys are ranges.
   Exception: the last component of a KeyCodec, when ascending text or bytea, is neither escaped
   nor ended: nothing follows it.

Encoders are generated: one Python function per list of types, in which neighbouring fixed-width
components share one struct call. A generic loop takes 1.5 µs for two integers, this 0.35.

What it does not do: check ranges (values come from checked columns), know which columns are NOT
NULL (a key with a NULL takes the generic path).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias

from engine.types import INTEGER_KINDS, SqlType, is_scaled
from engine.types.dates import US_PER_DAY, interval_order

Key: TypeAlias = int | bytes
Parts: TypeAlias = tuple[tuple[SqlType, bool], ...]

_INVERT = bytes(255 - i for i in range(256))
_PACK_DOUBLE = struct.Struct(">d").pack
_UNPACK_DOUBLE = struct.Struct(">d").unpack
_INTERVAL = struct.Struct("<iiq")
INT_KEY_SHIFT = 2**63  # an index entry ends with its int table key plus this, 8 bytes big-endian
_SIGN = 1 << 63
_MASK = (1 << 64) - 1
_NAN_BITS = 0x7FF8 << 48
_INTERVAL_BIAS = 1 << 127
_NULL, _VALUE = b"\x02", b"\x01"
_FIXED_KINDS = INTEGER_KINDS | {"date", "time", "timestamp", "timestamptz"}


def successor(raw: bytes) -> bytes | None:
    """The smallest key above every key that starts with `raw`; None when there is none."""
    stripped = raw.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else None


# ── single values ────────────────────────────────────────────────────────────────────────────
def _double_bits(value: float) -> int:
    if value != value:
        return _NAN_BITS | _SIGN
    bits = int.from_bytes(_PACK_DOUBLE(value + 0.0), "big")  # + 0.0 turns -0.0 into 0.0
    return bits ^ _MASK if bits & _SIGN else bits | _SIGN


def _double_from_bits(bits: int) -> float:
    raw = bits ^ _SIGN if bits & _SIGN else bits ^ _MASK
    return float(_UNPACK_DOUBLE(raw.to_bytes(8, "big"))[0])


def _numeric_bytes(text: str) -> bytes:
    value = Decimal(text)
    if value.is_nan():
        return b"\x05"
    if value.is_infinite():
        return b"\x04" if value > 0 else b"\x00"
    if not value:
        return b"\x02"
    digits = "".join(map(str, value.as_tuple().digits)).lstrip("0")
    body = (value.adjusted() + (1 << 31)).to_bytes(4, "big")
    body += digits.rstrip("0").encode() + b"\x00"
    return b"\x03" + body if value > 0 else b"\x01" + body.translate(_INVERT)


def _numeric_from(raw: bytes, at: int) -> tuple[str, int]:
    kind = raw[at]
    if kind not in (1, 3):
        return {0: "-Infinity", 2: "0", 4: "Infinity", 5: "NaN"}[kind], at + 1
    end = raw.index(b"\xff" if kind == 1 else b"\x00", at + 5)
    body = raw[at + 1 : end]
    if kind == 1:
        body = body.translate(_INVERT)
    exponent = int.from_bytes(body[:4], "big") - (1 << 31)
    digits = tuple(octet - 48 for octet in body[4:])
    value = Decimal((int(kind == 1), digits, exponent - len(digits) + 1))
    return format(value, "f"), end + 1


def _interval_bytes(raw: bytes) -> bytes:
    return (interval_order(_INTERVAL.unpack(raw)) + _INTERVAL_BIAS).to_bytes(16, "big")


def _interval_from(raw: bytes) -> bytes:
    days, us = divmod(int.from_bytes(raw, "big") - _INTERVAL_BIAS, US_PER_DAY)
    months = 0
    if not -(2**31) <= days < 2**31:
        months, days = divmod(days, 30)
    return _INTERVAL.pack(months, days, us)


def _escaped_bytes(value: bytes) -> bytes:
    return value.replace(b"\x00", b"\x00\xff") + b"\x00\x00"


def _escaped_from(raw: bytes, at: int) -> tuple[bytes, int]:
    end = raw.index(b"\x00\x00", at)  # a 00 inside the value is followed by FF
    return raw[at:end].replace(b"\x00\xff", b"\x00"), end + 2


def _kind(sql_type: SqlType) -> str:
    """'fixed', 'bool', 'float', 'text', 'bytes', 'uuid', 'interval' or 'numeric'."""
    kind = sql_type.kind
    if kind in ("boolean", "real", "double"):
        return "bool" if kind == "boolean" else "float"
    if kind in _FIXED_KINDS or (kind == "numeric" and is_scaled(sql_type)):
        return "fixed"
    return {"numeric": "numeric", "bytea": "bytes", "uuid": "uuid", "interval": "interval"}.get(
        kind, "text"
    )


# ── generated encoders ───────────────────────────────────────────────────────────────────────
def _fixed_term(sql_type: SqlType, descending: bool, name: str) -> tuple[str, str]:
    """(struct code, Python expression) of a fixed-width component's value."""
    kind = _kind(sql_type)
    if kind == "bool":
        return "B", f"255 - {name}" if descending else name
    if kind == "float":
        return "Q", f"{_MASK} - double_bits({name})" if descending else f"double_bits({name})"
    return "Q", f"{_SIGN - 1} - {name}" if descending else f"{name} + {_SIGN}"


_BYTES_TERMS = {
    "text": "escaped({}.encode())",
    "bytes": "escaped({})",
    "uuid": "{}",
    "interval": "interval_bytes({})",
    "numeric": "numeric_bytes({})",
}


class _Builder:
    """Collects the expression of a key: runs of struct codes, then other byte strings."""

    def __init__(self) -> None:
        self.terms: list[str] = []
        self.codes = ""
        self.values: list[str] = []
        self.names: dict[str, Any] = {
            "double_bits": _double_bits,
            "escaped": _escaped_bytes,
            "interval_bytes": _interval_bytes,
            "numeric_bytes": _numeric_bytes,
            "INVERT": _INVERT,
        }

    def fixed(self, code: str, expression: str) -> None:
        self.codes += code
        self.values.append(expression)

    def flush(self) -> None:
        if self.codes:
            name = f"pack{len(self.names)}"
            self.names[name] = struct.Struct(">" + self.codes).pack
            self.terms.append(f"{name}({', '.join(self.values)})")
        self.codes, self.values = "", []

    def add(self, sql_type: SqlType, descending: bool, name: str, *, last: bool) -> None:
        kind = _kind(sql_type)
        if kind in ("fixed", "bool", "float"):
            self.fixed("B", "254" if descending else "1")
            self.fixed(*_fixed_term(sql_type, descending, name))
            return
        self.flush()
        term = _BYTES_TERMS[kind].format(name)
        if last and not descending and kind in ("text", "bytes"):
            term = f"{name}.encode()" if kind == "text" else name  # Invariant 3, exception
        self.terms.append("b'\\xfe'" if descending else "b'\\x01'")
        self.terms.append(f"({term}).translate(INVERT)" if descending else term)

    def function(self, arguments: str, unpack: str, guard: str, slow: Callable[..., bytes]) -> Any:
        self.flush()
        self.names["slow"] = slow
        source = (
            f"def encode({arguments}):\n    {unpack}\n    if {guard}: return slow({arguments})\n"
            f"    return {' + '.join(self.terms) or repr(b'')}\n"
        )
        exec(compile(source, "<key encoder>", "exec"), self.names)
        return self.names["encode"]


def _generate(parts: Parts, slow: Callable[..., bytes], table_key: str | None) -> Any:
    """table_key: None, 'int' or 'bytes'."""
    builder = _Builder()
    names = [f"v{i}" for i in range(len(parts))]
    for i, (sql_type, descending) in enumerate(parts):
        last = table_key is None and i == len(parts) - 1
        builder.add(sql_type, descending, names[i], last=last)
    if table_key == "int":
        builder.fixed("Q", f"table_key + {_SIGN}")
    elif table_key == "bytes":
        builder.flush()
        builder.terms.append("table_key")
    arguments = "values" if table_key is None else "values, table_key"
    unpack = f"{', '.join(names)}, = values" if names else "pass"
    guard = " or ".join(f"{name} is None" for name in names) or "False"
    return builder.function(arguments, unpack, guard, slow)


def _encode_part(sql_type: SqlType, descending: bool, value: Any, last: bool) -> bytes:
    """One component, any value; the slow path and prefixes."""
    if value is None:
        return _NULL.translate(_INVERT) if descending else _NULL
    kind = _kind(sql_type)
    if kind == "bool":
        body = b"\x01" if value else b"\x00"
    elif kind == "float":
        body = _double_bits(value).to_bytes(8, "big")
    elif kind == "fixed":
        body = (value + _SIGN).to_bytes(8, "big")
    elif kind in ("text", "bytes"):
        raw = value.encode() if kind == "text" else value
        body = raw if last and not descending else _escaped_bytes(raw)
    elif kind == "interval":
        body = _interval_bytes(value)
    else:
        body = _numeric_bytes(value) if kind == "numeric" else value
    encoded = _VALUE + body
    return encoded.translate(_INVERT) if descending else encoded


# ── decoding ─────────────────────────────────────────────────────────────────────────────────
def _decode_part(
    sql_type: SqlType, descending: bool, raw: bytes, at: int, last: bool
) -> tuple[Any, int]:
    """(value, offset after it)."""
    if descending:
        value, length = _decode_part(sql_type, False, raw[at:].translate(_INVERT), 0, False)
        return value, at + length
    if raw[at] == 2:
        return None, at + 1
    at += 1
    kind = _kind(sql_type)
    if kind in ("fixed", "bool", "float"):
        end = at + (1 if kind == "bool" else 8)
        number = int.from_bytes(raw[at:end], "big")
        if kind == "fixed":
            return number - _SIGN, end
        return (bool(number) if kind == "bool" else _double_from_bits(number)), end
    if kind in ("text", "bytes"):
        octets, end = (raw[at:], len(raw)) if last else _escaped_from(raw, at)
        return (octets.decode() if kind == "text" else octets), end
    if kind == "numeric":
        return _numeric_from(raw, at)
    return (raw[at : at + 16] if kind == "uuid" else _interval_from(raw[at : at + 16])), at + 16


def _decode_parts(parts: Parts, raw: bytes, ends_with_last: bool) -> tuple[tuple[Any, ...], int]:
    at = 0
    values: list[Any] = []
    for i, (sql_type, descending) in enumerate(parts):
        last = ends_with_last and i == len(parts) - 1
        value, at = _decode_part(sql_type, descending, raw, at, last)
        values.append(value)
    return tuple(values), at


# ── codecs ───────────────────────────────────────────────────────────────────────────────────
class KeyCodec:
    """Keys of a table whose primary key is not a single integer.

    encode(values) → bytes; values in storage form, one for each part.
    """

    __slots__ = ("encode", "parts")
    encode: Callable[[tuple[Any, ...]], bytes]

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.encode = _generate(parts, self._encode_slowly, None)

    def _encode_slowly(self, values: tuple[Any, ...]) -> bytes:
        last = len(self.parts) - 1
        return b"".join(
            _encode_part(sql_type, descending, values[i], i == last)
            for i, (sql_type, descending) in enumerate(self.parts)
        )

    def decode(self, raw: bytes) -> tuple[Any, ...]:
        return _decode_parts(self.parts, raw, True)[0]

    def prefix(self, values: tuple[Any, ...]) -> bytes:
        """The bytes that every key starting with these values starts with. For all values of a
        key that ends in ascending text this is the key itself, and also starts longer texts."""
        last = len(self.parts) - 1
        return b"".join(
            _encode_part(*self.parts[i], value, i == last) for i, value in enumerate(values)
        )

    def prefix_range(self, values: tuple[Any, ...]) -> tuple[bytes, bytes | None]:
        """[lo, hi) of the keys that start with `values`."""
        raw = self.prefix(values)
        sql_type, descending = self.parts[-1]
        if len(values) == len(self.parts) and not descending and _kind(sql_type) in _OPEN_KINDS:
            return raw, raw + b"\x00"
        return raw, successor(raw)


_OPEN_KINDS = ("text", "bytes")


class IndexKeyCodec:
    """Keys of a secondary index: the columns, then the table key.

    encode(values, table_key) → bytes; values in storage form, one for each part.
    """

    __slots__ = ("encode", "int_table_key", "parts", "prefix")
    encode: Callable[[tuple[Any, ...], Key], bytes]
    prefix: Callable[[tuple[Any, ...]], bytes]

    def __init__(self, parts: Parts, int_table_key: bool) -> None:
        self.parts = parts
        self.int_table_key = int_table_key
        self.encode = _generate(parts, self._encode_slowly, "int" if int_table_key else "bytes")
        self.prefix = self._choose_prefix()

    def _choose_prefix(self) -> Callable[[tuple[Any, ...]], bytes]:
        """Whole prefixes (the unique check) through generated code, partial ones by the loop."""
        whole = _generate(self.parts, lambda values, _: self._loop(values), "bytes")
        count, loop = len(self.parts), self._loop

        def prefix(values: tuple[Any, ...]) -> bytes:
            return bytes(whole(values, b"")) if len(values) == count else loop(values)

        return prefix

    def _loop(self, values: tuple[Any, ...]) -> bytes:
        return b"".join(
            _encode_part(*self.parts[i], value, False) for i, value in enumerate(values)
        )

    def _encode_slowly(self, values: tuple[Any, ...], table_key: Key) -> bytes:
        return self._loop(values) + self._table_key_bytes(table_key)

    def _table_key_bytes(self, table_key: Key) -> bytes:
        if isinstance(table_key, int):
            return (table_key + _SIGN).to_bytes(8, "big")
        return table_key

    def prefix_range(self, values: tuple[Any, ...]) -> tuple[bytes, bytes | None]:
        """[lo, hi) of the keys that start with `values` (any number of leading columns)."""
        raw = self.prefix(values)
        return raw, successor(raw)

    def table_key(self, raw: bytes) -> Key:
        """The table key at the end of an index key."""
        if self.int_table_key:
            return int.from_bytes(raw[-8:], "big") - _SIGN
        return raw[_decode_parts(self.parts, raw, False)[1] :]

    def decode(self, raw: bytes) -> tuple[tuple[Any, ...], Key]:
        """(values of the index columns, table key)."""
        values, end = _decode_parts(self.parts, raw, False)
        if self.int_table_key:
            return values, int.from_bytes(raw[end:], "big") - _SIGN
        return values, raw[end:]


@lru_cache(256)
def key_codec(parts: Parts) -> KeyCodec:
    """The codec for a list of (type, descending); made once."""
    return KeyCodec(parts)


@lru_cache(256)
def index_key_codec(parts: Parts, int_table_key: bool) -> IndexKeyCodec:
    """The codec for an index over (type, descending) columns; made once."""
    return IndexKeyCodec(parts, int_table_key)
