"""Closed and full streams, files that are not databases, newer formats, rights, names of files."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import xxhash

from engine.storage import page
from tests.cli.conftest import Make, call, process, spawn

NEEDS_FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")


def shell_line(line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `mantis ARGUMENTS` with the redirections of `line`, a line of sh."""
    words = [sys.executable, "-m", "mantis_cli", *map(str, arguments)]
    return subprocess.run(
        ["sh", "-c", f'"$@" {line}', "sh", *words], capture_output=True, text=True, timeout=60
    )


# ── streams ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("command", [("query", "select 1"), ("info",), ("check",), ("schema",)])
def test_data_for_a_closed_stdout_is_an_error(shop: Path, command: tuple[str, ...]) -> None:
    done = shell_line(">&-", command[0], shop, *command[1:])
    assert done.returncode == 1
    assert done.stderr.endswith("error: cannot write the output: Bad file descriptor\n")
    assert "Traceback" not in done.stderr


def test_a_statement_without_rows_needs_no_stdout(shop: Path) -> None:
    assert shell_line(">&- 2>&-", "query", shop, "delete from note").returncode == 0
    assert call("query", shop, "--csv", "-t", "select count(*) from note").out == "0\n"
    assert call("check", shop).code == 0


def test_closed_streams_never_lend_their_numbers_to_the_database(shop: Path) -> None:
    program = (
        "import os; [os.close(n) for n in range(3)];"
        "from mantis_cli.main import fill_standard_streams; fill_standard_streams();"
        "import engine.vfs; file = engine.vfs.OsVfs().open(os.environ['SHOP']);"
        "print('into the void'); os.write(2, b'nowhere');"
        "os._exit(all(os.path.samestat(os.fstat(n), os.stat('/dev/null')) for n in range(3)))"
    )
    before = shop.read_bytes()
    code = subprocess.call([sys.executable, "-c", program], env={**os.environ, "SHOP": str(shop)})
    assert code == 1
    assert shop.read_bytes() == before


@NEEDS_FULL
@pytest.mark.parametrize("command", [("tables",), ("info",), ("check",), ("schema",)])
def test_a_full_disk_behind_stdout_is_no_bug_of_ours(shop: Path, command: tuple[str, ...]) -> None:
    done = shell_line(">/dev/full", command[0], shop)
    assert done.returncode == 1
    assert done.stderr.endswith("error: cannot write the output: No space left on device\n")
    assert "internal error" not in done.stderr


@NEEDS_FULL
def test_narration_that_cannot_be_written_changes_nothing(shop: Path) -> None:
    assert shell_line("2>/dev/full", "query", shop, "delete from note").returncode == 0
    assert shell_line("2>/dev/full", "query", shop, "select nope").returncode == 1


def test_help_into_a_closed_pipe(shop: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -m mantis_cli --help | true; echo "${{PIPESTATUS[0]}}"'],
        capture_output=True,
        text=True,
    )
    assert done.stdout in ("141\n", "0\n")  # 0: it was faster than `true`
    assert done.stderr == ""


