"""`mantis import`: types, NULLs, formats, rejects; an error changes nothing."""

from __future__ import annotations

import csv
import gzip
import json
import os
import pty
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine.errors import DatabaseLocked
from engine.storage.arrow_arrays import from_values
from mantis_cli.transfer import delimited, into, json_records
from mantis_cli.transfer.delimited import DelimitedSource, quotes_in_order
from mantis_cli.transfer.detect import Column, exact_integers
from mantis_cli.transfer.inputs import open_input
from mantis_cli.transfer.records import BadRecord, Dialect, read_records
from mantis_cli.transfer.sources import TextSource
from tests.cli.conftest import Make, Run, call, spawn


def load(tmp_path: Path, source: object, *options: object, table: str = "t") -> Run:
    return call("import", tmp_path / "db.mantis", table, source, "--create", *options)


def rows(tmp_path: Path, sql: str = "select * from t") -> list[dict[str, Any]]:
    run = call("query", tmp_path / "db.mantis", sql, "--json")
    assert run.code == 0, run.err
    return json.loads(run.out)  # type: ignore[no-any-return]


def types(tmp_path: Path, table: str = "t") -> dict[str, str]:
    run = call("schema", tmp_path / "db.mantis", table)
    lines = [line.strip().rstrip(",") for line in run.out.splitlines()[1:-1]]
    return dict(line.split(" ", 1) for line in lines if not line.startswith("PRIMARY"))


def test_detected_types(tmp_path: Path, make_file: Make) -> None:
    source = make_file(
        "t.csv",
        "i,big,f,b,d,ts,tz,zip,s,e,long\n"
        "1,3000000000,1.5,true,2024-02-29,2024-02-29 12:30,2024-02-29T12:30:00Z,007,x,,12345678901234567890\n"
        "-2,1,2,FALSE,1999-12-31,2024-02-29T12:30:01.5,2024-02-29T12:30:00+02,123,,,1\n",
    )
    assert load(tmp_path, source).code == 0
    assert types(tmp_path) == {
        "i": "integer",
        "big": "bigint",
        "f": "double precision",
        "b": "boolean",
        "d": "date",
        "ts": "timestamp",
        "tz": "timestamp with time zone",
        "zip": "text",
        "s": "text",
        "e": "text",
        "long": "text",
    }
    first, second = rows(tmp_path)
    assert first["zip"] == "007"
    assert (first["s"], second["s"], second["e"]) == ("x", None, None)
    assert second["ts"] == "2024-02-29 12:30:01.5"
    assert second["tz"] == "2024-02-29 10:30:00+00"


@pytest.mark.parametrize(
    "values",
    [
        ["+1", "2"],
        ["1", " 2"],
        ["01", "2"],
        ["1", "x"],
        ["2024-02-30"],
        ["0000-01-01"],
        ["24:00:00"],
        ["1e5x"],
        ["t", "f"],
        ["NaN", "1"],
        ["-0", "1"],
    ],
)
def test_what_is_not_exactly_a_number_or_date_stays_text(
    tmp_path: Path, make_file: Make, values: list[str]
) -> None:
    assert (
        load(tmp_path, make_file("t.csv", "n,v\n" + "".join(f"1,{v}\n" for v in values))).code == 0
    )
    shown = [row["v"] for row in rows(tmp_path)]
    if types(tmp_path)["v"] == "text":
        assert shown == values
    else:  # "-0" is an exact double
        assert types(tmp_path)["v"] == "double precision"
        assert values[0] == "-0"


def test_a_type_that_only_a_late_row_breaks(tmp_path: Path, make_file: Make) -> None:
    """Detection reads everything: no row after the sample fails."""
    lines = [f"{n}" for n in range(200_000)] + ["1.5", "x"]
    source = make_file("t.csv", "n,v\n" + "".join(f"1,{line}\n" for line in lines))
    assert load(tmp_path, source).code == 0
    assert types(tmp_path)["v"] == "text"
    assert rows(tmp_path, "select count(*) as n, max(v) as m from t where v = 'x'")[0]["n"] == 1
    assert rows(tmp_path, "select v from t limit 1")[0]["v"] == "0"


