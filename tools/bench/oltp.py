"""Point work through the Python APIs: mantisdb against the sqlite3 module, side by side.

Both sides get the same statements, the same seeded keys and the same durability: policy `os`
against WAL with synchronous=OFF, `group` and `full` against synchronous=FULL. The table is
`item(id integer primary key, name text, price double precision, stock integer)` with an index on
stock; one schema text serves both.

Everything happens in a temporary directory under the one that is given.
"""

from __future__ import annotations

import gc
import os
import random
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

import mantisdb
from tools.bench.measure import Figure, Latencies, Side, throughput, timed_calls

SCHEMA = (
    "CREATE TABLE item (id integer PRIMARY KEY, name text, price double precision, stock integer)",
    "CREATE INDEX item_stock ON item (stock)",
)
EMPTY = "CREATE TABLE event (id integer PRIMARY KEY, name text, amount double precision)"
INSERT = "INSERT INTO item VALUES (?, ?, ?, ?)"
INSERT_EVENT = "INSERT INTO event VALUES (?, ?, ?)"
THREADS = 16


class Config(msgspec.Struct, frozen=True):
    """rows: of the table; operations: of a round; seed: of keys and order."""

    directory: str
    rows: int = 100_000
    operations: int = 20_000
    rounds: int = 5
    seed: int = 1


class Peer:
    """How to open one side's database. durability: 'os' or 'full'."""

    def __init__(self, name: str) -> None:
        self.name = name

    def connect(self, path: str, durability: str) -> Any:
        if self.name == "mantis":
            return mantisdb.connect(path, autocommit=True, durability=durability)
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=60
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'OFF' if durability == 'os' else 'FULL'}")
        return connection


PEERS = (Peer("mantis"), Peer("sqlite3"))
Operation = Callable[[int], Any]
Maker = Callable[[Any, Config, random.Random], Operation]


