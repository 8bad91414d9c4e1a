"""Log records: their bytes, and the payloads inside them. Shared by writer, reader and tools.

A record starts at a multiple of 8, so its header words never tear across a sector:

offset  size  field
     0     2  magic        0x4D57, "WM" in the file
     2     1  type         see RecordType
     3     1  flags        bit 0: COMMIT whose first rows are in CHUNK records
     4     4  length       bytes of payload, without padding
     8     8  txn_id       ties CHUNK records to their COMMIT; free to be 0 elsewhere
    16     8  lsn          this record's number; LSNs are dense, the first ever is 1
    24     8  durable_lsn  highest LSN known to be synced when this record was appended
    32     8  checksum     xxh3_64(body, seed = xxh3_64(bytes 0..31, seed = epoch of the segment))
    40     -  body         payload, then zeros up to a multiple of 8

All integers are little-endian. Payloads are MessagePack:

COMMIT  [commit_ts, wall_us, [[tree_id, key, row | nil], …]]    with flag 0 one more element:
        chunk_count                                              rows are in storage form
CHUNK   [[tree_id, key, row | nil], …]                           part of the COMMIT of the txn_id
NOTE    [kind, wall_us, {facts}]                                 vouch, close, checkpoint, load

Invariants
1. Every byte of header and body is covered by the checksum; one flipped bit makes it fail.
2. The checksum is seeded with the segment's epoch: bytes of another segment never verify.
3. A payload holds row images only: applying it needs no parser, clock or random numbers.
4. An unknown type is an error (NewerFormat), never skipped. Numbers 4 to 7 are set aside for
   EXTENT, PREPARE, COMMIT_PREPARED and ABORT_PREPARED and are unknown to this version.

What it does not do: files, order of records, or what is durable (segment, writer, reader).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, TypeAlias

import msgspec
from xxhash import xxh3_64_intdigest

from engine.errors import DamageFound, NewerFormat

Key: TypeAlias = int | bytes
Row: TypeAlias = tuple[Any, ...]
Op: TypeAlias = tuple[int, Key, Row | None]
"""(tree_id, key, new row or None for a delete), values in storage form."""

RECORD_MAGIC = 0x4D57
RECORD_MAGIC_BYTES = b"WM"
HEADER = struct.Struct("<HBBIQQQQ")
HEADER_SIZE = 40
CHECKED_HEADER = struct.Struct("<HBBIQQQ")
CHECKSUM = struct.Struct("<Q")
PADDING = (b"", *(bytes(8 - count) for count in range(1, 8)))
"""PADDING[size & 7] fills a body of that size up to a multiple of 8."""

PAYLOAD_SIZE_MAX = 1 << 30
CHUNK_SIZE = 1 << 20
"""A COMMIT payload longer than this is split into CHUNK records of about this size."""

FLAG_CHUNKED = 1


class RecordType(IntEnum):
    """The record types this version writes and reads."""

    COMMIT = 1
    CHUNK = 2
    NOTE = 3


COMMIT = int(RecordType.COMMIT)
CHUNK = int(RecordType.CHUNK)
NOTE = int(RecordType.NOTE)
KNOWN_TYPES = frozenset(int(kind) for kind in RecordType)


class RecordHeader(msgspec.Struct, frozen=True, gc=False):
    """The decoded 40 bytes; `length` is the payload's size in bytes."""

    type: int
    flags: int
    length: int
    txn_id: int
    lsn: int
    durable_lsn: int
    checksum: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """One verified record. `offset` is where its header starts in segment `segment_no`."""

    lsn: int
    type: int
    flags: int
    txn_id: int
    durable_lsn: int
    payload: bytes
    checksum: int
    segment_no: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes on disk, header and padding included."""
        return record_size(len(self.payload))

    @property
    def type_name(self) -> str:
        return type_name(self.type)


class CommitPayload(msgspec.Struct, frozen=True, gc=False):
    """A decoded COMMIT. chunk_count: CHUNK records of the same txn_id that come before `ops`."""

    commit_ts: int
    wall_us: int
    ops: list[Op]
    chunk_count: int


class NotePayload(msgspec.Struct, frozen=True, gc=False):
    """A decoded NOTE. kind: 'vouch', 'close', 'checkpoint', 'load'; wall_us: Unix microseconds."""

    kind: str
    wall_us: int
    facts: dict[str, Any]


def type_name(record_type: int) -> str:
    """'COMMIT', 'CHUNK', 'NOTE', or 'TYPE 9' for one that is unknown."""
    return RecordType(record_type).name if record_type in KNOWN_TYPES else f"TYPE {record_type}"


def record_size(length: int) -> int:
    """Bytes on disk of a record with `length` bytes of payload."""
    return HEADER_SIZE + ((length + 7) & ~7)


def encode_record(
    epoch: int,
    record_type: int,
    txn_id: int,
    lsn: int,
    durable_lsn: int,
    payload: bytes,
    flags: int = 0,
) -> bytes:
    """The record's bytes, header to padding. LogWriter.append does the same in line."""
    length = len(payload)
    head = CHECKED_HEADER.pack(RECORD_MAGIC, record_type, flags, length, txn_id, lsn, durable_lsn)
    body = payload + PADDING[length & 7]
    checksum = xxh3_64_intdigest(body, xxh3_64_intdigest(head, epoch))
    return head + CHECKSUM.pack(checksum) + body