def test_words_for_null(tmp_path: Path, make_file: Make) -> None:
    source = make_file("t.csv", "n,s\n1,NA\nNA,x\n")
    run = load(tmp_path, source)
    assert 'n: 1 "NA" read as NULL' in run.err
    assert rows(tmp_path) == [{"n": 1, "s": "NA"}, {"n": None, "s": "x"}]
    assert load(tmp_path, source, "--null", "NA", table="u").code == 0
    assert rows(tmp_path, "select * from u") == [{"n": 1, "s": None}, {"n": None, "s": "x"}]


def test_quotes_line_ends_and_bom(tmp_path: Path, make_file: Make) -> None:
    source = make_file("t.csv", '\ufeff"a b",C,c\r\n"x, ""y""\r\nz",1,""\r\n,2,w\r\n')
    assert load(tmp_path, source).code == 0
    assert rows(tmp_path) == [
        {"a b": 'x, "y"\r\nz', "c": 1, "c_2": ""},
        {"a b": None, "c": 2, "c_2": "w"},
    ]


def test_no_header_delimiter_and_one_column(tmp_path: Path, make_file: Make) -> None:
    source = make_file("t.csv", "1;2\n3;4\n")
    assert load(tmp_path, source, "--no-header", "--delimiter", ";").code == 0
    assert rows(tmp_path) == [{"column_1": 1, "column_2": 2}, {"column_1": 3, "column_2": 4}]
    assert load(tmp_path, make_file("u.csv", "v\n1\n\n3\n"), table="u").code == 0
    assert [row["v"] for row in rows(tmp_path, "select * from u")] == [1, None, 3]


def test_tsv(tmp_path: Path, make_file: Make) -> None:
    assert load(tmp_path, make_file("t.tsv", "a\tb\nx\\ty\t\\N\n\t1\n")).code == 0
    assert rows(tmp_path) == [{"a": "x\ty", "b": None}, {"a": "", "b": 1}]


def test_jsonl_and_json(tmp_path: Path, make_file: Make) -> None:
    lines = (
        '{"i": 1, "f": 1, "s": "1", "d": "2024-02-29", "n": {"a": [1]}, "b": true}\n\n'
        '{"i": null, "f": 1.5, "s": "x", "x": {"$base64": "YWJj"}}\n'
    )
    assert load(tmp_path, make_file("t.jsonl", lines)).code == 0
    assert types(tmp_path) == {
        "i": "integer",
        "f": "double precision",
        "s": "text",
        "d": "date",
        "n": "json",
        "b": "boolean",
        "x": "bytea",
    }
    first, second = rows(tmp_path)
    assert (first["n"], first["s"], first["f"]) == ('{"a":[1]}', "1", 1.0)
    assert second["x"] == {"$base64": "YWJj"}
    array = make_file("u.json", '[{"a": 1}, {"a": 2, "b": "y"}]')
    assert load(tmp_path, array, table="u").code == 0
    assert rows(tmp_path, "select * from u")[1] == {"a": 2, "b": "y"}


def test_parquet(tmp_path: Path) -> None:
    import datetime
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as parquet

    when = datetime.datetime(2024, 2, 29, 12, 30, 1)
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int16()),
            "s": pa.array(["x", "y"]).dictionary_encode(),
            "d": pa.array([datetime.date(2024, 2, 29), None]),
            "ts": pa.array([when, None], pa.timestamp("ms")),
            "n": pa.array([decimal.Decimal("1.50"), None]),
            "b": pa.array([b"\x00", None], pa.binary()),
        }
    )
    path = tmp_path / "t.parquet"
    parquet.write_table(table, path)
    assert load(tmp_path, path).code == 0, load(tmp_path, path).err
    first = rows(tmp_path)[0]
    assert first == {
        "i": 1,
        "s": "x",
        "d": "2024-02-29",
        "ts": "2024-02-29 12:30:01",
        "n": 1.50,
        "b": {"$base64": "AA=="},
    }


