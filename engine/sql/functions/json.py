"""JSON: `->`, `->>`, and functions over JSON text.

A json value is its text. Reaching into it cuts out the very text of the part (numbers keep their
digits), because the decoder leaves parts raw.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from engine.errors import DataError
from engine.sql.functions.registry import ScalarFunction, register_scalar
from engine.types import BIGINT, BOOLEAN, INTEGER, JSON, TEXT, SqlType

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any = msgspec.json.Decoder().decode
_STEP = re.compile(r"\.([^.\[\]\"]+)|\.\"((?:[^\"\\]|\\.)*)\"|\[(\d+|#-\d+)\]")
_NAMES = {"{": "object", "[": "array", '"': "string", "t": "boolean", "f": "boolean", "n": "null"}


def _json(
    name: str,
    args: tuple[SqlType, ...],
    result: SqlType,
    implementation: Callable[..., Any],
    doc: str,
    example: tuple[str, str] | None = None,
    *,
    variadic: bool = False,
) -> None:
    register_scalar(
        ScalarFunction(
            name=name,
            arg_types=args,
            return_type=result,
            implementation=implementation,
            category="operator" if not name[0].isalpha() else "json",
            variadic=variadic,
            doc=doc,
            example=example,
        )
    )


def _kind(text: str) -> str:
    return _NAMES.get(text.lstrip()[:1], "number")


def _member(text: str, key: str) -> str | None:
    """The raw text of an object's member, or None."""
    if _kind(text) != "object":
        return None
    raw = _object(text).get(key)
    return None if raw is None else bytes(raw).decode().strip()


def _element(text: str, index: int) -> str | None:
    """The raw text of an array's element (negative counts from the end), or None."""
    if _kind(text) != "array":
        return None
    items = _array(text)
    if not -len(items) <= index < len(items):
        return None
    return bytes(items[index]).decode().strip()


def _as_text(raw: str | None) -> str | None:
    """A string without its quotes; JSON null is NULL; anything else is its text."""
    if raw is None or raw == "null":
        return None
    return str(_any(raw)) if raw[0] == '"' else raw


def _member_text(text: str, key: str) -> str | None:
    return _as_text(_member(text, key))


def _element_text(text: str, index: int) -> str | None:
    return _as_text(_element(text, index))


def _extract_path(text: str, *path: str) -> str | None:
    found: str | None = text
    for step in path:
        if found is None:
            return None
        if _kind(found) == "array":
            found = _element(found, int(step)) if re.fullmatch(r"-?\d+", step) else None
        else:
            found = _member(found, step)
    return found


def _extract(text: str, path: str) -> str | None:
    """SQLite's path: '$.a[0]."b c"'."""
    if path[:1] != "$":
        raise DataError(f"bad JSON path: {path!r}", sqlstate="2203C")
    found: str | None = text
    at = 1
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise DataError(f"bad JSON path: {path!r}", sqlstate="2203C")
        at = step.end()
        if found is None:
            continue
        if step[3] is not None:
            index = -int(step[3][2:]) if step[3][0] == "#" else int(step[3])
            found = _element(found, index)
        else:
            found = _member(found, step[1] if step[1] is not None else step[2])
    return found


def _array_length(text: str) -> int:
    if _kind(text) != "array":
        raise DataError("cannot get array length of a non-array", sqlstate="22023")
    return len(_array(text))


def _keys(text: str) -> str:
    if _kind(text) != "object":
        raise DataError("cannot get the keys of a non-object", sqlstate="22023")
    return msgspec.json.encode(list(_object(text))).decode()


def _is_valid(text: str) -> bool:
    try:
        _any(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _quote(text: str) -> str:
    return msgspec.json.encode(text).decode()


_SAMPLE = """JSON '{"a": [1, {"b": "x"}]}'"""


def _register_paths() -> None:
    sample = _SAMPLE
    _json("->", (JSON, TEXT), JSON, _member, "member of an object", (f"{sample} -> 'a' -> 0", "1"))
    _json("->", (JSON, INTEGER), JSON, _element, "element of an array")
    _json("->>", (JSON, TEXT), TEXT, _member_text, "member of an object, as text")
    _json(
        "->>",
        (JSON, INTEGER),
        TEXT,
        _element_text,
        "element of an array, as text",
        (f"{sample} -> 'a' ->> 0", "1"),
    )
    doc = "the part at a path of keys and positions"
    _json(
        "json_extract_path",
        (JSON, TEXT),
        JSON,
        _extract_path,
        doc,
        (f"json_extract_path({sample}, 'a', '0')", "1"),
        variadic=True,
    )
    _json(
        "json_extract_path_text",
        (JSON, TEXT),
        TEXT,
        lambda text, *path: _as_text(_extract_path(text, *path)),
        doc + ", as text",
        (f"json_extract_path_text({sample}, 'a', '1', 'b')", "x"),
        variadic=True,
    )
    _json(
        "json_extract",
        (JSON, TEXT),
        JSON,
        _extract,
        "the part at a path like '$.a[0]' (SQLite's)",
        (f"json_extract({sample}, '$.a[1].b')", '"x"'),
    )


def _register_tests() -> None:
    sample = _SAMPLE
    for name in ("json_typeof", "json_type"):
        _json(
            name,
            (JSON,),
            TEXT,
            _kind,
            "object, array, string, number, boolean or null",
            (f"{name}({sample})", "object"),
        )
    _json(
        "json_array_length",
        (JSON,),
        INTEGER,
        _array_length,
        "number of elements",
        ("json_array_length('[1,2,3]')", "3"),
    )
    _json(
        "json_keys",
        (JSON,),
        JSON,
        _keys,
        "an object's keys, as an array",
        (f"json_keys({sample})", '["a"]'),
    )
    _json(
        "json_valid",
        (TEXT,),
        BOOLEAN,
        _is_valid,
        "whether a text is JSON",
        ("json_valid('{')", "false"),
    )
    _json(
        "to_json", (TEXT,), JSON, _quote, "a text as a JSON string", ("to_json('a\"b')", '"a\\"b"')
    )
    _json("to_json", (BIGINT,), JSON, str, "a number as JSON")


_register_paths()
_register_tests()
