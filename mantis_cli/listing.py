"""Rows that the command line makes itself (tables, indexes, facts), in every output format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.types import BIGINT, BOOLEAN, DOUBLE, TEXT, SqlType
from mantis_cli.options import OutputChoice
from mantis_cli.output.stream import note
from mantis_cli.output.writers import Sink, terminal_options, write_rows

_KINDS: dict[str, SqlType] = {
    "text": TEXT,
    "integer": BIGINT,
    "number": DOUBLE,
    "boolean": BOOLEAN,
}


class ListColumn(msgspec.Struct, frozen=True):
    name: str
    type: SqlType


def write_listing(
    columns: Sequence[tuple[str, str]],
    rows: Sequence[tuple[Any, ...]],
    format_name: str,
    sink: Sink,
    choice: OutputChoice,
) -> None:
    """Write rows. columns: (name, 'text' | 'integer' | 'number' | 'boolean')."""
    options = terminal_options(
        sink, null=choice.null, header=choice.header, footer=choice.footer, note=note
    )
    described = [ListColumn(name, _KINDS[kind]) for name, kind in columns]
    write_rows(described, rows, format_name, sink, options)
