"""Measures the frozen tree alone: point reads, scans, builds, merges, and page sizes.

`run_storage_bench` returns the figures as records; `python -m tools.bench.storage_bench` prints
them as JSON lines. The data is one tree of `row_count` rows (int64 key, two texts, int32,
float64) in a temporary directory; each figure is the median of `rounds` runs in one process.
It measures and never judges: comparisons live in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from engine.storage.btree import Tree
from engine.storage.buffer_pool import BufferPool, FilePageSink
from engine.storage.freespace import FreeSpace, PageAllocator
from engine.storage.merge import build_tree, build_tree_from_batches, merge_tree
from engine.storage.page import PAGE_SIZE_DEFAULT, PAGE_SIZES
from engine.storage.store import ColumnSpec, Key, Row, TreeSpec
from engine.vfs import OsVfs

SPEC = TreeSpec(
    1,
    "int",
    (
        ColumnSpec(1, "int64"),
        ColumnSpec(2, "utf8"),
        ColumnSpec(3, "int32"),
        ColumnSpec(4, "float64"),
        ColumnSpec(5, "utf8"),
    ),
    0,
)
SCAN_ROWS = 600_000


class Figure(msgspec.Struct, frozen=True):
    """One measurement. value in `unit` (µs per call, rows per second, or ms)."""

    name: str
    value: float
    unit: str
    page_size: int
    row_count: int


class Bench:
    """One file with room for trees; not safe for use by threads."""

    def __init__(self, directory: str, page_size: int, seed: int, rounds: int) -> None:
        self.page_size = page_size
        self.rounds = rounds
        self.rng = random.Random(seed)
        path = str(Path(directory) / f"bench-{page_size}")
        self.file = OsVfs().open(path, create=True)
        self.pool = BufferPool(self.file, page_size)
        self.space = FreeSpace()

    def begin(self) -> tuple[PageAllocator, FilePageSink]:
        return self.space.begin(1, 0, self.page_size), FilePageSink(self.file, self.pool)

    def build(self, row_count: int, stride: int = 1) -> Tree:
        space, sink = self.begin()
        root = build_tree(SPEC, sample_rows(row_count, stride), space, sink)
        space.commit()
        return Tree(self.pool, SPEC, root)

    def median_s(self, run: Callable[[], object]) -> float:
        """Seconds of the middle run."""
        times = []
        for _ in range(self.rounds):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return statistics.median(times)


def sample_rows(row_count: int, stride: int = 1) -> Iterator[tuple[Key, Row]]:
    """The rows of the bench; stride 1 makes consecutive keys, others leave gaps."""
    for n in range(row_count):
        key = n * stride
        yield key, (key, f"name{n}", n % 1000, n * 0.5, "abcdefghijklmnopqrst"[: n % 20])


def measure_reads(bench: Bench, tree: Tree) -> Iterator[tuple[str, float, str]]:
    """Point reads (hot: 50 keys; spread: keys of the whole tree) and full scans."""
    keys = [bench.rng.randrange(tree.root.row_count) for _ in range(50_000)]
    hot = keys[:50] * 1000
    read = tree.point_reader()

    def read_all(wanted: list[int]) -> None:
        for key in wanted:
            read(key)

    read_all(keys)
    yield "point read, hot", bench.median_s(lambda: read_all(hot)) / len(hot) * 1e6, "µs"
    yield "point read, spread", bench.median_s(lambda: read_all(keys)) / len(keys) * 1e6, "µs"
    rows = tree.root.row_count
    yield "scan as rows", rows / bench.median_s(lambda: _drain(tree.scan())), "rows/s"
    yield "scan as batches", rows / bench.median_s(lambda: _drain(tree.scan_batches())), "rows/s"


def measure_page_size(bench: Bench) -> Iterator[tuple[str, float, str]]:
    """Load, filter and aggregate SCAN_ROWS rows with Arrow, views made anew in each round."""
    import pyarrow.compute as pc

    tree = bench.build(SCAN_ROWS)

    def aggregate() -> float:
        total = 0.0
        for batch in tree.scan_batches(columns=(2, 3)):
            mask = pc.less(batch.column(0), 500)
            total += pc.sum(batch.column(1).filter(mask)).as_py()
        return total

    def cold() -> float:
        bench.pool.views.clear()
        return aggregate()

    yield "filter and sum, new views", bench.median_s(cold) * 1e3, "ms"
    yield "filter and sum, hot views", bench.median_s(aggregate) * 1e3, "ms"
    read = tree.point_reader()
    keys = [bench.rng.randrange(SCAN_ROWS) for _ in range(20_000)]
    for key in keys:
        read(key)

    def points() -> None:
        for key in keys:
            read(key)

    yield "point read, spread", bench.median_s(points) / len(keys) * 1e6, "µs"
    changes: list[tuple[Key, Row | None]] = [(k, (k, "x", 1, 1.0, "")) for k in sorted(set(keys))]
    small = changes[:: len(changes) // 1000]
    for name, part in (("merge 1 row", changes[:1]), ("merge 1,000 rows", small)):
        yield name, bench.median_s(partial(_merge, bench, tree, part)) * 1e3, "ms"


def measure_writes(bench: Bench, tree: Tree) -> Iterator[tuple[str, float, str]]:
    """Bulk builds from rows and from Arrow, and merges of 1 to 100,000 random changes."""
    count = tree.root.row_count
    rows = list(sample_rows(count))

    def from_rows() -> None:
        space, sink = bench.begin()
        space.page_count = tree.root.page_no + 1
        build_tree(SPEC, rows, space, sink)

    yield "bulk build from rows", count / bench.median_s(from_rows), "rows/s"
    for size in (1, 1000, 100_000):
        keys = sorted({bench.rng.randrange(2 * count) for _ in range(size)})
        changes: list[tuple[Key, Row | None]] = [(k, (k, "new", 1, 2.0, "z")) for k in keys]
        elapsed = bench.median_s(partial(_merge, bench, tree, changes))
        yield f"merge {size:,} random changes", elapsed * 1e3, "ms"
    batches = list(tree.scan_batches())

    def from_batches() -> None:
        space, sink = bench.begin()
        space.page_count = tree.root.page_no + 1
        build_tree_from_batches(SPEC, batches, space, sink)

    yield "bulk build from Arrow", count / bench.median_s(from_batches), "rows/s"


def _merge(bench: Bench, tree: Tree, changes: list[tuple[Key, Row | None]]) -> None:
    space, sink = bench.begin()
    space.page_count = tree.root.page_no + 1
    merge_tree(tree, changes, space, sink)


def _drain(items: Iterator[Any]) -> None:
    for _ in items:
        pass


def run_storage_bench(
    row_count: int = 1_000_000,
    page_sizes: tuple[int, ...] = PAGE_SIZES[1:],
    rounds: int = 5,
    seed: int = 1,
) -> Iterator[Figure]:
    """All figures: the default page size with row_count rows, then each page size."""
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(directory, PAGE_SIZE_DEFAULT, seed, rounds)
        tree = bench.build(row_count)
        for measure in (measure_reads, measure_writes):
            for name, value, unit in measure(bench, tree):
                yield Figure(name, value, unit, PAGE_SIZE_DEFAULT, row_count)
        bench.pool.close()
        for page_size in page_sizes:
            sized = Bench(directory, page_size, seed, rounds)
            for name, value, unit in measure_page_size(sized):
                yield Figure(name, value, unit, page_size, SCAN_ROWS)
            sized.pool.close()


def main() -> None:
    """Print the figures as JSON lines."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.storage_bench", description=__doc__
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--page-sizes", type=int, nargs="*", default=list(PAGE_SIZES[1:]))
    options = parser.parse_args()
    sizes = tuple(options.page_sizes)
    for figure in run_storage_bench(options.rows, sizes, options.rounds, options.seed):
        print(json.dumps(msgspec.to_builtins(figure), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
