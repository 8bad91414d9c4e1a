"""Run one statement and print what it answers: shared by `query`, the shell and `export`.

States of a Runner's output: no result yet → results. A JSON stream holds one document, so a second
result is refused before it is written.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from engine import errors
from mantis_cli.output.stream import note
from mantis_cli.output.writers import LAYOUTS, TERMINAL_ROWS, Sink, terminal_options, write_rows
from mantis_cli.script import Statement
from mantis_cli.signals import SIGNALS

if TYPE_CHECKING:
    from engine.session import Result, Session
    from mantis_cli.options import OutputChoice

ONE_DOCUMENT = (
    "a JSON stream holds one result, and this script has several; use --jsonl, or one query"
)


class Outcome(msgspec.Struct, frozen=True):
    """rows: rows answered or changed (-1: not known). seconds: from text to last row."""

    tag: str
    rows: int
    seconds: float
    has_rows: bool


class Runner:
    """Executes statements on a session and writes their results into a sink.

    format_name: a name in FORMATS. max_rows: None for the default of the sink, 0 for all.
    """

    def __init__(
        self,
        session: Session,
        sink: Sink,
        format_name: str,
        choice: OutputChoice,
        params: dict[str, Any] | None = None,
    ) -> None:
        self.session = session
        self.sink = sink
        self.format_name = format_name
        self.choice = choice
        self.params = params or {}
        self.result_count = 0

    def run(self, statement: Statement) -> Outcome:
        """Execute, write rows, and say what happened. Engine errors carry `source`."""
        started = time.perf_counter()
        with SIGNALS.cancellable(self.session.cancel):
            try:
                result = self.session.execute(statement.text, self.params)
                if result.columns is None:
                    rows = result.rowcount
                    note(result.tag)
                else:
                    rows = self._write(result)
            except errors.Error as error:
                error.source = statement.source  # type: ignore[attr-defined]
                raise
        seconds = time.perf_counter() - started
        return Outcome(result.tag, rows, seconds, result.columns is not None)

    def _write(self, result: Result) -> int:
        assert result.columns is not None
        if self.result_count and self.format_name == "json":
            raise click.UsageError(ONE_DOCUMENT)
        if self.result_count and self.format_name in LAYOUTS:
            self.sink.write("\n")
        self.result_count += 1
        options = terminal_options(
            self.sink,
            null=self.choice.null,
            header=self.choice.header,
            footer=self.choice.footer,
            note=note,
        )
        return write_rows(
            result.columns, result.rows, self.format_name, self.sink, options, self._cap()
        )

    def _cap(self) -> int | None:
        if self.choice.max_rows is not None:
            return self.choice.max_rows or None
        on_terminal = self.sink.text is not None and self.sink.text.isatty()
        return TERMINAL_ROWS if on_terminal and self.format_name in LAYOUTS else None
