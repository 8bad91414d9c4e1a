"""Page headers and the two meta pages: the only bytes every reader of the file must agree on.

The file is an array of pages of one size (a power of two, 4 KiB to 256 KiB). Pages 0 and 1 are
meta pages; every other page opens with this header (little-endian, HEADER_SIZE bytes):

    offset  size  field
    0       8     checksum       xxh3_64 of bytes 8 … page size
    8       4     magic          "MPg1"
    12      1     page type      2 leaf, 3 branch, 4 overflow, 5 free space
    13      1     level          0 for a leaf, its height above the leaves for a branch
    14      2     flags          zero
    16      8     page_no        where the page believes it lives
    24      8     checkpoint_no  the checkpoint that wrote it
    32      8     table_id       tree_id of the tree it belongs to; 0 for free space
    40      4     row count      rows of a leaf, children of a branch, entries of a free-space page
    44      4     used size      bytes in use, header included; the rest is zero

A meta page holds one 512-byte sector of content (META_SIZE); the rest of its page is zero:

    offset  size  field
    0       8     magic               "MantisDB"
    8       4     format version      1
    12      4     page size           bytes
    16      16    uuid                of the database, never changes
    32      8     checkpoint_no       grows by one per checkpoint; slot = checkpoint_no % 2
    40      8     ckpt_lsn            log records with lsn <= ckpt_lsn are inside the trees
    48      8     last commit_ts      of the newest transaction inside the trees
    56      8     page count          pages in use by this checkpoint, free ones included
    64      8     directory page_no   root of the directory (catalog) tree; 0 = empty
    72      8     directory checksum
    80      8     directory rows
    88      4     directory height    pages from root to leaf; 0 = empty
    92      4     checksum kind       1 = xxh3
    96      8     free page_no        first free-space page; 0 = nothing is free
    104     8     free checksum
    112     8     free page count     pages in the free list
    120     8     next object id      tree and object ids below it are taken
    128     8     required features   bits a reader must know; unknown ones are refused
    136     8     optional features   bits a reader may ignore
    144     8     created             microseconds since 1970 UTC
    152     344   zero
    496     16    checksum            xxh3_128 of bytes 0 … 496

Invariants
1. A page's checksum covers everything behind it, so a flipped bit anywhere is seen.
2. The parent stores the same checksum: a stale page at a reused address is sound by itself and
   is seen only by its parent.
3. Meta slots alternate; the highest checkpoint_no that verifies wins, and one bad slot is normal
   (a crash while writing it), not an error.
4. Decoders raise DamageFound, NotADatabase or NewerFormat on any input, and nothing else.

It does not read files (buffer_pool.py does) except for finding the newest meta page.
"""

from __future__ import annotations

import struct
from typing import Protocol

import msgspec
import xxhash

from engine.errors import DamageFound, NewerFormat, NotADatabase

PAGE_MAGIC = b"MPg1"
HEADER = struct.Struct("<Q4sBBHQQQII")
HEADER_SIZE = 48
CHECKSUM_SIZE = 8

LEAF = 2
BRANCH = 3
OVERFLOW = 4
FREE_SPACE = 5
PAGE_TYPE_NAMES = {LEAF: "leaf", BRANCH: "branch", OVERFLOW: "overflow", FREE_SPACE: "free space"}

PAGE_SIZE_MIN = 4096
# Measured (tools/bench/storage_bench.py, 600 k rows; 8, 16, 32, 64, 256 KiB): filter and sum over
# fresh views 78, 50, 16, 9, 3 ms; spread point reads 2.7, 3.2, 1.4, 1.3, 1.2 µs. A small change
# writes one page a level, so 32 KiB is where reads have gained most and writes lost least.
PAGE_SIZE_DEFAULT = 32768
PAGE_SIZES = (4096, 8192, 16384, 32768, 65536, 131072, 262144)
FIRST_PAGE_NO = 2
DEPTH_MAX = 64

META_MAGIC = b"MantisDB"
META = struct.Struct("<8sII16sQQQQQQQIIQQQQQQQ344s")
META_SIZE = 512
META_BODY_SIZE = 496
FORMAT_VERSION = 1
CHECKSUM_XXH3 = 1
REQUIRED_FEATURES_KNOWN = 0

_xxh3_64 = xxhash.xxh3_64_intdigest


class PageHeader(msgspec.Struct, frozen=True, gc=False):
    """The decoded header of a page."""

    checksum: int
    page_type: int
    level: int
    page_no: int
    checkpoint_no: int
    table_id: int
    row_count: int
    used_size: int


