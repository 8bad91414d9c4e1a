"""docs/file-format.md shows the bytes as the modules draw them, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.storage import branch, check_tree, freespace, leaf, overflow, page

DOCUMENT = (Path(__file__).parents[3] / "docs" / "file-format.md").read_text()


def drawings(text: str) -> list[str]:
    """The tables of a module header that begin with 'offset  size', without their indent."""
    found: list[list[str]] = []
    is_open = False
    for line in text.splitlines():
        if line.startswith("    offset  size"):
            found.append([])
            is_open = True
        is_open = is_open and line.startswith("    ")
        if is_open:
            found[-1].append(line[4:])
    return ["\n".join(lines) for lines in found]


@pytest.mark.parametrize("module", [page, leaf, branch, overflow, freespace])
def test_every_drawn_layout_is_in_the_document(module: object) -> None:
    tables = drawings(module.__doc__ or "")
    assert tables
    for table in tables:
        assert f"```\n{table}\n```" in DOCUMENT


def test_every_kind_of_finding_is_in_the_document() -> None:
    text = (check_tree.__doc__ or "").split("Kinds of finding:")[1]
    kinds = re.findall(r"^    (\w+(?: \w+)?) {2,}", text, re.MULTILINE)
    assert len(kinds) == 12
    for kind in kinds:
        assert kind in DOCUMENT.split("## Damage")[1]


def test_the_numbers_in_the_document() -> None:
    assert f"Format version {page.FORMAT_VERSION}." in DOCUMENT
    assert f"{page.PAGE_SIZE_DEFAULT // 1024} KiB unless" in DOCUMENT
    assert f"| pages from root to leaf | {page.DEPTH_MAX} |" in DOCUMENT
    assert page.max_key_size(page.PAGE_SIZE_DEFAULT) == 2048
    assert overflow.VALUE_SIZE_MAX == 1 << 30
