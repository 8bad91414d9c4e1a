"""Record bytes: what goes in comes out, and nothing else verifies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DamageFound
from engine.wal.record import (
    CHUNK,
    CHUNK_SIZE,
    COMMIT,
    FLAG_CHUNKED,
    HEADER,
    HEADER_SIZE,
    NOTE,
    Record,
    decode_chunk,
    decode_commit,
    decode_header,
    decode_note,
    decode_record,
    encode_commit_records,
    encode_msgpack,
    encode_note,
    encode_record,
    record_size,
    type_name,
)
from engine.wal.segment import (
    HEADER_BLOCK_SIZE,
    SEGMENT_HEADER,
    SEGMENT_HEADER_SIZE,
    SegmentHeader,
    decode_segment_header,
    encode_segment_header,
)

U64 = st.integers(0, 2**64 - 1)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
)
KEYS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.binary())
OPS = st.lists(
    st.tuples(st.integers(0, 2**31), KEYS, st.one_of(st.none(), st.lists(VALUES).map(tuple)))
)


def as_record(record_type: int, payload: bytes, flags: int = 0) -> Record:
    raw = encode_record(1, record_type, 0, 1, 0, payload, flags)
    record = decode_record(raw, 0, 1)
    assert record is not None
    return record


def test_drawn_layouts_add_up() -> None:
    assert HEADER.size == HEADER_SIZE == 40
    assert SEGMENT_HEADER.size == SEGMENT_HEADER_SIZE == 80


@given(
    epoch=U64,
    record_type=st.integers(0, 255),
    flags=st.integers(0, 255),
    txn_id=U64,
    lsn=U64,
    durable_lsn=U64,
    payload=st.binary(max_size=300),
    before=st.integers(0, 9),
)
def test_round_trip(
    epoch: int,
    record_type: int,
    flags: int,
    txn_id: int,
    lsn: int,
    durable_lsn: int,
    payload: bytes,
    before: int,
) -> None:
    raw = encode_record(epoch, record_type, txn_id, lsn, durable_lsn, payload, flags)
    assert len(raw) == record_size(len(payload)) and len(raw) % 8 == 0
    found = decode_record(
        bytes(before) + raw + b"more", before, epoch, segment_no=3, base_offset=100
    )
    assert found is not None
    assert (found.type, found.flags, found.txn_id, found.lsn, found.durable_lsn) == (
        record_type,
        flags,
        txn_id,
        lsn,
        durable_lsn,
    )
    assert found.payload == payload and found.size == len(raw)
    assert (found.segment_no, found.offset) == (3, 100 + before)
    head = decode_header(raw)
    assert head is not None and head.length == len(payload) and head.checksum == found.checksum


@given(payload=st.binary(max_size=40), bit=st.integers(0, 10_000))
def test_one_flipped_bit_never_verifies(payload: bytes, bit: int) -> None:
    raw = bytearray(encode_record(77, COMMIT, 1, 2, 1, payload))
    bit %= 8 * len(raw)
    raw[bit // 8] ^= 1 << (bit % 8)
    assert decode_record(bytes(raw), 0, 77) is None


@given(payload=st.binary(max_size=40), epoch=U64)
def test_another_epoch_never_verifies(payload: bytes, epoch: int) -> None:
    raw = encode_record(epoch, COMMIT, 1, 2, 1, payload)
    assert decode_record(raw, 0, epoch ^ 1) is None


@given(raw=st.binary(max_size=200), offset=st.integers(0, 220))
def test_any_bytes_are_no_record(raw: bytes, offset: int) -> None:
    assert decode_record(raw, offset, 5) is None
    decode_header(raw, offset)


@given(payload=st.binary(max_size=40), cut=st.integers(0, 100))
def test_a_cut_record_never_verifies(payload: bytes, cut: int) -> None:
    raw = encode_record(5, COMMIT, 1, 2, 1, payload)
    assert decode_record(raw[: cut % len(raw)], 0, 5) is None


@given(commit_ts=st.integers(0, 2**63), wall_us=st.integers(0, 2**53), ops=OPS)
def test_commit_payloads_round_trip(commit_ts: int, wall_us: int, ops: list[Any]) -> None:
    found = decode_commit(as_record(COMMIT, encode_msgpack((commit_ts, wall_us, ops))))
    assert (found.commit_ts, found.wall_us, found.ops) == (commit_ts, wall_us, ops)
    assert repr(found.ops) == repr(ops)  # True is not 1, 1.0 is not 1


@given(payload=st.binary(max_size=60), chunked=st.booleans())
def test_undecodable_payloads_are_damage_and_nothing_else(payload: bytes, chunked: bool) -> None:
    for record_type, decode in (
        (COMMIT, decode_commit),
        (CHUNK, decode_chunk),
        (NOTE, decode_note),
    ):
        try:
            decode(as_record(record_type, payload, FLAG_CHUNKED if chunked else 0))
        except DamageFound as error:
            assert error.first_lsn == 1


def test_deeply_nested_payloads_are_damage() -> None:
    with pytest.raises(DamageFound):
        decode_commit(as_record(COMMIT, b"\x91" * 100_000))


def test_large_transactions_are_cut_into_chunks() -> None:
    ops = [(16, number, (number, "x" * 100)) for number in range(60_000)]
    records = list(encode_commit_records(9, 10, ops))
    assert [record_type for record_type, _, _ in records] == [CHUNK] * (len(records) - 1) + [COMMIT]
    assert len(records) > 4
    assert all(len(payload) < 2 * CHUNK_SIZE for _, _, payload in records)
    found: list[Any] = []
    for record_type, flags, payload in records[:-1]:
        found += decode_chunk(as_record(record_type, payload, flags))
    assert found == ops
    commit = decode_commit(as_record(COMMIT, records[-1][2], records[-1][1]))
    assert (commit.commit_ts, commit.wall_us, commit.chunk_count) == (9, 10, len(records) - 1)
    assert list(encode_commit_records(9, 10, ops[:5])) == [
        (COMMIT, 0, encode_msgpack((9, 10, ops[:5])))
    ]


def test_notes_round_trip() -> None:
    note = decode_note(as_record(NOTE, encode_note("checkpoint", 5, {"no": 7})))
    assert (note.kind, note.wall_us, note.facts) == ("checkpoint", 5, {"no": 7})


def test_names_of_types() -> None:
    assert [type_name(kind) for kind in (1, 2, 3, 9)] == ["COMMIT", "CHUNK", "NOTE", "TYPE 9"]


@given(
    uuid=st.binary(min_size=16, max_size=16),
    numbers=st.tuples(U64, U64, U64, U64, U64),
    bit=st.integers(0, 8 * SEGMENT_HEADER_SIZE - 1),
)
def test_segment_headers_round_trip_and_heal(
    uuid: bytes, numbers: tuple[int, int, int, int, int], bit: int
) -> None:
    header = SegmentHeader(uuid, *numbers)
    block = bytearray(encode_segment_header(header))
    assert len(block) == HEADER_BLOCK_SIZE and decode_segment_header(bytes(block)) == header
    block[bit // 8] ^= 1 << (bit % 8)
    assert decode_segment_header(bytes(block)) == header
    block[2048 + bit // 8] ^= 1 << (bit % 8)
    assert decode_segment_header(bytes(block)) is None
    assert decode_segment_header(bytes(block[:50])) is None
