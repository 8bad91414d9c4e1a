"""Which overload a call means: PostgreSQL's function type resolution, memoised by type kinds.

1. Keep overloads whose every parameter the argument matches or casts to implicitly.
2. Most exact matches win (an untyped argument matches nothing exactly; varchar is text).
3. Then most parameters of a preferred type (double, text, timestamptz, boolean, interval) where
   the match is not exact; then, for untyped arguments, text; then the narrowest numbers.
A tie that is left is 42725 for operators and functions alike.
"""

from __future__ import annotations

from typing import TypeAlias, TypeVar

from engine.sql.functions.registry import AggregateFunction, ScalarFunction
from engine.types import TEXT_KINDS, SqlType, can_cast

Overload = TypeVar("Overload", ScalarFunction, AggregateFunction)
Score: TypeAlias = tuple[int, int, int, int]

_PREFERRED = {"double": 1, "text": 1, "timestamptz": 1, "boolean": 1, "interval": 1}
_WIDTH = {"smallint": 0, "integer": 1, "bigint": 2, "numeric": 3, "real": 4, "double": 5}


def parameter_types(function: ScalarFunction | AggregateFunction, count: int) -> list[SqlType]:
    """The declared types of `count` arguments, the variadic one repeated; too few when the count
    does not fit."""
    types = list(function.arg_types)
    if isinstance(function, ScalarFunction) and function.variadic and count >= len(types) - 1:
        return types[:-1] + [types[-1]] * (count - len(types) + 1)
    return types


def choose_overload(overloads: list[Overload], types: list[SqlType]) -> Overload | str | None:
    """The overload, None when none fits, 'ambiguous' when several fit equally."""
    best: list[Overload] = []
    best_score: Score | None = None
    for overload in overloads:
        score = _score(parameter_types(overload, len(types)), types)
        if score is None or (best_score is not None and score < best_score):
            continue
        if best_score is None or score > best_score:
            best, best_score = [], score
        best.append(overload)
    if not best:
        return None
    return best[0] if len(best) == 1 else "ambiguous"


def _score(parameters: list[SqlType], types: list[SqlType]) -> Score | None:
    if len(parameters) != len(types):
        return None
    exact = preferred = text = narrow = 0
    for parameter, given in zip(parameters, types, strict=True):
        kind = parameter.kind
        if kind == "any":
            preferred += given.kind != "unknown"
        elif given.kind == kind or (kind == "text" and given.kind in TEXT_KINDS):
            exact += 1
        elif given.kind == "unknown":
            text += kind == "text"
            preferred += _PREFERRED.get(kind, 0)
        elif can_cast(given, parameter, "implicit"):
            preferred += _PREFERRED.get(kind, 0)
            narrow -= _WIDTH.get(kind, 0)
        else:
            return None
    return exact, text, preferred, narrow
