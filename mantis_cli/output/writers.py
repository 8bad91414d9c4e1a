"""Formats by name, and writing one result into a sink.

    write_result(result, "csv", sink, options) -> rows written

A `Sink` is where bytes go: standard output or a file. It keeps at most one chunk.

A `destination` is a sink whose file appears when it is whole: it is written under a temporary name
beside it and renamed at the end, so a failure leaves what was there before. Devices and pipes are
written directly.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TextIO

from engine.errors import Error
from engine.storage.page import META_MAGIC
from mantis_cli.exits import CannotRead, Failed
from mantis_cli.output.delimited import write_csv, write_tsv
from mantis_cli.output.formats import LAYOUTS
from mantis_cli.output.json_text import write_json, write_jsonl
from mantis_cli.output.layout import Columns, Counter, Options, Rows, Writer
from mantis_cli.output.stream import speaks_unicode, terminal_width, wants_color
from mantis_cli.output.table import write_markdown, write_table, write_vertical

LOG_NAME = re.compile(r"-wal-\d{8}$")

WRITERS: dict[str, Writer] = {
    "table": write_table,
    "csv": write_csv,
    "tsv": write_tsv,
    "json": write_json,
    "jsonl": write_jsonl,
    "markdown": write_markdown,
    "vertical": write_vertical,
}


class Sink:
    """Where a result goes. Text in the stream's encoding; machine formats in UTF-8."""

    def __init__(self, raw: BinaryIO, text: TextIO | None = None, owned: bool = False) -> None:
        self.raw = raw
        self.text = text
        self.owned = owned

    def write(self, chunk: str | bytes, machine: bool = False) -> None:
        if isinstance(chunk, str):
            encoding = "utf-8" if machine or self.text is None else self.text.encoding or "utf-8"
            chunk = chunk.encode(encoding, "surrogateescape" if machine else "backslashreplace")
        try:
            self.raw.write(chunk)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failed(f"cannot write the output: {error.strerror}") from None

    def flush(self) -> None:
        self.raw.flush()

    def close(self) -> None:
        """Flush; close the file if it is ours."""
        self.raw.flush()
        if self.owned:
            self.raw.close()


def stdout_sink() -> Sink:
    """Standard output. Text still in its buffer goes out first."""
    sys.stdout.flush()
    return Sink(sys.stdout.buffer, sys.stdout)


def open_sink(path: str | None) -> Sink:
    """A file to write (`-` or None is standard output). Raises CannotRead."""
    if path is None or path == "-":
        return stdout_sink()
    _require_no_database(path)
    try:
        return Sink(open(path, "wb"), owned=True)
    except OSError as error:
        raise CannotRead(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def destination(path: str | None) -> Iterator[Sink]:
    """A sink for the block; its file replaces `path` when the block ends without an error. Raises
    CannotRead. A file that is replaced keeps its mode; a link stays a link."""
    if path is None or path == "-" or _is_stream(path):
        sink = open_sink(path)
        try:
            yield sink
        finally:
            sink.close()
        return
    _require_no_database(path)
    target = os.path.realpath(path)
    temporary = f"{target}.{os.getpid()}.part"
    try:
        sink = _open_beside(target, temporary)
    except OSError as error:
        raise CannotRead(f"cannot write {path}: {error.strerror}") from None
    try:
        yield sink
        try:
            sink.close()
            os.replace(temporary, target)
        except OSError as error:
            raise CannotRead(f"cannot write {path}: {error.strerror}") from None
    finally:
        if os.path.exists(temporary):
            with suppress(OSError):  # a full disk has been told of already
                sink.raw.close()
            os.unlink(temporary)


def _require_no_database(path: str) -> None:
    """Output never replaces a database: that is a slip of the hand (`-o` for the file itself).
    Its log segments are refused too. Raises CannotRead."""
    if not os.path.isfile(path):
        return
    with suppress(OSError), open(path, "rb") as file:
        if file.read(len(META_MAGIC)) == META_MAGIC or LOG_NAME.search(path):
            raise CannotRead(
                f"{path} is a MantisDB file; output does not replace it",
                hint="name another file",
            )


def _is_stream(path: str) -> bool:
    """Whether what is written to `path` is gone at once: a device, a pipe, a descriptor. What
    /dev/stdout leads to may be a file, but one that somebody else has opened."""
    absolute = os.path.abspath(path)
    if absolute.startswith(("/dev/", "/proc/")) and not absolute.startswith("/dev/shm/"):
        return True
    return os.path.exists(path) and not os.path.isfile(path)


def _open_beside(target: str, temporary: str) -> Sink:
    """Open `temporary` with the mode of `target`, which must be writable if it exists."""
    mode = None
    if os.path.exists(target):
        os.close(os.open(target, os.O_WRONLY))
        mode = stat.S_IMODE(os.stat(target).st_mode)
    with suppress(FileNotFoundError):  # left by a killed process that had our number
        os.unlink(temporary)
    raw = open(temporary, "xb")  # noqa: SIM115
    if mode is not None:
        with suppress(OSError):  # a file system without modes
            os.fchmod(raw.fileno(), mode)
    return Sink(raw, owned=True)


def terminal_options(sink: Sink, **changes: object) -> Options:
    """Options for what the sink is: fitted and coloured on a terminal, plain elsewhere."""
    stream = sink.text
    base: dict[str, object] = {
        "width": terminal_width(stream) if stream is not None else None,
        "color": stream is not None and wants_color(stream),
        "unicode": stream is None or speaks_unicode(stream),
    }
    return Options(**{**base, **changes})  # type: ignore[arg-type]


def write_rows(
    columns: Columns,
    rows: Rows,
    format_name: str,
    sink: Sink,
    options: Options,
    max_rows: int | None = None,
) -> int:
    """Stream rows into the sink; returns how many the result had.

    max_rows: rows shown (None for all). What it hides is counted and announced by a note, which
    names options.show_all.
    An error while rows are made leaves what was written; a JSON array is then left open, so that
    a cut document can never pass for a whole one.
    """
    counter = Counter(rows, None if max_rows is None else min(max_rows, sys.maxsize))
    machine = format_name not in LAYOUTS
    try:
        for chunk in WRITERS[format_name](columns, counter, options):
            sink.write(chunk, machine)
    except Error:
        sink.flush()
        raise
    sink.flush()
    if max_rows is not None:
        counter.finish()
        if counter.hidden:
            hidden = f"{counter.hidden:,}".replace(",", " ")
            options.note(
                f"note: {hidden} more row{'s'[: counter.hidden > 1]} not shown; "
                f"{options.show_all} for all"
            )
    return counter.count + counter.hidden
