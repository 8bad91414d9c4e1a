"""`mantis query` and the routes to it: sources, order, errors with their place, exit codes."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from mantis_cli.main import route
from tests.cli.conftest import Make, call, spawn


@pytest.mark.parametrize(
    ("words", "interactive", "expected"),
    [
        (["a.mantis"], True, ["shell", "a.mantis"]),
        (["a.mantis"], False, ["query", "a.mantis"]),
        (["a.mantis", "select 1"], True, ["query", "a.mantis", "select 1"]),
        (["a.mantis", "-c", "select 1"], True, ["query", "a.mantis", "-c", "select 1"]),
        (["--json", "a.mantis", "select 1"], True, ["query", "--json", "a.mantis", "select 1"]),
        (["--csv", "query", "a.mantis", "x"], True, ["query", "--csv", "a.mantis", "x"]),
        (["--format", "csv", "query", "f"], True, ["query", "--format", "csv", "f"]),
        (["-p", "a", "1", "query", "f"], True, ["query", "-p", "a", "1", "f"]),
        (["info", "a.mantis"], True, ["info", "a.mantis"]),
        (["qery"], True, ["qery"]),
        ([], True, ["--help"]),
    ],
)
def test_route(words: list[str], interactive: bool, expected: list[str]) -> None:
    assert route(words, interactive) == expected


def test_sources_run_in_the_order_given(shop: Path, make_file: Make) -> None:
    script = make_file("s.sql", "select 'file';")
    run = call(
        "query", shop, "-c", "select 'one'", "-f", script, "-c", "select 'two'", "-t", "--csv"
    )
    assert run.out.split() == ["one", "file", "two"]


def test_stdin_and_dash(shop: Path) -> None:
    assert call("query", shop, "--csv", "-t", stdin="select 1; select 2").out == "1\n2\n"
    assert call("query", shop, "-", "--csv", "-t", stdin="select 3;").out == "3\n"
    assert call(shop, "--csv", "-t", stdin="select 4;").out == "4\n"
    assert call("query", shop, "-f", "-", "--csv", "-t", stdin="select 5").out == "5\n"


def test_semicolons_inside_strings_comments_and_names_do_not_split(shop: Path) -> None:
    sql = "select ';' as \"a;b\" -- ; no\n, /* ; */ 1 as n;\nselect 2"
    assert call("query", shop, "--jsonl", stdin=sql).out.splitlines() == [
        '{"a;b":";","n":1}',
        '{"?column?":2}',
    ]


def test_error_names_file_line_and_column(shop: Path, make_file: Make) -> None:
    script = make_file("q.sql", "select 1;\n\n  select nam\n  from item;")
    run = call("query", shop, "-f", script, "--csv")
    assert run.code == 1
    assert run.out == "?column?\n1\n"
    lines = run.err.splitlines()
    assert lines[0].startswith("error[42703]: ")
    assert lines[1].endswith("q.sql:3:10")
    assert lines[2] == "3 │   select nam"
    assert lines[3].startswith("  │          ^^^")
    assert 'did you mean "item.name"?' in run.err


def test_caret_stands_under_wide_and_tabbed_text(shop: Path) -> None:
    run = call("query", shop, "-c", "select '漢字',\tnope from item")
    drawn = run.err.splitlines()
    assert drawn[2] == "1 │ select '漢字',    nope from item"
    assert drawn[3].rstrip().startswith("  │ " + " " * len("select '1234',    ") + "^^^^")


def test_a_long_line_is_cut_around_the_caret(shop: Path) -> None:
    run = call("query", shop, "-c", "select " + "1," * 500 + "nope" + ",1" * 500)
    assert "nope" in run.err
    assert max(map(len, run.err.splitlines())) < 200


def test_script_stops_at_the_first_error_or_goes_on(shop: Path) -> None:
    sql = "select 1; select nope; select 2;"
    stopped = call("query", shop, "--csv", "-t", stdin=sql)
    assert (stopped.code, stopped.out) == (1, "1\n")
    going = call("query", shop, "--csv", "-t", "--on-error", "continue", stdin=sql)
    assert (going.code, going.out) == (1, "1\n2\n")


def test_single_transaction_undoes_all(shop: Path) -> None:
    sql = "delete from note; select nope;"
    assert call("query", shop, "-1", stdin=sql).code == 1
    assert call("query", shop, "select count(*) from note", "--csv", "-t").out == "1\n"
    assert call("query", shop, stdin=sql).code == 1
    assert call("query", shop, "select count(*) from note", "--csv", "-t").out == "0\n"


def test_a_transaction_left_open_is_undone_and_said(shop: Path) -> None:
    run = call("query", shop, stdin="begin; delete from note;")
    assert run.code == 0
    assert "rolled back" in run.err
    assert call("query", shop, "select count(*) from note", "--csv", "-t").out == "1\n"


@pytest.mark.parametrize(
    ("sql", "value", "expected"),
    [
        ("select name from item where id = :v", "3", "pear|é"),
        ("select id from item where name = :v", "apple", "1"),
        ("select :v", "it's; -- 'quoted'", "it's; -- 'quoted'"),
        ("select body is null from note where day = :v", "2024-02-29", "false"),
    ],
)
def test_parameters_take_the_type_of_their_place(
    shop: Path, sql: str, value: str, expected: str
) -> None:
    run = call("query", shop, sql, "-p", "v", value, "--tsv", "-t")
    assert (run.code, run.out) == (0, expected + "\n"), run.err


def test_error_position_after_a_parameter(shop: Path) -> None:
    run = call("query", shop, "select :v, nope from item", "-p", "v", "a long value")
    assert ":1:12" in run.err


def test_json_is_one_document(shop: Path) -> None:
    run = call("query", shop, "--json", "-c", "select id from item", "-c", "delete from note")
    assert [row["id"] for row in json.loads(run.out)] == [1, 2, 3]
    refused = call("query", shop, "--json", "-c", "delete from item", "-c", "select 1; select 2")
    assert refused.code == 2
    assert "--jsonl" in refused.err
    assert call("query", shop, "select count(*) from item", "--csv", "-t").out == "3\n"


def test_output_file_and_narration(shop: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    run = call("query", shop, "select id from item", "--csv", "-o", target)
    assert (run.out, target.read_text()) == ("", "id\n1\n2\n3\n")
    loud = call("query", shop, "delete from note")
    assert (loud.out, loud.err) == ("", "DELETE 1\n")
    assert call("query", shop, "delete from note", "-q").err == ""


def test_options_of_the_output(shop: Path) -> None:
    sql = "select id, price from item"
    assert call("query", shop, sql, "--csv", "--no-header").out == "1,1.5\n2,\n3,0.25\n"
    assert call("query", shop, sql, "--csv", "--null", "NA").out.splitlines()[2] == "2,NA"
    assert call("query", shop, sql, "-t").out.splitlines()[-1].split() == ["3", "│", "0.25"]
    capped = call("query", shop, sql, "--max-rows", "1", "--csv")
    assert capped.out == "id,price\n1,1.5\n"
    assert "2 more rows not shown" in capped.err
    assert call("query", shop, sql, "--format", "csv").out == call("query", shop, sql, "--csv").out
    assert call("query", shop, sql, "--format", "csv", "--json").code == 2


def test_stats_is_one_json_line_on_stderr(shop: Path) -> None:
    run = call("query", shop, "select id from item", "--stats", "-q", "--csv")
    facts = json.loads(run.err)
    assert facts["schema"] == "mantis.stats/1"
    assert (facts["statements"], facts["rows"], facts["errors"]) == (1, 3, 0)


def test_timeout(shop: Path) -> None:
    call("query", shop, "create table big (n integer)")
    values = ",".join(f"({n})" for n in range(1000))
    call("query", shop, f"insert into big values {values}")
    slow = "select count(*) from big a, big b, big c where a.n + b.n + c.n = -1"
    run = call("query", shop, slow, "--timeout", "0.2")
    assert run.code == 4
    assert run.err.startswith("error[57014]")


def test_readonly_refuses_writes(shop: Path) -> None:
    before = shop.read_bytes()
    run = call("query", shop, "-r", "-c", "delete from item")
    assert (run.code, run.err.split(":")[0]) == (1, "error[25006]")
    assert shop.read_bytes() == before


def test_usage_errors(shop: Path) -> None:
    for words in (
        ["query"],
        ["query", str(shop), "--formt", "csv", "x"],
        ["query", str(shop), "--format", "tabel", "select 1"],
        ["query", str(shop), "-1", "--on-error", "continue", "select 1"],
        ["qery", "x"],
        ["--nope"],
    ):
        run = call(*words)
        assert run.code == 2, (words, run)
        assert run.out == ""
        assert run.err.startswith("error: ")
    assert 'did you mean "query"?' in call("qery", "-h").err
    assert 'did you mean "table"?' in call("query", shop, "--format", "tabel", "x").err


def test_environment_gives_options(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTIS_FORMAT", "csv")
    assert call("query", shop, "select 1 as a").out == "a\n1\n"
    monkeypatch.setenv("MANTIS_NULL", "-")
    assert call("query", shop, "select null as a").out == "a\n-\n"


def test_color_is_decided_by_flag_then_environment(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = ("query", shop, "select null as a")
    assert "\x1b" not in call(*sql).out
    assert "\x1b[2m" in call(*sql, "--color", "always").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[2m" in call(*sql).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in call(*sql).out


def test_not_utf8_script(shop: Path, make_file: Make) -> None:
    run = call("query", shop, "-f", make_file("bad.sql", b"select 1;\nselect '\xff';"))
    assert run.code == 1
    assert "bad.sql" in run.err
    assert "UTF-8" in run.err


def test_missing_script(shop: Path) -> None:
    run = call("query", shop, "-f", "nothing.sql")
    assert (run.code, run.err) == (3, "error: cannot read nothing.sql: No such file or directory\n")


def test_version_and_help() -> None:
    assert call("--version").out.startswith("mantis 0.")
    help_text = call("--help").out
    assert "Exit codes: 0 ok" in help_text
    for name in ("query", "import", "wal"):
        assert call(name, "--help").code == 0


def test_internal_errors_go_to_a_file(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mantis_cli.commands.query._run_script", lambda *_: 1 / 0)
    run = call("query", shop, "select 1")
    assert run.code == 70
    assert "Traceback" not in run.err
    path = run.err.rsplit(" ", 1)[1].strip()
    assert "ZeroDivisionError" in Path(path).read_text()
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_the_package_and_the_command_agree_on_the_version() -> None:
    import tomllib

    from mantis_cli import __version__

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == __version__


def test_a_sqlite_file_is_named_as_foreign(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("create table t (a)")
    other.close()
    run = call("query", path, "select 1")
    assert run.code == 3
    assert run.err.startswith("error[08P01]")


# ── the file of -o ───────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "words",
    [
        ["select nope from item"],
        ["select 1 / (id - 3) from item"],
        ["-c", "select id from item", "-c", "select nope"],
        ["-1", "-c", "select id from item", "-c", "commit"],
    ],
    ids=" ".join,
)
def test_a_failed_script_leaves_the_output_file_as_it_was(
    shop: Path, tmp_path: Path, words: list[str]
) -> None:
    target = tmp_path / "out.csv"
    assert call("query", shop, *words, "--csv", "-o", target).code == 1
    assert list(tmp_path.glob("out.csv*")) == []
    target.write_text("precious\n")
    assert call("query", shop, *words, "--csv", "-o", target).code == 1
    assert target.read_text() == "precious\n"
    assert list(tmp_path.glob("out.csv*")) == [target]


def test_a_script_that_goes_on_after_an_error_writes_its_output(shop: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old\n")
    script = "select nope; select id from item where id = 2"
    assert call("query", shop, script, "--on-error", "continue", "--csv", "-o", target).code == 1
    assert target.read_text() == "id\n2\n"


def test_a_replaced_output_file_keeps_its_mode_and_its_link(shop: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "out.csv", tmp_path / "link.csv"
    target.write_text("a much longer text that was there before\n")
    target.chmod(0o600)
    link.symlink_to(target)
    for words in (
        ("query", shop, "select 1 as x", "--csv", "-o", link),
        ("export", shop, "select 1 as x", link),
    ):
        assert call(*words).code == 0
        assert link.is_symlink()
        assert (target.read_text(), target.stat().st_mode & 0o777) == ("x\n1\n", 0o600)
    missing = call("query", shop, "select 1", "-o", tmp_path / "no" / "x.csv")
    assert (missing.code, f"cannot write {tmp_path}/no/x.csv: No such file" in missing.err) == (
        3,
        True,
    )


def test_devices_and_pipes_are_written_directly(shop: Path, tmp_path: Path) -> None:
    sql = "select id from item where id = 3"
    assert call("query", shop, sql, "-o", "/dev/null").code == 0
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for words in (("query", shop, sql, "--csv", "-o", fifo), ("export", shop, sql, fifo, "--csv")):
        child = spawn(*words)
        assert fifo.read_text() == "id\n3\n"
        assert child.communicate(timeout=60)[0] == b""
        assert child.returncode == 0
        assert fifo.is_fifo()
    with open(tmp_path / "stdout.csv", "wb") as file:
        before = os.fstat(file.fileno()).st_ino
        child = spawn("query", shop, sql, "--csv", "-o", "/dev/stdout", stdout=file)
        child.communicate(timeout=60)
    assert (tmp_path / "stdout.csv").read_text() == "id\n3\n"
    assert (tmp_path / "stdout.csv").stat().st_ino == before


def test_output_never_replaces_a_database(shop: Path, tmp_path: Path) -> None:
    """`-o` naming the database itself once overwrote it with the query's own answer."""
    before = shop.read_bytes()
    for words in (
        ("query", shop, "select 1", "-o", shop),
        ("export", shop, "item", shop, "--csv"),
        ("tables", shop, "-o", shop),
    ):
        run = call(*words)
        assert run.code != 0
        assert "is a MantisDB file" in run.err
        assert shop.read_bytes() == before
    log = tmp_path / "other.mantis-wal-00000001"
    log.write_bytes(b"whatever")
    assert call("query", shop, "select 1", "-o", log).code != 0
    assert log.read_bytes() == b"whatever"


def test_a_parameter_that_no_statement_has_is_named(shop: Path) -> None:
    words = ("query", shop, "-p", "x", "1", "-p", "y", "1", "--jsonl", "-c")
    run = call(*words, "select 1 as a; select :x as b")
    assert (run.code, run.out) == (0, '{"a":1}\n{"b":"1"}\n')
    assert run.err.splitlines() == ["note: -p y: no statement has :y"]
    assert call(*words, "select :x as b, :y as c").err == ""
