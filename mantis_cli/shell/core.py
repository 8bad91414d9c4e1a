"""The shell without a terminal: state, and what happens with a piece of input.

    feed(text)   dot commands run at once; SQL runs statement by statement

The same object serves the interactive shell (mantis_cli/shell/repl.py) and scripts on standard
input, so what works at the prompt works in a pipe.

States: running → (quit command, end of input) → done. A failed statement leaves the shell running;
in a script it sets `failed`, which becomes exit code 1.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
import msgspec

from engine import errors
from engine.database import Database
from engine.session import Session
from engine.sql.lexer import is_complete
from mantis_cli.command_table import COMMANDS
from mantis_cli.exits import CannotRead, Failed, exit_code
from mantis_cli.listing import write_listing
from mantis_cli.options import OutputChoice
from mantis_cli.output.errors import draw_error
from mantis_cli.output.stream import complain, note
from mantis_cli.output.writers import Sink, open_sink, stdout_sink
from mantis_cli.running import Outcome, Runner
from mantis_cli.script import Statement, lines_of_file, lines_of_text, statements
from mantis_cli.shell.commands import run_command
from mantis_cli.shell.guard import destroys
from mantis_cli.signals import SIGNALS


class Shell:
    """One connection with a person (or a script) at the other end.

    ask: asks a yes/no question, or None when nobody is there. path: the database file.
    """

    def __init__(
        self,
        database: Database,
        path: str,
        choice: OutputChoice,
        ask: Callable[[str], bool] | None = None,
    ) -> None:
        self.database = database
        self.session: Session = database.session()
        self.path = path
        self.choice = choice
        self.format_name = choice.format or "table"
        self.ask = ask
        self.timer = ask is not None
        self.failed = False
        self.last: Outcome | None = None
        self.sink: Sink = open_sink(choice.path)
        self._once: Sink | None = None
        self.edit: Callable[[str], str | None] | None = None  # set by a terminal
        self.last_sql = ""

    def close(self) -> None:
        """End the session (an open transaction is undone) and flush the output."""
        if self.session.in_transaction:
            self.session.rollback()
            note("note: the open transaction was rolled back")
        self.session.close()
        self.sink.close()

    # ── input ────────────────────────────────────────────────────────────────────────────────
    def run_script(self, name: str, lines: Iterable[str], stop: bool = True) -> None:
        """Run lines of SQL and shell commands. Stops at the first error when `stop`."""
        pending: list[str] = []
        for line_no, line in enumerate(lines, 1):
            if not pending and is_command(line):
                self.run_command(line.strip())
            else:
                if not pending:
                    first_line = line_no
                pending.append(line)
                if ";" in line and is_complete("".join(pending)):
                    self._run_all(statements(name, pending, first_line), stop)
                    pending.clear()
            if self.failed and stop:
                return
        if pending:
            self._run_all(statements(name, pending, first_line), stop)

    def _run_all(self, found: Iterable[Statement], stop: bool) -> None:
        for statement in found:
            self.run_statement(statement)
            if self.failed and stop:
                return

    def feed(self, text: str) -> None:
        """Run what was typed at the prompt: one shell command, or statements."""
        self.failed = False
        if is_command(text):
            self.run_command(text.strip())
            return
        self.last_sql = text
        for statement in statements("input", lines_of_text(text)):
            self.run_statement(statement)
            if self.failed:
                break

    def run_file(self, path: str) -> None:
        """Run a script file (.read)."""
        self.run_script(path, lines_of_file(path))

    # ── doing ────────────────────────────────────────────────────────────────────────────────
    def run_statement(self, statement: Statement) -> None:
        """Run one statement and print its result or its error."""
        try:
            if self.ask is not None and not self._confirmed(statement.text):
                note("not done")
                return
            self.last = self._runner().run(statement)
            if self.timer:
                note(f"time: {duration(self.last.seconds)}")
        except errors.QueryCanceled as error:
            self.failed = True
            if SIGNALS.requested and SIGNALS.terminated is None:
                SIGNALS.clear()
                complain("cancelled")
            else:
                complain(draw_error(error))
        except errors.Error as error:
            if exit_code(error) == 70:
                raise
            self.failed = True
            complain(draw_error(error))
        finally:
            self._end_once()

    def _confirmed(self, sql: str) -> bool:
        question = destroys(sql, self._count)
        return question is None or (self.ask is not None and self.ask(question))

    def _count(self, table: str) -> int | None:
        try:
            rows = self.session.execute(f"select count(*) from {table}").rows
            return int(next(iter(rows))[0])
        except errors.Error:
            return None

    def run_command(self, line: str) -> None:
        """Run one dot or backslash command; its errors are printed."""
        try:
            run_command(self, line)
        except errors.Error as error:
            if exit_code(error) == 70:
                raise
            if isinstance(error, errors.QueryCanceled) and SIGNALS.terminated is None:
                SIGNALS.clear()
            self.failed = True
            complain(draw_error(error))
        except (CannotRead, Failed) as error:
            self.failed = True
            complain(draw_error(error))

    def run_nested(self, name: str, arguments: list[str]) -> None:
        """Run a command of `mantis` on this database, in this process (it shares the engine)."""
        module = importlib.import_module(f"mantis_cli.commands.{COMMANDS[name][0]}")
        try:
            code = module.command.main(
                args=arguments,
                prog_name=f".{name}",
                standalone_mode=False,
                help_option_names=["-h", "--help"],
            )
            self.failed = bool(code)
        except click.ClickException as error:
            raise Failed(error.format_message()) from None

    # ── output ───────────────────────────────────────────────────────────────────────────────
    def _runner(self) -> Runner:
        return Runner(
            self.session, self.target(), self.format_name, self.choice, show_all=".maxrows 0"
        )

    def target(self) -> Sink:
        """Where the next result goes."""
        return self._once or self.sink

    def set_output(self, path: str | None) -> None:
        """Send results to a file from now on (None: back to stdout)."""
        fresh = open_sink(path) if path else stdout_sink()
        self.sink.close()
        self.sink = fresh

    def set_once(self, path: str) -> None:
        """Send the next result to a file."""
        self._end_once()
        self._once = open_sink(path)

    def _end_once(self) -> None:
        if self._once is not None:
            self._once.close()
            self._once = None

    def change(self, **changes: object) -> None:
        """Change settings of the output (fields of OutputChoice)."""
        self.choice = msgspec.structs.replace(self.choice, **changes)

    def show(self, columns: Sequence[tuple[str, str]], rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows of our own in the current format. columns: (name, kind)."""
        write_listing(columns, rows, self.format_name, self.target(), self.choice)
        self._end_once()

    def say(self, text: str) -> None:
        """Write lines of text where results go."""
        self.target().write(text + "\n")
        self.target().flush()
        self._end_once()


def is_command(text: str) -> bool:
    """Whether a piece of input is a shell command."""
    stripped = text.lstrip()
    return stripped[:1] == "\\" or (stripped[:1] == "." and stripped[1:2].isalpha())


def duration(seconds: float) -> str:
    """Seconds for people: 0.124 ms, 3.2 s."""
    if seconds < 1:
        return f"{seconds * 1000:.3f} ms"
    return f"{seconds:.3f} s"


def database_name(path: str) -> str:
    """What the prompt calls a database."""
    return os.path.splitext(os.path.basename(path))[0] or "mantis"
