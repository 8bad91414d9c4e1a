"""The parse benchmark runs and reports what it says; no figure is judged."""

from __future__ import annotations

import pytest

from engine.sql.grammar import parse
from engine.sql.lexer import normalize
from tools.bench.parse_bench import SHAPES, make_corpus, measure, run_parse_bench


def test_corpus_is_seeded_and_parses() -> None:
    texts = make_corpus(400, 7)
    assert texts == make_corpus(400, 7) and texts != make_corpus(400, 8)
    for text in texts:
        parse(text)
    assert len({normalize(text)[0] for text in texts}) > 300, "names make new shapes"


def test_every_shape_is_in_a_large_corpus() -> None:
    words = {text.split()[0] for text in make_corpus(2000, 1)}
    assert words == {shape.split()[0] for _, shape in SHAPES}


def test_measure_counts() -> None:
    seen: list[str] = []
    figures = measure(seen.append, ["a", "b", "c"], 60.0)
    assert seen == ["a", "b", "c"] and figures["count"] == 3
    assert 0 < figures["p50_us"] <= figures["p99_us"]


def test_bench_reports() -> None:
    pytest.importorskip("sqlglot")
    result = run_parse_bench(0.3, 1)
    assert set(result) == {"seed", "seen", "new", "sqlglot", "ratio_to_sqlglot"}
    for name in ("seen", "new", "sqlglot"):
        assert result[name]["count"] > 0 and result[name]["statements_per_s"] > 0
