"""SqlType, the names a user may call types by, and the families they form.

Invariants
1. A SqlType's `kind` is one of KINDS (or 'unknown', or 'any' in function signatures).
2. `char` values carry no trailing spaces at run time, so comparison and length need no care;
   CHAR(n) is a length limit only.
"""

from __future__ import annotations

import difflib
from typing import Any, Protocol, TypeAlias

import msgspec

from engine.errors import ProgrammingError

Value: TypeAlias = Any
Row: TypeAlias = tuple[Value, ...]


class SqlType(msgspec.Struct, frozen=True, gc=False):
    """A SQL type. kind: one of the names in the package header ('unknown' for an untyped string
    literal, parameter or NULL). precision: NUMERIC p, VARCHAR/CHAR n. scale: NUMERIC s."""

    kind: str
    precision: int | None = None
    scale: int | None = None


BOOLEAN = SqlType("boolean")
SMALLINT = SqlType("smallint")
INTEGER = SqlType("integer")
BIGINT = SqlType("bigint")
REAL = SqlType("real")
DOUBLE = SqlType("double")
NUMERIC = SqlType("numeric")
TEXT = SqlType("text")
BYTEA = SqlType("bytea")
DATE = SqlType("date")
TIME = SqlType("time")
TIMESTAMP = SqlType("timestamp")
TIMESTAMPTZ = SqlType("timestamptz")
INTERVAL = SqlType("interval")
UUID = SqlType("uuid")
JSON = SqlType("json")
UNKNOWN = SqlType("unknown")
UNDECIDED = SqlType("undecided")
"""Of a parameter whose meaning depends on its value's type (`? + ?`); see parameter_converter."""

KINDS = (
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double",
    "numeric",
    "text",
    "varchar",
    "char",
    "bytea",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "uuid",
    "json",
)
INTEGER_KINDS = frozenset(("smallint", "integer", "bigint"))
FLOAT_KINDS = frozenset(("real", "double"))
NUMBER_KINDS = INTEGER_KINDS | FLOAT_KINDS | {"numeric"}
TEXT_KINDS = frozenset(("text", "varchar", "char"))

