"""Trees against a dict: every kind of value, both kinds of key, deep trees of small pages."""

from __future__ import annotations

import math
import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import ALL_KINDS, Forest, expected_range, spec_of

from engine.errors import DataError
from engine.storage import merge
from engine.storage.btree import Tree
from engine.storage.freespace import complement
from engine.storage.merge import build_tree_from_batches, merge_tree


def float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


VALUES = {
    "bool": st.booleans(),
    "int16": st.integers(-(1 << 15), (1 << 15) - 1),
    "int32": st.integers(-(1 << 31), (1 << 31) - 1),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1),
    "float32": st.floats(width=32, allow_nan=False),
    "float64": st.floats(allow_nan=False),
    "utf8": st.one_of(st.text(max_size=30), st.text(alphabet="ab", max_size=9)),
    "binary": st.binary(max_size=30),
}
INT_KEYS = st.one_of(st.integers(0, 400), st.integers(-(1 << 63), (1 << 63) - 1))
BYTES_KEYS = st.binary(max_size=12)


def rows_of(kinds: tuple[str, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*[st.one_of(st.none(), VALUES[kind]) for kind in kinds])


@st.composite
def histories(draw: st.DrawFn) -> tuple[str, tuple[str, ...], list[dict[Any, Any]]]:
    key = draw(st.sampled_from(["int", "bytes"]))
    kinds = tuple(draw(st.lists(st.sampled_from(ALL_KINDS), max_size=5)))
    keys = INT_KEYS if key == "int" else BYTES_KEYS
    rows = rows_of(kinds)
    batch = st.dictionaries(keys, st.one_of(rows, rows, st.none()), max_size=120)
    return key, kinds, draw(st.lists(batch, min_size=1, max_size=4))


@settings(max_examples=60, deadline=None)
@given(histories(), st.booleans())
def test_merges_of_small_batches_equal_a_dict(history: Any, vectorised: bool) -> None:
    key, kinds, batches = history
    forest = Forest()
    tree = forest.empty(spec_of(*kinds, key=key))
    model: dict[Any, Any] = {}
    limit = 0 if vectorised else 1 << 60
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "VECTORISED_CHANGES_MIN", limit)
        patch.setattr(merge, "VECTORISED_CHANGES_PER_LEAF_MIN", 0)
        for batch in batches:
            tree = forest.merge(tree, sorted(batch.items()))
            model.update(batch)
            model = {k: row for k, row in model.items() if row is not None}
            require_equal(forest, tree, model)


def require_equal(forest: Forest, tree: Tree, model: dict[Any, Any]) -> None:
    assert list(tree.scan()) == expected_range(model, None, None)
    assert tree.root.row_count == len(model) == tree.count_range()
    assert forest.findings(tree) == []
    read = tree.point_reader()
    for key, row in model.items():
        assert read(key) == row


def random_value(rng: random.Random, kind: str) -> Any:
    if rng.random() < 0.1:
        return None
    if kind == "bool":
        return rng.random() < 0.5
    if kind.startswith("int"):
        bits = int(kind[3:])
        return rng.randrange(-(1 << (bits - 1)), 1 << (bits - 1))
    if kind == "float32":
        return float32(rng.uniform(-1e9, 1e9))
    if kind == "float64":
        return rng.choice([rng.uniform(-1e9, 1e9), math.inf, -0.0])
    text = rng.choice(["", "plain", "größe", "x" * rng.randrange(60), "y" * 1100, "ß" * 2600])
    return text if kind == "utf8" else text.encode()


