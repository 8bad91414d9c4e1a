"""Opening a database: one engine per file and process, locks, and the wiring of the layers.

    Database.open(path) ──► handle ──► engine (shared, counted) ──► FileStore, TransactionManager
    handle.session()    ──► Session over the engine's store and transactions

Beside `db.mantis` while it is open for writing: the log's segments and `db.mantis-lock`, which
holds `<pid> <since, Unix seconds>` of the process that has it. The lock itself is a flock on the
database file: exclusive for the one process that writes, shared for processes that only read.
So a reader and a writer never have a file open together; the second to come is refused with the
holder's name, or waits up to `wait_s`.

Invariants
1. A file (by device and inode) has at most one engine in a process: a second open shares it, and
   the last close closes it.
2. The lock file is written after the lock is held and removed before it is given up. It is
   information only; a stale one harms nothing.
3. A database appears under its name whole, or not at all (data_file.create_file).
4. After a fork the child's handles raise on every use; nothing in the child writes, syncs or
   unlocks the parent's files.
5. Opening for reading writes nothing anywhere.

States of an engine: open → closed (last handle closed, or process exit); open → forked (child).

Does not: parse, plan or execute (engine/session), manage transactions (engine/txn).
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, cast

from engine.catalog import Catalog, load_catalog
from engine.errors import (
    CannotOpen,
    DatabaseLocked,
    DataError,
    EngineFailed,
    Error,
    InterfaceError,
    MissingFile,
    ReadOnly,
)
from engine.session import Session
from engine.settings import Settings
from engine.storage.buffer_pool import Io
from engine.storage.data_file import create_file
from engine.storage.file_store import FileStore
from engine.storage.page import PAGE_SIZE_DEFAULT, PAGE_SIZES
from engine.storage.recoverable_store import (
    MEMTABLE_LIMIT_BYTES,
    MEMTABLE_START_BYTES,
    StoreOptions,
)
from engine.storage.store import CATALOG_TREE, Row, Snapshot
from engine.storage.store_stats import store_stats
from engine.txn.manager import TransactionManager
from engine.vfs import File, OsVfs, Vfs
from engine.wal.segment import list_segments

LOCK_POLL_S = 0.02

_EngineKey = tuple[int, int, int]
_engines: dict[_EngineKey, _Engine] = {}
_registry_lock = threading.RLock()
_os_vfs = OsVfs()


class _Engine:
    """What all handles of one file share."""

    __slots__ = (
        "count",
        "file",
        "forked",
        "key",
        "lock_path",
        "path",
        "store",
        "transactions",
        "vfs",
    )

    def __init__(self, vfs: Vfs, path: str, key: _EngineKey, store: FileStore) -> None:
        self.vfs = vfs
        self.path = path
        self.key = key
        self.store = store
        self.transactions = TransactionManager(store, _load_catalog)
        self.lock_path = f"{path}-lock"
        self.count = 0
        self.forked = False

    def close(self) -> None:
        """Checkpoint, leave a single file, release the lock."""
        self.transactions.close()
        # The store closes the file, and with it goes the lock: so the lock file goes first.
        if not self.store.options.readonly:
            self.store.before_unlock = self._remove_lock_file
        self.store.close()

    def _remove_lock_file(self) -> None:
        try:
            self.vfs.remove(self.lock_path)
        except Error:
            pass  # Invariant 2: it is information only


class Database:
    """A handle on an open database. Thread-safe. Made by `Database.open`."""

    __slots__ = ("_engine", "_settings", "readonly")

    def __init__(self, engine: _Engine, *, readonly: bool, settings: Settings) -> None:
        self._engine: _Engine | None = engine
        self._settings = settings
        self.readonly = readonly

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool = False,
        readonly: bool = False,
        page_size: int | None = None,
        durability: str = "group",
        wait_s: float = 0.0,
        io: Io = "mmap",
        vfs: Vfs | None = None,
        clock: Callable[[], float] | None = None,
        random_bytes: Callable[[int], bytes] | None = None,
        background: bool = True,
        memtable_bytes: int = MEMTABLE_START_BYTES,
    ) -> Database:
        """Open a database file, recovering it if it was not closed.

        create: make the file when it is missing, with pages of page_size bytes.
        durability: 'full', 'group', 'interval', 'interval(MS)', 'os' or 'off'.
        wait_s: how long to wait for another process that has the file.
        io: 'mmap' or 'pread'. clock: Unix seconds. background: whether threads may checkpoint.
        memtable_bytes: estimated memory of rows since the last checkpoint at which the next one
        starts; at three times that, writers wait for it.

        Raises MissingFile, NotADatabase, NewerFormat, DatabaseLocked, DamageFound, CannotOpen,
        StorageError; DataError (22023) for a bad argument, before anything is touched.
        """
        disk: Vfs = _os_vfs if vfs is None else vfs
        now = time.time if clock is None else clock
        settings = Settings({"durability": durability})
        _require_options(page_size, io, wait_s, memtable_bytes)
        name = disk.realpath(os.fspath(path))
        options = StoreOptions(
            clock_us=_clock_us(clock),
            timer=time.monotonic,
            random_bytes=os.urandom if random_bytes is None else random_bytes,
            durability=settings.values["durability"],
            io=io,
            readonly=readonly,
            background=background,
            memtable_start_bytes=memtable_bytes,
            memtable_limit_bytes=memtable_bytes * (MEMTABLE_LIMIT_BYTES // MEMTABLE_START_BYTES),
        )
        with _registry_lock:
            if not disk.exists(name):
                if not create or readonly:
                    raise MissingFile(f'no such file: "{os.fspath(path)}"', path=name)
                _create(disk, name, page_size or PAGE_SIZE_DEFAULT, options)
            engine = _shared_engine(disk, name, readonly)
            if engine is None:
                engine = _open_engine(disk, name, options, wait_s, now)
            engine.count += 1
        return cls(engine, readonly=readonly, settings=settings)

    # ── use ──────────────────────────────────────────────────────────────────────────────────
    def session(self, autocommit: bool = True) -> Session:
        """A new session; it serves one thread at a time."""
        engine = self._require_engine()
        settings = self._settings.copy()
        if self.readonly:
            settings.fix_read_only()
        return Session(engine.store, engine.transactions, settings, autocommit=autocommit)

    @property
    def path(self) -> str:
        return self._require_engine().path

    @property
    def store(self) -> FileStore:
        return self._require_engine().store

    @property
    def transactions(self) -> TransactionManager:
        return self._require_engine().transactions

    @property
    def settings(self) -> Settings:
        """The defaults of new sessions."""
        return self._settings

    def stats(self) -> dict[str, Any]:
        """Counters of the engine as JSON-ready facts; sizes in bytes."""
        engine = self._require_engine()
        facts = store_stats(engine.store)
        facts["transactions"] = len(engine.transactions.active())
        facts["handles"] = engine.count
        return facts

    def close(self) -> None:
        """Close the handle; the last one checkpoints and leaves a single file. Idempotent."""
        engine, self._engine = self._engine, None
        if engine is None or engine.forked:
            return
        with _registry_lock:
            engine.count -= 1
            if engine.count:
                return
            try:
                engine.close()
            finally:
                _engines.pop(engine.key, None)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _require_engine(self) -> _Engine:
        engine = self._engine
        if engine is None:
            raise InterfaceError("the database is closed")
        if engine.forked:
            raise InterfaceError(
                "the database was opened by the parent process",
                hint="open it again in the child, after the parent closed it",
            )
        return engine


def _require_options(page_size: int | None, io: str, wait_s: float, memtable_bytes: int) -> None:
    """Raise DataError (22023) for an argument of Database.open that makes no sense."""
    wrong: str | None = None
    if page_size is not None and page_size not in PAGE_SIZES:
        wrong = f"page_size is one of {', '.join(map(str, PAGE_SIZES))}, not {page_size!r}"
    elif io not in ("mmap", "pread"):
        wrong = f"io is mmap or pread, not {io!r}"
    elif not wait_s >= 0:  # NaN is not
        wrong = f"wait_s is at least 0, not {wait_s!r}"
    elif not memtable_bytes > 0:
        wrong = f"memtable_bytes is more than 0, not {memtable_bytes!r}"
    if wrong is not None:
        raise DataError(wrong, sqlstate="22023")


def _load_catalog(snapshot: Snapshot) -> Catalog:
    rows = cast("Iterator[tuple[int, Row]]", snapshot.scan(CATALOG_TREE))
    return load_catalog(rows, snapshot.commit_ts)


def _clock_us(clock: Callable[[], float] | None) -> Callable[[], int]:
    if clock is None:
        time_ns = time.time_ns
        return lambda: time_ns() // 1000
    return lambda: int(clock() * 1_000_000)


def _engine_key(vfs: Vfs, path: str) -> _EngineKey:
    return (0 if vfs is _os_vfs else id(vfs), *vfs.identity(path))


def _shared_engine(vfs: Vfs, path: str, readonly: bool) -> _Engine | None:
    """The engine this process already has on the file (Invariant 1)."""
    engine = _engines.get(_engine_key(vfs, path))
    if engine is not None and engine.store.options.readonly and not readonly:
        raise ReadOnly(
            f'"{path}" is open read-only in this process', hint="close it there, then open it again"
        )
    return engine


def _open_engine(
    vfs: Vfs, path: str, options: StoreOptions, wait_s: float, now: Callable[[], float]
) -> _Engine:
    file = vfs.open(path, readonly=options.readonly)
    lock_path = f"{path}-lock"
    lock_written = False
    try:
        _take_lock(vfs, file, path, lock_path, not options.readonly, wait_s)
        # The file may have been replaced while we waited; the lock is on what we opened.
        key = _engine_key(vfs, path)
        if not options.readonly:
            _write_lock_file(vfs, lock_path, now())
            lock_written = True
        store = FileStore(vfs, path, file, options)
    except BaseException:
        if lock_written:
            vfs.remove(lock_path)  # Invariant 2: while the lock is still held
        file.close()
        raise
    try:
        engine = _Engine(vfs, path, key, store)
    except BaseException as error:  # the catalog cannot be read: close without a checkpoint
        store.fail(EngineFailed(f"the catalog cannot be read: {error}"))
        if lock_written:
            store.before_unlock = lambda: vfs.remove(lock_path)
        store.close()
        raise
    _engines[key] = engine
    return engine


def _create(vfs: Vfs, path: str, page_size: int, options: StoreOptions) -> None:
    """Make an empty database file. Raises CannotOpen, DiskFull, MissingFile (no such directory).

    A log without its data file holds somebody's commits: no new file goes beside it."""
    try:
        segments = list_segments(vfs, path)
    except Error:  # the directory cannot be listed: creating says why
        segments = []
    if segments:
        raise CannotOpen(
            f'"{path}" is missing, but its log "{segments[0].path}" is there',
            path=path,
            hint="bring the database file back, or move the log away",
        )
    temporary_path = f"{path}-new-{os.getpid()}"
    try:
        create_file(
            vfs,
            path,
            page_size=page_size,
            uuid=options.random_bytes(16),
            created_us=options.clock_us(),
            temporary_path=temporary_path,
        )
    except MissingFile:
        raise MissingFile(f'no such directory: "{os.path.dirname(path)}"', path=path) from None
    except Error as error:  # about the file that was asked for
        error.message = error.message.replace(temporary_path, path)
        error.args = (error.message,)
        raise


