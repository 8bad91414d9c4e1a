"""Short reads by key range and by index answer as the ordinary plan does, whatever is in the
memtable, the frozen tree and the transaction."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from engine.database import Database
from engine.session import Session

from .sessions import memory_session, rows, second_session

SCHEMA = (
    "create table item (id integer primary key, name text, price numeric(8, 2), stock integer)",
    "create index item_stock on item (stock)",
    "create unique index item_name on item (name, id)",
    "create table pair (a text, b integer, c integer, primary key (a, b))",
    "create index pair_c on pair (c desc)",
)
# text, parameters from a function of the generator
QUERIES: dict[str, Any] = {
    "select id, name from item where id >= ? and id < ?": lambda r: _span(r),
    "select * from item where id between ? and ? and stock > 3": lambda r: _span(r),
    "select price + 1, name from item where id > ? and id <= ?": lambda r: _span(r),
    "select id, name from item where stock = ?": lambda r: (r.randrange(12),),
    "select name, id from item where stock >= ? and stock < ?": lambda r: (3, r.randrange(9)),
    "select id from item where name = ?": lambda r: (f"n{r.randrange(30)}",),
    "select id, name from item where id >= ? order by id limit ?": lambda r: (
        r.randrange(300),
        r.randrange(6),
    ),
    "select id from item order by id limit 5": lambda r: (),
    "select stock, id from item where stock = ? limit 2": lambda r: (r.randrange(12),),
    "select b, c from pair where a = ?": lambda r: (r.choice("xyz"),),
    "select b, c from pair where a = ? and b >= ? and b < ?": lambda r: (
        r.choice("xyz"),
        r.randrange(20),
        r.randrange(40),
    ),
    "select a, b from pair where c = ?": lambda r: (r.randrange(5),),
}


def _span(r: random.Random) -> tuple[int, int]:
    start = r.randrange(-5, 320)
    return start, start + r.randrange(40)


def _change(session: Session, r: random.Random) -> None:
    number = r.randrange(300)
    match r.randrange(5):
        case 0:
            session.execute("delete from item where id = ?", (number,))
        case 1:
            session.execute("update item set stock = ? where id = ?", (r.randrange(12), number))
        case 2:
            session.execute(
                "insert or replace into item values (?, ?, ?, ?)",
                (number, f"n{r.randrange(30)}", r.randrange(99), r.randrange(12)),
            )
        case 3:
            values = (r.choice("xyz"), r.randrange(40), r.randrange(5))
            session.execute("insert or replace into pair values (?, ?, ?)", values)
        case _:
            session.execute("delete from pair where a = 'x' and b = ?", (r.randrange(40),))


def _check(session: Session, r: random.Random) -> None:
    """The same text three times: the ordinary plan, then the specialised one, then that again."""
    for text, make in QUERIES.items():
        params = make(r)
        session.reset_cache()
        expected = rows(session, text, *params)
        for _ in range(2):
            assert rows(session, text, *params) == expected, (text, params)
        hit = session.cache.texts.get(text)
        assert hit is not None and hit.point is not None and hit.within is not None, text


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_those_of_the_ordinary_plan(tmp_path: Path, seed: int) -> None:
    r = random.Random(seed)
    database = Database.open(str(tmp_path / "short.mantis"), create=True, durability="os")
    session = database.session()
    for statement in SCHEMA:
        session.execute(statement)
    _check(session, r)
    for step in range(12):
        for _ in range(25):
            _change(session, r)
        _check(session, r)
        if step % 4 == 1:
            session.execute("checkpoint")
            _check(session, r)
        if step % 3 == 0:
            session.execute("begin")
            _check(session, r)
            _change(session, r)
            _check(session, r)
            session.execute("rollback" if step % 2 else "commit")
    database.close()


def test_a_snapshot_keeps_its_answer() -> None:
    session = memory_session()
    for statement in SCHEMA:
        session.execute(statement)
    other = second_session(session)
    session.execute("insert into item select g, 'n', 1, 7 from (values (1), (2), (3)) v(g)")
    by_index = "select id from item where stock = ?"
    by_key = "select id from item where id between ? and ?"
    session.execute("begin")
    for _ in range(3):
        assert rows(session, by_index, 7) == [(1,), (2,), (3,)]
        assert rows(session, by_key, 1, 2) == [(1,), (2,)]
        other.execute("delete from item where id = 2")
        other.execute("insert or replace into item values (9, 'm', 1, 7)")
    assert rows(other, by_index, 7) == [(1,), (3,), (9,)]
    assert rows(other, by_index, 7) == [(1,), (3,), (9,)]
    session.execute("commit")
    assert rows(session, by_index, 7) == [(1,), (3,), (9,)]
    assert rows(session, by_key, 1, 2) == [(1,)]


def test_what_is_not_plain_is_declined() -> None:
    session = memory_session()
    for statement in SCHEMA:
        session.execute(statement)
    session.execute("insert into item values (1, 'n', 1, 7)")
    by_key = "select id from item where id >= ? and id <= ?"
    for lo, hi in ((None, 5), (0, None), (-(2**62), 2**62), (5, 1), (True, 5)):
        for _ in range(3):
            expected = [(1,)] if hi == 2**62 or lo is True else []
            try:
                assert rows(session, by_key, lo, hi) == expected
            except Exception as error:
                assert getattr(error, "sqlstate", "") in ("42804", "42883", "22003"), (lo, hi)


def test_serializable_reads_are_recorded() -> None:
    session = memory_session()
    for statement in SCHEMA:
        session.execute(statement)
    other = second_session(session)
    text = "select id from item where stock = ?"
    for _ in range(2):
        rows(session, text, 7)
    session.execute("begin isolation level serializable")
    assert rows(session, text, 7) == []
    other.execute("insert into item values (1, 'n', 1, 7)")
    session.execute("insert into pair values ('x', 1, 1)")
    with pytest.raises(Exception) as caught:
        session.execute("commit")
    assert getattr(caught.value, "sqlstate", "") == "40001"