def decode_header(raw: bytes | memoryview, offset: int = 0) -> RecordHeader | None:
    """The header at `offset`, or None where there are too few bytes or the magic is another.

    Nothing in it is verified except the magic.
    """
    if offset + HEADER_SIZE > len(raw):
        return None
    magic, *fields = HEADER.unpack_from(raw, offset)
    return RecordHeader(*fields) if magic == RECORD_MAGIC else None


def decode_record(
    raw: bytes, offset: int, epoch: int, *, segment_no: int = 0, base_offset: int = 0
) -> Record | None:
    """The record at raw[offset:], or None unless all its bytes are there and verify.

    base_offset: where raw[0] lies in the segment, so that Record.offset is a file offset.
    """
    body_offset = offset + HEADER_SIZE
    if body_offset > len(raw):
        return None
    magic, kind, flags, length, txn_id, lsn, durable_lsn, checksum = HEADER.unpack_from(raw, offset)
    if magic != RECORD_MAGIC or length > PAYLOAD_SIZE_MAX:
        return None
    end = body_offset + ((length + 7) & ~7)
    if end > len(raw):
        return None
    seed = xxh3_64_intdigest(raw[offset : offset + 32], epoch)
    body = raw[body_offset:end]
    if xxh3_64_intdigest(body, seed) != checksum:  # Invariants 1 and 2
        return None
    payload = body if len(body) == length else body[:length]
    return Record(
        lsn, kind, flags, txn_id, durable_lsn, payload, checksum, segment_no, base_offset + offset
    )


def next_chain(chain: int, checksum: int) -> int:
    """The chain value after a record: xxh3_64 of its checksum, seeded with the one before.

    It names the whole history of a log; segment headers carry it from one segment to the next.
    """
    return xxh3_64_intdigest(CHECKSUM.pack(checksum), chain)


def require_known_type(record: Record) -> None:
    """Raises NewerFormat for a type this version does not know (Invariant 4)."""
    if record.type not in KNOWN_TYPES:
        raise NewerFormat(
            f"log record {record.lsn} has type {record.type}, unknown to this version",
            hint="open the database with the newer MantisDB that wrote it",
        )


# ── payloads ─────────────────────────────────────────────────────────────────────────────────
_ENCODER = msgspec.msgpack.Encoder()
encode_msgpack = _ENCODER.encode
_decode_commit = msgspec.msgpack.Decoder(
    tuple[int, int, list[tuple[int, int | bytes, tuple[Any, ...] | None]]]
).decode
_decode_chunked_commit = msgspec.msgpack.Decoder(
    tuple[int, int, list[tuple[int, int | bytes, tuple[Any, ...] | None]], int]
).decode
_decode_chunk = msgspec.msgpack.Decoder(
    list[tuple[int, int | bytes, tuple[Any, ...] | None]]
).decode
_decode_note = msgspec.msgpack.Decoder(tuple[str, int, dict[str, Any]]).decode


def encode_commit_records(
    commit_ts: int, wall_us: int, ops: Sequence[Op | list[Any]], size: int | None = None
) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, payload) of the records of one transaction, in the order to append them.

    One COMMIT for an ordinary transaction; for a large one CHUNKs of about CHUNK_SIZE bytes and
    a COMMIT that counts them. size: of the ops, encoded, for a caller that knows that it is large.
    """
    if size is None or size <= CHUNK_SIZE:
        payload = encode_msgpack((commit_ts, wall_us, ops))
        size = len(payload)
        if size <= CHUNK_SIZE:
            yield COMMIT, 0, payload
            return
        del payload
    step = max(1, len(ops) * CHUNK_SIZE // size)
    chunk_count = 0
    for start in range(0, len(ops), step):
        yield CHUNK, 0, encode_msgpack(ops[start : start + step])
        chunk_count += 1
    yield COMMIT, FLAG_CHUNKED, encode_msgpack((commit_ts, wall_us, (), chunk_count))


def encode_note(kind: str, wall_us: int, facts: dict[str, Any]) -> bytes:
    """The payload of a NOTE."""
    return encode_msgpack((kind, wall_us, facts))


def decode_commit(record: Record) -> CommitPayload:
    """The payload of a COMMIT. Raises DamageFound when it is not one (a bug or hostile bytes)."""
    try:
        if record.flags & FLAG_CHUNKED:
            return CommitPayload(*_decode_chunked_commit(record.payload))
        return CommitPayload(*_decode_commit(record.payload), 0)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _undecodable(record, error) from error


def decode_chunk(record: Record) -> list[Op]:
    """The rows of a CHUNK. Raises DamageFound when the payload is not one."""
    try:
        return _decode_chunk(record.payload)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _undecodable(record, error) from error


def decode_note(record: Record) -> NotePayload:
    """The payload of a NOTE. Raises DamageFound when the payload is not one."""
    try:
        return NotePayload(*_decode_note(record.payload))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _undecodable(record, error) from error


def _undecodable(record: Record, error: Exception) -> DamageFound:
    return DamageFound(
        f"log record {record.lsn} ({record.type_name}) verifies but does not decode: {error}",
        offset=record.offset,
        first_lsn=record.lsn,
        last_lsn=record.lsn,
    )
