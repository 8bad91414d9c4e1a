"""Isolation levels and their rules.

level             snapshot            a write meets a newer committed row   extra
read uncommitted  each statement      re-read newest, re-check predicate    same as read committed
read committed    each statement      re-read newest, re-check predicate
repeatable read   the transaction     40001                                 snapshot isolation
serializable      the transaction     40001                                 reads checked at commit

Invariants
1. A level is never weakened silently: an unknown name is an error, never the default.
2. No level shows uncommitted data of another transaction.
"""

from __future__ import annotations

import msgspec

from engine.errors import ProgrammingError


class IsolationLevel(msgspec.Struct, frozen=True, gc=False):
    """statement_snapshots: a new snapshot for each statement. conflict_aborts: writing a row that
    another transaction changed since the snapshot is 40001. validates_reads: a transaction with
    writes is checked at commit against everything it read."""

    name: str
    statement_snapshots: bool
    conflict_aborts: bool
    validates_reads: bool


READ_UNCOMMITTED = IsolationLevel("read uncommitted", True, False, False)
READ_COMMITTED = IsolationLevel("read committed", True, False, False)
REPEATABLE_READ = IsolationLevel("repeatable read", False, True, False)
SERIALIZABLE = IsolationLevel("serializable", False, True, True)

LEVELS: dict[str, IsolationLevel] = {
    level.name: level for level in (READ_UNCOMMITTED, READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE)
}


def isolation_level(name: str) -> IsolationLevel:
    """The level of that name (lower case, as in LEVELS). Raises ProgrammingError (22023)."""
    level = LEVELS.get(name)
    if level is None:
        raise ProgrammingError(
            f"unknown isolation level {name!r}",
            sqlstate="22023",
            hint="one of: " + ", ".join(LEVELS),
        )
    return level
