"""The generated part of docs/sql.md: types, operators and functions, out of the registry.

`with_generated_parts(text)` replaces what stands between `<!-- begin: NAME -->` and
`<!-- end: NAME -->` for NAME types, operators, functions, aggregates. A test compares the file with
this, and runs every example.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable

from engine.sql.functions import conditional, registry
from engine.sql.functions.registry import AggregateFunction, ScalarFunction
from engine.types import KINDS, SqlType, type_names, type_text
from engine.types.kinds import parse_type_name

_PYTHON = {
    "boolean": ("true or false", "bool"),
    "smallint": ("whole number, 2 bytes", "int"),
    "integer": ("whole number, 4 bytes", "int"),
    "bigint": ("whole number, 8 bytes", "int"),
    "real": ("IEEE 754 single precision", "float"),
    "double": ("IEEE 754 double precision", "float"),
    "numeric": ("exact decimal; `numeric(p, s)` up to 1000 digits", "decimal.Decimal"),
    "text": ("text, compared by code point", "str"),
    "varchar": ("text; `varchar(n)` holds at most n characters", "str"),
    "char": ("text without trailing spaces; `char(n)` holds at most n characters", "str"),
    "bytea": ("bytes", "bytes"),
    "date": ("years 1 to 9999", "datetime.date"),
    "time": ("time of day in microseconds", "datetime.time"),
    "timestamp": ("date and time in microseconds", "datetime.datetime"),
    "timestamptz": ("an instant in microseconds, shown in UTC", "aware datetime.datetime"),
    "interval": ("months, days, microseconds", "datetime.timedelta or mantisdb.Interval"),
    "uuid": ("16 bytes", "uuid.UUID"),
    "json": ("JSON text, kept as written", "str"),
}


class _Name:
    """A type name as parse_type_name reads it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.args: tuple[int, ...] = ()
        self.span = (0, 0)


def types_table() -> str:
    """Every type with its aliases, meaning and Python class."""
    aliases: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name in type_names():
        aliases[parse_type_name(_Name(name)).kind].append(name)
    lines = ["| type | other names | holds | in Python |", "|---|---|---|---|"]
    for kind in KINDS:
        name = type_text(SqlType(kind))
        others = ", ".join(f"`{alias}`" for alias in aliases[kind] if alias != name)
        meaning, python = _PYTHON[kind]
        lines.append(f"| `{name}` | {others} | {meaning} | `{python}` |")
    return "\n".join(lines)


def _signature(name: str, types: Iterable[SqlType], variadic: bool = False) -> str:
    texts = [type_text(t) for t in types]
    return f"{name}({', '.join(texts)}{', …' if variadic else ''})"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def _example_cells(example: tuple[str, str] | None) -> str:
    if example is None:
        return " | "
    return f"`{_escape(example[0])}` | `{_escape(example[1])}`"


def operators_table() -> str:
    """Every operator of the registry with its types."""
    lines = ["| operator | operands | result |", "|---|---|---|"]
    for function in registry.all_scalars():
        if function.category != "operator":
            continue
        types = [type_text(t) for t in function.arg_types]
        result = type_text(function.return_type)
        lines.append(f"| `{_escape(function.name)}` | {', '.join(types)} | {result} |")
    return "\n".join(lines)


def functions_tables() -> str:
    """One table for each category of scalar functions."""
    categories: dict[str, dict[str, list[ScalarFunction]]] = {}
    for function in registry.all_scalars():
        if function.category != "operator":
            names = categories.setdefault(function.category, {})
            names.setdefault(function.name, []).append(function)
    parts = []
    for category, names in categories.items():
        lines = [f"### {category.capitalize()} functions", "", *_HEAD]
        for name in sorted(names):
            lines.append(_function_row(name, names[name]))
        parts.append("\n".join(lines))
    lines = ["### Conditional functions", "", *_HEAD]
    for form in conditional.FORMS:
        lines.append(f"| `{form[0]}` | {form[1]} | {_example_cells((form[2], form[3]))} |")
    parts.append("\n".join(lines))
    return "\n\n".join(parts)


_HEAD = ("| function | gives | example | result |", "|---|---|---|---|")


def _function_row(name: str, overloads: list[ScalarFunction]) -> str:
    signatures = ", ".join(f"`{_signature(name, f.arg_types, f.variadic)}`" for f in overloads)
    doc = max((f.doc for f in overloads), key=len)
    results = dict.fromkeys(type_text(f.return_type) for f in overloads)
    example = next((f.example for f in overloads if f.example is not None), None)
    return f"| {signatures} | {doc} ({', '.join(results)}) | {_example_cells(example)} |"


def aggregates_table() -> str:
    """Every aggregate, its overloads in one row."""
    names: dict[str, list[AggregateFunction]] = {}
    for function in registry.all_aggregates():
        names.setdefault(function.name, []).append(function)
    lines = [*_HEAD]
    for name in sorted(names):
        overloads = names[name]
        pairs = ", ".join(
            f"{', '.join(type_text(t) for t in f.arg_types) or '*'} → {type_text(f.return_type)}"
            for f in overloads
        )
        example = next((f.example for f in overloads if f.example is not None), None)
        lines.append(f"| `{name}` | {overloads[-1].doc}: {pairs} | {_example_cells(example)} |")
    return "\n".join(lines)


def examples() -> list[tuple[str, str, str]]:
    """(function name, SQL text, result as text) of every example."""
    found = []
    functions: list[ScalarFunction | AggregateFunction] = [*registry.all_scalars()]
    for function in functions + registry.all_aggregates():
        if function.example is not None:
            sql, result = function.example
            found.append((function.name, sql, result))
    found += [(form[0], form[2], form[3]) for form in conditional.FORMS]
    return list(dict.fromkeys(found))


_PARTS: dict[str, Callable[[], str]] = {
    "types": types_table,
    "operators": operators_table,
    "functions": functions_tables,
    "aggregates": aggregates_table,
}


def with_generated_parts(text: str) -> str:
    """The document with each marked part replaced by its generated text."""
    for name, make in _PARTS.items():
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        block = f"{begin}\n{make()}\n{end}"
        text = pattern.sub(lambda _, block=block: block, text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    sys.stdout.write(with_generated_parts(sys.stdin.read()))
