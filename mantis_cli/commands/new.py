"""`mantis new FILE`: the one command whose job is to create a database."""

from __future__ import annotations

import os

import click

from mantis_cli.database import open_database
from mantis_cli.exits import CannotRead
from mantis_cli.options import color_option, quiet_option
from mantis_cli.output.stream import note


@click.command()
@click.argument("file", type=click.Path())
@click.option(
    "--page-size",
    type=click.Choice(["4", "8", "16", "32", "64", "128", "256"]),
    default="32",
    show_default=True,
    help="Page size in KiB, fixed for the life of the file.",
)
@color_option
@quiet_option
def command(file: str, page_size: str) -> None:
    """Create an empty database file.

    \b
    mantis new shop.mantis
    """
    if os.path.exists(file):
        raise CannotRead(f"{file} exists already", hint="new never overwrites a file")
    with open_database(file, create=True, page_size=int(page_size) * 1024):
        pass
    note(f"created {file}; open it: mantis {file}")
