"""Shell commands: `.name` as in sqlite3, `\\name` as in psql; one table of both.

A command is a function `(shell, words)` in COMMANDS; `words` are its arguments, cut at blanks with
quotes respected. An unknown name gets the nearest one as a suggestion. What a command changes
lives in the Shell; this module holds no state.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from mantis_cli.catalog_view import (
    DESCRIBE_COLUMNS,
    INDEX_COLUMNS,
    TABLE_COLUMNS,
    current_catalog,
    describe_rows,
    find_table,
    index_rows,
    table_rows,
)
from mantis_cli.checking import FINDING_COLUMNS, check_open, finding_row
from mantis_cli.exits import Failed
from mantis_cli.output.errors import Source
from mantis_cli.output.formats import FORMATS, null_problem, suggest_format
from mantis_cli.output.stream import note
from mantis_cli.schema_text import schema_statements
from mantis_cli.script import Statement

if TYPE_CHECKING:
    from mantis_cli.shell.core import Shell

_COUNT = re.compile("[0-9]{1,18}")

Action = Callable[["Shell", list[str]], None]


class Quit(Exception):
    """The user asked to leave."""


class ShellCommand(msgspec.Struct, frozen=True):
    """names: every spelling, the main one first. usage: arguments for the help. group: heading."""

    names: tuple[str, ...]
    usage: str
    help: str
    group: str
    run: Action
    raw: bool = False  # the rest of the line is one argument


def tables(shell: Shell, words: list[str]) -> None:
    shell.show(list(TABLE_COLUMNS), table_rows(shell.database, words[0] if words else None))


def indexes(shell: Shell, words: list[str]) -> None:
    table = find_table(current_catalog(shell.database), words[0]).name if words else None
    shell.show(list(INDEX_COLUMNS), index_rows(shell.database, table))


def schema(shell: Shell, words: list[str]) -> None:
    catalog = current_catalog(shell.database)
    name = words[0].strip('"').lower() if words else None
    if name and catalog.relation_kind(name) is None:
        find_table(catalog, words[0])  # raises, with a suggestion
    statements = schema_statements(catalog, (name,) if name else ())
    shell.say("\n".join(f"{statement};" for statement in statements))


def describe(shell: Shell, words: list[str]) -> None:
    if not words:
        tables(shell, [])
        return
    table = find_table(current_catalog(shell.database), words[0])
    shell.show(list(DESCRIBE_COLUMNS), describe_rows(table))


def mode(shell: Shell, words: list[str]) -> None:
    word = _one(words, ".mode FORMAT")
    if word is None:
        shell.say(f"{shell.format_name} (there are {', '.join(FORMATS)})")
        return
    name = word.lower()
    if name not in FORMATS:
        raise Failed(suggest_format(word))
    _require_readable_null(name, shell.choice.null)
    shell.format_name = name


def expanded(shell: Shell, words: list[str]) -> None:
    on = _switch(".expanded", words, shell.format_name != "vertical")
    shell.format_name = "vertical" if on else "table"
    note(f"expanded display is {'on' if on else 'off'}")


def timer(shell: Shell, words: list[str]) -> None:
    shell.timer = _switch(".timer", words, not shell.timer)
    note(f"timing is {'on' if shell.timer else 'off'}")


def headers(shell: Shell, words: list[str]) -> None:
    shell.change(header=_switch(".headers", words, not shell.choice.header))


def null(shell: Shell, words: list[str]) -> None:
    text = _one(words, ".null [TEXT], with quotes around a text of several words")
    _require_readable_null(shell.format_name, text)
    shell.change(null=text)


def maxrows(shell: Shell, words: list[str]) -> None:
    word = _one(words, ".maxrows N")
    if word is not None and _COUNT.fullmatch(word) is None:
        raise Failed(f".maxrows takes a number of rows, not {word}; 0 is all rows")
    shell.change(max_rows=int(word) if word is not None else None)


def read(shell: Shell, words: list[str]) -> None:
    shell.run_file(_required(words, ".read FILE"))


def import_file(shell: Shell, words: list[str]) -> None:
    if len(words) < 2:
        raise Failed("usage: .import FILE TABLE [OPTIONS of mantis import]")
    shell.run_nested("import", [shell.path, words[1], words[0], *words[2:]])


def export_rows(shell: Shell, words: list[str]) -> None:
    if len(words) < 2:
        raise Failed("usage: .export TABLE FILE [OPTIONS of mantis export]")
    shell.run_nested("export", [shell.path, words[0], words[1], *words[2:]])


def once(shell: Shell, words: list[str]) -> None:
    shell.set_once(_required(words, ".once FILE"))


def output(shell: Shell, words: list[str]) -> None:
    path = words[0] if words else None
    shell.set_output(None if path in (None, "stdout", "-") else path)


def explain(shell: Shell, words: list[str]) -> None:
    text = _required(words, ".explain [analyze] SQL").rstrip("; \n")
    _execute(shell, f"explain {text}", ".explain")


def checkpoint(shell: Shell, _words: list[str]) -> None:
    _execute(shell, "checkpoint", ".checkpoint")


def wal(shell: Shell, _words: list[str]) -> None:
    rows = [(name, value) for name, value in _facts(shell) if "wal" in name or "log" in name]
    shell.show([("name", "text"), ("value", "text")], rows)


def stats(shell: Shell, _words: list[str]) -> None:
    shell.show([("name", "text"), ("value", "text")], list(_facts(shell)))


def check(shell: Shell, _words: list[str]) -> None:
    # Another handle of this process would hang on our own lock, so look through this one.
    _execute(shell, "checkpoint", ".check")
    findings = list(check_open(shell.database))
    shell.show(list(FINDING_COLUMNS), [finding_row(finding) for finding in findings])
    note(f"{len(findings)} problem{'s'[: len(findings) != 1]} found")


def edit(shell: Shell, words: list[str]) -> None:
    if shell.edit is None:
        raise Failed(".edit needs a terminal")
    text = shell.edit(" ".join(words) or shell.last_sql)
    if text and text.strip():
        shell.feed(text)


def quit_shell(_shell: Shell, _words: list[str]) -> None:
    raise Quit


def show_help(shell: Shell, words: list[str]) -> None:
    if words:
        command = find_command(words[0] if words[0][:1] in ".\\" else f".{words[0]}")
        names = "  ".join(command.names)
        shell.say(f"{command.names[0]} {command.usage}".rstrip() + f"\n  {command.help}\n  {names}")
        return
    lines: list[str] = []
    for group in dict.fromkeys(command.group for command in COMMANDS):
        lines.append(group)
        for command in COMMANDS:
            if command.group == group:
                usage = f"{command.names[0]} {command.usage}".rstrip()
                aliases = " ".join(command.names[1:])
                lines.append(f"  {usage:<28} {aliases:<18} {command.help}".rstrip())
    lines.append("SQL ends with a semicolon. Ctrl-C cancels a statement, Ctrl-D leaves.")
    shell.say("\n".join(lines))


LOOK, RESULTS, FILES, STORAGE, SHELL = "Look", "Results", "Files", "Storage", "Shell"

COMMANDS: tuple[ShellCommand, ...] = (
    ShellCommand((".tables", "\\dt"), "[PATTERN]", "tables and views", LOOK, tables),
    ShellCommand((".schema", "\\sf"), "[NAME]", "the statements that made it", LOOK, schema),
    ShellCommand((".indexes", "\\di"), "[TABLE]", "indexes", LOOK, indexes),
    ShellCommand((".describe", "\\d"), "[TABLE]", "a table's columns", LOOK, describe),
    ShellCommand(
        (".explain",), "[analyze] SQL", "how a statement would run", LOOK, explain, raw=True
    ),
    ShellCommand((".mode",), "[FORMAT]", "output format", RESULTS, mode),
    ShellCommand((".expanded", "\\x"), "[on|off]", "one column a line", RESULTS, expanded),
    ShellCommand((".headers",), "[on|off]", "column names", RESULTS, headers),
    ShellCommand((".null", ".nullvalue"), "[TEXT]", "how NULL is shown", RESULTS, null),
    ShellCommand((".maxrows",), "[N]", "rows shown of a result; 0 for all", RESULTS, maxrows),
    ShellCommand((".timer", "\\timing"), "[on|off]", "time of each statement", RESULTS, timer),
    ShellCommand((".once",), "FILE", "next result into FILE", FILES, once),
    ShellCommand((".output", "\\o"), "[FILE]", "results into FILE, or back", FILES, output),
    ShellCommand((".read", "\\i"), "FILE", "run a script", FILES, read),
    ShellCommand(
        (".import",), "FILE TABLE", "load CSV, TSV, JSON, JSONL, Parquet", FILES, import_file
    ),
    ShellCommand((".export",), "TABLE FILE", "write a table to a file", FILES, export_rows),
    ShellCommand(
        (".checkpoint",), "", "write the log's changes into the file", STORAGE, checkpoint
    ),
    ShellCommand((".wal",), "", "the log's size and syncs", STORAGE, wal),
    ShellCommand((".check",), "", "verify the database", STORAGE, check),
    ShellCommand((".stats",), "", "counters of the engine", STORAGE, stats),
    ShellCommand((".edit", "\\e"), "", "write a statement in $EDITOR", SHELL, edit),
    ShellCommand((".help", "\\?"), "[COMMAND]", "this list", SHELL, show_help),
    ShellCommand((".quit", ".exit", "\\q"), "", "leave", SHELL, quit_shell),
)
BY_NAME = {name: command for command in COMMANDS for name in command.names}


def run_command(shell: Shell, line: str) -> None:
    """Run one line that begins with `.` or `\\`. Raises Failed for one that cannot be read."""
    name, _, rest = line.strip().partition(" ")
    command = find_command(name)
    if command.raw:
        words = [rest.strip()] if rest.strip() else []
    else:
        try:
            words = shlex.split(rest.strip().rstrip(";"))
        except ValueError as error:
            raise Failed(f"{name}: {str(error).lower()}") from None
    command.run(shell, words)


def find_command(name: str) -> ShellCommand:
    """The command of that name, or one it abbreviates. Raises Failed with a suggestion."""
    name = name.rstrip(";")
    if name in BY_NAME:
        return BY_NAME[name]
    begun = {BY_NAME[other].names[0] for other in BY_NAME if other.startswith(name)}
    if len(begun) == 1 and len(name) > 2:
        return BY_NAME[begun.pop()]
    close = difflib.get_close_matches(name.lower(), BY_NAME, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else ".help lists the commands"
    raise Failed(f"no such command: {name}", hint=hint)


def _required(words: list[str], usage: str) -> str:
    if not words:
        raise Failed(f"usage: {usage}")
    return words[0]


def _one(words: list[str], usage: str) -> str | None:
    """The only argument, or None without one. Raises Failed for several."""
    if len(words) > 1:
        raise Failed(f"usage: {usage}; what is {words[1]}?")
    return words[0] if words else None


def _switch(name: str, words: list[str], default: bool) -> bool:
    word = _one(words, f"{name} [on|off]")
    if word is None:
        return default
    if word.lower() in ("on", "yes", "1", "true"):
        return True
    if word.lower() in ("off", "no", "0", "false"):
        return False
    raise Failed(f"{name} takes on or off, not {word}")


def _require_readable_null(format_name: str, null: str | None) -> None:
    problem = null_problem(format_name, null)
    if problem:
        raise Failed(f"the text for NULL, {problem}", hint=".null TEXT sets another")


def _execute(shell: Shell, sql: str, name: str) -> None:
    shell.run_statement(Statement(sql, Source(name, sql)))


def _facts(shell: Shell) -> list[tuple[str, str]]:
    """The engine's counters as rows, nested ones with dotted names."""
    return list(_flat("", msgspec.to_builtins(shell.database.stats(), enc_hook=str)))


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [
            row
            for name, inner in value.items()
            for row in _flat(f"{prefix}.{name}" if prefix else str(name), inner)
        ]
    return [(prefix, str(value))]
