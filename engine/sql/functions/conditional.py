"""COALESCE, NULLIF, GREATEST, LEAST over values of one type; NULL is an argument like another.

The binder makes CASE of the first two where it can; these are for arguments that must be evaluated
just once (subqueries, random()).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Key = Callable[[Any], Any] | None

FORMS = (
    (
        "coalesce(a, b, …)",
        "the first that is not NULL; later ones are not evaluated (also `ifnull`)",
        "coalesce(NULL, 1, 2)",
        "1",
    ),
    ("nullif(a, b)", "NULL when both are equal, else a", "coalesce(nullif('x', 'x'), 'y')", "y"),
    ("greatest(a, b, …)", "the greatest that is not NULL", "greatest(1, NULL, 3)", "3"),
    ("least(a, b, …)", "the least that is not NULL", "least(1, NULL, 3)", "1"),
    (
        "iif(condition, a, b)",
        "a when the condition is true, else b",
        "iif(1 < 2, 'yes', 'no')",
        "yes",
    ),
    ("pg_typeof(x)", "name of the type of x (also `typeof`)", "pg_typeof(1.5)", "numeric"),
)
"""Forms the binder makes itself: (signature, what it gives, example, its result as text)."""


def first_not_null(*values: Any) -> Any:
    """The first value that is not NULL."""
    for value in values:
        if value is not None:
            return value
    return None


def null_if(key: Key) -> Callable[[Any, Any], Any]:
    """NULL when both are equal as SQL compares them, else the first."""

    def apply(a: Any, b: Any) -> Any:
        if a is None or b is None:
            return a
        equal = a == b if key is None else key(a) == key(b)
        return None if equal else a

    return apply


def extreme(pick: Callable[..., Any], key: Key) -> Callable[..., Any]:
    """The greatest or least of the values that are not NULL."""

    def apply(*values: Any) -> Any:
        present = [value for value in values if value is not None]
        return pick(present, key=key) if present else None

    return apply


def implementation(name: str, key: Key) -> Callable[..., Any]:
    """The form `name` for a type whose comparison key is `key` (engine.types.comparison_key)."""
    if name == "coalesce":
        return first_not_null
    if name == "nullif":
        return null_if(key)
    return extreme(max if name == "greatest" else min, key)
