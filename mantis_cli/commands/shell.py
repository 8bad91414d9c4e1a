"""`mantis shell FILE`: the interactive shell; without a terminal, a script from stdin.

A script may use SQL and the shell's commands; it stops at the first error with exit code 1.
"""

from __future__ import annotations

import importlib
import sys

import click

from engine import errors
from mantis_cli import __version__, exits
from mantis_cli.database import open_database
from mantis_cli.options import OutputChoice, database_argument, open_options, output_options
from mantis_cli.output.stream import note
from mantis_cli.script import lines_of_file
from mantis_cli.shell.commands import Quit
from mantis_cli.shell.core import Shell
from mantis_cli.signals import SIGNALS


@click.command()
@database_argument
@click.option("-y", "--yes", is_flag=True, help="Answer yes to every question.")
@open_options
@output_options
def command(file: str, yes: bool, readonly: bool, wait: float, output: OutputChoice) -> int:
    """Open the interactive shell.

    \b
    mantis shell shop.mantis
    mantis shell shop.mantis < script.sql

    SQL ends with a semicolon; .help lists the shell's own commands.
    """
    interactive = bool(sys.stdin and sys.stdin.isatty() and sys.stdout.isatty())
    ask = (lambda _question: True) if yes else _ask
    try:
        database = open_database(file, readonly=readonly, wait_s=wait)
    except errors.MissingFile:
        if not interactive or readonly or not ask(f"{file} does not exist. Create it?"):
            raise
        database = open_database(file, create=True, wait_s=wait)
    with database:
        shell = Shell(database, file, output, ask if interactive else None)
        try:
            if interactive:
                note(f"MantisDB {__version__}  ·  {file}  ·  .help for help")
                importlib.import_module("mantis_cli.shell.repl").run_shell(shell)
            else:
                shell.run_script("<stdin>", lines_of_file("-"))
        except Quit:
            pass
        finally:
            shell.close()
    if shell.failed and SIGNALS.requested:
        return exits.INTERRUPTED
    return exits.FAILED if shell.failed and not interactive else exits.OK


def _ask(question: str) -> bool:
    """A yes/no question on the terminal; anything but yes is no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    with SIGNALS.interruptible():
        answer = sys.stdin.readline()
    return answer.strip().lower() in ("y", "yes")
