"""A file system in memory: the same protocols as engine/vfs.py, nothing survives the process.

Paths are plain strings; the directory of a path is what `directory_of` says, and directories need
no making. Syncs are counted but do nothing. Locks behave like flock: they belong to the handle.

`MemoryBytes` (also used by vfs_simulated.py) is a growing array of bytes whose read-only views stay
live: a later write shows through every view taken before, as with a shared mapping.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading

from engine.errors import CannotOpen, MissingFile, ReadOnly, StorageError
from engine.vfs import directory_of

_CAPACITY_MIN = 1 << 26  # address space, not memory: pages are taken when first written


class MemoryBytes:
    """Bytes that grow in place. size: bytes in use; all beyond it reads as zeros."""

    __slots__ = ("_buffer", "_older", "size")

    def __init__(self, data: bytes = b"") -> None:
        self._buffer = _anonymous_memory(max(_CAPACITY_MIN, len(data)))
        self._older: list[mmap.mmap] = []  # smaller buffers that views may still show
        self.size = 0
        if data:
            self.write(0, data)

    def read(self, offset: int, size: int) -> bytes:
        return self._buffer[offset : min(offset + size, self.size)]

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        end = offset + len(data)
        self._reserve(end)
        self._buffer[offset:end] = data
        for buffer in self._older:
            if offset < len(buffer):
                stop = min(end, len(buffer))
                buffer[offset:stop] = data[: stop - offset]
        self.size = max(self.size, end)

    def resize(self, size: int) -> None:
        """Cut, or grow with zeros."""
        self._reserve(size)
        if size < self.size:
            for buffer in (self._buffer, *self._older):
                stop = min(self.size, len(buffer))
                if size < stop:
                    buffer[size:stop] = bytes(stop - size)
        self.size = size

    def view(self, offset: int, size: int) -> memoryview:
        return memoryview(self._buffer)[offset : offset + size].toreadonly()

    def _reserve(self, size: int) -> None:
        if size <= len(self._buffer):
            return
        larger = _anonymous_memory(max(size, 2 * len(self._buffer)))
        larger[: self.size] = self._buffer[: self.size]
        self._older.append(self._buffer)
        self._buffer = larger


def _anonymous_memory(size: int) -> mmap.mmap:
    no_reserve = getattr(mmap, "MAP_NORESERVE", 0)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)


class _Inode:
    __slots__ = ("content", "exclusive_holder", "number", "shared_holders")

    def __init__(self, number: int) -> None:
        self.number = number
        self.content = MemoryBytes()
        self.exclusive_holder: object | None = None
        self.shared_holders: set[object] = set()


class MemoryFile:
    """A handle on a file of a MemoryVfs."""

    __slots__ = ("__weakref__", "_closed", "_inode", "_vfs", "path", "readonly")

    def __init__(self, vfs: MemoryVfs, path: str, inode: _Inode, readonly: bool) -> None:
        self.path = path
        self.readonly = readonly
        self._vfs = vfs
        self._inode = inode
        self._closed = False

    def read(self, offset: int, size: int) -> bytes:
        return self._content("read").read(offset, size)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._writable("write").write(offset, data)

    def truncate(self, size: int) -> None:
        self._writable("truncate").resize(size)

    def allocate(self, size: int, *, durable: bool = True) -> None:
        content = self._writable("grow")
        if size > content.size:
            content.resize(size)

    def sync(self, data_only: bool = True) -> None:
        self._content("sync")
        self._vfs.sync_count += 1

    def size(self) -> int:
        return self._content("inspect").size

    def map(self, offset: int, size: int) -> memoryview:
        content = self._content("map")
        if offset % mmap.ALLOCATIONGRANULARITY or size <= 0 or offset + size > content.size:
            raise StorageError(
                f'cannot map {size} bytes at {offset} of "{self.path}"',
                path=self.path,
                operation="map",
            )
        return content.view(offset, size)

    def unmap(self, view: memoryview) -> None:
        view.release()

    def lock(self, exclusive: bool) -> bool:
        self._content("lock")
        inode = self._inode
        with self._vfs.mutex:
            if inode.exclusive_holder not in (None, self):
                return False
            if exclusive and inode.shared_holders - {self}:
                return False
            if exclusive:
                inode.exclusive_holder = self
                inode.shared_holders.discard(self)
            else:
                inode.exclusive_holder = None
                inode.shared_holders.add(self)
        return True

    def unlock(self) -> None:
        with self._vfs.mutex:
            if self._inode.exclusive_holder is self:
                self._inode.exclusive_holder = None
            self._inode.shared_holders.discard(self)

    def close(self) -> None:
        if not self._closed:
            self.unlock()
            self._closed = True

    def _content(self, operation: str) -> MemoryBytes:
        if self._closed:
            raise StorageError(
                f'cannot {operation} "{self.path}": it is closed',
                path=self.path,
                operation=operation,
                errno=errno.EBADF,
            )
        return self._inode.content

    def _writable(self, operation: str) -> MemoryBytes:
        if self.readonly:
            raise ReadOnly(f'"{self.path}" is open read-only')
        return self._content(operation)


class MemoryVfs:
    """Files in memory, shared by all handles of this object."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.sync_count = 0
        self._files: dict[str, _Inode] = {}
        self._next_number = 1

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, readonly: bool = False
    ) -> MemoryFile:
        path = os.path.normpath(path)
        with self.mutex:
            inode = self._files.get(path)
            if inode is not None and exclusive:
                raise CannotOpen(f'file already exists: "{path}"', path=path)
            if inode is None:
                if not (create or exclusive):
                    raise MissingFile(f'no such file: "{path}"', path=path)
                inode = self._files[path] = _Inode(self._next_number)
                self._next_number += 1
        return MemoryFile(self, path, inode, readonly)

    def exists(self, path: str) -> bool:
        return os.path.normpath(path) in self._files

    def remove(self, path: str) -> None:
        with self.mutex:
            if self._files.pop(os.path.normpath(path), None) is None:
                raise MissingFile(f'no such file: "{path}"', path=path)

    def rename(self, src: str, dst: str) -> None:
        with self.mutex:
            inode = self._files.pop(os.path.normpath(src), None)
            if inode is None:
                raise MissingFile(f'no such file: "{src}"', path=src)
            self._files[os.path.normpath(dst)] = inode

    def list_dir(self, path: str) -> list[str]:
        wanted = os.path.normpath(path)
        with self.mutex:
            return sorted(
                os.path.basename(name)
                for name in self._files
                if os.path.normpath(directory_of(name)) == wanted
            )

    def sync_dir(self, path: str) -> None:
        self.sync_count += 1

    def identity(self, path: str) -> tuple[int, int]:
        inode = self._files.get(os.path.normpath(path))
        if inode is None:
            raise MissingFile(f'no such file: "{path}"', path=path)
        return 0, inode.number

    def realpath(self, path: str) -> str:
        return os.path.normpath(path)
