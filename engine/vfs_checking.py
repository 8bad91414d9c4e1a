"""A Vfs that asserts the order of writes: it passes every call on and raises AssertionError where
the protocol is broken. On during tests; the store fills in what only it can know.

Rules
1. No write touches a page that a valid meta page reaches                   `Hooks.page_is_live`
2. A meta page is written only when every other byte of its file is synced  `Hooks.meta_size`
3. A log segment is removed only when no durable meta needs it            `Hooks.segment_is_needed`
4. A commit is acknowledged (`acknowledge(lsn)`) only after a sync that covers its record, in a
   segment whose name is synced                                             `Hooks.last_lsn`

Hooks default to "nothing to check", so the wrapper is useful from the first day.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from engine.vfs import File, Vfs, directory_of


class Hooks:
    """Replace the attributes one needs.

    page_is_live(path, offset, size)   may these bytes be reached from a valid meta page?
    meta_size(path)                    bytes at the start of the file that are meta pages
    segment_is_needed(path)            does the older durable meta need this segment?
    last_lsn(path, offset, data)       highest LSN of a log record in these bytes, 0 for none
    """

    def __init__(self) -> None:
        self.page_is_live: Callable[[str, int, int], bool] = lambda path, offset, size: False
        self.meta_size: Callable[[str], int] = lambda path: 0
        self.segment_is_needed: Callable[[str], bool] = lambda path: False
        self.last_lsn: Callable[[str, int, bytes], int] = lambda path, offset, data: 0


class _Tracked:
    """What is known of one path. unsynced: bytes written outside the meta pages."""

    __slots__ = ("name_synced", "unsynced_lsn", "unsynced_size")

    def __init__(self, name_synced: bool) -> None:
        self.name_synced = name_synced
        self.unsynced_size = 0
        self.unsynced_lsn = 0


class CheckingFile:
    """A File that reports to its CheckingVfs."""

    def __init__(self, vfs: CheckingVfs, inner: File) -> None:
        self._vfs = vfs
        self._inner = inner

    @property
    def path(self) -> str:
        return self._inner.path

    @path.setter
    def path(self, path: str) -> None:
        self._inner.path = path

    def read(self, offset: int, size: int) -> bytes:
        return self._inner.read(offset, size)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._vfs.before_write(self.path, offset, bytes(data))
        self._inner.write(offset, data)

    def truncate(self, size: int) -> None:
        self._vfs.before_write(self.path, size, b"")
        self._inner.truncate(size)

    def allocate(self, size: int, *, durable: bool = True) -> None:
        self._inner.allocate(size, durable=durable)

    def sync(self, data_only: bool = True) -> None:
        covered = self._vfs.before_sync(self.path)
        self._inner.sync(data_only)
        self._vfs.after_sync(self.path, covered)

    def size(self) -> int:
        return self._inner.size()

    def map(self, offset: int, size: int) -> memoryview:
        return self._inner.map(offset, size)

    def unmap(self, view: memoryview) -> None:
        self._inner.unmap(view)

    def lock(self, exclusive: bool) -> bool:
        return self._inner.lock(exclusive)

    def unlock(self) -> None:
        self._inner.unlock()

    def close(self) -> None:
        self._inner.close()


class CheckingVfs:
    """Wraps `inner`. violations: every broken rule, in words (also raised)."""

    def __init__(self, inner: Vfs, hooks: Hooks | None = None) -> None:
        self.inner = inner
        self.hooks = hooks or Hooks()
        self.violations: list[str] = []
        self.durable_lsn = 0
        self._tracked: dict[str, _Tracked] = {}
        self._mutex = threading.Lock()

    def acknowledge(self, lsn: int) -> None:
        """The engine is about to tell a caller that the commit at `lsn` is durable (rule 4)."""
        if lsn > self.durable_lsn:
            self._violated(f"LSN {lsn} acknowledged, but only {self.durable_lsn} is synced")

    # ── called by CheckingFile ───────────────────────────────────────────────────────────────
    def before_write(self, path: str, offset: int, data: bytes) -> None:
        hooks = self.hooks
        if data and hooks.page_is_live(path, offset, len(data)):
            self._violated(f'write to live bytes {offset}..{offset + len(data)} of "{path}"')
        tracked = self._track(path)
        if data and offset < hooks.meta_size(path):
            if tracked.unsynced_size:
                self._violated(
                    f'meta page of "{path}" written over {tracked.unsynced_size} unsynced bytes'
                )
            return
        with self._mutex:
            tracked.unsynced_size += len(data)
            lsn = hooks.last_lsn(path, offset, data) if data else 0
            tracked.unsynced_lsn = max(tracked.unsynced_lsn, lsn)

    def before_sync(self, path: str) -> tuple[int, int]:
        tracked = self._track(path)
        with self._mutex:
            return tracked.unsynced_size, tracked.unsynced_lsn

    def after_sync(self, path: str, covered: tuple[int, int]) -> None:
        tracked = self._track(path)
        with self._mutex:
            tracked.unsynced_size -= covered[0]
            if tracked.name_synced:
                self.durable_lsn = max(self.durable_lsn, covered[1])
            if tracked.unsynced_lsn == covered[1] and tracked.name_synced:
                tracked.unsynced_lsn = 0

    def _track(self, path: str) -> _Tracked:
        path = self.inner.realpath(path)
        with self._mutex:
            tracked = self._tracked.get(path)
            if tracked is None:
                tracked = self._tracked[path] = _Tracked(name_synced=True)
            return tracked

    def _violated(self, complaint: str) -> None:
        self.violations.append(complaint)
        raise AssertionError(f"write order broken: {complaint}")

    # ── Vfs ──────────────────────────────────────────────────────────────────────────────────
    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, readonly: bool = False
    ) -> CheckingFile:
        existed = self.inner.exists(path)
        inner = self.inner.open(path, create=create, exclusive=exclusive, readonly=readonly)
        if not existed:
            self._tracked[self.inner.realpath(path)] = _Tracked(name_synced=False)
        return CheckingFile(self, inner)

    def exists(self, path: str) -> bool:
        return self.inner.exists(path)

    def remove(self, path: str) -> None:
        if self.hooks.segment_is_needed(path):
            self._violated(f'"{path}" removed while the older meta page needs it')
        self.inner.remove(path)
        self._tracked.pop(self.inner.realpath(path), None)

    def rename(self, src: str, dst: str) -> None:
        tracked = self._track(src)
        self.inner.rename(src, dst)
        tracked.name_synced = False
        self._tracked[self.inner.realpath(dst)] = tracked
        self._tracked.pop(self.inner.realpath(src), None)

    def list_dir(self, path: str) -> list[str]:
        return self.inner.list_dir(path)

    def sync_dir(self, path: str) -> None:
        self.inner.sync_dir(path)
        wanted = self.inner.realpath(path)
        with self._mutex:
            for name, tracked in self._tracked.items():
                if self.inner.realpath(directory_of(name)) != wanted or tracked.name_synced:
                    continue
                tracked.name_synced = True
                if not tracked.unsynced_size:
                    self.durable_lsn = max(self.durable_lsn, tracked.unsynced_lsn)
                    tracked.unsynced_lsn = 0

    def identity(self, path: str) -> tuple[int, int]:
        return self.inner.identity(path)

    def realpath(self, path: str) -> str:
        return self.inner.realpath(path)
