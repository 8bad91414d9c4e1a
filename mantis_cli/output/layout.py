"""What every writer shares: options, batches of rows, columns of text, the row cap.

A writer is a generator function `(columns, rows, options) -> Iterator[str | bytes]`: it takes
rows in batches, turns a batch column by column (three times as fast as row by row: one type, one
converter, C loops) and yields one chunk a batch. So memory is bounded by a batch whatever the
result's size. `columns` are `OutputColumn`s or anything with `.name` and `.type`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import msgspec

from engine.types import SqlType

BATCH_ROWS = 512


class ColumnLike(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def type(self) -> SqlType: ...


class Options(msgspec.Struct, frozen=True):
    """How to write.

    null      text of NULL, or None for the format's own (bare, `\\N`, NULL, null)
    header    column names
    footer    the row count under a table
    width     columns of the terminal to fit into, or None not to cut anything
    color     NULLs dim, names bold
    unicode   lines drawn with box characters
    note      called with one line of narration (a cut, a NaN written as null)
    show_all  what a person types to see the rows that the cap hid
    """

    null: str | None = None
    header: bool = True
    footer: bool = True
    width: int | None = None
    color: bool = False
    unicode: bool = True
    note: Callable[[str], None] = lambda _text: None
    show_all: str = "--max-rows 0"


Rows = Iterable[Sequence[Any]]
Columns = Sequence[ColumnLike]
Chunks = Iterator["str | bytes"]
Writer = Callable[[Columns, Rows, Options], Chunks]


def batches(rows: Rows, size: int = BATCH_ROWS) -> Iterator[list[Sequence[Any]]]:
    """Rows in lists of up to `size`."""
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch


def column_texts(convert: Callable[[Any], str], values: Sequence[Any], null: str) -> list[str]:
    """A column's values as texts, NULLs as `null`."""
    if None in values:
        return [null if value is None else convert(value) for value in values]
    return list(map(convert, values))


class Counter:
    """Iterates over rows up to a cap and counts; `finish` counts what the cap hid."""

    __slots__ = ("_cap", "_rows", "count", "hidden")

    def __init__(self, rows: Rows, cap: int | None = None) -> None:
        self._rows = iter(rows)
        self._cap = cap
        self.count = 0
        self.hidden = 0

    def __iter__(self) -> Iterator[Sequence[Any]]:
        rows = self._rows if self._cap is None else islice(self._rows, self._cap)
        for row in rows:
            self.count += 1
            yield row

    def finish(self) -> None:
        """Read what is left, so that a cut can be announced with its size."""
        for _ in self._rows:
            self.hidden += 1
