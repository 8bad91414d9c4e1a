"""The project's Python sources, parsed once for the tidy tests."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "mantisdb", "mantis_cli", "tools")


@cache
def modules() -> dict[str, tuple[str, ast.Module]]:
    """Relative path → (text, syntax tree) for every module of the four packages."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            found[str(path.relative_to(ROOT))] = (text, ast.parse(text))
    return found
