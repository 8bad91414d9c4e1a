"""`mantis wal dump|stat|verify FILE`: look into the log. Read-only; a log that is being written may
show a moving end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import click
import msgspec

from engine.errors import DataError, MissingFile
from engine.types.dates import parse_timestamptz
from engine.vfs import OsVfs
from mantis_cli import exits
from mantis_cli.hints import missing_hint
from mantis_cli.options import color_option, database_argument, quiet_option
from mantis_cli.output.stream import note
from mantis_cli.output.writers import Sink, open_sink
from mantis_cli.signals import SIGNALS
from tools.walinspect.dump import Dump, record_line, row_line, time_text
from tools.walinspect.filters import RECORD_KINDS, ROW_KINDS, LogFilter
from tools.walinspect.source import LogSource, open_source
from tools.walinspect.statistics import LogStatistics, collect, facts
from tools.walinspect.verify import VerifyReport, verify

_RANGE = re.compile(r"(\d+)(?:(-|\.\.)(\d+)?)?")
_KEY = re.compile(r"-?[0-9]+|\\x(?:[0-9a-f]{2})+")


@click.group()
def command() -> None:
    """Look into the log of a database: dump, stat, verify.

    FILE is the database, or one of its segment files. Nothing is changed.
    """


def _source(path: str) -> LogSource:
    try:
        source = open_source(OsVfs(), path)
    except MissingFile as error:
        error.hint = missing_hint(path)
        raise
    if source.problem:
        note(f"note: the data file cannot be read ({source.problem}); tables have numbers only")
    if not source.segments:
        note(
            "note: there is no log: the database was closed cleanly, and its file holds everything"
        )
    return source


def _interruptible(entries: Iterable[Any]) -> Iterator[Any]:
    for index, entry in enumerate(entries):
        if not index & 255 and SIGNALS.requested:
            raise exits.Interrupted
        yield entry


def _parse_lsns(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(f"{text} is not N, N-M or N-", param_hint="--lsn")
    first, dash, last = match.groups()
    if last and int(last) < int(first):
        raise click.BadParameter(f"{text} ends before it begins", param_hint="--lsn")
    return int(first), int(last) if last else (None if dash else int(first))


def _parse_key(text: str | None) -> str | None:
    """A key as the log's keys are written (tools.walinspect.filters.key_text)."""
    if text is None:
        return None
    if _KEY.fullmatch(text.lower()) is None:
        raise click.BadParameter(f"{text} is neither a number nor \\x and hex", param_hint="--key")
    return text.lower() if text.startswith("\\") else str(int(text))