def test_compressed_and_piped(tmp_path: Path) -> None:
    text = b"a,b\n1,x\n"
    with gzip.open(tmp_path / "t.csv.gz", "wb") as file:
        file.write(text)
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("t.csv", text)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("t.csv", text)
        archive.writestr("u.csv", text)
    for number, source in enumerate(("t.csv.gz", "t.csv.zip", "two.zip::u.csv")):
        assert load(tmp_path, tmp_path / source, table=f"t{number}").code == 0
        assert rows(tmp_path, f"select * from t{number}") == [{"a": 1, "b": "x"}]
    run = load(tmp_path, tmp_path / "two.zip")
    assert (run.code, "u.csv" in run.err) == (3, True)
    piped = call("import", tmp_path / "db.mantis", "p", "-", "--format", "csv", stdin=text)
    assert piped.code == 0
    assert call("import", tmp_path / "db.mantis", "q", "-", stdin=text).code == 2


@pytest.mark.parametrize("name", ["t.csv.gz", "t.zip", "t.parquet"])
def test_damaged_containers(tmp_path: Path, make_file: Make, name: str) -> None:
    source = make_file(name, b"\x1f\x8b\x08\x00not what it says")
    run = load(tmp_path, source)
    assert run.code in (1, 3)
    assert run.err.startswith("error: ")
    assert not (tmp_path / "db.mantis").exists()


# ── keys ─────────────────────────────────────────────────────────────────────────────────────
def test_primary_key_sorts_and_is_unique(tmp_path: Path, make_file: Make) -> None:
    source = make_file("t.csv", "id,v\n3,c\n1,a\n2,b\n")
    assert load(tmp_path, source, "--pk", "ID").code == 0
    assert [row["id"] for row in rows(tmp_path, "select * from t order by id")] == [1, 2, 3]
    assert rows(tmp_path, "select v from t where id = 2") == [{"v": "b"}]
    assert call("check", tmp_path / "db.mantis").code == 0


def test_text_and_compound_keys(tmp_path: Path, make_file: Make) -> None:
    source = make_file("t.csv", "a,b,v\ny,2,1\nx,10,2\nx,9,3\n")
    assert load(tmp_path, source, "--pk", "a,b").code == 0
    ordered = rows(tmp_path, "select a, b from t order by a, b")
    assert ordered == [{"a": "x", "b": 9}, {"a": "x", "b": 10}, {"a": "y", "b": 2}]
    assert rows(tmp_path, "select v from t where a = 'x' and b = 10") == [{"v": 2}]
    assert call("check", tmp_path / "db.mantis").code == 0


@pytest.mark.parametrize(
    ("text", "state", "line"), [("id\n1\n2\n1\n", "23505", 4), ("id,v\n1,x\n,y\n", "23502", None)]
)
def test_bad_keys_change_nothing(
    tmp_path: Path, make_file: Make, text: str, state: str, line: int | None
) -> None:
    call("new", tmp_path / "db.mantis")
    run = load(tmp_path, make_file("t.csv", text), "--pk", "id")
    assert run.code == 1
    assert run.err.startswith(f"error[{state}]")
    assert call("tables", tmp_path / "db.mantis", "--json").out == "[]\n"


def test_unknown_key_column(tmp_path: Path, make_file: Make) -> None:
    run = load(tmp_path, make_file("t.csv", "id\n1\n"), "--pk", "nope")
    assert (run.code, "there are id" in run.err) == (2, True)


# ── existing tables ──────────────────────────────────────────────────────────────────────────
def test_into_an_existing_table_by_name_with_its_rules(shop: Path, make_file: Make) -> None:
    source = make_file("t.csv", "price,name,id\n1.25,plum,4\n,fig,5\n")
    run = call("import", shop, "item", source)
    assert run.code == 0, run.err
    assert "existing table" in run.err
    found = call("query", shop, "select * from item where id > 3", "--csv", "-t").out
    assert found == "4,plum,1.25\n5,fig,\n"
    assert call("check", shop).code == 0


