"""`mantis schema FILE [NAME…]`: the statements that make the schema."""

from __future__ import annotations

import sys

import click

from mantis_cli.catalog_view import current_catalog, find_table
from mantis_cli.database import open_database
from mantis_cli.options import color_option, database_argument, quiet_option, wait_option
from mantis_cli.schema_text import schema_statements


@click.command()
@database_argument
@click.argument("names", nargs=-1)
@wait_option
@color_option
@quiet_option
def command(file: str, names: tuple[str, ...], wait: float) -> None:
    """Print the statements that make the schema, or only those of NAMES."""
    with open_database(file, readonly=True, wait_s=wait) as database:
        catalog = current_catalog(database)
        for name in names:
            if catalog.relation_kind(name) is None:
                find_table(catalog, name)  # raises, with a suggestion
        for statement in schema_statements(catalog, names):
            sys.stdout.write(f"{statement};\n")
