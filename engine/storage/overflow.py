"""Overflow: values too long for a leaf, in runs of adjacent pages of their own.

The leaf keeps a reference (REFERENCE_SIZE bytes) in the value's place:

    offset  size  field
    0       8     first page_no   of the run
    8       8     value size      bytes, at most VALUE_SIZE_MAX
    16      8     checksum        xxh3_64 of the whole value

Each page of the run:

    offset  size  field
    0       48    page header     page.py; type 4, row count 1
    48      8     first page_no   of the run it belongs to
    56      4     position        0 for the first page of the run
    60      4     reserved        zero
    64      -     payload         up to the used size

Invariants
1. The leaf's checksum of the value plays the part of the parent's checksum of a child: a stale
   run at a reused address is seen.
2. A run is written once and belongs to one value of one leaf; a leaf rewritten with the value
   unchanged keeps pointing at the same run.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import xxhash

from engine.errors import DamageFound
from engine.storage import page
from engine.storage.freespace import PageAllocator, PageSink

REFERENCE = struct.Struct("<QQQ")
REFERENCE_SIZE = 24
RUN = struct.Struct("<QII")
RUN_PREFIX_SIZE = page.HEADER_SIZE + RUN.size
VALUE_SIZE_MAX = 1 << 30


def run_page_count(value_size: int, page_size: int) -> int:
    """How many pages a value of so many bytes takes."""
    return -(-value_size // (page_size - RUN_PREFIX_SIZE))


def write_value(value: bytes, tree_id: int, space: PageAllocator, sink: PageSink) -> bytes:
    """Store a value; returns its reference."""
    page_size = space.page_size
    room = page_size - RUN_PREFIX_SIZE
    first = space.allocate(run_page_count(len(value), page_size))
    for position, start in enumerate(range(0, len(value), room)):
        body = RUN.pack(first, position, 0) + value[start : start + room]
        data, _ = page.seal_page(
            page_size,
            page.OVERFLOW,
            0,
            first + position,
            space.checkpoint_no,
            tree_id,
            1,
            body,
        )
        sink.write(first + position, data)
    return REFERENCE.pack(first, len(value), xxhash.xxh3_64_intdigest(value))


def read_value(
    reference: bytes | memoryview,
    page_size: int,
    page_limit: int,
    read_page: Callable[[int], memoryview],
) -> bytes:
    """The value behind a reference. read_page(page_no) gives a page's bytes, unverified;
    page_limit: pages in the file. Raises DamageFound."""
    first, size, checksum = REFERENCE.unpack(reference)
    count = run_page_count(size, page_size)
    if size > VALUE_SIZE_MAX or first < page.FIRST_PAGE_NO or first + count > page_limit:
        raise DamageFound("overflow reference out of range", page_no=first)
    parts = []
    for page_no in range(first, first + count):
        raw = read_page(page_no)
        header = page.decode_header(raw, page_no)
        if header.page_type != page.OVERFLOW:
            raise DamageFound(f"page {page_no} is not an overflow page", page_no=page_no)
        run_first, position, _ = RUN.unpack_from(raw, page.HEADER_SIZE)
        if run_first != first or position != page_no - first:
            raise DamageFound(f"page {page_no} belongs to another value", page_no=page_no)
        parts.append(raw[RUN_PREFIX_SIZE : header.used_size])
    value = b"".join(parts)
    if len(value) != size or xxhash.xxh3_64_intdigest(value) != checksum:
        raise DamageFound(f"overflow value at page {first}: checksum mismatch", page_no=first)
    return value
