"""The buffer pool: page_no → parsed page view, verified on first touch, bounded by CLOCK.

The operating system caches the bytes; the pool caches what it costs time to make: checked
headers, column memoryviews, separators as lists, readers. Frozen pages are never dirty, so there
is nothing to write back and nothing to pin; an evicted view lives on while someone holds it.

Invariants
1. A page is checked against its own checksum and its parent's when its bytes are first seen
   (verify='first': once per process and version of the page; 'always': whenever it is parsed;
   io='pread': at every read). A cached view is compared with the parent's checksum only.
2. The map is read-only, made of windows of WINDOW_SIZE that are never resized: where the file
   grew, a new window replaces the old one, which is unmapped with the last view of it.
3. A page number is bounded by the file's size before anything is read.
4. A page that is written again (a reused page) is forgotten first; by freespace.py's Invariant 1
   no reader can be on its way to the old version.

Threads: lookups are plain dict reads; insertion, eviction and mapping hold one mutex.
Counters: hits, misses, evictions, reads (pages fetched), verified. Point readers do not count
their hits: that would cost a tenth of the read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from engine.errors import DamageFound
from engine.storage import overflow, page
from engine.storage.branch import BranchView
from engine.storage.leaf import LeafView
from engine.vfs import File

PageView: TypeAlias = LeafView | BranchView
Io: TypeAlias = Literal["mmap", "pread"]
Verify: TypeAlias = Literal["first", "always"]

WINDOW_SIZE = 64 << 20
CAPACITY_BYTES_DEFAULT = 256 << 20
CAPACITY_MIN = 64
GROW_SIZE_MAX = 16 << 20


class BufferPool:
    """Parsed pages of one file.

    io: 'mmap' or 'pread'. capacity: most views kept (default: 256 MiB worth of pages).
    """

    __slots__ = (
        "_hand",
        "_mutex",
        "_ring",
        "_seen",
        "_windows",
        "capacity",
        "evictions",
        "file",
        "hits",
        "io",
        "misses",
        "page_size",
        "reads",
        "verified",
        "verify",
        "views",
    )

    def __init__(
        self,
        file: File,
        page_size: int,
        *,
        io: Io = "mmap",
        capacity: int | None = None,
        verify: Verify = "first",
    ) -> None:
        self.file = file
        self.page_size = page_size
        self.io = io
        self.verify = verify
        self.capacity = capacity or max(CAPACITY_MIN, CAPACITY_BYTES_DEFAULT // page_size)
        self.views: dict[int, PageView] = {}
        self.hits = self.misses = self.evictions = self.reads = self.verified = 0
        self._ring: list[int] = []
        self._hand = 0
        self._seen = bytearray()  # 1 = this version of the page was verified
        self._windows: dict[int, memoryview] = {}
        self._mutex = threading.Lock()

    # ── pages ────────────────────────────────────────────────────────────────────────────────
    def leaf(self, page_no: int, checksum: int) -> LeafView:
        """The leaf its parent points to. Raises DamageFound, StorageError."""
        view = self.views.get(page_no)
        if view is not None and view.checksum == checksum:
            self.hits += 1
            view.used = True
        else:
            view = self._load(page_no, checksum)
        if not isinstance(view, LeafView):
            raise DamageFound(f"page {page_no} is not a leaf", page_no=page_no)
        return view

    def branch(self, page_no: int, checksum: int) -> BranchView:
        """The branch its parent points to. Raises DamageFound, StorageError."""
        view = self.views.get(page_no)
        if view is not None and view.checksum == checksum:
            self.hits += 1
            view.used = True
        else:
            view = self._load(page_no, checksum)
        if not isinstance(view, BranchView):
            raise DamageFound(f"page {page_no} is not a branch", page_no=page_no)
        return view

    def page(self, page_no: int, checksum: int) -> memoryview:
        """The bytes of any page, always verified and never cached; for lists and tools."""
        raw = self.raw(page_no)
        page.require_sound(raw, page_no, checksum)
        return raw

    def overflow_value(self, reference: bytes | memoryview) -> bytes:
        """The long value behind a reference of a leaf."""
        return overflow.read_value(reference, self.page_size, self.page_limit(), self.raw)

    def page_limit(self) -> int:
        """Pages the file has room for."""
        return self.file.size() // self.page_size

    def raw(self, page_no: int) -> memoryview:
        """The bytes of a page, unverified: a slice of a window, or a read."""
        self.reads += 1
        page_size = self.page_size
        offset = page_no * page_size
        if self.io == "pread":
            if not 0 <= page_no < self.page_limit():  # Invariant 3
                raise self._out_of_range(page_no)
            data = self.file.read(offset, page_size)
            if len(data) != page_size:
                raise self._out_of_range(page_no)
            return memoryview(data)
        index, start = divmod(offset, WINDOW_SIZE)
        window = self._windows.get(index)
        if window is None or start + page_size > len(window):
            window = self._map_window(index, start + page_size, page_no)
        return window[start : start + page_size]

    def _map_window(self, index: int, needed: int, page_no: int) -> memoryview:
        with self._mutex:
            window = self._windows.get(index)
            if window is not None and needed <= len(window):
                return window
            size = min(WINDOW_SIZE, self.file.size() - index * WINDOW_SIZE)
            if page_no < 0 or needed > size:
                raise self._out_of_range(page_no)
            # Invariant 2: the old window goes with the last view made from it.
            window = self.file.map(index * WINDOW_SIZE, size)
            self._windows[index] = window
            return window

    def _load(self, page_no: int, checksum: int) -> PageView:
        if page_no < page.FIRST_PAGE_NO:
            raise self._out_of_range(page_no)
        raw = self.raw(page_no)
        seen = self._seen
        if (
            self.verify == "always"
            or self.io == "pread"
            or page_no >= len(seen)
            or not seen[page_no]
        ):
            page.require_sound(raw, page_no, checksum)
            self.verified += 1
        header = page.decode_header(raw, page_no)
        if header.checksum != checksum:
            raise DamageFound(
                f"page {page_no} is not the version its parent points to", page_no=page_no
            )
        view = parse_page(raw, header, self.overflow_value)
        with self._mutex:
            self.misses += 1
            if page_no >= len(self._seen):
                self._seen.extend(bytes(page_no + 1024 - len(self._seen)))
            self._seen[page_no] = 1
            self._insert(page_no, view)
        return view

    def _insert(self, page_no: int, view: PageView) -> None:
        """Put a view in; past the capacity, the first unused view under the hand goes."""
        views, ring = self.views, self._ring
        if page_no in views:
            views[page_no] = view
            return
        if len(ring) < self.capacity:
            ring.append(page_no)
            views[page_no] = view
            return
        while True:
            self._hand = hand = (self._hand + 1) % len(ring)
            old = views.get(ring[hand])
            if old is None:
                break
            if not old.used:
                del views[ring[hand]]
                self.evictions += 1
                break
            old.used = False
        ring[hand] = page_no
        views[page_no] = view

    # ── changes of the file ──────────────────────────────────────────────────────────────────
    def forget(self, page_nos: Iterable[int]) -> None:
        """These pages are about to be written (Invariant 4)."""
        with self._mutex:
            self._forget(page_nos)

    def _forget(self, page_nos: Iterable[int]) -> None:
        for page_no in page_nos:
            self.views.pop(page_no, None)
            if page_no < len(self._seen):
                self._seen[page_no] = 0

    def forget_all(self) -> None:
        """Drop every view and mark every page unverified, as after an external change."""
        with self._mutex:
            self.views.clear()
            self._ring.clear()
            self._hand = 0
            self._seen = bytearray()

    def close(self) -> None:
        """Drop views and windows. Views that callers still hold stay valid until they go."""
        with self._mutex:
            self.views.clear()
            self._ring.clear()
            windows = list(self._windows.values())
            self._windows.clear()
        for window in windows:
            self.file.unmap(window)

    def _out_of_range(self, page_no: int) -> DamageFound:
        return DamageFound(
            f"page {page_no} lies outside the file", page_no=page_no, hint="run mantis check"
        )


def parse_page(
    raw: memoryview, header: page.PageHeader, read_overflow: Callable[[memoryview], bytes]
) -> PageView:
    """The view of a leaf or branch page. Raises DamageFound on any other bytes."""
    if header.page_type == page.LEAF and header.level == 0:
        return LeafView(raw, header, read_overflow)
    if header.page_type == page.BRANCH:
        return BranchView(raw, header)
    name = page.PAGE_TYPE_NAMES[header.page_type]
    raise DamageFound(
        f"page {header.page_no} is a {name} page inside a tree", page_no=header.page_no
    )


class FilePageSink:
    """Writes a build's pages into the file, growing it first, and makes the pool forget them.

    Nothing is synced: the checkpoint syncs once, before it writes a meta page.
    """

    __slots__ = ("_size", "file", "page_count", "page_size", "pool")

    def __init__(self, file: File, pool: BufferPool) -> None:
        self.file = file
        self.pool = pool
        self.page_size = pool.page_size
        self.page_count = 0
        self._size = file.size()

    def write(self, page_no: int, data: bytes) -> None:
        """Raises DiskFull, StorageError; then the build is dropped."""
        end = (page_no + 1) * self.page_size
        if end > self._size:
            # Real blocks before data: a full disk is an error here and never a torn page later.
            step = min(GROW_SIZE_MAX, max(self._size >> 3, self.page_size))
            self._size = max(end, self._size + step)
            self._size -= self._size % self.page_size
            self.file.allocate(self._size, durable=False)
        self.pool.forget((page_no,))
        self.file.write(page_no * self.page_size, data)
        self.page_count += 1
