"""Connections: one session of an open database, behind a lock.

    connect(path) ─► engine.database (shared by all connections of the process to that file)
                         └─ Connection ─► engine.session.Session

States
    open ──close──► closed          open ──fork, in the child──► unusable
In the last two every use raises InterfaceError: the session is replaced by an object whose every
attribute raises, so that an open connection pays nothing for the check.

Invariants
1. A session serves one thread at a time: everything that runs it holds `lock`. `cancel` is the
   exception that the session allows.
2. commit() that returns has committed: after a failed statement it rolls back and raises.
3. close() rolls back. It is idempotent, also when the engine has failed.
4. A child process inherits connections it must not use: they are made unusable by a fork hook,
   without touching the engine, its files or their locks.
5. A connection that is dropped without close() gives back its locks and its handle, soon: the
   garbage collector may run it anywhere, also inside the engine's locks, so another thread does.
"""

from __future__ import annotations

import _thread
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

from engine import errors
from engine.catalog import Catalog, load_catalog
from engine.database import Database
from engine.errors import InterfaceError, ProgrammingError, TransactionAborted
from engine.session import Session
from engine.settings import Settings
from engine.sql.lexer import split_statements
from engine.storage.memory_store import MemoryStore
from engine.storage.store import CATALOG_TREE, Snapshot
from engine.txn.manager import TransactionManager
from mantisdb.cursor import CURSORS_MIN, Converters, Cursor, CursorTable, Params, end_cursors
from mantisdb.retry import run_transaction

_T = TypeVar("_T")

MODES = ("ro", "rw", "rwc")
SECONDS_MAX = 1_000_000_000
"""Longest timeout: what a wait of the operating system takes, and some 30 years."""


def connect(
    path: str | os.PathLike[str],
    *,
    mode: str = "rwc",
    autocommit: bool = False,
    isolation: str | None = None,
    durability: str | None = None,
    timeout: float = 5.0,
    lock_timeout: float | None = None,
) -> Connection:
    """Open a database file, or a new one in memory for ":memory:".

    mode        'rwc' read and write, creating the file if it is missing; 'rw' never creates;
                'ro' never writes. (The `mantis` command never creates by opening; a program that
                calls connect expects what other modules do.)
    autocommit  False: a transaction is always open (PEP 249); True: each statement is its own
                unless BEGIN is executed
    isolation   'read committed', 'repeatable read' (default), 'serializable', 'read uncommitted'
    durability  'full', 'group' (default), 'interval', 'interval(MS)', 'os', 'off'
    timeout     seconds to wait for a file that another process has open for writing; 0: not at all
    lock_timeout  seconds to wait for a row or table lock, more than 0; None for ever

    Connections of one process to one file share one engine.
    Raises OperationalError (CannotOpen, DatabaseLocked, DamageFound, …), ProgrammingError.
    """
    if mode not in MODES:
        raise ProgrammingError(f"mode is one of {', '.join(MODES)}, not {mode!r}", sqlstate="22023")
    _require_seconds("timeout", timeout, zero=True)
    name = os.fsdecode(path)
    settings: dict[str, Any] = {}
    if isolation is not None:
        settings["default_transaction_isolation"] = isolation
    if durability is not None:
        settings["durability"] = durability
    if lock_timeout is not None:
        _require_seconds("lock_timeout", lock_timeout, zero=False)
        # Never 0, which is for ever to the setting.
        settings["lock_timeout"] = f"{max(lock_timeout * 1000, 0.001):f}"
    checked = Settings(settings)  # raises before a file is made
    if name == ":memory:":
        if mode == "ro":
            raise ProgrammingError(
                "a new database in memory cannot be opened with mode='ro'", sqlstate="22023"
            )
        return _connect_memory(checked, autocommit)
    database = Database.open(name, create=mode == "rwc", readonly=mode == "ro", wait_s=timeout)
    try:
        session = database.session(autocommit=autocommit)
        for setting, value in settings.items():
            session.settings.set(setting, value)
    except BaseException:
        database.close()
        raise
    return Connection(session, database.close)


def _require_seconds(name: str, value: object, *, zero: bool) -> None:
    """Raise ProgrammingError (22023) for what is no finite number of seconds."""
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 <= value <= SECONDS_MAX
        and (zero or value)
    ):
        return
    least = "at least 0" if zero else "more than 0"
    hint = None if zero else "None waits for ever"
    raise ProgrammingError(
        f"{name} is a number of seconds, {least}, not {value!r}", sqlstate="22023", hint=hint
    )


def _connect_memory(settings: Settings, autocommit: bool) -> Connection:
    def load(snapshot: Snapshot) -> Catalog:
        rows: Any = snapshot.scan(CATALOG_TREE)  # int keys: object ids
        return load_catalog(rows, snapshot.commit_ts)

    store = MemoryStore()
    manager = TransactionManager(store, load)
    session = Session(store, manager, settings, autocommit=autocommit)

    def close() -> None:
        manager.close()
        store.close()

    return Connection(session, close)