def _parse_time(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        return parse_timestamptz(text)
    except DataError as error:
        raise click.BadParameter(error.message, param_hint=option) from error


def _parse_tables(source: LogSource, tables: tuple[str, ...]) -> frozenset[int] | None:
    if not tables:
        return None
    _learn_names(source)  # the log may name tables made since the last checkpoint
    found: set[int] = set()
    for name in tables:
        tree_ids = source.names.tree_ids(name)
        if not tree_ids:
            raise click.BadParameter(f"no table or index is called {name}", param_hint="--table")
        found |= tree_ids
    return frozenset(found)


@command.command()
@database_argument
@click.option("--rows", is_flag=True, help="One line per row instead of per record.")
@click.option("--lsn", metavar="N[-M]", help="Only these LSNs: 12, 12-40 or 12-.")
@click.option("--since", metavar="TIME", help="Only commits at or after this time.")
@click.option("--until", metavar="TIME", help="Only commits at or before this time.")
@click.option("--txn", type=click.IntRange(min=0), metavar="TS", help="Only this commit_ts.")
@click.option(
    "--table", "tables", multiple=True, metavar="NAME", help="Only this table, index or tree."
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([*RECORD_KINDS, *ROW_KINDS]),
    help="Only this kind of record or row; may be repeated.",
)
@click.option("--key", metavar="KEY", help=r"Only this tree key: a number, or \x and hex.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines: one object a record or row.")
@click.option("-o", "--output", "output_path", metavar="FILE", help="Write to FILE.")
@quiet_option
@color_option
def dump(
    file: str,
    rows: bool,
    lsn: str | None,
    since: str | None,
    until: str | None,
    txn: int | None,
    tables: tuple[str, ...],
    kinds: tuple[str, ...],
    key: str | None,
    as_json: bool,
    output_path: str | None,
) -> None:
    """Print the records of the log, or its rows, one a line."""
    source = _source(file)
    first_lsn, last_lsn = _parse_lsns(lsn)
    wanted = LogFilter(
        first_lsn=first_lsn,
        last_lsn=last_lsn,
        since_us=_parse_time(since, "--since"),
        until_us=_parse_time(until, "--until"),
        commit_ts=txn,
        tree_ids=_parse_tables(source, tables),
        kinds=frozenset(kinds) or None,
        key=_parse_key(key),
    )
    sink = open_sink(output_path)
    found = Dump(source, wanted)
    entries: Iterable[Any] = found.rows() if rows else found.records()
    line = row_line if rows else record_line
    encode = msgspec.json.Encoder().encode
    for entry in _interruptible(entries):
        if as_json:
            sink.write(encode(entry) + b"\n", machine=True)
        else:
            sink.write(line(entry) + "\n")
    sink.close()
    end = found.end
    if end is not None and end.kind == "torn":
        note(f"note: {end.torn_size} torn bytes follow LSN {end.next_lsn - 1}")
    if end is not None and end.kind == "damage":
        raise end.error()


def _learn_names(source: LogSource) -> None:
    found = Dump(source, LogFilter(kinds=frozenset(("commit", "chunk"))))
    for _ in _interruptible(found.records()):
        pass


@command.command()
@database_argument
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@quiet_option
@color_option
def stat(file: str, as_json: bool) -> None:
    """Show what the log is made of: kinds, sizes, tables, syncs."""
    source = _source(file)
    found = collect(source)
    sink = open_sink(None)
    if as_json:
        _write_json(sink, {"schema": "mantis.wal.stat/1", "path": source.base_path, **facts(found)})
    else:
        sink.write("".join(f"{line}\n" for line in _stat_lines(source, found)))
    if found.end is not None and found.end.kind == "damage":
        raise found.end.error()


def _stat_lines(source: LogSource, found: LogStatistics) -> Iterator[str]:
    total = sum(kind.size for kind in found.kinds.values())
    count = sum(kind.count for kind in found.kinds.values())
    yield f"segments      {len(found.segments)}"
    for segment in found.segments:
        first = (
            "unreadable header" if segment.first_lsn is None else f"from LSN {segment.first_lsn}"
        )
        yield f"  {segment.segment_no:>8}    {segment.size:,} bytes, {first}"
    if not count:
        yield "records       0"
        return
    yield f"records       {count:,} (LSN {found.first_lsn} to {found.last_lsn}), {total:,} bytes"
    if found.ckpt_lsn is not None:
        held = f"checkpoint holds LSN up to {found.ckpt_lsn}"
        yield f"to replay     {found.replay_records:,} ({held})"
    for name, kind in sorted(found.kinds.items()):
        notes = ""
        if name == "NOTE":
            notes = " (" + ", ".join(f"{k} {n}" for k, n in sorted(found.notes.items())) + ")"
        yield (
            f"  {name:<10}  {kind.count:,}{notes}, {kind.size:,} bytes, "
            f"mean {kind.size // kind.count:,}, largest {kind.size_max:,}"
        )
    per_sync = f", {count / found.sync_count:.1f} records a sync" if found.sync_count else ""
    yield f"transactions  {found.transactions:,}, {found.rows:,} rows, largest {found.rows_max:,}"
    yield f"syncs         at least {found.sync_count:,}{per_sync}"
    if found.first_us is not None and found.last_us is not None:
        yield f"time          {time_text(found.first_us)} to {time_text(found.last_us)}"
    if found.trees:
        yield "tables"
    width = max((len(name) for name in found.trees), default=0)
    for name, tree in found.trees.items():
        yield (
            f"  {name:<{width}}  {tree.puts:,} put, {tree.deletes:,} deleted, "
            f"{tree.size:,} bytes, {tree.key_count:,} keys, {tree.rewrites:,} rewrites"
        )
    if found.end is not None and found.end.kind == "torn":
        yield f"torn tail     {found.end.torn_size:,} bytes after LSN {found.end.next_lsn - 1}"


@command.command("verify")
@database_argument
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@quiet_option
@color_option
def verify_command(file: str, as_json: bool) -> None:
    """Check every record, the chain over all segments, and every payload.

    Exit code 5 on damage.
    """
    source = _source(file)
    report = verify(source)
    sink = open_sink(None)
    if as_json:
        document = {"schema": "mantis.wal.verify/1", "path": source.base_path}
        _write_json(sink, {**document, **msgspec.to_builtins(report), "damaged": report.is_damaged})
    else:
        sink.write("".join(f"{line}\n" for line in _verify_lines(report)))
    if report.is_damaged:
        raise exits.Exit(exits.DAMAGE)


def _verify_lines(report: VerifyReport) -> Iterator[str]:
    for finding in report.findings:
        where = ""
        if finding.path is not None:
            at = "" if finding.offset is None else f" at byte {finding.offset}"
            where = f" [{finding.path}{at}]"
        yield f"{finding.severity}: {finding.message}{where}"
    if report.records:
        lsns = f"LSN {report.first_lsn} to {report.last_lsn}"
        yield f"{report.records:,} records ({lsns}), {report.transactions:,} transactions verified"
    else:
        yield "no records"
    yield "the log is damaged" if report.is_damaged else "ok"


def _write_json(sink: Sink, document: dict[str, Any]) -> None:
    raw = msgspec.json.format(msgspec.json.encode(document), indent=2)
    sink.write(raw + b"\n", machine=True)
