"""The statements docs/sql.md shows are read, or refused, as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.errors import NotSupportedError
from engine.sql.grammar import parse
from engine.sql.lexer import split_statements

TEXT = (Path(__file__).resolve().parents[4] / "docs" / "sql.md").read_text(encoding="utf-8")


def shown(heading: str) -> list[str]:
    """The statements of the first SQL block under a heading."""
    section = TEXT.split(f"## {heading}\n", 1)[1].split("\n## ")[0]
    block = re.search(r"```sql\n(.*?)```", section, re.DOTALL)
    assert block is not None
    # One statement a line, or a line with those indented under it.
    lines = re.split(r"\n(?=\S)", block[1].strip())
    return [line for line in lines if split_statements(line)]


@pytest.mark.parametrize("text", shown("Words, literals and comments"))
def test_shown_statements_parse(text: str) -> None:
    assert parse(text) is not None


@pytest.mark.parametrize("text", shown("Recognised and refused"))
def test_refused_statements_are_named(text: str) -> None:
    with pytest.raises(NotSupportedError, match="not supported") as caught:
        parse(text)
    assert caught.value.span is not None and caught.value.sqlstate == "0A000"
