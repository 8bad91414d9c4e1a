"""`mantis tables FILE [PATTERN]`: tables and views with rows, columns and indexes."""

from __future__ import annotations

import click

from mantis_cli.catalog_view import TABLE_COLUMNS, table_rows
from mantis_cli.database import open_database
from mantis_cli.listing import write_listing
from mantis_cli.options import OutputChoice, database_argument, output_options, wait_option
from mantis_cli.output.writers import open_sink


@click.command()
@database_argument
@click.argument("pattern", required=False)
@wait_option
@output_options
def command(file: str, pattern: str | None, wait: float, output: OutputChoice) -> None:
    """List tables and views with their row counts; PATTERN is a glob like 'air*'."""
    with open_database(file, readonly=True, wait_s=wait) as database:
        rows = table_rows(database, pattern)
    sink = open_sink(output.path)
    write_listing(TABLE_COLUMNS, rows, output.format or "table", sink, output)
    sink.close()
