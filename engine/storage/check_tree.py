"""Proves that a tree is what it claims to be, or yields what is wrong with it, as data.

Reads every page of a tree from its root, past the pool's cache, and compares everything that is
stored twice. Findings come in the order they are met; a page that cannot be read is reported and
its subtree skipped. Nothing is changed and nothing is raised for damage.

Kinds of finding:
    checksum     the page's bytes do not match its own checksum
    stale        the page is sound but is not the version its parent points to
    header       magic, type, page_no, tree, level or sizes are wrong; the page cannot be parsed
    depth        a child's level is not its parent's minus one
    shared       a page is reached twice: by a cycle, by two parents or by two trees
    range        a page number lies outside the file
    order        keys or separators do not ascend
    bounds       keys lie outside what the parent says
    count        row counts of parent and child differ
    zone map     min, max or NULL count in a parent differs from the rows below
    column       a column's offsets, text or NULL count are wrong
    overflow     a long value cannot be read or belongs elsewhere
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from engine.errors import DamageFound
from engine.storage import overflow, page
from engine.storage.branch import BranchView, ZoneMap, no_bounds
from engine.storage.buffer_pool import BufferPool, parse_page
from engine.storage.leaf import INT64, KIND_CODES, LeafColumn, LeafView
from engine.storage.leaf_rows import bounds_of
from engine.storage.page import DEPTH_MAX, TreeRoot
from engine.storage.store import Key, TreeSpec


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One thing that is wrong. kind: see the module header; page_no 0 when it is no one page's."""

    kind: str
    tree_id: int
    page_no: int
    message: str


class _Expected(msgspec.Struct, frozen=True, gc=False):
    """What the parent says about a child."""

    page_no: int
    checksum: int
    level: int
    lower: Key | None
    upper: Key | None
    rows: int
    zones: tuple[ZoneMap, ...]


def check_tree(
    pool: BufferPool, spec: TreeSpec, root: TreeRoot, reached: set[int] | None = None
) -> Iterator[Finding]:
    """Check a tree; yields Findings.

    reached: collects the pages of the tree, overflow pages too; pass one set for all trees of a
    checkpoint to find pages that two trees share, and to compare with the free list after.
    """
    yield from _Checker(pool, spec, set() if reached is None else reached).check(root)