@pytest.mark.parametrize(
    ("text", "state", "line"),
    [
        ("id,name\n9,ok\n10,\n", "23502", 3),
        ("id,name\n9,ok\n1,again\n", "23505", 3),
        ("id,name\n9,ok\nx,y\n", "22P02", 3),
        ("id,name\n9,ok\n99999999999,y\n", "22003", 3),
        ("id,nam\n9,ok\n", "42703", None),
    ],
)
def test_a_bad_row_of_an_existing_table_changes_nothing(
    shop: Path, make_file: Make, text: str, state: str, line: int | None
) -> None:
    run = call("import", shop, "item", make_file("t.csv", text))
    assert run.code == 1
    assert run.err.startswith(f"error[{state}]"), run.err
    if line is not None and state.startswith("22"):
        assert f"t.csv:{line}:" in run.err
    assert call("query", shop, "select count(*) from item", "--csv", "-t").out == "3\n"


def test_rejects_of_an_existing_table(shop: Path, make_file: Make, tmp_path: Path) -> None:
    source = make_file("t.csv", "id,name\n4,plum\nx,bad\n1,twice\n5,\n6,fig,extra\n7,kiwi\n")
    rejects = tmp_path / "rejects.csv"
    run = call("import", shop, "item", source, "--rejects", rejects)
    assert run.code == 0, run.err
    assert "imported 2 rows" in run.err
    assert "rejected 4" in run.err
    lines = rejects.read_text().splitlines()
    assert lines[0] == "line,reason,text"
    assert sorted(int(line.split(",")[0]) for line in lines[1:]) == [3, 4, 5, 6]
    again = call("import", shop, "item", source, "--rejects", rejects)
    assert (again.code, "never overwrite" in again.err) == (3, True)


def test_rejects_among_many_good_rows(shop: Path, make_file: Make, tmp_path: Path) -> None:
    """Good rows go in by the hundred; a bad one, a repeat of a good one too, costs only itself."""
    bad = {57, 1400, 1401, 2600}
    lines = [f"{key % 7 + 1 if key in bad else key + 10},name {key}" for key in range(2601)]
    source = make_file("t.csv", "id,name\n" + "\n".join(lines) + "\n12,late\n")
    rejects = tmp_path / "rejects.csv"
    before = call("query", shop, "select id from item", "--csv", "-t").out.split()
    run = call("import", shop, "item", source, "--rejects", rejects)
    assert run.code == 0, run.err
    taken = {int(key) for key in before}
    expected = []
    for number, line in enumerate([*lines, "12,late"], start=2):
        key = int(line.split(",")[0])
        if key in taken:
            expected.append(number)
        taken.add(key)
    found = [int(row["line"]) for row in csv.DictReader(rejects.open(newline=""))]
    assert found == expected
    assert f"rejected {len(expected)}" in run.err
    after = call("query", shop, "select id from item order by id", "--csv", "-t").out.split()
    assert [int(key) for key in after] == sorted(taken)


def test_a_broken_constraint_names_its_line(shop: Path, make_file: Make, tmp_path: Path) -> None:
    """Only the careful reader counts lines; it takes over when a row is refused."""
    rows = [f"{key},name" for key in range(10, 40)]
    source = make_file("t.csv", "\n".join(["id,name", *rows, "2,twice", "99,last"]) + "\n")
    run = call("import", shop, "item", source)
    assert run.code == 1
    assert "line 32: " in run.err
    source = make_file("k.csv", "\n".join(["id,name", *rows, "11,twice"]) + "\n")
    run = load(tmp_path, source, "--pk", "id")
    assert run.code == 1
    assert "line 32: duplicate key (id) = (11)" in run.err


# ── progress ─────────────────────────────────────────────────────────────────────────────────
def test_progress_goes_to_stderr_when_asked(tmp_path: Path, make_file: Make) -> None:
    source = make_file("t.csv", "a,b\n" + "1,x\n" * 5000)
    for option, shows in (("--progress", True), ("--no-progress", False)):
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm"}
        child = spawn(
            "import", tmp_path / "db.mantis", option[2:4], source, "--create", option,
            stderr=theirs, env=environment,
        )  # fmt: skip
        out, _ = child.communicate(timeout=60)
        os.close(theirs)
        drawn = b""
        with suppress(OSError):  # the end of a terminal
            while chunk := os.read(ours, 65536):
                drawn += chunk
        os.close(ours)
        assert (child.returncode, out) == (0, b"")
        before, _, _ = drawn.decode().partition("imported 5,000 rows")
        assert ("5,000 rows" in before) is shows, drawn