def random_row(rng: random.Random, kinds: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(random_value(rng, kind) for kind in kinds)


@pytest.mark.parametrize("key", ["int", "bytes"])
@pytest.mark.parametrize("vectorised", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_deep_tree_through_random_merges(
    key: str, vectorised: bool, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "VECTORISED_CHANGES_MIN", 0 if vectorised else 1 << 60)
    rng = random.Random(seed)
    forest = Forest(capacity=64)
    kinds = ("int32", "utf8", "bool", "float64", "binary")
    spec = spec_of(*kinds, key=key)

    def any_key() -> Any:
        number = rng.randrange(1 << 40) if rng.random() < 0.3 else rng.randrange(9000)
        return number if key == "int" else b"shared prefix %012d" % number

    model = {any_key(): random_row(rng, kinds) for _ in range(4500)}
    tree = forest.build(spec, sorted(model.items()))
    require_equal(forest, tree, model)
    assert tree.root.height >= 3
    for size in (1, 7, 300, 900, 2):
        batch: dict[Any, Any] = {any_key(): random_row(rng, kinds) for _ in range(size)}
        batch.update(dict.fromkeys(rng.sample(sorted(model), min(len(model), size // 2))))
        before, old = dict(model), tree
        tree = forest.merge(tree, sorted(batch.items()))
        model.update(batch)
        model = {k: row for k, row in model.items() if row is not None}
        require_equal(forest, tree, model)
        assert list(old.scan()) == expected_range(before, None, None)  # the old root still reads
    require_pages_add_up(forest, tree)
    tree = forest.merge(tree, [(k, None) for k in sorted(model)])
    assert tree.root == forest.empty(spec).root


def require_pages_add_up(forest: Forest, tree: Tree) -> None:
    """Every page is in the tree, in the free list's own pages, or free; none is two of these."""
    reached = forest.reached(tree) | set(forest.space.list_pages)
    free = [(e.first, e.count) for e in forest.space.extents]
    missing = complement(reached, forest.space.page_count, 0)
    assert sum(count for _, count in free) == sum(e.count for e in missing)
    assert all(first not in reached for first, _ in free)


@pytest.mark.parametrize("key", ["int", "bytes"])
def test_ranges_projections_counts_and_ends(key: str) -> None:
    rng = random.Random(3)
    forest = Forest()
    kinds = ("int64", "utf8", "bool")
    spec = spec_of(*kinds, key=key)
    name = (lambda n: n) if key == "int" else (lambda n: b"%06d" % n)
    model: dict[Any, Any] = {name(n * 3): random_row(rng, kinds) for n in range(700)}
    tree = forest.build(spec, sorted(model.items()))
    assert (tree.first_key(), tree.last_key()) == (name(0), name(2097))
    bounds = [None, *[name(rng.randrange(2200)) for _ in range(12)]]
    for lo in bounds:
        for hi in bounds:
            for columns in (None, (), (1,), (2, 0)):
                want = expected_range(model, lo, hi, columns)
                assert list(tree.scan(lo, hi, False, columns)) == want
                assert list(tree.scan(lo, hi, True, columns)) == want[::-1]
            assert tree.count_range(lo, hi) == len(want)
    keys = sorted(model)
    for index in (0, 1, 350, 699):
        assert tree.rank(keys[index]) == index


def test_an_empty_tree_answers() -> None:
    tree = Forest().empty(spec_of("utf8"))
    assert tree.get(1) is None
    assert list(tree.scan()) == [] and list(tree.scan_batches()) == []
    assert tree.first_key() is None and tree.last_key() is None
    assert tree.count_range(0, 9) == 0 == tree.rank(5)


@pytest.mark.parametrize("key", ["int", "bytes"])
def test_arrow_batches_are_the_rows(key: str) -> None:
    rng = random.Random(5)
    forest = Forest()
    spec = spec_of(*ALL_KINDS, key=key)
    name = (lambda n: n) if key == "int" else (lambda n: b"%06d" % n)
    model: dict[Any, Any] = {name(n): random_row(rng, ALL_KINDS) for n in range(0, 900, 2)}
    tree = forest.build(spec, sorted(model.items()))
    for lo, hi in ((None, None), (name(11), name(701)), (name(700), name(11))):
        batches = list(tree.scan_batches(lo, hi, with_key=True))
        got = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
        assert got == [(k, *row) for k, row in expected_range(model, lo, hi)]
    batch = next(tree.scan_batches(columns=(6, 0)))
    assert batch.schema.names == ["6", "0"]
    assert next(tree.scan_batches(columns=())).num_rows == len(model)


@pytest.mark.parametrize("key_column", [None, 1])
@pytest.mark.parametrize("page_size", [4096, 16384])
def test_building_from_arrow_equals_building_from_rows(
    key_column: int | None, page_size: int
) -> None:
    import pyarrow as pa

    rng = random.Random(6)
    forest = Forest(page_size)
    kinds = ("utf8", "int64", "binary", "bool", "float32")
    spec = spec_of(*kinds, key_column=key_column)
    rows = []
    for n in range(2000):
        row = list(random_row(rng, kinds))
        row[1] = n if key_column is not None else row[1]
        rows.append((n, tuple(row)))
    tree = forest.build(spec, rows)
    batches = list(tree.scan_batches(with_key=key_column is None))
    parts = [batch.slice(at, 170) for batch in batches for at in range(0, batch.num_rows, 170)]
    space, sink = forest.begin()
    root = build_tree_from_batches(spec, [pa.RecordBatch.from_arrays([], []), *parts], space, sink)
    copy = Tree(forest.pool, spec, root)
    assert list(copy.scan()) == rows
    assert forest.findings(copy) == []


def test_the_key_column_is_stored_once() -> None:
    forest = Forest()
    spec = spec_of("utf8", "int64", key_column=1)
    tree = forest.build(spec, [(n, (f"row {n}", n)) for n in range(50)])
    leaf = next(tree.leaves())[0]
    assert set(leaf.entries) == {-1, 1}
    assert tree.get(7) == ("row 7", 7)
    assert list(tree.scan(columns=(1,)))[:2] == [(0, (0,)), (1, (1,))]
    assert next(tree.scan_batches()).to_pylist()[3] == {"0": "row 3", "1": 3}


def test_a_column_added_to_the_spec_is_null_until_rows_are_rewritten() -> None:
    forest = Forest()
    old = forest.build(spec_of("int32"), [(n, (n,)) for n in range(3000)])
    wide = Tree(forest.pool, spec_of("int32", "utf8", "float64"), old.root)
    assert wide.get(9) == (9, None, None)
    assert list(wide.scan(5, 7)) == [(5, (5, None, None)), (6, (6, None, None))]
    assert next(wide.scan_batches(5, 6)).to_pylist() == [{"0": 5, "1": None, "2": None}]
    tree = forest.merge(wide, [(9, (9, "nine", 9.0)), (10, None)])
    assert tree.get(9) == (9, "nine", 9.0)
    assert tree.get(8) == (8, None, None)
    assert forest.findings(tree) == []


def test_long_values_live_on_overflow_pages_and_are_freed() -> None:
    forest = Forest()
    spec = spec_of("utf8", "binary")
    long_text, long_bytes = "ä" * 9000, bytes(range(256)) * 40
    tree = forest.build(spec, [(1, (long_text, b"x")), (2, ("y", long_bytes)), (3, (None, None))])
    assert tree.get(1) == (long_text, b"x")
    assert tree.get(2) == ("y", long_bytes)
    assert list(tree.scan(columns=(1,))) == [(1, (b"x",)), (2, (long_bytes,)), (3, (None,))]
    assert next(tree.scan_batches()).column(0).to_pylist() == [long_text, "y", None]
    pages = len(forest.reached(tree))
    space, sink = forest.begin()
    merged = merge_tree(tree, [(1, None), (2, ("z", b""))], space, sink)
    assert len(merged.freed_page_nos) == pages  # the leaf and both runs
    assert list(Tree(forest.pool, spec, merged.root).scan()) == [(2, ("z", b"")), (3, (None, None))]


def test_rows_of_many_middling_values_fit_by_overflow() -> None:
    forest = Forest()
    spec = spec_of(*["utf8"] * 12)
    row = tuple(chr(97 + n) * 900 for n in range(12))
    tree = forest.build(spec, [(n, row) for n in range(5)])
    assert list(tree.scan()) == [(n, row) for n in range(5)]
    assert forest.findings(tree) == []


def test_limits_are_errors_with_a_hint() -> None:
    forest = Forest()
    with pytest.raises(DataError, match="longer than 256") as caught:
        forest.build(spec_of("utf8", key="bytes"), [(b"k" * 257, ("",))])
    assert caught.value.sqlstate == "54000" and caught.value.hint
    with pytest.raises(DataError, match="does not fit a page"):
        forest.build(spec_of(*["int16"] * 200), [(1, (0,) * 200)])


def test_a_merge_that_changes_nothing_returns_the_old_root() -> None:
    forest = Forest()
    tree = forest.build(spec_of("int64"), [(n * 2, (n,)) for n in range(4000)])
    space, sink = forest.begin()
    for changes in ([], [(1, None), (7777, None), (99999, None)]):
        merged = merge_tree(tree, changes, space, sink)
        assert merged.root == tree.root and merged.freed_page_nos == []
    assert sink.page_count == 0


def test_a_small_change_writes_one_path_only() -> None:
    forest = Forest()
    tree = forest.build(spec_of("int64"), [(n, (n,)) for n in range(60_000)])
    space, sink = forest.begin()
    merged = merge_tree(tree, [(30_000, (5,))], space, sink)
    assert sink.page_count == tree.root.height == 3
    assert len(merged.freed_page_nos) == 3


def test_deletes_leave_no_crumbs() -> None:
    forest = Forest()
    tree = forest.build(spec_of("int64"), [(n, (n,)) for n in range(20_000)])
    full = len(forest.reached(tree))
    rng = random.Random(9)
    keys = list(range(20_000))
    rng.shuffle(keys)
    for at in range(0, 19_600, 400):
        tree = forest.merge(tree, [(k, None) for k in sorted(keys[at : at + 400])])
    assert forest.findings(tree) == []
    assert tree.root.row_count == 400
    assert len(forest.reached(tree)) < full / 8


def test_nan_and_null_zone_maps_hold() -> None:
    forest = Forest()
    rows = [(n, (float("nan") if n % 500 == 3 else float(n), None)) for n in range(3000)]
    tree = forest.build(spec_of("float64", "int32"), rows)
    assert forest.findings(tree) == []
    tree = forest.merge(tree, [(3, (1.0, 5)), (700, (float("nan"), None))])
    assert forest.findings(tree) == []
    branch = forest.pool.branch(tree.root.page_no, tree.root.checksum)
    floats, ints = branch.zone_maps(0)
    assert floats.minimum == 0.0 and (ints.minimum, ints.maximum) == (5, 5)


@pytest.mark.parametrize("io", ["mmap", "pread"])
@pytest.mark.parametrize("verify", ["first", "always"])
def test_pool_modes_read_the_same(io: str, verify: str) -> None:
    forest = Forest(io=io, verify=verify, capacity=64)
    rows = [(n, (n, "text")) for n in range(20_000)]
    tree = forest.build(spec_of("int64", "utf8"), rows)
    for _ in range(2):
        assert list(tree.scan()) == rows
    assert forest.pool.evictions > 0 and len(forest.pool.views) <= 64
    again = forest.pool.verified
    assert list(tree.scan()) == rows
    grew = forest.pool.verified > again
    assert grew == (io == "pread" or verify == "always")


def test_readers_of_different_columns_share_leaves() -> None:
    forest = Forest()
    tree = forest.build(spec_of("int64", "utf8"), [(n, (n, f"t{n}")) for n in range(9000)])
    whole, text, swapped = (tree.point_reader(c) for c in (None, (1,), (1, 0)))
    for key in (1, 4000, 1, 8999, 4000):
        assert whole(key) == (key, f"t{key}")
        assert text(key) == (f"t{key}",)
        assert swapped(key) == (f"t{key}", key)
    assert whole(-1) is text(9000) is None
