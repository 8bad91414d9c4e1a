"""Bulk build: a whole tree from rows that come sorted, leaves filled to the brim.

Rows or Arrow batches stream through: no more than a batch and the unfinished leaf is in memory,
besides one entry a leaf.

Invariants
1. Keys ascend strictly over the whole input; a step back or a duplicate is a bug of the caller
   (assert), because it would make a tree that loses rows.
2. All leaves but the last are full; the last may hold a single row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from engine.storage import branch
from engine.storage.arrow_rows import rows_from_batch, splice_vectorised
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

    return _build(writer, chunks())


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

    return _build(writer, chunks(), splice_vectorised)


def _build(
    writer: TreeWriter,
    chunks: Iterable[LeafRows],
    join: Callable[..., LeafRows] = splice,
) -> TreeRoot:
    layout = writer.layout
    children: list[Child] = []
    separator: Key = branch.lowest_key(writer.spec.key_kind)
    last_key: Key | None = None
    rest: LeafRows | None = None
    for chunk in chunks:
        first_key = chunk.key(0)
        is_later = last_key is None or last_key < first_key  # type: ignore[operator]
        assert is_later, "keys must ascend"
        last_key = chunk.key(chunk.count - 1)
        if rest is not None:
            chunk = join([rest, chunk], [(0, 0, rest.count), (1, 0, chunk.count)])
        start = 0
        while True:
            stop = fitting_end(chunk, layout, start, layout.capacity)
            if stop == chunk.count:
                break  # this leaf may take more of the next chunk
            children.append(writer.write_leaf(chunk, start, stop, separator))
            separator = branch.separator_between(chunk.key(stop - 1), chunk.key(stop))
            start = stop
        rest = join([chunk], [(0, start, chunk.count)]) if start else chunk
    if rest is not None:
        children.append(writer.write_leaf(rest, 0, rest.count, separator))
    return writer.finish(children, 0, full=True)
