"""`mantis import FILE TABLE SOURCE`: load a file into a table."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING

import click

from mantis_cli.options import (
    color_option,
    database_argument,
    progress_option,
    quiet_option,
    wait_option,
)
from mantis_cli.output.progress import Progress, wants_progress
from mantis_cli.output.stream import NARRATION, complain, note
from mantis_cli.transfer.inputs import IN_FORMATS, Input, open_input
from mantis_cli.transfer.rejects import Rejects
from mantis_cli.transfer.sources import Source, open_source

if TYPE_CHECKING:
    from mantis_cli.transfer.load import Counts


@click.command()
@database_argument
@click.argument("table")
@click.argument("source")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(IN_FORMATS),
    help="Format of SOURCE; by default its name tells.",
)
@click.option(
    "--pk", metavar="COLUMNS", help="Primary key of a new table: a column, or several with commas."
)
@click.option("--create", is_flag=True, help="Create the database file if it is missing.")
@click.option("--null", metavar="STR", help="Read this text as NULL, for example NA.")
@click.option("--delimiter", metavar="CHAR", help="Field separator of CSV or TSV.")
@click.option("--no-header", is_flag=True, help="The first line holds data, not column names.")
@click.option(
    "--rejects",
    "rejects_path",
    metavar="FILE",
    type=click.Path(),
    help="Load the good rows and write the others, with line numbers and reasons, to FILE.",
)
@progress_option
@wait_option
@color_option
@quiet_option
def command(
    file: str,
    table: str,
    source: str,
    format_name: str | None,
    pk: str | None,
    create: bool,
    null: str | None,
    delimiter: str | None,
    no_header: bool,
    rejects_path: str | None,
    progress: bool | None,
    wait: float,
) -> None:
    """Load SOURCE (CSV, TSV, JSON, JSONL, Parquet; inside .gz and .zip; - is stdin) into TABLE.

    A table that does not exist is created with types found in the data. All rows are loaded in one
    transaction; on an error nothing has changed.

    \b
    mantis import shop.mantis orders orders.csv --pk id
    mantis import shop.mantis flights archive.zip::flights.csv --null NA --create
    """
    opened = open_input(source)
    chosen = format_name or opened.format
    if chosen is None:
        raise click.UsageError(f"cannot tell the format of {source}; say --format NAME")
    if delimiter is not None and (len(delimiter) != 1 or chosen not in ("csv", "tsv")):
        raise click.UsageError("--delimiter takes one character, for csv and tsv")
    if no_header and chosen not in ("csv", "tsv"):
        raise click.UsageError("--no-header is for csv and tsv")
    if null is not None and chosen not in ("csv", "tsv"):
        raise click.UsageError(
            "--null is for csv and tsv: the other formats have NULLs of their own"
        )
    rejects = Rejects(rejects_path) if rejects_path else None
    started = time.perf_counter()
    reader = open_source(
        opened, chosen, delimiter=delimiter, header=not no_header, null=null, rejects=rejects
    )
    reader.start()
    into = importlib.import_module("mantis_cli.transfer.into")  # the engine, while Arrow reads
    try:
        with Progress(wants_progress(progress, NARRATION.quiet), "reading") as bar:
            counts = into.load_into(file, table, reader, pk, rejects, bar, create, wait)
    finally:
        if rejects is not None:
            rejects.close()
    _report(counts, table, reader, rejects, time.perf_counter() - started, opened)


def _report(
    counts: Counts,
    table: str,
    reader: Source,
    rejects: Rejects | None,
    seconds: float,
    source: Input,
) -> None:
    what = f"new table, {counted(counts.columns, 'column')}" if counts.created else "existing table"
    rate = counts.loaded / seconds if seconds > 0 else 0
    line = f"imported {counted(counts.loaded, 'row')} into {table} ({what})"
    if counts.rejected and rejects is not None:
        line += f", rejected {counts.rejected:,} (see {rejects.path})"
    note(f"{line} in {seconds:.2f} s, {rate:,.0f} rows/s, {source.size / 1e6:,.1f} MB")
    for text in reader.notes():
        note(f"note: {text}; --null decides otherwise")
    if counts.rejected and NARRATION.quiet:
        complain(f"rejected {counted(counts.rejected, 'row')}")


def counted(number: int, noun: str) -> str:
    """The number, and the noun in its singular or plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
