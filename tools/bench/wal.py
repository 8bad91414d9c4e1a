"""The log: appends, durable commits against a bare fdatasync, and recovery after a crash.

append     autocommit inserts with policy `os`: how fast the log takes single-row records
sync       commits one by one with policy `full`, beside a probe of 4 KiB appends with fdatasync
recovery   a log of single-row transactions is replayed by opening a copy made before the close
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator

from engine.database import Database
from tools.bench.measure import Figure, Latencies, Side, probe_sync, throughput, timed_calls
from tools.bench.oltp import EMPTY, INSERT_EVENT, Config

TRANSACTION_BYTES = 1024  # above the memory of one replayed row
RECOVERY_FACTOR = 10  # transactions replayed for each operation asked for


def run_wal(config: Config, only: str | None = None) -> Iterator[Figure]:
    """The figures whose names contain `only`, as they are done."""
    with tempfile.TemporaryDirectory(prefix="mantis-bench-", dir=config.directory) as directory:
        for name, measure in (
            ("log append", _append),
            ("durable commit", _sync),
            ("recovery", _recovery),
        ):
            if only is None or only.lower() in name:
                yield measure(config, directory)


def _append(config: Config, directory: str) -> Figure:
    side = Side([])
    latencies = Latencies()
    with Database.open(
        os.path.join(directory, "append.mantis"), create=True, durability="os"
    ) as database:
        session = database.session()
        session.execute(EMPTY)
        base = 0

        def operation(number: int) -> None:
            session.execute(INSERT_EVENT, (base + number, "an event", 1.5))

        for _ in range(config.rounds):
            side.rounds.append(throughput(operation, config.operations))
            base += config.operations
            latencies.record(timed_calls(operation, config.operations // 5))
            base += config.operations
        session.close()
    side.p50_us, side.p99_us = latencies.percentile_us(50), latencies.percentile_us(99)
    return Figure("log append", "commits/s", side)


def _sync(config: Config, directory: str) -> Figure:
    side = Side([])
    latencies = Latencies()
    count = max(50, config.operations // 100)
    probes = []
    with Database.open(
        os.path.join(directory, "sync.mantis"), create=True, durability="full"
    ) as database:
        session = database.session()
        session.execute(EMPTY)
        for round_no in range(config.rounds):
            probes.append(probe_sync(directory))
            base = round_no * count
            times = timed_calls(
                lambda n, base=base: session.execute(  # type: ignore[misc]
                    INSERT_EVENT, (base + n, "an event", 1.5)
                ),
                count,
            )
            latencies.record(times)
            side.rounds.append(count / (sum(times) / 1e9))
        session.close()
    side.p50_us, side.p99_us = latencies.percentile_us(50), latencies.percentile_us(99)
    probe_p50 = sorted(probe["p50"] for probe in probes)[len(probes) // 2]
    detail = {"fdatasync_p50_us": probe_p50, "over_probe": round(side.p50_us / probe_p50, 2)}
    return Figure("durable commit", "commits/s", side, detail=detail)


def _recovery(config: Config, directory: str) -> Figure:
    """Replay of single-row transactions: seconds, as transactions per second."""
    transactions = config.operations * RECOVERY_FACTOR
    source = os.path.join(directory, "source.mantis")
    crashed = os.path.join(directory, "crashed.mantis")
    side = Side([])
    with Database.open(
        source,
        create=True,
        durability="os",
        background=False,
        memtable_bytes=transactions * TRANSACTION_BYTES,  # no checkpoint: all is to be replayed
    ) as database:
        session = database.session()
        session.execute(EMPTY)
        for number in range(transactions):
            session.execute(INSERT_EVENT, (number, "an event", 1.5))
        session.close()
        log_size = 0
        for _ in range(min(config.rounds, 3)):
            log_size = _copy_unclosed(source, crashed)
            started = time.perf_counter()
            with Database.open(crashed, readonly=True) as copy:
                side.rounds.append(transactions / (time.perf_counter() - started))
                replayed = copy.store.recovery.transaction_count
                found = next(iter(copy.session().execute("SELECT count(*) FROM event").rows))[0]
            assert found == transactions, (found, transactions)
            assert replayed >= transactions, (replayed, transactions)
    return Figure(
        "recovery",
        "transactions/s",
        side,
        detail={
            "transactions": transactions,
            "log_bytes": log_size,
            "seconds": round(transactions / side.median, 3),
        },
    )


def _copy_unclosed(source: str, target: str) -> int:
    """Copy an open database with its log, as a crash would leave it; returns the log's bytes."""
    for old in glob.glob(f"{glob.escape(target)}*"):
        os.unlink(old)
    shutil.copyfile(source, target)
    log_size = 0
    for segment in glob.glob(f"{glob.escape(source)}-wal-*"):
        shutil.copyfile(segment, target + segment[len(source) :])
        log_size += os.path.getsize(segment)
    return log_size
