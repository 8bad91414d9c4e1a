"""Parameters mean what a literal of their value would mean.

What the types of a statement's columns make of `?` is only a first guess: a value of another family
or beyond the guessed type binds the statement for its own type. Each test was once another answer
than the literal's.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine import errors
from engine.session import Session
from tests.unit.sql.sessions import memory_session, rows


@pytest.fixture
def session() -> Session:
    made = memory_session()
    made.execute("create table t (id integer primary key, b bigint, c text, d double precision)")
    made.execute("insert into t values (1, 10, 'x', 1.5)")
    return made


@pytest.mark.parametrize(
    ("sql", "values", "literal"),
    [
        # 22003: a parameter next to an integer had to be one
        ("select ? + 1", [5_000_000_000], "select 5000000000 + 1"),
        ("select id from t where b < ?", [2**70], f"select id from t where b < {2**70}"),
        ("select id + ? from t", [2**70], f"select id + {2**70} from t"),
        # abs(?) was double precision: 3.5
        ("select 7 / abs(?)", [2], "select 7 / abs(2)"),
        ("select round(?)", [2.5], "select round(cast(2.5 as double precision))"),
        ("select mod(?, ?)", [7, 4], "select mod(7, 4)"),
        # 42883 text + integer: a call of parameters only was text
        ("select coalesce(?, ?) + 1", [None, 2], "select coalesce(null, 2) + 1"),
        ("select id from t where nullif(?, ?) = b", [10, 1], "select id from t where 10 = b"),
        ("select case when ? > 0 then ? end * 2", [1, 4], "select 4 * 2"),
        # TypeError: the integer of the subquery was parsed as text
        ("select p + 1 from (select ? as p) q", [4], "select 4 + 1"),
        ("select ? union select b from t", [4], "select 4 union select b from t"),
        (
            "select p + d from (select ? as p union all select id from t) q, t",
            [4],
            "select p + d from (select 4 as p union all select id from t) q, t",
        ),
    ],
)
def test_same_as_the_literal(session: Session, sql: str, values: list[Any], literal: str) -> None:
    for _ in range(3):  # bound, from the cache, specialised
        assert rows(session, sql, *values) == rows(session, literal)


def test_named_parameters_are_bound_by_value_too(session: Session) -> None:
    found = session.execute("select coalesce(:a, :b) + :a", {"a": 2, "b": 1})
    assert list(found.rows) == [(4,)]


def test_an_error_of_types_that_values_do_not_mend_stays(session: Session) -> None:
    for values in ([1], ["x"], [None]):
        with pytest.raises(errors.ProgrammingError) as caught:
            session.execute("select c + ? from t where nope = 1", values)
        assert caught.value.sqlstate in ("42703", "42883")
    with pytest.raises(errors.DataError) as data:
        session.execute("insert into t (id) values (?)", [2**40])
    assert data.value.sqlstate == "22003"


def test_executemany_takes_what_execute_takes(session: Session) -> None:
    """42804 for a float in an integer column, which execute rounds."""
    session.execute_many("insert into t (id, c) values (?, ?)", [(2, "a"), (3.6, 7), (5, None)])
    assert rows(session, "select id, c from t where id > 1 order by id") == [
        (2, "a"),
        (4, "7"),
        (5, None),
    ]
    session.execute_many("update t set b = id + ?", [(1,), (2**40,), (0.5,)])
    assert rows(session, "select b from t where id = 1") == [(2,)]


def test_least_bigint_is_one(session: Session) -> None:
    """It was numeric, as PostgreSQL has it, while -2147483648 is an integer here."""
    assert rows(session, "select -9223372036854775808, pg_typeof(-9223372036854775808)") == [
        (-(2**63), "bigint")
    ]
    assert rows(session, "select -9223372036854775809") == [(Decimal(-(2**63) - 1),)]


def test_many_conditions_take_time_in_proportion(session: Session) -> None:
    """50,000 conjuncts took four minutes: each was compared with every one before."""
    conjuncts = " and ".join(["id = 1", *[f"b <> {number}" for number in range(20_000, 30_000)]])
    assert rows(session, f"select id from t where {conjuncts}") == [(1,)]


def test_no_way_for_a_nul_character(session: Session) -> None:
    """A literal could hold what a parameter may not."""
    for sql, values in (("select 'a\0'", ()), ("select ?", ("a\0",)), ("select $$\0$$", ())):
        for _ in range(2):
            with pytest.raises(errors.DataError) as caught:
                session.execute(sql, values)
            assert caught.value.sqlstate == "22021"
