"""Functions through the whole engine: every documented example, NULLs, errors, edge cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.database import Database
from engine.errors import Error
from engine.sql.functions import document, registry
from engine.types import format_text
from engine.vfs_memory import MemoryVfs

Evaluate = Callable[[str], Any]


@pytest.fixture(scope="module")
def evaluate() -> Iterator[Evaluate]:
    """SQL expression → its value as text (None for NULL)."""
    database = Database.open("functions.mantis", create=True, vfs=MemoryVfs())
    session = database.session()

    def call(expression: str) -> Any:
        sql = expression if expression.startswith("SELECT") else f"SELECT {expression}"
        result = session.execute(sql)
        ((value,),) = list(result.rows)
        assert result.columns is not None
        show = format_text(result.columns[0].type)
        return value if value is None or show is None else show(value)

    yield call
    database.close()


@pytest.mark.parametrize(
    ("name", "sql", "shown"), document.examples(), ids=[sql for _, sql, _ in document.examples()]
)
def test_documented_examples(evaluate: Evaluate, name: str, sql: str, shown: str) -> None:
    assert evaluate(sql) == shown


def test_the_document_is_up_to_date() -> None:
    path = Path(__file__).parents[4] / "docs" / "sql.md"
    text = path.read_text(encoding="utf-8")
    assert document.with_generated_parts(text) == text, (
        "python -m engine.sql.functions.document < docs/sql.md"
    )


def test_every_function_says_what_it_gives() -> None:
    for function in registry.all_scalars():
        assert function.category == "operator" or function.doc, function.name
    for aggregate in registry.all_aggregates():
        assert aggregate.doc, aggregate.name
    documented = {name for name, _, _ in document.examples()}
    volatile = {f.name for f in registry.all_scalars() if f.volatile}
    operators = {f.name for f in registry.all_scalars() if f.category == "operator"}
    for name in registry.function_names():
        assert name in documented | volatile | operators, f"{name} has no example"


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("7.0 / 2", "3.5000000000000000"),
        ("1 / 3.0", "0.33333333333333333333"),
        ("5.5 % 2", "1.5"),
        ("2 ^ 0.5", "1.4142135623730950"),
        ("1 << 31", "-2147483648"),
        ("5 & 6 | 8", "12"),
        ("~5", "-6"),
        ("5 # 1", "4"),
        ("1e308 * 1e10", "1" + "0" * 318),
        ("'NaN'::double precision = 'NaN'::double precision", "true"),
        ("'NaN'::double precision > 'Infinity'::double precision", "true"),
        ("'NaN'::numeric > 1e100", "true"),
        ("DATE '2020-02-29' + 1", "2020-03-01"),
        ("DATE '2020-03-01' - DATE '2020-02-01'", "29"),
        ("DATE '2020-01-31' + INTERVAL '1 month'", "2020-02-29 00:00:00"),
        ("TIMESTAMP '2020-01-02' - TIMESTAMP '2020-01-01 12:00'", "12:00:00"),
        ("INTERVAL '1 day' * 1.5", "1 day 12:00:00"),
        ("INTERVAL '1 month' = INTERVAL '30 days'", "true"),
        ("TIME '23:00' + INTERVAL '2 hours'", "01:00:00"),
        ("round(2.5::double precision)", "2"),
        ("round(-2.5)", "-3"),
        ("round(1234.567, -2)", "1200"),
        ("trunc(-1.9)", "-1"),
        ("sqrt(2)", "1.4142135623730951"),
        ("0.1::real::double precision", "0.10000000149011612"),
        ("0.1::real", "0.1"),
        ("substring('abc', 0, 2)", "a"),
        ("substring('abc' FROM 2)", "bc"),
        ("left('abc', -1)", "ab"),
        ("right('abc', -1)", "bc"),
        ("split_part('a,b,c', ',', -1)", "c"),
        ("lpad('abc', 2)", "ab"),
        ("upper(NULL)", None),
        ("concat(NULL, NULL)", ""),
        ("concat_ws(NULL, 'a')", None),
        ("NULL || 'a'", None),
        ("coalesce(NULL, NULL)", None),
        ("nullif(1, 1)", None),
        ("greatest(NULL, NULL)", None),
        ("greatest('NaN'::double precision, 1)", "NaN"),
        ("extract(dow FROM DATE '2020-02-29')", "6"),
        ("extract(week FROM DATE '2021-01-01')", "53"),
        ("extract(isoyear FROM DATE '2021-01-01')", "2020"),
        ("extract(epoch FROM INTERVAL '1 day 00:00:01.5')", "86401.500000"),
        ("extract(second FROM TIMESTAMP '2020-01-01 00:00:05.25')", "5.250000"),
        ("extract(century FROM DATE '2000-12-31')", "20"),
        ("age(TIMESTAMP '2020-01-15', TIMESTAMP '2020-03-01')", "-1 mons -15 days"),
        ("date_trunc('week', TIMESTAMP '2021-01-01')", "2020-12-28 00:00:00"),
        ("""JSON '{"a": 1.50}' -> 'a'""", "1.50"),
        ("""JSON '{"a": null}' ->> 'a'""", None),
        ("""JSON '[1, "x"]' ->> -1""", "x"),
        ("""JSON '{"a": 1}' -> 'b'""", None),
        ("SELECT sum(x) FROM (SELECT 1 AS x WHERE false) AS t", None),
        ("SELECT total(x) FROM (SELECT 1 AS x WHERE false) AS t", "0"),
        ("SELECT count(DISTINCT x) FROM (VALUES (1), (1), (NULL)) AS t(x)", "1"),
        ("SELECT avg(x) FROM (VALUES (1), (2), (NULL)) AS t(x)", "1.5000000000000000"),
        ("SELECT avg(x) FROM (VALUES (1.5::double precision), (2)) AS t(x)", "1.75"),
        ("SELECT sum(x) FROM (VALUES (2147483647), (1)) AS t(x)", "2147483648"),
        ("SELECT sum(x) FROM (VALUES (9223372036854775807), (1)) AS t(x)", "9223372036854775808"),
        ("SELECT min(x) FROM (VALUES ('NaN'::double precision), (1)) AS t(x)", "1"),
        ("SELECT max(x) FROM (VALUES ('NaN'::double precision), (1)) AS t(x)", "NaN"),
        ("SELECT stddev(x) FROM (VALUES (1)) AS t(x)", None),
        ("SELECT var_pop(x) FROM (VALUES (1)) AS t(x)", "0"),
        ("SELECT variance(x) FROM (VALUES (1), (2), (4)) AS t(x)", "2.3333333333333333"),
    ],
)
def test_values(evaluate: Evaluate, expression: str, shown: str | None) -> None:
    assert evaluate(expression) == shown


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("1 / 0", "22012"),
        ("1.0 / 0", "22012"),
        ("1 % 0", "22012"),
        ("1::double precision / 0", "22012"),
        ("2147483647 + 1", "22003"),
        ("-(-2147483648)", "22003"),
        ("(-2147483648)::integer / -1", "22003"),
        ("9223372036854775807 * 2", "22003"),
        ("1e308::double precision * 10", "22003"),
        ("sqrt(-1)", "2201F"),
        ("ln(0)", "2201E"),
        ("(-8) ^ 0.5", "2201F"),
        ("0 ^ (-1)", "2201F"),
        ("exp(1000)", "22003"),
        ("asin(2)", "22003"),
        ("substring('abc', 1, -1)", "22011"),
        ("split_part('a', ',', 0)", "22023"),
        ("chr(0)", "54000"),
        ("repeat('abc', 1000000000)", "54000"),
        ("regexp_like('a', '(')", "2201B"),
        ("decode('zz', 'hex')", "22023"),
        ("extract(fortnight FROM DATE '2020-01-01')", "22023"),
        ("make_date(2021, 2, 29)", "22008"),
        ("DATE '9999-12-31' + 1", "22008"),
        ("json_array_length('{}')", "22023"),
        ("SELECT sum(x) FROM (VALUES (1e308::double precision), (1e308)) AS t(x)", "22003"),
    ],
)
def test_errors(evaluate: Evaluate, expression: str, code: str) -> None:
    with pytest.raises(Error) as caught:
        evaluate(expression)
    assert caught.value.sqlstate == code


def test_time_and_randomness_are_parameters(evaluate: Evaluate) -> None:
    from engine.sql.functions.environment import ENVIRONMENT, Environment

    fixed = Environment(lambda: 86_400_000_000, lambda: 0.25, lambda bits: 0)
    token = ENVIRONMENT.set(fixed)
    try:
        assert evaluate("now()") == "1970-01-02 00:00:00+00"
        assert evaluate("statement_timestamp()") == "1970-01-02 00:00:00+00"
        assert evaluate("clock_timestamp()") == "1970-01-02 00:00:00+00"
        assert evaluate("current_date") == "1970-01-02"
        assert evaluate("random()") == "0.25"
        assert evaluate("gen_random_uuid()") == "00000000-0000-4000-8000-000000000000"
    finally:
        ENVIRONMENT.reset(token)


def test_now_is_one_instant_for_a_transaction() -> None:
    database = Database.open("clock.mantis", create=True, vfs=MemoryVfs())
    session = database.session()

    def ask(sql: str) -> Any:
        ((value,),) = list(session.execute(sql).rows)
        return value

    session.execute("BEGIN")
    first = ask("SELECT now()")
    assert ask("SELECT clock_timestamp()") >= first
    assert ask("SELECT now()") == first
    assert (
        ask("SELECT count(*) FROM (VALUES (1), (2)) AS t(x) WHERE now() = current_timestamp") == 2
    )
    session.execute("COMMIT")
    assert ask("SELECT now()") > first
    database.close()
