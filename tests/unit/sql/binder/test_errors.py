"""Every error of the binder: SQLSTATE, the text its span covers, and the hint."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import Error

CASES = [
    ("SELECT nope FROM t", "42703", "nope", None),
    ("SELECT t.bb FROM t", "42703", "t.bb", '"t.b"'),
    ("SELECT ts FROM t", "42703", "ts", None),
    ("SELECT tss FROM u", "42703", "tss", '"u.ts"'),
    ("SELECT a FROM t, u", "42702", "a", None),
    ("SELECT * FROM tt", "42P01", "tt", '"t"'),
    ("SELECT z.a FROM t", "42P01", "z", None),
    ("SELECT t.a FROM t AS k", "42P01", "t", '"k"'),
    ("SELECT 1 FROM t, t", "42712", "t", None),
    ("SELECT * FROM other.t", "3F000", "other.t", None),
    ("SELECT uper(b) FROM t", "42883", "uper", '"upper"'),
    ("SELECT upper(a) FROM t", "42883", "upper", "upper(text)"),
    ("SELECT b + 1 FROM t", "42883", "+", "CAST"),
    ("SELECT b || 'x' FROM t WHERE b = 1", "42883", "=", "CAST"),
    ("SELECT 1 FROM t WHERE b = 1", "42883", "=", "CAST"),
    ("SELECT 1 FROM t WHERE a IN (1, d)", "42883", "d", "CAST"),
    ("SELECT 1 FROM t WHERE a", "42804", "a", None),
    ("SELECT NOT a FROM t", "42804", "a", None),
    ("SELECT CASE WHEN f THEN 1 ELSE b END FROM t", "42804", "b", None),
    ("SELECT a, count(*) FROM t GROUP BY b", "42803", "a", None),
    ("SELECT a, count(*) FROM t", "42803", "a", None),
    ("SELECT 1 FROM t WHERE count(*) > 1", "42803", "count(*)", "HAVING"),
    ("SELECT sum(sum(a)) FROM t", "42803", "sum(a)", None),
    ("SELECT 1 FROM t GROUP BY sum(a)", "42803", "sum(a)", None),
    ("SELECT sum(a) FROM t GROUP BY 1", "42803", "1", None),
    ("SELECT (SELECT b) FROM t GROUP BY f", "42803", "b", None),
    ("SELECT a FROM t GROUP BY 7", "42P10", "7", None),
    ("SELECT a FROM t ORDER BY 7", "42P10", "7", None),
    ("SELECT a FROM t ORDER BY 'x'", "42601", "'x'", None),
    ("SELECT DISTINCT a FROM t ORDER BY b", "42P10", "b", None),
    ("SELECT a AS z, b AS z FROM t ORDER BY z", "42702", "z", None),
    ("SELECT a FROM t UNION SELECT a FROM u ORDER BY a + 1", "0A000", "a + 1", "positions"),
    ("SELECT a FROM t UNION SELECT a FROM u ORDER BY x", "42703", "x", None),
    ("SELECT a FROM t UNION SELECT a, x FROM u", "42601", None, None),
    ("SELECT a FROM t UNION SELECT b FROM t", "42804", None, None),
    ("SELECT (SELECT a, b FROM t)", "42601", "(SELECT a, b FROM t)", None),
    ("SELECT 1 WHERE 1 IN (SELECT a, b FROM t)", "42601", None, None),
    ("SELECT *", "42601", "*", None),
    ("SELECT 1 FROM t JOIN u USING (b)", "42703", None, None),
    ("SELECT 1 LIMIT 'x'", "22P02", "'x'", None),
    ("SELECT 1 FROM t LIMIT a", "42703", "a", None),
    ("VALUES (1), (2, 3)", "42601", None, None),
    ("VALUES (1), (DATE '2020-01-01')", "42804", None, None),
    ("SELECT CAST(d AS integer) FROM t", "42846", None, None),
    ("SELECT CAST(a AS integr) FROM t", "42704", None, '"integer"'),
    ("SELECT '5' + 'x'", "22P02", "'x'", None),
    ("SELECT abs(DISTINCT a) FROM t", "42809", None, None),
    ("SELECT sum(*) FROM t", "42883", None, None),
    ("WITH q AS (SELECT 1), q AS (SELECT 2) SELECT 1", "42712", None, None),
    ("WITH RECURSIVE q AS (SELECT 1 UNION SELECT * FROM q) SELECT 1", "0A000", None, None),
    ("INSERT INTO t (a, z) VALUES (1, 2)", "42703", "z", None),
    ("INSERT INTO t (a, a) VALUES (1, 2)", "42701", "a", None),
    ("INSERT INTO t (a, b) VALUES (1)", "42601", "b", None),
    ("INSERT INTO u (a) VALUES (1, 2)", "42601", "2", None),
    ("INSERT INTO t (f) VALUES (1)", "42804", "1", "CAST"),
    ("INSERT INTO t (d) VALUES ('soon')", "22007", "'soon'", None),
    ("INSERT INTO u (s) VALUES ('abcd')", "22001", "'abcd'", None),
    ("INSERT INTO v VALUES (1)", "42809", "v", None),
    ("INSERT INTO nope VALUES (1)", "42P01", "nope", None),
    ("UPDATE t SET a = 1, a = 2", "42601", None, None),
    ("UPDATE t SET z = 1", "42703", None, None),
    ("UPDATE t SET a = count(*)", "42803", None, None),
    ("DELETE FROM t WHERE nope = 1", "42703", "nope", None),
    ("CREATE TABLE t (a int)", "42P07", "t", None),
    ("CREATE TABLE v (a int)", "42P07", "v", None),
    ("CREATE TABLE n (a int, a int)", "42701", None, None),
    ("CREATE TABLE n (a int PRIMARY KEY, b int PRIMARY KEY)", "42P16", None, None),
    ("CREATE TABLE n (a int, PRIMARY KEY (z))", "42703", "z", None),
    ("CREATE TABLE n (a intt)", "42704", "intt", '"int"'),
    ("CREATE TABLE n (a int DEFAULT 'x')", "22P02", None, None),
    ("CREATE TABLE n (a int DEFAULT b)", "0A000", "b", None),
    ("CREATE TABLE n (a int CHECK (b > 0))", "42703", "b", None),
    ("CREATE TABLE n (a int CHECK (a))", "42804", "a", None),
    ("CREATE TABLE n (a int CHECK (a > (SELECT 1)))", "0A000", None, None),
    ("CREATE TABLE n (a int CHECK (sum(a) > 1))", "42803", None, None),
    ("CREATE TABLE n AS SELECT a, a FROM t", "42701", None, None),
    ("CREATE INDEX ON t (z)", "42703", "z", None),
    ("CREATE INDEX ON nope (z)", "42P01", "nope", None),
    ("CREATE INDEX t ON t (a)", "42P07", None, None),
    ("CREATE VIEW v AS SELECT 1", "42P07", None, None),
    ("CREATE OR REPLACE VIEW t AS SELECT 1", "42809", None, None),
    ("CREATE VIEW w AS SELECT a, a FROM t", "42701", None, None),
    ("CREATE VIEW w AS SELECT ?", "42P02", None, None),
    ("CREATE OR REPLACE VIEW v AS SELECT * FROM v", "42P17", None, None),
    ("DROP TABLE nope", "42P01", "nope", None),
    ("DROP INDEX nope", "42704", "nope", None),
    ("DROP VIEW t", "42809", "t", "DROP TABLE"),
    ("DROP TABLE t", "2BP01", None, "CASCADE"),
]


@pytest.mark.parametrize(("sql", "code", "covered", "hint"), CASES, ids=[c[0] for c in CASES])
@pytest.mark.parametrize("parameterize", [False, True])
def test_errors(
    bind_text: Any, sql: str, code: str, covered: str | None, hint: str | None, parameterize: bool
) -> None:
    with pytest.raises(Error) as caught:
        bind_text(sql, parameterize=parameterize)
    error = caught.value
    assert error.sqlstate == code, str(error)
    assert error.span is not None, str(error)
    if covered is not None:
        assert sql[slice(*error.span)] == covered
    if hint is not None:
        assert error.hint is not None and hint in error.hint


def test_errors_inside_a_view_point_at_its_name() -> None:
    from engine.catalog import EMPTY_CATALOG, View
    from engine.sql.binder import bind
    from engine.sql.grammar import parse

    catalog = EMPTY_CATALOG.with_view(View(18, "v", ("a",), "SELECT a FROM gone"))
    sql = "SELECT * FROM v"
    with pytest.raises(Error) as caught:
        bind(parse(sql), catalog, parse=parse)
    assert caught.value.sqlstate == "42P01" and "gone" in str(caught.value)
    assert caught.value.span is not None and sql[slice(*caught.value.span)] == "v"
