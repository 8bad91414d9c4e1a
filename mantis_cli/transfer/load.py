"""Rows of a source into a table, in one transaction: all of them or, on an error, none.

table          way
new            the table is created and bulk-loaded from Arrow batches in one commit
existing       INSERT by the engine, so that every constraint and index is kept

Invariants
1. Nothing is changed when an error leaves this module.
2. A row is loaded, rejected, or the reason of an error; `Counts` adds up.
3. Batches of a bulk load are sorted by key and their keys are unique (engine.storage.bulk_load).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from engine.catalog import Column, Table, primary_key_codec
from engine.errors import (
    DataError,
    IntegrityError,
    NotNullViolation,
    ProgrammingError,
    UniqueViolation,
)
from engine.session import Session
from engine.sql.executor.ddl import create_table
from engine.storage.arrow_arrays import from_numbers, from_values, take
from engine.types import SqlType
from engine.types.forms import from_storage, python_converter
from engine.types.kinds import INTEGER_KINDS
from mantis_cli.output.progress import Progress
from mantis_cli.schema_text import quote_identifier
from mantis_cli.signals import SIGNALS
from mantis_cli.transfer.delimited import Stumbled
from mantis_cli.transfer.rejects import Rejects
from mantis_cli.transfer.sources import Source, TypedBlock

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 65_536
INSERT_ROWS = 1000


class Counts(msgspec.Struct):
    """What a load did."""

    loaded: int = 0
    rejected: int = 0
    created: bool = False
    columns: int = 0


class Loader:
    """One load. session: without an open transaction. pk: key columns of a new table."""

    def __init__(
        self,
        session: Session,
        source: Source,
        table_name: str,
        pk: tuple[str, ...],
        rejects: Rejects | None,
        progress: Progress,
    ) -> None:
        self.session = session
        self.source = source
        self.table_name = table_name
        self.pk = pk
        self.rejects = rejects
        self.progress = progress
        self.counts = Counts()

    def run(self) -> Counts:
        """Load everything. Raises engine errors; then nothing has changed (Invariant 1)."""
        while True:
            try:
                return self._attempt()
            except Stumbled:  # the careful path knows better
                if self.rejects is not None:
                    self.rejects.restart()

    def _attempt(self) -> Counts:
        self.counts = Counts()
        self.session.begin()
        try:
            # A statement of the transaction takes its snapshot.
            table = self._existing()
            if table is None:
                self._load_new()
            elif self.pk:
                raise click.UsageError(
                    f"table {table.name} exists already; --pk is for a new table"
                )
            else:
                self._insert_into(table)
            self.session.commit()
        except BaseException:
            if self.session.in_transaction:
                self.session.rollback()
            raise
        self.counts.rejected = self.rejects.count if self.rejects is not None else 0
        return self.counts

    def _existing(self) -> Table | None:
        catalog = self.session.transactions.catalog
        if self.table_name in catalog.views:
            raise ProgrammingError(f'"{self.table_name}" is a view', sqlstate="42809")
        table: Table | None = catalog.tables.get(self.table_name)
        return table

    # ── a new table ──────────────────────────────────────────────────────────────────────────
    def _load_new(self) -> None:
        self.progress.stage("reading", None)
        types = self.source.detect()
        transaction, _ = self.session.begin_statement()
        new = described_table(self.table_name, self.source.names, types, self.pk)
        table = create_table(transaction, new, False)
        assert table is not None
        self.counts.created = True
        self.counts.columns = len(types)
        self.progress.stage("loading", None)
        blocks = self._counted(self.source.typed_blocks(types, True))
        if table.primary_key:
            batches = self._keyed_batches(table, blocks)
        else:
            batches = _rowid_batches(blocks)
        transaction.loads = {table.table_id: batches}

    def _counted(self, blocks: Iterable[TypedBlock]) -> Iterator[TypedBlock]:
        for block in blocks:
            self.counts.loaded += block.row_count
            self.progress.advance(block.row_count)
            yield block

    def _keyed_batches(
        self, table: Table, blocks: Iterable[TypedBlock]
    ) -> Iterator[pa.RecordBatch]:
        """All rows sorted by the primary key (they are held in memory, as columns)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        tables, lines = [], []
        names = [str(place) for place in range(len(table.columns))]
        for block in blocks:
            self._require_keys(table, block)
            tables.append(pa.table(block.arrays, names))
            lines.append(block.lines or [0] * block.row_count)
        if not tables:
            return
        whole = pa.concat_tables(tables)
        if table.key_column is not None:
            keys = whole.column(table.key_column).combine_chunks()
        else:
            encode = primary_key_codec(table).encode
            parts = [whole.column(place).to_pylist() for place in table.primary_key]
            keys = from_values("binary", [encode(values) for values in zip(*parts)])
            whole = whole.add_column(0, "key", keys)
        if len(keys) > 1 and not pc.all(pc.less(keys[:-1], keys[1:])).as_py():
            order = pc.sort_indices(keys)
            order = self._without_repeats(table, whole, keys.take(order), order, lines)
            whole = whole.take(order)
        for batch in whole.combine_chunks().to_batches(max_chunksize=BATCH_ROWS):
            SIGNALS.check()
            yield batch

    def _require_keys(self, table: Table, block: TypedBlock) -> None:
        for place in table.primary_key:
            if block.arrays[place].null_count:
                row = block.arrays[place].is_null().index(True).as_py()
                self._require_lines(block.lines or ())
                line = block.lines[row] if block.lines else 0
                name = table.columns[place].name
                raise NotNullViolation(
                    f'{_where(line)}null value in key column "{name}"',
                    table=table.name,
                    columns=(name,),
                )

    def _require_lines(self, lines: Sequence[int]) -> None:
        """Raise Stumbled, to begin again, when a row is bad and its line could be known."""
        if not any(lines) and self.source.know_lines():
            raise Stumbled

    def _without_repeats(
        self, table: Table, whole: pa.Table, keys: pa.Array, order: pa.Array, lines: list[list[int]]
    ) -> pa.Array:
        """`order` without rows whose key came before: they are rejected, or the first raised."""
        import pyarrow.compute as pc

        if len(keys) < 2:
            return order
        repeats = pc.equal(keys[:-1], keys[1:])
        if not pc.any(repeats).as_py():
            return order
        places = [place + 1 for place, repeat in enumerate(repeats.to_pylist()) if repeat]
        flat = [line for part in lines for line in part]
        self._require_lines(flat)
        names = [table.columns[place].name for place in table.primary_key]
        first = whole.num_columns - len(table.columns)
        for place in places:
            row = order[place].as_py()
            values = [whole.column(first + p)[row].as_py() for p in table.primary_key]
            reason = f"duplicate key ({', '.join(names)}) = ({', '.join(map(str, values))})"
            if self.rejects is None:
                raise UniqueViolation(
                    _where(flat[row]) + reason,
                    table=table.name,
                    constraint=table.primary_key_name,
                    columns=tuple(names),
                )
            text = ",".join(str(column[row].as_py()) for column in whole.columns[first:])
            self.rejects.add(flat[row], reason, text)
        self.counts.loaded -= len(places)
        gone = set(places)
        kept = [place for place in range(len(order)) if place not in gone]
        return take(order, from_values("int64", kept))

    # ── an existing table ────────────────────────────────────────────────────────────────────
    def _insert_into(self, table: Table) -> None:
        places = match_columns(table, self.source.names)
        types = [table.columns[place].type for place in places]
        self.counts.columns = len(types)
        names = ", ".join(quote_identifier(table.columns[place].name) for place in places)
        marks = ", ".join("?" * len(places))
        sql = f"INSERT INTO {quote_identifier(table.name)} ({names}) VALUES ({marks})"
        converters = [_python_converter(sql_type) for sql_type in types]
        self.progress.stage("inserting", None)
        with SIGNALS.cancellable(self.session.cancel):
            for block in self.source.typed_blocks(types, False):
                rows = _python_rows(block, converters)
                lines = block.lines or [0] * block.row_count
                for start in range(0, len(rows), INSERT_ROWS):
                    stop = start + INSERT_ROWS
                    self._insert(sql, rows[start:stop], lines[start:stop])
                    self.progress.advance(min(stop, len(rows)) - start)

    def _insert(self, sql: str, rows: list[tuple[Any, ...]], lines: list[int]) -> None:
        """The rows in order; a bad one is rejected, or raised with its line. A run with a bad row
        is undone by its savepoint and halved, so that good rows go in by the hundred."""
        self.session.execute("SAVEPOINT import_rows")
        try:
            self.session.execute_many(sql, rows)
        except (DataError, IntegrityError) as error:
            self._require_lines(lines)
            self.session.execute("ROLLBACK TO SAVEPOINT import_rows")
            self.session.execute("RELEASE SAVEPOINT import_rows")
            if len(rows) > 1:
                middle = len(rows) // 2
                self._insert(sql, rows[:middle], lines[:middle])
                self._insert(sql, rows[middle:], lines[middle:])
            elif self.rejects is None:
                error.message = _where(lines[0]) + error.message
                error.span = None  # it points into a statement that nobody wrote
                raise
            else:
                text = ",".join("" if value is None else str(value) for value in rows[0])
                self.rejects.add(lines[0], error.message, text)
            return
        self.session.execute("RELEASE SAVEPOINT import_rows")
        self.counts.loaded += len(rows)


