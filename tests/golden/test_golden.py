"""Every transcript says what the engine says. `--update-golden` rewrites those that do not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.golden import transcript

HERE = Path(__file__).parent
TRANSCRIPTS = sorted(HERE.glob("sql/*.txt")) + sorted(HERE.glob("plans/*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_transcript(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text(encoding="utf-8")
    replayed = transcript.replay(text)
    if replayed != text and request.config.getoption("--update-golden"):
        path.write_text(replayed, encoding="utf-8")
        return
    assert replayed == text, f"run pytest --update-golden if {path.name} should read like this"


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_transcript_says_why(path: Path) -> None:
    first = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert re.fullmatch(r"(# .*\n?)+", first), f"{path.name} opens with no sentence"
    assert first.rstrip().endswith("."), f"{path.name}: the opening is one sentence with its point"


def test_there_are_transcripts() -> None:
    assert {p.parent.name for p in TRANSCRIPTS} == {"sql", "plans"}


def test_a_wrong_answer_is_seen() -> None:
    text = "# Why.\n\n> SELECT 1 AS a\na\n-\n2\n(1 row)\n"
    assert transcript.replay(text) == text.replace("\n2\n", "\n1\n")
    again = transcript.replay("# Why.\n\n> SELECT 1\n. AS a\n\n# More.\n> SELECT x\n")
    assert again == transcript.replay(again), "a transcript replays to itself"