def _take_lock(
    vfs: Vfs, file: File, path: str, lock_path: str, exclusive: bool, wait_s: float
) -> None:
    """Lock the database file, waiting up to wait_s. Raises DatabaseLocked."""
    deadline = time.monotonic() + wait_s
    while not file.lock(exclusive):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            _raise_locked(vfs, path, lock_path)
        time.sleep(min(LOCK_POLL_S, left_s))


def _write_lock_file(vfs: Vfs, lock_path: str, since: float) -> None:
    file = vfs.open(lock_path, create=True)
    try:
        file.truncate(0)
        file.write(0, f"{os.getpid()} {since:.3f}\n".encode())
    finally:
        file.close()


def read_lock_file(vfs: Vfs, path: str) -> tuple[int, float] | None:
    """(pid, since) of the process that has the database open for writing, as its lock file says;
    None when there is none or it cannot be read."""
    try:
        file = vfs.open(f"{path}-lock", readonly=True)
        try:
            pid, since = file.read(0, 64).decode().split()
        finally:
            file.close()
        return int(pid), float(since)
    except (Error, ValueError):
        return None


def _raise_locked(vfs: Vfs, path: str, lock_path: str) -> NoReturn:
    holder = read_lock_file(vfs, path)
    if holder is None:
        raise DatabaseLocked(
            f'"{path}" is open in another process, which reads it',
            path=path,
            hint="wait until it is closed",
        )
    pid, since = holder
    raise DatabaseLocked(
        f'"{path}" is locked by process {pid}', path=path, holder_pid=pid, since=since
    )


def _abandon_engines() -> None:
    """In the child of a fork (Invariant 4). Closing a descriptor leaves the parent its lock."""
    global _registry_lock
    _registry_lock = threading.RLock()  # the parent's may have been held by another thread
    for engine in _engines.values():
        engine.forked = True
        engine.store.abandon()
    _engines.clear()


def _close_engines() -> None:
    """At the end of the process."""
    for engine in list(_engines.values()):
        try:
            engine.close()
        except Error:
            pass  # the log holds everything; there is nobody left to tell
    _engines.clear()


os.register_at_fork(after_in_child=_abandon_engines)
atexit.register(_close_engines)
