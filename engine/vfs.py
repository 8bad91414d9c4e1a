"""The only door to the operating system: files, directories, mappings, locks.

`File` and `Vfs` are the protocols; `OsVfs` is the real one. vfs_memory.py, vfs_simulated.py and
vfs_checking.py implement the same protocols for tests. Offsets and sizes are bytes; paths are str.

Invariants
1. `write` writes all of its bytes or raises; short writes and EINTR never reach a caller.
2. Every OSError leaves as a class of engine.errors: MissingFile, CannotOpen, ReadOnly, DiskFull
   (ENOSPC, EDQUOT, EFBIG) or StorageError, with path, operation and errno.
3. Mappings are read-only and never resized; a mapped range lies inside the file.
4. Locks are flock locks: they belong to the open file, so an unrelated close in this process
   does not drop them (as it does with lockf). `close` gives them back although a mapping that
   somebody still looks at keeps the open file alive; only in the process that took them.
5. No descriptor is 0, 1 or 2: a stray print can never land in a database.

A name (created, renamed, removed) is durable only after `sync_dir` of its directory; bytes and
size only after `sync`. Nothing here retries a failed sync (engine/durability/sync.py says why).
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Callable
from typing import Protocol

from engine.errors import CannotOpen, DiskFull, Error, MissingFile, ReadOnly, StorageError

_DISK_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_NOT_ALLOWED = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))
MAP_GRANULARITY = mmap.ALLOCATIONGRANULARITY


class File(Protocol):
    """One open file. Safe for use from many threads, except `close`."""

    path: str

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`; fewer only where the file ends."""
        ...

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """All of `data` at `offset`, growing the file. Raises DiskFull, StorageError, ReadOnly;
        then any part of the bytes may have been written."""
        ...

    def truncate(self, size: int) -> None: ...

    def allocate(self, size: int, *, durable: bool = True) -> None:
        """Grow the file to at least `size` bytes of real disk space, which read as zeros.

        durable: the new size is on disk on return. Raises DiskFull and leaves the size as it was.
        """
        ...

    def sync(self, data_only: bool = True) -> None:
        """Make written bytes and the size durable. data_only: fdatasync instead of fsync."""
        ...

    def size(self) -> int: ...

    def map(self, offset: int, size: int) -> memoryview:
        """A read-only view of bytes that exist; later writes show through it. offset: a multiple
        of MAP_GRANULARITY."""
        ...

    def unmap(self, view: memoryview) -> None:
        """Give back a view made by `map`. While views made from it live, memory stays mapped."""
        ...

    def lock(self, exclusive: bool) -> bool:
        """Take or change the lock of the file; False when another holder is in the way."""
        ...

    def unlock(self) -> None: ...

    def close(self) -> None:
        """Idempotent. Releases the lock; does not sync."""
        ...


class Vfs(Protocol):
    """A file system."""

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, readonly: bool = False
    ) -> File:
        """create: make the file when it is missing; exclusive: it must be missing.

        Raises MissingFile, CannotOpen (permission, a directory, exists already).
        """
        ...

    def exists(self, path: str) -> bool: ...

    def remove(self, path: str) -> None: ...

    def rename(self, src: str, dst: str) -> None:
        """Atomic; replaces `dst`."""
        ...

    def list_dir(self, path: str) -> list[str]:
        """Names in a directory, sorted."""
        ...

    def sync_dir(self, path: str) -> None: ...

    def identity(self, path: str) -> tuple[int, int]:
        """(device, inode): the same for two paths that lead to one file."""
        ...

    def realpath(self, path: str) -> str: ...


def directory_of(path: str) -> str:
    """The directory that holds `path`; '.' for a bare name."""
    return os.path.dirname(path) or "."


def storage_error(error: OSError, path: str, operation: str) -> Error:
    """The error class for an OSError of an operation on an open or existing file."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    message = f'cannot {operation} "{path}": {reason}'
    if error.errno in _DISK_FULL:
        return DiskFull(
            message,
            path=path,
            operation=operation,
            errno=error.errno,
            hint="free some space on that disk, then try again",
        )
    if error.errno == errno.ENOENT:
        return MissingFile(f'no such file: "{path}"', path=path)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnly(message)
    return StorageError(message, path=path, operation=operation, errno=error.errno)


def open_error(error: OSError, path: str) -> Error:
    """The error class for an OSError of opening or creating a file."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return MissingFile(f'no such file: "{path}"', path=path)
    if error.errno == errno.EEXIST:
        return CannotOpen(f'file already exists: "{path}"', path=path)
    if error.errno in _NOT_ALLOWED:
        reason = os.strerror(error.errno or 0)
        return CannotOpen(
            f'cannot open "{path}": {reason}',
            path=path,
            hint="check the permissions of the file and its directory, or open it read-only",
        )
    if error.errno in _DISK_FULL:
        return storage_error(error, path, "create")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return CannotOpen(f'cannot open "{path}": {reason}', path=path)


def write_fully(
    pwrite: Callable[[memoryview, int], int],
    data: bytes | bytearray | memoryview,
    offset: int,
    done: int = 0,
) -> None:
    """Write data[done:] at offset + done with as many calls as it takes (Invariant 1).

    pwrite: bytes, offset → bytes taken; raises OSError.
    """
    view = memoryview(data).cast("B")
    while done < len(view):
        try:
            taken = pwrite(view[done:], offset + done)
        except InterruptedError:
            continue
        if taken <= 0:
            raise OSError(errno.EIO, "wrote nothing")
        done += taken