class TreeRoot(msgspec.Struct, frozen=True, gc=False):
    """Where a tree starts. height: pages from root to leaf; page_no 0 and height 0 = empty."""

    page_no: int = 0
    checksum: int = 0
    height: int = 0
    row_count: int = 0


EMPTY_ROOT = TreeRoot()


class Meta(msgspec.Struct, frozen=True, gc=False):
    """One checkpoint, as its meta page tells it. See the module header for units."""

    page_size: int
    uuid: bytes
    checkpoint_no: int
    ckpt_lsn: int
    last_commit_ts: int
    page_count: int
    directory: TreeRoot
    free_page_no: int
    free_checksum: int
    free_page_count: int
    next_object_id: int
    required_features: int = 0
    optional_features: int = 0
    created_us: int = 0


class MetaSlots(msgspec.Struct, frozen=True, gc=False):
    """Both meta pages of a file. newest: the winner; older: the other one when it verifies;
    problems: why a slot was passed over, for reports."""

    newest: Meta
    older: Meta | None
    problems: tuple[str, ...]


class Readable(Protocol):
    """What this module needs of a file."""

    def read(self, offset: int, size: int) -> bytes: ...


def max_key_size(page_size: int) -> int:
    """Longest bytes key a tree of this page size holds: branches keep a fan-out of at least 8."""
    return page_size // 16


def overflow_threshold(page_size: int) -> int:
    """Values longer than this many bytes leave their leaf for overflow pages."""
    return page_size // 4


def seal_page(
    page_size: int,
    page_type: int,
    level: int,
    page_no: int,
    checkpoint_no: int,
    table_id: int,
    row_count: int,
    body: bytes,
) -> tuple[bytes, int]:
    """A whole page from its body (everything behind the header), and its checksum."""
    used_size = HEADER_SIZE + len(body)
    assert used_size <= page_size, (used_size, page_size)
    header = HEADER.pack(
        0, PAGE_MAGIC, page_type, level, 0, page_no, checkpoint_no, table_id, row_count, used_size
    )
    rest = b"".join((header[CHECKSUM_SIZE:], body, bytes(page_size - used_size)))
    checksum = _xxh3_64(rest)
    return checksum.to_bytes(8, "little") + rest, checksum


def page_checksum(raw: bytes | memoryview) -> int:
    """The checksum the page's bytes deserve, to compare with the one they carry."""
    return _xxh3_64(memoryview(raw)[CHECKSUM_SIZE:])


def decode_header(raw: bytes | memoryview, page_no: int | None = None) -> PageHeader:
    """The header of a page. Checks the magic, the type, sizes and, when given, the page_no;
    the checksum is the caller's (`require_sound`). Raises DamageFound."""
    if len(raw) < PAGE_SIZE_MIN:
        raise _damage(f"a page of {len(raw)} bytes is truncated", page_no)
    checksum, magic, page_type, level, flags, at, checkpoint_no, table_id, rows, used = (
        HEADER.unpack_from(raw)
    )
    if magic != PAGE_MAGIC:
        raise _damage("no page header here", page_no)
    if page_type not in PAGE_TYPE_NAMES or flags != 0:
        raise _damage(f"unknown page type {page_type} or flags {flags}", page_no)
    if page_no is not None and at != page_no:
        raise _damage(f"page {page_no} holds what belongs to page {at}", page_no)
    if not HEADER_SIZE <= used <= len(raw) or level > DEPTH_MAX:
        raise _damage(f"used size {used} or level {level} out of range", page_no)
    return PageHeader(checksum, page_type, level, at, checkpoint_no, table_id, rows, used)


def require_sound(raw: bytes | memoryview, page_no: int, expected_checksum: int | None) -> None:
    """Raise DamageFound unless the bytes, the page's own checksum and its parent's agree."""
    own = int.from_bytes(raw[:CHECKSUM_SIZE], "little")
    if page_checksum(raw) != own:
        raise _damage(f"page {page_no}: checksum mismatch", page_no)
    if expected_checksum is not None and own != expected_checksum:
        raise _damage(f"page {page_no} is not the version its parent points to", page_no)


def encode_meta(meta: Meta) -> bytes:
    """The whole meta page (page_size bytes)."""
    directory = meta.directory
    body = META.pack(
        META_MAGIC,
        FORMAT_VERSION,
        meta.page_size,
        meta.uuid,
        meta.checkpoint_no,
        meta.ckpt_lsn,
        meta.last_commit_ts,
        meta.page_count,
        directory.page_no,
        directory.checksum,
        directory.row_count,
        directory.height,
        CHECKSUM_XXH3,
        meta.free_page_no,
        meta.free_checksum,
        meta.free_page_count,
        meta.next_object_id,
        meta.required_features,
        meta.optional_features,
        meta.created_us,
        b"",
    )
    sector = body + xxhash.xxh3_128_digest(body)
    return sector + bytes(meta.page_size - META_SIZE)


