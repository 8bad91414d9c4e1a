"""How plans are executed: lazily, over whole columns, in compact text; always with one answer."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from engine.database import Database
from engine.errors import DataError
from engine.session import Session

from .sessions import memory_session, rows


@pytest.fixture
def session() -> Session:
    made = memory_session()
    made.execute("create table t (a integer, b integer)")
    return made


@pytest.mark.parametrize(
    "sql, expected",
    [
        ("select coalesce(-14, 24 / cast(-0 as integer))", [(-14,)]),
        ("select 78 * 68 / - 0 from t where false", []),
        ("select 78 * 68 / - 0 from t", []),
        ("select a from t where a > 1 / 0", []),
        ("select nullif(cast(null as real), 3 / 0)", [(None,)]),
        ("select cast(null as int) = 1 / 0, cast(null as int) + 1 / 0", [(None, None)]),
        ("select case when 1 = 1 then 2 else 1 / 0 end", [(2,)]),
        ("select max(a) + 1 / 0 from t group by b", []),
    ],
)
def test_what_raises_is_evaluated_only_when_needed(
    session: Session, sql: str, expected: list[Any]
) -> None:
    assert rows(session, sql) == expected


def test_what_raises_raises_where_a_row_needs_it(session: Session) -> None:
    session.execute("insert into t values (1, 2), (null, 3)")
    for sql in ("select 78 / - 0 from t", "select a from t where a > 1 / 0", "select 1 / 0"):
        with pytest.raises(DataError) as caught:
            rows(session, sql)
        assert caught.value.sqlstate == "22012"
    assert rows(session, "select a + 1 / 0 from t where b = 3") == [(None,)]
    assert rows(session, "select a from t where b = 9 and a > 1 / 0") == []


def test_a_fixed_expression_is_evaluated_once(session: Session) -> None:
    session.execute("insert into t values (1, 2), (2, 3), (3, 4)")
    assert rows(session, "select a + (? * 2) from t", 5) == [(11,), (12,), (13,)]
    assert rows(session, "select a from t where a < ? * 1 or b > ? * 4", 2, 1) == [(1,)]


AGGREGATES = (
    "select count(*), count(a), sum(a), min(a), max(a), avg(a) from m",
    "select sum(c), min(c), max(c), avg(c), min(d), max(d), count(d) from m",
    "select sum(b), avg(b), min(b), max(b) from m",
    "select min(e), max(e), count(e), sum(f), max(f) from m",
    "select count(g), sum(g), min(g), avg(g) from m",
    "select sum(a), count(*) from m where id between 20 and 900",
    "select d, count(*), sum(a), avg(b) from m group by d order by d",
)


@pytest.mark.parametrize("seed", range(2))
def test_aggregates_over_columns_are_those_over_rows(tmp_path: Path, seed: int) -> None:
    """A filter that is always true makes the ordinary loop of the same aggregates."""
    r = random.Random(seed)
    database = Database.open(str(tmp_path / "m.mantis"), create=True, durability="os")
    session = database.session()
    session.execute(
        "create table m (id integer primary key, a integer, b double precision, c bigint not null,"
        " d text, e date, f numeric(8, 2), g integer)"
    )

    def fill(start: int, count: int) -> None:
        for i in range(start, start + count):
            a = None if r.random() < 0.1 else r.randrange(-(2**31), 2**31)
            values = (i, a, r.random(), r.randrange(2**62), r.choice(["x", "yy", None]))
            more = (f"2024-01-{r.randrange(1, 28):02}", r.randrange(9), None)
            session.execute("insert into m values (?, ?, ?, ?, ?, ?, ?, ?)", (*values, *more))

    def check() -> None:
        for sql in AGGREGATES:
            head, _, tail = sql.partition(" from m")
            where = " where id >= -1 and id + 0 = id"
            if " where " in tail:
                filtered = sql + where.replace(" where ", " and ")
            else:
                filtered = f"{head} from m{where}{tail}"
            assert rows(session, sql) == rows(session, filtered), sql

    check()
    fill(0, 700)
    check()
    session.execute("checkpoint")
    check()
    fill(2000, 100)
    session.execute("delete from m where id < 30")
    session.execute("update m set a = null where id < 60")
    check()
    session.execute("begin")
    fill(3000, 5)
    check()
    session.execute("rollback")
    session.execute("checkpoint")
    check()
    database.close()


def test_sums_still_overflow(session: Session) -> None:
    session.execute("create table n (a bigint not null)")
    session.execute("insert into n values (9223372036854775807), (1)")
    assert rows(session, "select sum(a) from n")[0][0] == 2**63


def test_compact_text_answers_as_full_text(session: Session) -> None:
    """A plan over few rows is compiled compactly, and in full once it is hot."""
    session.execute("insert into t values (1, 2), (null, 3), (2147483647, 4)")
    text = "select a - b, b * b + 7, a is null or a + ? > 3 from t where b <> ?"
    expected = rows(session, text, 0, 5)
    for _ in range(20):
        assert rows(session, text, 0, 5) == expected
    entry = session.cache.texts.young[text].entry
    assert not entry.compact and entry.uses
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            rows(session, "select a + b from t")
        assert caught.value.sqlstate == "22003"
