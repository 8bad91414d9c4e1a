"""The parsing workload of `mantis bench parse`, from tools.bench.parse_bench."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.bench.measure import Figure, Side
from tools.bench.oltp import Config
from tools.bench.parse_bench import run_parse_bench

SECONDS_A_ROUND = 3.0


def run_parse(config: Config, only: str | None = None) -> Iterator[Figure]:
    """Shapes seen before; texts never seen, beside sqlglot where it is installed."""
    outcomes = [
        run_parse_bench(SECONDS_A_ROUND, config.seed + round_no)
        for round_no in range(config.rounds)
    ]
    if only is None or only.lower() in "parse, shape seen":
        yield Figure("parse, shape seen", "statements/s", _side(outcomes, "seen"))
    if only is None or only.lower() in "parse, text new":
        has_peer = outcomes[0]["sqlglot"] is not None
        yield Figure(
            "parse, text new",
            "statements/s",
            _side(outcomes, "new"),
            _side(outcomes, "sqlglot") if has_peer else None,
            "sqlglot" if has_peer else None,
            5.0 if has_peer else None,
        )


def _side(outcomes: list[dict[str, Any]], measure: str) -> Side:
    middle = sorted(outcomes, key=lambda outcome: outcome[measure]["p99_us"])[len(outcomes) // 2]
    return Side(
        [outcome[measure]["statements_per_s"] for outcome in outcomes],
        round(middle[measure]["p50_us"], 2),
        round(middle[measure]["p99_us"], 2),
    )
