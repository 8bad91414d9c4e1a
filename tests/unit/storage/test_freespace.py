"""Free space: the reuse rule, exact rollback, the stored list and its reconstruction."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DamageFound
from engine.storage.freespace import (
    Extent,
    FreeSpace,
    complement,
    contains,
    read_free_list,
)

PAGE_SIZE = 4096


class Pages(dict[int, bytes]):
    """A sink and a source of pages."""

    def write(self, page_no: int, data: bytes) -> None:
        self[page_no] = data

    def read(self, page_no: int, checksum: int) -> memoryview:
        raw = self[page_no]
        if int.from_bytes(raw[:8], "little") != checksum:
            raise DamageFound("stale", page_no=page_no)
        return memoryview(raw)


def test_a_freed_page_waits_for_both_metas_and_all_readers() -> None:
    space = FreeSpace(10, [Extent(4, 1, freed_at=5)])
    for reusable_through, expected in ((4, 10), (5, 4), (9, 4)):
        assert space.begin(9, reusable_through, PAGE_SIZE).allocate() == expected


def test_adjacent_pages_for_overflow_runs() -> None:
    space = FreeSpace(20, [Extent(3, 2, 1), Extent(5, 2, 2), Extent(9, 3, 1)])
    build = space.begin(6, 4, PAGE_SIZE)
    assert build.allocate(3) == 3  # extents freed at different times were joined
    assert build.allocate(3) == 9
    assert build.allocate(3) == 20
    assert build.allocate() == 6
    assert build.page_count == 23


def test_rollback_restores_everything() -> None:
    space = FreeSpace(20, [Extent(3, 2, 1), Extent(9, 3, 4)], [19])
    before = (space.page_count, list(space.extents), list(space.list_pages))
    build = space.begin(6, 4, PAGE_SIZE)
    build.allocate(4)
    build.free([7, 8])
    build.write_list(Pages())
    build.rollback()
    assert (space.page_count, list(space.extents), list(space.list_pages)) == before


def test_freeing_asserts_what_would_corrupt() -> None:
    build = FreeSpace(20).begin(6, 4, PAGE_SIZE)
    own = build.allocate()
    for page_nos in ([own], [5, 5], [0], [1], [20]):
        with pytest.raises(AssertionError):
            build.free(page_nos)


def test_freeing_a_page_that_is_free_asserts() -> None:
    build = FreeSpace(20, [Extent(5, 3, 1)]).begin(6, 4, PAGE_SIZE)
    build.free([6])
    with pytest.raises(AssertionError, match="twice"):
        build.extents()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 700))
def test_the_stored_list_reads_back(seed: int, extent_count: int) -> None:
    rng = random.Random(seed)
    extents, at = [], 2
    for _ in range(extent_count):
        at += rng.randrange(1, 4)
        extents.append(Extent(at, rng.randrange(1, 4), rng.randrange(1, 9)))
        at += extents[-1].count
    space = FreeSpace(at + 5, extents, [at + 1, at + 3])
    build = space.begin(9, rng.randrange(8), PAGE_SIZE)
    taken = [build.allocate(rng.randrange(1, 3)) for _ in range(rng.randrange(5))]
    pages = Pages()
    stored = build.write_list(pages)
    build.commit()
    found = read_free_list(
        pages.read, stored.page_no, stored.checksum, space.page_count, stored.free_page_count
    )
    assert found.extents == space.extents
    assert found.list_pages == space.list_pages
    assert set(space.list_pages) == set(pages)
    for page_no in taken:
        assert not contains(found.extents, page_no)
    assert contains(found.extents, at + 1) and contains(found.extents, at + 3)


def test_damage_in_the_list_is_seen() -> None:
    space = FreeSpace(900, [Extent(n, 1, 1) for n in range(3, 800, 2)])
    pages = Pages()
    build = space.begin(9, 1, PAGE_SIZE)
    stored = build.write_list(pages)
    count, total = build.page_count, stored.free_page_count
    assert len(pages) > 1
    with pytest.raises(DamageFound, match="count differs"):
        read_free_list(pages.read, stored.page_no, stored.checksum, count, total + 1)
    with pytest.raises(DamageFound, match="bad extent"):
        read_free_list(pages.read, stored.page_no, stored.checksum, 700, total)
    with pytest.raises(DamageFound, match="out of range"):
        read_free_list(pages.read, count + 5, 0, count, total)
    loop = Pages(pages)
    raw = bytearray(loop[stored.page_no])
    raw[48:64] = stored.page_no.to_bytes(8, "little") + stored.checksum.to_bytes(8, "little")
    loop[stored.page_no] = bytes(raw)
    with pytest.raises(DamageFound, match="cycle"):
        read_free_list(loop.read, stored.page_no, stored.checksum, count, total)


def test_complement_rebuilds_the_list() -> None:
    assert complement([2, 3, 7, 7, 9], 12, 5) == [
        Extent(4, 3, 5),
        Extent(8, 1, 5),
        Extent(10, 2, 5),
    ]
    assert complement([], 2, 5) == []


def test_the_file_stops_growing_when_pages_come_back() -> None:
    space, live, highest = FreeSpace(), [], []
    for checkpoint_no in range(1, 40):
        build = space.begin(checkpoint_no, checkpoint_no - 2, PAGE_SIZE)
        fresh = [build.allocate() for _ in range(10)]
        build.free(live)
        build.write_list(Pages())
        build.commit()
        live = fresh
        highest.append(space.page_count)
    assert highest[-1] == highest[6]
