"""The shell: its parts on plain data, as a script on standard input, and on a real terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mantis_cli.shell.completion import Names, suggest
from mantis_cli.shell.guard import destroys
from mantis_cli.shell.highlight import styled
from mantis_cli.shell.history import DatabaseHistory, history_path, read_entries
from tests.cli.conftest import Make, call

NAMES = Names(
    {"flights": ("year", "month", "carrier"), "airlines": ("carrier", "name"), "Odd One": ("a b",)},
    ("by_year",),
    ("count", "coalesce"),
)


def texts(before: str, after: str = "") -> list[str]:
    return [s.text for s in suggest(before, after, NAMES, [".tables", ".timer", "\\dt"])]


# ── completion ───────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("sel", "", ["select"]),
        ("SEL", "", ["SELECT"]),
        ("select * from ", "", ["flights", "airlines", '"Odd One"']),
        ("select * from fl", "", ["flights"]),
        ("select * from flights, air", "", ["airlines"]),
        ("insert into ", "", ["flights", "airlines", '"Odd One"']),
        ("select f.", " from flights f", ["year", "month", "carrier"]),
        ("select f.mo", " from flights as f", ["month"]),
        ("select * from flights f join airlines a on f.carrier = a.", "", ["carrier", "name"]),
        ("select nothing.", " from flights", []),
        ("drop index ", "", ["by_year"]),
        (".t", "", [".tables", ".timer"]),
        (".schema fl", "", ["flights"]),
        ("select 'fl", "", []),
        ("-- fl", "", []),
        ('select "fl', "", []),
        ("", "", []),
    ],
)
def test_suggestions(before: str, after: str, expected: list[str]) -> None:
    assert texts(before, after) == expected


def test_columns_of_the_statement_come_before_keywords() -> None:
    found = texts("select ca", " from flights")
    assert found[0] == "carrier"
    assert "case" in found
    assert texts("update airlines set na")[0] == "name"
    assert texts("select * from flights; select cou")[0] == "count"


def test_ctes_and_letters_in_order() -> None:
    assert "recent" in texts("with recent as (select 1) select * from ")
    assert texts("select * from flts") == ["flights"]


def test_replaces_what_was_typed() -> None:
    (suggestion,) = suggest("select * from fl", "", NAMES, [])
    assert (suggestion.length, suggestion.kind) == (2, "table")


# ── highlighting ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "text",
    ["select 'a' , 1.5 -- x\n from t;", "'open", "/* open", "\x00 é", ".tables", "", "select"],
)
def test_highlighting_covers_the_text(text: str) -> None:
    assert "".join(piece for _, piece in styled(text)) == text


def test_highlighting_uses_the_lexers_kinds() -> None:
    kinds = {piece: style for style, piece in styled("select x, 1, 'a' from t")}
    assert kinds["select"] == "class:keyword"
    assert kinds["x"] == "class:name"
    assert kinds["1"] == "class:number"
    assert kinds["'a'"] == "class:string"


# ── history ──────────────────────────────────────────────────────────────────────────────────
def test_history_is_private_whole_and_forgetful(tmp_path: Path) -> None:
    path = history_path(str(tmp_path / "x.mantis"))
    assert path.startswith(os.environ["XDG_STATE_HOME"])
    history = DatabaseHistory(path)
    for text in ("select 1;", "select\n  2;", " secret;", "select\n  2;", "  "):
        history.append_string(text)
    assert read_entries(path) == ["select 1;", "select\n  2;"]
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert list(DatabaseHistory(path).load_history_strings()) == ["select\n  2;", "select 1;"]
    assert history_path("/a/x.mantis") != history_path("/b/x.mantis")


def test_history_survives_a_bad_line_and_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mantis_cli.shell.history.ENTRIES_MAX", 10)
    path = tmp_path / "h.jsonl"
    path.write_text("not json\n" + "".join(f'"select {n};"\n' for n in range(50)))
    newest = list(DatabaseHistory(str(path)).load_history_strings())
    assert newest[0] == "select 49;"
    assert len(newest) == 10
    assert len(read_entries(str(path))) == 10


# ── the guard ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("sql", "question"),
    [
        ("delete from t", "delete all 7 rows of t?"),
        ("DELETE FROM t;", "delete all 7 rows of t?"),
        ("update t set a = 1", "change all 7 rows of t?"),
        ("drop table if exists t", "drop the table with all 7 rows of t?"),
        ("delete from t where a = 1", None),
        ("update t set a = 1 where b", None),
        ("select 'delete from t'", None),
        ("delete from gone", None),
        ("", None),
    ],
)
def test_guard(sql: str, question: str | None) -> None:
    assert destroys(sql, lambda table: 7 if table == "t" else None) == question


# ── scripts ──────────────────────────────────────────────────────────────────────────────────
def test_a_script_mixes_sql_and_commands(shop: Path, tmp_path: Path, make_file: Make) -> None:
    other = make_file("more.sql", "select 'from file' as f;\n")
    script = (
        f".mode csv\n.headers off\nselect id\n from item\n where id < 3;\n\\dt\n.null -\n"
        f"select null;\n.read {other}\n.once {tmp_path / 'once.csv'}\nselect 9;\nselect 10;\n"
        ".schema note\n.indexes\n\\x\nselect 5 as v;\n.quit\nselect 'never';\n"
    )
    run = call("shell", shop, stdin=script)
    assert run.code == 0, run.err
    assert run.out.splitlines() == [
        "1",
        "2",
        "item,table,3,3,1",
        "note,table,1,3,0",
        "-",
        "from file",
        "10",
        "CREATE TABLE note (",
        "  item_id integer,",
        "  body text,",
        "  day date",
        ");",
        "item_name,item,name,false,3",
        "5",
        "(1 row)",
    ]
    assert (tmp_path / "once.csv").read_text() == "9\n"


def test_a_script_stops_at_its_first_error_with_its_line(shop: Path) -> None:
    run = call(
        "shell", shop, "--csv", "-t", stdin="select 1;\n.mode csv\n\nselect nope;\nselect 2;\n"
    )
    assert (run.code, run.out) == (1, "1\n")
    assert "<stdin>:4:8" in run.err


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (".tabels", "did you mean .tables?"),
        ("\\dx", "did you mean"),
        (".mode tabel", 'did you mean "table"?'),
        (".describe itm", 'did you mean "item"?'),
        (".read", "usage: .read FILE"),
        (".read nothing.sql", "cannot read nothing.sql"),
        (".timer maybe", ".timer takes on or off, not maybe"),
        (".timer on off", "usage: .timer [on|off]; what is off?"),
        (".headers 2", ".headers takes on or off, not 2"),
        ("\\x perhaps", ".expanded takes on or off, not perhaps"),
        (".mode csv tsv", "usage: .mode FORMAT; what is tsv?"),
        (".maxrows many", ".maxrows takes a number of rows, not many; 0 is all rows"),
        (".maxrows -1", ".maxrows takes a number of rows, not -1"),
        (".maxrows ²", ".maxrows takes a number of rows, not ²"),
        (".maxrows " + "9" * 5000, ".maxrows takes a number of rows"),
        (".maxrows 1 2", "usage: .maxrows N; what is 2?"),
        (".null not here", "usage: .null [TEXT]"),
        (".edit", "needs a terminal"),
    ],
)
def test_commands_that_cannot_be_done_say_why(shop: Path, command: str, hint: str) -> None:
    run = call("shell", shop, stdin=f"{command}\nselect 1;\n")
    assert (run.code, run.out) == (1, "")
    assert hint in run.err


def test_every_command_is_in_the_help_and_runs(shop: Path, tmp_path: Path, make_file: Make) -> None:
    listed = call("shell", shop, stdin=".help\n").out
    from mantis_cli.shell.commands import COMMANDS

    source = make_file("new.csv", "a\n1\n")
    arguments = {
        ".explain": "select 1",
        ".once": str(tmp_path / "o"),
        ".read": str(make_file("r.sql", "select 1;")),
        ".import": f"{source} fresh",
        ".export": f"item {tmp_path / 'item.csv'}",
    }
    for command in COMMANDS:
        assert all(name in listed for name in command.names), command.names
        if command.names[0] == ".edit":
            continue
        line = f"{command.names[0]} {arguments.get(command.names[0], '')}".strip()
        run = call("shell", shop, stdin=line + "\n")
        assert run.code == 0, (line, run.err)
    assert (tmp_path / "item.csv").read_text().startswith("id,name,price\n")
    assert call("query", shop, "select a from fresh", "--csv", "-t").out == "1\n"


def test_a_transaction_left_open_is_undone(shop: Path) -> None:
    run = call("shell", shop, stdin="begin;\ndelete from note;\n")
    assert "rolled back" in run.err
    assert call("query", shop, "select count(*) from note", "--csv", "-t").out == "1\n"


# ── a terminal ───────────────────────────────────────────────────────────────────────────────
class Terminal:
    """`mantis` on a pseudo-terminal, seen through a screen that answers cursor questions."""

    def __init__(self, *words: str, **env: str) -> None:
        pexpect = pytest.importorskip("pexpect")
        pyte = pytest.importorskip("pyte")
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "mantis_cli", *words],
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **env},
            dimensions=(30, 100),
            timeout=30,
        )
        self.screen = pyte.Screen(100, 30)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.pexpect = pexpect

    def read(self, seconds: float = 0.2) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                data = self.child.read_nonblocking(65536, 0.05)
            except self.pexpect.TIMEOUT:
                continue
            except self.pexpect.EOF:
                return
            self.raw += data
            self.stream.feed(data)
            for _ in range(data.count(b"\x1b[6n")):
                self.child.send(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, words: str) -> None:
        end = time.monotonic() + 30
        while words not in self.text:
            assert time.monotonic() < end, f"no {words!r} on:\n{self.text}"
            self.read()

    def type(self, text: str) -> None:
        self.child.send(text)


@pytest.fixture
def terminal(shop: Path) -> Iterator[Terminal]:
    started = Terminal(str(shop))
    started.wait_for("shop>")
    yield started
    started.child.close(force=True)


def test_prompt_results_transactions_and_errors(terminal: Terminal, shop: Path) -> None:
    terminal.wait_for("no transaction")  # the toolbar
    terminal.type("select id,\r")
    terminal.type("name from item where id = 1;\r")
    terminal.wait_for("1 │ apple")
    terminal.type("begin;\r")
    terminal.wait_for("shop*>")
    terminal.wait_for("in transaction")
    terminal.type("select nope from item;\r")
    terminal.wait_for("shop!>")
    assert "^^^^" in terminal.text
    terminal.type("rollback;\r")
    terminal.wait_for("ROLLBACK")
    terminal.type(".quit\r")
    assert terminal.child.wait() == 0
    assert read_entries(history_path(str(shop)))[0] == "select id,\nname from item where id = 1;"


def test_ctrl_c_cancels_the_statement_and_the_shell_lives(terminal: Terminal) -> None:
    values = ",".join(f"({n})" for n in range(1000))
    terminal.type(f"create table n (v integer); insert into n values {values};\r")
    terminal.wait_for("INSERT 0 1000")
    terminal.type("select count(*) from n a, n b, n c where a.v + b.v + c.v = -1;\r")
    terminal.read(1.0)
    terminal.type("\x03")
    terminal.wait_for("cancelled")
    terminal.type("select 'still ' || 'here';\r")
    terminal.wait_for("still here")
    terminal.type("not yet sent\x03")
    terminal.read(0.5)
    terminal.type("\x04")
    assert terminal.child.wait() == 0


def test_completion_menu_and_the_question_before_a_delete(terminal: Terminal) -> None:
    terminal.type("select * from no")
    terminal.wait_for("note")
    terminal.type("\t")
    terminal.type(";\r")
    terminal.wait_for("two\\nlines")
    terminal.type("delete from note;\r")
    terminal.wait_for("delete all 1 row of note? [y/N]")
    terminal.type("n\r")
    terminal.wait_for("not done")
    terminal.type("select count(*) as left_over from note;\r")
    terminal.wait_for("left_over")
    terminal.type("\x04")
    assert terminal.child.wait() == 0


def test_a_missing_file_is_created_only_after_a_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a long path would break the question over two lines
    path = Path("fresh.mantis")
    no = Terminal("shell", str(path))
    no.wait_for("does not exist. Create")
    no.type("n\r")
    assert no.child.wait() == 3
    assert not path.exists()
    yes = Terminal("shell", str(path))
    yes.wait_for("does not exist. Create")
    yes.type("y\r")
    yes.wait_for("fresh>")
    yes.type("\x04")
    assert yes.child.wait() == 0
    assert path.exists()


def test_no_color_on_a_terminal(shop: Path) -> None:
    plain = Terminal("query", str(shop), "select null as n", NO_COLOR="1")
    plain.wait_for("(1 row)")
    assert b"\x1b" not in plain.raw
    colored = Terminal("query", str(shop), "select null as n")
    colored.wait_for("(1 row)")
    assert b"\x1b[2m" in colored.raw


def test_rows_are_capped_on_a_terminal_and_said(shop: Path) -> None:
    call("query", shop, "create table many (v integer)")
    values = ",".join(f"({n})" for n in range(1200))
    call("query", shop, f"insert into many values {values}")
    run = Terminal("query", str(shop), "select * from many")
    run.wait_for("200 more rows not shown")


def test_the_note_about_hidden_rows_names_what_works_here(shop: Path) -> None:
    run = call("shell", shop, stdin=".maxrows 1\nselect id from item;\n")
    assert "2 more rows not shown; .maxrows 0 for all" in run.err
    assert "--max-rows" not in run.err
    run = call("query", shop, "select id from item", "--max-rows", "1")
    assert "2 more rows not shown; --max-rows 0 for all" in run.err


def test_words_of_shell_commands(shop: Path) -> None:
    script = ".mode CSV\n.headers OFF\n.maxrows 999999999999999999\nselect id from item;\n"
    run = call("shell", shop, stdin=script)
    assert (run.code, run.out) == (0, "1\n2\n3\n")
    run = call("query", shop, "--csv", "-t", "--max-rows", 10**30, "select 1")
    assert (run.code, run.out) == (0, "1\n")
