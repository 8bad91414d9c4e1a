"""Types found in columns of text, block by block, and text turned into stored values.

A kind stays possible while every value seen can be it, exactly:

kind         accepted text
boolean      true, false in any case
integer      canonical decimal digits that fit 64 bits: no +, no leading zeros, no blanks, so that
             codes like 007 stay text; 32 bits give INTEGER, more BIGINT
double       canonical decimal number, optional exponent; integers count
date         YYYY-MM-DD
timestamp    date, T or blank, HH:MM[:SS[.ffffff]]; with Z or an offset: timestamptz
text         anything

Words that mean "missing" (NA, N/A, NULL, null, \\N) are NULL in a column whose other values are
not text, and are counted; in a text column they stay text. `--null` decides otherwise. A source
that has a NULL of its own (JSON) detects no words.

A column of integers is parsed whole, and its digits are counted: that is 2 ns a value. Any other
becomes a dictionary first: most columns have few distinct values, and patterns then cost nothing.
A column that is text already is looked at no more.

Invariants
1. `Guess.sql_type()` accepts every value that was observed.
2. Text reads as it was written: a number is taken for one only if it prints as the same text
   (doubles: as a number of the same value).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import DataError
from engine.storage.arrow_arrays import (
    bits_of,
    cast,
    from_bits,
    from_values,
    kernel,
    numbers_of,
    offsets_of,
    take,
    valid_of,
)
from engine.types import (
    BIGINT,
    BOOLEAN,
    BYTEA,
    DATE,
    DOUBLE,
    INTEGER,
    JSON,
    TEXT,
    TIMESTAMP,
    TIMESTAMPTZ,
    SqlType,
)
from engine.types.forms import to_storage
from engine.types.kinds import physical_kind
from engine.types.text_forms import parse_text

if TYPE_CHECKING:
    import pyarrow as pa

NULL_WORDS = ("NA", "N/A", "NULL", "null", "\\N")
ORDER = ("boolean", "integer", "double", "date", "timestamp", "timestamptz")
_DATE = r"[1-9]\d{3}-\d{2}-\d{2}"
_CLOCK = r"[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
PATTERNS = {
    "boolean": r"^(?i:true|false)$",
    "double": r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$",
    "date": rf"^{_DATE}$",
    "timestamp": rf"^{_DATE}{_CLOCK}$",
    "timestamptz": rf"^{_DATE}{_CLOCK}(Z|[+-]\d{{2}}(:?\d{{2}})?)$",
}
LONG = r"^-?\d{16,}$"  # an integer that a double cannot hold exactly
GIVEN = {"json": JSON, "bytea": BYTEA}  # known from the source, not from the text
INT32 = 2**31 - 1
DOUBLE_LIMIT = 10**15  # as LONG, of integers


class Column:
    """One column of a block: its texts, or what they were parsed to, from which they follow."""

    __slots__ = ("_count", "_dictionary", "_integers", "_texts")

    def __init__(self, texts: pa.StringArray) -> None:
        self._count = len(texts)
        self._texts: pa.StringArray | None = texts
        self._dictionary: tuple[pa.Array, pa.StringArray] | None = None
        self._integers: pa.Array | bool | None = None  # False: not all are canonical integers

    @property
    def texts(self) -> pa.StringArray:
        if self._texts is not None:
            return self._texts
        if self._dictionary is not None:
            indices, values = self._dictionary
            return take(values, indices)
        import pyarrow as pa

        return cast(self._integers, pa.string())  # Invariant 2

    def is_all_null(self) -> bool:
        return self._texts is not None and self._texts.null_count == self._count

    def dictionary(self) -> tuple[pa.Array, pa.StringArray]:
        """(indices, NULL where the text is; distinct texts)."""
        if self._dictionary is None:
            encoded = kernel("dictionary_encode", self.texts)
            self._dictionary = encoded.indices, encoded.dictionary
        return self._dictionary

    def integers(self) -> pa.Array | None:
        """The column as int64 or int32, or None when a text is no canonical 64-bit integer."""
        if self._integers is None:
            if self._texts is None:  # released, and nobody asked while it could be an integer
                return None
            found = exact_integers(self.texts)
            self._integers = False if found is None else found
        return None if self._integers is False else self._integers

    def release(self, is_text: bool) -> None:
        """Drop the texts where something smaller says the same: memory that is used again is
        still in the cache, and fresh memory costs more than the parsing (flights: 0.2 s)."""
        import pyarrow as pa

        if self._integers is not None and self._integers is not False:
            bounds = kernel("min_max", self._integers)
            low, high = bounds["min"].as_py(), bounds["max"].as_py()
            if low is not None and low >= -INT32 - 1 and high <= INT32:
                self._integers = cast(self._integers, pa.int32())
            self._texts = self._dictionary = None
        elif is_text:
            self._dictionary = None
        elif self._dictionary is not None:
            self._texts = None

    @property
    def nbytes(self) -> int:
        kept = [self._texts, *(self._dictionary or ())]
        if self._integers is not False:
            kept.append(self._integers)
        return sum(int(array.nbytes) for array in kept if array is not None)


def exact_integers(texts: pa.StringArray) -> pa.Array | None:
    """Texts as int64, or None unless each prints as the same text (Invariant 2)."""
    import numpy
    import pyarrow as pa

    try:
        integers = cast(texts, pa.int64())
    except pa.ArrowInvalid:
        return None
    values = numbers_of(integers)
    if integers.null_count:
        values = values[valid_of(integers)]
    # Arrow also reads hexadecimal and leading zeros. What is left without an x is digits and a
    # sign, and then no text is shorter than the number printed: equal sums mean equal texts.
    offsets = offsets_of(texts)
    start, stop = int(offsets[0]), int(offsets[-1])
    digits = bytes(memoryview(texts.buffers()[2])[start:stop]) if stop > start else b""
    if b"x" in digits or b"X" in digits:
        return None
    magnitudes = numpy.abs(values).view(numpy.uint64)  # the lowest integer stays itself: 2**63
    size = len(values) + int(numpy.count_nonzero(values < 0))
    largest, power = int(magnitudes.max(initial=0)), 10
    while power <= largest:
        size += int(numpy.count_nonzero(magnitudes >= numpy.uint64(power)))
        power *= 10
    return integers if size == len(digits) else None


class Guess:
    """What a column may be, after the blocks seen so far."""

    def __init__(self, kinds: tuple[str, ...] = ORDER, words: tuple[str, ...] = NULL_WORDS) -> None:
        self.kinds = list(kinds)
        self.words = words  # texts that say "missing"
        self.seen = False  # a value that is neither NULL nor a word for it
        self.wide = False  # an integer beyond 32 bits
        self.null_words: set[str] = set()

    def observe(self, column: Column) -> None:
        """Narrow by one block."""
        if not self.kinds or column.is_all_null():
            return
        if self.kinds[0] in GIVEN:
            self.seen = True
            return
        if "integer" in self.kinds:
            integers = column.integers()
            if integers is not None:
                self.seen = True
                largest = self._note_integers(integers)
                is_double = "double" in self.kinds and largest < DOUBLE_LIMIT
                self.kinds = ["integer", "double"] if is_double else ["integer"]
                return
        values = column.dictionary()[1]
        words = _is_null_word(values, self.words)
        if kernel("any", words).as_py():
            self.null_words.update(kernel("filter", values, words).to_pylist())
            values = kernel("filter", values, kernel("invert", words))
            if len(values) == 0:
                return
        self.seen = True
        self.kinds = [kind for kind in self.kinds if self._fits(kind, values)]

    def _note_integers(self, integers: pa.Array) -> int:
        """Widen for these; returns the largest magnitude."""
        bounds = kernel("min_max", integers)
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        self.wide |= low < -INT32 - 1 or high > INT32
        return max(-int(low), int(high))

    def _fits(self, kind: str, values: pa.StringArray) -> bool:
        import pyarrow as pa

        if kind == "integer":
            integers = exact_integers(values)
            if integers is not None:
                self._note_integers(integers)
            return integers is not None
        if not kernel("all", _matches(values, PATTERNS[kind])).as_py():
            return False
        if kind == "double" and kernel("any", _matches(values, LONG)).as_py():
            return False
        if kind != "boolean":
            try:
                arrow_values(kind, values)
            except pa.ArrowInvalid:
                return False
        return True

    def sql_type(self) -> SqlType:
        if not self.seen or not self.kinds:
            return TEXT
        kind = self.kinds[0]
        if kind == "integer":
            return BIGINT if self.wide else INTEGER
        return {
            **GIVEN,
            "boolean": BOOLEAN,
            "double": DOUBLE,
            "date": DATE,
            "timestamp": TIMESTAMP,
            "timestamptz": TIMESTAMPTZ,
        }[kind]


def arrow_values(kind: str, values: pa.Array) -> pa.Array:
    """Texts that match the kind's pattern, as Arrow's physical integers or floats.

    Raises ArrowInvalid (30 February)."""
    import pyarrow as pa

    if kind in ("integer", "bigint"):
        return cast(values, pa.int32() if kind == "integer" else pa.int64())
    if kind == "double":
        return cast(values, pa.float64())
    if kind == "date":
        return cast(cast(values, pa.date32()), pa.int32())
    if kind == "timestamp":
        return cast(cast(values, pa.timestamp("us")), pa.int64())
    assert kind == "timestamptz", kind
    return cast(cast(values, pa.timestamp("us", tz="UTC")), pa.int64())


def _is_null_word(values: pa.StringArray, words: Sequence[str]) -> pa.BooleanArray:
    from pyarrow._compute import SetLookupOptions

    return kernel("is_in", values, options=SetLookupOptions(from_values("utf8", words)))


def _matches(values: pa.StringArray, pattern: str) -> pa.BooleanArray:
    from pyarrow._compute import MatchSubstringOptions

    return kernel("match_substring_regex", values, options=MatchSubstringOptions(pattern))


class BadValue(msgspec.Struct, frozen=True):
    """A value that is no value of its column's type. row: its index in the block."""

    row: int
    text: str
    error: DataError


