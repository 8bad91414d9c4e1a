"""The small commands: new, schema, tables, info, check, export, bench."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import call


def test_schema_prints_statements_that_make_it_again(shop: Path, tmp_path: Path) -> None:
    call(
        "query",
        shop,
        'create table "Odd Name" ("a b" numeric(10,2) default 1.5 check ("a b" > 0), '
        'c varchar(5) unique not null, "select" boolean, primary key (c, "select"))',
    )
    statements = call("schema", shop).out
    other = tmp_path / "other.mantis"
    call("new", other)
    made = call("query", other, stdin=statements)
    assert made.code == 0, made.err
    assert call("schema", other).out == statements
    assert call("schema", shop, "item_name").out == "CREATE INDEX item_name ON item (name);\n"
    wrong = call("schema", shop, "itm")
    assert (wrong.code, 'did you mean "item"?' in wrong.err) == (1, True)


def test_tables(shop: Path) -> None:
    listed = json.loads(call("tables", shop, "--json").out)
    assert listed == [
        {"name": "item", "kind": "table", "rows": 3, "columns": 3, "indexes": 1},
        {"name": "note", "kind": "table", "rows": 1, "columns": 3, "indexes": 0},
    ]
    assert call("tables", shop, "no*", "--csv", "-t").out == "note,table,1,3,0\n"


def test_info_json(shop: Path) -> None:
    facts = json.loads(call("info", shop, "--json").out)
    assert facts["schema"] == "mantis.info/1"
    assert facts["size_bytes"] == shop.stat().st_size
    assert facts["page_size"] == 32768
    assert facts["closed_cleanly"] is True
    assert facts["holder"] is None
    assert facts["wal"] == {"segments": [], "size_bytes": 0}


def test_new_page_size(tmp_path: Path) -> None:
    path = tmp_path / "small.mantis"
    assert call("new", path, "--page-size", "4").code == 0
    assert json.loads(call("info", path, "--json").out)["page_size"] == 4096
    assert call("new", tmp_path / "x.mantis", "--page-size", "5").code == 2


def test_check_is_sound_and_changes_nothing(shop: Path) -> None:
    before = shop.read_bytes()
    assert call("check", shop).out == "ok: pages, indexes, constraints and log are sound\n"
    assert call("check", shop, "--quick").code == 0
    assert json.loads(call("check", shop, "--json").out) == {
        "schema": "mantis.check/1",
        "path": str(shop),
        "quick": False,
        "sound": True,
        "findings": [],
    }
    assert shop.read_bytes() == before


def test_check_names_every_flipped_page(shop: Path) -> None:
    """A byte flipped in any page of a tree is found, and the table is named where it is one's."""
    clean = shop.read_bytes()
    names = set()
    for page_no in range(2, len(clean) // 32768):
        damaged = bytearray(clean)
        damaged[page_no * 32768 + 100] ^= 0x10
        shop.write_bytes(damaged)
        run = call("check", shop)
        if run.code == 0:  # a page that nothing reaches
            continue
        assert run.code == 5, run
        names.update(line.split(": ")[1] for line in run.out.splitlines() if "table " in line)
    assert {"table item", "table note"} <= names


def test_check_finds_an_index_that_lies(shop: Path) -> None:
    """An entry taken away below SQL is found from the table's side, with the index's name."""
    from engine.database import Database

    with Database.open(shop) as database:
        index = database.transactions.catalog.tables["item"].indexes[0]
        snapshot = database.store.snapshot()
        entry = next(iter(snapshot.scan(index.index_id)))[0]
        snapshot.close()
        database.store.commit({index.index_id: {entry: None}})
    run = call("check", shop)
    assert run.code == 5
    assert "index item_name" in run.out


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("o.csv", "id,name,price"),
        ("o.tsv", "id\tname\tprice"),
        ("o.jsonl", '{"id":1,"name":"apple","price":1.5}'),
        ("o.json", '[{"id":1,"name":"apple","price":1.5},'),
        ("o.md", "|  id | name    | price |"),
    ],
)
def test_export_follows_the_name(shop: Path, tmp_path: Path, name: str, first: str) -> None:
    run = call("export", shop, "item", tmp_path / name)
    assert (run.code, run.out) == (0, "")
    assert "exported 3 rows" in run.err
    assert (tmp_path / name).read_text().splitlines()[0] == first
    assert [p.name for p in tmp_path.glob("o*")] == [name]


