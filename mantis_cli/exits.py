"""The one exit-code table, and the one place that turns an error into a code.

code  meaning
0     ok
1     SQL or engine error
2     usage or configuration
3     cannot open: missing, locked, no permission, not a MantisDB file, newer format
4     a statement ran past its time limit
5     damage found, or data lost
6     bench regression
70    a bug of ours (traceback in a file, path printed)
130   Ctrl-C
141   the reader of our output closed the pipe

It imports `engine.errors` only, so that every command can use it without starting the engine.
"""

from __future__ import annotations

from engine import errors

OK = 0
FAILED = 1
USAGE = 2
CANNOT_OPEN = 3
TIMED_OUT = 4
DAMAGE = 5
REGRESSION = 6
BUG = 70
INTERRUPTED = 130
BROKEN_PIPE = 141


class Exit(Exception):
    """End the process with `code`. The command has already said why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Failed(Exception):
    """The command cannot go on for a reason outside the engine (exit code 1)."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CannotRead(Exception):
    """An input or output file named by the user cannot be opened (exit code 3)."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Interrupted(BaseException):
    """Ctrl-C while the command waits outside the engine (exit code 130)."""


def exit_code(error: BaseException) -> int:
    """The exit code of an engine error or one of this module's outcomes; BUG for the rest."""
    if isinstance(error, Exit):
        return error.code
    if isinstance(error, Interrupted):
        return INTERRUPTED
    if isinstance(error, Failed):
        return FAILED
    if isinstance(error, (errors.CannotOpen, CannotRead)):
        return CANNOT_OPEN
    if isinstance(error, errors.StatementTimeout):
        return TIMED_OUT
    if isinstance(error, errors.QueryCanceled):
        return INTERRUPTED
    if isinstance(error, errors.DamageFound):
        return DAMAGE
    if isinstance(error, errors.Error):
        return BUG if error.sqlstate == "XX000" else FAILED
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    return BUG
