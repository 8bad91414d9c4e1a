"""Bulk build: a whole tree from rows that come sorted, leaves filled to the brim.

Rows or Arrow batches stream through: no more than a batch and the unfinished leaf is in memory,
besides one entry a leaf.

Invariants
1. Keys ascend strictly over the whole input; a step back or a duplicate is a bug of the caller
   (assert), because it would make a tree that loses rows.
2. All leaves but the last are full; the last may hold a single row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from engine.storage import branch
from engine.storage.arrow_rows import rows_from_batch, splice_vectorised, zone_maps
from engine.storage.branch import Child
from engine.storage.freespace import PageAllocator, PageSink
from engine.storage.leaf_rows import LeafRows, fitting_end, rows_from_pairs, splice
from engine.storage.page import TreeRoot
from engine.storage.store import Key, Row, TreeSpec
from engine.storage.tree_writer import TreeWriter

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 8192


def build_tree(
    spec: TreeSpec,
    rows: Iterable[tuple[Key, Row]],
    space: PageAllocator,
    sink: PageSink,
) -> TreeRoot:
    """A tree of sorted (key, row) pairs. Raises DiskFull, DataError for a key too long."""
    writer = TreeWriter(spec, space, sink)

    def chunks() -> Iterator[LeafRows]:
        pairs = iter(rows)
        while chunk := list(islice(pairs, CHUNK_ROWS)):
            for before, after in zip(chunk, islice(chunk, 1, None)):
                assert before[0] < after[0], "keys must ascend"  # type: ignore[operator]
            yield rows_from_pairs(chunk, writer.layout, writer.store_value)

    return _Builder(writer, splice).build(chunks())


def build_tree_from_batches(
    spec: TreeSpec,
    batches: Iterable[pa.RecordBatch],
    space: PageAllocator,
    sink: PageSink,
) -> TreeRoot:
    """A tree of sorted Arrow batches: fields in the order of spec.columns, preceded by the key
    where spec.key_column is None. Types are cast to the spec's. Field names do not matter."""
    writer = TreeWriter(spec, space, sink)

    def chunks() -> Iterator[LeafRows]:
        for batch in batches:
            if batch.num_rows:
                yield rows_from_batch(batch, writer.layout, writer.store_value)

    return _Builder(writer, splice_vectorised, zone_maps).build(chunks())


class _Builder:
    """Chunks of sorted rows into full leaves, and those into a tree.

    join: splice or its vectorised twin. zones_of: the zone maps of many leaves at once.
    """

    def __init__(
        self,
        writer: TreeWriter,
        join: Callable[..., LeafRows],
        zones_of: Callable[..., list[bytes]] | None = None,
    ) -> None:
        self.writer = writer
        self.join = join
        self.zones_of = zones_of
        self.children: list[Child] = []
        self.separator: Key = branch.lowest_key(writer.spec.key_kind)
        self.rest: LeafRows | None = None  # rows of an unfinished leaf

    def build(self, chunks: Iterable[LeafRows]) -> TreeRoot:
        last_key: Key | None = None
        for chunk in chunks:
            first_key = chunk.key(0)
            is_later = last_key is None or last_key < first_key  # type: ignore[operator]
            assert is_later, "keys must ascend"
            last_key = chunk.key(chunk.count - 1)
            self._add(chunk)
        rest = self.rest
        if rest is not None:
            self.children.append(self.writer.write_leaf(rest, 0, rest.count, self.separator))
        return self.writer.finish(self.children, 0, full=True)

    def _add(self, chunk: LeafRows) -> None:
        rows, start, rest = chunk, 0, self.rest
        if rest is not None:
            # The unfinished leaf takes as many rows as one leaf had; the others need not move.
            taken = min(chunk.count, self.children[-1].rows + 64 if self.children else chunk.count)
            head = self.join([rest, chunk], [(0, 0, rest.count), (1, 0, taken)])
            stop = self._write_full(head, 0, 1)
            if stop >= rest.count:
                start = stop - rest.count
            else:  # nothing was written, or not even all of the rest fitted
                segments = [(0, stop, rest.count), (1, 0, chunk.count)]
                rows = (
                    head
                    if not stop and taken == chunk.count
                    else self.join([rest, chunk], segments)
                )
        start = self._write_full(rows, start, rows.count)
        self.rest = self.join([rows], [(0, start, rows.count)]) if start else rows

    def _write_full(self, rows: LeafRows, first: int, at_most: int) -> int:
        """Write up to `at_most` leaves of the rows from `first` on, those that are surely full;
        returns where the others begin."""
        layout = self.writer.layout
        ends: list[int] = []
        start = first
        while len(ends) < at_most:
            stop = fitting_end(rows, layout, start, layout.capacity)
            if stop == rows.count:
                break  # this leaf may take more of the next chunk
            ends.append(stop)
            start = stop
        zones: Sequence[bytes | None] = [None] * len(ends)
        if self.zones_of is not None and ends:
            zones = self.zones_of(rows, layout, first, ends)
        start = first
        for stop, zone in zip(ends, zones):
            self.children.append(self.writer.write_leaf(rows, start, stop, self.separator, zone))
            self.separator = branch.separator_between(rows.key(stop - 1), rows.key(stop))
            start = stop
        return start