class Converter:
    """One column's texts to stored values of its type.

    detected: the type came from a Guess over the same values, so Arrow's casts are exact; else the
    engine's own parser reads each distinct text. null_words: texts that are NULL here.
    """

    def __init__(
        self, sql_type: SqlType, detected: bool, null_words: frozenset[str] = frozenset()
    ) -> None:
        self.sql_type = sql_type
        self.detected = detected
        self.null_words = null_words
        self.null_word_count = 0
        self._parse = _stored_parser(sql_type)

    def convert(self, column: Column) -> tuple[pa.Array, list[BadValue]]:
        """A block's column as an Arrow array of the physical type, and the values that are none
        (NULL in the array)."""
        if self._parse is None and not self.null_words:
            return column.texts, []
        if self.detected and self.sql_type.kind in ("integer", "bigint"):
            integers = column.integers()
            if integers is not None:
                return cast(integers, arrow_physical(self.sql_type)), []
        indices, texts = column.dictionary()
        if self.null_words:
            indices, texts = self._without_words(indices, texts)
        bad: list[BadValue] = []
        if self.detected and self.sql_type.kind != "boolean":
            values = arrow_values(self.sql_type.kind, texts)
        else:
            parsed = self._parsed(indices, texts, bad)
            values = from_values(physical_kind(self.sql_type), parsed)
        return take(values, indices), bad

    def _parsed(self, indices: pa.Array, texts: pa.StringArray, bad: list[BadValue]) -> list[Any]:
        values: list[Any] = []
        failures: dict[int, tuple[str, DataError]] = {}
        for place, text in enumerate(texts.to_pylist()):
            try:
                values.append(text if self._parse is None else self._parse(text))
            except DataError as error:
                failures[place] = (text, error)
                values.append(None)
        if failures:
            for row, place in enumerate(indices.to_pylist()):
                if place in failures:
                    bad.append(BadValue(row, *failures[place]))
        return values

    def _without_words(
        self, indices: pa.Array, texts: pa.StringArray
    ) -> tuple[pa.Array, pa.StringArray]:
        """Indices NULL at words for NULL. The words leave the texts: they would not parse."""
        import numpy
        import pyarrow as pa

        words = _is_null_word(texts, sorted(self.null_words))
        if not kernel("any", words).as_py():
            return indices, texts
        kept = ~bits_of(words)
        present = valid_of(indices)
        places = numpy.where(present, numbers_of(indices), 0)
        stays = present & kept[places]
        self.null_word_count += int(numpy.count_nonzero(present & ~stays))
        moved = (numpy.cumsum(kept, dtype=numpy.int32) - numpy.int32(1))[places]
        marked = pa.Array.from_buffers(
            pa.int32(),
            len(moved),
            [
                pa.py_buffer(numpy.packbits(stays, bitorder="little")),
                pa.py_buffer(numpy.where(stays, moved, 0).astype(numpy.int32)),
            ],
        )
        return marked, kernel("filter", texts, from_bits(kept))


def _stored_parser(sql_type: SqlType) -> Callable[[str], Any] | None:
    """Text → stored value by the engine's own rules; None when text is stored as it is."""
    parse, store = parse_text(sql_type), to_storage(sql_type)
    if parse is None or store is None:
        return parse
    return lambda text: store(parse(text))


def arrow_physical(sql_type: SqlType) -> pa.DataType:
    """The Arrow type that holds stored values of a SQL type."""
    import pyarrow as pa

    names = {"bool": "bool", "utf8": "string", "float32": "float", "float64": "double"}
    physical = physical_kind(sql_type)
    return pa.type_for_alias(names.get(physical, physical))
