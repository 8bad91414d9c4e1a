"""Layouts for people: table, markdown, vertical.

Widths come from the first batch of rows; later rows stream with them, and a wider value only
pushes its own line. Nothing is cut unless the output is a terminal: then columns shrink until the
table fits, cut values end in `…` and their number is announced; a table that cannot fit turns
vertical. Control characters are escaped; NULL reads NULL (dim in colour).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from mantis_cli.output.layout import Chunks, Columns, Options, Rows, batches, column_texts
from mantis_cli.output.stream import paint
from mantis_cli.output.text import cut, display_width, escape_controls, pad
from mantis_cli.output.values import RIGHT_ALIGNED, text_formatter

NARROWEST = 8  # a column is not cut below this many terminal columns
Texts = list[list[str]]  # column by column


class _Grid:
    """Columns ready to be laid out: names, converters, alignment, widths."""

    def __init__(self, columns: Columns, options: Options) -> None:
        self.names = [escape_controls(column.name) for column in columns]
        self.right = [column.type.kind in RIGHT_ALIGNED for column in columns]
        self.null = "NULL" if options.null is None else options.null
        self.formatters = [text_formatter(column.type) for column in columns]
        self.widths: list[int] = []
        self.cut_count = 0
        self.mark = "…" if options.unicode else "~"

    def texts(self, batch: list[Sequence[Any]]) -> Texts:
        """A batch's values as escaped texts, column by column."""
        texts = []
        for formatter, values in zip(self.formatters, zip(*batch)):
            column = column_texts(formatter, values, self.null)
            joined = "".join(column)
            if not (joined.isascii() and joined.isprintable()):
                column = [escape_controls(text) for text in column]
            texts.append(column)
        return texts

    def measure(self, texts: Texts) -> None:
        """Set widths from the names and the first batch."""
        self.widths = [display_width(name) for name in self.names]
        for place, column in enumerate(texts):
            if column:
                widest = max(map(len if "".join(column).isascii() else display_width, column))
                self.widths[place] = max(self.widths[place], widest)

    def fit(self, room: int) -> bool:
        """Shrink the widest columns until all take at most `room`; False when they cannot."""
        while sum(self.widths) > room:
            widest = max(self.widths)
            if widest <= NARROWEST:
                return False
            wide = [place for place, width in enumerate(self.widths) if width == widest]
            below = max([width for width in self.widths if width < widest], default=0)
            target = max(below, NARROWEST, widest - -(-(sum(self.widths) - room) // len(wide)))
            for place in wide:
                self.widths[place] = target if target < widest else widest - 1
        return True

    def shrink(self, texts: Texts) -> Texts:
        """Cut the texts that are wider than their columns, and count them."""
        result = []
        for column, width in zip(texts, self.widths):
            short = [cut(text, width, self.mark) for text in column]
            self.cut_count += sum(1 for a, b in zip(column, short) if a is not b)
            result.append(short)
        return result


def _nulls(batch: list[Sequence[Any]]) -> list[list[bool]]:
    return [[value is None for value in values] for values in zip(*batch)]


def _padded(grid: _Grid, texts: Texts, nulls: list[list[bool]] | None) -> Iterator[tuple[str, ...]]:
    """Rows of padded texts; with `nulls` (colour), NULLs are dim."""
    columns = []
    for place, (column, width, right) in enumerate(zip(texts, grid.widths, grid.right)):
        cells = [pad(text, width, right) for text in column]
        if nulls is not None:
            cells = [
                paint(text, "dim", True) if is_null else text
                for text, is_null in zip(cells, nulls[place])
            ]
        columns.append(cells)
    return zip(*columns)


def count_text(count: int) -> str:
    return "(1 row)" if count == 1 else f"({count} rows)"


def write_table(columns: Columns, rows: Rows, options: Options) -> Chunks:
    grid = _Grid(columns, options)
    source = batches(rows)
    first = next(source, [])
    grid.measure(grid.texts(first) if first else [])
    between, cross, line = (" │ ", "─┼─", "─") if options.unicode else (" | ", "-+-", "-")
    fitted = options.width is not None
    if options.width is not None and not grid.fit(options.width - 2 - 3 * (len(columns) - 1)):
        yield from write_vertical(columns, chain(first, chain.from_iterable(source)), options)
        return
    if options.header:
        names = [cut(name, width, grid.mark) for name, width in zip(grid.names, grid.widths)]
        cells = [
            pad(name, width, right) for name, width, right in zip(names, grid.widths, grid.right)
        ]
        yield (
            " " + between.join(paint(cell, "bold", options.color) for cell in cells).rstrip() + "\n"
        )
        rule = cross.join(line * width for width in grid.widths)
        yield f"{line}{rule}{line}\n"
    count = 0
    for batch in chain([first] if first else [], source):
        count += len(batch)
        texts = grid.texts(batch)
        if fitted:
            texts = grid.shrink(texts)
        padded = _padded(grid, texts, _nulls(batch) if options.color else None)
        yield "".join([" " + between.join(row).rstrip() + "\n" for row in padded])
    if options.footer:
        yield count_text(count) + "\n"
    if grid.cut_count:
        options.note(
            f"note: {grid.cut_count} value{'s'[: grid.cut_count > 1]} cut to fit the terminal; "
            "-x shows them whole"
        )


def write_markdown(columns: Columns, rows: Rows, options: Options) -> Chunks:
    grid = _Grid(columns, options)

    def escaped(texts: Texts) -> Texts:
        return [[text.replace("|", "\\|") for text in column] for column in texts]

    grid.names = [name.replace("|", "\\|") for name in grid.names]
    source = batches(rows)
    first = next(source, [])
    grid.measure(escaped(grid.texts(first)) if first else [])
    grid.widths = [max(width, 3) for width in grid.widths]
    if options.header:
        cells = [
            pad(name, width, right)
            for name, width, right in zip(grid.names, grid.widths, grid.right)
        ]
        yield f"| {' | '.join(cells)} |\n"
        rules = [
            "-" * (width - 1) + ":" if right else "-" * width
            for width, right in zip(grid.widths, grid.right)
        ]
        yield f"| {' | '.join(rules)} |\n"
    for batch in chain([first] if first else [], source):
        padded = _padded(grid, escaped(grid.texts(batch)), None)
        yield "".join([f"| {' | '.join(row)} |\n" for row in padded])


def write_vertical(columns: Columns, rows: Rows, options: Options) -> Chunks:
    grid = _Grid(columns, options)
    bar, line = ("│", "─") if options.unicode else ("|", "-")
    width = max(map(display_width, grid.names), default=0)
    names = [paint(pad(name, width, False), "bold", options.color) for name in grid.names]
    count = 0
    for batch in batches(rows):
        lines = []
        for values, row in zip(batch, zip(*grid.texts(batch))):
            count += 1
            if options.header:
                head = f"{line}[ row {count} ]"
                lines.append(head + line * max(0, 40 - len(head)))
            for name, text, value in zip(names, row, values):
                shown = paint(text, "dim", options.color and value is None)
                lines.append(f"{name} {bar} {shown}".rstrip() if options.header else shown)
        yield "\n".join(lines) + "\n"
    if options.footer:
        yield count_text(count) + "\n"
