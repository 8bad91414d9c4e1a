"""Writes new leaves and branches for a merge or a bulk build, from the leaves up to a root.

Invariants
1. Every page goes to a page number fresh from the allocator; nothing is written twice.
2. Children are written before the page that points to them, because it stores their checksums.
3. The first page of a run of leaves takes the separator it is given, the others the shortest
   key between their neighbours, so parents' bounds stay true however rows move.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.storage import branch, overflow, page
from engine.storage.branch import Child
from engine.storage.freespace import PageAllocator, PageSink
from engine.storage.leaf_rows import Layout, LeafRows, cuts, encode_leaf, zone_map_bytes
from engine.storage.page import EMPTY_ROOT, TreeRoot
from engine.storage.store import Key, TreeSpec


class TreeWriter:
    """Pages of one tree into one build. counters: leaves and branches written."""

    __slots__ = ("branch_count", "layout", "leaf_count", "sink", "space", "spec", "zones")

    def __init__(self, spec: TreeSpec, space: PageAllocator, sink: PageSink) -> None:
        self.spec = spec
        self.space = space
        self.sink = sink
        self.zones = branch.zone_columns(spec, space.page_size)
        self.layout = Layout(spec, space.page_size, self.zones)
        self.leaf_count = 0
        self.branch_count = 0

    def store_value(self, value: bytes) -> bytes:
        """A long value on overflow pages; returns its reference."""
        return overflow.write_value(value, self.spec.tree_id, self.space, self.sink)

    def write_leaves(self, rows: LeafRows, lower: Key, full: bool) -> list[Child]:
        """Rows as leaves. lower: separator of the first; full: fill all but the last."""
        children = []
        for start, stop in cuts(rows, self.layout, full):
            if start:
                lower = branch.separator_between(rows.key(start - 1), rows.key(start))
            children.append(self.write_leaf(rows, start, stop, lower))
        return children

    def write_leaf(
        self, rows: LeafRows, start: int, stop: int, separator: Key, zones: bytes | None = None
    ) -> Child:
        """Rows [start, stop), which fit, as one leaf. zones: its zone maps, if known already."""
        body = encode_leaf(rows, self.layout, start, stop)
        if zones is None:
            zones = zone_map_bytes(rows, self.layout, start, stop)
        page_no, checksum = self._write(page.LEAF, 0, stop - start, body)
        self.leaf_count += 1
        return Child(separator, page_no, checksum, stop - start, zones)

    def write_branches(self, children: Sequence[Child], level: int, full: bool) -> list[Child]:
        """Children as branch pages of this level, of equal size unless `full`."""
        made = []
        for start, stop in self._branch_cuts(children, full):
            part = children[start:stop]
            body = branch.encode_branch(part, self.zones)
            page_no, checksum = self._write(page.BRANCH, level, len(part), body)
            self.branch_count += 1
            rows = sum([child.rows for child in part])
            zones = branch.zones_of(part, self.zones)
            made.append(Child(part[0].separator, page_no, checksum, rows, zones))
        return made

    def is_underfull(self, children: Sequence[Child]) -> bool:
        """Whether a branch of these children fills less than a quarter of its page."""
        size = branch.encoded_size(children, len(self.zones))
        return size < self.space.page_size >> 2

    def finish(self, children: Sequence[Child], level: int, full: bool = False) -> TreeRoot:
        """The root above children whose own level is `level`."""
        if not children:
            return EMPTY_ROOT
        while len(children) > 1:
            level += 1
            children = self.write_branches(children, level, full)
        root = children[0]
        return TreeRoot(root.page_no, root.checksum, level + 1, root.rows)

    def _branch_cuts(self, children: Sequence[Child], full: bool) -> list[tuple[int, int]]:
        fixed = branch.encoded_size(children[:1], len(self.zones)) + 16
        is_int = isinstance(children[0].separator, int)
        each = 24 + branch.ZONE_SIZE * len(self.zones) + (8 if is_int else 4)
        room = self.space.page_size - fixed
        if is_int:
            sizes = [each] * len(children)
        else:
            separators: list[Any] = [child.separator for child in children]
            sizes = [each + len(separator) for separator in separators]
        total = sum(sizes)
        pages = -(-total // room)
        limit = room if full or pages == 1 else min(room, -(-total // pages) + max(sizes))
        found = []
        start = used = 0
        for index, size in enumerate(sizes):
            if used + size > limit and index > start:
                found.append((start, index))
                start, used = index, 0
            used += size
        found.append((start, len(children)))
        return found

    def _write(self, page_type: int, level: int, rows: int, body: bytes) -> tuple[int, int]:
        space = self.space
        page_no = space.allocate()
        data, checksum = page.seal_page(
            space.page_size,
            page_type,
            level,
            page_no,
            space.checkpoint_no,
            self.spec.tree_id,
            rows,
            body,
        )
        self.sink.write(page_no, data)
        return page_no, checksum
