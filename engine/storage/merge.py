"""Copy-on-write merge: a frozen tree and a sorted set of changes become a new frozen tree.

Only leaves that hold a changed key, and the branches above them, are read and written again;
all else is shared with the old tree. Within a leaf, ranges of kept rows are moved as bytes
(leaf_rows.splice). Large merges gather the leaves of a run of children and rearrange them with
Arrow's concatenate and take (arrow_rows.py); small ones never import Arrow.

Invariants
1. The old tree stays whole: the result lists the pages that the new root no longer reaches, and
   the caller frees them (freespace.py decides when they may be used again).
2. Changes are sorted by key without duplicates; None deletes, and deleting an absent key changes
   nothing. A merge that changes nothing returns the old root.
3. A run of leaves (or a branch) that ends up less than a quarter full takes in its right
   neighbour below the same parent, so deletes do not leave crumbs.
4. The separators of the children of one branch tile its range: where a first child vanishes, the
   next one takes over its separator.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import msgspec

from engine.storage import branch, overflow
from engine.storage.arrow_rows import splice_vectorised
from engine.storage.branch import Child
from engine.storage.btree import Tree
from engine.storage.bulk_build import build_tree, build_tree_from_batches
from engine.storage.freespace import PageAllocator, PageSink
from engine.storage.leaf import LeafView
from engine.storage.leaf_rows import (
    LeafRows,
    Segment,
    encoded_size,
    rows_from_pairs,
    rows_of_leaf,
    splice,
)
from engine.storage.page import TreeRoot
from engine.storage.store import Key, Row
from engine.storage.tree_writer import TreeWriter

__all__ = ["MergeResult", "build_tree", "build_tree_from_batches", "merge_tree"]

# Measured (tools/bench/storage_bench.py): below this many changes the import of Arrow (0.1 s)
# costs more than it saves; with fewer changes a leaf, moving bytes is as fast.
VECTORISED_CHANGES_MIN = 20_000
VECTORISED_CHANGES_PER_LEAF_MIN = 8
GROUP_ROWS_MAX = 65_536
LIST_KEYS_FROM = 16


class MergeResult(msgspec.Struct, frozen=True, gc=False):
    """The new root, and the pages (overflow pages too) that only the old tree reaches."""

    root: TreeRoot
    freed_page_nos: list[int]


def merge_tree(
    tree: Tree,
    changes: Sequence[tuple[Key, Row | None]],
    space: PageAllocator,
    sink: PageSink,
) -> MergeResult:
    """Apply sorted changes to a tree. Rows are whole, in storage form, one value a spec column.

    The caller passes `freed_page_nos` to `space.free`. Raises DamageFound (nothing is lost: the
    old tree is untouched), DiskFull, DataError for a key that is too long.
    """
    return _Merge(tree, changes, space, sink).run()


class _Run:
    """Adjacent leaves being rewritten together: their rows and the new ones, as segments."""

    __slots__ = (
        "held_rows",
        "held_size",
        "is_changed",
        "leaf_nos",
        "lower",
        "pairs",
        "row_count",
        "segments",
        "sources",
    )

    def __init__(self, lower: Key) -> None:
        self.lower = lower
        self.sources: list[LeafRows] = []
        self.segments: list[Segment] = []
        self.pairs: list[tuple[Key, Row]] = []
        self.leaf_nos: list[int] = []
        self.row_count = 0  # after the changes
        self.held_rows = 0  # of the sources, and their size as leaves
        self.held_size = 0
        self.is_changed = False


class _Merge:
    """One merge. keys: of the changes, for bisect; freed: pages the new root does not reach."""

    __slots__ = ("changes", "freed", "is_vectorised", "keys", "pool", "splice", "tree", "writer")

    def __init__(
        self,
        tree: Tree,
        changes: Sequence[tuple[Key, Row | None]],
        space: PageAllocator,
        sink: PageSink,
    ) -> None:
        self.tree = tree
        self.pool = tree.pool
        self.changes = changes
        self.keys: list[Any] = [key for key, _ in changes]
        self.writer = TreeWriter(tree.spec, space, sink)
        self.freed: list[int] = []
        self.is_vectorised = self._wants_vectors()
        self.splice = splice_vectorised if self.is_vectorised else splice

    def _wants_vectors(self) -> bool:
        if len(self.changes) < VECTORISED_CHANGES_MIN:
            return False
        row_size = 8 * (2 + len(self.tree.spec.columns))
        leaves = max(1, self.tree.root.row_count * row_size // self.pool.page_size)
        return len(self.changes) >= leaves * VECTORISED_CHANGES_PER_LEAF_MIN

    def run(self) -> MergeResult:
        root = self.tree.root
        lowest = branch.lowest_key(self.tree.spec.key_kind)
        if not self.changes:
            return MergeResult(root, [])
        if root.height == 0:
            pairs = ((key, row) for key, row in self.changes if row is not None)
            built = build_tree(self.tree.spec, pairs, self.writer.space, self.writer.sink)
            return MergeResult(built, [])
        if root.height == 1:
            only = Child(lowest, root.page_no, root.checksum, root.row_count, b"")
            children = self._leaf_children([only], [], 0, len(self.changes), is_last=True)
        else:
            children = self._children(
                root.page_no, root.checksum, root.height - 1, lowest, 0, len(self.changes), True
            )
        if children is None:
            return MergeResult(root, [])
        if root.height > 1:
            self.freed.append(root.page_no)
        level = max(0, root.height - 2)
        return MergeResult(self.writer.finish(children, level), self.freed)

    # ── branches ─────────────────────────────────────────────────────────────────────────────
    def _children(
        self,
        page_no: int,
        checksum: int,
        level: int,
        lower: Key,
        start: int,
        stop: int,
        is_last: bool,
    ) -> list[Child] | None:
        """What a branch holds after changes [start, stop); None when nothing changed.
        lower: the branch's separator in its parent; is_last: it is the tree's rightmost."""
        view = self.pool.branch(page_no, checksum)
        entries = view.entries(lower, self.writer.zones)
        if level == 1:
            return self._leaf_children(entries, view.searched, start, stop, is_last)
        return self._branch_children(entries, view.searched, level, start, stop, is_last)

    def _branch_children(
        self,
        entries: list[Child],
        searched: list[Any],
        level: int,
        start: int,
        stop: int,
        is_last: bool,
    ) -> list[Child] | None:
        done: list[Child] = []
        pending: list[Child] = []  # content of the children being rewritten together
        is_changed = False
        index, count = 0, len(entries)
        while index < count and (start < stop or pending):
            if not pending:
                target = bisect_right(searched, self.keys[start])
                done += entries[index:target]
                index = target
            entry = entries[index]
            is_end = index == count - 1
            end = stop if is_end else bisect_left(self.keys, searched[index], start, stop)
            args = (entry.page_no, entry.checksum, level - 1, entry.separator, start, end)
            content = self._children(*args, is_last and is_end) if start < end else None
            start = end
            index += 1
            if content is None:
                if not pending:
                    done.append(entry)
                    continue
                below = self.pool.branch(entry.page_no, entry.checksum)
                content = below.entries(entry.separator, self.writer.zones)
            is_changed = True
            self.freed.append(entry.page_no)
            pending += content
            if not pending:
                _pass_on(entry.separator, entries, index)
            elif index == count or not self.writer.is_underfull(pending):
                done += self.writer.write_branches(pending, level - 1, is_last and is_end)
                pending = []
        done += entries[index:]
        return done if is_changed else None

    # ── leaves ───────────────────────────────────────────────────────────────────────────────
    def _leaf_children(
        self, entries: list[Child], searched: list[Any], start: int, stop: int, is_last: bool
    ) -> list[Child] | None:
        done: list[Child] = []
        run: _Run | None = None
        is_changed = False
        index, count = 0, len(entries)
        while index < count and (start < stop or run is not None):
            if run is None:
                target = bisect_right(searched, self.keys[start])
                done += entries[index:target]
                index = target
                run = _Run(entries[index].separator)
            entry = entries[index]
            is_end = index == count - 1
            end = stop if is_end else bisect_left(self.keys, searched[index], start, stop)
            self._add_leaf(run, entry, start, end)
            start = end
            index += 1
            if not run.is_changed:
                done.append(entry)
                run = None
            elif run.row_count == 0:
                is_changed = True
                self.freed += run.leaf_nos
                _pass_on(run.lower, entries, index)
                run = None
            elif index == count or not self._goes_on(run, start, stop, searched, index):
                is_changed = True
                done += self._write_run(run, is_last and is_end)
                run = None
        done += entries[index:]
        return done if is_changed else None

    def _goes_on(self, run: _Run, start: int, stop: int, searched: list[Any], index: int) -> bool:
        """Whether the run takes in child `index` too: it must (Invariant 3), or it pays."""
        if self._is_underfull(run):
            return True
        if not self.is_vectorised or run.row_count >= GROUP_ROWS_MAX or start >= stop:
            return False
        return index >= len(searched) or bool(self.keys[start] < searched[index])

    def _is_underfull(self, run: _Run) -> bool:
        """A quarter of a page, judged by the sources' density; new rows count as average."""
        quarter = self.writer.space.page_size >> 2
        return run.held_size * run.row_count < run.held_rows * quarter

    def _add_leaf(self, run: _Run, entry: Child, start: int, stop: int) -> None:
        """Add a leaf's rows with changes [start, stop) applied."""
        leaf = self.pool.leaf(entry.page_no, entry.checksum)
        source = len(run.sources)
        run.sources.append(rows_of_leaf(leaf, self.writer.layout))
        run.leaf_nos.append(entry.page_no)
        segments, pairs = run.segments, run.pairs
        keys = leaf.key_sequence()
        if stop - start >= LIST_KEYS_FROM and isinstance(keys, memoryview):
            keys = keys.tolist()
        count = leaf.row_count
        position = kept = 0
        pairs_before = len(pairs)
        dropped: list[int] = []
        for key, row in self.changes[start:stop]:
            at = bisect_left(keys, key, position, count)
            exists = at < count and keys[at] == key
            if row is None and not exists:
                continue  # Invariant 2
            if at > position:
                segments.append((source, position, at))
                kept += at - position
            position = at
            if exists:
                dropped.append(at)
                position += 1
            if row is not None:
                number = len(pairs)
                pairs.append((key, row))
                if segments and segments[-1][0] == -1 and segments[-1][2] == number:
                    segments[-1] = (-1, segments[-1][1], number + 1)
                else:
                    segments.append((-1, number, number + 1))
            run.is_changed = True
        if position < count:
            segments.append((source, position, count))
            kept += count - position
        run.row_count += kept + len(pairs) - pairs_before
        run.held_rows += count
        run.held_size += encoded_size(run.sources[-1], self.writer.layout, 0, count)
        if dropped:
            self._free_long_values(leaf, frozenset(dropped))

    def _free_long_values(self, leaf: LeafView, dropped: frozenset[int]) -> None:
        for index, reference in leaf.overflow_references():
            if index in dropped:
                first, size, _ = overflow.REFERENCE.unpack(reference)
                pages = overflow.run_page_count(size, self.pool.page_size)
                self.freed += range(first, first + pages)

    def _write_run(self, run: _Run, is_rightmost: bool) -> list[Child]:
        writer = self.writer
        sources = run.sources
        if run.pairs:
            # Segments name the new rows as source -1: the last one.
            sources = [
                *sources,
                rows_from_pairs(run.pairs, writer.layout, writer.store_value),
            ]
        rows = self.splice(sources, run.segments)
        self.freed += run.leaf_nos
        return writer.write_leaves(rows, run.lower, full=is_rightmost)


def _pass_on(separator: Key, entries: list[Child], index: int) -> None:
    """Invariant 4: child `index` takes over the separator of the vanished one before it."""
    if index < len(entries):
        entries[index] = msgspec.structs.replace(entries[index], separator=separator)
