"""Drawn layouts are true: fields follow each other without gap or overlap, and every fixed-size
layout ends where a size constant or struct of its module says."""

from __future__ import annotations

import ast
import importlib
import re
import struct

import pytest

from tests.tidy.sources import modules

HEADING = re.compile(r"^\s*offset\s+size\s+(field|meaning)\b")
ROW = re.compile(r"^\s*(\d+)\s+(\d+|-)\s+(\S.*)$")


def drawn_layouts(docstring: str) -> list[list[tuple[int, int | None, str]]]:
    """Each `offset size field` table of a docstring as (offset, size or None for '-', text)."""
    tables: list[list[tuple[int, int | None, str]]] = []
    reading = False
    for line in docstring.splitlines():
        if HEADING.match(line):
            tables.append([])
            reading = True
            continue
        row = ROW.match(line) if reading else None
        if row:
            size = None if row[2] == "-" else int(row[2])
            tables[-1].append((int(row[1]), size, row[3]))
        elif not line.strip():
            reading = False
    return [table for table in tables if table]


def layout_modules() -> list[str]:
    return [
        path
        for path, (_, tree) in sorted(modules().items())
        if drawn_layouts(ast.get_docstring(tree, clean=False) or "")
    ]


@pytest.mark.parametrize("path", layout_modules())
def test_drawn_fields_meet(path: str) -> None:
    _, tree = modules()[path]
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    sizes = {v.size for v in vars(module).values() if isinstance(v, struct.Struct)}
    sizes |= {v for k, v in vars(module).items() if k.endswith("_SIZE") and isinstance(v, int)}
    for table in drawn_layouts(ast.get_docstring(tree, clean=False) or ""):
        offset = table[0][0]
        assert offset == 0, f"{path}: a layout starts at {offset}"
        for start, size, text in table:
            assert start == offset, f"{path}: field {text!r} drawn at {start}, expected {offset}"
            if size is None:
                break
            offset += size
        assert offset in sizes, f"{path}: layout of {offset} bytes, module knows {sorted(sizes)}"


def test_a_wrong_drawing_is_seen() -> None:
    gap = drawn_layouts("offset size field\n 0 4 a\n 6 2 b\n")
    assert gap == [[(0, 4, "a"), (6, 2, "b")]]
    assert layout_modules(), "no layouts were found at all"
