"""`mantis wal` and `mantis recover` on a database whose process was killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from mantis_cli.main import execute

CRASH = """
import os, sys
from engine.database import Database
session = Database.open(sys.argv[1], create=True).session()
session.execute("create table t (id integer primary key, name text)")
session.execute("insert into t values (1, 'one'), (2, 'two')")
session.execute("delete from t where id = 1")
os._exit(9)
"""


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Mantis = Callable[..., Done]


@pytest.fixture
def mantis(capfd: pytest.CaptureFixture[str]) -> Mantis:
    """Runs a command line in this process."""

    def run(*words: str) -> Done:
        code = execute(list(words))
        sys.stdout.flush()
        return Done(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a database whose process died; not to be changed."""
    directory = tmp_path_factory.mktemp("killed")
    words = [sys.executable, "-c", CRASH, str(directory / "t.mantis")]
    assert subprocess.run(words, timeout=60).returncode == 9
    return directory


@pytest.fixture
def crashed(killed: Path, tmp_path: Path) -> str:
    shutil.copytree(killed, tmp_path / "copy")
    return str(tmp_path / "copy" / "t.mantis")


def flip(mantis: Mantis, path: str, lsn: int) -> None:
    """Damage the payload of a record."""
    shown = mantis("wal", "dump", path, "--lsn", str(lsn), "--json").stdout
    offset = json.loads(shown)["offset"] + 45
    with open(f"{path}-wal-00000001", "r+b") as file:
        file.seek(offset)
        raw = file.read(1)
        file.seek(offset)
        file.write(bytes([raw[0] ^ 16]))


def test_dump_prints_records_and_rows(mantis: Mantis, crashed: str) -> None:
    done = mantis("wal", "dump", crashed)
    assert done.returncode == 0 and done.stderr == ""
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["1", "2", "3", "4"]
    done = mantis("wal", "dump", crashed, "--rows", "--table", "t")
    assert [line.split("  ", 2)[2] for line in done.stdout.splitlines()] == [
        "put     t  key 1  (1, 'one')",
        "put     t  key 2  (2, 'two')",
        "delete  t  key 1",
    ]
    done = mantis("wal", "dump", crashed, "--rows", "--kind", "delete", "--json")
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (row["table"], row["key"], row["values"]) == ("t", "1", None)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--lsn", "x"), "x is not N"),
        (("--table", "nobody"), "no table or index is called nobody"),
        (("--since", "yesterdays"), "yesterdays"),
    ],
)
def test_bad_filters_are_usage_errors(
    mantis: Mantis, crashed: str, words: tuple[str, ...], complaint: str
) -> None:
    done = mantis("wal", "dump", crashed, *words)
    assert done.returncode == 2 and complaint in done.stderr and done.stdout == ""


def test_stat_and_verify(mantis: Mantis, crashed: str) -> None:
    done = mantis("wal", "stat", crashed)
    assert done.returncode == 0 and "transactions  3, 5 rows" in done.stdout
    document = json.loads(mantis("wal", "stat", crashed, "--json").stdout)
    assert document["schema"] == "mantis.wal.stat/1" and document["trees"]["t"]["deletes"] == 1
    done = mantis("wal", "verify", crashed)
    assert done.returncode == 0 and done.stdout.endswith("verified\nok\n")


def test_damage_is_exit_code_5_everywhere_and_nothing_changes(mantis: Mantis, crashed: str) -> None:
    flip(mantis, crashed, 2)
    before = Path(f"{crashed}-wal-00000001").read_bytes()
    done = mantis("wal", "verify", crashed)
    assert done.returncode == 5 and "damage: LSN 2 to 2 lost" in done.stdout
    document = json.loads(mantis("wal", "verify", crashed, "--json").stdout)
    assert document["damaged"] and document["findings"][0]["first_lsn"] == 2
    assert mantis("wal", "dump", crashed).returncode == 5
    done = mantis("recover", crashed)
    assert done.returncode == 5 and "LSN 2" in done.stdout
    assert json.loads(mantis("recover", crashed, "--json").stdout)["outcome"] == "damaged"
    assert Path(f"{crashed}-wal-00000001").read_bytes() == before


def test_recover_reports_then_leaves_a_single_file(mantis: Mantis, crashed: str) -> None:
    names = sorted(path.name for path in Path(crashed).parent.iterdir())
    done = mantis("recover", crashed, "-n")
    assert done.returncode == 0 and "to replay: 3 transactions, 5 rows" in done.stdout
    assert sorted(path.name for path in Path(crashed).parent.iterdir()) == names
    document = json.loads(mantis("recover", crashed, "--json").stdout)
    assert document["schema"] == "mantis.recover/1" and document["outcome"] == "recovered"
    assert [path.name for path in Path(crashed).parent.iterdir()] == ["t.mantis"]
    done = mantis("recover", crashed)
    assert done.returncode == 0 and "clean" in done.stdout
    done = mantis("wal", "stat", crashed)
    assert done.returncode == 0 and "there is no log" in done.stderr


def test_a_missing_file_is_exit_code_3(mantis: Mantis, tmp_path: Path) -> None:
    for words in (("wal", "dump"), ("wal", "stat"), ("wal", "verify"), ("recover",)):
        done = mantis(*words, str(tmp_path / "no.mantis"))
        assert done.returncode == 3 and "no such file" in done.stderr


def test_the_log_commands_do_not_load_heavy_modules(crashed: str) -> None:
    code = (
        "import sys\nfrom mantis_cli.main import execute\n"
        f"execute(['wal', 'stat', {crashed!r}])\n"
        "heavy = {'pyarrow', 'numpy', 'rich', 'prompt_toolkit', 'pygments', 'pyparsing'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("option", "value"),
    [("--lsn", "5-2"), ("--lsn", "5..2"), ("--key", "zz"), ("--key", "\\x1"), ("--key", "1.5")],
)
def test_dump_refuses_what_nothing_can_match(
    mantis: Mantis, crashed: str, option: str, value: str
) -> None:
    done = mantis("wal", "dump", crashed, option, value)
    assert (done.returncode, done.stdout) == (2, "")
    assert option in done.stderr and value in done.stderr


def test_dump_finds_a_key_however_it_is_written(mantis: Mantis, crashed: str) -> None:
    shown = mantis("wal", "dump", crashed, "--rows", "--key", "2", "--table", "t").stdout
    assert len(shown.splitlines()) == 1
    assert mantis("wal", "dump", crashed, "--rows", "--key", "02", "--table", "t").stdout == shown
