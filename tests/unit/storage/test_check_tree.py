"""Damage by surgery: check_tree must name what was done, and readers must not answer wrongly."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from trees import Forest, spec_of

from engine.errors import DamageFound
from engine.storage import branch, leaf, page
from engine.storage.btree import Tree
from engine.storage.page import TreeRoot

ROWS = [(n, (n * 2, f"text {n}", None if n % 7 else 1.5)) for n in range(3000)]


def planted() -> tuple[Forest, Tree]:
    forest = Forest()
    return forest, forest.build(spec_of("int64", "utf8", "float64"), ROWS)


def reseal(forest: Forest, page_no: int, raw: bytearray) -> int:
    """Write a forged page with a true checksum of its own; returns it."""
    checksum = page.page_checksum(bytes(raw))
    raw[:8] = checksum.to_bytes(8, "little")
    forest.overwrite(page_no, raw)
    return checksum


def forge(
    forest: Forest, tree: Tree, edit: Callable[[bytearray], None], child: int = 1
) -> TreeRoot:
    """Edit a leaf of a two-level tree and forge the checksums up to the root."""
    assert tree.root.height == 2
    root = forest.page_bytes(tree.root.page_no)
    count = struct.unpack_from("<I", root, 40)[0]
    at = branch.BRANCH_PREFIX_SIZE + root[57] * 8
    leaf_no = struct.unpack_from("<q", root, at + 8 * child)[0]
    raw = forest.page_bytes(leaf_no)
    edit(raw)
    struct.pack_into("<Q", root, at + 8 * count + 8 * child, reseal(forest, leaf_no, raw))
    checksum = reseal(forest, tree.root.page_no, root)
    return TreeRoot(tree.root.page_no, checksum, tree.root.height, tree.root.row_count)


def forge_root(forest: Forest, tree: Tree, edit: Callable[[bytearray], None]) -> TreeRoot:
    raw = forest.page_bytes(tree.root.page_no)
    edit(raw)
    checksum = reseal(forest, tree.root.page_no, raw)
    return TreeRoot(tree.root.page_no, checksum, tree.root.height, tree.root.row_count)


def kinds(forest: Forest, tree: Tree, root: TreeRoot) -> set[str]:
    return {finding.kind for finding in forest.findings(tree, root)}


def leaf_pages(tree: Tree) -> list[int]:
    return [view.page_no for view, _, _ in tree.leaves()]


def region(raw: bytearray, entry: int, field: int) -> int:
    """A field of a directory entry: 3 flags, 5 validity, 7 data, 9 offsets."""
    at = leaf.LEAF_PREFIX_SIZE + entry * leaf.ENTRY_SIZE
    return int(leaf.ENTRY.unpack_from(raw, at)[field])


def test_a_sound_tree_has_no_findings_and_counts_its_pages() -> None:
    forest, tree = planted()
    reached = forest.reached(tree)
    assert len(reached) == len(leaf_pages(tree)) + 1
    assert forest.findings(forest.empty(tree.spec)) == []


def test_a_flipped_bit_is_a_checksum_finding_and_never_an_answer() -> None:
    forest, tree = planted()
    rng = random.Random(8)
    pages = sorted(forest.reached(tree))
    for _ in range(300):
        page_no, bit = rng.choice(pages), rng.randrange(4096 * 8)
        raw = forest.page_bytes(page_no)
        sound = bytes(raw)
        raw[bit // 8] ^= 1 << bit % 8
        forest.overwrite(page_no, raw)
        assert [(f.kind, f.page_no) for f in forest.findings(tree)] == [("checksum", page_no)]
        with pytest.raises(DamageFound):
            list(tree.scan())
        forest.overwrite(page_no, sound)
    assert forest.findings(tree) == []


@pytest.mark.parametrize("data", [bytes(4096), b"\xff" * 4096, b"MantisDB" * 512])
def test_a_wiped_page(data: bytes) -> None:
    forest, tree = planted()
    victim = leaf_pages(tree)[3]
    forest.overwrite(victim, data)
    assert [(f.kind, f.page_no) for f in forest.findings(tree)] == [("checksum", victim)]


def test_a_stale_page_at_a_reused_address() -> None:
    forest, tree = planted()
    victim = leaf_pages(tree)[2]
    older = forest.page_bytes(victim)
    key = next(view for view, _, _ in tree.leaves() if view.page_no == victim).key_range(0, 1)[0]
    for n in range(12):  # until the victim's page is written again
        tree = forest.merge(tree, [(key, (n, "new", None))])
        if victim in leaf_pages(tree):
            break
    assert victim in leaf_pages(tree)
    forest.overwrite(victim, older)  # a lost write
    assert [(f.kind, f.page_no) for f in forest.findings(tree)] == [("stale", victim)]
    with pytest.raises(DamageFound, match="version"):
        tree.get(key)


def test_two_pages_swapped() -> None:
    forest, tree = planted()
    a, b = leaf_pages(tree)[:2]
    first, second = forest.page_bytes(a), forest.page_bytes(b)
    forest.overwrite(a, second)
    forest.overwrite(b, first)
    assert {(f.kind, f.page_no) for f in forest.findings(tree)} == {("header", a), ("header", b)}


def test_keys_out_of_order_and_out_of_bounds() -> None:
    forest, tree = planted()

    def swap(raw: bytearray) -> None:
        at = region(raw, 0, 7)
        raw[at : at + 16] = raw[at + 8 : at + 16] + raw[at : at + 8]

    assert kinds(forest, tree, forge(forest, tree, swap)) == {"order"}
    forest, tree = planted()

    def lower(raw: bytearray) -> None:
        struct.pack_into("<q", raw, region(raw, 0, 7), -5)

    assert kinds(forest, tree, forge(forest, tree, lower)) == {"bounds"}


def test_counts_zone_maps_and_levels() -> None:
    at = branch.BRANCH_PREFIX_SIZE + 2 * 8

    def rows(raw: bytearray) -> None:  # move a row from one child's count to another's
        count = struct.unpack_from("<I", raw, 40)[0]
        first, second = struct.unpack_from("<qq", raw, at + 16 * count)
        struct.pack_into("<qq", raw, at + 16 * count, first + 1, second - 1)

    def zone(raw: bytearray) -> None:
        count = struct.unpack_from("<I", raw, 40)[0]
        struct.pack_into("<q", raw, at + 24 * count + 8, 1 << 40)

    def level(raw: bytearray) -> None:
        raw[13] = 2

    for edit, kind in ((rows, "count"), (zone, "zone map"), (level, "depth")):
        forest, tree = planted()
        assert kinds(forest, tree, forge_root(forest, tree, edit)) == {kind}


def test_separators_out_of_order() -> None:
    def swap(raw: bytearray) -> None:
        used = struct.unpack_from("<I", raw, 44)[0]
        a, b = struct.unpack_from("<qq", raw, used - 16)
        struct.pack_into("<qq", raw, used - 16, b, a)

    forest, tree = planted()
    assert kinds(forest, tree, forge_root(forest, tree, swap)) == {"order"}


def test_a_child_twice_a_cycle_and_a_page_outside() -> None:
    def child(value: int) -> Callable[[bytearray], None]:
        def edit(raw: bytearray) -> None:
            struct.pack_into("<q", raw, branch.BRANCH_PREFIX_SIZE + 2 * 8, value)

        return edit

    for target, kind in (("twin", "shared"), ("self", "shared"), (1 << 40, "range"), (1, "range")):
        forest, tree = planted()
        values = {"twin": leaf_pages(tree)[1], "self": tree.root.page_no}
        value: Any = values.get(target, target)  # type: ignore[call-overload]
        assert kind in kinds(forest, tree, forge_root(forest, tree, child(value)))


def test_two_trees_that_share_a_page() -> None:
    from engine.storage.check_tree import check_tree

    forest, tree = planted()
    reached: set[int] = set()
    assert list(check_tree(forest.pool, tree.spec, tree.root, reached)) == []
    again = list(check_tree(forest.pool, tree.spec, tree.root, reached))
    assert [finding.kind for finding in again] == ["shared"]


def test_a_page_of_another_tree() -> None:
    def adopt(raw: bytearray) -> None:
        struct.pack_into("<Q", raw, 32, 8)

    forest, tree = planted()
    assert kinds(forest, tree, forge(forest, tree, adopt)) == {"header"}


def test_columns_offsets_text_and_null_counts() -> None:
    def offsets(raw: bytearray) -> None:
        struct.pack_into("<i", raw, region(raw, 2, 9) + 8, 1 << 20)

    def text(raw: bytearray) -> None:
        raw[region(raw, 2, 7)] = 0xFF

    def nulls(raw: bytearray) -> None:
        raw[region(raw, 3, 5)] ^= 2

    for edit in (offsets, text, nulls):
        forest, tree = planted()
        assert "column" in kinds(forest, tree, forge(forest, tree, edit))


def test_overflow_pages_lost_or_swapped() -> None:
    forest = Forest()
    rows = [(n, ("long " * 2000 + str(n),)) for n in range(4)]
    tree = forest.build(spec_of("utf8"), rows)
    assert forest.findings(tree) == []
    runs = sorted(forest.reached(tree) - set(leaf_pages(tree)))
    first, second = runs[0], runs[3]
    saved = forest.page_bytes(first)
    forest.overwrite(first, bytes(4096))
    assert [f.kind for f in forest.findings(tree)] == ["overflow"]
    with pytest.raises(DamageFound):
        tree.get(0)
    forest.overwrite(first, forest.page_bytes(second))
    assert [(f.kind, f.page_no) for f in forest.findings(tree)] == [("overflow", first)]
    forest.overwrite(first, saved)
    assert list(tree.scan()) == rows


def test_a_truncated_file() -> None:
    forest, tree = planted()
    forest.pool.close()
    forest.file.truncate(tree.root.page_no * forest.page_size)
    forest.pool.forget_all()
    assert [f.kind for f in forest.findings(tree)] == ["range"]
    with pytest.raises(DamageFound, match="outside the file"):
        list(tree.scan())


def test_an_impossible_root() -> None:
    forest, tree = planted()
    assert kinds(forest, tree, TreeRoot(9, 9, 99, 5)) == {"depth"}
    assert kinds(forest, tree, TreeRoot(9, 0, 0, 5)) == {"header"}
