"""The row executor: NULL logic, sorting, grouping, joins, subqueries, by small exact cases."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine import errors
from engine.session import Session
from tests.unit.sql.sessions import memory_session, rows


@pytest.fixture(scope="module", params=[True, False], ids=["rules", "no rules"])
def session(request: pytest.FixtureRequest) -> Session:
    made = memory_session()
    made.execute(f"set optimizer = {'on' if request.param else 'off'}")
    made.execute("create table n (a integer, b integer)")
    made.execute("insert into n values (1, 1), (1, null), (null, 2), (null, null), (2, 1)")
    made.execute("create table f (id integer primary key, x double precision, m numeric(10, 2))")
    made.execute(
        "insert into f values (1, 'NaN', 1.10), (2, 1.5, 1.1), (3, null, null), (4, 'NaN', 2),"
        " (5, '-Infinity', -1), (6, -0.0, 0), (7, 0.0, 0.00)"
    )
    return made


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("null and false", False),
        ("null and true", None),
        ("null or true", True),
        ("null or false", None),
        ("not null::boolean", None),
        ("null = 1", None),
        ("null is distinct from 1", True),
        ("null is not distinct from null", True),
        ("1 in (2, null)", None),
        ("1 in (1, null)", True),
        ("1 not in (2, null)", None),
        ("1 not in (2, 3)", True),
        ("null in (1)", None),
        ("null like 'a%'", None),
        ("'abc' like 'a%' and 'abc' like '%c' and 'abc' like '%b%'", True),
        ("'a%c' like 'a\\%c' and 'abc' not like 'a\\%c'", True),
        ("'ABC' ilike 'a_c'", True),
        ("'abc' ~ '^a.c$'", True),
        ("5 between 1 and null", None),
        ("0 between 1 and null", False),
        ("exists (select 1 from n where a = 3)", False),
        ("1 in (select a from n)", True),
        ("3 in (select a from n)", None),
        ("3 not in (select a from n)", None),
        ("3 not in (select a from n where a is not null)", True),
        ("null in (select a from n where false)", False),
        ("(select a from n where b = 99) is null", True),
        ("'NaN'::double precision = 'NaN'::double precision", True),
        ("'NaN'::double precision > 'Infinity'::double precision", True),
        ("interval '1 month' = interval '30 days'", True),
    ],
)
def test_three_valued_logic(session: Session, condition: str, value: Any) -> None:
    assert rows(session, f"select {condition}") == [(value,)]
    kept = rows(session, f"select 1 where {condition}")
    assert bool(kept) is (value is True)
    refused = rows(session, f"select 1 where not ({condition})")
    assert bool(refused) is (value is False)
    by_row = rows(session, f"select count(*) from n where ({condition}) or (a = 2 and b = 77)")
    assert by_row == [(5 if value is True else 0,)]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("a, b", [(1, 1), (1, None), (2, 1), (None, 2), (None, None)]),
        ("a desc, b", [(None, 2), (None, None), (2, 1), (1, 1), (1, None)]),
        ("a nulls first, b desc", [(None, None), (None, 2), (1, None), (1, 1), (2, 1)]),
        ("a desc nulls last, b nulls first", [(2, 1), (1, None), (1, 1), (None, None), (None, 2)]),
    ],
)
def test_sorting_of_nulls(session: Session, order: str, expected: list[Any]) -> None:
    assert rows(session, f"select a, b from n order by {order}") == expected
    for limit in range(6):
        found = rows(session, f"select a, b from n order by {order} limit {limit} offset 1")
        assert found == expected[1 : 1 + limit]


def test_sorting_by_expressions_and_floats(session: Session) -> None:
    assert rows(session, "select id from f order by x, id") == [
        (5,), (6,), (7,), (2,), (1,), (4,), (3,),
    ]  # fmt: skip
    assert rows(session, "select id from f order by x desc nulls last, 0 - id limit 3") == [
        (4,), (1,), (2,),
    ]  # fmt: skip


def test_grouping(session: Session) -> None:
    grouped = rows(
        session, "select a, count(*), count(b), sum(b), min(b), avg(b) from n group by a"
    )
    assert sorted(grouped, key=str) == [
        (1, 2, 1, 1, 1, Decimal("1.0000000000000000")),
        (2, 1, 1, 1, 1, Decimal("1.0000000000000000")),
        (None, 2, 1, 2, 2, Decimal("2.0000000000000000")),
    ]
    assert rows(session, "select count(*) from (select x from f group by x) g") == [(5,)]
    assert rows(session, "select count(distinct x), count(distinct m) from f") == [(4, 4)]
    assert rows(session, "select count(*), sum(a), max(b) from n where false") == [(0, None, None)]
    assert rows(session, "select a from n where false group by a") == []
    assert rows(session, "select count(*) filter (where a is null) from n") == [(2,)]
    assert rows(session, "select a from n group by a having count(b) = 0 order by a") == []


def test_set_operations(session: Session) -> None:
    assert sorted(rows(session, "select a from n union select b from n"), key=str) == [
        (1,), (2,), (None,),
    ]  # fmt: skip
    assert len(rows(session, "select a from n union all select b from n")) == 10
    assert sorted(rows(session, "select a from n intersect all select b from n"), key=str) == [
        (1,), (1,), (2,), (None,), (None,),
    ]  # fmt: skip
    assert rows(session, "select a from n except select 1") in ([(None,), (2,)], [(2,), (None,)])
    assert len(rows(session, "select a from n except all select 1")) == 4


def test_joins(session: Session) -> None:
    full = "select x.a, y.b from n x full join n y on x.a = y.b and y.a is not null"
    found = sorted(rows(session, full), key=str)
    assert found == sorted(
        [(1, 1), (1, 1), (1, 1), (1, 1), (2, None), (None, None), (None, None), (None, None),
         (None, 2), (None, None)],
        key=str,
    )  # fmt: skip
    left = "select count(*), count(y.a) from n x left join n y on x.a = y.a and x.b > y.b"
    assert rows(session, left) == [(5, 0)]
    right = "select x.a, y.id from n x right join f y on x.a = y.id where y.id < 4 order by 2, 1"
    assert rows(session, right) == [(1, 1), (1, 1), (2, 2), (None, 3)]
    natural = "select count(*) from n natural join (select 1 as a) s"
    assert rows(session, natural) == [(2,)]


def test_correlated_subqueries(session: Session) -> None:
    sql = "select a, (select count(*) from n y where y.b = x.a) from n x where b is not null"
    assert sorted(rows(session, sql), key=str) == [(1, 2), (2, 1), (None, 0)]
    grouped = "select a, (select max(id) from f where f.id <= n.a) from n group by a order by a"
    assert rows(session, grouped) == [(1, 1), (2, 2), (None, None)]
    nested = (
        "select id from f where exists (select 1 from n where n.a = f.id and exists"
        " (select 1 from n z where z.b = n.b and z.a = f.id)) order by id"
    )
    assert rows(session, nested) == [(1,), (2,)]
    with pytest.raises(errors.DataError) as caught:
        rows(session, "select (select a from n)")
    assert caught.value.sqlstate == "21000"


def test_common_tables_are_computed_once(session: Session) -> None:
    sql = "with r as (select random() as v) select a.v = b.v from r a, r b"
    assert rows(session, sql) == [(True,)]


def test_limits_are_checked(session: Session) -> None:
    with pytest.raises(errors.DataError) as caught:
        rows(session, "select 1 limit ?", -1)
    assert caught.value.sqlstate == "2201W"
    assert rows(session, "select a from n limit ?", None) != []
    assert rows(session, "values (1, 'a'), (2, 'b') order by 1 desc limit 1") == [(2, "b")]


def test_limit_and_offset_together_beyond_64_bits(session: Session) -> None:
    """Their sum reached itertools and came back as its ValueError."""
    most = 2**63 - 1
    assert rows(session, f"select a from n limit {most} offset {most}") == []
    assert len(rows(session, f"select a from n limit {most} offset 2")) == 3
    assert len(rows(session, f"select a from n order by a, b limit {most} offset 2")) == 3
