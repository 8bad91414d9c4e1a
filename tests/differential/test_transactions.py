"""Transactions with savepoints, failed statements and changes of the schema see, keep and undo what
SQLite's do. One text is run again and again over tables that come back with other columns, so that
the plan cache answers for each schema with its own plan.

SQLite holds the tables without their constraints; what a change must do is worked out by
tests/differential/changes.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from engine.errors import DataError, IntegrityError, TransactionAborted
from engine.session import Session
from tests.differential.changes import Changer
from tests.differential.engines import Answer, FileEngine, load, mantis_session, run, sqlite_peer
from tests.differential.schemas import random_rows, random_schema, random_table
from tests.differential.test_changes import check_indexes
from tests.differential.test_queries import seeds

STEPS = 90


class Pair:
    """A session and SQLite going through the same steps."""

    def __init__(self, seed: int, session: Session) -> None:
        self.rng = Random(seed)
        self.seed = seed
        self.tables = random_schema(self.rng)
        self.session, self.peer = session, sqlite_peer()
        rows = {table.name: random_rows(self.rng, table) for table in self.tables}
        load(self.session, self.tables, rows, indexes=True)
        load(self.peer, [t._replace(unique=()) for t in self.tables], rows, indexes=False)
        self.open = False
        self.savepoints: list[tuple[str, tuple[object, ...]]] = []  # with the tables then
        self.at_begin = self.tables
        self.log: list[str] = []
        self.indexes = 0

    def both(self, sql: str) -> None:
        self.log.append(sql)
        self.session.execute(sql)
        self.peer.execute(sql)

    # ── steps ────────────────────────────────────────────────────────────────────────────────
    def change(self) -> None:
        changer = Changer(self.rng, self.tables, self.peer)
        change = changer.change()
        sql, values = change.query.text(), []
        if self.rng.random() < 0.5:
            sql, values = change.query.parameters()
        self.log.append(sql)
        try:
            result = self.session.execute(sql, values)
            assert result.rowcount == change.count
            assert change.after is not None, "no constraint failed"
        except (IntegrityError, DataError) as error:
            assert change.after is None or isinstance(error, DataError), error
            self.recover()
            return
        changer.accept(change)

    def recover(self) -> None:
        """A failed statement: alone it changed nothing; in a transaction only going back helps."""
        if not self.open:
            return
        with pytest.raises(TransactionAborted):
            self.session.execute("select 1")
        if self.savepoints:
            self.back()
        else:
            self.end("rollback")

    def begin(self) -> None:
        if not self.open:
            self.both("begin")
            self.open, self.at_begin = True, self.tables

    def end(self, word: str) -> None:
        if self.open:
            self.both(word)
            self.open, self.savepoints = False, []
            if word == "rollback":
                self.tables = self.at_begin

    def mark(self) -> None:
        if self.open:
            name = f"s{self.rng.randrange(3)}"
            self.both(f"savepoint {name}")
            self.savepoints.append((name, self.tables))

    def back(self) -> None:
        """ROLLBACK TO the last savepoint of a name; it stays, later ones go."""
        if self.savepoints:
            name = self.rng.choice(self.savepoints)[0]
            while self.savepoints[-1][0] != name:
                self.savepoints.pop()
            self.both(f"rollback to {name}")
            self.tables = self.savepoints[-1][1]  # type: ignore[assignment]

    def release(self) -> None:
        if self.savepoints:
            name = self.rng.choice(self.savepoints)[0]
            while self.savepoints.pop()[0] != name:
                pass
            self.both(f"release {name}")

    def recreate(self) -> None:
        """A table with the same name and other columns."""
        old = self.rng.choice(self.tables)
        new = random_table(self.rng, old.name)
        rows = {new.name: random_rows(self.rng, new)}
        self.both(f"drop table {old.name}")
        load(self.session, [new], rows, indexes=True)
        load(self.peer, [new._replace(unique=())], rows, indexes=False)
        self.tables = tuple([new if t is old else t for t in self.tables])

    def index(self) -> None:
        """An index on rows that are there, some of them perhaps our own."""
        table = self.rng.choice(self.tables)
        columns = self.rng.sample([c.name for c in table.columns], self.rng.randint(1, 2))
        self.indexes += 1
        sql = f"create index x{self.indexes} on {table.name} ({', '.join(columns)})"
        self.log.append(sql)
        self.session.execute(sql)

    # ── what must hold ───────────────────────────────────────────────────────────────────────
    def compare(self) -> None:
        told = f"seed {self.seed}: " + "; ".join(self.log[-12:])
        for table in self.tables:
            first = table.columns[0].name
            for sql in (
                f"select * from {table.name}",
                f"select * from {table.name} where {first} = 3",
                f"select count(*) from {table.name} where {first} between -1 and 4",
            ):
                found, wanted = run(self.session, sql), self.peer.execute(sql).fetchall()
                assert found == Answer(wanted, False), f"{sql}, {told}"
        if not self.open:
            check_indexes(self.session)


def steps_of(pair: Pair) -> list[Callable[[], None]]:
    return [
        *[pair.change] * 8,
        *[pair.begin] * 2,
        *[pair.mark] * 2,
        pair.back,
        pair.release,
        lambda: pair.end("commit"),
        lambda: pair.end("rollback"),
        pair.recreate,
        pair.index,
    ]


@pytest.mark.parametrize("seed", seeds(range(6), range(1000, 1200)))
def test_transactions_keep_and_undo_the_same(seed: int) -> None:
    pair = Pair(seed, mantis_session(True))
    steps = steps_of(pair)
    for _ in range(STEPS):
        pair.rng.choice(steps)()
        pair.compare()
    pair.end("commit")
    pair.compare()


@pytest.mark.parametrize("seed", seeds(range(2000, 2003), range(2100, 2200)))
def test_transactions_of_a_file_that_is_reopened(seed: int, tmp_path: Path) -> None:
    file = FileEngine(tmp_path / "d.mantis")
    try:
        pair = Pair(seed, file.session)
        steps = steps_of(pair)
        for number in range(STEPS):
            pair.rng.choice(steps)()
            if number % 20 == 19 and not pair.open:
                file.reopen()
                pair.session = file.session
            pair.compare()
    finally:
        file.close()
