"""Running the command line in tests: in this process where that is enough, else as a process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mantis_cli.main import execute
from mantis_cli.output.stream import NARRATION
from mantis_cli.signals import SIGNALS


class Run(msgspec.Struct):
    code: int
    out: str
    err: str


class _Stdin(io.TextIOWrapper):
    def isatty(self) -> bool:
        return False


def call(*arguments: object, stdin: str | bytes = b"") -> Run:
    """Run one command line in this process; nothing is a terminal."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    saved = sys.stdin, sys.stdout, sys.stderr
    out, err = io.BytesIO(), io.BytesIO()
    sys.stdin = _Stdin(io.BytesIO(data), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(err, encoding="utf-8", write_through=True)
    SIGNALS.clear()
    NARRATION.quiet, NARRATION.color = False, "auto"
    try:
        code = execute([str(argument) for argument in arguments])
        sys.stdout.flush()
        return Run(code, out.getvalue().decode(), err.getvalue().decode())
    finally:
        sys.stdin, sys.stdout, sys.stderr = saved


def spawn(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """Start `mantis` as a process with pipes."""
    settings: dict[str, object] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    settings.update(options)
    words = [sys.executable, "-m", "mantis_cli", *map(str, arguments)]
    return subprocess.Popen(words, **settings)  # type: ignore[call-overload, no-any-return]


def process(*arguments: object, stdin: str = "", env: dict[str, str] | None = None) -> Run:
    """Run `mantis` as a process to its end."""
    child = spawn(*arguments, env={**os.environ, **(env or {})})
    out, err = child.communicate(stdin.encode(), timeout=120)
    return Run(child.returncode, out.decode(), err.decode())


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the state directory of the person who runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "MANTIS_ASCII"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A database of two small tables."""
    path = tmp_path / "shop.mantis"
    assert call("new", path).code == 0
    run = call(
        "query",
        path,
        "-c",
        "create table item (id integer primary key, name text not null, price double precision)",
        "-c",
        "create index item_name on item (name)",
        "-c",
        "insert into item values (1,'apple',1.5),(2,'',null),(3,'pear|\u00e9',0.25)",
        "-c",
        "create table note (item_id integer, body text, day date)",
        "-c",
        "insert into note values (1, 'two' || chr(10) || 'lines', date '2024-02-29')",
    )
    assert run.code == 0, run.err
    return path


Make = Callable[..., Path]


@pytest.fixture
def make_file(tmp_path: Path) -> Make:
    """Write a file and return its path."""

    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make
