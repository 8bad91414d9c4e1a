"""A log in a box for the tests of engine/wal: writer, contents, replay."""

from __future__ import annotations

import itertools
import random
import threading
from typing import Any

from engine.vfs import Vfs
from engine.wal.record import COMMIT, encode_msgpack
from engine.wal.recovery import RecoveryReport, replay
from engine.wal.writer import LogWriter

UUID = bytes(range(16))
BASE = "/data/t.mantis"


class Clock:
    """Microseconds and seconds that grow by a fixed step with each look."""

    def __init__(self) -> None:
        self._ticks = itertools.count(1)

    def us(self) -> int:
        return 1_700_000_000_000_000 + next(self._ticks) * 1000

    def s(self) -> float:
        return next(self._ticks) * 0.001


def open_log(vfs: Vfs, seed: int = 0, **options: Any) -> LogWriter:
    """A writer for an empty log; options override LogWriter's arguments."""
    clock = Clock()
    arguments: dict[str, Any] = {
        "segment_no": 1,
        "next_lsn": 1,
        "clock_us": clock.us,
        "random_bytes": random.Random(seed).randbytes,
        "timer": clock.s,
        "commit_mutex": threading.Lock(),
        "segment_size": 64 << 10,
    }
    arguments.update(options)
    return LogWriter(vfs, BASE, UUID, **arguments)


def reopen_log(vfs: Vfs, report: RecoveryReport, seed: int = 0, **options: Any) -> LogWriter:
    """A writer that goes on where a replay ended."""
    return open_log(
        vfs,
        seed,
        segment_no=report.next_segment_no,
        next_lsn=report.next_lsn,
        chain=report.chain,
        sealed=report.sealed,
        **options,
    )


def commit_payload(number: int, size: int = 20) -> bytes:
    """The payload of a commit that writes one row, recognisable by its number."""
    text = "".join(chr(97 + (number * 7 + index) % 26) for index in range(size))
    ops = [(16, number, (number, text))]
    return encode_msgpack((number, 1_700_000_000_000_000 + number, ops))


def append_commits(log: LogWriter, numbers: range, size: int = 20) -> None:
    for number in numbers:
        log.append(COMMIT, number, commit_payload(number, size))


def replay_all(vfs: Vfs, from_lsn: int = 1, **options: Any) -> tuple[list[Any], RecoveryReport]:
    """([(commit_ts, wall_us, ops), …], report)."""
    found: list[Any] = []
    report = replay(vfs, BASE, UUID, from_lsn, lambda *commit: found.append(commit), **options)
    return found, report
