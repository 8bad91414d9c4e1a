"""Index maintenance: entries that change from one row to the next."""

from __future__ import annotations

from engine.keys import index_key_codec
from engine.storage.index import IndexEntries, changed_entries
from engine.types import INTEGER, TEXT


def index(unique: bool, *positions: int) -> IndexEntries:
    types = (INTEGER, TEXT, INTEGER)
    codec = index_key_codec(tuple((types[i], False) for i in positions), True)
    return IndexEntries(50, positions, unique, codec)


def test_entry_holds_columns_and_key() -> None:
    made = index(False, 1, 0)
    assert made.codec.decode(made.entry(7, (1, "x", 3))) == (("x", 1), 7)  # type: ignore[attr-defined]


def test_changes_only_where_columns_or_key_change() -> None:
    indexes = [index(False, 0), index(False, 1), index(False, 2, 1)]
    old, new = (1, "x", 3), (1, "y", 3)
    changes = changed_entries(indexes, 7, old, 7, new)
    assert [changed for changed, _, _ in changes] == indexes[1:]
    assert changes[0][1:] == (indexes[1].entry(7, old), indexes[1].entry(7, new))
    assert changed_entries(indexes, 7, old, 7, old) == []
    assert len(changed_entries(indexes, 7, old, 8, old)) == 3


def test_unique_range_holds_exactly_the_prefix() -> None:
    unique = index(True, 1)
    found = unique.unique_range((1, "x", 3))
    assert found is not None
    lo, hi = found
    assert lo <= unique.entry(-5, (0, "x", 0)) < hi
    assert lo <= unique.entry(2**62, (0, "x", 0)) < hi
    assert not lo <= unique.entry(0, (0, "xx", 0)) < hi
    assert unique.unique_range((1, None, 3)) is None
    assert index(False, 1).unique_range((1, "x", 3)) is None
