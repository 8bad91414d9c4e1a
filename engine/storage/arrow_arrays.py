"""Arrow arrays made from Python and numpy values, and read back, without `pa.array`.

`pa.array`, `pa.scalar` and `Array.to_numpy` import pandas on their first call where it is
installed (0.3 s), and the methods of an array import pyarrow.compute, which wraps each of its 300
kernels in Python (60 ms). A load or a large merge needs neither: arrays are built over buffers, and
kernels are called by their names.

Does not: check that values fit their type (array and numpy raise OverflowError), or decode.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from engine.storage.leaf import KIND_CODES, TYPECODES, UTF8, arrow_type_of

if TYPE_CHECKING:
    import pyarrow as pa


def kernel(name: str, *arguments: Any, options: Any = None) -> Any:
    """Call one of pyarrow's kernels. Arguments are arrays; options as pyarrow.compute has them."""
    from pyarrow._compute import call_function

    return call_function(name, list(arguments), options)


def cast(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    """`values.cast(wanted)`: raises pa.ArrowInvalid for what does not fit."""
    from pyarrow._compute import CastOptions

    if values.type == wanted:
        return values
    return kernel("cast", values, options=CastOptions.safe(wanted))


def take(values: pa.Array, indices: pa.Array) -> pa.Array:
    """values[indices], NULL where an index is NULL. The indices are in range: unchecked."""
    from pyarrow._compute import TakeOptions

    return kernel("take", values, indices, options=TakeOptions(boundscheck=False))


def from_numbers(values: Any) -> pa.Array:
    """A one-dimensional numpy array of integers or floats, its memory shared."""
    import pyarrow as pa

    arrow_type = pa.type_for_alias(values.dtype.name)
    return pa.Array.from_buffers(arrow_type, len(values), [None, pa.py_buffer(values)])


def from_bits(marks: Any) -> pa.Array:
    """A numpy array of bools."""
    import numpy
    import pyarrow as pa

    packed = pa.py_buffer(numpy.packbits(marks, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(marks), [None, packed])


def from_values(physical: str, values: Sequence[Any]) -> pa.Array:
    """Python values of a physical kind (store.PHYSICAL_KINDS), None for NULL."""
    import pyarrow as pa

    kind = KIND_CODES[physical]
    count, null_count, validity = len(values), 0, None
    if None in values:
        marks = [value is not None for value in values]
        null_count = count - sum(marks)
        validity = pa.py_buffer(_packed(marks))
        empty: Any = "" if physical == "utf8" else b"" if physical == "binary" else 0
        values = [empty if value is None else value for value in values]
    buffers = [validity]
    if kind >= UTF8:
        texts: Sequence[bytes] = list(map(str.encode, values)) if kind == UTF8 else values
        buffers.append(pa.py_buffer(array("i", [0, *accumulate(map(len, texts))])))
        buffers.append(pa.py_buffer(b"".join(texts)))
    elif physical == "bool":
        buffers.append(pa.py_buffer(_packed(values)))
    else:
        buffers.append(pa.py_buffer(array(TYPECODES[kind], values)))
    return pa.Array.from_buffers(arrow_type_of(kind), count, buffers, null_count)


def _packed(marks: Sequence[Any]) -> bytes:
    import numpy

    packed: bytes = numpy.packbits(numpy.array(marks, dtype=bool), bitorder="little").tobytes()
    return packed


def numbers_of(values: pa.Array) -> Any:
    """The numpy array over an integer, float or date array; what NULLs hold is arbitrary."""
    import numpy

    width = values.type.bit_width // 8
    code = "f" if str(values.type) in ("float", "double") else "i"
    raw = numpy.frombuffer(values.buffers()[1], dtype=f"<{code}{width}")
    return raw[values.offset : values.offset + len(values)]


def offsets_of(values: pa.Array) -> Any:
    """The numpy array of a text or binary array's len + 1 offsets into its data."""
    import numpy

    buffer = values.buffers()[1]
    if buffer is None or not buffer.size:
        return numpy.zeros(1, dtype="<i4")
    return numpy.frombuffer(buffer, dtype="<i4")[values.offset : values.offset + len(values) + 1]


def bits_of(values: pa.Array) -> Any:
    """The numpy array of a bool array's values; what NULLs hold is arbitrary."""
    return _unpacked(values.buffers()[1], values)


def valid_of(values: pa.Array) -> Any:
    """The numpy array of bools that are False where a value is NULL."""
    import numpy

    buffer = values.buffers()[0]
    if buffer is None:
        return numpy.ones(len(values), dtype=bool)
    return _unpacked(buffer, values)


def _unpacked(buffer: pa.Buffer, values: pa.Array) -> Any:
    import numpy

    start, stop = values.offset, values.offset + len(values)
    raw = numpy.frombuffer(buffer, dtype="B")[start >> 3 : (stop + 7) >> 3]
    marks = numpy.unpackbits(raw, bitorder="little")[start & 7 : (start & 7) + len(values)]
    return marks.view(bool)