def decode_meta(raw: bytes | memoryview) -> Meta:
    """A meta page (at least its first 512 bytes).

    Raises NotADatabase (no magic), DamageFound (checksum, impossible values), NewerFormat
    (format version, checksum kind or required features unknown here)."""
    sector = bytes(raw[:META_SIZE])
    if sector[:8] != META_MAGIC:
        raise NotADatabase("file is not a MantisDB database")
    if len(sector) < META_SIZE:
        raise DamageFound("meta page is truncated", offset=0)
    body = sector[:META_BODY_SIZE]
    if xxhash.xxh3_128_digest(body) != sector[META_BODY_SIZE:]:
        raise DamageFound("meta page: checksum mismatch", offset=0)
    (_, version, page_size, uuid, checkpoint_no, ckpt_lsn, commit_ts, page_count) = (
        struct.unpack_from("<8sII16sQQQQ", body)
    )
    (dir_page, dir_checksum, dir_rows, dir_height, kind) = struct.unpack_from("<QQQII", body, 64)
    (free_page, free_checksum, free_count, next_id, required, optional, created) = (
        struct.unpack_from("<QQQQQQQ", body, 96)
    )
    unknown = required & ~REQUIRED_FEATURES_KNOWN
    if version != FORMAT_VERSION or kind != CHECKSUM_XXH3 or unknown:
        raise NewerFormat(
            f"file format {version}, checksum kind {kind}, features {required:#x}: "
            "written by a newer MantisDB",
            hint="open it with a newer mantisdb",
        )
    if page_size not in PAGE_SIZES or page_count < FIRST_PAGE_NO or dir_height > DEPTH_MAX:
        raise DamageFound("meta page: impossible page size, page count or height", offset=0)
    if dir_page >= page_count or free_page >= page_count:
        raise DamageFound("meta page: a root lies beyond the page count", offset=0)
    directory = TreeRoot(dir_page, dir_checksum, dir_height, dir_rows)
    return Meta(
        page_size,
        uuid,
        checkpoint_no,
        ckpt_lsn,
        commit_ts,
        page_count,
        directory,
        free_page,
        free_checksum,
        free_count,
        next_id,
        required,
        optional,
        created,
    )


def meta_slot(checkpoint_no: int) -> int:
    """The page_no (0 or 1) of the meta page this checkpoint writes."""
    return checkpoint_no % 2


def read_metas(file: Readable) -> MetaSlots:
    """Find the meta pages of an open file (Invariant 3).

    When page 0 is unreadable the page size is not known, so page 1 is looked for at every size.
    Raises NotADatabase, NewerFormat, or DamageFound when no slot verifies.
    """
    found: list[Meta] = []
    problems: list[str] = []
    first_error: NotADatabase | NewerFormat | DamageFound | None = None
    try:
        found.append(decode_meta(file.read(0, META_SIZE)))
    except NewerFormat:
        raise
    except (NotADatabase, DamageFound) as error:
        first_error = error
        problems.append(f"meta page 0: {error.message}")
    sizes = (found[0].page_size,) if found else PAGE_SIZES
    has_magic = isinstance(first_error, DamageFound)
    for size in sizes:
        raw = file.read(size, META_SIZE)
        try:
            meta = decode_meta(raw)
        except (NotADatabase, DamageFound) as error:
            has_magic = has_magic or isinstance(error, DamageFound)
            if found:
                problems.append(f"meta page 1: {error.message}")
            continue
        if meta.page_size == size and (not found or meta.uuid == found[0].uuid):
            found.append(meta)
            break
        problems.append("meta page 1: belongs to another database")
    if not found:
        if has_magic:
            raise DamageFound(
                "neither meta page verifies", offset=0, hint="restore a copy of the file"
            )
        path = getattr(file, "path", "")
        if path and (first_error is None or isinstance(first_error, NotADatabase)):
            raise NotADatabase(f'"{path}" is not a MantisDB database')
        raise first_error or NotADatabase("file is not a MantisDB database")
    found.sort(key=lambda meta: meta.checkpoint_no, reverse=True)
    return MetaSlots(found[0], found[1] if len(found) > 1 else None, tuple(problems))


def _damage(message: str, page_no: int | None) -> DamageFound:
    return DamageFound(message, page_no=page_no, hint="run mantis check")
