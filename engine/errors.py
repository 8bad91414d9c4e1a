"""Every error the engine raises: the PEP 249 tree, each class with its SQLSTATE.

A class states facts (table, key, position) as attributes; `message` puts them into words, and
`mantis_cli.output.errors` draws them with a caret. SQLSTATEs are PostgreSQL's (its appendix A);
class 58 and XX name storage faults.

Who must act:
    the caller, by trying again        `is_retryable` is True (40001, 40P01)
    the author of the statement        ProgrammingError, DataError, IntegrityError
    the operator                       OperationalError (disk, lock, damage)
    us                                 InternalError
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CannotOpen",
    "CheckViolation",
    "CommitOutcomeUnknown",
    "ConstraintViolation",
    "DamageFound",
    "DataError",
    "DatabaseError",
    "DatabaseLocked",
    "DeadlockDetected",
    "DiskFull",
    "EngineFailed",
    "Error",
    "FeatureNotSupported",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "LockTimeout",
    "MissingFile",
    "NewerFormat",
    "NotADatabase",
    "NotNullViolation",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "QueryCanceled",
    "ReadOnly",
    "SerializationFailure",
    "StatementTimeout",
    "StorageError",
    "TransactionAborted",
    "TransactionStateError",
    "UniqueViolation",
    "Warning",
]


class Warning(Exception):  # noqa: A001  (PEP 249 fixes the name)
    """PEP 249 Warning."""


class Error(Exception):
    """The root of every error MantisDB raises (PEP 249 Error).

    sqlstate  five characters, PostgreSQL's codes
    span      (start, end) character offsets into the statement's text, or None
    hint      one sentence on what to do, or None
    detail    further facts, or None
    """

    sqlstate: str = "XX000"
    is_retryable: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        sqlstate: str | None = None,
        span: tuple[int, int] | None = None,
        hint: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if sqlstate is not None:
            self.sqlstate = sqlstate
        self.span = span
        self.hint = hint
        self.detail = detail
        self.sql: str | None = None  # the statement the span points into, set by the session

    @property
    def position(self) -> int | None:
        """1-based character position in the statement, as in PostgreSQL, or None."""
        return None if self.span is None else self.span[0] + 1

    def facts(self) -> dict[str, Any]:
        """The error as JSON-ready facts: sqlstate, message, position, hint, detail."""
        return {
            "sqlstate": self.sqlstate,
            "message": self.message,
            "position": self.position,
            "hint": self.hint,
            "detail": self.detail,
        }


class InterfaceError(Error):
    """The API was misused: a closed cursor, a handle carried across fork."""

    sqlstate = "08003"


class DatabaseError(Error):
    """PEP 249 DatabaseError: everything about the database itself."""


class DataError(DatabaseError):
    """A value does not fit: overflow 22003, division by zero 22012, bad text 22P02, …"""

    sqlstate = "22000"


class OperationalError(DatabaseError):
    """The world failed: disk, lock, damage, cancellation."""

    sqlstate = "58000"


class IntegrityError(DatabaseError):
    """A constraint was violated (class 23)."""

    sqlstate = "23000"


class InternalError(DatabaseError):
    """A bug of ours, or a transaction in a state that forbids the statement."""

    sqlstate = "XX000"


class ProgrammingError(DatabaseError):
    """The statement is wrong: syntax 42601, unknown column 42703, unknown table 42P01, …"""

    sqlstate = "42000"


class NotSupportedError(DatabaseError):
    """A construct MantisDB does not have; the message names it."""

    sqlstate = "0A000"


FeatureNotSupported = NotSupportedError


# ── constraints ──────────────────────────────────────────────────────────────────────────────
class ConstraintViolation(IntegrityError):
    """A row breaks a constraint. `table`, `constraint` and `columns` are names."""

    def __init__(
        self,
        message: str,
        *,
        table: str = "",
        constraint: str = "",
        columns: tuple[str, ...] = (),
        detail: str | None = None,
        span: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(message, detail=detail, span=span)
        self.table = table
        self.constraint = constraint
        self.columns = columns


class UniqueViolation(ConstraintViolation):
    """23505. Below SQL it carries `tree_id` and `key`; the executor adds the names."""

    sqlstate = "23505"
    tree_id: int = 0
    key: int | bytes = 0


class NotNullViolation(ConstraintViolation):
    sqlstate = "23502"


class CheckViolation(ConstraintViolation):
    sqlstate = "23514"


# ── transactions ─────────────────────────────────────────────────────────────────────────────
class SerializationFailure(OperationalError):
    """40001: another transaction changed what this one read or writes. Try again."""

    sqlstate = "40001"
    is_retryable = True


class DeadlockDetected(OperationalError):
    """40P01: this transaction was chosen to break a cycle of waits. Try again."""

    sqlstate = "40P01"
    is_retryable = True


class LockTimeout(OperationalError):
    """55P03: a row or table lock was not granted within `lock_timeout` (or NOWAIT)."""

    sqlstate = "55P03"


class TransactionAborted(InternalError):
    """25P02: an earlier statement failed; only ROLLBACK (or ROLLBACK TO) is accepted."""

    sqlstate = "25P02"


class TransactionStateError(InternalError):
    """25001 / 25P01 / 3B001: BEGIN inside a transaction, unknown savepoint, …"""

    sqlstate = "25000"


class QueryCanceled(OperationalError):
    """57014: the statement was cancelled; it changed nothing."""

    sqlstate = "57014"


class StatementTimeout(QueryCanceled):
    """57014: the statement ran past its time limit; it changed nothing."""


class ReadOnly(OperationalError):
    """25006: a write in a read-only transaction or on a database opened read-only."""

    sqlstate = "25006"


# ── files and storage ────────────────────────────────────────────────────────────────────────
class StorageError(OperationalError):
    """58030: the operating system refused an operation. `path`, `operation`, `errno`."""

    sqlstate = "58030"

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        operation: str = "",
        errno: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.operation = operation
        self.errno = errno


class DiskFull(StorageError):
    """53100: no space left. Only the transaction (or checkpoint) at hand failed."""

    sqlstate = "53100"


class EngineFailed(StorageError):
    """58030: a sync failed earlier; reads go on, writes are refused until reopened."""


class CommitOutcomeUnknown(OperationalError):
    """08007: the commit may or may not survive. Reopen, then look."""

    sqlstate = "08007"


class CannotOpen(OperationalError):
    """08001 and kin: the file cannot be opened (exit code 3). `path` names it."""

    sqlstate = "08001"

    def __init__(self, message: str, *, path: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


class MissingFile(CannotOpen):
    """58P01: there is no such file, and opening never creates one."""

    sqlstate = "58P01"


class NotADatabase(CannotOpen):
    """08P01: the file is not a MantisDB database."""

    sqlstate = "08P01"


class NewerFormat(CannotOpen):
    """0A000: written by a newer MantisDB; `format_version` and `features` say what is unknown."""

    sqlstate = "0A000"


class DatabaseLocked(CannotOpen):
    """55006: another process has it. `holder_pid` and `since` (Unix seconds) when known."""

    sqlstate = "55006"

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        holder_pid: int | None = None,
        since: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, path=path, hint=hint)
        self.holder_pid = holder_pid
        self.since = since


class DamageFound(OperationalError):
    """XX001: bytes are not what was written (exit code 5).

    path, offset (bytes) and page_no or (first_lsn, last_lsn) say where; hint names the command.
    """

    sqlstate = "XX001"

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        offset: int | None = None,
        page_no: int | None = None,
        first_lsn: int | None = None,
        last_lsn: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.offset = offset
        self.page_no = page_no
        self.first_lsn = first_lsn
        self.last_lsn = last_lsn
