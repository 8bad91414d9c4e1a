"""What volatile functions may ask of the world: the time and random numbers.

The session calls `begin_statement` before a statement that uses them; a test may set an Environment
of its own. now() is one instant for a whole transaction: that of the first statement in it that
asked; clock_timestamp() is not.
"""

from __future__ import annotations

import time
from _random import Random
from collections.abc import Callable
from contextvars import ContextVar

import msgspec
from msgspec.structs import replace


class Environment(msgspec.Struct, frozen=True):
    """clock() → µs since 1970 UTC. transaction_us: when the transaction began; statement_us: when
    the statement did; None means "ask the clock". transaction: which one transaction_us is of.
    random() → [0, 1); random_bits(n) → int."""

    clock: Callable[[], int]
    random: Callable[[], float]
    random_bits: Callable[[int], int]
    transaction_us: int | None = None
    statement_us: int | None = None
    transaction: object = None


def _wall_clock() -> int:
    return time.time_ns() // 1000


_generator = Random()
DEFAULT = Environment(_wall_clock, _generator.random, _generator.getrandbits)
ENVIRONMENT: ContextVar[Environment] = ContextVar("environment", default=DEFAULT)


def begin_statement(transaction: object) -> None:
    """Fix the time for a statement of the transaction (any value that tells it from others)."""
    current = ENVIRONMENT.get()
    now = current.clock()
    began = current.transaction_us if current.transaction == transaction else None
    ENVIRONMENT.set(
        replace(
            current,
            transaction=transaction,
            transaction_us=now if began is None else began,
            statement_us=now,
        )
    )


def transaction_time() -> int:
    """µs since 1970 UTC at which the transaction began."""
    environment = ENVIRONMENT.get()
    started = environment.transaction_us
    return environment.clock() if started is None else started


def statement_time() -> int:
    """µs since 1970 UTC at which the statement began."""
    environment = ENVIRONMENT.get()
    started = environment.statement_us
    return environment.clock() if started is None else started


def clock_time() -> int:
    """µs since 1970 UTC, now."""
    return ENVIRONMENT.get().clock()


def random() -> float:
    """[0, 1)"""
    return ENVIRONMENT.get().random()


def random_uuid() -> bytes:
    """16 bytes of a version 4 UUID (RFC 9562, section 5.4)."""
    bits = ENVIRONMENT.get().random_bits(128)
    bits = bits & ~(0xF << 76) | 4 << 76
    bits = bits & ~(0x3 << 62) | 2 << 62
    return bits.to_bytes(16, "big")
