"""Headers and meta pages: drawn layouts, round trips, hostile bytes."""

from __future__ import annotations

import random
import re
import struct
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import ALL_KINDS, Forest, spec_of

from engine.errors import DamageFound, NewerFormat, NotADatabase
from engine.storage import branch, freespace, leaf, overflow, page
from engine.storage.buffer_pool import parse_page
from engine.storage.page import Meta, TreeRoot
from engine.vfs_memory import MemoryVfs

META = Meta(
    page_size=4096,
    uuid=bytes(range(16)),
    checkpoint_no=9,
    ckpt_lsn=12345,
    last_commit_ts=77,
    page_count=40,
    directory=TreeRoot(5, 1 << 63, 2, 300),
    free_page_no=6,
    free_checksum=42,
    free_page_count=11,
    next_object_id=1000,
    created_us=1_700_000_000_000_000,
)


def drawn(module: ModuleType, title: str) -> list[tuple[int, int]]:
    """(offset, size) rows of the table drawn after `title` in a module header."""
    text = (module.__doc__ or "").split(title, 1)[1]
    rows: list[tuple[int, int]] = []
    for line in text.splitlines()[1:]:
        if found := re.match(r"^    (\d+) +(\d+) +\S", line):
            rows.append((int(found[1]), int(found[2])))
        elif rows and not line.startswith(" " * 8):
            break
    return rows


@pytest.mark.parametrize(
    ("module", "title", "size"),
    [
        (page, "this header", page.HEADER.size),
        (page, "A meta page holds", page.META_SIZE),
        (leaf, "A directory entry", leaf.ENTRY.size),
        (overflow, "The leaf keeps", overflow.REFERENCE.size),
    ],
)
def test_drawn_offsets_add_up(module: ModuleType, title: str, size: int) -> None:
    at = 0
    for offset, width in drawn(module, title):
        assert offset == at
        at += width
    assert at == size


def test_structs_match_the_sizes_beside_them() -> None:
    assert page.HEADER.size == page.HEADER_SIZE
    assert page.META.size == page.META_BODY_SIZE == page.META_SIZE - 16
    assert page.HEADER_SIZE + overflow.RUN.size == overflow.RUN_PREFIX_SIZE == 64
    assert page.HEADER_SIZE + branch.FIXED.size == branch.BRANCH_PREFIX_SIZE == 64
    assert page.HEADER_SIZE + freespace.LINK.size == freespace.LIST_PREFIX_SIZE == 64
    assert leaf.ENTRY.size == leaf.ENTRY_SIZE


def test_a_page_keeps_its_header_and_checksum() -> None:
    data, checksum = page.seal_page(4096, page.LEAF, 0, 9, 3, 7, 5, b"body")
    assert len(data) == 4096
    header = page.decode_header(data, 9)
    assert header == page.PageHeader(checksum, page.LEAF, 0, 9, 3, 7, 5, 52)
    page.require_sound(data, 9, checksum)
    with pytest.raises(DamageFound, match="not the version"):
        page.require_sound(data, 9, checksum ^ 1)
    with pytest.raises(DamageFound, match="belongs to page 9"):
        page.decode_header(data, 8)


@pytest.mark.parametrize("position", [0, 7, 8, 12, 20, 44, 50, 2000, 4095])
def test_every_flipped_bit_is_seen(position: int) -> None:
    data, checksum = page.seal_page(4096, page.LEAF, 0, 9, 3, 7, 5, b"body")
    for bit in range(8):
        bad = bytearray(data)
        bad[position] ^= 1 << bit
        with pytest.raises(DamageFound):
            page.require_sound(bytes(bad), 9, checksum)


def test_meta_round_trip() -> None:
    raw = page.encode_meta(META)
    assert len(raw) == 4096
    assert page.decode_meta(raw) == META
    assert page.decode_meta(raw[:512]) == META


def resealed(raw: bytes, offset: int, data: bytes) -> bytes:
    body = bytearray(raw[: page.META_BODY_SIZE])
    body[offset : offset + len(data)] = data
    return bytes(body) + page.xxhash.xxh3_128_digest(bytes(body))


@pytest.mark.parametrize(
    ("offset", "data"),
    [(8, struct.pack("<I", 2)), (92, struct.pack("<I", 2)), (128, struct.pack("<Q", 1 << 9))],
)
def test_a_newer_format_is_refused_by_name(offset: int, data: bytes) -> None:
    with pytest.raises(NewerFormat, match="newer"):
        page.decode_meta(resealed(page.encode_meta(META), offset, data))


def test_optional_features_are_ignored() -> None:
    raw = resealed(page.encode_meta(META), 136, struct.pack("<Q", 1 << 40))
    assert page.decode_meta(raw).optional_features == 1 << 40


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (12, struct.pack("<I", 5000)),
        (56, struct.pack("<Q", 1)),
        (64, struct.pack("<Q", 40)),
        (88, struct.pack("<I", 65)),
        (96, struct.pack("<Q", 99)),
    ],
)
def test_impossible_meta_values_are_damage(offset: int, data: bytes) -> None:
    with pytest.raises(DamageFound):
        page.decode_meta(resealed(page.encode_meta(META), offset, data))


