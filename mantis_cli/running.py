"""Run one statement and print what it answers: shared by `query`, the shell and `export`.

States of a Runner's output: no result yet → results. A JSON stream holds one document, so a second
result is refused before it is written.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
import msgspec

from engine import errors
from engine.sql.lexer import scan
from mantis_cli.output.formats import LAYOUTS, TERMINAL_ROWS
from mantis_cli.output.stream import note
from mantis_cli.output.writers import Sink, terminal_options, write_rows
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

    format_name: a name in FORMATS. show_all: what lifts the row cap, for the note about it.
    """

    def __init__(
        self,
        session: Session,
        sink: Sink,
        format_name: str,
        choice: OutputChoice,
        params: dict[str, str] | None = None,
        show_all: str = "--max-rows 0",
    ) -> None:
        self.session = session
        self.sink = sink
        self.format_name = format_name
        self.choice = choice
        self.params = params or {}
        self.unused = set(self.params)  # names that no statement so far had
        self.show_all = show_all
        self._moves: list[tuple[int, int, int, int]] = []
        self.result_count = 0

    def run(self, statement: Statement) -> Outcome:
        """Execute, write rows, and say what happened. Engine errors carry `source`."""
        started = time.perf_counter()
        with SIGNALS.cancellable(self.session.cancel):
            try:
                result = self.session.execute(self._with_params(statement))
                if result.columns is None:
                    rows = result.rowcount
                    note(result.tag)
                else:
                    rows = self._write(result)
            except errors.Error as error:
                error.source = statement.source  # type: ignore[attr-defined]
                error.span = self._unmoved(error.span)
                if error.sqlstate == "07001" and error.hint is None:
                    error.hint = self._parameter_hint(statement.text)
                raise
        seconds = time.perf_counter() - started
        return Outcome(result.tag, rows, seconds, result.columns is not None)

    def _with_params(self, statement: Statement) -> str:
        """The statement with `:name` replaced by its value as a string literal, which SQL
        converts to the type it is used as. Remembers how far text moved, for error positions."""
        self._moves = []
        if not self.params:
            return statement.text
        parts, moved = [], 0
        for token in scan(statement.text):
            text = token.text
            if token.kind == "parameter" and text[1:] in self.params:
                self.unused.discard(text[1:])
                text = "'" + self.params[text[1:]].replace("'", "''") + "'"
                start = token.start + moved
                moved += len(text) - len(token.text)
                self._moves.append((start, start + len(text), token.start, token.end))
            parts.append(text)
        return "".join(parts)

    def _parameter_hint(self, text: str) -> str | None:
        """Which parameters have no value, and how to give one."""
        names = [token.text for token in scan(text) if token.kind == "parameter"]
        missing = [name for name in dict.fromkeys(names) if name[1:] not in self.params]
        named = [name for name in missing if name.startswith(":")]
        if named:
            return f"{', '.join(named)}: mantis query -p {named[0][1:]} VALUE gives a value"
        return "only :name parameters can be given here: mantis query -p NAME VALUE"

    def _unmoved(self, span: tuple[int, int] | None) -> tuple[int, int] | None:
        """A span in the text that ran as a span in the text that was written."""
        if span is None or not self._moves:
            return span
        start, end = span
        shift = 0
        for moved_start, moved_end, original_start, original_end in self._moves:
            if moved_start <= start < moved_end:
                return original_start, original_end
            if start >= moved_end:
                shift = original_end - moved_end
        return start + shift, end + shift

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
            show_all=self.show_all,
        )
        return write_rows(
            result.columns, result.rows, self.format_name, self.sink, options, self._cap()
        )

    def _cap(self) -> int | None:
        if self.choice.max_rows is not None:
            return self.choice.max_rows or None
        on_terminal = self.sink.text is not None and self.sink.text.isatty()
        return TERMINAL_ROWS if on_terminal and self.format_name in LAYOUTS else None
