"""Every command of README's tour runs and prints what the README shows.

In the fenced `console` blocks a line `$ command` (continued by `> ` lines) is run by bash in one
temporary folder, in order; the lines below it are the output, stderr and stdout together. `…`
stands for anything on a line: times, sizes, LSNs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def read_steps(text: str) -> list[tuple[str, list[str]]]:
    """(command, expected output lines) of every step in the console blocks."""
    steps: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            elif line.startswith("> ") and steps and not steps[-1][1]:
                steps[-1] = (steps[-1][0] + "\n" + line[2:], [])
            else:
                steps[-1][1].append(line)
    return steps


def matches(expected: list[str], actual: list[str]) -> bool:
    pattern = "\n".join(
        ".*".join(re.escape(part) for part in line.rstrip().split("…")) for line in expected
    )
    return re.fullmatch(pattern, "\n".join(line.rstrip() for line in actual)) is not None


@pytest.mark.slow
def test_the_tour_is_true(tmp_path: Path) -> None:
    steps = read_steps((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(steps) > 10
    # `mantis` and `python` of the README are this interpreter's.
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, words in (("mantis", "-m mantis_cli"), ("python", "")):
        script = tools / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        script.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C.UTF-8",
    }
    folder = tmp_path / "tour"
    folder.mkdir()
    for command, expected in steps:
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        actual = result.stdout.splitlines()
        assert matches(expected, actual), f"$ {command}\n{result.stdout}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test", "check"):
        assert re.search(rf"^{target}:", makefile, re.M)


def test_wildcards_do_not_match_everything() -> None:
    assert matches(["a … b"], ["a 1.5 s b"])
    assert not matches(["a … b"], ["a 1.5 s c"])
    assert not matches(["a"], ["a", "b"])
