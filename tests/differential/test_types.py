"""Keys of every type mean what comparisons mean: a table with indexes, a primary key and all rules
gives the rows that one without any of them gives, for equal values of different forms too (3.0 and
3.00, '1 month' and '30 days', -0.0 and 0.0, NaN)."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from engine.errors import DataError, Error, IntegrityError
from engine.session import Session
from tests.differential.engines import mantis_session
from tests.differential.test_queries import seeds

_INTS = ["-5", "0", "3", "7"]
_FLOATS = ["'NaN'", "0.1", "-0.0", "0", "3", "2.5", "'Infinity'", "'-Infinity'", "7"]
_WORDS = ["''", "'a'", "'a '", "'A'", "'é'", "'ab'", "'3'"]
VALUES = {
    "smallint": [*_INTS, "32767", "-32768"],
    "integer": [*_INTS, "2147483647", "-2147483648"],
    "bigint": [*_INTS, "9223372036854775807", "-9223372036854775808"],
    "numeric": [*_INTS, "3.0", "3.00", "2.5", "1e20", "-1e-20", "0.1"],
    "numeric(6, 2)": [*_INTS, "2.5", "9999.99", "0.10"],
    "real": [*_FLOATS, "1e-40"],
    "double precision": [*_FLOATS, "1e-320"],
    "text": [*_WORDS, "'a\x01'", "'日本'", "'😀'"],
    "varchar(5)": _WORDS,
    "char(4)": _WORDS,
    "boolean": ["true", "false"],
    "date": ["'2024-01-01'", "'1970-01-01'", "'0001-01-01'", "'9999-12-31'", "'1969-12-31'"],
    "timestamp": ["'2024-01-01'", "'1970-01-01 00:00:00.000001'", "'1969-12-31 23:59:59.999999'"],
    "timestamptz": ["'2024-01-01+00'", "'2024-01-01 12:00+05'", "'2024-01-01 07:00+00'"],
    "time": ["'00:00'", "'12:30:01.5'", "'23:59:59.999999'"],
    "interval": ["'1 day'", "'24 hours'", "'1 month'", "'30 days'", "'-1 day'", "'0'"],
    "uuid": [
        "'00000000-0000-0000-0000-000000000001'",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
    ],
    "bytea": ["x''", "x'00'", "x'0001'", "x'ff'", "x'61'"],
}
FAMILIES = (
    ("smallint", "integer", "bigint", "numeric", "numeric(6, 2)", "real", "double precision"),
    ("text", "varchar(5)", "char(4)"),
    ("date", "timestamp", "timestamptz"),
)
NAMES = "abcd"
QUERIES = 40


class Typed:
    """A random table of four kinds, twice: with keys and rules, and without."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = Random(seed)
        self.kinds = [rng.choice(list(VALUES)) for _ in NAMES]
        if rng.random() < 0.6:
            family = rng.choice(FAMILIES)
            self.kinds[0], self.kinds[1] = rng.choice(family), rng.choice(family)
        self.keyed, self.plain = mantis_session(True), mantis_session(False)
        key = " primary key" if rng.random() < 0.5 else ""
        columns = [f"{name} {kind}" for name, kind in zip(NAMES, self.kinds, strict=True)]
        columns[0] += key
        self.both(f"create table t ({', '.join(columns)})")
        self.both(f"create table u (k {self.kinds[1]})")
        for number in range(rng.choice((1, 2))):
            parts = [name + rng.choice(("", " desc")) for name in rng.sample(NAMES, 2)]
            self.keyed.execute(f"create index i{number} on t ({', '.join(parts)})")
        self.keyed.execute("create index ui on u (k)")
        for _ in range(30):
            self.both(f"insert or ignore into t values ({', '.join(map(self.value, range(4)))})")
            self.both(f"insert into u values ({rng.choice(VALUES[self.kinds[1]])})")

    def both(self, sql: str) -> None:
        failed = []
        for session in (self.keyed, self.plain):
            try:
                session.execute(sql)
            except (IntegrityError, DataError) as error:
                failed.append(error.sqlstate)
        assert len(failed) != 1 and len(set(failed)) < 2, sql

    def value(self, position: int) -> str:
        if position and self.rng.random() < 0.15:
            return "null"
        return self.rng.choice(VALUES[self.kinds[position]])

    def predicate(self) -> str:
        rng = self.rng
        position = rng.randrange(4)
        column, kind = NAMES[position], self.kinds[position]
        family = next((f for f in FAMILIES if kind in f), (kind,))
        other = kind if rng.random() < 0.7 else rng.choice(family)

        def value() -> str:
            text = rng.choice(VALUES[other])
            return text if rng.random() < 0.5 else f"cast({text} as {other})"

        roll = rng.random()
        if roll < 0.5:
            return f"{column} {rng.choice(('=', '<', '>', '<=', '>=', '<>', '='))} {value()}"
        if roll < 0.65:
            return f"{column} in ({value()}, {value()}{rng.choice(('', ', null'))})"
        if roll < 0.8:
            return f"{column} between {value()} and {value()}"
        if roll < 0.9:
            return f"{column} is {rng.choice(('', 'not '))}null"
        return f"{column} {rng.choice(('=', '<', 'is distinct from'))} {rng.choice(NAMES)}"

    def query(self) -> str:
        rng = self.rng
        column = rng.choice(NAMES)
        where = " and ".join([self.predicate() for _ in range(rng.randint(1, 3))])
        order = f"{rng.choice(('asc', 'desc'))} nulls {rng.choice(('first', 'last'))}"
        return rng.choice(
            (
                f"select * from t where {where}",
                f"select * from t where {where}",
                f"select count(*) from t where {where}",
                f"select * from t {rng.choice(('', 'left '))}join u on u.k = t.b where {where}",
                f"select * from t where {column} in (select k from u)",
                f"select {column} from t order by {column} {order} limit 8",
                f"select {column}, count(*) from t group by {column}",
                f"select count(distinct {column}), min({column}) from t where {where}",
                f"select {column} from t {rng.choice(('union', 'except'))} select k from u",
            )
        )


def form(value: Any) -> Any:
    """One form of equal values: numbers as floats, intervals in microseconds."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float, Decimal)):
        return "NaN" if value != value else float(value)
    if isinstance(value, tuple) and len(value) == 3:
        months, days, microseconds = value
        return (months * 30 + days) * 86_400_000_000 + microseconds
    return value


def answer(session: Session, sql: str) -> Any:
    try:
        rows = [tuple([form(value) for value in row]) for row in session.execute(sql).rows]
    except Error as error:
        return error.sqlstate
    return rows if "order by" in sql else Counter(rows)


@pytest.mark.parametrize("seed", seeds(range(12), range(1000, 1500)))
def test_keys_mean_what_comparisons_mean(seed: int) -> None:
    typed = Typed(seed)
    for _ in range(QUERIES):
        sql = typed.query()
        told = f"seed {seed}, {typed.kinds}: {sql}"
        assert answer(typed.keyed, sql) == answer(typed.plain, sql), told
