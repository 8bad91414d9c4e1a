"""The one registry of functions and operators: what the binder looks up and executors call.

A scalar function or operator is a set of overloads under one name; the binder picks the overload
by argument types (PostgreSQL's rules, in short: exact match, then fewest implicit casts) and
stores the chosen record in the bound tree, so an executor never looks a name up.

Invariants
1. Overloads of one name have different `arg_types`.
2. `implementation` of a `strict` function never sees None: any NULL argument gives NULL before
   the call. Executors rely on it.
3. `implementation` takes and gives runtime forms (engine.types) of `arg_types` / `return_type`.
4. When `operator` is set, `a <operator> b` in Python, followed by the range check named by
   `check`, equals `implementation(a, b)`: executors may inline it.

What it does not do: type resolution (engine.sql.binder.calls), window functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from engine.types import SqlType

Implementation = Callable[..., Any]


class ScalarFunction(msgspec.Struct, frozen=True, gc=False):
    """One overload.

    arg_types     declared types; with `variadic` the last one repeats (zero or more times)
    return_type   of the result; ANY means "the type of the first ANY argument"
    strict        any NULL argument gives NULL, and the implementation is not called
    volatile      two calls with the same arguments may differ (now(), random())
    operator      Python infix ('+', '-', …) an executor may inline, or None
    check         range to check after inlining: 'int16', 'int32', 'int64', 'float32', 'float64'
                  (finite unless an operand is infinite), or None
    example       (SQL text, its result as text) for docs/sql.md, run by a test
    """

    name: str
    arg_types: tuple[SqlType, ...]
    return_type: SqlType
    implementation: Implementation
    strict: bool = True
    volatile: bool = False
    operator: str | None = None
    check: str | None = None
    variadic: bool = False
    category: str = ""
    doc: str = ""
    example: tuple[str, str] | None = None


class AggregateFunction(msgspec.Struct, frozen=True, gc=False):
    """One overload of an aggregate.

    init() -> state; step(state, *args) -> state; final(state) -> value.
    strict  rows where any argument is NULL are skipped (all but count(*), which has no argument)
    """

    name: str
    arg_types: tuple[SqlType, ...]
    return_type: SqlType
    init: Callable[[], Any]
    step: Implementation
    final: Callable[[Any], Any]
    strict: bool = True
    category: str = "aggregate"
    doc: str = ""
    example: tuple[str, str] | None = None


ANY = SqlType("any")
"""Stands for any one type in arg_types and return_type; never the type of a value."""

_SCALARS: dict[str, list[ScalarFunction]] = {}
_AGGREGATES: dict[str, list[AggregateFunction]] = {}


def register_scalar(function: ScalarFunction) -> ScalarFunction:
    """Add an overload. Asserts invariant 1."""
    overloads = _SCALARS.setdefault(function.name, [])
    assert all(other.arg_types != function.arg_types for other in overloads), function
    overloads.append(function)
    return function


def register_aggregate(function: AggregateFunction) -> AggregateFunction:
    """Add an overload. Asserts invariant 1."""
    overloads = _AGGREGATES.setdefault(function.name, [])
    assert all(other.arg_types != function.arg_types for other in overloads), function
    overloads.append(function)
    return function


def scalar_overloads(name: str) -> list[ScalarFunction]:
    """Every overload of a scalar function or operator; [] when there is none."""
    return _SCALARS.get(name, [])


def aggregate_overloads(name: str) -> list[AggregateFunction]:
    """Every overload of an aggregate; [] when there is none."""
    return _AGGREGATES.get(name, [])


def function_names() -> list[str]:
    """Names a user can call (operators left out), sorted; for candidates and completion."""
    names = {name for name in _SCALARS if name[0].isalpha()}
    return sorted(names | set(_AGGREGATES))


def all_scalars() -> list[ScalarFunction]:
    """Every scalar overload, operators included, in order of registration."""
    return [function for overloads in _SCALARS.values() for function in overloads]


def all_aggregates() -> list[AggregateFunction]:
    """Every aggregate overload, in order of registration."""
    return [function for overloads in _AGGREGATES.values() for function in overloads]
