"""The directory: the tree that the meta page points to, naming every other tree and its root.

A tree like any other (key = tree_id, page header table_id 0), with two columns:

    column 0  spec   MessagePack TreeSpec (the row of TREE_DIRECTORY)
    column 1  root   ROOT_SIZE bytes, little-endian:

    offset  size  field
    0       8     page_no      root page; 0 = the tree is empty
    8       8     checksum     of that page
    16      8     row count
    24      8     height       pages from root to leaf; 0 = empty

Invariants
1. Every live tree but TREE_DIRECTORY has one entry, empty ones too. TREE_DIRECTORY itself has no
   pages: its frozen rows are the specs found here, without those of the other system trees.

Does not: read or write pages (btree.py and merge.py do).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import msgspec

from engine.errors import DamageFound
from engine.storage.page import DEPTH_MAX, TreeRoot
from engine.storage.store import (
    DIRECTORY_SPEC,
    FIRST_USER_ID,
    TREE_DIRECTORY,
    ColumnSpec,
    Key,
    Row,
    TreeSpec,
    decode_tree_spec,
    encode_tree_spec,
)
from engine.storage.table_store import ListTree

DIRECTORY_PAGES_SPEC = TreeSpec(
    TREE_DIRECTORY, "int", (ColumnSpec(0, "binary"), ColumnSpec(1, "binary"))
)
ROOT = struct.Struct("<QQQQ")
ROOT_SIZE = 32


class DirectoryEntry(msgspec.Struct, frozen=True, gc=False):
    """One tree of a checkpoint."""

    spec: TreeSpec
    root: TreeRoot


def encode_entry(entry: DirectoryEntry) -> Row:
    """The directory row of a tree."""
    root = entry.root
    raw = ROOT.pack(root.page_no, root.checksum, root.row_count, root.height)
    return (*encode_tree_spec(entry.spec), raw)


def decode_entry(key: Key, row: Row) -> DirectoryEntry:
    """Raises DamageFound when the row is not an entry for `key`."""
    try:
        spec = decode_tree_spec(row)
        page_no, checksum, row_count, height = ROOT.unpack(row[1])
    except (msgspec.MsgspecError, struct.error, TypeError) as error:
        raise DamageFound(f"directory entry {key!r} cannot be read: {error}") from error
    if spec.tree_id != key or height > DEPTH_MAX or (height == 0) != (page_no == 0):
        raise DamageFound(f"directory entry {key!r} contradicts itself")
    return DirectoryEntry(spec, TreeRoot(page_no, checksum, height, row_count))


def frozen_tree_directory(specs: Iterable[TreeSpec]) -> ListTree:
    """What snapshots see of TREE_DIRECTORY in a checkpoint (Invariant 1)."""
    rows: list[tuple[Key, Row]] = [
        (spec.tree_id, encode_tree_spec(spec)) for spec in specs if spec.tree_id >= FIRST_USER_ID
    ]
    rows.sort(key=lambda entry: entry[0])
    return ListTree(DIRECTORY_SPEC, rows)
