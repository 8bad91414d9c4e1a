"""Every interleaving of small programs, against every serial order of those that committed.

A program is a list of steps on a few rows; each reads into the program's own variables or writes
what it computed from them. The run is serializable when running the committed programs one after
the other, in some order, gives each of them the same reads and the database the same rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.errors import Error
from engine.storage.memory_store import MemoryStore
from engine.storage.store import TREE_DIRECTORY, ColumnSpec, TreeSpec, encode_tree_spec
from engine.txn.manager import TransactionManager
from tests.isolation.actors import BLOCKED, Actors

T = 100
SPEC = TreeSpec(T, "int", (ColumnSpec(0, "int64"), ColumnSpec(1, "int64")), 0)
START = {1: 10, 2: 20}
Variables = dict[str, Any]
Step = Callable[[Any, Variables], None]


def read(key: int) -> Step:
    def step(txn: Any, seen: Variables) -> None:
        row = txn.get(T, key)
        seen[f"r{key}"] = None if row is None else row[1]

    return step


def total(txn: Any, seen: Variables) -> None:
    seen["total"] = sum(row[1] for _, row in txn.scan(T))


def write(key: int, compute: Callable[[Variables], int]) -> Step:
    def step(txn: Any, seen: Variables) -> None:
        txn.put(T, key, (key, compute(seen)))

    return step


def insert(key: int, compute: Callable[[Variables], int]) -> Step:
    def step(txn: Any, seen: Variables) -> None:
        txn.insert(T, key, (key, compute(seen)))

    return step


PROGRAMS: dict[str, list[Step]] = {
    "increment": [read(1), write(1, lambda v: v["r1"] + 1)],
    "one from two": [read(2), write(1, lambda v: v["r2"] * 3)],
    "two from one": [read(1), write(2, lambda v: v["r1"] * 5)],
    "both": [write(1, lambda v: 7), write(2, lambda v: 8)],
    "both, backwards": [write(2, lambda v: 9), write(1, lambda v: 6)],
    "insert the total": [total, insert(3, lambda v: v["total"])],
    "insert another total": [total, insert(4, lambda v: v["total"])],
    "look twice": [read(1), total, write(5, lambda v: v["r1"] + v["total"])],
    "only look": [read(2), total, read(1)],
}


class Direct:
    """The rows as a dictionary: what a transaction is when nobody else is there."""

    def __init__(self, rows: dict[int, int]) -> None:
        self.rows = rows

    def get(self, tree_id: int, key: int) -> tuple[int, int] | None:
        return (key, self.rows[key]) if key in self.rows else None

    def scan(self, tree_id: int) -> Iterator[tuple[int, tuple[int, int]]]:
        return iter([(key, (key, value)) for key, value in sorted(self.rows.items())])

    def put(self, tree_id: int, key: int, row: tuple[int, int]) -> None:
        self.rows[key] = row[1]

    def insert(self, tree_id: int, key: int, row: tuple[int, int]) -> None:
        assert key not in self.rows
        self.rows[key] = row[1]


class Run:
    """One interleaving. order: which program takes its next step; a blocked one is passed over
    until it goes on by itself."""

    def __init__(self, names: tuple[str, ...], level: str, order: tuple[int, ...]) -> None:
        self.store = MemoryStore()
        self.store.commit({TREE_DIRECTORY: {T: encode_tree_spec(SPEC)}})
        self.store.commit({T: {key: (key, value) for key, value in START.items()}})
        self.manager = TransactionManager(self.store, lambda snapshot: None)
        self.names = names
        self.seen: list[Variables] = [{} for _ in names]
        self.txns = [self.manager.begin(level) for _ in names]
        self.committed: list[int] = []
        self.ended: set[int] = set()
        self.steps = [list(PROGRAMS[name]) for name in names]
        self.blocked: set[int] = set()
        with Actors(self.manager.lock_manager) as self.actors:
            for index in order:
                self.take_step(index)
            while len(self.ended) < len(names):
                for index in range(len(names)):
                    self.take_step(index)

    def take_step(self, index: int) -> None:
        if index in self.ended or index in self.blocked:
            return
        self.note(index, self.actors[str(index)].call(self.step, index))

    def step(self, index: int) -> None:
        txn = self.txns[index]
        if self.steps[index]:
            txn.begin_statement()
            self.steps[index][0](txn, self.seen[index])
        else:
            txn.commit()

    def note(self, index: int, outcome: Any) -> None:
        if outcome is BLOCKED:
            self.blocked.add(index)
            return
        if isinstance(outcome, Error):
            self.ended.add(index)
            self.txns[index].rollback()
        elif self.steps[index]:
            self.steps[index].pop(0)
        else:
            self.ended.add(index)
            self.committed.append(index)
        # Whoever the wait-for graph no longer names has been let go and will answer.
        waiting = self.manager.waits()
        for other in sorted(self.blocked):
            if self.txns[other].txn_id not in waiting:
                self.blocked.discard(other)
                self.note(other, self.actors[str(other)].next_event())

    def rows(self) -> dict[int, int]:
        snapshot = self.store.snapshot()
        return {key: row[1] for key, row in snapshot.scan(T)}

    def is_serializable(self) -> bool:
        rows = self.rows()
        for order in itertools.permutations(self.committed):
            direct = Direct(dict(START))
            same = True
            for index in order:
                seen: Variables = {}
                for step in PROGRAMS[self.names[index]]:
                    step(direct, seen)
                same = same and seen == self.seen[index]
            if same and direct.rows == rows:
                return True
        return False


def orders(names: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
    """Every order of the programs' steps, commits included."""
    lengths = [len(PROGRAMS[name]) + 1 for name in names]
    steps = [index for index, length in enumerate(lengths) for _ in range(length)]
    return iter(sorted(set(itertools.permutations(steps))))


PAIRS = list(itertools.combinations_with_replacement(PROGRAMS, 2))


@pytest.mark.parametrize("names", PAIRS, ids=" | ".join)
def test_pairs_are_serializable(names: tuple[str, str]) -> None:
    for order in orders(names):
        run = Run(names, "serializable", order)
        assert run.committed, f"nobody committed: {order}"
        assert run.is_serializable(), f"{order}: {run.seen} {run.rows()}"
        assert run.manager.locks() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        ("one from two", "two from one", "only look"),
        ("insert the total", "insert another total", "increment"),
    ],
    ids=" | ".join,
)
def test_triples_are_serializable(names: tuple[str, ...]) -> None:
    for order in list(orders(names))[::7]:
        run = Run(names, "serializable", order)
        assert run.is_serializable(), f"{order}: {run.seen} {run.rows()}"


@pytest.mark.parametrize(
    ("level", "names", "possible"),
    [
        ("repeatable read", ("one from two", "two from one"), True),  # write skew
        ("repeatable read", ("insert the total", "insert another total"), True),
        ("repeatable read", ("increment", "increment"), False),  # no lost update
        ("repeatable read", ("both", "only look"), False),  # no read skew
        ("read committed", ("increment", "increment"), True),  # lost update
        ("read committed", ("both", "only look"), True),  # read skew
        ("read committed", ("both", "both, backwards"), False),  # no dirty write
    ],
)
def test_weaker_levels_allow_what_they_say_and_no_more(
    level: str, names: tuple[str, str], possible: bool
) -> None:
    """Also shows that the oracle sees anomalies where there are some."""
    serializable = [Run(names, level, order).is_serializable() for order in orders(names)]
    assert all(serializable) is not possible
