"""What the loader reads: blocks of stored values, from text or from Arrow's own types.

    source.names                        column names
    source.start()                      begin to read and detect in a thread, if that helps
    source.detect()                     their SQL types (reads text once)
    source.typed_blocks(types, …)       TypedBlocks with those types: the detected ones or a
                                        table's

A source can be read again from its start; the loader does so after `Stumbled`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from engine.errors import DataError, NotSupportedError
from engine.storage.arrow_arrays import from_values, take
from engine.types import (
    BIGINT,
    BOOLEAN,
    BYTEA,
    DATE,
    DOUBLE,
    INTEGER,
    NUMERIC,
    REAL,
    SMALLINT,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    SqlType,
)
from engine.types.kinds import type_text
from mantis_cli.exits import Failed
from mantis_cli.signals import SIGNALS
from mantis_cli.transfer.delimited import (
    BLOCK_ROWS,
    Block,
    DelimitedSource,
    Stumbled,
    column_names,
)
from mantis_cli.transfer.detect import (
    GIVEN,
    NULL_WORDS,
    ORDER,
    BadValue,
    Column,
    Converter,
    Guess,
    arrow_physical,
)
from mantis_cli.transfer.inputs import Input
from mantis_cli.transfer.json_records import JsonSource
from mantis_cli.transfer.records import Dialect
from mantis_cli.transfer.rejects import Rejects

if TYPE_CHECKING:
    import pyarrow as pa


KEEP_BYTES = 256 << 20  # blocks kept between detection and load; larger files are read twice


class TypedBlock:
    """arrays[i]: column i's stored values. lines[i]: the line of row i, when known."""

    __slots__ = ("arrays", "lines", "row_count")

    def __init__(self, arrays: list[pa.Array], lines: list[int] | None, row_count: int) -> None:
        self.arrays = arrays
        self.lines = lines
        self.row_count = row_count


class _Early:
    """A function that runs in a thread; `result` returns or raises what it did."""

    def __init__(self, run: Callable[[], list[SqlType]]) -> None:
        self._run = run
        self._types: list[SqlType] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="mantis-import", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._types = self._run()
        except BaseException as error:
            self._error = error

    def wait(self) -> None:
        self._thread.join()

    def result(self) -> list[SqlType]:
        self.wait()
        if self._error is not None:
            raise self._error
        return self._types


class Source(Protocol):
    names: list[str]

    def start(self) -> None: ...

    def detect(self) -> list[SqlType]: ...

    def typed_blocks(self, types: Sequence[SqlType], detected: bool) -> Iterator[TypedBlock]:
        """detected: the types are those that detect() gave."""
        ...

    def know_lines(self) -> bool:
        """Give line numbers from the next reading on; False when that changes nothing."""
        ...

    def notes(self) -> list[str]:
        """What to tell the user about guesses, after the last block."""
        ...


