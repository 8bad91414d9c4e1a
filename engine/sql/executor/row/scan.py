"""Table scans: from an access path to (tree key, row) pairs.

access                      reads
empty                       the whole tree, or the whole index, in key order
equal (whole primary key)   one get
any_of                      one get or one index range for each distinct value
equal (+ lower, upper)      one range of the tree, or of the index and one get a row

Bounds are encoded once per execution. NULL in `equal`, `lower` or `upper` matches nothing, and so
does an integer that the key column's type cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from engine.catalog import Index, Table, codec_of_index, primary_key_codec
from engine.keys import successor
from engine.sql.executor.row.context import Context, Open, polled
from engine.sql.plan import KEY_COLUMN, Access, Scan
from engine.storage.store import Key, Row
from engine.types import INTEGER_RANGES, SqlType, from_storage, to_storage

Range: TypeAlias = tuple[Any, Any]  # [lo, hi), None = unbounded
Pairs: TypeAlias = Iterator[tuple[Key, Row]]
ValuesOf: TypeAlias = Callable[[Context], tuple[tuple[Any, ...], tuple[Any, ...], Any, Any]]
"""(equal, any_of, lower, upper) in runtime form."""

Pieces: TypeAlias = Callable[[Context, tuple[int, ...], bool], Iterator[Any]]
"""(context, table positions, by column) → pieces as of store.Snapshot.scan_pieces."""

_GET_BATCH = 256


class TableSource:
    """See pipeline.ScanSource."""

    __slots__ = ("conversions", "pairs", "pieces", "places", "positions")

    def __init__(self, scan: Scan, values_of: ValuesOf | None) -> None:
        table, access = scan.table, scan.access
        positions = tuple([c for c in scan.columns if c != KEY_COLUMN])
        self.conversions: dict[int, Callable[[Any], Any]] = {}
        for column in positions:
            convert = from_storage(table.columns[column].type)
            if convert is not None:
                self.conversions[column] = convert
        whole_row = positions == tuple(range(len(table.columns)))
        fetches = access.index is not None or _reads_points(table, access)
        if whole_row or fetches:
            self.places = {column: column for column in range(len(table.columns))}
        else:
            self.places = {column: place for place, column in enumerate(positions)}
        wanted = None if whole_row else positions
        self.positions = positions
        self.pairs: Open
        self.pieces: Pieces | None = None
        if access.index is not None:
            self.pairs = _index_reader(table, access.index, access, values_of)
        elif values_of is None:
            self.pairs = _tree_reader(table, wanted, access.reverse)
        elif fetches:
            self.pairs = _key_reader(table, access, values_of)
        else:
            self.pairs = _range_reader(table, access, values_of, wanted)
        if access.index is None and not access.reverse and not fetches:
            self.pieces = _piece_reader(table, access, values_of)


def _piece_reader(table: Table, access: Access, values_of: ValuesOf | None) -> Pieces:
    tree_id = table.table_id
    ranges = _int_ranges if table.key_column is not None else KeyRanges(table, access).ranges

    def pieces(x: Context, columns: tuple[int, ...], by_column: bool) -> Iterator[Any]:
        found = [(None, None)] if values_of is None else ranges(values_of(x), access)
        scan_pieces, poll = x.reader.scan_pieces, x.poll
        for lo, hi in found:
            for piece in scan_pieces(tree_id, lo, hi, columns, by_column):
                yield piece
                poll()

    return pieces


def _tree_reader(table: Table, columns: tuple[int, ...] | None, reverse: bool) -> Open:
    tree_id = table.table_id

    def pairs(x: Context) -> Pairs:
        return polled(x.reader.scan(tree_id, reverse=reverse, columns=columns), x.poll)

    return pairs


# ── primary key ──────────────────────────────────────────────────────────────────────────────
def _reads_points(table: Table, access: Access) -> bool:
    """Whether whole keys are given, so that rows are read one by one."""
    if access.index is not None or not (access.equal or access.any_of):
        return False
    return len(access.equal) + bool(access.any_of) == len(table.primary_key)


def _key_reader(table: Table, access: Access, values_of: ValuesOf) -> Open:
    tree_id, reverse = table.table_id, access.reverse
    to_key = _key_encoder(table)
    alternatives = bool(access.any_of)

    def pairs(x: Context) -> Pairs:
        equal, any_of, _, _ = values_of(x)
        keys = to_key(equal, any_of, alternatives)
        if len(keys) == 1:
            row = x.reader.get(tree_id, keys[0])
            return iter(()) if row is None else iter(((keys[0], row),))
        if reverse:
            keys.reverse()
        return _fetch(x, tree_id, keys)

    return pairs


def _range_reader(
    table: Table, access: Access, values_of: ValuesOf, columns: tuple[int, ...] | None
) -> Open:
    tree_id, reverse = table.table_id, access.reverse
    ranges = _int_ranges if table.key_column is not None else KeyRanges(table, access).ranges

    def pairs(x: Context) -> Pairs:
        reader = x.reader
        found = ranges(values_of(x), access)
        if len(found) == 1:
            lo, hi = found[0]
            return polled(reader.scan(tree_id, lo, hi, reverse=reverse, columns=columns), x.poll)
        return polled(_scan_ranges(reader, tree_id, found, reverse, columns), x.poll)

    return pairs


def _scan_ranges(
    reader: Any,
    tree_id: int,
    ranges: list[Range],
    reverse: bool,
    columns: tuple[int, ...] | None,
) -> Pairs:
    for lo, hi in reversed(ranges) if reverse else ranges:
        yield from reader.scan(tree_id, lo, hi, reverse=reverse, columns=columns)


def _fetch(x: Context, tree_id: int, keys: Iterable[Any]) -> Pairs:
    """Rows by keys, read in batches, in the order of the keys."""
    batch: list[Any] = []
    size = 16
    for key in keys:
        batch.append(key)
        if len(batch) == size:
            yield from _present(batch, x.reader.get_many(tree_id, batch))
            x.poll()
            batch, size = [], _GET_BATCH
    if batch:
        yield from _present(batch, x.reader.get_many(tree_id, batch))


def _present(keys: list[Any], rows: list[Row | None]) -> Pairs:
    return ((key, row) for key, row in zip(keys, rows, strict=True) if row is not None)


def _key_encoder(
    table: Table,
) -> Callable[[tuple[Any, ...], tuple[Any, ...], bool], list[Any]]:
    """(equal, any_of, uses any_of) → distinct tree keys, ascending."""
    if table.key_column is not None:

        def int_keys(equal: tuple[Any, ...], any_of: tuple[Any, ...], alternatives: bool) -> Any:
            found = {v for v in (any_of if alternatives else equal) if v is not None}
            return sorted([v for v in found if -(2**63) <= v < 2**63])

        return int_keys
    codec = primary_key_codec(table)
    fitters = [_fitter(table.columns[i].type) for i in table.primary_key]

    def byte_keys(equal: tuple[Any, ...], any_of: tuple[Any, ...], alternatives: bool) -> Any:
        tuples = [(*equal, value) for value in any_of] if alternatives else [equal]
        keys = set()
        for values in tuples:
            stored = [fit(v) for fit, v in zip(fitters, values, strict=True)]
            if None not in stored:
                keys.add(codec.encode(tuple(stored)))
        return sorted(keys)

    return byte_keys


def _int_ranges(values: Any, access: Access) -> list[Range]:
    """Ranges of an integer tree key for lower and upper bounds."""
    _, _, lower, upper = values
    lo: int | None = None
    hi: int | None = None
    if access.lower is not None:
        if lower is None or lower >= 2**63:
            return []
        lo = max(lower if access.lower_inclusive else lower + 1, -(2**63))
        if lo >= 2**63:
            return []
    if access.upper is not None:
        if upper is None or upper < -(2**63):
            return []
        hi = upper + 1 if access.upper_inclusive else upper
        if hi >= 2**63:
            hi = None
    if lo is not None and hi is not None and lo >= hi:
        return []
    return [(lo, hi)]


# ── secondary indexes ────────────────────────────────────────────────────────────────────────
def _index_reader(table: Table, index: Index, access: Access, values_of: ValuesOf | None) -> Open:
    tree_id, index_id, reverse = table.table_id, index.index_id, access.reverse
    table_key = codec_of_index(table, index).table_key
    ranges = KeyRanges(table, access).ranges

    def keys(x: Context) -> Iterator[Key]:
        found = [(None, None)] if values_of is None else ranges(values_of(x), access)
        for lo, hi in reversed(found) if reverse else found:
            for raw, _ in x.reader.scan(index_id, lo, hi, reverse=reverse):
                yield table_key(raw)  # type: ignore[arg-type]

    def pairs(x: Context) -> Pairs:
        return _fetch(x, tree_id, keys(x))

    return pairs


class KeyRanges:
    """Encoded ranges of a bytes-keyed tree (composite primary key or index)."""

    __slots__ = ("_codec", "_fitters", "_range_descending")

    def __init__(self, table: Table, access: Access) -> None:
        self._codec: Any
        if access.index is None:
            columns = [(i, False) for i in table.primary_key]
            self._codec = primary_key_codec(table)
        else:
            columns = [(part.column_index, part.descending) for part in access.index.columns]
            self._codec = codec_of_index(table, access.index)
        self._fitters = [_fitter(table.columns[i].type) for i, _ in columns]
        ranged = len(access.equal)
        self._range_descending = ranged < len(columns) and columns[ranged][1]

    def ranges(self, values: Any, access: Access) -> list[Range]:
        """[lo, hi) ranges in ascending order, without overlaps."""
        equal, any_of, lower, upper = values
        fitters, codec = self._fitters, self._codec
        prefix = tuple([fit(v) for fit, v in zip(fitters, equal, strict=False)])
        if None in prefix:
            return []
        if access.any_of:
            fit = fitters[len(prefix)]
            stored = {s for v in any_of if (s := fit(v)) is not None}
            # Equal values may be stored differently (3.0, 3.00): their range is one.
            return sorted({codec.prefix_range((*prefix, s)) for s in stored})
        if access.lower is None and access.upper is None:
            return [codec.prefix_range(prefix)]
        if (access.lower is not None and lower is None) or (
            access.upper is not None and upper is None
        ):
            return []
        fit = fitters[len(prefix)]
        low, high = fit(lower), fit(upper)
        # An integer beyond the column's type: the bound is met by every value, or by none.
        if (lower is not None and low is None and lower > 0) or (
            upper is not None and high is None and upper < 0
        ):
            return []
        return self._bounded(prefix, access, low, high)

    def _bounded(
        self, prefix: tuple[Any, ...], access: Access, lower: Any, upper: Any
    ) -> list[Range]:
        """The range between two stored values; None = that side is open (NULLs left out)."""
        codec = self._codec
        nulls = codec.prefix_range((*prefix, None))
        if self._range_descending:
            # NULLs come first, then values from high to low.
            low_value, low_inclusive = upper, access.upper_inclusive
            high_value, high_inclusive = lower, access.lower_inclusive
            open_lo, open_hi = nulls[1], _end(codec, prefix)
        else:
            low_value, low_inclusive = lower, access.lower_inclusive
            high_value, high_inclusive = upper, access.upper_inclusive
            open_lo, open_hi = codec.prefix(prefix), nulls[0]
        lo, hi = open_lo, open_hi
        if low_value is not None:
            around = codec.prefix_range((*prefix, low_value))
            lo = around[0] if low_inclusive else around[1]
            if lo is None:
                return []
        if high_value is not None:
            around = codec.prefix_range((*prefix, high_value))
            hi = around[1] if high_inclusive else around[0]
        if hi is not None and lo >= hi:
            return []
        return [(lo, hi)]


def _end(codec: Any, prefix: tuple[Any, ...]) -> bytes | None:
    return successor(codec.prefix(prefix)) if prefix else None


def _fitter(sql_type: SqlType) -> Callable[[Any], Any]:
    """Runtime value → storage form for a key; None for NULL. Integers are clamped to None when
    the type cannot hold them (callers give bounds of other integer types)."""
    convert = to_storage(sql_type)
    limits = INTEGER_RANGES.get(sql_type.kind)
    if limits is not None:
        low, high = limits
        return lambda value: value if value is not None and low <= value <= high else None
    if convert is None:
        return lambda value: value
    return lambda value: None if value is None else convert(value)
