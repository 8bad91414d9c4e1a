"""Every query gives the same rows in SQLite, with all rules and indexes, with no rules and no
index, with parameters in place of its literals, and from a file that was closed and reopened.

Two oracles need no other engine. TLP: the rows where p is true, false and unknown are together the
rows without WHERE. NoREC: as many rows pass WHERE p, which the optimizer may use, as have p true in
the select list, which it may not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from engine.errors import DataError, NotSupportedError
from tests.differential.engines import (
    Answer,
    FileEngine,
    load,
    mantis_session,
    run,
    sqlite_peer,
)
from tests.differential.queries import Generator, Query, literal_text
from tests.differential.schemas import Row, Table, random_rows, random_schema

QUICK, LONG = range(5), range(1000, 1400)
QUERIES = 50


class Bench:
    """One random database in every engine, and what was compared."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.tables = random_schema(self.rng)
        self.rows = {t.name: random_rows(self.rng, t) for t in self.tables}
        self.ruled, self.bare = mantis_session(True), mantis_session(False)
        load(self.ruled, self.tables, self.rows, indexes=True)
        load(self.bare, self.tables, self.rows, indexes=False)
        self.views: list[str] = []
        self.compared = self.skipped = 0

    def peer(self) -> sqlite3.Connection:
        peer = sqlite_peer()
        load(peer, self.tables, self.rows, indexes=True)
        return peer

    def agree(
        self, query: Query, expected: Answer, ask: Callable[[Query], Answer] | None = None
    ) -> None:
        """All of our own ways give the expected rows, or at least those that a third engine gives
        too. ask: the third engine; DuckDB if none is given."""
        sql = query.text()
        told = f"seed {self.seed}: {sql}"
        try:
            plain = run(self.bare, sql, ordered=query.ordered)
        except (DataError, NotSupportedError):
            self.skipped += 1  # out of range: whether it is reached may differ
            return
        if plain != expected:
            third = self.arbitrate(query) if ask is None else ask(query)
            assert third == plain, f"no rules, {told}: {plain}, not {expected}"
            expected = plain
        assert run(self.ruled, sql, ordered=query.ordered) == expected, f"rules, {told}"
        text, values = query.parameters()
        got = run(self.ruled, text, values, query.ordered)
        assert got == expected, f"parameters {values}, seed {self.seed}: {text}"
        self.compared += 1

    def arbitrate(self, query: Query) -> Answer | None:
        """DuckDB's rows, where SQLite's differ from ours: its 3.40 is wrong about some outer joins
        of subqueries that give one constant."""
        duckdb = pytest.importorskip("duckdb", reason="no third engine to ask")
        third = duckdb.connect()
        load(third, self.tables, self.rows, indexes=False)
        for view in self.views:
            third.execute(view)
        return Answer(third.execute(query.text().replace("/", "//")).fetchall(), query.ordered)

    def finish(self, wanted: int) -> None:
        assert self.compared > wanted * 0.9, f"{self.skipped} of {wanted} queries were skipped"


def seeds(quick: range, long: range) -> list[Any]:
    """Parameters: the quick ones always, the others with --nightly."""
    return [*quick, *[pytest.param(seed, marks=pytest.mark.nightly) for seed in long]]


@pytest.mark.parametrize("seed", seeds(QUICK, LONG))
def test_same_rows_as_sqlite(seed: int) -> None:
    bench = Bench(seed)
    peer = bench.peer()
    generator = Generator(bench.rng, bench.tables)
    for number in range(QUERIES):
        query = generator.query()
        if number == QUERIES // 2:
            add_view(bench, generator, peer)
        bench.agree(query, Answer(peer.execute(query.text()).fetchall(), query.ordered))
    bench.finish(QUERIES)


def add_view(bench: Bench, generator: Generator, peer: sqlite3.Connection) -> None:
    """A view that queries may use from here on."""
    generator.literals, generator.common = [], {}
    body, columns = generator.derived_body()
    names = ", ".join([name for name, _ in columns])
    view = f"create view v ({names}) as {Query(body, generator.literals).text()}"
    bench.views.append(view)
    for engine in (bench.ruled, bench.bare, peer):
        engine.execute(view)
    generator.views["v"] = columns


@pytest.mark.parametrize("seed", seeds(range(5000, 5003), range(5100, 5250)))
def test_same_rows_as_duckdb(seed: int) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb, an extra of the tests, is not installed")
    bench = Bench(seed)
    peer = duckdb.connect()
    load(peer, bench.tables, bench.rows, indexes=False)
    generator = Generator(bench.rng, bench.tables, "duckdb")
    judge = bench.peer()

    def ask(query: Query) -> Answer:
        return Answer(judge.execute(query.text()).fetchall(), query.ordered)

    for _ in range(QUERIES):
        query = generator.query()
        try:
            expected = Answer(peer.execute(query.text()).fetchall(), query.ordered)
        except duckdb.Error:
            bench.compared += 1  # a type it infers otherwise, or a subquery it does not join
            continue
        bench.agree(query, expected, ask)
    bench.finish(QUERIES)


@pytest.mark.parametrize("seed", seeds(range(7000, 7002), range(7100, 7150)))
def test_a_reopened_file_gives_the_same_rows(seed: int, tmp_path: Path) -> None:
    bench = Bench(seed)
    file = FileEngine(tmp_path / "d.mantis")
    try:
        load(file.session, bench.tables, bench.rows, indexes=True)
        file.reopen()
        generator = Generator(bench.rng, bench.tables)
        for number in range(QUERIES):
            query = generator.query()
            try:
                expected = run(bench.bare, query.text(), ordered=query.ordered)
            except DataError:
                continue
            got = run(file.session, query.text(), ordered=query.ordered)
            assert got == expected, f"seed {seed}: {query.text()}"
            if number == QUERIES // 2:
                add_rows(bench, file)  # the rest reads pages and memory together
    finally:
        file.close()


def add_rows(bench: Bench, file: FileEngine) -> None:
    for table in bench.tables:
        listed = ", ".join([f"({', '.join(map(literal_text, row))})" for row in more(bench, table)])
        if listed:
            for engine in (bench.bare, file.session):
                engine.execute(f"insert or ignore into {table.name} values {listed}")


def more(bench: Bench, table: Table) -> list[Row]:
    return random_rows(bench.rng, table)


@pytest.mark.parametrize("seed", seeds(range(9000, 9003), range(9100, 9300)))
def test_a_condition_splits_rows_in_three(seed: int) -> None:
    bench = Bench(seed)
    generator = Generator(bench.rng, bench.tables)
    for _ in range(QUERIES):
        generator.literals, generator.common = [], {}
        source, scope = generator.source()
        outputs = ", ".join([generator.value(k, scope, 1) for k in ("int", "text")])
        condition = generator.condition(scope)

        def sql(where: str) -> str:
            return Query(f"select {outputs} from {source}{where}", generator.literals).text()  # noqa: B023

        try:
            whole = run(bench.ruled, sql(""))
            parts: list[Any] = []
            for test in (condition, f"not ({condition})", f"({condition}) is null"):
                parts += run(bench.ruled, sql(f" where {test}")).rows
            marked = f"select count(*) from {source} where {condition}"
            summed = f"select count(case when {condition} then 1 end) from {source}"
            passed = run(bench.ruled, Query(marked, generator.literals).text())
            counted = run(bench.ruled, Query(summed, generator.literals).text())
        except DataError:
            continue
        assert Answer(parts, False) == whole, f"TLP, seed {seed}: {sql(f' where {condition}')}"
        assert passed == counted, f"NoREC, seed {seed}: {sql(f' where {condition}')}"
