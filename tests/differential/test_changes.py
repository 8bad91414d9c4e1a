"""INSERT, UPDATE and DELETE leave the rows that SQL says, or fail and change nothing; and every
index still holds exactly what its table's rows call for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from engine.errors import DataError, IntegrityError
from engine.session import Session
from engine.sql.executor.write import index_entries
from tests.differential.changes import Change, Changer
from tests.differential.engines import (
    Answer,
    FileEngine,
    load,
    mantis_session,
    run,
    sqlite_peer,
)
from tests.differential.schemas import Table, random_rows, random_schema
from tests.differential.test_queries import seeds

CHANGES = 40


def check_indexes(session: Session) -> None:
    snapshot = session.store.snapshot()
    for table in session.transactions.catalog.tables.values():
        found = list(snapshot.scan(table.table_id))
        for index in index_entries(table):
            wanted = sorted([index.entry(key, row) for key, row in found])
            assert [key for key, _ in snapshot.scan(index.index_id)] == wanted


def apply(session: Session, change: Change, parameters: bool, told: str) -> bool:
    """Run a change and compare. False: it met a value out of range, and nothing is known."""
    sql, values = change.query.parameters() if parameters else (change.query.text(), [])
    try:
        result = session.execute(sql, values)
        returned = list(result.rows)
    except IntegrityError:
        assert change.after is None, told
        return True
    except DataError:
        return False
    assert change.after is not None, f"no constraint failed, {told}"
    assert result.rowcount == change.count, told
    if change.returned is not None:
        assert Answer(returned, False) == Answer(change.returned, False), told
    found = run(session, f"select * from {change.table.name}")
    assert found == Answer(change.after, False), told
    return True


def run_changes(seed: int, sessions: Sequence[Session], rng: Random, tables: Any) -> int:
    """Changes made; stops at the first that went out of range."""
    peer = sqlite_peer()
    rows = {table.name: random_rows(rng, table) for table in tables}
    for number, session in enumerate(sessions):
        load(session, tables, rows, indexes=number == 0)
    load(peer, [table._replace(unique=()) for table in tables], rows, indexes=False)
    changer = Changer(rng, tables, peer)
    for done in range(CHANGES):
        change = changer.change()
        for number, session in enumerate(sessions):
            told = f"seed {seed}, session {number}: {change.query.text()}"
            if not apply(session, change, rng.random() < 0.5, told):
                return done
        changer.accept(change)
    return CHANGES


@pytest.mark.parametrize("seed", seeds(range(5), range(1000, 1300)))
def test_changes_leave_the_rows_that_sql_says(seed: int) -> None:
    rng = Random(seed)
    tables = random_schema(rng)
    sessions = (mantis_session(True), mantis_session(False))
    assert run_changes(seed, sessions, rng, tables) > 0
    for session in sessions:
        check_indexes(session)


@pytest.mark.parametrize("seed", seeds(range(2000, 2002), range(2100, 2150)))
def test_changes_survive_a_reopened_file(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    tables: tuple[Table, ...] = random_schema(rng)
    file = FileEngine(tmp_path / "d.mantis")
    try:
        run_changes(seed, [file.session], rng, tables)
        before = {t.name: run(file.session, f"select * from {t.name}") for t in tables}
        file.reopen()
        for table in tables:
            assert run(file.session, f"select * from {table.name}") == before[table.name]
        check_indexes(file.session)
    finally:
        file.close()