def test_export_of_a_query_to_stdout(shop: Path) -> None:
    run = call("export", shop, "select id from item where id > 1", "-", "--no-header")
    assert run.out == "2\n3\n"
    assert call("export", shop, "item", "x.unknown").code == 2
    assert call("export", shop, "itm").code == 1


def test_failed_export_leaves_no_file(shop: Path, tmp_path: Path) -> None:
    run = call("export", shop, "select 1 / (id - 3) from item", tmp_path / "o.csv")
    assert run.code == 1
    assert list(tmp_path.glob("o.csv*")) == []


def test_bench_json_and_compare(tmp_path: Path) -> None:
    words = ("bench", "oltp", "--rounds", "1", "--operations", "100", "--rows", "1000")
    run = call(*words, "--only", "prepared", "--json", "--dir", tmp_path)
    assert run.code == 0, run.err
    document = json.loads(run.out)
    assert document["schema"] == "mantis.bench/1"
    assert {"cpu", "file_system", "fdatasync_us", "python"} <= set(document["machine"])
    assert {"sqlite3", "mantisdb"} <= set(document["versions"])
    (figure,) = document["results"]
    assert figure["name"] == "point select, prepared"
    assert figure["ratio"] == figure["mantis"]["median"] / figure["peer"]["median"]
    assert figure["mantis"]["p99_us"] >= figure["mantis"]["p50_us"] > 0
    base = tmp_path / "base.json"
    figure["ratio"] = 1e9
    base.write_text(json.dumps(document))
    again = call(*words, "--only", "prepared", "--compare", base, "--dir", tmp_path)
    assert again.code == 6
    assert "REGRESSION point select, prepared" in again.err
    figure["ratio"] = 1e-9
    base.write_text(json.dumps(document))
    assert call(*words, "--only", "prepared", "--compare", base, "--dir", tmp_path).code == 0
    assert list(tmp_path.glob("mantis-bench-*")) == []


def test_bench_names_a_missing_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
    words = ("bench", "oltp", "--rounds", "1", "--operations", "100", "--rows", "1000")
    run = call(*words, "--only", "prepared", "--dir", tmp_path)
    assert (run.code, "mantisdb[bench]" in run.err) == (1, True)


def test_bench_wal(tmp_path: Path) -> None:
    run = call("bench", "wal", "--rounds", "1", "--operations", "200", "--json", "--dir", tmp_path)
    assert run.code == 0, run.err
    figures = {figure["name"]: figure for figure in json.loads(run.out)["results"]}
    assert set(figures) == {"log append", "durable commit", "recovery"}
    assert figures["recovery"]["detail"]["transactions"] == 2000
    assert figures["durable commit"]["detail"]["fdatasync_p50_us"] > 0


@pytest.mark.parametrize("content", ["[1]", "{}", "not json"])
def test_bench_refuses_another_document(tmp_path: Path, content: str) -> None:
    base = tmp_path / "base.json"
    base.write_text(content)
    assert call("bench", "parse", "--compare", base).code == 2


def test_info_on_a_file_that_was_cut(shop: Path) -> None:
    whole = json.loads(call("info", shop, "--json").out)
    assert (whole["problems"], call("info", shop).code) == ([], 0)
    pages, needed = whole["page_count"], whole["page_count"] * whole["page_size"]
    with open(shop, "r+b") as file:
        file.truncate(9000)
    problem = f"the file ends at 9,000 bytes, {pages:,} pages need {needed:,}"
    run = call("info", shop)
    assert run.code == 5
    assert f"problem       {problem}\n" in run.out
    assert "at rest       no: pages are missing\n" in run.out
    run = call("info", shop, "--json")
    assert (run.code, json.loads(run.out)["problems"][-1]) == (5, problem)


@pytest.mark.parametrize(
    ("workload", "option", "value"),
    [
        ("parse", "--rows", "1000"),
        ("parse", "--operations", "100"),
        ("parse", "--dir", "."),
        ("wal", "--rows", "1000"),
    ],
)
def test_bench_refuses_what_says_nothing_to_a_workload(
    workload: str, option: str, value: str
) -> None:
    run = call("bench", workload, option, value)
    assert (run.code, f"{option} says nothing to bench {workload}" in run.err) == (2, True)
