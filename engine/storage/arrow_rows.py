"""The vectorised half of building leaves: LeafRows from Arrow batches, and joined by Arrow.

pyarrow and numpy are imported when a function here first runs (0.1 s), so only large merges and
loads pay for them. A leaf's columns already have Arrow's layout, so going there and back copies
nothing; the two kernels that work are `concat_arrays` and `take`.

Invariants
1. utf8 travels as binary here: its bytes were validated where they entered, and overflow
   references are not text.
2. Bool columns and bitmaps stay Python integers (leaf_rows.py, Invariant 1) unless a kernel needs
   them; numpy packs and unpacks bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import DataError
from engine.storage import leaf_rows, page
from engine.storage.leaf import BINARY, BOOL, TYPECODES, UTF8, WIDTHS, arrow_type_of
from engine.storage.leaf_rows import ColumnRows, Layout, LeafRows, Segment

if TYPE_CHECKING:
    import pyarrow as pa


def rows_from_batch(
    batch: pa.RecordBatch, layout: Layout, store_value: Callable[[bytes], bytes]
) -> LeafRows:
    """An Arrow batch in leaf form, without copying fixed-width values or text.

    Columns as bulk_build.build_tree_from_batches says. Raises DataError for a NULL or too long
    key, and pyarrow's error for a value outside the spec's type."""
    spec = layout.spec
    offset = 0 if spec.key_column is not None else 1
    key = batch.column(spec.key_column if spec.key_column is not None else 0)
    columns = []
    for stored in layout.columns:
        array = key if stored.position < 0 else batch.column(stored.position + offset)
        columns.append(_column(array, stored.kind, layout, store_value))
    if columns[0].nulls:
        raise DataError("a key is NULL", sqlstate="23502")
    made = LeafRows(batch.num_rows, columns)
    _require_key_sizes(made, layout)
    if layout.can_overfill:
        leaf_rows.shrink_wide_rows(made, layout, store_value)
    return made


def _require_key_sizes(rows: LeafRows, layout: Layout) -> None:
    import numpy

    keys = rows.columns[0]
    if keys.offsets is None:
        return
    limit = page.max_key_size(layout.page_size)
    longest = int(numpy.diff(numpy.asarray(keys.offsets)).max())
    if longest > limit:
        raise DataError(f"a key of {longest} bytes is longer than {limit}", sqlstate="54000")


def _column(
    array: pa.Array, kind: int, layout: Layout, store_value: Callable[[bytes], bytes]
) -> ColumnRows:
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = arrow_type_of(kind)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.type != wanted:
        array = array.cast(wanted)
    if kind >= UTF8:
        threshold = page.overflow_threshold(layout.page_size)
        longest = pc.max(pc.binary_length(array)).as_py() or 0
        if longest > threshold:
            values = array.to_pylist()
            return leaf_rows.column_from_values(kind, values, threshold, store_value)
    if array.null_count:
        array = _zeroed(array, kind)
    return _from_arrow(array, kind)


def _zeroed(array: pa.Array, kind: int) -> pa.Array:
    """The same array with zero values (or no bytes) in the slots of NULLs, so that equal rows
    make equal pages."""
    import numpy
    import pyarrow as pa
    import pyarrow.compute as pc

    empty = False if kind == BOOL else "" if kind == UTF8 else b"" if kind == BINARY else 0
    filled = pc.fill_null(array, pa.scalar(empty, array.type))
    validity = pa.py_buffer(numpy.packbits(_valid(array), bitorder="little").tobytes())
    buffers = filled.buffers()
    return pa.Array.from_buffers(
        array.type, len(array), [validity, *buffers[1:]], array.null_count, filled.offset
    )


def _valid(array: pa.Array) -> Any:
    return array.is_valid().to_numpy(zero_copy_only=False)


def _from_arrow(array: pa.Array, kind: int) -> ColumnRows:
    """A column over an Arrow array's own memory."""
    import numpy

    count, start = len(array), array.offset
    nulls = 0
    if array.null_count:
        nulls = _as_bitmap(~_valid(array))
    buffers = array.buffers()
    if kind == BOOL:
        packed = array.fill_null(False) if array.null_count else array
        return ColumnRows(kind, b"", None, nulls, 0, _as_bitmap(packed.to_numpy(False)))
    if kind < UTF8:
        width = WIDTHS[kind]
        whole = memoryview(buffers[1]).cast("B")
        return ColumnRows(kind, whole[start * width : (start + count) * width], None, nulls)
    offsets = numpy.frombuffer(buffers[1], dtype="<i4")[start : start + count + 1]
    data = memoryview(buffers[2]).cast("B") if buffers[2] is not None else memoryview(b"")
    return ColumnRows(kind, data, memoryview(offsets), nulls)  # type: ignore[arg-type]


def _as_bitmap(marks: Any) -> int:
    import numpy

    return int.from_bytes(numpy.packbits(marks, bitorder="little").tobytes(), "little")


def splice_vectorised(sources: Sequence[LeafRows], segments: Sequence[Segment]) -> LeafRows:
    """As leaf_rows.splice, by concatenate and take: its cost hardly grows with the segments."""
    import numpy
    import pyarrow as pa

    bases = numpy.cumsum([0] + [source.count for source in sources])[:-1]
    table = numpy.array(segments, dtype=numpy.int64)
    lengths = table[:, 2] - table[:, 1]
    starts = bases[table[:, 0]] + table[:, 1]
    ends = numpy.cumsum(lengths)
    count = int(ends[-1])
    rows = numpy.arange(count) + numpy.repeat(starts - (ends - lengths), lengths)
    indices = pa.array(rows)
    columns = []
    for number, first in enumerate(sources[0].columns):
        parts = [source.columns[number] for source in sources]
        counts = [source.count for source in sources]
        kind = first.kind
        nulls = _take_bits([part.nulls for part in parts], counts, rows)
        if kind == BOOL:
            bits = _take_bits([part.bits for part in parts], counts, rows)
            columns.append(ColumnRows(kind, b"", None, nulls, 0, bits))
            continue
        if kind < UTF8:
            code = TYPECODES[kind]
            values = numpy.concatenate([numpy.frombuffer(part.data, code) for part in parts])
            taken = memoryview(values[rows]).cast("B")
            columns.append(ColumnRows(kind, taken, None, nulls))
            continue
        overflow = _take_bits([part.overflow for part in parts], counts, rows)
        arrays = [_binary_array(part, size) for part, size in zip(parts, counts)]
        made = _from_arrow(pa.concat_arrays(arrays).take(indices), kind)
        columns.append(ColumnRows(kind, made.data, made.offsets, nulls, overflow))
    return LeafRows(count, columns)


def _take_bits(bitmaps: Sequence[int], counts: Sequence[int], rows: Any) -> int:
    import numpy

    if not any(bitmaps):
        return 0
    parts = []
    for bitmap, count in zip(bitmaps, counts):
        raw = numpy.frombuffer(bitmap.to_bytes((count + 7) >> 3, "little"), dtype=numpy.uint8)
        parts.append(numpy.unpackbits(raw, count=count, bitorder="little"))
    return _as_bitmap(numpy.concatenate(parts)[rows])


def _binary_array(column: ColumnRows, count: int) -> pa.Array:
    import pyarrow as pa

    assert column.offsets is not None
    offsets = pa.py_buffer(column.offsets)
    return pa.Array.from_buffers(pa.binary(), count, [None, offsets, pa.py_buffer(column.data)], 0)
