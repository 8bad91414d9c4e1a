"""Branch pages: which child holds which keys, and what is known about each child.

A page (little-endian; n = row count of the header, the number of children):

    offset  size    field
    0       48      page header    page.py; type 3
    48      8       subtree rows   rows in all leaves below
    56      1       key kind       1 int, 2 bytes
    57      1       zone columns   z below
    58      6       reserved       zero
    64      -       zone columns   8*z: column id (4 bytes), kind (1 byte, as in leaf.py), zero (3)
    …       8*n     page_no        of each child
    …       8*n     checksum       of each child
    …       8*n     rows           in each child's subtree
    …       24*z*n  zone maps      per child, per zone column: min, max (int64 or float64 by kind),
                                   null count
    …       8*n     separators     int keys
    …       4*(n+1) separators     bytes keys: int32 offsets, then their bytes; both padded to 8

Invariants
1. Keys in child i are >= separators[i] and < separators[i + 1]. separators[0] is not used for
   searching: the parent's separator bounds the first child.
2. Children's levels are this level - 1, so all leaves have one depth.
3. The zone maps cover the first fixed-width columns, as many as leave a fan-out of 16
   (`zone_columns`); min > max means that there is no value, a float max of NaN that there is one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import msgspec

from engine.errors import DamageFound
from engine.storage import page
from engine.storage.leaf import BOOL, KIND_CODES, UTF8
from engine.storage.store import Key, TreeSpec

FIXED = struct.Struct("<QBB6x")
ZONE_COLUMN = struct.Struct("<iB3x")
BRANCH_PREFIX_SIZE = page.HEADER_SIZE + FIXED.size
ZONE_SIZE = 24
ZONE_COLUMNS_MAX = 16
INT_MIN = -(1 << 63)
INT_MAX = (1 << 63) - 1
FLOAT_KINDS = (5, 6)


class Child(msgspec.Struct, frozen=True, gc=False):
    """One entry of a branch. zones: ZONE_SIZE bytes a zone column, as stored."""

    separator: Key
    page_no: int
    checksum: int
    rows: int
    zones: bytes


class ZoneMap(msgspec.Struct, frozen=True, gc=False):
    """What a branch knows of one column below a child. min > max: no value at all (only NULLs);
    a float max of NaN: there is a NaN, which sorts above every number."""

    column_id: int
    minimum: int | float
    maximum: int | float
    null_count: int


def zone_columns(spec: TreeSpec, page_size: int) -> tuple[tuple[int, int], ...]:
    """(column_id, kind code) of the columns that get zone maps (Invariant 3)."""
    limit = min(ZONE_COLUMNS_MAX, max(0, (page_size - 512) // 16 - 96) // ZONE_SIZE)
    found = []
    for position, column in enumerate(spec.columns):
        kind = KIND_CODES[column.physical]
        if position != spec.key_column and BOOL < kind < UTF8:
            found.append((column.column_id, kind))
    return tuple(found[:limit])


def lowest_key(key_kind: str) -> Key:
    """The separator of the leftmost child."""
    return INT_MIN if key_kind == "int" else b""


def separator_between(left: Key, right: Key) -> Key:
    """The shortest key that is > left and <= right."""
    if isinstance(right, int):
        return right
    assert isinstance(left, bytes) and left < right
    for size in range(1, len(right)):
        if right[:size] > left:
            return right[:size]
    return right


def no_bounds(kind: int) -> tuple[int | float, int | float]:
    """(min, max) of no value at all."""
    return (float("inf"), float("-inf")) if kind in FLOAT_KINDS else (INT_MAX, INT_MIN)


def zone_struct(zones: Sequence[tuple[int, int]]) -> struct.Struct:
    """The layout of one child's zone maps."""
    return struct.Struct(
        "<" + "".join("ddq" if kind in FLOAT_KINDS else "qqq" for _, kind in zones)
    )


