"""A misspelt word is pointed at, and the right word is suggested, four times out of five or more.

The corpus is made: each word of each statement below is spelt wrong in the ways that fingers do it
(a letter left out, two swapped, one doubled, one replaced). Words of fewer than four letters are
left alone, and so is a spelling that is a word of the statement itself or leaves it valid (an alias
may be called anything). What is measured is printed with `pytest -s`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import pytest

from engine.errors import Error
from engine.session import Session
from tests.unit.sql.sessions import memory_session

NEAR = 5  # characters between the caret and the word
WANTED = 0.8

SCHEMA = (
    "create table customers (customer_id integer primary key, surname text, city text,"
    " balance numeric(10, 2))",
    "create table orders (order_id integer primary key, buyer integer, amount integer,"
    " placed_on date)",
    "create view cities as select city, count(*) as people from customers group by city",
)
STATEMENTS = (
    "select surname, balance from customers where city = 'Rome' order by surname desc limit 5",
    "select distinct city from customers where balance is not null and surname like 'A%'",
    "select c.surname, o.amount from customers c join orders o on o.buyer = c.customer_id",
    "select c.surname from customers c left join orders o on o.buyer = c.customer_id",
    "select city, count(*), sum(balance) from customers group by city having count(*) > 2",
    "select upper(surname), length(city), coalesce(balance, 0) from customers",
    "select case when amount > 10 then 'big' else 'small' end from orders",
    "select amount from orders where placed_on between date '2024-01-01' and date '2024-02-01'",
    "select surname from customers where exists (select 1 from orders where buyer = customer_id)",
    "select surname from customers where customer_id in (select buyer from orders)",
    "select surname from customers union all select city from customers",
    "select amount from orders order by placed_on nulls last offset 3",
    "with best as (select buyer, max(amount) as top from orders group by buyer) select * from best",
    "select cast(amount as text), round(balance, 1) from orders cross join customers",
    "select extract(year from placed_on), date_trunc('month', placed_on) from orders",
    "select substring(surname from 2 for 3), replace(city, 'a', 'b') from customers",
    "select people from cities where people > 3",
    "insert into customers (customer_id, surname, city) values (1, 'Rossi', 'Rome')",
    "insert into orders select customer_id, customer_id, 3, null from customers returning amount",
    "insert into customers (customer_id) values (1) on conflict do nothing",
    "insert into orders default values",
    "update customers set balance = balance + 1, city = default where surname is null",
    "update orders set amount = abs(amount) where buyer = 3 returning order_id",
    "delete from orders where placed_on < current_date returning amount",
    "create table shops (shop_id integer primary key, title text not null default 'x' unique)",
    "create table sums (total numeric(9, 2) check (total > 0), made timestamp)",
    "create unique index by_name on customers (surname, city desc)",
    "create view rich as select surname from customers where balance > 100",
    "drop table if exists customers cascade",
    "explain analyze select amount from orders",
    "begin isolation level read committed",
    "savepoint here",
    "rollback to savepoint here",
)
_WORD = re.compile(r"'[^']*'|[a-z_]+(?=\()|[a-z_]{4,}")
_NOT_NAMES = frozenset(
    ("best", "rich", "shops", "shop_id", "title", "sums", "total", "made", "here")
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Mistake(NamedTuple):
    sql: str
    start: int
    word: str
    spelt: str


def misspellings(rng: Random, word: str) -> Iterator[str]:
    i = rng.randrange(1, len(word))
    yield word[:i] + word[i + 1 :]
    i = rng.randrange(len(word) - 1)
    yield word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    i = rng.randrange(1, len(word))
    yield word[:i] + word[i] + word[i:]
    i = rng.randrange(1, len(word))
    yield word[:i] + rng.choice(_LETTERS) + word[i + 1 :]


def mistakes() -> Iterator[Mistake]:
    rng = Random(11)
    for sql in STATEMENTS:
        for match in _WORD.finditer(sql):
            word = match[0]
            if len(word) < 4 or word.startswith("'") or word in _NOT_NAMES:
                continue
            for spelt in misspellings(rng, word):
                if spelt != word and spelt not in sql.split():
                    text = sql[: match.start()] + spelt + sql[match.end() :]
                    yield Mistake(text, match.start(), word, spelt)


@pytest.fixture(scope="module")
def session() -> Session:
    made = memory_session()
    for statement in SCHEMA:
        made.execute(statement)
    return made


def error_of(session: Session, sql: str) -> Error | None:
    session.execute("rollback") if session.status != "idle" else None
    session.execute("begin")
    try:
        session.execute(sql)
    except Error as error:
        return error
    finally:
        session.execute("rollback")
    return None


def test_statements_are_right_before_they_are_misspelt(session: Session) -> None:
    for sql in STATEMENTS:
        error = error_of(session, sql) if not sql.startswith(("begin", "rollback to")) else None
        assert error is None or error.sqlstate in ("23502", "2BP01"), f"{sql}: {error}"


def test_misspelt_words_are_pointed_at_and_corrected(session: Session) -> None:
    placed = corrected = total = 0
    missed: dict[str, list[str]] = defaultdict(list)
    for mistake in mistakes():
        error = error_of(session, mistake.sql)
        if error is None or (
            error.span is None and error.sqlstate not in ("42601", "42703", "42P01")
        ):
            continue  # still a statement: an alias, a name given
        total += 1
        near = error.span is not None and abs(error.span[0] - mistake.start) <= NEAR
        right = error.hint is not None and mistake.word in re.split(r"[^a-z_]+", error.hint.lower())
        placed += near
        corrected += right
        if not (near and right):
            shown = mistake.sql[max(0, mistake.start - 12) : mistake.start + 20]
            missed[mistake.word].append(f"…{shown}… {error} {error.span} ({error.hint})")
    print(f"\n{total} mistakes: {placed / total:.1%} pointed at, {corrected / total:.1%} corrected")
    for word, texts in sorted(missed.items(), key=lambda item: -len(item[1]))[:40]:
        print(f"  {word} {len(texts)}: {texts[0]}")
    assert total > 400
    assert placed / total >= WANTED
    assert corrected / total >= WANTED
