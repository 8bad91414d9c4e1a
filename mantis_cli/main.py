"""The `mantis` command: a lazy click group, and the one place where errors become exit codes.

How a command is added
1. `mantis_cli/commands/NAME.py` holds a click command or group called `command`. The module is
   imported only when its command runs, so it imports what it always needs at its top; rich,
   pyarrow, numpy, prompt_toolkit and pygments stay inside the functions that need them.
2. A row in COMMANDS (mantis_cli/command_table.py): name, module, one line of help. Nothing is
   imported until it is used.
3. It writes data to stdout through `mantis_cli.output.stream.stdout()`, and narration with
   `mantis_cli.output.stream.note()` (stderr, silent under --quiet).
4. It raises: errors of `engine.errors`, `click.UsageError`, `exits.CannotRead`, or
   `exits.Exit(code)` when it has already said why. It never calls sys.exit and never prints an
   error itself: `run` draws every error and chooses the exit code (mantis_cli/exits.py).
5. Long loops poll `SIGNALS.requested` (mantis_cli/signals.py) at least every 100 ms.

`mantis FILE` is `mantis shell FILE` on a terminal and `mantis query FILE` otherwise;
`mantis FILE "sql"` is `mantis query FILE "sql"`. Options may stand before the command's name.
"""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from engine import errors
from mantis_cli import __version__, exits
from mantis_cli.command_table import COMMANDS
from mantis_cli.crash import write_crash_report
from mantis_cli.output.errors import draw_error
from mantis_cli.output.stream import complain
from mantis_cli.signals import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_CODES = """\b
Exit codes: 0 ok, 1 SQL or engine error, 2 usage, 3 cannot open, 4 timeout,
5 damage found or data lost, 6 bench regression, 70 internal bug, 130 Ctrl-C,
141 the reader closed the pipe."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mantis_cli.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            raise click.UsageError(unknown_word(args[0]), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click would make it exit code 1
            raise exits.Exit(exits.BROKEN_PIPE) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def unknown_word(word: str) -> str:
    """What to say about a first word that is neither a command nor a file."""
    if word.startswith("-"):
        return f"no such option: {word}"
    close = difflib.get_close_matches(word.lower(), COMMANDS, n=1)
    if close:
        return f'no such command: {word} (did you mean "{close[0]}"?)'
    return f"no such command or file: {word}"


def print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    click.echo(f"mantis {__version__}")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Print the version and exit.",
)
def command() -> None:
    """MantisDB: a SQL database in one file.

    \b
    mantis FILE              the shell; without a terminal, SQL from standard input
    mantis FILE "select 1"   run one statement

    Every command takes -h.
    """


def route(arguments: Sequence[str], interactive: bool) -> list[str]:
    """The arguments with the command's name in front.

    `interactive`: standard input and output are terminals. A first word that is neither a command
    nor a plausible file name is left for click to complain about (with a suggestion).
    """
    words = list(arguments)
    if not words:
        return ["--help"]
    if words[0] in COMMANDS or words[0] in ("-h", "--help", "-V", "--version"):
        return words
    files = _positionals(words)
    if words[0].startswith("-") and files and words[files[0]] in COMMANDS:
        return [words[files[0]], *words[: files[0]], *words[files[0] + 1 :]]
    if not files or not _looks_like_file(words[files[0]], len(files)):
        return words
    scripted = len(files) > 1 or any(
        word[:2] in ("-c", "-f") or word.startswith(("--command", "--file")) for word in words
    )
    return ["shell" if interactive and not scripted else "query", *words]


# Options whose next word is a value; they may stand before the command's name.
VALUED = frozenset(
    {"-o", "--output", "--format", "--null", "--timeout", "--on-error", "--max-rows", "--color"}
    | {"--wait", "-c", "--command", "-f", "--file"}
)


def _positionals(words: list[str]) -> list[int]:
    """The places of the words that are neither options nor values of options."""
    places: list[int] = []
    skip = 0
    for place, word in enumerate(words):
        if skip:
            skip -= 1
        elif word == "--":
            return [*places, *range(place + 1, len(words))]
        elif word.startswith("-") and word != "-":
            skip = 2 if word in ("-p", "--param") else int(word in VALUED)
        else:
            places.append(place)
    return places


def _looks_like_file(word: str, count: int) -> bool:
    if "." in word or os.sep in word or os.path.exists(word):
        return True
    return count > 1 and not difflib.get_close_matches(word.lower(), COMMANDS, n=1, cutoff=0.75)


def run(arguments: Sequence[str] | None = None) -> None:
    """The console script: run one command and exit with its code."""
    fill_standard_streams()
    SIGNALS.install()
    words = list(sys.argv[1:] if arguments is None else arguments)
    code = execute(words)
    code = _flush(code)
    if SIGNALS.terminated is not None:
        _die_by(SIGNALS.terminated)
    sys.exit(code)


def fill_standard_streams() -> None:
    """Give the descriptors 0 to 2 that the caller closed (`>&-`) to the null device, so that no
    file of ours gets such a number and is written to by a print. Data for a closed stdout is an
    error, as everywhere; input is empty, and narration is dropped."""
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, flags)
            if descriptor != number:  # a lower one is free only when it was not filled
                os.dup2(descriptor, number)
                os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def execute(words: list[str]) -> int:
    """Run one command line; returns its exit code. Every error is drawn here."""
    try:
        interactive = _is_terminal(sys.stdin) and _is_terminal(sys.stdout)
        outcome: Any = command.main(
            args=route(words, interactive), prog_name="mantis", standalone_mode=False
        )
        return outcome if isinstance(outcome, int) else exits.OK
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        return _draw_usage(error)
    except (click.Abort, KeyboardInterrupt, exits.Interrupted):
        return _say("interrupted", exits.INTERRUPTED)
    except exits.Exit as done:
        return done.code
    except errors.Error as error:
        code = _adjusted(exits.exit_code(error))
        return _bug(error) if code == exits.BUG else _draw(error, code)
    except (exits.CannotRead, exits.Failed) as error:
        return _draw(error, exits.exit_code(error))
    except (BrokenPipeError, SystemExit):  # click makes the first into the second
        return exits.BROKEN_PIPE
    except OSError as error:  # the engine's own files raise errors.Error
        return _say(_system_error(error), exits.FAILED)
    except MemoryError:
        return _say("error[53200]: out of memory", exits.FAILED)
    except Exception as error:
        return _bug(error)


def _is_terminal(stream: Any) -> bool:
    return stream is not None and not stream.closed and bool(stream.isatty())


def _adjusted(code: int) -> int:
    """A statement cancelled by nobody's Ctrl-C was cancelled by another session: an error."""
    return exits.FAILED if code == exits.INTERRUPTED and not SIGNALS.requested else code


