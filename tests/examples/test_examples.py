"""The scripts of examples/ do what their first lines say, and so do the blocks of the guide."""

from __future__ import annotations

import re
import runpy
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


def test_every_example_has_a_test() -> None:
    tests = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        if path.name != "demo.py":  # `make demo`
            assert f'load("{path.name}")' in tests


def test_accounts_loses_no_money(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = load("accounts.py")
    total = example["main"](tmp_path / "accounts.mantis")
    assert total == example["ACCOUNTS"] * example["START"]
    assert f"total: {total}" in capsys.readouterr().out


def test_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main = load("notes.py")["main"]
    noon = datetime(2024, 1, 2, 12, 0)
    assert main(["add", "water the plants"], noon) == 0
    assert main(["add", "sleep"], noon) == 0
    assert main(["find", "PLANTS"]) == 0
    assert main(["done", "1"]) == 0
    assert main(["done", "1"]) == 0
    assert main(["list"]) == 0
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "note 1",
        "note 2",
        "   1  2024-01-02 12:00  water the plants",
        "gone",
        "there is no such note",
        "   2  2024-01-02 12:00  sleep",
    ]
    assert captured.err.startswith("usage")


def test_sensors() -> None:
    table = load("sensors.py")["main"]()
    assert [str(field.type) for field in table.schema] == [
        "int32",
        "int64",
        "double",
        "double",
        "timestamp[us]",
    ]
    assert table.column("readings").to_pylist() == [1440] * 3


def test_the_blocks_of_the_python_guide_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python-api.md").read_text()
    first, second = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(first, names)
    assert capsys.readouterr().out == "lamp 19.50\n"
    connection = names["mantisdb"].connect("bank.mantis")
    connection.executescript(
        "CREATE TABLE account (id integer PRIMARY KEY, balance integer);"
        "INSERT INTO account VALUES (1, 50), (2, 0)"
    )
    connection.commit()
    names["connection"] = connection
    exec(second, names)
    assert connection.execute("SELECT balance FROM account ORDER BY id").fetchall() == [
        (40,),
        (10,),
    ]
    connection.close()
