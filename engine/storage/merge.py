"""Copy-on-write merge and bulk build. (signatures first; page_size and checkpoint_no come from `space`)"""
from __future__ import annotations
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
import msgspec
from engine.storage.btree import Tree
from engine.storage.freespace import PageAllocator, PageSink
from engine.storage.page import TreeRoot
from engine.storage.store import Key, Row, TreeSpec
if TYPE_CHECKING:
    import pyarrow as pa

class MergeResult(msgspec.Struct, frozen=True, gc=False):
    root: TreeRoot
    freed_page_nos: list[int]   # the caller passes them to PageAllocator.free(...)

def merge_tree(tree: Tree, changes: Sequence[tuple[Key, Row | None]], space: PageAllocator, sink: PageSink) -> MergeResult: ...
def build_tree(spec: TreeSpec, rows: Iterable[tuple[Key, Row]], space: PageAllocator, sink: PageSink) -> TreeRoot: ...
def build_tree_from_batches(spec: TreeSpec, batches: Iterable[pa.RecordBatch], space: PageAllocator, sink: PageSink) -> TreeRoot:
    """batches: fields "0", "1", … = spec.columns in order, plus a first field "key" when spec.key_column is None."""
