"""A simulated disk: what a file system shows a program, and what a power loss leaves of it.

`SimulatedDisk` is a Vfs. It keeps, for every sector written since the last sync of its file, all
versions it has had; for every file its sizes; for every directory the creates, renames and
removes not yet synced. `crash_image(seed)` makes a new disk as a power loss at this moment might
have left it:

    sector written since the last sync   new, an older version, old, zeros, random or stale bytes
    size changed since the last sync     any of the sizes since, or the synced one
    create, rename, remove since sync_dir  each happened or not, independently
    all that was synced                  as it was

Garbage falls only on bytes written since the last sync: what an earlier sync covered survives a
later write to the same sector (powersafe overwrite, as SQLite assumes too). With
`powersafe=False` the whole sector is at risk.

`on_operation(index, name, path)` is called before each changing operation, so a test can take
images at every one of them in a single run; `crash_at` stops a run there instead. Everything is
a function of the calls and the seed.

Faults (`inject`): 'EIO', 'ENOSPC' (a write puts down some of its bytes first), 'short write' and
'EINTR' (invisible: the write goes on), 'failed sync' (the pages are dropped and marked clean, but
the cache goes on showing them; a later sync succeeds and does not write them), 'MemoryError'.

Invariants
1. After a successful sync an image holds exactly the synced bytes and size, whatever happens to
   other files.
2. An image is a disk of its own: crashing it again (during recovery) works the same way.
"""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable

from engine.errors import CannotOpen, MissingFile, ReadOnly, StorageError
from engine.vfs import MAP_GRANULARITY, directory_of, storage_error, write_fully
from engine.vfs_memory import MemoryBytes

SECTOR_SIZE = 512
VERSIONS_MAX = 6
STALE_MAX = 64

FAULT_OPERATIONS = {
    "EIO": ("read", "write", "truncate", "allocate", "sync", "sync_dir", "rename", "remove"),
    "ENOSPC": ("write", "allocate", "create"),
    "short write": ("write",),
    "EINTR": ("write",),
    "failed sync": ("sync", "sync_dir"),
    "MemoryError": ("read", "write", "truncate", "allocate", "sync", "create"),
}

# Weights of what becomes of an unsynced sector: new, older version, old, zero, random, stale.
MOODS = (
    (1, 0, 0, 0, 0, 0),
    (0, 0, 1, 0, 0, 0),
    (4, 1, 4, 1, 1, 1),
    (8, 0, 1, 0, 0, 0),
    (1, 0, 8, 0, 0, 0),
    (2, 1, 0, 2, 2, 2),
)


class SimulatedCrash(BaseException):
    """The machine stopped: raised by the operation `crash_at` and by all that come after."""


class _Sector:
    """A sector since its file's last sync. base: the synced bytes; dirty: [lo, hi) written."""

    __slots__ = ("base", "hi", "lo", "versions")

    def __init__(self, base: bytes) -> None:
        self.base = base
        self.versions: list[bytes] = []
        self.lo = SECTOR_SIZE
        self.hi = 0


