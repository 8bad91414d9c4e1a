"""Log segments: file names, the header block, creating and listing them.

A database `db.mantis` keeps its log beside it:

    db.mantis-wal-00000007      segment 7
    db.mantis-wal-next          a segment being prepared; removed on open
    db.mantis-wal-torn-<lsn>    bytes after the end of the log, kept by recovery

The first HEADER_BLOCK_SIZE bytes of a segment are its header block; records follow. The header
stands in it twice, at 0 and at HEADER_COPY_OFFSET, little-endian:

offset  size  field
     0     8  magic           "MantisWL"
     8     4  format version  1
    12     4  block size      4096, where the records begin
    16    16  uuid            of the database
    32     8  segment_no      grows by at least one from segment to segment
    40     8  first_lsn       of the first record in it
    48     8  chain           chain value after the record before first_lsn (see record.py)
    56     8  epoch           seed of the record checksums
    64     8  created_us      Unix microseconds
    72     8  checksum        xxh3_64 of bytes 0..71

Invariants
1. A segment is created only when every record before its first_lsn is synced: a sound header
   vouches for all of them.
2. Header, file and directory entry are synced before a record in it is acknowledged.
3. Numbers only grow, and a file is never written again under another number: there is no reuse
   and no reset.
4. The epoch hashes uuid, number, random bytes and time, so one weak source is not enough to
   repeat it.
"""

from __future__ import annotations

import re
import struct
import threading

import msgspec
from xxhash import xxh3_64_intdigest

from engine.errors import NewerFormat
from engine.vfs import File, Vfs, directory_of

SEGMENT_MAGIC = b"MantisWL"
FORMAT_VERSION = 1
SEGMENT_HEADER = struct.Struct("<8sII16sQQQQQQ")
SEGMENT_HEADER_SIZE = 80
CHECKED_SIZE = 72
HEADER_BLOCK_SIZE = 4096
HEADER_COPY_OFFSET = 2048
SEGMENT_SIZE_DEFAULT = 64 << 20

_NAME = re.compile(r"-wal-(\d{8,})$")


class SegmentHeader(msgspec.Struct, frozen=True, gc=False):
    """See the module header."""

    uuid: bytes
    segment_no: int
    first_lsn: int
    chain: int
    epoch: int
    created_us: int


class Segment(msgspec.Struct, frozen=True):
    """A segment file found beside a database; header is None when neither copy verifies."""

    segment_no: int
    path: str
    size: int
    header: SegmentHeader | None


class SealedSegment(msgspec.Struct, frozen=True, gc=False):
    """A segment no record will be added to."""

    segment_no: int
    first_lsn: int
    path: str


def segment_path(base_path: str, segment_no: int) -> str:
    return f"{base_path}-wal-{segment_no:08d}"


def spare_path(base_path: str) -> str:
    return f"{base_path}-wal-next"


def torn_path(base_path: str, lsn: int) -> str:
    return f"{base_path}-wal-torn-{lsn}"


def new_epoch(uuid: bytes, segment_no: int, random: bytes, wall_us: int) -> int:
    """A seed no other segment has (Invariant 4)."""
    return xxh3_64_intdigest(uuid + struct.pack("<QQ", segment_no, wall_us) + random)


def encode_segment_header(header: SegmentHeader) -> bytes:
    """The whole header block, HEADER_BLOCK_SIZE bytes."""
    checked = SEGMENT_HEADER.pack(
        SEGMENT_MAGIC,
        FORMAT_VERSION,
        HEADER_BLOCK_SIZE,
        header.uuid,
        header.segment_no,
        header.first_lsn,
        header.chain,
        header.epoch,
        header.created_us,
        0,
    )[:CHECKED_SIZE]
    raw = checked + struct.pack("<Q", xxh3_64_intdigest(checked))
    block = raw + bytes(HEADER_COPY_OFFSET - len(raw)) + raw
    return block + bytes(HEADER_BLOCK_SIZE - len(block))


def decode_segment_header(block: bytes) -> SegmentHeader | None:
    """The header from the first copy that verifies, or None.

    Raises NewerFormat for a sound header of a later format.
    """
    for offset in (0, HEADER_COPY_OFFSET):
        raw = block[offset : offset + SEGMENT_HEADER_SIZE]
        if len(raw) < SEGMENT_HEADER_SIZE or raw[:8] != SEGMENT_MAGIC:
            continue
        fields = SEGMENT_HEADER.unpack(raw)
        if fields[-1] != xxh3_64_intdigest(raw[:CHECKED_SIZE]):
            continue
        if fields[1] != FORMAT_VERSION or fields[2] != HEADER_BLOCK_SIZE:
            raise NewerFormat(
                f"log segment has format {fields[1]}; this version knows {FORMAT_VERSION}",
                hint="open the database with the newer MantisDB that wrote it",
            )
        return SegmentHeader(*fields[3:-1])
    return None


def read_segment(vfs: Vfs, path: str, segment_no: int) -> Segment:
    """What the file says it is. Raises MissingFile, StorageError, NewerFormat."""
    file = vfs.open(path, readonly=True)
    try:
        header = decode_segment_header(file.read(0, HEADER_BLOCK_SIZE))
        return Segment(segment_no, path, file.size(), header)
    finally:
        file.close()


def list_segments(vfs: Vfs, base_path: str) -> list[Segment]:
    """All segments of a database by number, sound or not."""
    directory = directory_of(base_path)
    name = base_path[len(directory) + 1 :] if "/" in base_path else base_path
    if directory == "/":
        name = base_path[1:]
    found = []
    for entry in vfs.list_dir(directory):
        match = _NAME.search(entry)
        if match is not None and entry[: match.start()] == name:
            found.append((int(match.group(1)), base_path[: len(base_path) - len(name)] + entry))
    return [read_segment(vfs, path, segment_no) for segment_no, path in sorted(found)]


def remove_leftovers(vfs: Vfs, base_path: str) -> None:
    """Remove a spare segment that a dead process left."""
    if vfs.exists(spare_path(base_path)):
        vfs.remove(spare_path(base_path))


class SpareSegment:
    """The next segment's file, prepared under the temporary name. For use by many threads."""

    def __init__(self, vfs: Vfs, base_path: str) -> None:
        self._vfs = vfs
        self._base_path = base_path
        self._file: File | None = None
        self._mutex = threading.Lock()

    def prepare(self, size: int) -> None:
        """Have a file of `size` bytes ready. Raises DiskFull, StorageError."""
        with self._mutex:
            if self._file is None:
                self._file = self._create(size)

    def take(self, size: int) -> File:
        """The prepared file, or one of `size` bytes made now. Raises DiskFull, StorageError."""
        with self._mutex:
            file, self._file = self._file, None
            return file or self._create(size)

    def drop(self) -> None:
        """Remove the prepared file, if there is one."""
        with self._mutex:
            file, self._file = self._file, None
            if file is not None:
                file.close()
                self._vfs.remove(file.path)

    def _create(self, size: int) -> File:
        path = spare_path(self._base_path)
        file = self._vfs.open(path, create=True)
        try:
            file.truncate(0)
            file.allocate(size, durable=False)
        except BaseException:
            file.close()
            self._vfs.remove(path)
            raise
        return file


def adopt_spare(vfs: Vfs, base_path: str, spare: File, header: SegmentHeader) -> File:
    """Write the header into a prepared file and give it its name; nothing is synced yet."""
    spare.write(0, encode_segment_header(header))
    path = segment_path(base_path, header.segment_no)
    vfs.rename(spare.path, path)
    spare.path = path
    return spare