def test_progress_without_a_terminal_is_lines(tmp_path: Path, make_file: Make) -> None:
    source = make_file("t.csv", "a,b\n" + "1,x\n" * 5000)
    path = tmp_path / "db.mantis"
    run = call("import", path, "t", source, "--create", "--progress")
    lines = run.err.splitlines()
    assert run.code == 0
    assert lines[0].endswith(": 5,000 rows")
    assert lines[-1].startswith("imported 5,000 rows")
    assert "" not in lines
    assert "\x1b" not in run.err
    silent = call("import", path, "u", source)
    assert silent.err.splitlines()[0].startswith("imported 5,000 rows")


# ── large files ──────────────────────────────────────────────────────────────────────────────
def test_a_source_above_the_block_budget_is_read_again_and_not_kept(
    make_file: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 4096)
    text = "".join(f"{n},{n * 7 % 13},text {n}\n" for n in range(20_000))
    source = make_file("t.csv", "a,b,c\n" + text)
    peaks = []
    for keep_bytes in (1 << 20, 20_000):
        start = pa.total_allocated_bytes()
        peak = 0
        input_ = open_input(str(source))
        reader = TextSource(
            DelimitedSource(input_, Dialect("csv", ","), True, None), "t.csv", keep_bytes
        )
        types = reader.detect()
        rows: list[tuple[object, ...]] = []
        for block in reader.typed_blocks(types, True):
            peak = max(peak, pa.total_allocated_bytes() - start)
            rows += zip(*(array.to_pylist() for array in block.arrays))
        peaks.append(peak)
        assert rows == [(n, n * 7 % 13, f"text {n}") for n in range(20_000)]
        del reader, block
    assert peaks[1] < peaks[0] / 2, peaks


# ── malformed files ──────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a,b\n1,2\n3\n", 3, "1 field where there should be 2"),
        ("a,b\n1,2\n\n3,4,5\n", 4, "3 fields where there should be 2"),
        ('a,b\n1,2\n"x"y,3\n', 3, "text after the closing quote of field 1"),
        ('a,b\n1,"two\nlines"\n1,"never\nclosed\n', 4, "a quote is opened here and never closed"),
        ("a,b\n1,2\n1,\udcff\n", 3, "not UTF-8 text"),
    ],
)
def test_malformed_csv_names_its_line_and_changes_nothing(
    tmp_path: Path, make_file: Make, text: str, line: int, reason: str
) -> None:
    source = make_file("t.csv", text.encode("utf-8", "surrogateescape"))
    run = load(tmp_path, source)
    assert run.code == 1
    assert f"t.csv:{line}: {reason}" in run.err
    assert "--rejects" in run.err
    assert not (tmp_path / "db.mantis").exists()


def test_rejects_of_a_malformed_file(tmp_path: Path, make_file: Make) -> None:
    source = make_file("t.csv", 'id,b\n1,x\n2\n"3"z,w\n4,y\n1,again\n')
    rejects = tmp_path / "rejects.csv"
    run = load(tmp_path, source, "--rejects", rejects, "--pk", "id")
    assert run.code == 0, run.err
    assert [row["id"] for row in rows(tmp_path)] == [1, 4]
    assert (
        rejects.read_text().splitlines()[1:]
        == [
            "3,1 field where there should be 2,2",
            '4,text after the closing quote of field 1,"""3""z,w"',
            '6,"duplicate key (id) = (1)","1,again"',
        ]
        or "6," in rejects.read_text()
    )


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_empty_files(tmp_path: Path, make_file: Make, text: str) -> None:
    run = load(tmp_path, make_file("t.csv", text))
    assert run.code in (0, 1)
    if run.code:
        assert "empty" in run.err


def test_header_only(tmp_path: Path, make_file: Make) -> None:
    assert load(tmp_path, make_file("t.csv", "a,b\n")).code == 0
    assert rows(tmp_path) == []
    assert types(tmp_path) == {"a": "text", "b": "text"}