class TextSource:
    """CSV, TSV, JSON, JSONL: text whose types are detected.

    keep_bytes: a source whose blocks are larger together is read again instead of kept."""

    def __init__(
        self,
        source: DelimitedSource | JsonSource,
        file_name: str,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self.source = source
        self.keep_bytes = keep_bytes
        self.names = source.names
        self.file_name = file_name
        self._guesses: list[Guess] = []
        self._converters: list[Converter] = []
        self._kept: list[Block] | None = None
        self._early: _Early | None = None

    def start(self) -> None:
        """Detect in a thread: Arrow reads while this process still imports the engine."""
        self._early = _Early(self._detect)

    def detect(self) -> list[SqlType]:
        early, self._early = self._early, None
        return self._detect() if early is None else early.result()

    def _detect(self) -> list[SqlType]:
        kinds_of = self.source.kinds_of or [ORDER] * len(self.names)
        words = NULL_WORDS if self.source.detects_words else ()
        self._guesses = [Guess(kinds, words) for kinds in kinds_of]
        self._kept, kept_bytes = [], 0
        for block in self._blocks():
            for guess, column in zip(self._guesses, block.columns):
                guess.observe(column)
                column.release(not guess.kinds)
            if self._kept is not None:  # small files are read once
                self._kept.append(block)
                kept_bytes += sum(column.nbytes for column in block.columns)
                if kept_bytes > self.keep_bytes:
                    self._kept = None
        return [guess.sql_type() for guess in self._guesses]

    def _blocks(self) -> Iterator[Block]:
        try:
            yield from self.source.blocks()
        except Stumbled:
            self.source.careful = True  # type: ignore[misc]
            self._kept = None
            raise

    def typed_blocks(self, types: Sequence[SqlType], detected: bool) -> Iterator[TypedBlock]:
        early, self._early = self._early, None
        if early is not None:
            early.wait()
        self._converters = []
        for place, sql_type in enumerate(types):
            known = detected and sql_type != TEXT
            words = frozenset(self._guesses[place].null_words) if known else frozenset()
            arrow = known and sql_type not in GIVEN.values()
            self._converters.append(Converter(sql_type, arrow, words))
        blocks = self._kept if self._kept is not None else self._blocks()
        for block in blocks:
            SIGNALS.check()
            yield self._typed(block, types)

    def _typed(self, block: Block, types: Sequence[SqlType]) -> TypedBlock:
        arrays, bad = [], []
        for place, (converter, column) in enumerate(zip(self._converters, block.columns)):
            array, failures = converter.convert(column)
            arrays.append(array)
            bad += [(failure, place) for failure in failures]
        if not bad:
            return TypedBlock(arrays, block.lines, block.row_count)
        if block.lines is None and self.know_lines():
            raise Stumbled
        return self._without(block, arrays, bad, types)

    def know_lines(self) -> bool:
        """Only the careful path knows lines."""
        if self.source.careful:
            return False
        self.source.careful = True  # type: ignore[misc]
        self._kept = None
        return True

    def _without(
        self,
        block: Block,
        arrays: list[pa.Array],
        bad: list[tuple[BadValue, int]],
        types: Sequence[SqlType],
    ) -> TypedBlock:
        """The block without its bad rows, which are rejected (or the first one raised)."""
        assert block.lines is not None
        bad.sort(key=lambda item: (item[0].row, item[1]))
        rejects, last = self.source.rejects, -1
        for failure, place in bad:
            line = block.lines[failure.row]
            reason = f'column "{self.names[place]}": {failure.error.message}'
            if rejects is None:
                where = f"{self.file_name}:{line}: " if line else f"{self.file_name}: "
                raise DataError(
                    where + reason,
                    sqlstate=failure.error.sqlstate,
                    hint=f"the column is {type_text(types[place])}; "
                    "--rejects FILE loads the rest and keeps such rows in FILE",
                )
            if failure.row != last:
                last = failure.row
                values = [column.texts[last].as_py() for column in block.columns]
                rejects.add(line, reason, ",".join(value or "" for value in values))
        rows = {failure.row for failure, _ in bad}
        kept = [row for row in range(block.row_count) if row not in rows]
        places = from_values("int64", kept)
        return TypedBlock(
            [take(array, places) for array in arrays],
            [block.lines[row] for row in kept],
            len(kept),
        )

    def notes(self) -> list[str]:
        notes = []
        for name, converter in zip(self.names, self._converters):
            if converter.null_word_count:
                words = " and ".join(sorted(converter.null_words))
                notes.append(f'{name}: {converter.null_word_count} "{words}" read as NULL')
        return notes


class ParquetSource:
    """A Parquet file: typed already."""

    def __init__(self, source: Input) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        try:
            self.file = parquet.ParquetFile(pa.BufferReader(pa.py_buffer(source.data)))
        except pa.ArrowException as error:
            raise Failed(f"{source.name} is not a Parquet file: {error}") from None
        self.schema = self.file.schema_arrow
        self.names = column_names(list(self.schema.names))

    def start(self) -> None:
        """The file says its types: nothing to do ahead."""

    def detect(self) -> list[SqlType]:
        return [sql_type_of(field) for field in self.schema]

    def typed_blocks(self, types: Sequence[SqlType], detected: bool) -> Iterator[TypedBlock]:
        own = self.detect()
        converters = [Converter(sql_type, detected=False) for sql_type in types]
        for batch in self.file.iter_batches(batch_size=BLOCK_ROWS):
            SIGNALS.check()
            arrays = []
            for place, column in enumerate(batch.columns):
                if types[place] == own[place] and types[place] != NUMERIC:
                    arrays.append(_stored(column, types[place]))
                else:
                    arrays.append(self._reparsed(column, converters[place], place))
            yield TypedBlock(arrays, None, batch.num_rows)

    def _reparsed(self, column: pa.Array, converter: Converter, place: int) -> pa.Array:
        """A column whose table type is another one: through its text."""
        import pyarrow as pa

        texts = _plain(column).cast(pa.string())
        array, bad = converter.convert(Column(texts))
        if bad:
            raise DataError(
                f'column "{self.names[place]}": {bad[0].error.message}',
                sqlstate=bad[0].error.sqlstate,
            )
        return array

    def know_lines(self) -> bool:
        return False

    def notes(self) -> list[str]:
        return []


def sql_type_of(field: Any) -> SqlType:
    """The SQL type that holds an Arrow field's values. Raises NotSupportedError."""
    import pyarrow as pa

    kind = field.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    exact: dict[Any, SqlType] = {
        pa.bool_(): BOOLEAN,
        pa.int8(): SMALLINT,
        pa.uint8(): SMALLINT,
        pa.int16(): SMALLINT,
        pa.uint16(): INTEGER,
        pa.int32(): INTEGER,
        pa.uint32(): BIGINT,
        pa.int64(): BIGINT,
        pa.uint64(): NUMERIC,
        pa.float16(): REAL,
        pa.float32(): REAL,
        pa.float64(): DOUBLE,
        pa.date32(): DATE,
        pa.date64(): DATE,
        pa.null(): TEXT,
    }
    if kind in exact:
        return exact[kind]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return TEXT
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return BYTEA
    if pa.types.is_timestamp(kind):
        return TIMESTAMPTZ if kind.tz else TIMESTAMP
    if pa.types.is_time(kind):
        return TIME
    if pa.types.is_decimal(kind):
        return NUMERIC
    raise NotSupportedError(f'column "{field.name}" has type {kind}, which has no SQL type here')


def _plain(column: pa.Array) -> pa.Array:
    """Dictionary arrays decoded."""
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _stored(column: pa.Array, sql_type: SqlType) -> pa.Array:
    """An Arrow column in the physical form of its SQL type."""
    import pyarrow as pa

    column = _plain(column)
    if sql_type == DATE:
        return column.cast(pa.date32()).cast(pa.int32())
    if sql_type in (TIMESTAMP, TIMESTAMPTZ):
        return column.cast(pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64())
    if sql_type == TIME:
        return column.cast(pa.time64("us"), safe=False).cast(pa.int64())
    return column.cast(arrow_physical(sql_type))


def open_source(
    source: Input,
    format_name: str,
    *,
    delimiter: str | None,
    header: bool,
    null: str | None,
    rejects: Rejects | None,
) -> Source:
    """The reader for a format (a name of inputs.IN_FORMATS)."""
    if format_name == "parquet":
        return ParquetSource(source)
    if format_name in ("json", "jsonl"):
        named = Input(source.data, source.name, format_name)
        return TextSource(JsonSource(named, rejects), source.name)
    dialect = Dialect(format_name, delimiter or ("," if format_name == "csv" else "\t"), null)
    return TextSource(DelimitedSource(source, dialect, header, rejects), source.name)
