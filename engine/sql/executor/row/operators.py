"""Operators that are no pipeline stages: sort, distinct, limit, set operations, full joins, values.

Each `*_operator` takes the inputs' `Open`s and gives an `Open` (context.py).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice
from operator import itemgetter
from typing import Any, TypeAlias

from engine.errors import DataError
from engine.sql.executor.row.context import Context, Open
from engine.types import SqlType, comparison_key

Rows: TypeAlias = Iterator[tuple[Any, ...]]
KeyFunction: TypeAlias = Callable[[tuple[Any, ...]], Any]
SortPass: TypeAlias = tuple[KeyFunction, bool]
"""(key of a row, descending); sorting by the passes last to first gives the whole order."""


# ── sorting ──────────────────────────────────────────────────────────────────────────────────
def sort_rows(rows: list[Any], passes: list[SortPass]) -> None:
    """Sort in place; stable, so later passes decide first."""
    for key, reverse in reversed(passes):
        rows.sort(key=key, reverse=reverse)


def sort_operator(source: Open, passes: list[SortPass]) -> Open:
    def run(x: Context) -> Rows:
        rows = list(source(x))
        x.poll()
        sort_rows(rows, passes)
        return iter(rows)

    return run


def top_operator(
    source: Open,
    passes: list[SortPass],
    bounds: Callable[[Context], tuple[int | None, int]],
) -> Open:
    """The first rows of the order: the buffer is sorted and cut whenever it is full."""

    def run(x: Context) -> Rows:
        limit, offset = bounds(x)
        if limit is None:
            rows = list(source(x))
            sort_rows(rows, passes)
            return iter(rows)
        wanted = limit + offset
        best: list[Any] = []
        found = source(x)
        size = min(max(4 * wanted, 1024), sys.maxsize)
        while chunk := list(islice(found, size)):
            best += chunk
            sort_rows(best, passes)
            del best[wanted:]
        return iter(best)

    return run


# ── limit, distinct, sets ────────────────────────────────────────────────────────────────────
def limit_operator(source: Open, bounds: Callable[[Context], tuple[int | None, int]]) -> Open:
    def run(x: Context) -> Rows:
        limit, offset = bounds(x)
        if limit == 0:
            return iter(())
        end = None if limit is None or offset + limit > sys.maxsize else offset + limit
        return islice(source(x), offset, end)

    return run


def require_bound(value: Any, name: str) -> int | None:
    """A LIMIT or OFFSET value; None is no limit. Raises DataError 2201W, 2201X."""
    if value is None:
        return None
    if value < 0:
        raise DataError(
            f"{name} must not be negative", sqlstate="2201W" if name == "LIMIT" else "2201X"
        )
    return int(value)


def row_key(types: list[SqlType]) -> KeyFunction | None:
    """What equal rows share: None when the row itself does."""
    conversions = [comparison_key(sql_type) for sql_type in types]
    if all(convert is None for convert in conversions):
        return None

    def key(row: tuple[Any, ...]) -> Any:
        return tuple(
            [
                value if value is None or convert is None else convert(value)
                for value, convert in zip(row, conversions, strict=True)
            ]
        )

    return key


def distinct_operator(source: Open, key: KeyFunction | None) -> Open:
    def run(x: Context) -> Rows:
        seen: set[Any] = set()
        add = seen.add
        for row in source(x):
            value = row if key is None else key(row)
            if value not in seen:
                add(value)
                yield row

    return run


def union_all_operator(left: Open, right: Open) -> Open:
    def run(x: Context) -> Rows:
        return chain(left(x), _later(right, x))

    return run


def _later(source: Open, x: Context) -> Rows:
    yield from source(x)


def set_operator(op: str, keep_all: bool, left: Open, right: Open, key: KeyFunction | None) -> Open:
    """INTERSECT and EXCEPT, with or without ALL; rows come from the left side."""
    wanted = op == "intersect"

    def run(x: Context) -> Rows:
        counts = Counter(right(x) if key is None else map(key, right(x)))
        done: set[Any] = set()
        for row in left(x):
            value = row if key is None else key(row)
            if keep_all:
                present = counts[value] > 0
                if present:
                    counts[value] -= 1
                if present is wanted:
                    yield row
            elif value not in done and (value in counts) is wanted:
                done.add(value)
                yield row

    return run


# ── joins that need both sides ───────────────────────────────────────────────────────────────
def full_join_operator(
    left: Open,
    right: Open,
    keys: tuple[Callable[[Context, Any], Any], Callable[[Context, Any], Any]] | None,
    matches: Callable[[Context, Any, Any], Any],
    widths: tuple[int, int],
) -> Open:
    """FULL JOIN; keys give None when they hold a NULL. Without keys every pair is tried."""
    left_nulls, right_nulls = (None,) * widths[0], (None,) * widths[1]

    def run(x: Context) -> Rows:
        rights = list(right(x))
        everything: Any = range(len(rights))
        table: dict[Any, list[int]] = {}
        if keys is not None:
            for index, row in enumerate(rights):
                value = keys[1](x, row)
                if value is not None:
                    table.setdefault(value, []).append(index)
        unmatched = dict.fromkeys(everything)
        for row in left(x):
            x.poll()
            found = False
            candidates = everything
            if keys is not None:
                value = keys[0](x, row)
                candidates = () if value is None else table.get(value, ())
            for index in candidates:
                if matches(x, row, rights[index]):
                    found = True
                    unmatched.pop(index, None)
                    yield row + rights[index]
            if not found:
                yield row + right_nulls
        for index in unmatched:
            yield left_nulls + rights[index]

    return run


# ── common tables, values ────────────────────────────────────────────────────────────────────
def common_operator(source: Open, cte_id: int) -> Open:
    """Computed by the first scan of an execution; the others read the stored rows."""

    def run(x: Context) -> Rows:
        key = ("cte", cte_id)
        rows = x.memo.get(key)
        if rows is None:
            rows = x.memo[key] = list(source(x))
        return iter(rows)

    return run


def one_row(x: Context) -> Rows:
    return iter(((),))


def no_rows(x: Context) -> Rows:
    return iter(())


def count_operator(tree_id: int) -> Open:
    def run(x: Context) -> Rows:
        return iter(((x.reader.count(tree_id),),))

    return run


def gather(indexes: tuple[int, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Parameters by their indexes, as a tuple."""
    if len(indexes) == 1:
        index = indexes[0]
        return lambda params: (params[index],)
    if not indexes:
        return lambda params: ()
    return itemgetter(*indexes)
