"""`mantis check FILE`: is this database what it claims to be? Exit code 5 when it is not."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator

import click
import msgspec

from engine import errors
from mantis_cli import exits
from mantis_cli.checking import NamedFinding, check_open, check_unopenable, finding_facts
from mantis_cli.database import open_database
from mantis_cli.options import color_option, database_argument, quiet_option, wait_option
from mantis_cli.output.stream import note, paint, wants_color
from mantis_cli.output.text import escape_controls

SHOWN_MAX = 1000


@click.command()
@database_argument
@click.option("--quick", is_flag=True, help="Pages and log only; not indexes and constraints.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@wait_option
@color_option
@quiet_option
def command(file: str, quick: bool, as_json: bool, wait: float) -> None:
    """Verify every page, tree, count, index, constraint and log record. Changes nothing.

    Exit code 5 when something is wrong.
    """
    started = time.perf_counter()
    findings, count = [], 0
    color = wants_color(sys.stdout)
    for finding in _findings(file, quick, wait):
        count += 1
        if as_json:
            findings.append(finding_facts(finding))
        elif count <= SHOWN_MAX:
            sys.stdout.write(_line(finding, color) + "\n")
    if as_json:
        facts = {
            "schema": "mantis.check/1",
            "path": file,
            "quick": quick,
            "sound": not count,
            "findings": findings,
        }
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode() + "\n")
    elif count > SHOWN_MAX:
        sys.stdout.write(f"… {count - SHOWN_MAX} more problems; --json lists all\n")
    seconds = time.perf_counter() - started
    if count:
        plural = "s" if count > 1 else ""
        note(f"{count} problem{plural} found in {seconds:.2f} s")
        note(f"  = next: mantis recover -n {file}")
        raise exits.Exit(exits.DAMAGE)
    if not as_json:
        what = "pages and log" if quick else "pages, indexes, constraints and log"
        sys.stdout.write(f"{paint('ok', 'good', color)}: {what} are sound\n")
    note(f"checked in {seconds:.2f} s")


def _findings(file: str, quick: bool, wait: float) -> Iterator[NamedFinding]:
    """Findings; a file too damaged to open is checked as it lies."""
    try:
        database = open_database(file, readonly=True, wait_s=wait)
    except errors.DamageFound as damage:
        first = NamedFinding("open", "", damage.page_no or 0, damage.message)
        yield from itertools.chain([first], _rest(file))
        return
    with database:
        yield from check_open(database, quick=quick)


def _rest(file: str) -> Iterator[NamedFinding]:
    try:
        yield from check_unopenable(file)
    except errors.DamageFound:
        return  # not even a meta page: it has been said


def _line(finding: NamedFinding, color: bool) -> str:
    parts = [paint(finding.kind, "error", color)]
    if finding.name:
        parts.append(finding.name)
    if finding.page_no:
        parts.append(f"page {finding.page_no}")
    message = finding.message
    if finding.page_no:
        message = message.removeprefix(f"page {finding.page_no}: ")
    return f"{': '.join(parts)}: {escape_controls(message)}"
