"""Statements: queries, changes of data, schema, transactions, settings; what each becomes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engine.errors import NotSupportedError, ProgrammingError
from engine.sql import ast
from engine.sql.grammar import parse
from tests.unit.sql.grammar.shapes import show


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("SELECT 1", "{select [1]}"),
        ("SELECT ALL a, t.*, * FROM t;", "{select [a t.* *] from t}"),
        ("SELECT a AS b, c d, e \"F\", 1 AS select FROM t", "{select [a as b c as d e as F 1 as select] from t}"),
        ("SELECT DISTINCT a FROM t", "{select distinct [a] from t}"),
        ("FROM t", "{select [*] from t}"),
        ("FROM t WHERE a", "{select [*] from t where a}"),
        ("FROM t SELECT a ORDER BY 1", "{select [a] from t order [1]}"),
        ("SELECT a FROM s.t AS x (p, q)", "{select [a] from s.t as x[p q]}"),
        ("SELECT 1 FROM a, b c", "{select [1] from (join cross a b as c - [] false)}"),
        ("SELECT 1 FROM a JOIN b ON x", "{select [1] from (join inner a b x [] false)}"),
        ("SELECT 1 FROM a INNER JOIN b USING (x, y)", "{select [1] from (join inner a b - [x y] false)}"),
        ("SELECT 1 FROM a LEFT OUTER JOIN b ON x", "{select [1] from (join left a b x [] false)}"),
        ("SELECT 1 FROM a RIGHT JOIN b ON x", "{select [1] from (join right a b x [] false)}"),
        ("SELECT 1 FROM a FULL JOIN b ON x", "{select [1] from (join full a b x [] false)}"),
        ("SELECT 1 FROM a CROSS JOIN b", "{select [1] from (join cross a b - [] false)}"),
        ("SELECT 1 FROM a NATURAL LEFT JOIN b", "{select [1] from (join left a b - [] true)}"),
        ("SELECT 1 FROM a JOIN b JOIN c ON x ON y", "{select [1] from (join inner a (join inner b c x [] false) y [] false)}"),
        ("SELECT 1 FROM a, b JOIN c ON x", "{select [1] from (join cross a (join inner b c x [] false) - [] false)}"),
        ("SELECT 1 FROM (a JOIN b ON x) JOIN c ON y", "{select [1] from (join inner (join inner a b x [] false) c y [] false)}"),
        ("SELECT 1 FROM (SELECT 2) AS q (n)", "{select [1] from (subqueryref {select [2]} q [n])}"),
        ("SELECT 1 FROM ((SELECT 2) UNION SELECT 3) q", "{select [1] from (subqueryref {(setoperation union false select [2] select [3])} q [])}"),
        ("SELECT 1 FROM ((a))", "{select [1] from a}"),
        ("SELECT a FROM t WHERE b GROUP BY a, c + 1 HAVING d", "{select [a] from t where b group_by [a (c + 1)] having d}"),
        ("SELECT a FROM t ORDER BY a DESC, b NULLS FIRST, c ASC NULLS LAST", "{select [a] from t order [a desc b nulls first c nulls last]}"),
        ("SELECT 1 LIMIT 5 OFFSET 2", "{select [1] limit 5 offset 2}"),
        ("SELECT 1 OFFSET 2 ROWS FETCH NEXT 5 ROWS ONLY", "{select [1] limit 5 offset 2}"),
        ("SELECT 1 FETCH FIRST ROW ONLY", "{select [1] limit 1}"),
        ("SELECT 1 LIMIT ALL", "{select [1]}"),
        ("VALUES (1, 'a'), (2, NULL)", "{(values [[1 'a'] [2 null]])}"),
        ("SELECT 1 UNION SELECT 2 UNION ALL SELECT 3", "{(setoperation union true (setoperation union false select [1] select [2]) select [3])}"),
        ("SELECT 1 EXCEPT SELECT 2 EXCEPT SELECT 3", "{(setoperation except false (setoperation except false select [1] select [2]) select [3])}"),
        ("SELECT 1 UNION SELECT 2 INTERSECT SELECT 3", "{(setoperation union false select [1] (setoperation intersect false select [2] select [3]))}"),
        ("(SELECT 1 LIMIT 1) UNION DISTINCT (VALUES (2)) ORDER BY 1", "{(setoperation union false {select [1] limit 1} (values [[2]])) order [1]}"),
        ("WITH a AS (SELECT 1), b (x) AS (SELECT 2) SELECT 3 FROM a", "{select [3] from a with [(commontable a [] {select [1]}) (commontable b [x] {select [2]})]}"),
        ("SELECT (WITH a AS (SELECT 1) SELECT 2 FROM a)", "{select [{select [2] from a with [(commontable a [] {select [1]})]}]}"),
        # words that are names too
        ("SELECT key, value, type, date, name, first, set FROM index", "{select [key value type date name first set] from index}"),
        ("SELECT t.left FROM t", "{select [t.left] from t}"),
    ],
)  # fmt: skip
def test_query(text: str, shape: str) -> None:
    assert show(parse(text)) == shape


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("INSERT INTO t VALUES (1, DEFAULT)", "(insert t [] {(values [[1 default]])} - [])"),
        ("INSERT INTO t (a, b) SELECT 1, 2", "(insert t [[a (15, 16)] [b (18, 19)]] {select [1 2]} - [])"),
        ("INSERT INTO t DEFAULT VALUES RETURNING *", "(insert t [] - - [*])"),
        ("INSERT INTO t (SELECT 1)", "(insert t [] {select [1]} - [])"),
        ("INSERT INTO t VALUES (1) ORDER BY 1", "(insert t [] {(values [[1]]) order [1]} - [])"),
        ("INSERT INTO t AS x VALUES (1) RETURNING x.a AS b", "(insert t as x [] {(values [[1]])} - [x.a as b])"),
        ("INSERT OR IGNORE INTO t VALUES (1)", "(insert t [] {(values [[1]])} nothing [])"),
        ("INSERT OR REPLACE INTO t VALUES (1)", "(insert t [] {(values [[1]])} replace [])"),
        ("REPLACE INTO t VALUES (1)", "(insert t [] {(values [[1]])} replace [])"),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "(insert t [] {(values [[1]])} nothing [])"),
        ("INSERT INTO t SELECT a FROM s ON CONFLICT DO NOTHING", "(insert t [] {select [a] from s} nothing [])"),
        ("WITH w AS (SELECT 1) INSERT INTO t SELECT * FROM w", "(insert t [] {select [*] from w with [(commontable w [] {select [1]})]} - [])"),
        ("UPDATE t SET a = a + 1, b = DEFAULT WHERE c RETURNING a", "(update t [(assignment a (a + 1)) (assignment b default)] c [a])"),
        ("UPDATE t AS x SET a = 1", "(update t as x [(assignment a 1)] - [])"),
        ("UPDATE t x SET a = 1", "(update t as x [(assignment a 1)] - [])"),
        ("DELETE FROM t", "(delete t - [])"),
        ("DELETE FROM t AS x WHERE x.a = 1 RETURNING *", "(delete t as x (x.a = 1) [*])"),
    ],
)  # fmt: skip
def test_change(text: str, shape: str) -> None:
    tree = parse(text)
    shown = show(tree)
    if isinstance(tree, ast.Insert) and tree.columns:
        spans = tuple((name, str(span)) for name, span in tree.columns)
        shown = shown.replace(show(tree.columns), show(spans))
    assert shown == shape


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("BEGIN", "(begin - -)"),
        ("BEGIN TRANSACTION", "(begin - -)"),
        ("BEGIN WORK ISOLATION LEVEL READ COMMITTED, READ ONLY", "(begin read committed true)"),
        ("START TRANSACTION READ WRITE ISOLATION LEVEL SERIALIZABLE", "(begin serializable false)"),
        ("COMMIT;", "(commit )"),
        ("END TRANSACTION", "(commit )"),
        ("ROLLBACK", "(rollback -)"),
        ("ABORT", "(rollback -)"),
        ("ROLLBACK TO SAVEPOINT a", "(rollback a)"),
        ("ROLLBACK TRANSACTION TO a", "(rollback a)"),
        ("SAVEPOINT a", "(savepoint a)"),
        ("RELEASE SAVEPOINT a", "(release a)"),
        ("RELEASE a", "(release a)"),
        ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "(settransaction repeatable read -)"),
        ("SET TRANSACTION READ ONLY", "(settransaction - true)"),
        ("SET work_mem = '64MB'", "(setsetting work_mem 64MB false)"),
        ("SET SESSION a TO on", "(setsetting a true false)"),
        ("SET a = -5", "(setsetting a -5 false)"),
        ("SET durability = full", "(setsetting durability full false)"),
        ("SET TIME ZONE 'UTC'", "(setsetting timezone UTC false)"),
        ("SHOW a", "(showsetting a false)"),
        ("SHOW ALL", "(showsetting all false)"),
        ("SHOW TRANSACTION ISOLATION LEVEL", "(showsetting transaction_isolation false)"),
        ("PRAGMA a", "(showsetting a true)"),
        ("PRAGMA a = 5", "(setsetting a 5 true)"),
        ("PRAGMA a(x)", "(setsetting a x true)"),
        ("CHECKPOINT", "(checkpoint )"),
        ("EXPLAIN SELECT 1", "(explain {select [1]} false false text)"),
        ("EXPLAIN ANALYZE VERBOSE DELETE FROM t", "(explain (delete t - []) true true text)"),
        ("EXPLAIN (ANALYZE, FORMAT JSON) SELECT 1", "(explain {select [1]} true false json)"),
        ("EXPLAIN (ANALYZE off, VERBOSE true) SELECT 1", "(explain {select [1]} false true text)"),
        ("EXPLAIN (SELECT 1)", "(explain {select [1]} false false text)"),
    ],
)  # fmt: skip
def test_control(text: str, shape: str) -> None:
    assert show(parse(text)) == shape


# ── schema ───────────────────────────────────────────────────────────────────────────────────
def test_create_table() -> None:
    text = """CREATE TABLE IF NOT EXISTS t (
        id integer PRIMARY KEY,
        a text NOT NULL DEFAULT 'x' || 'y' UNIQUE,
        b numeric(10, 2) CHECK (b > 0) NULL CONSTRAINT small CHECK (b < 9),
        c double precision CONSTRAINT c_key UNIQUE,
        d timestamp(3) with time zone DEFAULT now(),
        CONSTRAINT pair UNIQUE (a, b),
        PRIMARY KEY (id, a),
        CHECK (a <> 'z')
    ) WITH (storage = lsm, page = 4096)"""
    tree = parse(text)
    assert isinstance(tree, ast.CreateTable)
    assert (tree.name, tree.if_not_exists) == ("t", True)
    assert text[slice(*tree.name_span)] == "t"
    shown = [
        (c.name, show(c.type), c.not_null, c.primary_key, c.unique, show(c.default), len(c.checks))
        for c in tree.columns
    ]
    assert shown == [
        ("id", "integer", False, True, False, "-", 0),
        ("a", "text", True, False, True, "('x' || 'y')", 0),
        ("b", "numeric(10,2)", False, False, False, "-", 2),
        ("c", "double precision", False, False, False, "-", 0),
        ("d", "timestamp with time zone(3)", False, False, False, "now()", 0),
    ]
    assert [(k.name, k.primary, [n for n, _ in k.columns]) for k in tree.keys] == [
        ("c_key", False, ["c"]),
        ("pair", False, ["a", "b"]),
        (None, True, ["id", "a"]),
    ]
    assert [(c.name, c.text) for c in tree.columns[2].checks] == [
        (None, "b > 0"),
        ("small", "b < 9"),
    ]
    assert [c.text for c in tree.checks] == ["a <> 'z'"]
    assert tree.default_texts == ((1, "'x' || 'y'"), (4, "now()"))
    assert tree.options == (("storage", "lsm"), ("page", 4096))


def test_create_table_as() -> None:
    tree = parse("CREATE TABLE t AS SELECT 1 AS a")
    assert isinstance(tree, ast.CreateTable) and show(tree.query) == "{select [1 as a]}"


def test_create_index_view_drop() -> None:
    index = parse("CREATE UNIQUE INDEX IF NOT EXISTS i ON t (a, b DESC)")
    assert show(index) == "(createindex i t [(indexitem a false) (indexitem b true)] true true)"
    assert show(parse("CREATE INDEX ON t (a)")).startswith("(createindex - t")
    view = parse("CREATE OR REPLACE VIEW v (x) AS SELECT  1 -- note\n ;")
    assert isinstance(view, ast.CreateView)
    assert (view.name, view.columns, view.text, view.or_replace) == ("v", ("x",), "SELECT  1", True)
    drop = parse('DROP TABLE IF EXISTS a, "B" CASCADE')
    assert isinstance(drop, ast.Drop)
    assert (drop.kind, [n for n, _ in drop.names], drop.if_exists, drop.cascade) == (
        "table", ["a", "B"], True, True,
    )  # fmt: skip
    assert show(parse("DROP VIEW v RESTRICT")).startswith("(drop view")


# ── what is not there ────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "construct", "at"),
    [
        ("ALTER TABLE t ADD a int", "ALTER", "ALTER"),
        ("MERGE INTO t USING s ON a", "MERGE", "MERGE"),
        ("TRUNCATE t", "TRUNCATE", "TRUNCATE"),
        ("CREATE TRIGGER x BEFORE INSERT ON t BEGIN SELECT 1; END;", "CREATE TRIGGER", "CREATE TRIGGER"),
        ("CREATE TEMP TABLE t (a int)", "CREATE TEMP", "CREATE TEMP"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE MATERIALIZED", "CREATE MATERIALIZED"),
        ("DROP TRIGGER t", "DROP TRIGGER", "DROP TRIGGER"),
        ("WITH RECURSIVE a AS (SELECT 1) SELECT 1", "WITH RECURSIVE", "WITH RECURSIVE"),
        ("SELECT a FROM t GROUP BY GROUPING SETS ((a))", "GROUPING SETS", "GROUPING"),
        ("SELECT a FROM t GROUP BY ROLLUP (a)", "ROLLUP", "ROLLUP"),
        ("SELECT a FROM t GROUP BY ALL", "GROUP BY ALL", "GROUP BY ALL"),
        ("SELECT DISTINCT ON (a) a FROM t", "DISTINCT ON", "DISTINCT ON"),
        ("SELECT * EXCLUDE (a) FROM t", "* EXCLUDE", "* EXCLUDE"),
        ("SELECT 1 FROM t TABLESAMPLE system (1)", "TABLESAMPLE", "TABLESAMPLE"),
        ("SELECT 1 FROM LATERAL (SELECT 1) x", "LATERAL", "LATERAL"),
        ("SELECT 1 FROM generate_series(1, 2)", "a function in FROM", "generate_series("),
        ("SELECT 1 FROM 'x.parquet'", "a file in FROM", "'x.parquet'"),
        ("SELECT 1 FROM t FOR UPDATE", "FOR UPDATE", "FOR UPDATE"),
        ("SELECT 1 INTO x FROM t", "SELECT INTO", "INTO"),
        ("SELECT 1 WINDOW w AS ()", "WINDOW", "WINDOW"),
        ("SELECT 1 LIMIT 5, 6", "LIMIT with two numbers", "LIMIT 5,"),
        ("SELECT 1 FETCH FIRST 2 ROWS WITH TIES", "FETCH … WITH TIES", "WITH"),
        ("TABLE t", "TABLE", "TABLE"),
        ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO NOTHING", "a target of ON CONFLICT", "("),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = 1", "ON CONFLICT DO UPDATE", "ON CONFLICT DO UPDATE"),
        ("INSERT OR ABORT INTO t VALUES (1)", "INSERT OR ABORT", "INSERT OR ABORT"),
        ("UPDATE t SET a = 1 FROM s", "UPDATE … FROM", "FROM"),
        ("UPDATE t SET (a, b) = (1, 2)", "SET (columns) = …", "("),
        ("DELETE FROM t USING s WHERE a", "DELETE … USING", "USING"),
        ("CREATE TABLE t (a int REFERENCES s)", "a foreign key", "REFERENCES"),
        ("CREATE TABLE t (a int, FOREIGN KEY (a) REFERENCES s)", "a foreign key", "FOREIGN KEY"),
        ("CREATE TABLE t (a int GENERATED ALWAYS AS (1))", "a generated column", "GENERATED"),
        ("CREATE TABLE t (a int) WITHOUT ROWID", "WITHOUT ROWID", "WITHOUT"),
        ("CREATE INDEX i ON t (lower(a))", "an expression in an index", "("),
        ("CREATE INDEX i ON t (a) WHERE a > 1", "a partial index (WHERE)", "WHERE"),
        ("BEGIN IMMEDIATE", "BEGIN IMMEDIATE", "IMMEDIATE"),
        ("EXPLAIN QUERY PLAN SELECT 1", "EXPLAIN QUERY PLAN", "QUERY PLAN"),
        ("EXPLAIN (COSTS) SELECT 1", "EXPLAIN (COSTS)", "COSTS"),
        ("EXPLAIN CHECKPOINT", "EXPLAIN of CHECKPOINT", "CHECKPOINT"),
        ("SET LOCAL a = 1", "SET LOCAL", "LOCAL"),
        ("SELECT x FROM t NOT INDEXED", "NOT INDEXED", "NOT"),
    ],
)  # fmt: skip
def test_unsupported(text: str, construct: str, at: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        parse(text)
    assert caught.value.message == f"{construct} is not supported"
    assert caught.value.span is not None
    assert text[slice(*caught.value.span)] == at


@pytest.mark.parametrize("text", ["", "  -- nothing\n", ";;"])
def test_no_statement(text: str) -> None:
    with pytest.raises(ProgrammingError, match="there is no statement"):
        parse(text)


def test_one_statement_only() -> None:
    with pytest.raises(ProgrammingError, match="one statement") as caught:
        parse("SELECT 1; SELECT 2")
    assert caught.value.span == (10, 16)


def test_hot_statements_do_not_import_pyparsing() -> None:
    """Importing it takes about 90 ms; queries, changes, BEGIN and COMMIT go without."""
    script = """
import sys
from engine.sql.grammar import parse
for text in ("SELECT a FROM t WHERE b = 1", "WITH a AS (SELECT 1) FROM a", "INSERT INTO t VALUES (1)",
             "UPDATE t SET a = 1", "DELETE FROM t", "BEGIN", "COMMIT", "ROLLBACK;"):
    parse(text)
assert "pyparsing" not in sys.modules and "difflib" not in sys.modules
parse("CREATE TABLE t (a int)")
assert "pyparsing" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
