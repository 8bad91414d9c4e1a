"""Aggregates, with PostgreSQL's result types.

argument             sum        avg       stddev, variance
smallint, integer    bigint     numeric   numeric
bigint               numeric    numeric   numeric
numeric              numeric    numeric   numeric
real                 real       double    double
double               double     double    double
interval             interval   interval  -

All skip rows whose argument is NULL and give NULL for no rows, but count (0) and total (0.0).
States are values or lists that `step` changes in place: whoever runs an aggregate gives each group
its own `init()` and keeps what `step` returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from engine.sql.functions import operators
from engine.sql.functions.registry import ANY, AggregateFunction, register_aggregate
from engine.types import (
    BIGINT,
    BOOLEAN,
    BYTEA,
    DATE,
    DOUBLE,
    INTEGER,
    INTERVAL,
    NUMERIC,
    REAL,
    SMALLINT,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    UUID,
    SqlType,
    comparison_key,
    numbers,
)
from engine.types.dates import Interval

_INTEGERS = (SMALLINT, INTEGER, BIGINT)
_Step = Callable[..., Any]


def _nothing() -> None:
    return None


def _as_it_is(state: Any) -> Any:
    return state


def _aggregate(
    name: str,
    args: tuple[SqlType, ...],
    result: SqlType,
    step: _Step,
    *,
    init: Callable[[], Any] = _nothing,
    final: Callable[[Any], Any] = _as_it_is,
    doc: str = "",
    example: tuple[str, str] | None = None,
) -> None:
    register_aggregate(
        AggregateFunction(
            name=name,
            arg_types=args,
            return_type=result,
            init=init,
            step=step,
            final=final,
            doc=doc,
            example=example,
        )
    )


def _over(values: str, call: str) -> str:
    return f"SELECT {call} FROM (VALUES {values}) AS t(x)"


# ── count ────────────────────────────────────────────────────────────────────────────────────
def _count_step(state: int, *_: Any) -> int:
    return state + 1


_aggregate(
    "count",
    (),
    BIGINT,
    _count_step,
    init=int,
    doc="number of rows",
    example=(_over("(1), (NULL)", "count(*)"), "2"),
)
_aggregate(
    "count",
    (ANY,),
    BIGINT,
    _count_step,
    init=int,
    doc="number of rows where the argument is not NULL",
    example=(_over("(1), (NULL)", "count(x)"), "1"),
)


# ── sum, total, avg ──────────────────────────────────────────────────────────────────────────
def _add_step(state: Any, value: Any) -> Any:
    return value if state is None else state + value


def _checked_total(state: int | None) -> int | None:
    return None if state is None else _CHECK_BIGINT(state)


_CHECK_BIGINT = numbers.integer_checker("bigint")


def _decimal_total(state: int | None) -> Decimal | None:
    return None if state is None else Decimal(state)


def _add_numeric_step(state: Decimal | None, value: Decimal) -> Decimal:
    return value if state is None else numbers.add_numeric(state, value)


def _add_double_step(state: float | None, value: float) -> float:
    return value if state is None else numbers.checked_float(state + value, state, value)


def _add_real_step(state: float | None, value: float) -> float:
    return value if state is None else numbers.round_to_real(state + value)


def _add_interval_step(state: Interval | None, value: Interval) -> Interval:
    return value if state is None else operators.add_intervals(state, value)


def _register_sums() -> None:
    doc = "sum of the values"
    for integer in (SMALLINT, INTEGER):
        _aggregate("sum", (integer,), BIGINT, _add_step, final=_checked_total, doc=doc)
    example = (_over("(1), (2), (NULL)", "sum(x)"), "3")
    _aggregate("sum", (BIGINT,), NUMERIC, _add_step, final=_decimal_total, doc=doc, example=example)
    _aggregate("sum", (NUMERIC,), NUMERIC, _add_numeric_step, doc=doc)
    _aggregate("sum", (REAL,), REAL, _add_real_step, doc=doc)
    _aggregate("sum", (DOUBLE,), DOUBLE, _add_double_step, doc=doc)
    _aggregate("sum", (INTERVAL,), INTERVAL, _add_interval_step, doc=doc)
    _aggregate(
        "total",
        (DOUBLE,),
        DOUBLE,
        lambda state, value: state + value,
        init=float,
        doc="sum as double precision, 0 for no rows (SQLite's)",
        example=(_over("(1), (2)", "total(x)"), "3"),
    )


def _pair() -> list[Any]:
    return [None, 0]


def _mean_step(state: list[Any], value: Any) -> list[Any]:
    state[0] = value if state[0] is None else state[0] + value
    state[1] += 1
    return state


def _mean_numeric_step(state: list[Any], value: Decimal) -> list[Any]:
    state[0] = value if state[0] is None else numbers.add_numeric(state[0], value)
    state[1] += 1
    return state


def _mean_interval_step(state: list[Any], value: Interval) -> list[Any]:
    state[0] = value if state[0] is None else operators.add_intervals(state[0], value)
    state[1] += 1
    return state


def _numeric_mean(state: list[Any]) -> Decimal | None:
    if not state[1]:
        return None
    return numbers.divide_numeric(Decimal(state[0]), Decimal(state[1]))


def _double_mean(state: list[Any]) -> float | None:
    return state[0] / state[1] if state[1] else None


def _interval_mean(state: list[Any]) -> Interval | None:
    return operators.divide_interval(state[0], state[1]) if state[1] else None


def _register_means() -> None:
    doc = "arithmetic mean"
    example = (_over("(1), (2)", "avg(x)"), "1.5000000000000000")
    for integer in _INTEGERS:
        _aggregate(
            "avg",
            (integer,),
            NUMERIC,
            _mean_step,
            init=_pair,
            final=_numeric_mean,
            doc=doc,
            example=example,
        )
    _aggregate(
        "avg", (NUMERIC,), NUMERIC, _mean_numeric_step, init=_pair, final=_numeric_mean, doc=doc
    )
    for floating in (REAL, DOUBLE):
        _aggregate("avg", (floating,), DOUBLE, _mean_step, init=_pair, final=_double_mean, doc=doc)
    _aggregate(
        "avg", (INTERVAL,), INTERVAL, _mean_interval_step, init=_pair, final=_interval_mean, doc=doc
    )


# ── min, max ─────────────────────────────────────────────────────────────────────────────────
def _least_step(state: Any, value: Any) -> Any:
    return value if state is None or value < state else state


def _greatest_step(state: Any, value: Any) -> Any:
    return value if state is None or value > state else state


def _keyed_step(key: Callable[[Any], Any], least: bool) -> _Step:
    def step(state: Any, value: Any) -> Any:
        if state is None:
            return value
        below = key(value) < key(state)
        return value if below is least and key(value) != key(state) else state

    return step


def _register_extremes() -> None:
    kinds = (TEXT, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, INTERVAL, BYTEA, UUID)
    for sql_type in (*_INTEGERS, NUMERIC, REAL, DOUBLE, *kinds):
        key = comparison_key(sql_type)
        least = _least_step if key is None else _keyed_step(key, True)
        greatest = _greatest_step if key is None else _keyed_step(key, False)
        _aggregate(
            "min",
            (sql_type,),
            sql_type,
            least,
            doc="least value",
            example=(_over("(2), (1)", "min(x)"), "1"),
        )
        _aggregate(
            "max",
            (sql_type,),
            sql_type,
            greatest,
            doc="greatest value",
            example=(_over("(2), (1)", "max(x)"), "2"),
        )


# ── booleans and text ────────────────────────────────────────────────────────────────────────
def _register_logic() -> None:
    def every(state: bool | None, value: bool) -> bool:
        return value if state is None else state and value

    def some(state: bool | None, value: bool) -> bool:
        return value if state is None else state or value

    for name in ("bool_and", "every"):
        example = (_over("(true), (false)", f"{name}(x)"), "false")
        _aggregate(name, (BOOLEAN,), BOOLEAN, every, doc="true if all are true", example=example)
    example = (_over("(true), (false)", "bool_or(x)"), "true")
    _aggregate("bool_or", (BOOLEAN,), BOOLEAN, some, doc="true if any is true", example=example)


def _join_step(state: list[str], value: str, separator: str = ",") -> list[str]:
    if state:
        state.append(separator)
    state.append(value)
    return state


def _join_final(state: list[str]) -> str | None:
    return "".join(state) if state else None


def _register_joins() -> None:
    doc = "the values joined by the separator"
    for name, args, call in (
        ("string_agg", (TEXT, TEXT), "string_agg(x, '; ')"),
        ("group_concat", (TEXT, TEXT), "group_concat(x, '; ')"),
    ):
        example = (_over("('a'), ('b')", call), "a; b")
        _aggregate(
            name, args, TEXT, _join_step, init=list, final=_join_final, doc=doc, example=example
        )
    _aggregate(
        "group_concat",
        (TEXT,),
        TEXT,
        _join_step,
        init=list,
        final=_join_final,
        doc="the values joined by commas (SQLite's; takes any type)",
        example=(_over("(1), (2)", "group_concat(x)"), "1,2"),
    )


# ── variance and standard deviation ──────────────────────────────────────────────────────────
def _moments() -> list[Any]:
    return [0, 0.0, 0.0]  # count, mean, sum of squared differences (Welford 1962)


def _moments_step(state: list[Any], value: float) -> list[Any]:
    state[0] += 1
    delta = value - state[1]
    state[1] += delta / state[0]
    state[2] += delta * (value - state[1])
    return state


def _powers() -> list[Any]:
    return [0, Decimal(0), Decimal(0)]  # count, sum, sum of squares; exact


def _powers_step(state: list[Any], value: Any) -> list[Any]:
    number = Decimal(value)
    state[0] += 1
    state[1] = numbers.add_numeric(state[1], number)
    state[2] = numbers.add_numeric(state[2], numbers.multiply_numeric(number, number))
    return state


def _spread(sample: bool, root: bool, exact: bool) -> Callable[[list[Any]], Any]:
    def of_floats(state: list[Any]) -> float | None:
        count = state[0] - sample
        if state[0] == 0 or count == 0:
            return None
        variance = state[2] / count
        return math.sqrt(variance) if root else variance

    def of_numerics(state: list[Any]) -> Decimal | None:
        count, total, squares = state
        if count == 0 or count == sample:
            return None
        scaled = numbers.subtract_numeric(
            numbers.multiply_numeric(Decimal(count), squares),
            numbers.multiply_numeric(total, total),
        )
        if scaled <= 0:
            return Decimal(0)
        variance = numbers.divide_numeric(scaled, Decimal(count * (count - sample)))
        return numbers.square_root(variance) if root else variance

    return of_numerics if exact else of_floats


def _register_spreads() -> None:
    for names, sample, root, doc in (
        (("variance", "var_samp"), True, False, "sample variance"),
        (("var_pop",), False, False, "population variance"),
        (("stddev", "stddev_samp"), True, True, "sample standard deviation"),
        (("stddev_pop",), False, True, "population standard deviation"),
    ):
        for name in names:
            example = (_over("(2), (4)", f"round({name}(x), 2)"), _SPREAD_EXAMPLES[sample, root])
            for exact in (*_INTEGERS, NUMERIC):
                final = _spread(sample, root, True)
                _aggregate(
                    name,
                    (exact,),
                    NUMERIC,
                    _powers_step,
                    init=_powers,
                    final=final,
                    doc=doc,
                    example=example,
                )
            for floating in (REAL, DOUBLE):
                final = _spread(sample, root, False)
                _aggregate(
                    name, (floating,), DOUBLE, _moments_step, init=_moments, final=final, doc=doc
                )


_SPREAD_EXAMPLES = {
    (True, False): "2.00",
    (False, False): "1.00",
    (True, True): "1.41",
    (False, True): "1.00",
}

_register_sums()
_register_means()
_register_extremes()
_register_logic()
_register_joins()
_register_spreads()
