"""Functions that docs/ARCHITECTURE.md tells a newcomer to read first are there."""

from __future__ import annotations

import importlib
import re

from tests.tidy.sources import ROOT


def resolve(name: str) -> object:
    """The module, class or function of a dotted name; AttributeError when there is none."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


def test_the_functions_to_read_first_exist() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| `(engine\.[\w.]+)`", text, re.M)
    assert len(names) == 8
    for name in names:
        assert resolve(name) is not None