class _Checker:
    __slots__ = ("limit", "pool", "reached", "spec")

    def __init__(self, pool: BufferPool, spec: TreeSpec, reached: set[int]) -> None:
        self.pool = pool
        self.spec = spec
        self.reached = reached
        self.limit = pool.page_limit()

    def check(self, root: TreeRoot) -> Iterator[Finding]:
        if root.height == 0:
            if root.page_no or root.row_count:
                yield self._finding("header", 0, "an empty tree with a root page or rows")
            return
        if not 0 < root.height <= DEPTH_MAX:
            yield self._finding("depth", root.page_no, f"height {root.height} is impossible")
            return
        expected = _Expected(
            root.page_no, root.checksum, root.height - 1, None, None, root.row_count, ()
        )
        yield from self._page(expected)

    def _page(self, expected: _Expected) -> Iterator[Finding]:
        page_no = expected.page_no
        if not page.FIRST_PAGE_NO <= page_no < self.limit:
            yield self._finding("range", page_no, f"page {page_no} lies outside the file")
            return
        if page_no in self.reached:
            yield self._finding("shared", page_no, f"page {page_no} is reached twice")
            return
        self.reached.add(page_no)
        view = self._parsed(expected)
        if isinstance(view, Finding):
            yield view
            return
        if view.level != expected.level:
            yield self._finding(
                "depth", page_no, f"level {view.level}, its parent expects {expected.level}"
            )
            return
        if isinstance(view, LeafView):
            yield from self._leaf(view, expected)
        else:
            yield from self._branch(view, expected)

    def _parsed(self, expected: _Expected) -> LeafView | BranchView | Finding:
        page_no = expected.page_no
        try:
            raw = self.pool.raw(page_no)
        except DamageFound as error:
            return self._finding("range", page_no, error.message)
        own = int.from_bytes(raw[: page.CHECKSUM_SIZE], "little")
        if page.page_checksum(raw) != own:
            return self._finding("checksum", page_no, f"page {page_no}: checksum mismatch")
        try:
            header = page.decode_header(raw, page_no)
            if own != expected.checksum:
                message = (
                    f"page {page_no} (written by checkpoint {header.checkpoint_no}) is not the "
                    "version its parent points to"
                )
                return self._finding("stale", page_no, message)
            view = parse_page(raw, header, self.pool.overflow_value)
        except DamageFound as error:
            return self._finding("header", page_no, error.message)
        if view.table_id != self.spec.tree_id or view.key_kind != self.spec.key_kind:
            message = f"page {page_no} belongs to tree {view.table_id}"
            return self._finding("header", page_no, message)
        return view

    # ── branches ─────────────────────────────────────────────────────────────────────────────
    def _branch(self, view: BranchView, expected: _Expected) -> Iterator[Finding]:
        page_no = view.page_no
        if view.subtree_rows != expected.rows:
            yield self._count(page_no, view.subtree_rows, expected.rows)
        bounds: list[Any] = [expected.lower, *view.searched, expected.upper]
        if not _ascend([bound for bound in bounds if bound is not None]):
            kind = "bounds" if _ascend(view.searched) else "order"
            yield self._finding(kind, page_no, f"branch {page_no}: separators out of order")
            return
        maps = [tuple(view.zone_maps(index)) for index in range(view.row_count)]
        yield from self._zone_union(page_no, maps, expected)
        for index in range(view.row_count):
            yield from self._page(
                _Expected(
                    view.children[index],
                    view.checksums[index],
                    view.level - 1,
                    bounds[index],
                    bounds[index + 1],
                    view.child_rows[index],
                    maps[index],
                )
            )

    def _zone_union(
        self, page_no: int, maps: Sequence[tuple[ZoneMap, ...]], expected: _Expected
    ) -> Iterator[Finding]:
        for zone in expected.zones:
            below = [found for part in maps for found in part if found.column_id == zone.column_id]
            if not below:  # the column is newer than this branch: NULL in every row
                below = [ZoneMap(zone.column_id, *no_bounds(self._kind(zone)), expected.rows)]
            highs = [found.maximum for found in below]
            high = max(highs) if all(h == h for h in highs) else float("nan")
            low = min([found.minimum for found in below])
            nulls = sum([found.null_count for found in below])
            yield from self._zone(page_no, zone, low, high, nulls)

    # ── leaves ───────────────────────────────────────────────────────────────────────────────
    def _leaf(self, leaf: LeafView, expected: _Expected) -> Iterator[Finding]:
        page_no, count = leaf.page_no, leaf.row_count
        if count != expected.rows:
            yield self._count(page_no, count, expected.rows)
        try:
            columns = [(column_id, leaf.column(column_id)) for column_id in leaf.entries]
        except DamageFound as error:
            yield self._finding("header", page_no, error.message)
            return
        for column_id, column in columns:
            if column is not None:
                yield from self._column(leaf, column_id, column)
        try:
            keys = leaf.key_range(0, count)
        except DamageFound as error:
            yield self._finding("column", page_no, error.message)
            return
        if not _ascend(keys):
            yield self._finding("order", page_no, f"leaf {page_no}: keys do not ascend")
        below = expected.lower is not None and min(keys) < expected.lower
        above = expected.upper is not None and max(keys) >= expected.upper
        if below or above:
            yield self._finding(
                "bounds", page_no, f"leaf {page_no}: keys outside the bounds of its parent"
            )
        for zone in expected.zones:
            stored = leaf.column(zone.column_id)
            if stored is None:
                yield from self._zone(page_no, zone, *no_bounds(self._kind(zone)), count)
                continue
            values = [v for v in leaf.values(zone.column_id, 0, count) if v is not None]
            low, high = bounds_of(values, stored.kind)
            yield from self._zone(page_no, zone, low, high, count - len(values))

    def _column(self, leaf: LeafView, column_id: int, column: LeafColumn) -> Iterator[Finding]:
        page_no = leaf.page_no
        where = f"leaf {page_no}, column {column_id}"
        if column.validity is not None:
            present = sum([byte.bit_count() for byte in column.validity])
            if leaf.row_count - present != column.null_count:
                yield self._finding("column", page_no, f"{where}: NULL count differs")
        elif column.null_count:
            yield self._finding("column", page_no, f"{where}: NULLs without a bitmap")
        if column.offsets is not None:
            offsets = column.offsets.tolist()
            if offsets != sorted(offsets):
                yield self._finding("column", page_no, f"{where}: offsets do not ascend")
                return
            if column.ascii and not bytes(column.raw).isascii():
                yield self._finding("column", page_no, f"{where}: text is not ASCII")
                return
        if column.overflow is not None:
            yield from self._overflow(leaf, column_id)
        else:
            try:
                leaf.values(column_id, 0, leaf.row_count)
            except DamageFound as error:
                yield self._finding("column", page_no, f"{where}: {error.message}")

    def _overflow(self, leaf: LeafView, column_id: int) -> Iterator[Finding]:
        try:
            references = list(leaf.overflow_references(column_id))
        except DamageFound as error:
            yield self._finding("overflow", leaf.page_no, error.message)
            return
        for _, reference in references:
            first, size, _ = overflow.REFERENCE.unpack(reference)
            count = overflow.run_page_count(size, self.pool.page_size)
            try:
                self.pool.overflow_value(reference)
            except DamageFound as error:
                yield self._finding("overflow", first, error.message)
                readable = range(0)
            else:
                readable = range(first, first + count)
            for page_no in readable:  # bytes around the value are under the page's checksum only
                raw = self.pool.raw(page_no)
                if page.page_checksum(raw) != int.from_bytes(raw[: page.CHECKSUM_SIZE], "little"):
                    yield self._finding("checksum", page_no, f"page {page_no}: checksum mismatch")
            pages = range(first, min(first + count, self.limit))
            if not self.reached.isdisjoint(pages):
                message = f"overflow pages from {first} on are reached twice"
                yield self._finding("shared", first, message)
            self.reached.update(pages)

    def _kind(self, zone: ZoneMap) -> int:
        kinds = [c.physical for c in self.spec.columns if c.column_id == zone.column_id]
        return KIND_CODES[kinds[0]] if kinds else INT64

    # ── findings ─────────────────────────────────────────────────────────────────────────────
    def _zone(
        self, page_no: int, zone: ZoneMap, low: Any, high: Any, nulls: int
    ) -> Iterator[Finding]:
        same_high = zone.maximum == high or (zone.maximum != zone.maximum and high != high)
        if zone.minimum != low or not same_high or zone.null_count != nulls:
            yield self._finding(
                "zone map",
                page_no,
                f"page {page_no}, column {zone.column_id}: its parent says "
                f"{zone.minimum} … {zone.maximum}, {zone.null_count} NULLs; "
                f"found {low} … {high}, {nulls}",
            )

    def _count(self, page_no: int, found: int, expected: int) -> Finding:
        return self._finding(
            "count", page_no, f"page {page_no} holds {found} rows, its parent says {expected}"
        )

    def _finding(self, kind: str, page_no: int, message: str) -> Finding:
        return Finding(kind, self.spec.tree_id, page_no, message)


def _ascend(keys: Sequence[Any]) -> bool:
    return all(a < b for a, b in pairwise(keys))
