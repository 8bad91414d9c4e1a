"""The interactive shell: prompt-toolkit around mantis_cli.shell.core.

Enter runs what ends in a semicolon (or is a shell command) and otherwise starts a new line;
Alt-Enter runs as it is. Ctrl-C at the prompt clears the line, during a statement cancels it;
Ctrl-D leaves. The schema's names are read in a thread, so the first prompt does not wait.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, ThreadedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import ThreadedHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from engine.sql.functions.registry import function_names
from engine.sql.lexer import is_complete
from mantis_cli.catalog_view import current_catalog
from mantis_cli.exits import Interrupted
from mantis_cli.output.stream import note, wants_color
from mantis_cli.shell.commands import BY_NAME, Quit
from mantis_cli.shell.completion import Names, suggest
from mantis_cli.shell.core import Shell, database_name, duration, is_command
from mantis_cli.shell.highlight import STYLES, SqlHighlighter
from mantis_cli.shell.history import DatabaseHistory, history_path
from mantis_cli.signals import SIGNALS

MARKS = {"idle": "", "active": "*", "failed": "!"}


class SchemaNames:
    """The names to complete, read from the catalog in a thread when it has changed."""

    def __init__(self, shell: Shell) -> None:
        self.names = Names({})
        self._shell = shell
        self._version = -1
        self._thread: threading.Thread | None = None

    def refresh(self) -> None:
        """Start reading if nobody is reading. Never waits."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._read, daemon=True)
            self._thread.start()

    def _read(self) -> None:
        catalog = current_catalog(self._shell.database)
        if catalog.version == self._version:
            return
        tables = {
            table.name: tuple(column.name for column in table.columns)
            for table in catalog.tables.values()
        }
        tables.update((view.name, view.columns) for view in catalog.views.values())
        self.names = Names(tables, tuple(catalog.indexes), tuple(function_names()))
        self._version = catalog.version


class SqlCompleter(Completer):
    def __init__(self, schema: SchemaNames) -> None:
        self._schema = schema

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterable[Completion]:
        before, after = document.text_before_cursor, document.text_after_cursor
        for suggestion in suggest(before, after, self._schema.names, BY_NAME):
            yield Completion(suggestion.text, -suggestion.length, display_meta=suggestion.kind)


def run_shell(shell: Shell) -> None:
    """Prompt and run until the user leaves."""
    schema = SchemaNames(shell)
    schema.refresh()
    prompt = _prompt_session(shell, schema)
    name = database_name(shell.path)
    shell.edit = lambda text: click.edit(text, extension=".sql")
    while True:
        mark = MARKS.get(shell.session.status, "")
        try:
            text = prompt.prompt(f"{name}{mark}> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        finally:
            SIGNALS.install()  # prompt-toolkit's event loop took SIGINT
        SIGNALS.clear()
        try:
            if text.strip():
                shell.feed(text)
        except Quit:
            return
        except Interrupted:
            note("interrupted")
        SIGNALS.clear()
        if SIGNALS.terminated is not None:
            return
        schema.refresh()


def _prompt_session(shell: Shell, schema: SchemaNames) -> PromptSession[str]:
    color = None if wants_color(sys.stdout) else ColorDepth.MONOCHROME
    session: PromptSession[str] = PromptSession(
        multiline=True,
        lexer=SqlHighlighter(),
        completer=ThreadedCompleter(SqlCompleter(schema)),
        complete_while_typing=True,
        auto_suggest=AutoSuggestFromHistory(),
        history=ThreadedHistory(DatabaseHistory(history_path(shell.path))),
        key_bindings=_key_bindings(),
        style=Style.from_dict({**STYLES, "bottom-toolbar": "noreverse ansibrightblack"}),
        color_depth=color,
        prompt_continuation=lambda width, _line, _soft: "... ".rjust(width),
        bottom_toolbar=lambda: _toolbar(shell),
        enable_open_in_editor=True,
        tempfile_suffix=".sql",
    )
    session.app.renderer.cpr_not_supported_callback = None  # no warning: the toolbar stays away
    return session


def _key_bindings() -> KeyBindings:
    bindings = KeyBindings()

    @Condition
    def ready() -> bool:
        return ends_input(get_app().current_buffer.document.text)

    @bindings.add("enter", filter=ready)
    def _run(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _run_anyway(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return bindings


def ends_input(text: str) -> bool:
    """Whether Enter runs the text: nothing, a shell command, or complete statements."""
    return not text.strip() or is_command(text) or is_complete(text)


def _toolbar(shell: Shell) -> StyleAndTextTuples:
    status = {"idle": "no transaction", "active": "in transaction", "failed": "failed: ROLLBACK"}
    parts = [status.get(shell.session.status, shell.session.status), shell.format_name]
    if shell.last is not None:
        rows = shell.last.rows
        if rows >= 0:
            parts.append(f"{rows} row{'s'[: rows != 1]}")
        parts.append(duration(shell.last.seconds))
    parts.append(".help")
    return [("class:bottom-toolbar", "  ·  ".join(parts))]