class OsFile:
    """A file of the operating system."""

    __slots__ = ("_fd", "_locked_by", "path", "readonly")

    def __init__(self, path: str, fd: int, readonly: bool) -> None:
        self.path = path
        self.readonly = readonly
        self._fd = fd
        self._locked_by = 0  # the process that took a lock

    def read(self, offset: int, size: int) -> bytes:
        try:
            raw = os.pread(self._fd, size, offset)
            if len(raw) == size or not raw:
                return raw
            parts = [raw]
            missing = size - len(raw)
            while missing and (raw := os.pread(self._fd, missing, offset + size - missing)):
                parts.append(raw)
                missing -= len(raw)
            return b"".join(parts)
        except OSError as error:
            raise storage_error(error, self.path, "read") from error

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        try:
            # One call in the common case: 0.8 µs for a small record, of which 0.1 are ours.
            done = os.pwrite(self._fd, data, offset)
            if done != len(data):
                self._write_rest(offset, data, done)
        except OSError as error:
            raise self._write_error(error) from error

    def _write_rest(self, offset: int, data: bytes | bytearray | memoryview, done: int) -> None:
        write_fully(lambda part, at: os.pwrite(self._fd, part, at), data, offset, done)

    def _write_error(self, error: OSError) -> Error:
        if error.errno == errno.EBADF and self.readonly:
            return ReadOnly(f'"{self.path}" is open read-only')
        return storage_error(error, self.path, "write")

    def truncate(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            if error.errno == errno.EINVAL and self.readonly:
                raise ReadOnly(f'"{self.path}" is open read-only') from error
            raise storage_error(error, self.path, "truncate") from error

    def allocate(self, size: int, *, durable: bool = True) -> None:
        old_size = self.size()
        if size <= old_size:
            return
        try:
            try:
                os.posix_fallocate(self._fd, old_size, size - old_size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
                self._fill_with_zeros(old_size, size)
            if durable:
                os.fsync(self._fd)
        except OSError as error:
            if self.size() > old_size and not self.readonly:
                os.ftruncate(self._fd, old_size)
            if error.errno == errno.EBADF and self.readonly:
                raise ReadOnly(f'"{self.path}" is open read-only') from error
            raise storage_error(error, self.path, "grow") from error

    def _fill_with_zeros(self, start: int, end: int) -> None:
        """For file systems without fallocate."""
        zeros = bytes(1 << 20)
        for offset in range(start, end, len(zeros)):
            part = zeros[: end - offset]
            write_fully(lambda data, at: os.pwrite(self._fd, data, at), part, offset)

    def sync(self, data_only: bool = True) -> None:
        try:
            if data_only:
                os.fdatasync(self._fd)
            else:
                os.fsync(self._fd)
        except OSError as error:
            raise storage_error(error, self.path, "sync") from error

    def size(self) -> int:
        try:
            return os.fstat(self._fd).st_size
        except OSError as error:
            raise storage_error(error, self.path, "inspect") from error

    def map(self, offset: int, size: int) -> memoryview:
        try:
            mapping = mmap.mmap(
                self._fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, offset=offset
            )
        except (OSError, ValueError) as error:
            if isinstance(error, OSError):
                raise storage_error(error, self.path, "map") from error
            raise StorageError(
                f'cannot map {size} bytes at {offset} of "{self.path}": {error}',
                path=self.path,
                operation="map",
            ) from error
        return memoryview(mapping)

    def unmap(self, view: memoryview) -> None:
        mapping = view.obj
        view.release()
        try:
            mapping.close()  # type: ignore[attr-defined]
        except BufferError:
            pass  # a view made from this one lives; the last of them unmaps

    def lock(self, exclusive: bool) -> bool:
        mode = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(self._fd, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise storage_error(error, self.path, "lock") from error
        self._locked_by = os.getpid()
        return True

    def unlock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as error:
            raise storage_error(error, self.path, "unlock") from error

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            if self._locked_by == os.getpid():  # Invariant 4
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)
        except OSError as error:
            raise storage_error(error, self.path, "close") from error


class OsVfs:
    """The operating system's files."""

    __slots__ = ()

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, readonly: bool = False
    ) -> OsFile:
        # O_NONBLOCK: opening a pipe that nobody writes must not hang; files do not know it.
        flags = (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK
        if create:
            flags |= os.O_CREAT
        if exclusive:
            flags |= os.O_CREAT | os.O_EXCL
        try:
            fd = os.open(path, flags, 0o644)
            if fd <= 2:  # Invariant 5
                low_fd, fd = fd, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
                os.close(low_fd)
            mode = os.fstat(fd).st_mode
            if stat.S_ISDIR(mode):
                os.close(fd)
                raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        except OSError as error:
            raise open_error(error, path) from error
        if not stat.S_ISREG(mode):
            os.close(fd)
            raise CannotOpen(f'cannot open "{path}": not a regular file', path=path)
        return OsFile(path, fd, readonly)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def remove(self, path: str) -> None:
        try:
            os.unlink(path)
        except OSError as error:
            raise storage_error(error, path, "remove") from error

    def rename(self, src: str, dst: str) -> None:
        try:
            os.rename(src, dst)
        except OSError as error:
            raise storage_error(error, src, "rename") from error

    def list_dir(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except OSError as error:
            raise storage_error(error, path, "list") from error

    def sync_dir(self, path: str) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise storage_error(error, path, "sync") from error

    def identity(self, path: str) -> tuple[int, int]:
        try:
            status = os.stat(path)
        except OSError as error:
            raise storage_error(error, path, "inspect") from error
        return status.st_dev, status.st_ino

    def realpath(self, path: str) -> str:
        return os.path.realpath(path)