def test_not_a_database() -> None:
    for raw in (b"", b"hello", b"SQLite format 3\0" * 40):
        with pytest.raises(NotADatabase):
            page.decode_meta(raw)


class Slots:
    """A file with the two meta pages given."""

    def __init__(self, first: bytes, second: bytes) -> None:
        self.file = MemoryVfs().open("/m", create=True)
        self.file.write(0, first.ljust(4096, b"\0") + second.ljust(4096, b"\0"))


def meta_of(checkpoint_no: int, **changes: object) -> Meta:
    return page.msgspec.structs.replace(META, checkpoint_no=checkpoint_no, **changes)


def test_the_highest_meta_that_verifies_wins() -> None:
    even, odd = page.encode_meta(meta_of(8)), page.encode_meta(meta_of(9))
    slots = page.read_metas(Slots(even, odd).file)
    assert (slots.newest.checkpoint_no, slots.older and slots.older.checkpoint_no) == (9, 8)
    assert slots.problems == ()
    for first, second, winner in ((even, b"junk", 8), (b"junk", odd, 9), (even, bytes(512), 8)):
        slots = page.read_metas(Slots(first, second).file)
        assert slots.newest.checkpoint_no == winner and slots.older is None
        assert len(slots.problems) == 1


def test_flipped_bits_in_one_meta_cost_nothing_and_in_both_are_named() -> None:
    even, odd = page.encode_meta(meta_of(8)), page.encode_meta(meta_of(9))
    rng = random.Random(4)
    for _ in range(200):
        at = rng.randrange(page.META_SIZE * 8)
        bad = bytearray(odd)
        bad[at // 8] ^= 1 << at % 8
        assert page.read_metas(Slots(even, bytes(bad)).file).newest.checkpoint_no == 8
        other = bytearray(even)
        other[100] ^= 1
        with pytest.raises(DamageFound, match="neither"):
            page.read_metas(Slots(bytes(other), bytes(bad[:200])).file)


def test_a_meta_of_another_database_is_passed_over() -> None:
    stranger = page.encode_meta(meta_of(99, uuid=bytes(16)))
    slots = page.read_metas(Slots(page.encode_meta(meta_of(8)), stranger).file)
    assert slots.newest.checkpoint_no == 8 and "another database" in slots.problems[0]


# ── hostile pages ────────────────────────────────────────────────────────────────────────────
def sample_pages() -> list[bytes]:
    """Leaves and branches of both key kinds, with every kind of column."""
    pages = []
    values = (True, 5, -6, 7, 1.5, 2.5, "größe", b"raw")
    for key in ("int", "bytes"):
        forest = Forest()
        name = (lambda n: n) if key == "int" else (lambda n: b"%05d" % n)
        rows = [
            (name(n), values if n % 3 else (None,) * 8 if n % 2 else (*values[:6], "ß" * 900, b""))
            for n in range(400)
        ]
        tree = forest.build(spec_of(*ALL_KINDS, key=key), rows)
        pages += [bytes(forest.page_bytes(no)) for no in sorted(forest.reached(tree))[:6]]
        pages.append(bytes(forest.page_bytes(tree.root.page_no)))
    return pages


SAMPLES = sample_pages()


def read_everything(raw: bytes) -> None:
    """Whatever a reader might do with a page whose checksum someone forged."""

    def read_overflow(reference: memoryview) -> bytes:
        return overflow.read_value(reference, 4096, 100, lambda no: memoryview(SAMPLES[0]))

    header = page.decode_header(raw)
    view = parse_page(memoryview(raw), header, read_overflow)
    if isinstance(view, leaf.LeafView):
        view.key_range(0, view.row_count)
        projection = leaf.projection_of(spec_of(*ALL_KINDS, key=view.key_kind))
        find = view.finder(projection)
        for key in view.key_range(0, min(3, view.row_count)):
            find(key)
        for _ in view.rows(0, view.row_count, projection):
            pass
        for column_id, kind in projection.wanted:
            view.array(column_id, kind)
    else:
        view.entries(b"", view.zone_columns)
        for index in range(view.row_count):
            view.zone_maps(index)
        view.rows_before(0)


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, len(SAMPLES) - 1),
    st.lists(
        st.tuples(st.integers(8, 700), st.integers(0, 255) | st.sampled_from([0, 255, 127, 128])),
        min_size=1,
        max_size=6,
    ),
)
def test_forged_pages_raise_damage_found_and_nothing_else(
    sample: int, edits: list[tuple[int, int]]
) -> None:
    raw = bytearray(SAMPLES[sample])
    for at, value in edits:
        raw[at] = value
    try:
        read_everything(bytes(raw))
    except DamageFound:
        pass


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=600))
def test_random_bytes_are_no_page(raw: bytes) -> None:
    with pytest.raises(DamageFound):
        page.decode_header(raw.ljust(4096, b"\0"))
