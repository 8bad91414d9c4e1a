"""Secondary index maintenance: from a row before and after to the index entries that change.

An index is a tree whose keys are (columns…, table key) and whose rows are empty. Everything here
is a pure function of rows in storage form; who locks and writes is above.

Invariants
1. An entry exists exactly when its table row does: entries are derived, never edited.
2. A unique index forbids two entries with one prefix (columns without the table key), unless a
   column of it is NULL.

What it does not do: know names or types (a codec encodes), find rows, check uniqueness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from engine.storage.store import Key, Row


class EntryCodec(Protocol):
    """engine.keys.IndexKeyCodec."""

    encode: Callable[[Row, Key], bytes]

    def prefix_range(self, values: Row) -> tuple[bytes, bytes | None]: ...


class IndexEntries:
    """One index of a table. positions: its columns' positions in the table's rows."""

    __slots__ = ("codec", "encode", "index_id", "positions", "unique")

    def __init__(
        self, index_id: int, positions: Sequence[int], unique: bool, codec: EntryCodec
    ) -> None:
        self.index_id = index_id
        self.positions = tuple(positions)
        self.unique = unique
        self.codec = codec
        self.encode = codec.encode

    def values(self, row: Row) -> Row:
        """The indexed columns of a row."""
        return tuple([row[i] for i in self.positions])

    def entry(self, key: Key, row: Row) -> bytes:
        """The index key of a table row."""
        return self.encode(tuple([row[i] for i in self.positions]), key)

    def unique_range(self, row: Row) -> tuple[bytes, bytes] | None:
        """[lo, hi) that a new row's prefix must find empty; None when nothing is forbidden."""
        if not self.unique:
            return None
        values = self.values(row)
        if None in values:
            return None  # Invariant 2
        lo, hi = self.codec.prefix_range(values)
        assert hi is not None  # a prefix starts with 01, so it has a successor
        return lo, hi

    def same_prefix(self, old_row: Row, new_row: Row) -> bool:
        """Whether the indexed columns are the same in both rows."""
        return self.values(old_row) == self.values(new_row)


def changed_entries(
    indexes: Sequence[IndexEntries],
    old_key: Key,
    old_row: Row,
    new_key: Key,
    new_row: Row,
) -> list[tuple[IndexEntries, bytes, bytes]]:
    """(index, entry to remove, entry to add) for each index whose entry differs."""
    changes = []
    for index in indexes:
        if old_key == new_key and index.same_prefix(old_row, new_row):
            continue
        old, new = index.entry(old_key, old_row), index.entry(new_key, new_row)
        if old != new:
            changes.append((index, old, new))
    return changes
