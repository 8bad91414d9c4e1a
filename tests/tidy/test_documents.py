"""Documents say nothing that is not there: commands, modules, files and make targets exist; and no
source or document speaks of the machine it was written on."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import click
import pytest

from mantis_cli.command_table import COMMANDS
from tests.tidy.sources import PACKAGES, ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CODE = re.compile(r"^ *```[a-z]*\n(.*?)^ *```|`([^`\n]+)`", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(
    r"(?:^|[\s|(;&$])(?:\.venv/bin/)?mantis ([a-z]+)(?![\w.])(?: ([a-z]+)(?![\w.]))?", re.MULTILINE
)
MODULE = re.compile(r"python3? -m ([a-z_]+(?:\.[a-z_]+)+)")
TARGET = re.compile(r"(?:^|\s)make ([a-z]+)", re.MULTILINE)
PATH = re.compile(r"\b((?:engine|mantisdb|mantis_cli|tools|tests|docs)/[\w./-]*\w)")
PLACEHOLDER = re.compile(r"@[A-Z][A-Z0-9_]*@")

FORBIDDEN = {
    r"/work/(main|shared|brief)": "a path of one machine",
    r"/home/\w+/|/root/|/Users/\w+/": "a path of one machine",
    r"\b(utils|helpers)\.py\b": "a module named for nothing",
    r"\bTODO\b|\bFIXME\b|\bXXX:": "unfinished work",
    r"\b(issue|ticket|brief|prompt) #?\d+\b": "talk about how the work was handed out",
    r"(?i)\blanguage model\b|\bas an ai\b": "talk about who wrote it",
}
"""Patterns that no source, test or document holds, and what they would be."""


def _code(path: Path) -> str:
    """The code of a document: fenced blocks and `inline` pieces, a line each."""
    text = path.read_text(encoding="utf-8")
    return "\n".join(block or inline for block, inline in CODE.findall(text))


def _subcommands(name: str) -> set[str] | None:
    """The commands of a group, or None for a plain command."""
    module = importlib.import_module(f"mantis_cli.commands.{COMMANDS[name][0]}")
    command = module.command
    if not isinstance(command, click.Group):
        return None
    return set(command.list_commands(click.Context(command)))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_commands_exist(path: Path) -> None:
    for name, word in COMMAND.findall(_code(path)):
        assert name in COMMANDS, f"{path.name}: there is no `mantis {name}`"
        subcommands = _subcommands(name) if word else None
        assert subcommands is None or word in subcommands, f"{path.name}: no `mantis {name} {word}`"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_modules_and_targets_exist(path: Path) -> None:
    code = _code(path)
    for name in MODULE.findall(code):
        if name.split(".")[0] in PACKAGES:
            assert importlib.util.find_spec(name), f"{path.name}: there is no module {name}"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in TARGET.findall(code):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{path.name}: make {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_paths_exist(path: Path) -> None:
    for name in PATH.findall(_code(path)):
        found = (ROOT / name).exists() or list(ROOT.glob(name + "*"))
        assert found or "{" in name, f"{path.name}: there is no {name}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_nothing_is_left_to_fill_in(path: Path) -> None:
    found = PLACEHOLDER.findall(path.read_text(encoding="utf-8"))
    assert not found, f"{path.name}: {found}"


def test_every_command_is_documented() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    missing = [name for name in COMMANDS if not re.search(rf"\bmantis {name}\b", text)]
    if not (ROOT / "docs" / "cli.md").exists():
        pytest.skip("docs/cli.md is not there")
    assert not missing, f"commands that no document shows: {missing}"


def _texts() -> list[Path]:
    here = Path(__file__)
    tests = [p for p in sorted((ROOT / "tests").rglob("*.py")) if p != here]
    sources = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]
    return [*DOCUMENTS, *tests, *sources, ROOT / "Makefile", ROOT / "pyproject.toml"]


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_nothing_forbidden(pattern: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line) and "FORBIDDEN" not in line and '"TODO" not in' not in line
    ]
    assert not wrong, f"{FORBIDDEN[pattern]}: {wrong[:10]}"


def test_the_checks_see_something() -> None:
    text = "Run `mantis check x`:\n\n```\nmantis wal dump x\nmake test\n```\n"
    code = "\n".join(block or inline for block, inline in CODE.findall(text))
    assert [name for name, _ in COMMAND.findall(code)] == ["check", "wal"]
    assert TARGET.findall(code) == ["test"]
    assert PATH.findall("see `engine/sql/lexer.py`") == ["engine/sql/lexer.py"]
    assert PLACEHOLDER.findall("a @SIZE_2@ b, me@HOME.org") == ["@SIZE_2@"]
    assert any(re.search(p, "cd /work/main") for p in FORBIDDEN)
