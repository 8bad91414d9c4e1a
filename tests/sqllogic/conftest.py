"""Sums up the corpus: records and records a second."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    records = 0
    seconds = 0.0
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        properties = dict(report.user_properties)
        records += int(properties.get("sqllogic_records", 0))
        seconds += float(properties.get("sqllogic_seconds", 0.0))
    if records:
        terminalreporter.write_line(
            f"sqllogic: {records} records in {seconds:.1f} s, {records / seconds:.0f} records/s"
        )
