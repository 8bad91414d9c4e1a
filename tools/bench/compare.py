"""Two runs of a benchmark, figure by figure: what became slower by more than is allowed.

Where a figure has a peer, the ratios are compared: a slower machine slows both sides. Elsewhere
the medians are.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Change(msgspec.Struct, frozen=True):
    """One figure in both runs. change: -0.12 is 12 % worse than before."""

    name: str
    before: float
    after: float
    basis: str
    change: float


def compare(base: dict[str, Any], current: dict[str, Any]) -> list[Change]:
    """The figures that both documents ("mantis.bench/1") hold. Raises ValueError for another
    document."""
    for document in (base, current):
        if document.get("schema") != "mantis.bench/1":
            raise ValueError("not a document of mantis bench --json")
    before = {figure["name"]: figure for figure in base["results"]}
    changes = []
    for figure in current["results"]:
        old = before.get(figure["name"])
        if old is None:
            continue
        if figure["ratio"] and old["ratio"]:
            basis, was, now = "ratio", old["ratio"], figure["ratio"]
        else:
            basis, was, now = "median", old["mantis"]["median"], figure["mantis"]["median"]
        changes.append(Change(figure["name"], was, now, basis, now / was - 1))
    return changes