class _Inode:
    __slots__ = (
        "content",
        "dirty",
        "exclusive_holder",
        "lost",
        "number",
        "shared_holders",
        "sizes",
        "synced_size",
    )

    def __init__(self, number: int, data: bytes = b"") -> None:
        self.number = number
        self.content = MemoryBytes(data)
        self.synced_size = len(data)
        self.sizes: list[int] = []
        self.dirty: dict[int, _Sector] = {}
        self.lost: dict[int, _Sector] = {}  # dropped by a failed sync
        self.exclusive_holder: object | None = None
        self.shared_holders: set[object] = set()

    def put(self, offset: int, data: bytes | memoryview) -> None:
        end = offset + len(data)
        first, last = offset // SECTOR_SIZE, (end - 1) // SECTOR_SIZE
        if end > offset:
            entries = [self._enter(number) for number in range(first, last + 1)]
        self.content.write(offset, data)
        if end > offset:
            for number, sector in zip(range(first, last + 1), entries):
                start = number * SECTOR_SIZE
                sector.lo = min(sector.lo, max(0, offset - start))
                sector.hi = max(sector.hi, min(SECTOR_SIZE, end - start))
                self._remember(sector, number)
        self._note_size()

    def resize(self, size: int) -> None:
        old_size = self.content.size
        if size < old_size:
            numbers = range(size // SECTOR_SIZE, (old_size - 1) // SECTOR_SIZE + 1)
            entries = [(number, self._enter(number)) for number in numbers]
            self.content.resize(size)
            for number, sector in entries:
                sector.lo = min(sector.lo, max(0, size - number * SECTOR_SIZE))
                sector.hi = SECTOR_SIZE
                self._remember(sector, number)
        else:
            self.content.resize(size)
        self._note_size()

    def settle(self) -> list[bytes]:
        """All written bytes become durable; returns sectors they replaced."""
        replaced = [sector.base for sector in self.dirty.values()]
        self.dirty.clear()
        self.synced_size = self.content.size
        self.sizes.clear()
        return replaced

    def lose(self) -> None:
        """A sync failed: forget that the sectors are dirty, without having written them."""
        self.lost.update(self.dirty)
        self.dirty.clear()

    def crashed(self, rng: random.Random, stale: list[bytes], powersafe: bool) -> bytes:
        """The bytes a power loss leaves."""
        mood = rng.choice(MOODS)
        size = rng.choice([self.synced_size, *self.sizes, self.content.size])
        if mood == MOODS[0]:
            size = self.content.size
        elif mood == MOODS[1]:
            size = self.synced_size
        data = bytearray(self.content.read(0, size))
        data += bytes(size - len(data))
        for sectors in (self.lost, self.dirty):
            for number, sector in sectors.items():
                start = number * SECTOR_SIZE
                if start >= size:
                    continue
                raw = _crashed_sector(sector, rng, mood, stale, powersafe)
                data[start : start + SECTOR_SIZE] = raw[: size - start]
        return bytes(data)

    def _enter(self, number: int) -> _Sector:
        sector = self.dirty.get(number)
        if sector is None:
            sector = self.lost.pop(number, None)
            if sector is None:
                raw = self.content.read(number * SECTOR_SIZE, SECTOR_SIZE)
                sector = _Sector(raw + bytes(SECTOR_SIZE - len(raw)))
            self.dirty[number] = sector
        return sector

    def _remember(self, sector: _Sector, number: int) -> None:
        raw = self.content.read(number * SECTOR_SIZE, SECTOR_SIZE)
        sector.versions.append(raw + bytes(SECTOR_SIZE - len(raw)))
        if len(sector.versions) > VERSIONS_MAX:
            del sector.versions[_forgotten_index(len(sector.versions))]

    def _note_size(self) -> None:
        size = self.content.size
        if size != (self.sizes[-1] if self.sizes else self.synced_size):
            self.sizes.append(size)


def _forgotten_index(count: int) -> int:
    """Index of the version to forget: neither the first nor the newest."""
    return count // 2


def _crashed_sector(
    sector: _Sector,
    rng: random.Random,
    mood: tuple[int, ...],
    stale: list[bytes],
    powersafe: bool,
) -> bytes:
    fate = rng.choices(range(6), mood)[0]
    if fate == 0:
        return sector.versions[-1]
    if fate == 1:
        return rng.choice(sector.versions)
    if fate == 2:
        return sector.base
    if fate == 3:
        garbage = bytes(SECTOR_SIZE)
    elif fate == 4 or not stale:
        garbage = rng.randbytes(SECTOR_SIZE)
    else:
        garbage = rng.choice(stale)
    if not powersafe:
        return garbage
    lo, hi = sector.lo, sector.hi
    return sector.base[:lo] + garbage[lo:hi] + sector.base[hi:]


class _Fault:
    def __init__(
        self, kind: str, nth: int, forever: bool, operations: tuple[str, ...], path_part: str
    ) -> None:
        self.kind = kind
        self.countdown = nth
        self.forever = forever
        self.operations = operations
        self.path_part = path_part

    def strikes(self, operation: str, path: str) -> bool:
        if operation not in self.operations or self.path_part not in path:
            return False
        self.countdown -= 1
        return self.countdown == 0 or (self.countdown < 0 and self.forever)


class SimulatedFile:
    """A handle on a file of a SimulatedDisk."""

    __slots__ = ("__weakref__", "_disk", "_inode", "_life", "path", "readonly")

    def __init__(self, disk: SimulatedDisk, path: str, inode: _Inode, readonly: bool) -> None:
        self.path = path
        self.readonly = readonly
        self._disk = disk
        self._inode = inode
        self._life = disk.life

    def read(self, offset: int, size: int) -> bytes:
        with self._disk.step("read", self):
            return self._inode.content.read(offset, size)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        with self._disk.step("write", self) as fault:
            raw = bytes(data)
            if fault is None:
                self._inode.put(offset, raw)
                return
            some = self._disk.rng.randrange(len(raw)) if raw else 0
            state = [fault]

            def pwrite(part: memoryview, at: int) -> int:
                kind = state[0]
                if kind == "EINTR":
                    state[0] = ""
                    raise InterruptedError(errno.EINTR, "interrupted")
                if kind == "ENOSPC" and at == offset + some:
                    raise OSError(errno.ENOSPC, "no space left")
                taken = part[:some] if kind and some else part
                state[0] = "" if kind == "short write" else kind
                self._inode.put(at, bytes(taken))
                return len(taken)

            try:
                write_fully(pwrite, raw, offset)
            except OSError as error:
                raise storage_error(error, self.path, "write") from error

    def truncate(self, size: int) -> None:
        with self._disk.step("truncate", self):
            self._inode.resize(size)

    def allocate(self, size: int, *, durable: bool = True) -> None:
        with self._disk.step("allocate", self):
            if size > self._inode.content.size:
                self._inode.resize(size)
        if durable:
            self.sync(data_only=False)

    def sync(self, data_only: bool = True) -> None:
        with self._disk.step("sync", self):
            self._disk.keep_stale(self._inode.settle())

    def size(self) -> int:
        self.require_open()
        return self._inode.content.size

    def map(self, offset: int, size: int) -> memoryview:
        self.require_open()
        if offset % MAP_GRANULARITY or size <= 0 or offset + size > self._inode.content.size:
            raise StorageError(
                f'cannot map {size} bytes at {offset} of "{self.path}"',
                path=self.path,
                operation="map",
            )
        return self._inode.content.view(offset, size)

    def unmap(self, view: memoryview) -> None:
        view.release()

    def lock(self, exclusive: bool) -> bool:
        self.require_open()
        inode = self._inode
        if inode.exclusive_holder not in (None, self):
            return False
        if exclusive and inode.shared_holders - {self}:
            return False
        inode.shared_holders.discard(self)
        inode.exclusive_holder = self if exclusive else None
        if not exclusive:
            inode.shared_holders.add(self)
        return True

    def unlock(self) -> None:
        if self._inode.exclusive_holder is self:
            self._inode.exclusive_holder = None
        self._inode.shared_holders.discard(self)

    def close(self) -> None:
        if self._life == self._disk.life:
            self.unlock()
        self._life = -1

    def require_open(self) -> None:
        if self._life != self._disk.life:
            raise StorageError(
                f'"{self.path}" is closed', path=self.path, operation="use", errno=errno.EBADF
            )

    def fail_sync(self) -> None:
        self._inode.lose()


class _Step:
    """One operation: the mutex is held inside; enters with the kind of a write's fault."""

    __slots__ = ("_disk", "_fault")

    def __init__(self, disk: SimulatedDisk, fault: str | None) -> None:
        self._disk = disk
        self._fault = fault

    def __enter__(self) -> str | None:
        self._disk.mutex.acquire()
        return self._fault

    def __exit__(self, *_unused: object) -> None:
        self._disk.mutex.release()


class SimulatedDisk:
    """See the module header.

    operation_count: changing operations so far; crash_at: the one that raises SimulatedCrash.
    """

    def __init__(self, seed: int = 0, *, powersafe: bool = True) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.powersafe = powersafe
        self.mutex = threading.RLock()
        self.operation_count = 0
        self.on_operation: Callable[[int, str, str], None] | None = None
        self.crash_at: int | None = None
        self.life = 0  # handles of an earlier life are dead
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._pending: list[tuple[str, str, str, _Inode]] = []  # operation, path, dst, inode
        self._faults: list[_Fault] = []
        self._stale: list[bytes] = []
        self._next_number = 1

    # ── crashes and faults ───────────────────────────────────────────────────────────────────
    def crash_image(self, seed: int) -> SimulatedDisk:
        """A new disk as a power loss now might leave this one; `seed` chooses how."""
        rng = random.Random(seed)
        image = SimulatedDisk(seed, powersafe=self.powersafe)
        with self.mutex:
            names = dict(self._durable_names)
            share = rng.choice((0.0, 0.5, 0.5, 0.9, 1.0))
            for operation, path, dst, inode in self._pending:
                if rng.random() >= share:
                    continue
                if operation == "create":
                    names[path] = inode
                    continue
                if names.get(path) is inode:
                    del names[path]
                if operation == "rename":
                    names[dst] = inode
            contents: dict[int, _Inode] = {}
            for path, inode in sorted(names.items()):
                if inode.number not in contents:
                    data = inode.crashed(rng, self._stale, self.powersafe)
                    contents[inode.number] = _Inode(image._next_number, data)
                    image._next_number += 1
                image._names[path] = image._durable_names[path] = contents[inode.number]
            image._stale = list(self._stale)
        return image

    def restart(self) -> None:
        """The process dies and another starts; the machine, with its cache, goes on."""
        with self.mutex:
            self.life += 1
            self.crash_at = None
            self._faults.clear()
            for inode in self._names.values():
                inode.exclusive_holder = None
                inode.shared_holders.clear()

    def inject(
        self,
        kind: str,
        nth: int = 1,
        *,
        forever: bool = False,
        operations: tuple[str, ...] | None = None,
        path_part: str = "",
    ) -> None:
        """Let the nth matching operation from now on fail (and with `forever` all after it)."""
        chosen = FAULT_OPERATIONS[kind] if operations is None else operations
        self._faults.append(_Fault(kind, nth, forever, chosen, path_part))

    def clear_faults(self) -> None:
        self._faults.clear()

    def step(self, operation: str, file: SimulatedFile) -> _Step:
        """Begin an operation on an open file; raises the error it is to fail with."""
        file.require_open()
        changes = operation != "read"
        if changes and file.readonly and operation != "sync":
            raise ReadOnly(f'"{file.path}" is open read-only')
        if changes:
            self._count(operation, file.path)
        kind = self._fault(operation, file.path)
        if kind in ("failed sync", "EIO") and operation == "sync":
            file.fail_sync()
        if operation == "write" and kind in ("ENOSPC", "short write", "EINTR"):
            return _Step(self, kind)
        self._raise_fault(kind, operation, file.path)
        return _Step(self, None)

    def keep_stale(self, sectors: list[bytes]) -> None:
        """Remember contents that a later crash may bring back in the wrong place."""
        for raw in sectors:
            if len(self._stale) < STALE_MAX:
                self._stale.append(raw)
            else:
                self._stale[self.rng.randrange(STALE_MAX)] = raw

    def _count(self, operation: str, path: str) -> None:
        index = self.operation_count
        if self.crash_at is not None and index >= self.crash_at:
            raise SimulatedCrash(f"crash at operation {index} ({operation} {path})")
        if self.on_operation is not None:
            self.on_operation(index, operation, path)
        self.operation_count = index + 1

    def _fault(self, operation: str, path: str) -> str | None:
        for fault in self._faults:
            if fault.strikes(operation, path):
                return fault.kind
        return None

    def _raise_fault(self, kind: str | None, operation: str, path: str) -> None:
        if kind is None or kind in ("short write", "EINTR"):
            return
        if kind == "MemoryError":
            raise MemoryError(f"injected at {operation} {path}")
        number = errno.ENOSPC if kind == "ENOSPC" else errno.EIO
        raise storage_error(OSError(number, os.strerror(number)), path, operation)

    def _name_step(self, operation: str, path: str) -> None:
        self._count(operation, path)
        self._raise_fault(self._fault(operation, path), operation, path)

    # ── Vfs ──────────────────────────────────────────────────────────────────────────────────
    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, readonly: bool = False
    ) -> SimulatedFile:
        path = os.path.normpath(path)
        inode = self._names.get(path)
        if inode is not None and exclusive:
            raise CannotOpen(f'file already exists: "{path}"', path=path)
        if inode is None:
            if not (create or exclusive):
                raise MissingFile(f'no such file: "{path}"', path=path)
            self._name_step("create", path)
            with self.mutex:
                inode = self._names[path] = _Inode(self._next_number)
                self._next_number += 1
                self._pending.append(("create", path, "", inode))
        return SimulatedFile(self, path, inode, readonly)

    def exists(self, path: str) -> bool:
        return os.path.normpath(path) in self._names

    def remove(self, path: str) -> None:
        path = os.path.normpath(path)
        if path not in self._names:
            raise MissingFile(f'no such file: "{path}"', path=path)
        self._name_step("remove", path)
        with self.mutex:
            self._pending.append(("remove", path, "", self._names.pop(path)))

    def rename(self, src: str, dst: str) -> None:
        src, dst = os.path.normpath(src), os.path.normpath(dst)
        if src not in self._names:
            raise MissingFile(f'no such file: "{src}"', path=src)
        self._name_step("rename", src)
        with self.mutex:
            inode = self._names[dst] = self._names.pop(src)
            self._pending.append(("rename", src, dst, inode))

    def list_dir(self, path: str) -> list[str]:
        wanted = os.path.normpath(path)
        return sorted(
            os.path.basename(name)
            for name in self._names
            if os.path.normpath(directory_of(name)) == wanted
        )

    def sync_dir(self, path: str) -> None:
        wanted = os.path.normpath(path)
        self._name_step("sync_dir", path)
        with self.mutex:
            rest = []
            for entry in self._pending:
                operation, name, dst, inode = entry
                if os.path.normpath(directory_of(name)) != wanted:
                    rest.append(entry)
                    continue
                if operation == "create":
                    self._durable_names[name] = inode
                    continue
                if self._durable_names.get(name) is inode:
                    del self._durable_names[name]
                if operation == "rename":
                    self._durable_names[dst] = inode
            self._pending = rest

    def identity(self, path: str) -> tuple[int, int]:
        inode = self._names.get(os.path.normpath(path))
        if inode is None:
            raise MissingFile(f'no such file: "{path}"', path=path)
        return 1, inode.number

    def realpath(self, path: str) -> str:
        return os.path.normpath(path)
