"""Run a function as a transaction, again when another transaction was in the way.

A serialization failure (40001) and a deadlock (40P01) say nothing about the work: the same work,
done again on a new snapshot, may pass. So the work must be a function without other effects.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from engine.errors import Error, TransactionStateError

if TYPE_CHECKING:
    from mantisdb.connection import Connection

_T = TypeVar("_T")

FIRST_PAUSE_S = 0.001
PAUSE_S_MAX = 0.25


def run_transaction(
    connection: Connection,
    function: Callable[[Connection], _T],
    *,
    attempts: int = 10,
    sleep: Callable[[float], object] = time.sleep,
    uniform: Callable[[float, float], float] = random.uniform,
) -> _T:
    """Call `function(connection)` inside a transaction, commit, and return what it returned.

    When it fails with an error that `is_retryable`, everything is rolled back and it is called
    again, up to `attempts` times in all, after a random pause (seconds) that doubles each time.
    Any other exception rolls back and is raised at once, as is the last retryable one.
    Raises TransactionStateError (25001) when a transaction is open already.
    """
    if connection.in_transaction:
        raise TransactionStateError("a transaction is open already", sqlstate="25001")
    pause_s = FIRST_PAUSE_S
    for attempt in range(1, attempts + 1):
        try:
            if connection.autocommit:
                connection.execute("BEGIN")
            value = function(connection)
            connection.commit()
            return value
        except BaseException as error:
            connection.rollback()
            if attempt == attempts or not (isinstance(error, Error) and error.is_retryable):
                raise
        sleep(uniform(0, pause_s))
        pause_s = min(pause_s * 2, PAUSE_S_MAX)
    raise ValueError("attempts is at least 1")
