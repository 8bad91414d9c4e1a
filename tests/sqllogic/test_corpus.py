"""The sample files of the public sqllogictest corpus: every record passes or is listed with a reason."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.sqllogic import runner, skips
from tests.sqllogic.records import Record, read_records

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "slt"
FILES = sorted(str(p.relative_to(CORPUS)) for p in CORPUS.rglob("*.test"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES or ["(absent)"])
def test_file_passes(name: str, record_property: Callable[[str, object], None]) -> None:
    if not FILES:
        pytest.skip(f"the sample corpus is not at {CORPUS}")
    outcome = runner.run_file(CORPUS / name)
    listed = skips.listed(name)
    record_property("sqllogic_records", outcome.passed + len(outcome.failures))
    record_property("sqllogic_seconds", outcome.seconds)
    unlisted = [f for f in outcome.failures if f.line not in listed]
    assert not unlisted, f"{len(unlisted)} records fail; first: " + "\n".join(
        f"{name}:{f.line}: {f.reason}\n    {f.sql}" for f in unlisted[:5]
    )
    healed = set(listed) - {f.line for f in outcome.failures}
    assert not healed, f"records listed as skipped pass now: {sorted(healed)}"
    assert outcome.passed > 0


def test_failures_are_seen() -> None:
    """The runner tells a wrong value, a missing error and a wrong hash from right ones."""
    right = Record("query", 1, "", "IT", "rowsort", "", ("1", "(empty)", "2", "NULL"))
    assert runner.compare(right, [(2, None), (1, "")]) is None
    assert runner.compare(right, [(2, None), (1, "x")]) is not None
    hashed = Record(
        "query", 1, "", "I", "nosort", "", ("2 values hashing to 6ddb4095eb719e2a9f0a3f95677d24e0",)
    )
    assert runner.compare(hashed, [(1,), (2,)]) is None
    assert runner.compare(hashed, [(2,), (1,)]) is not None


def test_labels_are_compared() -> None:
    """Queries of one label must agree, whatever each expects."""
    labels: dict[str, str] = {}
    first = Record("query", 1, "", "I", "nosort", "label-1", ("1",))
    second = Record("query", 5, "", "I", "nosort", "label-1", ("2",))
    assert runner.compare(first, [(1,)], labels) is None
    assert "label-1" in (runner.compare(second, [(2,)], labels) or "")


def test_records_are_read(tmp_path: Path) -> None:
    """Conditions, halt, and the parts of a record."""
    path = tmp_path / "x.test"
    path.write_text(
        "hash-threshold 8\n\n# note\nstatement ok\nCREATE TABLE t (a int)\n\n"
        "onlyif mysql\nstatement ok\nDROP TABLE t\n\n"
        "skipif mysql # why\nquery IT rowsort label-1\nSELECT 1,\n 'a'\n----\n1\na\n\n"
        "skipif postgresql # PostgreSQL has strict column usage for GROUP BY clauses\n"
        "query I nosort\nSELECT 2\n----\n2\n\n"
        "statement count 2\nDELETE FROM t\n\nskipif sqlite\nhalt\n\nstatement ok\nSELECT 3\n"
    )
    assert list(read_records(path)) == [
        Record("statement", 4, "CREATE TABLE t (a int)", "ok"),
        Record("query", 12, "SELECT 1,\n 'a'", "IT", "rowsort", "label-1", ("1", "a")),
        Record("statement", 25, "DELETE FROM t", "count 2"),
    ]


def test_rendering() -> None:
    """Values as the format writes them."""
    shown = [runner.render(v, c) for v, c in [(None, "I"), ("12abc", "I"), ("x", "I"), (2.9, "I"),
             (1, "R"), (Decimal("2.5"), "R"), ("", "T"), ("a\tb", "T"), (True, "T"), (1.5, "T")]]  # fmt: skip
    assert shown == ["NULL", "12", "0", "2", "1.000", "2.500", "(empty)", "a@b", "1", "1.500"]