# ── files that are no database ───────────────────────────────────────────────────────────────
COMMANDS = [
    ("query", "select 1"),
    ("info",),
    ("check",),
    ("tables",),
    ("schema",),
    ("recover",),
    ("recover", "-n"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_pipe_or_a_device_is_refused_without_waiting(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, "/dev/null"):
        run = call(command[0], path, *command[1:])
        assert run.code == 3, run
        assert "not a regular file" in run.err


@pytest.mark.parametrize("command", [("wal", "dump"), ("wal", "stat"), ("wal", "verify")])
def test_the_log_of_no_database(make_file: Make, command: tuple[str, ...]) -> None:
    text = make_file("text", "hello\n" * 1000)
    run = call(*command, text)
    assert (run.code, run.out) == (3, "")
    assert f'"{text}" is not a MantisDB database' in run.err
    for missing in (text / "x", text.with_name("nodir") / "x"):
        assert call(*command, missing).code == 3


def test_the_message_names_the_file(make_file: Make) -> None:
    path = make_file("x.mantis", b"SQLite format 3\0" + bytes(9000))
    assert f'"{path}" is not a MantisDB database' in call("query", path, "select 1").err
    directory = call("info", path.parent)
    assert (directory.code, "did you mean" in directory.err) == (3, False)


@pytest.mark.parametrize("size", [64, 511, 512, 4096, 32_768, 40_000, 65_536, -1])
def test_truncated_files(shop: Path, size: int) -> None:
    whole = shop.read_bytes()
    cut = whole[:size]
    shop.write_bytes(cut)
    for command in (("query", "select * from item"), ("check",), ("recover",), ("recover", "-n")):
        run = call(command[0], shop, *command[1:])
        assert run.code == 5, (command, run)
    assert shop.read_bytes() == cut


def resealed(raw: bytes, at: int, layout: str, offset: int, value: int) -> bytes:
    """The file with one field of the meta page at `at` changed, its checksum right."""
    sector = bytearray(raw[at : at + page.META_SIZE])
    struct.pack_into(layout, sector, offset, value)
    sector[page.META_BODY_SIZE :] = xxhash.xxh3_128_digest(bytes(sector[: page.META_BODY_SIZE]))
    return raw[:at] + bytes(sector) + raw[at + page.META_SIZE :]


@pytest.mark.parametrize(
    ("layout", "offset", "value", "words"),
    [("<I", 8, 999, "file format 999"), ("<Q", 128, 1 << 40, "features 0x10000000000")],
    ids=["version", "required feature"],
)
def test_a_newer_format_is_refused_by_name(
    shop: Path, layout: str, offset: int, value: int, words: str
) -> None:
    raw = shop.read_bytes()
    size = page.decode_meta(raw).page_size
    for slots in ((0, size), (0,), (size,)):
        newer = raw
        for at in slots:
            newer = resealed(newer, at, layout, offset, value)
        shop.write_bytes(newer)
        for command in (*COMMANDS, ("wal", "stat")):
            name, *rest = command
            words_of_it = (name, *rest, shop) if name == "wal" else (name, shop, *rest)
            run = call(*words_of_it)
            assert run.code == 3, (command, run)
            assert words in run.err
            assert "newer mantisdb" in run.err
        assert shop.read_bytes() == newer


# ── rights ───────────────────────────────────────────────────────────────────────────────────
AS_NOBODY = """
import os, sys
from mantis_cli.main import execute
warm, path = sys.argv[1:3]
commands = [line.split("|") for line in sys.argv[3:]]
def run(database):
    for words in commands:
        code = execute([word.replace("FILE", database) for word in words])
        print("code", code, flush=True)
run(warm)  # whoever nobody is need not be able to read our modules
print("----", flush=True)
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
run(path)
"""


def test_a_file_and_a_directory_that_may_only_be_read(shop: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    outer = Path(f"/tmp/mantis-rights-{os.getpid()}")
    outer.mkdir(mode=0o755)
    try:
        copy, warm = outer / "a.mantis", shop.with_name("warm.mantis")
        shutil.copy(shop, copy)
        shutil.copy(shop, warm)
        copy.chmod(0o644)
        before = copy.read_bytes()
        lines = [
            "query|FILE|select count(*) from item",
            "query|-r|FILE|select count(*) from item",
            "query|FILE|delete from item",
            "tables|FILE",
            "check|FILE",
            "info|FILE",
            "recover|FILE",
            f"new|{outer}/new.mantis",
            f"export|FILE|item|{outer}/item.csv",
        ]
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(warm), str(copy), *lines],
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(outer)},
            cwd=os.getcwd(),
        )
        assert done.returncode == 0, done.stderr
        codes = [line for line in done.stdout.split("----")[1].splitlines() if "code" in line]
        assert [int(line.split()[1]) for line in codes] == [3, 0, 3, 0, 0, 0, 0, 3, 3]
        assert "Permission denied" in done.stderr
        assert "Traceback" not in done.stderr
        assert "-new-" not in done.stderr
        assert copy.read_bytes() == before
    finally:
        shutil.rmtree(outer)


