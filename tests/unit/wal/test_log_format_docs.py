"""The layouts drawn in the module headers add up, and docs/wal-format.md draws the same ones."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from engine.wal import record, segment

LINE = re.compile(r"\s*(\d+)\s+(\d+|-)\s+(\S.*)")
DOCUMENT = Path(__file__).parents[3] / "docs" / "wal-format.md"


def drawn(text: str) -> list[list[tuple[int, str, str]]]:
    """Tables of (offset, size, rest) under each `offset  size  field` line."""
    tables = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.split() != ["offset", "size", "field", "meaning"][: len(line.split())]:
            continue
        if len(line.split()) < 3:
            continue
        rows = []
        for row in lines:
            match = LINE.fullmatch(row)
            if match is None:
                break
            rows.append((int(match[1]), match[2], " ".join(match[3].split())))
        tables.append(rows)
    return tables


@pytest.mark.parametrize(
    ("module", "size"), [(record, record.HEADER.size), (segment, segment.SEGMENT_HEADER.size)]
)
def test_offsets_add_up_to_the_struct(module: ModuleType, size: int) -> None:
    (rows,) = drawn(module.__doc__ or "")
    offset = 0
    for at, field_size, _ in rows:
        assert at == offset
        offset += 0 if field_size == "-" else int(field_size)
    assert offset == size and len(rows) > 8


def test_the_document_draws_the_same_layouts() -> None:
    assert drawn(DOCUMENT.read_text()) == [
        drawn(segment.__doc__ or "")[0],
        drawn(record.__doc__ or "")[0],
    ]