class BranchView:
    """A parsed branch page. Build through BufferPool.branch; raises DamageFound on bad bytes.

    searched: separators without the first, a list because bisect over a list takes a third of
    the time over a memoryview; bisect_right(searched, key) is the child's index.
    """

    __slots__ = (
        "_before",
        "checksum",
        "checksums",
        "child_rows",
        "children",
        "key_kind",
        "level",
        "page_no",
        "row_count",
        "searched",
        "separators",
        "subtree_rows",
        "table_id",
        "used",
        "zone_bytes",
        "zone_columns",
    )

    def __init__(self, raw: memoryview, header: page.PageHeader) -> None:
        n = header.row_count
        self.page_no = header.page_no
        self.checksum = header.checksum
        self.table_id = header.table_id
        self.level = header.level
        self.row_count = n
        self.used = True
        self._before: list[int] | None = None
        self.subtree_rows, kind, zone_count = FIXED.unpack_from(raw, page.HEADER_SIZE)
        at = BRANCH_PREFIX_SIZE + zone_count * ZONE_COLUMN.size
        zones_at = at + 24 * n
        separators_at = zones_at + n * zone_count * ZONE_SIZE
        least = separators_at + (8 * n if kind == 1 else 4 * (n + 1))
        if n < 1 or header.level < 1 or kind not in (1, 2) or least > header.used_size:
            raise self._damage("bad counts")
        self.zone_columns = tuple(ZONE_COLUMN.iter_unpack(raw[BRANCH_PREFIX_SIZE:at]))
        self.children: list[int] = raw[at : at + 8 * n].cast("q").tolist()
        self.checksums: list[int] = raw[at + 8 * n : at + 16 * n].cast("Q").tolist()
        self.child_rows: list[int] = raw[at + 16 * n : zones_at].cast("q").tolist()
        self.zone_bytes = bytes(raw[zones_at:separators_at])
        self.key_kind = "int" if kind == 1 else "bytes"
        self.separators: list[Any]
        if kind == 1:
            self.separators = raw[separators_at:least].cast("q").tolist()
        else:
            self.separators = self._byte_separators(raw, separators_at, header.used_size)
        self.searched = self.separators[1:]
        if sum(self.child_rows) != self.subtree_rows or min(self.child_rows) < 1:
            raise self._damage("its row counts do not add up")

    def _byte_separators(self, raw: memoryview, at: int, limit: int) -> list[bytes]:
        offsets = raw[at : at + 4 * (self.row_count + 1)].cast("i").tolist()
        start = at + _padded(4 * (self.row_count + 1))
        if offsets[0] != 0 or offsets != sorted(offsets) or start + offsets[-1] > limit:
            raise self._damage("bad separators")
        whole = bytes(raw[start : start + offsets[-1]])
        return [whole[a:b] for a, b in pairwise(offsets)]

    def entries(self, lower: Key, zones: Sequence[tuple[int, int]]) -> list[Child]:
        """All children; `lower` is the parent's bound for the first (Invariant 1). `zones`: the
        zone columns wanted; one that this branch lacks was added later, so it is NULL below."""
        size = len(self.zone_columns) * ZONE_SIZE
        if self.zone_columns != tuple(zones):
            parts = [self._zones_as(index, zones) for index in range(self.row_count)]
        elif size:
            raw = self.zone_bytes
            parts = [raw[at : at + size] for at in range(0, size * self.row_count, size)]
        else:
            parts = [b""] * self.row_count
        made = map(
            Child, [lower, *self.searched], self.children, self.checksums, self.child_rows, parts
        )
        return list(made)

    def rows_before(self, index: int) -> int:
        """Rows in the children before child `index`."""
        return self.prefix_rows()[index]

    def prefix_rows(self) -> list[int]:
        """Rows before each child, and all of them at the end."""
        before = self._before
        if before is None:
            before = self._before = [0, *accumulate(self.child_rows)]
        return before

    def zone_maps(self, index: int) -> list[ZoneMap]:
        """What is known of each zone column below child `index`."""
        layout = zone_struct(self.zone_columns)
        fields = layout.unpack_from(self.zone_bytes, index * layout.size)
        return [
            ZoneMap(column_id, *fields[3 * n : 3 * n + 3])
            for n, (column_id, _) in enumerate(self.zone_columns)
        ]

    def _zones_as(self, index: int, zones: Sequence[tuple[int, int]]) -> bytes:
        known = {zone.column_id: zone for zone in self.zone_maps(index)}
        fields: list[int | float] = []
        for column_id, kind in zones:
            zone = known.get(column_id)
            if zone is None:
                fields += (*no_bounds(kind), self.child_rows[index])
            else:
                fields += (zone.minimum, zone.maximum, zone.null_count)
        return zone_struct(zones).pack(*fields)

    def _damage(self, message: str) -> DamageFound:
        return DamageFound(
            f"branch {self.page_no}: {message}", page_no=self.page_no, hint="run mantis check"
        )


def encoded_size(children: Sequence[Child], zone_count: int) -> int:
    """Bytes a branch of these children takes, header included."""
    n = len(children)
    size = BRANCH_PREFIX_SIZE + zone_count * ZONE_COLUMN.size + n * (24 + ZONE_SIZE * zone_count)
    if isinstance(children[0].separator, int):
        return size + 8 * n
    separators: list[Any] = [child.separator for child in children]
    text = sum(map(len, separators))
    return size + _padded(4 * (n + 1)) + _padded(text)


def encode_branch(children: Sequence[Child], zones: Sequence[tuple[int, int]]) -> bytes:
    """The body of a branch page."""
    n = len(children)
    is_int = isinstance(children[0].separator, int)
    rows = [child.rows for child in children]
    parts = [FIXED.pack(sum(rows), 1 if is_int else 2, len(zones))]
    parts += [ZONE_COLUMN.pack(column_id, kind) for column_id, kind in zones]
    parts.append(struct.pack(f"<{n}q", *[child.page_no for child in children]))
    parts.append(struct.pack(f"<{n}Q", *[child.checksum for child in children]))
    parts.append(struct.pack(f"<{n}q", *rows))
    parts += [child.zones for child in children]
    if is_int:
        parts.append(struct.pack(f"<{n}q", *[child.separator for child in children]))
        return b"".join(parts)
    separators: list[bytes] = [child.separator for child in children]  # type: ignore[misc]
    offsets = [0, *accumulate(map(len, separators))]
    for region in (struct.pack(f"<{n + 1}i", *offsets), b"".join(separators)):
        parts += (region, bytes(-len(region) % 8))
    return b"".join(parts)


def zones_of(children: Sequence[Child], zones: Sequence[tuple[int, int]]) -> bytes:
    """The zone maps of a branch as its parent stores them: the union of its children's."""
    if not zones:
        return b""
    layout = zone_struct(zones)
    columns = list(zip(*layout.iter_unpack(b"".join([child.zones for child in children]))))
    fields: list[int | float] = []
    for n in range(len(zones)):
        minimums, maximums, nulls = columns[3 * n : 3 * n + 3]
        highest = max(maximums)
        if any(value != value for value in maximums):
            highest = float("nan")
        fields += (min(minimums), highest, sum(nulls))
    return layout.pack(*fields)


def _padded(size: int) -> int:
    return (size + 7) & ~7
