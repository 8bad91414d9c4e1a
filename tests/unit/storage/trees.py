"""A file with trees in it, for the tests of pages and trees: builds, merges, reads, damage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.storage.btree import Tree
from engine.storage.buffer_pool import BufferPool, FilePageSink
from engine.storage.check_tree import Finding, check_tree
from engine.storage.freespace import FreeSpace, PageAllocator
from engine.storage.merge import build_tree, merge_tree
from engine.storage.page import EMPTY_ROOT, PAGE_SIZE_MIN, TreeRoot
from engine.storage.store import ColumnSpec, Key, Row, TreeSpec
from engine.vfs_memory import MemoryVfs

ALL_KINDS = ("bool", "int16", "int32", "int64", "float32", "float64", "utf8", "binary")


def spec_of(*kinds: str, key: str = "int", key_column: int | None = None) -> TreeSpec:
    """A spec of tree 7 with columns of these kinds; column ids are position + 1."""
    columns = tuple(ColumnSpec(n + 1, kind) for n, kind in enumerate(kinds))
    return TreeSpec(7, key, columns, key_column)


class Forest:
    """One file, its pool and free space; every build is one committed checkpoint."""

    def __init__(self, page_size: int = PAGE_SIZE_MIN, io: str = "mmap", **pool: object) -> None:
        self.page_size = page_size
        self.file = MemoryVfs().open("/trees", create=True)
        self.pool = BufferPool(self.file, page_size, io=io, **pool)  # type: ignore[arg-type]
        self.space = FreeSpace()
        self.checkpoint_no = 0

    def begin(self) -> tuple[PageAllocator, FilePageSink]:
        self.checkpoint_no += 1
        space = self.space.begin(self.checkpoint_no, self.checkpoint_no - 2, self.page_size)
        return space, FilePageSink(self.file, self.pool)

    def build(self, spec: TreeSpec, rows: Iterable[tuple[Key, Row]]) -> Tree:
        space, sink = self.begin()
        root = build_tree(spec, rows, space, sink)
        space.write_list(sink)
        space.commit()
        return Tree(self.pool, spec, root)

    def merge(self, tree: Tree, changes: Sequence[tuple[Key, Row | None]]) -> Tree:
        space, sink = self.begin()
        merged = merge_tree(tree, changes, space, sink)
        space.free(merged.freed_page_nos)
        space.write_list(sink)
        space.commit()
        return Tree(self.pool, tree.spec, merged.root)

    def empty(self, spec: TreeSpec) -> Tree:
        return Tree(self.pool, spec, EMPTY_ROOT)

    def findings(self, tree: Tree, root: TreeRoot | None = None) -> list[Finding]:
        return list(check_tree(self.pool, tree.spec, root or tree.root))

    def reached(self, tree: Tree) -> set[int]:
        pages: set[int] = set()
        assert list(check_tree(self.pool, tree.spec, tree.root, pages)) == []
        return pages

    def page_bytes(self, page_no: int) -> bytearray:
        return bytearray(self.file.read(page_no * self.page_size, self.page_size))

    def overwrite(self, page_no: int, data: bytes | bytearray) -> None:
        """Surgery: change a page behind the engine's back."""
        self.file.write(page_no * self.page_size, bytes(data))
        self.pool.forget_all()


def expected_range(
    model: dict[Key, Row], lo: Key | None, hi: Key | None, columns: tuple[int, ...] | None = None
) -> list[tuple[Key, Row]]:
    """What a scan of [lo, hi) must give."""
    keys = sorted(k for k in model if (lo is None or k >= lo) and (hi is None or k < hi))
    if columns is None:
        return [(key, model[key]) for key in keys]
    return [(key, tuple(model[key][n] for n in columns)) for key in keys]
