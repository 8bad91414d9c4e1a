"""`mantis export FILE WHAT [DEST]`: a table's or a query's rows into a file, as a stream.

A failed export leaves nothing that looks finished, and a file that was there as it was.
"""

from __future__ import annotations

import os
import time

import click

from engine.errors import ProgrammingError
from mantis_cli.catalog_view import current_catalog, find_table
from mantis_cli.database import open_database
from mantis_cli.options import (
    OutputChoice,
    color_option,
    database_argument,
    format_options,
    quiet_option,
    require_readable_null,
    wait_option,
)
from mantis_cli.output.errors import Source
from mantis_cli.output.stream import note
from mantis_cli.output.writers import destination
from mantis_cli.running import Runner
from mantis_cli.schema_text import quote_identifier
from mantis_cli.script import Statement, may_give_rows

_EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".md": "markdown",
}


@click.command()
@database_argument
@click.argument("what")
@click.argument("dest", default="-", type=click.Path())
@click.option("--no-header", is_flag=True, help="No column names (CSV, TSV, markdown).")
@click.option("--null", metavar="STR", help="Text for NULL.")
@wait_option
@format_options
@color_option
@quiet_option
def command(
    file: str,
    what: str,
    dest: str,
    no_header: bool,
    null: str | None,
    wait: float,
    format_name: str | None,
) -> None:
    """Write the rows of WHAT (a table, or a SELECT) to DEST (- is stdout).

    The format follows DEST's name, or --format; CSV on stdout.

    \b
    mantis export shop.mantis orders orders.csv
    mantis export shop.mantis "select * from orders where total > 10" - --jsonl
    """
    extension = os.path.splitext(dest)[1].lower()
    chosen = format_name or _EXTENSIONS.get(extension) or ("csv" if dest == "-" else None)
    if chosen is None:
        raise click.UsageError(f"cannot tell the format of {dest}; say --format NAME")
    require_readable_null(chosen, null)
    with open_database(file, readonly=True, wait_s=wait) as database:
        if may_give_rows(what):
            sql = what
        else:
            try:
                table = find_table(current_catalog(database), what).name
            except ProgrammingError:
                if what not in current_catalog(database).views:
                    raise
                table = what
            sql = f"select * from {quote_identifier(table)}"
        choice = OutputChoice(chosen, None, null, not no_header, False, 0)
        session = database.session()
        started = time.perf_counter()
        with destination(dest) as sink:
            outcome = Runner(session, sink, chosen, choice).run(
                Statement(sql, Source("query", sql))
            )
        session.close()
    seconds = time.perf_counter() - started
    note(f"exported {outcome.rows} row{'s'[: outcome.rows != 1]} in {seconds:.2f} s")