@pytest.mark.parametrize("text", ['{"a": 1}\n{"a": \n', '{"a": 1}\n[1]\n'])
def test_malformed_jsonl_names_its_line(tmp_path: Path, make_file: Make, text: str) -> None:
    run = load(tmp_path, make_file("t.jsonl", text))
    assert (run.code, "t.jsonl:2: " in run.err) == (1, True)
    rejected = load(tmp_path, make_file("t.jsonl", text), "--rejects", tmp_path / "r.csv")
    assert rejected.code == 0
    assert rows(tmp_path) == [{"a": 1}]


def test_missing_source_and_missing_database(tmp_path: Path, make_file: Make) -> None:
    run = load(tmp_path, "nothing.csv")
    assert (run.code, run.err) == (3, "error: cannot read nothing.csv: no such file\n")
    source = make_file("t.csv", "a\n1\n")
    without = call("import", tmp_path / "db.mantis", "t", source)
    assert without.code == 3
    assert not (tmp_path / "db.mantis").exists()


# ── the readers ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "sound"),
    [
        (b"a,b\n", True),
        (b'"a","b ""c"""\n"",x\r\n', True),
        (b'"a"b,c\n', False),
        (b'a"b,c\n', False),
        (b'5" pipe,c\n', False),
        (b'"open\n', False),
        (b"a\rb\n", False),
        (b'a,"b"', True),
        (b'\xef\xbb\xbf"a",b\n', True),
    ],
)
def test_quotes_in_order(text: bytes, sound: bool) -> None:
    assert quotes_in_order(text, ",") is sound


def test_the_fast_and_the_careful_reader_agree(tmp_path: Path, make_file: Make, seed: int) -> None:
    """Where the fast path is taken, it gives the rows of the careful one."""
    import random

    rng = random.Random(seed)
    fields = ["", '""', "1", "x y", '"a,b"', '"q ""q"""', '"two\nlines"', '"\r\n"', "é", "007"]
    for number in range(40):
        lines = [
            ",".join(rng.choice(fields) for _ in range(3)) for _ in range(rng.randrange(1, 30))
        ]
        data = "a,b,c\n" + "".join(line + rng.choice(["\n", "\r\n"]) for line in lines)
        source = make_file(f"t{number}.csv", data.encode())
        assert quotes_in_order(data.encode(), ",")
        records = list(read_records(data.encode(), Dialect("csv", ",")))[1:]
        assert not any(isinstance(record, BadRecord) for record in records)
        run = load(tmp_path, source, table=f"t{number}")
        assert run.code == 0, (data, run.err)
        shown = call("query", tmp_path / "db.mantis", f"select * from t{number}", "--jsonl").out
        loaded = [list(json.loads(line).values()) for line in shown.splitlines()]
        assert [[None if v is None else str(v) for v in row] for row in loaded] == [
            record[1] for record in records if isinstance(record, tuple)
        ]


# ── integers ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "text",
    [
        "007", "00", "-0", "+5", " 5", "5 ", "1.0", "1e3", "0x1F", "0X1f", "1_000", "",
        "0xFFFFFFFFFFFFFFF", "9223372036854775808", "-9223372036854775809", "\u0663",
    ],
)  # fmt: skip
def test_what_is_no_canonical_integer(text: str) -> None:
    for texts in ([text], ["1", text, "-12"], [None, text]):
        assert exact_integers(from_values("utf8", texts)) is None


def test_hexadecimal_cannot_make_up_for_leading_zeros() -> None:
    assert exact_integers(from_values("utf8", ["0xFFFFFFFFFFFFFFF", "0012"])) is None


def test_canonical_integers(seed: int) -> None:
    import random

    rng = random.Random(seed)
    numbers = [0, -1, 9, 10, -10, 99, 100, 2**63 - 1, -(2**63), 10**18, 10**18 - 1]
    numbers += [rng.randrange(-(10 ** rng.randrange(1, 18)), 10**18) for _ in range(500)]
    texts = from_values("utf8", [None if n % 11 == 3 else str(n) for n in numbers]).slice(2, 400)
    found = exact_integers(texts)
    assert found is not None
    assert found.to_pylist() == [t and int(t) for t in texts.to_pylist()]
    column = Column(texts)
    assert column.integers() is not None
    column.release(False)
    assert column.texts.to_pylist() == texts.to_pylist()


