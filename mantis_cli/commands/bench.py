"""`mantis bench oltp|parse|wal`: figures beside the sqlite3 module, from alternating rounds.

Figures go to stdout as a table, or with --json as one document "mantis.bench/1". --compare reads an
earlier document and exits with 6 when a figure became worse by more than --fail-over percent.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from mantis_cli import exits
from mantis_cli.listing import write_listing
from mantis_cli.options import OutputChoice, color_option, quiet_option
from mantis_cli.output.stream import note
from mantis_cli.output.writers import stdout_sink
from mantis_cli.signals import SIGNALS
from tools.bench.compare import Change, compare
from tools.bench.measure import Figure, MissingExtra, machine_facts, versions
from tools.bench.oltp import Config, run_oltp
from tools.bench.parsing import run_parse
from tools.bench.wal import run_wal

COLUMNS = (
    ("workload", "text"),
    ("mantis", "integer"),
    ("peer", "integer"),
    ("unit", "text"),
    ("ratio", "number"),
    ("target", "number"),
    ("p50 µs", "number"),
    ("p99 µs", "number"),
    ("peer p50", "number"),
    ("peer p99", "number"),
)
Run = Callable[[Config, str | None], Iterator[Figure]]
# Options that say nothing to a workload, by parameter name.
FOREIGN = {
    "oltp": {},
    "parse": {"rows": "--rows", "operations": "--operations", "directory": "--dir"},
    "wal": {"rows": "--rows"},
}
WORKLOADS: dict[str, Run] = {"oltp": run_oltp, "parse": run_parse, "wal": run_wal}


@click.command()
@click.argument("workload", type=click.Choice(list(WORKLOADS)))
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--rows",
    type=click.IntRange(min=1000),
    default=100_000,
    show_default=True,
    help="Rows of the table (oltp).",
)
@click.option(
    "--operations",
    type=click.IntRange(min=100),
    default=20_000,
    show_default=True,
    help="Operations of a round (oltp, wal).",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--only", metavar="TEXT", help="Only workloads whose name contains TEXT.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(exists=True, file_okay=False, writable=True),
    help="Where databases are made (oltp, wal); by default the temporary directory.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option(
    "--compare",
    "base_path",
    type=click.Path(dir_okay=False),
    metavar="BASE.json",
    help="Compare with an earlier --json document; exit code 6 on a regression.",
)
@click.option(
    "--fail-over",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    help="How much worse a figure may be under --compare.",
)
@color_option
@quiet_option
@click.pass_context
def command(
    ctx: click.Context,
    workload: str,
    rounds: int,
    rows: int,
    operations: int,
    seed: int,
    only: str | None,
    directory: str | None,
    as_json: bool,
    base_path: str | None,
    fail_over: float,
) -> None:
    """Measure WORKLOAD: oltp and wal through the Python APIs, parse on statements alone."""
    for name, option in FOREIGN[workload].items():
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{option} says nothing to bench {workload}")
    base = _read_base(base_path) if base_path else None
    place = directory or tempfile.gettempdir()
    config = Config(place, rows, operations, rounds, seed)
    figures = []
    try:
        for figure in WORKLOADS[workload](config, only):
            SIGNALS.check()
            note(_progress_line(figure))
            figures.append(figure)
    except MissingExtra as error:
        raise exits.Failed(str(error)) from None
    if not figures:
        raise click.UsageError(f"no {workload} workload has {only!r} in its name")
    document = {
        "schema": "mantis.bench/1",
        "workload": workload,
        "config": {"rows": rows, "operations": operations, "rounds": rounds, "seed": seed},
        "machine": machine_facts(place),
        "versions": versions(),
        "results": [figure.facts() for figure in figures],
    }
    sink = stdout_sink()
    if as_json:
        sink.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    else:
        choice = OutputChoice("table", None, "", True, False, 0)
        write_listing(COLUMNS, [_row(figure) for figure in figures], "table", sink, choice)
    sink.flush()
    if base is not None:
        _judge(compare(base, document), fail_over)


def _read_base(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            document: dict[str, Any] = msgspec.json.decode(file.read(), type=dict[str, Any])
    except OSError as error:
        raise exits.CannotRead(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} is not a benchmark document: {error}") from None
    if document.get("schema") != "mantis.bench/1":
        raise click.UsageError(f"{path} is not a document of mantis bench --json")
    return document


def _judge(changes: list[Change], fail_over: float) -> None:
    worse = 0
    for change in changes:
        percent = change.change * 100
        is_worse = percent < -fail_over
        worse += is_worse
        mark = "REGRESSION" if is_worse else "ok"
        note(f"{mark:<10} {change.name}: {change.basis} {percent:+.1f} %")
    if worse:
        raise exits.Exit(exits.REGRESSION)


def _row(figure: Figure) -> tuple[Any, ...]:
    mantis, peer = figure.mantis, figure.peer
    return (
        figure.name,
        round(mantis.median),
        None if peer is None else round(peer.median),
        figure.unit,
        None if figure.ratio is None else round(figure.ratio, 2),
        figure.target,
        mantis.p50_us,
        mantis.p99_us,
        None if peer is None else peer.p50_us,
        None if peer is None else peer.p99_us,
    )


def _progress_line(figure: Figure) -> str:
    ratio = "" if figure.ratio is None else f", {figure.ratio:.2f} x {figure.peer_name}"
    return f"{figure.name}: {figure.mantis.median:,.0f} {figure.unit}{ratio}"
