"""Schedules of two or three sessions with PostgreSQL 15's answers, at four isolation levels.

`../shared/isolation/schedules.json`, relative to the repository root, says what each step answers,
which steps wait and after which step they go on. Whether a step waits is read from the engine's
wait-for graph (tests/isolation/actors.py). Where the file names another correct answer, ALSO says
which one this engine gives and why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.catalog import load_catalog
from engine.errors import Error
from engine.session import Session
from engine.settings import Settings
from engine.storage.memory_store import MemoryStore
from engine.storage.store import CATALOG_TREE
from engine.txn.manager import TransactionManager
from tests.isolation.actors import BLOCKED, Actors

FILE = Path(__file__).parents[3] / "shared" / "isolation" / "schedules.json"
LEVELS = {
    "RC": "read committed",
    "RU": "read uncommitted",
    "RR": "repeatable read",
    "SER": "serializable",
}

VICTIM_IS_THE_REQUESTER = {
    # Session 2 closes the cycle, so it is the victim: at once, and session 1 goes on.
    "steps": {3: "UPDATE 1", 4: "ERR 40P01", 5: "COMMIT", 6: "ROLLBACK"},
    "final": [[1, 11], [2, 12]],
}
ALSO: dict[tuple[str, str], dict[str, Any]] = {
    ("deadlock-2", level): VICTIM_IS_THE_REQUESTER for level in LEVELS
}
ALSO["G2-two-edges", "SER"] = {"steps": {6: "UPDATE 1", 7: "ERR 40001"}}  # found at commit
ALSO["RO-no-T3", "SER"] = {
    # A transaction with writes must be able to move to its commit; what it read has changed.
    "steps": {6: "UPDATE 1", 7: "ERR 40001"},
    "final": [[1, 10], [2, 40]],
}
ALSO["snapshot-at-begin-write", "SER"] = {
    "steps": {5: "ERR 40001"},  # it read row 2, which session 2 has changed since
    "final": [[1, 10], [2, 22]],
}
ALSO["savepoint-rollback-releases", "SER"] = {
    # Session 1 wrote nothing in the end: it sits at its snapshot.
    "steps": {6: [[1, 10], [2, 20]], 7: "COMMIT"},
}

if FILE.exists():
    SCHEDULES: dict[str, Any] = json.loads(FILE.read_text())
else:
    SCHEDULES = {}


class Client:
    """One session; answers a statement as the schedules write it down."""

    def __init__(self, session: Session, level: str) -> None:
        self.session = session
        self.level = level

    def step(self, sql: str) -> Any:
        if not self.session.in_transaction and not self.level.endswith(" begun"):
            self.session.execute(f"BEGIN ISOLATION LEVEL {self.level}")
            self.level += " begun"
        if sql == "@noop":
            return "(begin only)"
        try:
            result = self.session.execute(sql)
        except Error as error:
            return f"ERR {error.sqlstate}"
        if result.columns is None:
            return result.tag
        return [list(row) for row in result.rows]


def new_sessions() -> tuple[TransactionManager, Any]:
    def load(snapshot: Any) -> Any:
        return load_catalog(snapshot.scan(CATALOG_TREE), snapshot.commit_ts)

    store = MemoryStore()
    manager = TransactionManager(store, load)
    return manager, lambda: Session(store, manager, Settings(), autocommit=True)


def answer_of(expected: dict[str, Any]) -> Any:
    return expected["then"] if expected.get("blocks") else expected["result"]


@pytest.mark.skipif(not SCHEDULES, reason=f"{FILE} is not there")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedule(name: str, level: str) -> None:
    schedule = SCHEDULES[name]
    expect = schedule["expect"]["RC" if level == "RU" else level]
    also = ALSO.get((name, level), {})
    manager, new_session = new_sessions()
    setup = new_session()
    for sql in schedule["setup"]:
        setup.execute(sql)
    clients: dict[int, Client] = {}
    answers: dict[int, Any] = {}
    blocked: dict[int, tuple[int, int]] = {}  # step → (its session, step that lets it go on)
    with Actors(manager.lock_manager) as actors:
        for number, (who, sql) in enumerate(schedule["steps"], 1):
            client = clients.setdefault(who, Client(new_session(), LEVELS[level]))
            answer = actors[str(who)].call(client.step, sql)
            expected = expect["results"][number - 1]
            victim_at_once = expected.get("blocks") and expected["unblocks_after_step"] == number
            if answer == "ERR 0A000":
                pytest.skip(f"not supported: {sql}")
            if answer is BLOCKED:
                assert expected.get("blocks"), f"step {number} waits: {manager.waits()}"
                waits = manager.waits()
                assert waits, f"step {number} waits for nobody"
                blocked[number] = (who, expected["unblocks_after_step"])
            else:
                assert victim_at_once or not expected.get("blocks"), f"step {number} did not wait"
                answers[number] = answer
            for waiting, (waiter, until) in list(blocked.items()):
                if until == number:
                    answers[waiting] = actors[str(waiter)].next_event()
                    assert answers[waiting] is not BLOCKED, f"step {waiting} still waits"
                    del blocked[waiting]
        assert not blocked
        for who, client in clients.items():
            actors[str(who)].call(client.session.rollback)
    expected_answers = {i: answer_of(result) for i, result in enumerate(expect["results"], 1)}
    expected_answers.update(also.get("steps", {}))
    assert answers == expected_answers
    final = setup.execute("select * from test order by id")
    assert [list(row) for row in final.rows] == also.get("final", expect["final"])
    assert manager.locks() == []


@pytest.mark.skipif(not SCHEDULES, reason=f"{FILE} is not there")
def test_every_other_answer_is_one_the_file_allows() -> None:
    for name, _ in ALSO:
        assert "alternative" in SCHEDULES[name], f"{name} has one correct answer"
