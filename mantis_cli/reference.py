"""docs/cli.md, made from the commands themselves: `python -m mantis_cli.reference > docs/cli.md`.

A test compares the file with what this module makes.
"""

from __future__ import annotations

import sys

import click

from mantis_cli.command_table import COMMANDS
from mantis_cli.main import EXIT_CODES, command
from mantis_cli.output.formats import FORMATS
from mantis_cli.shell.commands import COMMANDS as SHELL_COMMANDS

HEAD = """# The command line

Made from the commands by `python -m mantis_cli.reference`; `mantis COMMAND --help` says the same.

`mantis FILE` opens the shell on a terminal and runs SQL from standard input elsewhere;
`mantis FILE "select 1"` runs one statement. Options may stand anywhere after `mantis`.

Data goes to stdout, narration to stderr. What is written never depends on whether stdout is a
terminal; only colour, fitting to the width, the row cap (announced with its count), progress and
prompts do. `NO_COLOR`, `FORCE_COLOR` and `--color` are honoured. Ctrl-C cancels the statement and
undoes it; a second one within two seconds ends the process. Opening a missing file never creates
it: `mantis new`, `mantis import --create` or a yes in the shell do.

Processes that only read (`--readonly`, `export`, `schema`, `tables`, `check`) share a database;
one that may write has it alone, and `--wait S` waits until it can be had. A file named by `-o` of
`query` or by `export` is replaced when the work is done, and keeps its old content when that fails.
"""

FORMAT_NOTES = {
    "table": "columns aligned; NULL reads `NULL`, control characters are escaped",
    "csv": 'RFC 4180 quoting, lines end in LF; NULL is bare, the empty string is `""`',
    "tsv": "a line a row; `\\t`, `\\n`, `\\r`, `\\\\` are escapes, `\\N` is NULL",
    "json": "one strict array of objects; NaN and infinities become null, repeated names get "
    '`_2`, bytes are `{"$base64": "…"}`',
    "jsonl": "one object a line",
    "markdown": "a pipe table",
    "vertical": "a line a column, a block a row",
}


def render() -> str:
    """The whole document."""
    parts = [HEAD, "## Exit codes\n", _exit_codes(), "## Formats\n"]
    parts.append("".join(f"- `{name}`: {FORMAT_NOTES[name]}\n" for name in FORMATS))
    context = click.Context(
        command, info_name="mantis", help_option_names=["-h", "--help"], max_content_width=100
    )
    for name in COMMANDS:
        sub = command.get_command(context, name)
        assert sub is not None
        parts += _command(sub, name, context, 2)
    parts += ["## Shell commands\n", _shell_commands()]
    return "\n".join(parts).rstrip() + "\n"


def _exit_codes() -> str:
    text = EXIT_CODES.replace("\b", "").replace("Exit codes:", "").replace("\n", " ")
    rows = []
    for part in " ".join(text.split()).rstrip(".").split(", "):
        code, _, meaning = part.strip().partition(" ")
        rows.append(f"| {code} | {meaning} |\n")
    return "| code | meaning |\n|---|---|\n" + "".join(rows)


def _command(sub: click.Command, name: str, parent: click.Context, level: int) -> list[str]:
    context = click.Context(sub, info_name=name, parent=parent)
    help_text = (sub.help or "").replace("\b\n", "\n")
    usage = " ".join([context.command_path, *sub.collect_usage_pieces(context)])
    parts = [f"{'#' * level} mantis {context.command_path.split(' ', 1)[1]}\n", f"    {usage}\n"]
    parts.append(_indented_examples(help_text) + "\n")
    options = []
    for parameter in sub.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            environment = ""
            if isinstance(parameter.envvar, str):
                environment = f" (`{parameter.envvar}`)"
            options.append(f"- `{record[0]}` {record[1]}{environment}\n")
    parts.append("".join(options))
    if isinstance(sub, click.Group):
        for child_name in sub.list_commands(context):
            child = sub.get_command(context, child_name)
            assert child is not None
            parts += _command(child, child_name, context, level + 1)
    return parts


def _indented_examples(text: str) -> str:
    """Help text as markdown: example lines (they begin with a command) become code."""
    lines = []
    for line in text.strip().splitlines():
        plain = line.strip()
        is_example = plain.startswith(("mantis ", "echo "))
        lines.append(f"    {plain}" if is_example else plain)
    return "\n".join(lines)


def _shell_commands() -> str:
    rows = ["| command | also | does |\n|---|---|---|\n"]
    for entry in SHELL_COMMANDS:
        usage = f"{entry.names[0]} {entry.usage}".rstrip().replace("|", "\\|")
        also = " ".join(f"`{name}`" for name in entry.names[1:])
        rows.append(f"| `{usage}` | {also} | {entry.help} |\n")
    return "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(render())
