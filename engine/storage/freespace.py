"""Free space: which pages may be written, and when a freed page may be used again.

Free pages are kept as extents (first page_no, count, freed_at): pages that checkpoint `freed_at`
made unreachable. The list is stored in a chain of free-space pages:

    offset  size  field
    0       48    page header     page.py; type 5, row count = entries
    48      8     next page_no    0 = the last page of the chain
    56      8     next checksum   of that page
    64      -     entries         first page_no, page count, freed_at (8 bytes each),
                                  ascending by page_no, not overlapping

Invariants
1. While checkpoint N is built, an extent may be used only if
   freed_at <= min(oldest root a reader pins, the older of the two durable checkpoints).
   A page freed by checkpoint F is reachable from roots < F only, so then nothing can reach it.
2. A build never frees a page that it allocated itself, nor one that is already free.
3. Rolling back a failed checkpoint restores the lists exactly; nothing was published.
4. The pages of the list obey the same rules: the old chain is freed by the checkpoint that
   writes the new one.
5. The list is derivable: every page from FIRST_PAGE_NO to page_count is reachable from the newest
   root, or free (`complement`). At open it is checked by count and checksums.

States of a page: unused --allocate--> built --commit--> live --free--> freed at F --rule 1-->
unused; built --rollback--> unused.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from engine.errors import DamageFound
from engine.storage import page

LINK = struct.Struct("<QQ")
ENTRY = struct.Struct("<QQQ")
LIST_PREFIX_SIZE = page.HEADER_SIZE + LINK.size


class Extent(msgspec.Struct, frozen=True, gc=False):
    """`count` pages from `first` on, freed by checkpoint `freed_at`."""

    first: int
    count: int
    freed_at: int


class PageSink(Protocol):
    """Where a build writes its pages; they must be readable through the pool at once."""

    def write(self, page_no: int, data: bytes) -> None: ...


class FreeList(msgspec.Struct, frozen=True, gc=False):
    """A stored free list, as the meta page refers to it."""

    page_no: int
    checksum: int
    free_page_count: int


class FreeSpace:
    """The free pages of the newest checkpoint: (page_count, extents). Owned by the checkpointer;
    changed only by `PageAllocator.commit`."""

    __slots__ = ("extents", "list_pages", "page_count")

    def __init__(
        self,
        page_count: int = page.FIRST_PAGE_NO,
        extents: Iterable[Extent] = (),
        list_pages: Sequence[int] = (),
    ) -> None:
        self.page_count = page_count
        self.extents = sorted(extents, key=lambda extent: extent.first)
        self.list_pages = list(list_pages)

    @property
    def free_page_count(self) -> int:
        return sum(extent.count for extent in self.extents)

    def begin(self, checkpoint_no: int, reusable_through: int, page_size: int) -> PageAllocator:
        """An allocator for building checkpoint `checkpoint_no`.

        reusable_through: min(oldest pinned root, older durable checkpoint), both checkpoint_nos.
        """
        return PageAllocator(self, checkpoint_no, reusable_through, page_size)


class PageAllocator:
    """Hands out page numbers to one checkpoint build, and takes back what it frees.

    Nothing in the FreeSpace changes before `commit`; dropping the allocator (or `rollback`) is
    a complete undo (Invariant 3). One thread.
    """

    __slots__ = (
        "_freed",
        "_freed_set",
        "_kept",
        "_list_pages",
        "_own",
        "_ready",
        "_space",
        "checkpoint_no",
        "page_count",
        "page_size",
    )

    def __init__(
        self, space: FreeSpace, checkpoint_no: int, reusable_through: int, page_size: int
    ) -> None:
        self._space = space
        self.checkpoint_no = checkpoint_no
        self.page_size = page_size
        self.page_count = space.page_count
        # Invariant 1. Ready extents are kept as (first, end, freed_at), lowest page last. Adjacent
        # ones are joined under the later freed_at, or old fragments would never grow together.
        ready = _merged([e for e in space.extents if e.freed_at <= reusable_through], joining=True)
        self._kept = [e for e in space.extents if e.freed_at > reusable_through]
        self._ready = [(e.first, e.first + e.count, e.freed_at) for e in reversed(ready)]
        self._own: set[int] = set()
        self._freed: list[int] = []
        self._freed_set: set[int] = set()
        self._list_pages: list[int] = []

    def allocate(self, count: int = 1) -> int:
        """The first of `count` adjacent page numbers that nothing reaches."""
        ready = self._ready
        for position in range(len(ready) - 1, -1, -1):
            first, end, freed_at = ready[position]
            if end - first >= count:
                if end - first == count:
                    del ready[position]
                else:
                    ready[position] = (first + count, end, freed_at)
                self._own.update(range(first, first + count))
                return first
        first = self.page_count
        self.page_count += count
        self._own.update(range(first, first + count))
        return first

    def free(self, page_nos: Iterable[int]) -> None:
        """This checkpoint no longer reaches these pages."""
        for page_no in page_nos:
            assert page.FIRST_PAGE_NO <= page_no < self._space.page_count, page_no
            assert page_no not in self._own, f"page {page_no} freed by the build that made it"
            assert page_no not in self._freed_set, f"page {page_no} freed twice"
            self._freed_set.add(page_no)
            self._freed.append(page_no)

    def extents(self) -> list[Extent]:
        """All free extents as the new checkpoint sees them, ascending and merged."""
        found = [Extent(first, end - first, at) for first, end, at in self._ready]
        found += self._kept
        found += _as_extents(self._freed, self.checkpoint_no)
        found.sort(key=lambda extent: extent.first)
        return _merged(found)

    def write_list(self, sink: PageSink) -> FreeList:
        """Store the free list; the last allocation of a build. Frees the old chain first."""
        self.free(self._space.list_pages)
        per_page = (self.page_size - LIST_PREFIX_SIZE) // ENTRY.size
        pages: list[int] = []
        # Taking a page for the list can only shorten or split nothing more than one extent, and
        # what is over stays in the list, so this ends after a step or two.
        while len(pages) * per_page < len(self.extents()):
            pages.append(self.allocate())
        extents = self.extents()
        link = (0, 0)
        for position in range(len(pages) - 1, -1, -1):
            part = extents[position * per_page : (position + 1) * per_page]
            entries = b"".join([ENTRY.pack(e.first, e.count, e.freed_at) for e in part])
            data, checksum = page.seal_page(
                self.page_size,
                page.FREE_SPACE,
                0,
                pages[position],
                self.checkpoint_no,
                0,
                len(part),
                LINK.pack(*link) + entries,
            )
            sink.write(pages[position], data)
            link = (pages[position], checksum)
        self._list_pages = pages
        return FreeList(link[0], link[1], sum(extent.count for extent in extents))

    def commit(self) -> None:
        """The checkpoint is durable: the FreeSpace becomes what this build made of it."""
        self._space.extents = self.extents()
        self._space.page_count = self.page_count
        self._space.list_pages = self._list_pages

    def rollback(self) -> None:
        """Forget the build. The FreeSpace was never touched, so there is nothing to undo."""
        self._own.clear()
        self._freed.clear()


def read_free_list(
    read_page: Callable[[int, int], memoryview],
    first_page_no: int,
    first_checksum: int,
    page_count: int,
    free_page_count: int,
) -> FreeSpace:
    """Read a stored list. read_page(page_no, checksum) gives the verified bytes of a page.

    Raises DamageFound for a cycle, a bad entry or a count that differs from the meta page's;
    the caller may then rebuild the list by `complement`.
    """
    extents: list[Extent] = []
    chain: list[int] = []
    seen: set[int] = set()
    page_no, checksum = first_page_no, first_checksum
    position = page.FIRST_PAGE_NO
    while page_no:
        if page_no in seen or not page.FIRST_PAGE_NO <= page_no < page_count:
            raise DamageFound("free list: cycle or page out of range", page_no=page_no)
        seen.add(page_no)
        chain.append(page_no)
        raw = read_page(page_no, checksum)
        entries, page_no, checksum = decode_free_page(raw, page_no)
        for extent in entries:
            end = extent.first + extent.count
            if extent.first < position or extent.count < 1 or end > page_count:
                raise DamageFound("free list: bad extent", page_no=chain[-1])
            position = end
            extents.append(extent)
    if sum(extent.count for extent in extents) != free_page_count:
        raise DamageFound("free list: its count differs from the meta page's")
    return FreeSpace(page_count, extents, chain)


def decode_free_page(raw: bytes | memoryview, page_no: int) -> tuple[list[Extent], int, int]:
    """(entries, next page_no, next checksum) of a free-space page. Raises DamageFound."""
    header = page.decode_header(raw, page_no)
    if header.page_type != page.FREE_SPACE:
        raise DamageFound(f"page {page_no} is not a free-space page", page_no=page_no)
    if LIST_PREFIX_SIZE + header.row_count * ENTRY.size > len(raw):
        raise DamageFound("free list: more entries than a page holds", page_no=page_no)
    next_page, next_checksum = LINK.unpack_from(raw, page.HEADER_SIZE)
    end = LIST_PREFIX_SIZE + header.row_count * ENTRY.size
    entries = [Extent(*fields) for fields in ENTRY.iter_unpack(raw[LIST_PREFIX_SIZE:end])]
    return entries, next_page, next_checksum


def complement(reachable: Iterable[int], page_count: int, freed_at: int) -> list[Extent]:
    """Every page that is not reachable, as extents (Invariant 5). Rebuilds a lost free list:
    freed_at should be the newest checkpoint_no, the most careful answer."""
    extents: list[Extent] = []
    expected = page.FIRST_PAGE_NO
    for page_no in sorted(set(reachable)):
        if page_no > expected:
            extents.append(Extent(expected, page_no - expected, freed_at))
        expected = max(expected, page_no + 1)
    if expected < page_count:
        extents.append(Extent(expected, page_count - expected, freed_at))
    return extents


def contains(extents: Sequence[Extent], page_no: int) -> bool:
    """Whether a page is in an ascending list of extents."""
    position = bisect_right(extents, page_no, key=lambda extent: extent.first) - 1
    return position >= 0 and page_no < extents[position].first + extents[position].count


def _as_extents(page_nos: Sequence[int], freed_at: int) -> list[Extent]:
    extents: list[Extent] = []
    first = last = -2
    for page_no in sorted(page_nos):
        if page_no != last + 1:
            if last >= 0:
                extents.append(Extent(first, last - first + 1, freed_at))
            first = page_no
        last = page_no
    if last >= 0:
        extents.append(Extent(first, last - first + 1, freed_at))
    return extents


def _merged(extents: list[Extent], joining: bool = False) -> list[Extent]:
    merged: list[Extent] = []
    for extent in extents:
        if merged:
            before = merged[-1]
            assert extent.first >= before.first + before.count, "a page is free twice"
            adjacent = before.first + before.count == extent.first
            if adjacent and (joining or before.freed_at == extent.freed_at):
                freed_at = max(before.freed_at, extent.freed_at)
                merged[-1] = Extent(before.first, before.count + extent.count, freed_at)
                continue
        merged.append(extent)
    return merged
