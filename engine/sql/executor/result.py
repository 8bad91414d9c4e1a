"""What a statement answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.sql.bound import OutputColumn


class Result(msgspec.Struct, gc=False):
    """What a statement answered.

    columns   output columns, or None for a statement without rows
    rows      iterator of tuples in runtime form (engine.types); when it has a close(), that ends
              it early
    rowcount  rows changed or produced; -1 while a large result is still streaming
    tag       'SELECT 3', 'INSERT 0 1', 'UPDATE 1', 'CREATE TABLE', 'BEGIN', … as in PostgreSQL
    """

    columns: tuple[OutputColumn, ...] | None
    rows: Iterator[tuple[Any, ...]]
    rowcount: int
    tag: str