class Unusable:
    """Stands for the session of a connection that must not be used any more."""

    def __init__(self, reason: str) -> None:
        object.__setattr__(self, "_reason", reason)

    def __getattr__(self, name: str) -> NoReturn:
        raise InterfaceError(self._reason)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise InterfaceError(self._reason)


CLOSED: Any = Unusable("the connection is closed")
FORKED: Any = Unusable("the connection belongs to the parent process: open another after fork")


class Connection:
    """PEP 249 Connection, with the shortcuts of the sqlite3 module. Made by `connect`.

    As a context manager it commits, or rolls back when the block raised; it stays open.
    """

    __slots__ = (
        "__weakref__",
        "_release",
        "converters",
        "cursors",
        "cursors_limit",
        "lock",
        "session",
    )

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError

    def __init__(self, session: Session, release: Callable[[], None]) -> None:
        self.session = session
        self.lock = threading.Lock()
        self.converters: Converters = {}
        self.cursors: CursorTable = {}
        self.cursors_limit = CURSORS_MIN
        self._release = release
        _OPEN.add(self)

    # ── statements ───────────────────────────────────────────────────────────────────────────
    def cursor(self) -> Cursor:
        """A new cursor."""
        if isinstance(self.session, Unusable):
            self.session.execute("")  # raises
        return Cursor(self)

    def execute(self, operation: str, parameters: Params = ()) -> Cursor:
        """A new cursor on which the statement was executed."""
        return Cursor(self).execute(operation, parameters)

    def executemany(self, operation: str, seq_of_parameters: Iterable[Params]) -> Cursor:
        """A new cursor on which executemany was called."""
        return Cursor(self).executemany(operation, seq_of_parameters)

    def executescript(self, script: str) -> Cursor:
        """A new cursor on which executescript was called."""
        return Cursor(self).executescript(script)

    def run_script(self, script: str) -> None:
        """Run the statements of a script in order; rows are dropped."""
        for start, end in split_statements(script):
            with self.lock:
                result = self.session.execute(script[start:end], ())
                if result.columns is not None:
                    for _ in result.rows:
                        pass

    # ── transactions ─────────────────────────────────────────────────────────────────────────
    def commit(self) -> None:
        """Commit the open transaction, if any. After a failed statement it is rolled back, and
        TransactionAborted (25P02) says so."""
        with self.lock:
            session = self.session
            if session.status == "failed":  # Invariant 2
                session.rollback()
                raise TransactionAborted(
                    "nothing was committed: an earlier statement of the transaction failed, "
                    "and it was rolled back"
                )
            session.commit()

    def rollback(self) -> None:
        """Undo the open transaction, if any."""
        with self.lock:
            self.session.rollback()

    def run_transaction(self, function: Callable[[Connection], _T], *, attempts: int = 10) -> _T:
        """See mantisdb.run_transaction."""
        return run_transaction(self, function, attempts=attempts)

    @property
    def autocommit(self) -> bool:
        """PEP 249's autocommit mode. Setting it True commits the open transaction; setting it
        False makes the next statement open one."""
        return self.session.autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        if value and not self.session.autocommit:
            self.commit()
        with self.lock:
            self.session.autocommit = bool(value)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open (a statement of it has been executed)."""
        return self.session.in_transaction

    # ── the rest ─────────────────────────────────────────────────────────────────────────────
    def cancel(self) -> None:
        """Stop the statement that another thread runs on this connection: it raises
        QueryCanceled (57014). Does nothing when none runs."""
        self.session.cancel()

    interrupt = cancel

    def close(self) -> None:
        """Roll back, and end. Idempotent; every other use afterwards raises InterfaceError."""
        with self.lock:
            session = self.session
            if isinstance(session, Unusable):
                return
            self.session = CLOSED
            _OPEN.discard(self)
            try:
                end_cursors(self.cursors)
                session.close()
            finally:
                self._release()

    def __del__(self) -> None:
        session = getattr(self, "session", CLOSED)  # none: __init__ did not get that far
        if not isinstance(session, Unusable):
            try:  # Invariant 5
                _thread.start_new_thread(_abandon, (session, self._release))
            except RuntimeError:
                pass  # the interpreter ends: the engine's exit hook closes

    def __enter__(self) -> Connection:
        if isinstance(self.session, Unusable):
            self.session.execute("")  # raises
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc: object) -> None:
        if exc_type is None:
            self.commit()
        else:
            self.rollback()


def _abandon(session: Session, release: Callable[[], None]) -> None:
    """Undo and release what a connection left that nobody closed."""
    try:
        session.close()
        release()
    except Exception:  # nobody is left to tell; the next open recovers
        pass


_OPEN: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Invariant 4. Locks are replaced: another thread of the parent may have held one."""
    for connection in list(_OPEN):
        connection.lock = threading.Lock()
        connection.session = FORKED
    _OPEN.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
