"""Arrays made past pyarrow's conveniences are the arrays that pyarrow makes; and zone maps of many
leaves at once are those of each leaf."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy
import pyarrow as pa
import pytest

from engine.storage import arrow_arrays
from engine.storage.arrow_rows import rows_from_batch, zone_maps
from engine.storage.leaf_rows import zone_map_bytes
from engine.storage.tree_writer import TreeWriter
from tests.unit.storage.trees import Forest, spec_of

VALUES: dict[str, list[Any]] = {
    "bool": [True, None, False, True],
    "int16": [-(2**15), None, 2**15 - 1],
    "int32": [-(2**31), None, 2**31 - 1],
    "int64": [-(2**63), None, 2**63 - 1],
    "float32": [0.5, None, float("inf")],
    "float64": [-0.1, None, float("-inf")],
    "utf8": ["", None, "é€", "a" * 300],
    "binary": [b"", None, b"\x00\xff"],
}


@pytest.mark.parametrize("physical", VALUES)
@pytest.mark.parametrize("keep_nulls", [True, False])
def test_from_values_is_what_pyarrow_makes(physical: str, keep_nulls: bool) -> None:
    values = [value for value in VALUES[physical] if keep_nulls or value is not None]
    made = arrow_arrays.from_values(physical, values)
    made.validate(full=True)
    assert made.to_pylist() == values
    assert made.null_count == values.count(None)
    assert made.equals(pa.array(values, made.type))


@pytest.mark.parametrize("physical", VALUES)
def test_no_values(physical: str) -> None:
    made = arrow_arrays.from_values(physical, [])
    made.validate(full=True)
    assert made.to_pylist() == []


def test_reading_slices_back() -> None:
    array = pa.array([1, None, 3, 4, None, 6] * 5, pa.int32()).slice(3, 20)
    assert arrow_arrays.valid_of(array).tolist() == [v is not None for v in array.to_pylist()]
    numbers = arrow_arrays.numbers_of(array).tolist()
    assert [n for n, v in zip(numbers, array.to_pylist()) if v is not None] == [
        v for v in array.to_pylist() if v is not None
    ]
    flags = pa.array([True, False, True] * 9).slice(5, 11)
    assert arrow_arrays.bits_of(flags).tolist() == flags.to_pylist()
    texts = pa.array(["a", "bcd", "", "é"]).slice(1, 3)
    assert numpy.diff(arrow_arrays.offsets_of(texts)).tolist() == [3, 0, 2]


def test_neither_pandas_nor_the_wrappers_are_imported() -> None:
    code = (
        "import sys, numpy, pyarrow as pa\n"
        "from engine.storage import arrow_arrays as a, arrow_rows, bulk_build\n"
        "texts = a.from_values('utf8', ['1', None, '3'])\n"
        "a.take(a.cast(texts, pa.int64()), a.from_numbers(numpy.array([2, 0])))\n"
        "a.kernel('filter', texts, a.from_bits(numpy.array([True, False, True])))\n"
        "print('pandas' in sys.modules, 'pyarrow.compute' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("nan", [False, True])
def test_zone_maps_at_once_are_those_of_each_leaf(seed: int, nan: bool) -> None:
    rng = random.Random(seed)
    kinds = ("int16", "int32", "int64", "float32", "float64", "utf8", "int64", "float64")
    count = 900
    columns: list[list[Any]] = []
    for place, kind in enumerate(kinds):
        values: list[Any] = []
        for row in range(count):
            if (place >= 6 and 200 <= row < 500) or rng.random() < 0.2:  # whole leaves of NULLs
                values.append(None)
            elif kind == "utf8":
                values.append("x" * rng.randrange(5))
            elif kind.startswith("float"):
                values.append(float("nan") if nan and rng.random() < 0.1 else rng.uniform(-9, 9))
            else:
                values.append(rng.randrange(-30000, 30000))
        columns.append(values)
    forest = Forest()
    space, sink = forest.begin()
    writer = TreeWriter(spec_of(*kinds), space, sink)
    arrays = [arrow_arrays.from_values(kind, values) for kind, values in zip(kinds, columns)]
    keys = arrow_arrays.from_numbers(numpy.arange(count))
    batch = pa.RecordBatch.from_arrays([keys, *arrays], [str(n) for n in range(len(kinds) + 1)])
    rows = rows_from_batch(batch, writer.layout, writer.store_value)
    edges = [7, 20, 21, 250, 300, 480, 899]
    expected = [zone_map_bytes(rows, writer.layout, start, stop) for start, stop in pairwise(edges)]
    assert zone_maps(rows, writer.layout, edges[0], edges[1:]) == expected
