"""`mantis recover FILE`: bring a database to a clean single file after a crash, and say what was
found. With -n only say it.

Exit code 5 when the file or its log is damaged; then nothing is changed.
"""

from __future__ import annotations

import click
import msgspec

from engine.vfs import OsVfs
from mantis_cli import exits
from mantis_cli.database import open_database
from mantis_cli.hints import missing_hint
from mantis_cli.options import color_option, database_argument, quiet_option, wait_option
from mantis_cli.output.stream import note
from mantis_cli.output.writers import stdout_sink
from tools.recover.recover import recover, survey


@click.command()
@database_argument
@click.option("-n", "--dry-run", is_flag=True, help="Report what recovery would do; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON document.")
@wait_option
@quiet_option
@color_option
def command(file: str, dry_run: bool, as_json: bool, wait: float) -> None:
    """Recover FILE after a crash, and report what was found.

    \b
    Opening a database recovers it anyway. This command does only that, and tells
    what the log added, what was torn, and what was lost. It never changes a
    damaged file: then it exits with code 5.
    """
    vfs = OsVfs()
    if not vfs.exists(file):
        raise exits.CannotRead(f'no such file: "{file}"', hint=missing_hint(file))
    if dry_run:
        report = survey(vfs, file)
    else:
        report = recover(vfs, file, lambda: open_database(file, wait_s=wait))
    sink = stdout_sink()
    if as_json:
        sink.write(msgspec.json.format(msgspec.json.encode(report.facts()), indent=2) + b"\n")
    else:
        sink.write("".join(f"{line}\n" for line in report.lines()))
    if report.is_damaged:
        note("nothing was changed; `mantis wal verify` and `mantis check` show the extent")
        raise exits.Exit(exits.DAMAGE)