# ── names, logs ──────────────────────────────────────────────────────────────────────────────
def crashed(tmp_path: Path) -> Path:
    """A database whose process was killed: its last commits are only in the log."""
    path = tmp_path / "crashed.mantis"
    program = (
        "import mantisdb, os, sys; c = mantisdb.connect(sys.argv[1], autocommit=True);"
        "c.execute('create table t (a integer)'); c.execute('insert into t values (1)');"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.call([sys.executable, "-c", program, str(path)]) == -9
    assert path.with_name("crashed.mantis-wal-00000001").exists()
    return path


def test_no_new_file_beside_the_log_of_a_lost_one(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    saved = path.read_bytes()
    path.unlink()
    rows = tmp_path / "rows.csv"
    rows.write_text("a\n1\n")
    for words in (("new", path), ("import", path, "t", rows, "--create")):
        run = call(*words)
        assert run.code == 3, run
        assert "its log" in run.err
        assert not path.exists()
    assert "its log is still there" in call("query", path, "select 1").err
    path.write_bytes(saved)
    assert call("query", path, "-t", "--csv", "select a from t").out == "1\n"


def test_a_log_of_another_database_is_named_and_left_alone(tmp_path: Path, shop: Path) -> None:
    path = crashed(tmp_path)
    log = path.with_name("crashed.mantis-wal-00000001")
    stray = shop.with_name("shop.mantis-wal-00000001")
    shutil.copy(log, stray)
    for command in (("query", "select 1"), ("check",), ("recover", "-n"), ("recover",)):
        run = call(command[0], shop, *command[1:])
        assert run.code == 5, run
        assert "log of another database" in run.out + run.err
    assert stray.read_bytes() == log.read_bytes()
    stray.unlink()
    assert call("check", shop).code == 0


def test_a_log_that_is_needed_and_missing(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    log = path.with_name("crashed.mantis-wal-00000001")
    log.rename(tmp_path / "elsewhere")
    for command in (("query", "select 1"), ("query", "-r", "select 1"), ("check",), ("recover",)):
        run = call(command[0], path, *command[1:])
        assert run.code == 5, (command, run)
        assert "log is missing" in run.out + run.err
    (tmp_path / "elsewhere").rename(log)
    assert call("query", path, "-t", "--csv", "select a from t").out == "1\n"


def test_links_lead_to_one_database(shop: Path) -> None:
    soft, hard = shop.with_name("soft.mantis"), shop.with_name("hard.mantis")
    soft.symlink_to(shop)
    os.link(shop, hard)
    holder = spawn("query", soft, "-")
    assert holder.stdin and holder.stdout and holder.stderr
    holder.stdin.write(b"delete from note; select 'ready';\n")
    holder.stdin.flush()
    while b"ready" not in holder.stdout.readline():
        pass
    for path in (shop, hard):
        assert call("query", path, "select 1").code == 3
    holder.communicate()
    assert call("query", shop, "--csv", "-t", "select count(*) from note").out == "0\n"
    assert {name for name in os.listdir(shop.parent) if "-wal-" in name} == set()


def test_no_such_directory(tmp_path: Path) -> None:
    path = tmp_path / "no" / "x.mantis"
    run = call("new", path)
    assert (run.code, f'no such directory: "{path.parent}"' in run.err) == (3, True)


# ── the disk is full ─────────────────────────────────────────────────────────────────────────
def test_a_full_disk_during_import_changes_nothing(tmp_path: Path, make_file: Make) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk")
    try:
        path = small / "a.mantis"
        assert process("new", path).code == 0
        assert (
            process("query", path, "create table k (a integer); insert into k values (1)").code == 0
        )
        rows = make_file("big.csv", "id,s\n" + "".join(f"{n},{n:0100}\n" for n in range(60_000)))
        run = process("import", path, "t", rows)
        assert run.code == 1, run
        assert run.err.startswith("error[53100]")
        assert "Traceback" not in run.err
        assert process("query", path, "--csv", "-t", "select * from k").out == "1\n"
        assert process("query", path, "select * from t").code == 1
        assert process("check", path).code == 0
        assert process("query", path, "insert into k values (2)").code == 0
    finally:
        subprocess.run(["umount", str(small)], check=True)