INTEGER_RANGES: dict[str, tuple[int, int]] = {
    "smallint": (-(2**15), 2**15 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
MAX_NUMERIC_PRECISION = 1000
MAX_SCALED_PRECISION = 18  # numeric(p≤18, s) is stored as a scaled int64

_FAMILIES = {
    **dict.fromkeys(NUMBER_KINDS, "number"),
    **dict.fromkeys(TEXT_KINDS, "text"),
    "date": "datetime",
    "timestamp": "datetime",
    "timestamptz": "datetime",
}

_ALIASES: dict[str, str] = {
    "bool": "boolean",
    "boolean": "boolean",
    "smallint": "smallint",
    "int2": "smallint",
    "tinyint": "smallint",
    "int": "integer",
    "int4": "integer",
    "integer": "integer",
    "mediumint": "integer",
    "bigint": "bigint",
    "int8": "bigint",
    "real": "real",
    "float4": "real",
    "float": "double",
    "float8": "double",
    "double": "double",
    "double precision": "double",
    "numeric": "numeric",
    "decimal": "numeric",
    "dec": "numeric",
    "text": "text",
    "clob": "text",
    "string": "text",
    "varchar": "varchar",
    "character varying": "varchar",
    "char varying": "varchar",
    "nvarchar": "varchar",
    "char": "char",
    "character": "char",
    "nchar": "char",
    "bpchar": "char",
    "bytea": "bytea",
    "blob": "bytea",
    "binary": "bytea",
    "varbinary": "bytea",
    "date": "date",
    "time": "time",
    "time without time zone": "time",
    "timestamp": "timestamp",
    "timestamp without time zone": "timestamp",
    "datetime": "timestamp",
    "timestamptz": "timestamptz",
    "timestamp with time zone": "timestamptz",
    "interval": "interval",
    "uuid": "uuid",
    "json": "json",
    "jsonb": "json",
}
_PLAIN: dict[str, SqlType] = {kind: SqlType(kind) for kind in KINDS}
_WITH_LENGTH = ("varchar", "char")
_WITH_FRACTION = ("time", "timestamp", "timestamptz", "interval")
_NAMES = {
    "double": "double precision",
    "varchar": "character varying",
    "char": "character",
    "timestamp": "timestamp",
    "timestamptz": "timestamp with time zone",
}


class NamedType(Protocol):
    """What `parse_type_name` needs of a syntax node."""

    @property
    def name(self) -> str: ...
    @property
    def args(self) -> tuple[int, ...]: ...
    @property
    def span(self) -> tuple[int, int]: ...


def family(sql_type: SqlType) -> str:
    """'number', 'text', 'datetime', or the kind itself."""
    return _FAMILIES.get(sql_type.kind, sql_type.kind)


def type_names() -> list[str]:
    """Every name a type may be called by, sorted; for candidates and completion."""
    return sorted(_ALIASES)


def parse_type_name(node: NamedType) -> SqlType:
    """The type a name means. Raises ProgrammingError 42704 (unknown name, with candidates) or
    22023 (bad modifiers)."""
    kind = _ALIASES.get(node.name)
    if kind is None:
        close = difflib.get_close_matches(node.name, _ALIASES, 1)
        raise ProgrammingError(
            f'type "{node.name}" does not exist',
            sqlstate="42704",
            span=node.span,
            hint=f'Perhaps you meant "{close[0]}".' if close else None,
        )
    args = node.args
    if not args:
        return SqlType("char", 1) if kind == "char" and node.name != "bpchar" else _PLAIN[kind]
    return _with_modifiers(kind, args, node)


def _with_modifiers(kind: str, args: tuple[int, ...], node: NamedType) -> SqlType:
    if kind in _WITH_LENGTH and len(args) == 1:
        if args[0] < 1:
            raise _bad_modifier(node, f"length for type {node.name} must be at least 1")
        return SqlType(kind, args[0])
    if kind == "numeric" and len(args) <= 2:
        precision, scale = args[0], args[1] if len(args) == 2 else 0
        if not 1 <= precision <= MAX_NUMERIC_PRECISION:
            limit = f"between 1 and {MAX_NUMERIC_PRECISION}"
            raise _bad_modifier(node, f"NUMERIC precision {precision} must be {limit}")
        if not 0 <= scale <= precision:
            limit = f"between 0 and precision {precision}"
            raise _bad_modifier(node, f"NUMERIC scale {scale} must be {limit}")
        return SqlType("numeric", precision, scale)
    if node.name == "float" and len(args) == 1 and 1 <= args[0] <= 53:
        return REAL if args[0] <= 24 else DOUBLE
    if kind in _WITH_FRACTION and args == (6,):
        return _PLAIN[kind]
    if (kind in INTEGER_KINDS and len(args) == 1) or kind == "bytea":
        return _PLAIN[kind]  # int(11), blob(100): a display width in other systems, no limit here
    raise _bad_modifier(node, f'type modifier is not allowed for type "{node.name}"')


def _bad_modifier(node: NamedType, message: str) -> ProgrammingError:
    return ProgrammingError(message, sqlstate="22023", span=node.span)


def type_text(sql_type: SqlType) -> str:
    """The type as PostgreSQL spells it: 'numeric(10,2)', 'character varying(20)'."""
    name = _NAMES.get(sql_type.kind, sql_type.kind)
    if sql_type.precision is None:
        return name
    if sql_type.kind == "numeric":
        return f"{name}({sql_type.precision},{sql_type.scale or 0})"
    return f"{name}({sql_type.precision})"


def physical_kind(sql_type: SqlType) -> str:
    """How a column of this type is stored: one of storage.store.PHYSICAL_KINDS."""
    if sql_type.kind == "numeric":
        return "int64" if is_scaled(sql_type) else "utf8"
    return _PHYSICAL[sql_type.kind]


def is_scaled(sql_type: SqlType) -> bool:
    """True for numeric(p≤18, s), which is stored as int64 scaled by 10**s."""
    return sql_type.precision is not None and sql_type.precision <= MAX_SCALED_PRECISION


_PHYSICAL = {
    "boolean": "bool",
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "real": "float32",
    "double": "float64",
    "text": "utf8",
    "varchar": "utf8",
    "char": "utf8",
    "bytea": "binary",
    "date": "int32",
    "time": "int64",
    "timestamp": "int64",
    "timestamptz": "int64",
    "interval": "binary",
    "uuid": "binary",
    "json": "utf8",
}
