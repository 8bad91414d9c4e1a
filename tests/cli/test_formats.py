"""Each output format, exactly, over one awkward result."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.types import BIGINT, BYTEA, DOUBLE, INTEGER, NUMERIC, TEXT, SqlType
from mantis_cli.output.formats import FORMATS
from mantis_cli.output.json_text import unique_names
from mantis_cli.output.layout import Options
from mantis_cli.output.writers import WRITERS, Sink, write_rows
from tests.cli.conftest import call


class Col(msgspec.Struct):
    name: str
    type: SqlType


def written(columns: list[Col], rows: list[tuple[Any, ...]], name: str, **options: Any) -> str:
    out = io.BytesIO()
    max_rows = options.pop("max_rows", None)
    write_rows(columns, iter(rows), name, Sink(out), Options(**options), max_rows)
    return out.getvalue().decode()


COLUMNS = [Col("id", INTEGER), Col("name", TEXT), Col("x", DOUBLE)]
ROWS = [(1, "a,b", 1.5), (2, None, float("nan")), (3, "", None), (4, 'q"\n\x1b[31m', 1e20)]


def test_every_format_has_a_writer() -> None:
    assert set(FORMATS) == set(WRITERS)


def test_csv_tells_null_from_empty() -> None:
    assert written(COLUMNS, ROWS, "csv") == (
        'id,name,x\n1,"a,b",1.5\n2,,NaN\n3,"",\n4,"q""\n\x1b[31m",1e+20\n'
    )


def test_csv_is_read_back_by_pythons_reader() -> None:
    rows = list(csv.reader(io.StringIO(written(COLUMNS, ROWS, "csv"), newline="")))
    assert [row[1] for row in rows] == ["name", "a,b", "", "", 'q"\n\x1b[31m']


def test_csv_with_null_text_quotes_the_same_text() -> None:
    rows = [(None,), ("NA",), ("",)]
    assert written([Col("v", TEXT)], rows, "csv", null="NA") == 'v\nNA\n"NA"\n""\n'


def test_tsv_escapes() -> None:
    rows = [(1, "a\tb\\c\nd", None)]
    assert written(COLUMNS, rows, "tsv") == "id\tname\tx\n1\ta\\tb\\\\c\\nd\t\\N\n"


def test_json_is_strict() -> None:
    notes: list[str] = []
    text = written(COLUMNS, ROWS, "json", note=notes.append)
    rows = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert [row["x"] for row in rows] == [1.5, None, None, 1e20]
    assert rows[3]["name"] == 'q"\n\x1b[31m'
    assert notes == ["note: 1 NaN or infinite value written as null"]


def test_json_without_rows_is_an_empty_array() -> None:
    assert written(COLUMNS, [], "json") == "[]\n"
    assert written(COLUMNS, [], "jsonl") == ""


def test_json_numbers_are_exact() -> None:
    from decimal import Decimal

    columns = [Col("big", BIGINT), Col("n", NUMERIC)]
    text = written(columns, [(2**63 - 1, Decimal("0.10000000000000000001"))], "jsonl")
    assert text == '{"big":9223372036854775807,"n":0.10000000000000000001}\n'


def test_json_bytes_and_repeated_names() -> None:
    columns = [Col("b", BYTEA), Col("b", BYTEA), Col("b_2", TEXT)]
    assert json.loads(written(columns, [(b"abc", None, "x")], "jsonl")) == {
        "b": {"$base64": "YWJj"},
        "b_3": None,
        "b_2": "x",
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "a", "a"], ["a", "a_2", "a_3"]),
        (["a", "a_2", "a"], ["a", "a_2", "a_3"]),
        ([], []),
    ],
)
def test_unique_names(names: list[str], expected: list[str]) -> None:
    assert unique_names(names) == expected


def test_table_layout() -> None:
    assert written(COLUMNS, ROWS, "table").splitlines() == [
        " id │ name         │     x",
        "────┼──────────────┼───────",
        "  1 │ a,b          │   1.5",
        "  2 │ NULL         │   NaN",
        "  3 │              │  NULL",
        '  4 │ q"\\n\\x1b[31m │ 1e+20',
        "(4 rows)",
    ]


def test_table_in_ascii_and_wide_characters() -> None:
    text = written([Col("v", TEXT), Col("n", INTEGER)], [("漢字", 1)], "table", unicode=False)
    assert text == " v    | n\n------+---\n 漢字 | 1\n(1 row)\n"


def test_markdown_escapes_bars() -> None:
    assert written([Col("v", TEXT), Col("n", INTEGER)], [("a|b", 1)], "markdown") == (
        "| v    |   n |\n| ---- | --: |\n| a\\|b |   1 |\n"
    )


def test_vertical() -> None:
    assert written(COLUMNS, ROWS[:1], "vertical").splitlines() == [
        "─[ row 1 ]──────────────────────────────",
        "id   │ 1",
        "name │ a,b",
        "x    │ 1.5",
        "(1 row)",
    ]


@pytest.mark.parametrize("name", ["table", "vertical", "markdown"])
def test_no_control_character_of_a_value_reaches_a_layout(name: str) -> None:
    value = "".join(map(chr, [*range(0x20), 0x7F, 0x85, 0x9B, 0x2028, 0x202E]))
    text = written([Col("v", TEXT)], [(value,)], name)
    left = {char for char in text if not char.isprintable()}
    assert left <= {"\n"}


def test_cap_announces_what_it_hides() -> None:
    notes: list[str] = []
    text = written(
        [Col("n", INTEGER)], [(i,) for i in range(10)], "csv", max_rows=3, note=notes.append
    )
    assert text == "n\n0\n1\n2\n"
    assert notes == ["note: 7 more rows not shown; --max-rows 0 for all"]


def test_fitting_cuts_and_says_so() -> None:
    notes: list[str] = []
    rows = [("x" * 50, 1), ("short", 2)]
    text = written([Col("v", TEXT), Col("n", INTEGER)], rows, "table", width=30, note=notes.append)
    assert max(len(line) for line in text.splitlines()) <= 30
    assert "…" in text
    assert notes == ["note: 1 value cut to fit the terminal; -x shows them whole"]


def test_what_cannot_fit_turns_vertical_and_loses_nothing() -> None:
    columns = [Col(f"column_{i}", TEXT) for i in range(20)]
    text = written(columns, [tuple(f"value number {i}" for i in range(20))], "table", width=40)
    assert text.startswith("─[ row 1 ]")
    assert all(f"value number {i}" in text for i in range(20))


@pytest.mark.parametrize("name", FORMATS)
def test_rows_stream_in_batches(name: str) -> None:
    """The first chunk is written before the last row is asked for."""
    asked = 0

    def rows() -> Any:
        nonlocal asked
        for number in range(5000):
            asked += 1
            yield (number, "text", 0.5)

    chunks = WRITERS[name](COLUMNS, rows(), Options(header=False))
    next(chunks)
    assert asked < 5000


def test_csv_round_trips_through_import(tmp_path: Path) -> None:
    """Names, NULL against '', quotes, line ends and numbers survive export and import."""
    first = tmp_path / "a.mantis"
    call("new", first)
    made = call(
        "query",
        first,
        "create table t (id integer primary key, s text, x double precision, d date, b boolean);"
        "insert into t values (1, '', 0.1, '2024-02-29', true), (2, null, null, null, null),"
        "(3, 'a \"q\", b' || chr(10) || 'c', 1e300, '0001-01-01', false)",
    )
    assert made.code == 0, made.err
    exported = tmp_path / "t.csv"
    assert call("export", first, "t", exported).code == 0
    second = tmp_path / "b.mantis"
    loaded = call("import", second, "t", exported, "--pk", "id", "--create")
    assert loaded.code == 0, loaded.err
    query = ("-c", "select * from t order by id", "--json")
    assert call("query", second, *query).out == call("query", first, *query).out


# ── texts for NULL ───────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("name", "null", "what"),
    [
        ("csv", "n,a", "the delimiter"),
        ("csv", 'n"a', "a quote"),
        ("csv", "n\ra", "a carriage return"),
        ("csv", "n\na", "a line feed"),
        ("tsv", "n\ta", "the delimiter"),
        ("tsv", "n\ra", "a carriage return"),
        ("tsv", "n\na", "a line feed"),
    ],
)
def test_a_text_for_null_that_would_not_read_back_is_refused(
    shop: Path, tmp_path: Path, name: str, null: str, what: str
) -> None:
    target = tmp_path / f"out.{name}"
    for words in (
        ("query", shop, "delete from note; select null", "--format", name, "-o", target),
        ("tables", shop, "--format", name, "-o", target),
        ("export", shop, "item", target),
        ("shell", shop, "--format", name),
    ):
        run = call(*words, "--null", null, stdin="select 1;")
        assert (run.code, run.out) == (2, ""), words
        assert f"--null {null!r} holds {what}, so {name} written with it" in run.err
    assert not target.exists()
    assert call("query", shop, "--csv", "-t", "select count(*) from note").out == "1\n"
    for harmless in ("table", "jsonl", "markdown", "vertical"):
        run = call("query", shop, "select null", "--null", null, "--format", harmless)
        assert run.code == 0, run.err
    for script in (f".mode {name}\n.null '{null}'\n", f".null '{null}'\n.mode {name}\n"):
        if len(null.splitlines()) == 1:  # a shell command is one line
            run = call("shell", shop, stdin=script)
            assert (run.code, what in run.err) == (1, True), script


@pytest.mark.parametrize(
    ("name", "null"),
    [("csv", "n\ta"), ("csv", "\\N"), ("csv", " "), ("tsv", "n,a"), ("tsv", 'n"a'), ("tsv", "\\")],
)
def test_other_texts_for_null_read_back(shop: Path, tmp_path: Path, name: str, null: str) -> None:
    target = tmp_path / f"out.{name}"
    sql = "select id, name, nullif(name, 'apple') as gone from item"
    assert call("export", shop, sql, target, "--null", null).code == 0
    assert call("import", shop, "back", target, "--null", null).code == 0
    same = "select count(*) from back where (gone is null) = (id = 1) and name is not null"
    assert call("query", shop, same, "--csv", "-t").out == "3\n"