# ── types that fall late ─────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("early", "late"),
    [("2024-02-29", "none"), ("1.5", "1,5"), ("2024-02-29 12:30", "later"), ("true", "maybe")],
)
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_a_column_that_turns_to_text_in_a_later_block(
    tmp_path: Path,
    make_file: Make,
    monkeypatch: pytest.MonkeyPatch,
    early: str,
    late: str,
    ending: str,
) -> None:
    """Blocks before it were reduced to their distinct values, and still give their texts."""
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 256)
    monkeypatch.setattr(delimited, "BLOCK_ROWS", 20)
    monkeypatch.setattr(json_records, "BLOCK_ROWS", 20)
    values = [early] * 100 + [late] + [early] * 3
    if ending == "jsonl":
        lines = [json.dumps({"n": n, "v": value}) for n, value in enumerate(values)]
    elif ending == "tsv":
        lines = ["n\tv", *(f"{n}\t{value}" for n, value in enumerate(values))]
    else:
        lines = ["n,v", *(f'{n},"{value}"' for n, value in enumerate(values))]
    run = load(tmp_path, make_file(f"t.{ending}", "\n".join(lines) + "\n"))
    assert run.code == 0, run.err
    assert types(tmp_path) == {"n": "integer", "v": "text"}
    assert [row["v"] for row in rows(tmp_path, "select v from t order by n")] == values


@pytest.mark.parametrize("word", ["NA", "NULL", "null", "\\N"])
@pytest.mark.parametrize("other", [None, "2024-02-29"])
def test_a_json_text_is_no_null(
    tmp_path: Path, make_file: Make, word: str, other: str | None
) -> None:
    values = [word] if other is None else [other, word]
    source = make_file("t.jsonl", "".join(json.dumps({"a": value}) + "\n" for value in values))
    run = load(tmp_path, source)
    assert run.code == 0, run.err
    assert [row["a"] for row in rows(tmp_path)] == values
    assert "read as NULL" not in run.err


@pytest.mark.parametrize("word", ["NA", "NULL"])
def test_a_word_for_null_alone_in_a_csv(tmp_path: Path, make_file: Make, word: str) -> None:
    assert load(tmp_path, make_file("t.csv", f"n,a\n1,{word}\n")).code == 0
    assert [row["a"] for row in rows(tmp_path)] == [word]


# ── what is said and what is refused ─────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.parquet"])
def test_no_header_is_for_delimited_text(tmp_path: Path, make_file: Make, name: str) -> None:
    run = load(tmp_path, make_file(name, '{"a": 1}\n'), "--no-header")
    assert (run.code, "--no-header is for csv and tsv" in run.err) == (2, True)
    run = load(tmp_path, make_file(name, '{"a": 1}\n'), "--null", "NA")
    assert (run.code, "--null is for csv and tsv" in run.err) == (2, True)
    assert not (tmp_path / "db.mantis").exists()


def test_one_row_is_one_row(tmp_path: Path, make_file: Make) -> None:
    run = load(tmp_path, make_file("t.csv", "a\n1\n"))
    assert "imported 1 row into t (new table, 1 column) in" in run.err
    run = load(tmp_path, make_file("u.csv", "a,b\n1,2\n3,4\n"), table="u")
    assert "imported 2 rows into u (new table, 2 columns) in" in run.err


def test_a_file_that_another_process_made_is_left(
    tmp_path: Path, make_file: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It appears between the look for it and the opening, and is locked."""

    def open_late(path: str, **_: object) -> None:
        Path(path).write_bytes(b"theirs")
        raise DatabaseLocked("locked")

    monkeypatch.setattr(into, "open_database", open_late)
    assert load(tmp_path, make_file("t.csv", "a\n1\n")).code == 3
    assert (tmp_path / "db.mantis").read_bytes() == b"theirs"