def _draw(error: BaseException, code: int) -> int:
    complain(draw_error(error))
    return code


def _draw_usage(error: click.ClickException) -> int:
    lines = [f"error: {error.format_message()}"]
    context = getattr(error, "ctx", None)
    if isinstance(error, click.UsageError) and context is not None:
        lines.append(f"  = try: {context.command_path} --help")
    complain("\n".join(lines))
    return exits.USAGE


def _say(text: str, code: int) -> int:
    complain(text)
    return code


def _bug(error: BaseException) -> int:
    path = write_crash_report(error)
    where = f"the traceback is in {path}" if path else "the traceback could not be written"
    return _say(
        f"internal error: {type(error).__name__}: {error}\n  = this is a bug of MantisDB; {where}",
        exits.BUG,
    )


def _system_error(error: OSError) -> str:
    if error.filename is None:  # of a stream
        return f"error: cannot write the output: {error.strerror}"
    return f"error: {error.filename}: {error.strerror}"


def _flush(code: int) -> int:
    """Flush both streams. A reader of data that has gone away becomes BROKEN_PIPE, quietly; data
    that cannot be written is a failure; narration that cannot be written changes nothing."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if not stream.closed:
                stream.flush()
        except OSError as error:
            if stream is sys.stdout:
                if isinstance(error, BrokenPipeError):
                    code = exits.BROKEN_PIPE
                elif code == exits.OK:
                    code = _say(_system_error(error), exits.FAILED)
            null = os.open(os.devnull, os.O_WRONLY)  # so that the flush at exit says nothing
            os.dup2(null, stream.fileno())
            os.close(null)
    return code


def _die_by(number: int) -> None:
    """End by the signal that asked for it, so that the parent sees the reason."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    run()