def _fill(connection: Any, config: Config) -> None:
    rng = random.Random(config.seed)
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute(EMPTY)
    rows = [
        (number, f"item {number}", rng.random() * 100, rng.randrange(config.rows // 10))
        for number in range(config.rows)
    ]
    connection.execute("BEGIN")
    connection.executemany(INSERT, rows)
    connection.execute("COMMIT")


# ── operations: a maker gives the function that runs operation number n ──────────────────────
def point_prepared(connection: Any, config: Config, rng: random.Random) -> Operation:
    keys = [rng.randrange(config.rows) for _ in range(config.operations)]
    execute = connection.execute
    return lambda n: execute("SELECT name, price FROM item WHERE id = ?", (keys[n],)).fetchone()


def point_literals(connection: Any, config: Config, rng: random.Random) -> Operation:
    texts = [
        f"SELECT name, price FROM item WHERE id = {rng.randrange(config.rows)}"
        for _ in range(config.operations)
    ]
    execute = connection.execute
    return lambda n: execute(texts[n]).fetchone()


def range_by_key(connection: Any, config: Config, rng: random.Random) -> Operation:
    keys = [rng.randrange(config.rows - 100) for _ in range(config.operations)]
    execute = connection.execute
    sql = "SELECT name, price FROM item WHERE id >= ? AND id < ?"
    return lambda n: execute(sql, (keys[n], keys[n] + 100)).fetchall()


def by_index(connection: Any, config: Config, rng: random.Random) -> Operation:
    stocks = [rng.randrange(config.rows // 10) for _ in range(config.operations)]
    execute = connection.execute
    return lambda n: execute("SELECT id, name FROM item WHERE stock = ?", (stocks[n],)).fetchall()


def insert(connection: Any, config: Config, rng: random.Random) -> Operation:
    base = connection.execute("SELECT count(*) FROM event").fetchone()[0]
    execute = connection.execute
    return lambda n: execute(INSERT_EVENT, (base + n, "an event", 1.5))


def update(connection: Any, config: Config, rng: random.Random) -> Operation:
    keys = [rng.randrange(config.rows) for _ in range(config.operations)]
    execute = connection.execute
    return lambda n: execute("UPDATE item SET price = price + 1 WHERE id = ?", (keys[n],))


def delete(connection: Any, config: Config, rng: random.Random) -> Operation:
    """Deletes the rows that it first inserts (outside the measured loop)."""
    connection.execute("DELETE FROM event")
    connection.execute("BEGIN")
    connection.executemany(
        INSERT_EVENT, [(number, "an event", 1.5) for number in range(config.operations)]
    )
    connection.execute("COMMIT")
    execute = connection.execute
    return lambda n: execute("DELETE FROM event WHERE id = ?", (n,))


# name → (maker, divisor of the operations, target ratio)
SINGLE: dict[str, tuple[Maker, int, float]] = {
    "point select, prepared": (point_prepared, 1, 1.5),
    "point select, literals": (point_literals, 1, 1.2),
    "range of 100 by key": (range_by_key, 10, 1.0),
    "lookup by index": (by_index, 2, 1.0),
    "autocommit insert": (insert, 1, 1.3),
    "autocommit update": (update, 1, 1.3),
    "autocommit delete": (delete, 1, 1.3),
}


def run_oltp(config: Config, only: str | None = None) -> Iterator[Figure]:
    """Every workload whose name contains `only`, as it is done."""
    with tempfile.TemporaryDirectory(prefix="mantis-bench-", dir=config.directory) as directory:
        if any(_wanted(name, only) for name in SINGLE):
            yield from _run_single(config, directory, only)
        if _wanted("executemany 100 k", only):
            yield _run_executemany(config, directory)
        if _wanted("durable insert, 1 thread", only):
            yield _run_durable(config, directory, 1, "full", 1.0)
        if _wanted("durable insert, 16 threads", only):
            yield _run_durable(config, directory, THREADS, "group", 5.0)


def _wanted(name: str, only: str | None) -> bool:
    return only is None or only.lower() in name.lower()


def _run_single(config: Config, directory: str, only: str | None) -> Iterator[Figure]:
    connections = []
    for peer in PEERS:
        connection = peer.connect(os.path.join(directory, f"{peer.name}.db"), "os")
        _fill(connection, config)
        connections.append(connection)
    for name, (maker, divisor, target) in SINGLE.items():
        if not _wanted(name, only):
            continue
        count = max(50, config.operations // divisor)
        small = msgspec.structs.replace(config, operations=count)
        sides = [Side([]), Side([])]
        latencies = [Latencies(), Latencies()]
        for round_no in range(config.rounds):
            for place, connection in enumerate(connections):
                rng = random.Random(config.seed * 1000 + round_no)
                operation = maker(connection, small, rng)
                gc.collect()
                sides[place].rounds.append(throughput(operation, count))
                sample = maker(connection, small, rng)
                latencies[place].record(timed_calls(sample, max(50, count // 5)))
        for side, histogram in zip(sides, latencies):
            side.p50_us = histogram.percentile_us(50)
            side.p99_us = histogram.percentile_us(99)
        yield Figure(name, "ops/s", sides[0], sides[1], "sqlite3", target)
    for connection in connections:
        connection.close()


def _run_executemany(config: Config, directory: str) -> Figure:
    rows = [(number, f"event {number}", number * 0.5) for number in range(100_000)]
    sides = [Side([]), Side([])]
    for round_no in range(config.rounds):
        for side, peer in zip(sides, PEERS):
            path = os.path.join(directory, f"many-{peer.name}-{round_no}.db")
            connection = peer.connect(path, "os")
            connection.execute(EMPTY)
            gc.collect()
            started = time.perf_counter()
            connection.execute("BEGIN")
            connection.executemany(INSERT_EVENT, rows)
            connection.execute("COMMIT")
            side.rounds.append(len(rows) / (time.perf_counter() - started))
            connection.close()
            os.unlink(path)
    return Figure("executemany 100 k", "rows/s", sides[0], sides[1], "sqlite3", 1.0)


def _run_durable(
    config: Config, directory: str, threads: int, durability: str, target: float
) -> Figure:
    """Autocommit inserts that survive a power loss, from several threads at once."""
    each = max(20, config.operations // 40 // threads)
    sides = [Side([]), Side([])]
    for round_no in range(config.rounds):
        for side, peer in zip(sides, PEERS):
            path = os.path.join(directory, f"durable-{threads}-{peer.name}-{round_no}.db")
            wanted = durability if peer.name == "mantis" else "full"
            connections = [peer.connect(path, wanted) for _ in range(threads)]
            connections[0].execute(EMPTY)
            side.rounds.append(_in_threads(connections, each))
            for connection in connections:
                connection.close()
    plural = "s" if threads > 1 else ""
    name = f"durable insert, {threads} thread{plural}"
    return Figure(name, "ops/s", sides[0], sides[1], "sqlite3", target)


def _in_threads(connections: list[Any], each: int) -> float:
    """Operations per second of all threads together. Raises what a thread raised."""
    barrier = threading.Barrier(len(connections) + 1)
    errors: list[BaseException] = []

    def work(place: int, connection: Any) -> None:
        barrier.wait()
        try:
            for number in range(each):
                connection.execute(INSERT_EVENT, (place * each + number, "an event", 1.5))
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=(place, connection))
        for place, connection in enumerate(connections)
    ]
    for thread in threads:
        thread.start()
    barrier.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    if errors:
        raise errors[0]
    return len(connections) * each / seconds
