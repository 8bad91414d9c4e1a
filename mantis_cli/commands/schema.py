"""`mantis schema FILE [NAME…]`: the statements that make the schema."""

from __future__ import annotations

import click

from engine.catalog import Catalog
from mantis_cli.catalog_view import current_catalog, find_table
from mantis_cli.database import open_database
from mantis_cli.options import color_option, database_argument, quiet_option, wait_option
from mantis_cli.output.writers import stdout_sink
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
        found = tuple(
            name if catalog.relation_kind(name) else _folded(catalog, name) for name in names
        )
        write = stdout_sink().write
        for statement in schema_statements(catalog, found):
            write(f"{statement};\n")


def _folded(catalog: Catalog, name: str) -> str:
    """The name as SQL folds it. Raises ProgrammingError, with a suggestion."""
    if catalog.relation_kind(name.lower()):
        return name.lower()
    return find_table(catalog, name).name
