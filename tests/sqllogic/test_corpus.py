"""The sample files of the public sqllogictest corpus: every record passes or is listed with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sqllogic import runner, skips

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "slt"
FILES = sorted(str(p.relative_to(CORPUS)) for p in CORPUS.rglob("*.test"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES or ["(absent)"])
def test_file_passes(name: str) -> None:
    if not FILES:
        pytest.skip(f"the sample corpus is not at {CORPUS}")
    if name in skips.FILES:
        pytest.skip(skips.FILES[name])
    outcome = runner.run_file(CORPUS / name)
    listed = skips.RECORDS.get(name, {})
    unlisted = [f for f in outcome.failures if f.line not in listed]
    assert not unlisted, f"{len(unlisted)} records fail; first: " + "\n".join(
        f"{name}:{f.line}: {f.reason}\n    {f.sql}" for f in unlisted[:5]
    )
    healed = set(listed) - {f.line for f in outcome.failures}
    assert not healed, f"records listed as skipped pass now: {sorted(healed)}"
    assert outcome.passed > 0


def test_failures_are_seen() -> None:
    """The runner tells a wrong value, a missing error and a wrong hash from right ones."""
    from tests.sqllogic.records import Record

    right = Record("query", 1, "", "IT", "rowsort", "", ("1", "(empty)", "2", "NULL"))
    assert runner.compare(right, [(2, None), (1, "")]) is None
    assert runner.compare(right, [(2, None), (1, "x")]) is not None
    hashed = Record(
        "query", 1, "", "I", "nosort", "", ("2 values hashing to 6ddb4095eb719e2a9f0a3f95677d24e0",)
    )
    assert runner.compare(hashed, [(1,), (2,)]) is None
    assert runner.compare(hashed, [(2,), (1,)]) is not None