def described_table(
    name: str, columns: Sequence[str], types: Sequence[SqlType], pk: tuple[str, ...]
) -> Table:
    """The table to create, ids still 0, as CREATE TABLE would describe it (whose grammar this
    leaves unloaded: 80 ms). Raises UsageError for an unknown key column."""
    folded = {column.lower(): place for place, column in enumerate(columns)}
    for column in pk:
        if column.lower() not in folded:
            raise click.UsageError(f"--pk {column}: no such column; there are {', '.join(columns)}")
    key = tuple(dict.fromkeys(folded[column.lower()] for column in pk))
    is_int_key = len(key) == 1 and types[key[0]].kind in INTEGER_KINDS
    return Table(
        table_id=0,
        name=name,
        columns=tuple(
            Column(0, column, sql_type, not_null=place in key)
            for place, (column, sql_type) in enumerate(zip(columns, types))
        ),
        primary_key=key,
        primary_key_name=f"{name}_pkey" if key else "",
        key_column=key[0] if is_int_key else None,
    )


def match_columns(table: Table, names: Sequence[str]) -> list[int]:
    """The table's position of each source column: by name, or in order when no name fits and the
    counts agree. Raises ProgrammingError 42703."""
    by_name = {column.name.lower(): place for place, column in enumerate(table.columns)}
    found = [by_name.get(name.lower()) for name in names]
    if all(place is None for place in found) and len(names) == len(table.columns):
        return list(range(len(names)))
    unknown = [name for name, place in zip(names, found) if place is None]
    if unknown:
        raise ProgrammingError(
            f'table {table.name} has no column "{unknown[0]}"',
            sqlstate="42703",
            hint=f"its columns are {', '.join(column.name for column in table.columns)}",
        )
    return [place for place in found if place is not None]


def _rowid_batches(blocks: Iterable[TypedBlock]) -> Iterator[pa.RecordBatch]:
    """Blocks with ascending rowids in front."""
    import numpy as np
    import pyarrow as pa

    following = 1
    for block in blocks:
        rowids = from_numbers(np.arange(following, following + block.row_count, dtype=np.int64))
        following += block.row_count
        names = ["key", *map(str, range(len(block.arrays)))]
        yield pa.RecordBatch.from_arrays([rowids, *block.arrays], names)


def _python_converter(sql_type: SqlType) -> Callable[[Any], Any] | None:
    """Stored value → what a statement's parameter takes."""
    unstored, python = from_storage(sql_type), python_converter(sql_type)
    if unstored is None or python is None:
        return unstored or python
    return lambda value: python(unstored(value))


def _python_rows(
    block: TypedBlock, converters: Sequence[Callable[[Any], Any] | None]
) -> list[tuple[Any, ...]]:
    columns = []
    for array, convert in zip(block.arrays, converters):
        values = array.to_pylist()
        if convert is not None:
            values = [None if value is None else convert(value) for value in values]
        columns.append(values)
    return list(zip(*columns))


def _where(line: int) -> str:
    return f"line {line}: " if line else ""
