"""Options that several commands share; each can also be set as MANTIS_NAME in the environment.

    @click.command()
    @database_argument
    @open_options        --readonly, --wait
    @output_options      --format and its short forms, -o, header, null, caps, colour
    def command(file, readonly, wait, output: OutputChoice): …

Everything that a decorator adds arrives as described at its function. A command that does not use
an option does not declare it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec
from click.core import ParameterSource

from mantis_cli.output.formats import FORMATS, null_problem, suggest_format
from mantis_cli.output.stream import NARRATION

SECONDS_MAX = 366 * 86400

F = TypeVar("F", bound=Callable[..., Any])


class OutputChoice(msgspec.Struct, frozen=True):
    """What the user asked about output. format: a name, or None for the command's default."""

    format: str | None
    path: str | None
    null: str | None
    header: bool
    footer: bool
    max_rows: int | None


class FormatName(click.ParamType):  # type: ignore[type-arg]
    """A format's name; unknown ones get a suggestion."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        name = str(value).lower()
        if name not in FORMATS:
            self.fail(suggest_format(name), param, ctx)
        return name


def database_argument(function: F) -> F:
    """FILE: the database."""
    return click.argument("file", type=click.Path())(function)


def _set_color(_ctx: click.Context, _param: click.Parameter, value: str) -> None:
    NARRATION.color = value


def _set_quiet(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    NARRATION.quiet = value


def quiet_option(function: F) -> F:
    """-q: no narration. Handled here; nothing is passed on."""
    return click.option(
        "-q",
        "--quiet",
        is_flag=True,
        envvar="MANTIS_QUIET",
        expose_value=False,
        is_eager=True,
        callback=_set_quiet,
        help="No narration on stderr (errors are still written).",
    )(function)


def color_option(function: F) -> F:
    """--color. Handled here; nothing is passed on."""
    return click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        envvar="MANTIS_COLOR",
        expose_value=False,
        is_eager=True,
        callback=_set_color,
        help="Colour: auto (terminals only; NO_COLOR is honoured), always or never.",
    )(function)


class Seconds(click.FloatRange):
    """A number of seconds, at most a year: not NaN, not infinite."""

    def __init__(self, *, positive: bool = False) -> None:
        super().__init__(min=0, min_open=positive)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds: float = super().convert(value, param, ctx)
        if not seconds <= SECONDS_MAX:
            self.fail(f"{value} is not a number of seconds up to {SECONDS_MAX}.", param, ctx)
        return seconds


def wait_option(function: F) -> F:
    """wait: seconds to wait for a lock on the file."""
    return click.option(
        "--wait",
        type=Seconds(),
        default=0.0,
        metavar="S",
        envvar="MANTIS_WAIT",
        help="Wait up to S seconds for a database that another process has open.",
    )(function)


def open_options(function: F) -> F:
    """readonly, wait."""
    function = wait_option(function)
    return click.option(
        "-r",
        "--readonly",
        is_flag=True,
        envvar="MANTIS_READONLY",
        help="Open for reading only.",
    )(function)


def progress_option(function: F) -> F:
    """progress: True, False, or None for 'when stderr is a terminal'."""
    return click.option(
        "--progress/--no-progress",
        default=None,
        envvar="MANTIS_PROGRESS",
        help="Show progress on stderr (lines, if it is no terminal); by default on a terminal.",
    )(function)


_SHORT_FORMS = (
    ("csv", ("--csv",)),
    ("tsv", ("--tsv",)),
    ("json", ("--json",)),
    ("jsonl", ("--jsonl",)),
    ("markdown", ("--markdown",)),
    ("table", ("--table",)),
    ("vertical", ("-x", "--vertical")),
)


def format_options(function: F) -> F:
    """--format and its short forms, as the keyword `format_name` (None when not given)."""

    @functools.wraps(function)
    def wrapper(*args: Any, format_name: str | None, short_format: str | None, **rest: Any) -> Any:
        if format_name and short_format and format_name != short_format:
            source = click.get_current_context().get_parameter_source("format_name")
            if source is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--format {format_name} and --{short_format} contradict")
        return function(*args, format_name=short_format or format_name, **rest)

    decorated: Callable[..., Any] = wrapper
    for name, flags in reversed(_SHORT_FORMS):
        decorated = click.option(
            *flags, "short_format", flag_value=name, default=None, help=f"--format {name}."
        )(decorated)
    return click.option(  # type: ignore[return-value]
        "--format",
        "format_name",
        type=FormatName(),
        metavar="NAME",
        envvar="MANTIS_FORMAT",
        help=f"How rows are written: {', '.join(FORMATS)}.",
    )(decorated)


def require_readable_null(format_name: str | None, null: str | None) -> None:
    """Raise UsageError for a text of --null that the format could not be read back with."""
    problem = null_problem(format_name, null)
    if problem:
        raise click.UsageError(f"--null {problem}")


def output_options(function: F) -> F:
    """All that shapes results, as the keyword `output` (an OutputChoice)."""

    @functools.wraps(function)
    def wrapper(
        *args: Any,
        format_name: str | None,
        output_path: str | None,
        null: str | None,
        no_header: bool,
        tuples_only: bool,
        max_rows: int | None,
        **rest: Any,
    ) -> Any:
        require_readable_null(format_name, null)
        choice = OutputChoice(
            format=format_name,
            path=output_path,
            null=null,
            header=not (no_header or tuples_only),
            footer=not tuples_only,
            max_rows=max_rows,
        )
        return function(*args, output=choice, **rest)

    decorated: Callable[..., Any] = wrapper
    decorated = click.option(
        "--max-rows",
        type=click.IntRange(min=0),
        metavar="N",
        envvar="MANTIS_MAX_ROWS",
        help="Show at most N rows of a result and say how many are hidden; 0 for all. "
        "Default: 1000 for layouts on a terminal, else all.",
    )(decorated)
    decorated = click.option(
        "-t", "--tuples-only", is_flag=True, help="Rows only: no header, no row count."
    )(decorated)
    decorated = click.option("--no-header", is_flag=True, help="No column names.")(decorated)
    decorated = click.option("--null", metavar="STR", envvar="MANTIS_NULL", help="Text for NULL.")(
        decorated
    )
    decorated = click.option(
        "-o",
        "--output",
        "output_path",
        type=click.Path(),
        metavar="FILE",
        help="Write results to FILE instead of stdout.",
    )(decorated)
    return format_options(color_option(quiet_option(decorated)))  # type: ignore[return-value]
