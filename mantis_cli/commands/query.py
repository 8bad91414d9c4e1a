"""`mantis query FILE`: run SQL from -c, -f, arguments or standard input, and print the results.

-c and -f may be repeated and run in the order they were given. A script stops at its first error
(--on-error continue goes on and still ends with 1). With -1 everything is one transaction. The
file of -o is replaced when the script has come to its end, and left alone when it stops.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from engine import errors
from engine.sql.lexer import scan
from mantis_cli import exits
from mantis_cli.database import open_database
from mantis_cli.options import (
    OutputChoice,
    Seconds,
    database_argument,
    open_options,
    output_options,
)
from mantis_cli.output.errors import draw_error, with_source
from mantis_cli.output.stream import complain, note
from mantis_cli.output.writers import destination
from mantis_cli.running import ONE_DOCUMENT, Runner
from mantis_cli.script import (
    Statement,
    lines_of_file,
    lines_of_text,
    may_give_rows,
    statements,
)
from mantis_cli.signals import SIGNALS

if TYPE_CHECKING:
    from engine.session import Session


ENDING = frozenset({"commit", "end", "rollback", "abort"})


class OrderedCommand(click.Command):
    """Keeps the order in which -c and -f were given, in `ctx.meta["order"]`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta["order"] = [
            parameter.name for parameter in order if parameter.name in ("commands", "files")
        ]
        return super().parse_args(ctx, args)


@click.command(cls=OrderedCommand)
@database_argument
@click.argument("sql", nargs=-1)
@click.option("-c", "--command", "commands", multiple=True, metavar="SQL", help="Run SQL.")
@click.option(
    "-f", "--file", "files", multiple=True, metavar="FILE", help="Run a script; - is stdin."
)
@click.option(
    "-p",
    "--param",
    "params",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Give :NAME in the SQL a value (text, converted as needed).",
)
@click.option(
    "-1",
    "--single-transaction",
    "single",
    is_flag=True,
    help="Run everything in one transaction; an error undoes all.",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "continue"]),
    default="stop",
    envvar="MANTIS_ON_ERROR",
    help="After an error: stop (default), or go on. Either way the exit code is 1.",
)
@click.option(
    "--timeout",
    type=Seconds(positive=True),
    metavar="S",
    envvar="MANTIS_TIMEOUT",
    help="Cancel a statement after S seconds (exit code 4).",
)
@click.option("--stats", is_flag=True, help="Write one JSON line of statistics to stderr.")
@open_options
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    file: str,
    sql: tuple[str, ...],
    commands: tuple[str, ...],
    files: tuple[str, ...],
    params: tuple[tuple[str, str], ...],
    single: bool,
    on_error: str,
    timeout: float | None,
    stats: bool,
    readonly: bool,
    wait: float,
    output: OutputChoice,
) -> int:
    """Run SQL and print the results.

    \b
    mantis query shop.mantis -c "select * from orders limit 3"
    mantis query shop.mantis -f setup.sql -f load.sql -1
    mantis query shop.mantis --csv -c "select * from orders" > orders.csv
    echo "select 1;" | mantis query shop.mantis
    """
    if single and on_error == "continue":
        raise click.UsageError("--single-transaction and --on-error continue contradict")
    script = _script(ctx.meta["order"], sql, commands, files)
    if output.format == "json":
        script = _require_one_result(script)
    started = time.perf_counter()
    with open_database(file, readonly=readonly, wait_s=wait) as database:
        session = database.session()
        if timeout is not None:
            session.settings.set("statement_timeout", f"{timeout:f}s")
        try:
            with destination(output.path) as sink:
                runner = Runner(session, sink, output.format or "table", output, dict(params))
                tally = _run_script(runner, script, single, on_error == "continue")
                for name in sorted(runner.unused):
                    note(f"note: -p {name}: no statement has :{name}")
        finally:
            session.close()
        if stats:
            _write_stats(tally, time.perf_counter() - started, database.stats())
    return exits.FAILED if tally.error_count else exits.OK


class Tally:
    """What a script has done so far."""

    def __init__(self) -> None:
        self.statement_count = 0
        self.error_count = 0
        self.row_count = 0


def _script(
    order: list[str], sql: tuple[str, ...], commands: tuple[str, ...], files: tuple[str, ...]
) -> Iterator[Statement]:
    """All statements, lazily, in the order of the command line."""
    texts, paths = iter(commands), iter(files)
    parts: list[Iterator[Statement]] = []
    for name in order:
        if name == "commands":
            parts.append(statements("-c", lines_of_text(next(texts))))
        else:
            path = next(paths)
            parts.append(statements("<stdin>" if path == "-" else path, lines_of_file(path)))
    for text in sql:
        source = lines_of_file("-") if text == "-" else lines_of_text(text)
        parts.append(statements("<stdin>" if text == "-" else "sql", source))
    if not parts:
        if sys.stdin is None or sys.stdin.isatty():
            raise click.UsageError("no SQL: give -c SQL, -f FILE, or pipe a script in")
        parts.append(statements("<stdin>", lines_of_file("-")))
    return itertools.chain.from_iterable(parts)


def _require_one_result(script: Iterator[Statement]) -> Iterator[Statement]:
    """Refuse, before anything runs, a script of which two statements would answer with rows."""
    known = list(script)
    if sum(may_give_rows(statement.text) for statement in known) > 1:
        raise click.UsageError(ONE_DOCUMENT)
    return iter(known)


def _run_script(runner: Runner, script: Iterator[Statement], single: bool, go_on: bool) -> Tally:
    tally = Tally()
    session = runner.session
    if single:
        session.execute("BEGIN")
    try:
        for statement in script:
            if SIGNALS.requested:
                raise exits.Interrupted
            tally.statement_count += 1
            if single:
                _require_inner(statement)
            try:
                tally.row_count += max(0, runner.run(statement).rows)
            except errors.Error as error:
                if not go_on or SIGNALS.requested or exits.exit_code(error) == exits.BUG:
                    raise
                tally.error_count += 1
                complain(draw_error(error))
    except BaseException:
        _undo(session)
        raise
    if single:
        session.execute("COMMIT")
    elif session.in_transaction:
        session.rollback()
        note("note: the script ended inside a transaction, which was rolled back")
    return tally


def _require_inner(statement: Statement) -> None:
    """Refuse a statement that would end the one transaction of -1."""
    words = [
        token.text.lower() for token in scan(statement.text) if token.kind in ("keyword", "name")
    ][:3]
    if words and words[0] in ENDING and "to" not in words and "prepared" not in words:
        error = errors.TransactionStateError(
            f"{words[0].upper()} is not allowed in the one transaction of --single-transaction",
            sqlstate="2D000",
            hint="leave it out, or leave -1 out",
        )
        raise with_source(error, statement.source)


def _undo(session: Session) -> None:
    if session.in_transaction:
        session.rollback()


def _write_stats(tally: Tally, seconds: float, database: Any) -> None:
    facts = {
        "schema": "mantis.stats/1",
        "statements": tally.statement_count,
        "errors": tally.error_count,
        "rows": tally.row_count,
        "elapsed_ms": round(seconds * 1000, 3),
        "database": database,
    }
    complain(msgspec.json.encode(facts, enc_hook=str).decode())
