"""What only a process shows: signals, closed pipes, locks, locales, and what start-up imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Make, call, process, spawn

SLOW = "select count(*) from n a, n b, n c where a.v + b.v + c.v = -1"
HEAVY = ("prompt_toolkit", "rich", "pygments", "pyarrow", "numpy", "asyncio")


@pytest.fixture
def numbers(shop: Path) -> Path:
    call("query", shop, "create table n (v integer)")
    values = ",".join(f"({n})" for n in range(1000))
    assert call("query", shop, f"insert into n values {values}").code == 0
    return shop


def imported(*words: object) -> set[str]:
    """Top-level modules loaded after running one command line."""
    program = (
        "import sys; from mantis_cli.main import execute; code = execute(sys.argv[1:]);"
        "print(code, *{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=True,
    )
    code, *names = done.stderr.splitlines()[-1].split()
    assert code == "0", done.stderr
    return set(names)


def test_a_small_piped_query_imports_nothing_heavy(shop: Path) -> None:
    for sql in ("select 1", "select * from item where id = 2", "update item set price = 1"):
        assert not imported("query", shop, "-c", sql, "--csv") & set(HEAVY)


def test_info_imports_no_sql(shop: Path) -> None:
    program = (
        "import sys; from mantis_cli.main import execute; execute(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "info", str(shop)], capture_output=True, text=True
    )
    names = set(done.stderr.split())
    assert not names & {"engine.session", "engine.database", "engine.sql", "pyparsing", *HEAVY}
    assert "engine.storage.page" in names


def test_help_imports_no_engine() -> None:
    assert "pyparsing" not in imported("--help")


def wait_for(child: subprocess.Popen[bytes], word: bytes) -> None:
    """Until the child has printed a line with the word, and a moment longer."""
    assert child.stdout is not None
    while word not in child.stdout.readline():
        assert child.poll() is None, "it ended"
    time.sleep(0.3)


# ── signals ──────────────────────────────────────────────────────────────────────────────────
def test_ctrl_c_cancels_and_undoes(numbers: Path) -> None:
    child = spawn(
        "query", numbers, "-c", f"begin; insert into n values (-9); select 'go'; {SLOW}; commit"
    )
    wait_for(child, b"go")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert b"Traceback" not in err
    assert call("query", numbers, "select count(*) from n", "--csv", "-t").out == "1000\n"


def test_ctrl_c_while_waiting_for_input(shop: Path) -> None:
    child = spawn("query", shop, "-")
    assert child.stdin is not None
    child.stdin.write(b"insert into note values (7, 'x', null); select 'go';\n")
    child.stdin.flush()
    wait_for(child, b"go")
    child.send_signal(signal.SIGINT)
    child.wait(timeout=30)
    assert child.returncode == 130
    child.communicate()


def test_sigterm_closes_cleanly_and_dies_by_it(numbers: Path) -> None:
    child = spawn("query", numbers, "-c", f"insert into n values (-5); select 'go'; {SLOW}")
    wait_for(child, b"go")
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=30)
    assert child.returncode == -signal.SIGTERM
    assert [path.name for path in numbers.parent.glob("shop.mantis*")] == ["shop.mantis"]
    assert call("query", numbers, "select count(*) from n", "--csv", "-t").out == "1001\n"


def test_a_closed_pipe_ends_quietly_with_141(numbers: Path) -> None:
    child = spawn("query", numbers, "-c", "select a.v, b.v from n a, n b", "--csv")
    assert child.stdout is not None
    assert child.stdout.readline() == b"v,v\n"
    child.stdout.close()
    assert child.stderr is not None
    err = child.stderr.read()
    assert (child.wait(timeout=60), err) == (141, b"")
    child.stderr.close()


# ── locks ────────────────────────────────────────────────────────────────────────────────────
def test_a_lock_is_named_waited_for_and_changes_nothing(shop: Path) -> None:
    holder = spawn("query", shop, "-")
    assert holder.stdin is not None and holder.stdout is not None
    holder.stdin.write(b"select 'ready';\n")
    holder.stdin.flush()
    while b"ready" not in holder.stdout.readline():
        pass
    refused = call("query", shop, "select 1")
    assert refused.code == 3
    assert refused.err.startswith("error[55006]")
    assert str(holder.pid) in refused.err
    readonly = call("query", shop, "-r", "select 1")
    assert readonly.code == 3
    for run in (refused, readonly):
        assert "--wait 30" in run.err
        assert "--readonly" not in run.err
    facts = call("info", shop).out
    assert f"process {holder.pid} since" in facts
    waiter = spawn("query", shop, "-c", "select 'got it'", "--csv", "-t", "--wait", "30")
    time.sleep(1)
    holder.stdin.close()
    assert holder.wait(timeout=30) == 0
    out, err = waiter.communicate(timeout=60)
    assert (waiter.returncode, out) == (0, b"got it\n"), err
    holder.stdout.close()
    if holder.stderr:
        holder.stderr.close()


def test_readers_share_a_database_and_a_writer_is_told_to_wait(shop: Path) -> None:
    holder = spawn("query", shop, "-r", "-")
    assert holder.stdin is not None and holder.stdout is not None
    holder.stdin.write(b"select 'ready';\n")
    holder.stdin.flush()
    while b"ready" not in holder.stdout.readline():
        pass
    reader = process("query", shop, "-r", "--csv", "-t", "select count(*) from item")
    assert (reader.code, reader.out) == (0, "3\n")
    writer = process("query", shop, "delete from item")
    assert (writer.code, "--wait 30" in writer.err) == (3, True)
    assert "--readonly" not in writer.err
    holder.communicate(timeout=60)


# ── locales ──────────────────────────────────────────────────────────────────────────────────
def test_c_locale_draws_in_ascii_and_keeps_data(shop: Path) -> None:
    env = {"LC_ALL": "C", "LANG": "C"}
    table = process("query", shop, "-c", "select name from item where id = 3", env=env)
    assert table.code == 0
    assert table.out.splitlines()[1] == "--------"
    data = process("query", shop, "-c", "select name from item where id = 3", "--csv", env=env)
    assert data.out == "name\npear|é\n"
    wrong = process("query", shop, "-c", "select nope from item", env=env)
    assert (wrong.code, "-- -c:1:8" in wrong.err) == (1, True)


def test_a_latin_1_terminal_gets_escapes(shop: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"}
    run = process("query", shop, "-c", "select name from item where id = 3", env=env)
    assert (run.code, "pear|\\xe9" in run.out) == (0, True)


# ── bad files ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("command", [("query", "select 1"), ("info",), ("check",), ("tables",)])
def test_files_that_are_no_database(
    tmp_path: Path, make_file: Make, command: tuple[str, ...]
) -> None:
    name, *rest = command
    missing = tmp_path / "nothing.mantis"
    assert call(name, missing, *rest).code == 3
    assert not missing.exists()
    for content in (b"", b"hello", os.urandom(70_000)):
        path = make_file("x.mantis", content)
        run = call(name, path, *rest)
        assert run.code == 3, run
        assert path.read_bytes() == content
        assert "Traceback" not in run.err
    assert call(name, tmp_path, *rest).code == 3


def test_near_name_is_suggested(shop: Path) -> None:
    run = call("query", shop.with_name("shopp.mantis"), "select 1")
    assert (run.code, f"did you mean {shop}?" in run.err) == (3, True)


def test_new_never_overwrites(shop: Path) -> None:
    before = shop.read_bytes()
    assert call("new", shop).code == 3
    assert shop.read_bytes() == before


@pytest.mark.parametrize("delay_s", [0.3, 0.4, 0.5])
def test_a_killed_import_leaves_all_or_nothing(shop: Path, make_file: Make, delay_s: float) -> None:
    rows = make_file("rows.csv", "id,s\n" + "".join(f"{n},{n:030}\n" for n in range(150_000)))
    child = spawn("import", shop, "fresh", rows, "--pk", "id")
    time.sleep(delay_s)
    child.kill()
    child.communicate()
    count = call("query", shop, "--csv", "-t", "select count(*) from fresh")
    assert (count.code, count.out) in ((0, "150000\n"), (1, "")), count
    assert call("query", shop, "--csv", "-t", "select count(*) from item").out == "3\n"
    assert call("check", shop).code == 0
    assert {path.name for path in shop.parent.glob("shop.mantis*")} == {"shop.mantis"}


def test_check_names_what_is_broken(tmp_path: Path, make_file: Make) -> None:
    path = tmp_path / "a.mantis"
    rows = make_file("rows.csv", "id,s\n" + "".join(f"{n},name {n % 97}\n" for n in range(3000)))
    assert call("new", path, "--page-size", "4").code == 0
    assert call("import", path, "big", rows, "--pk", "id").code == 0
    assert call("query", path, "create index big_s on big (s)").code == 0
    whole = path.read_bytes()
    said: set[str] = set()
    for page_no in range(0, len(whole) // 4096, 2):
        broken = bytearray(whole)
        broken[page_no * 4096 + 100] ^= 0x40
        path.write_bytes(broken)
        run = call("check", path)
        assert run.code in (0, 5)  # 0: a free page
        said |= {name for name in ("table big", "index big_s", "meta page 0") if name in run.out}
        assert f"page {page_no}: page {page_no}:" not in run.out
        answer = call("query", path, "--csv", "-t", "select count(*), sum(id) from big")
        assert answer.code == 5 or answer.out == "3000,4498500\n", answer
        assert os.listdir(tmp_path).count("a.mantis-lock") == 0
    assert said == {"table big", "index big_s", "meta page 0"}
