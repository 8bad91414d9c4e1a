"""One tree: memtable generations over a frozen tree, as a reader at one commit_ts sees it.

    memtrees[0]  active generation   ┐
    memtrees[1]  sealed generation   ├ newest first: the first visible version of a key wins,
    …                                ┘ a tombstone hides everything below
    frozen       the state at the last checkpoint; no versions, every reader sees all of it

Invariants
1. A TableView never changes: a checkpoint makes new views, running snapshots keep the old ones.
2. A reader at S uses a view whose frozen tree holds commits <= S only.
3. The tree exists for readers at created_ts <= S < dropped_ts (`dropped_ts` alone is set later,
   by the commit that drops the tree).

Does not: pin pages or versions (a snapshot does), write anything.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterator
from operator import itemgetter
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from engine.storage.memtable import MemTree, Version
from engine.storage.store import Key, Row, TreeSpec

if TYPE_CHECKING:
    import pyarrow as pa

NEVER = 1 << 62
BATCH_ROWS = 65_536


RangeRead: TypeAlias = "Callable[[Key | None, Key | None, int], list[Any]]"
"""(lo, hi, most) → the first `most` + 1 of [lo, hi), or more. Of form 'rows' (their wanted
positions), 'keys' or 'entries' (key, row)."""


class FrozenTree(Protocol):
    """What a view needs of the state at the checkpoint; engine.storage.btree.Tree has it."""

    def get(self, key: Key) -> Row | None: ...

    def point_reader(
        self, columns: tuple[int, ...] | None = None
    ) -> Callable[[Key], Row | None]: ...

    def scan(
        self,
        lo: Key | None = None,
        hi: Key | None = None,
        reverse: bool = False,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[tuple[Key, Row]]: ...

    def range_reader(self, columns: tuple[int, ...] | None, form: str) -> RangeRead: ...

    def scan_pieces(
        self, lo: Key | None, hi: Key | None, columns: tuple[int, ...], by_column: bool
    ) -> Iterator[Any]: ...

    def scan_batches(
        self,
        lo: Key | None = None,
        hi: Key | None = None,
        columns: tuple[int, ...] | None = None,
        with_key: bool = False,
    ) -> Iterator[pa.RecordBatch]: ...

    def count_range(self, lo: Key | None = None, hi: Key | None = None) -> int: ...

    def first_key(self) -> Key | None: ...

    def last_key(self) -> Key | None: ...


class TableView:
    """One tree's generations over its frozen tree."""

    __slots__ = ("counted", "created_ts", "dropped_ts", "frozen", "memtrees", "spec", "tally")

    def __init__(
        self,
        spec: TreeSpec,
        memtrees: tuple[MemTree, ...],
        frozen: FrozenTree,
        created_ts: int = 0,
        dropped_ts: int = NEVER,
    ) -> None:
        self.spec = spec
        self.memtrees = memtrees
        self.frozen = frozen
        self.created_ts = created_ts
        self.dropped_ts = dropped_ts
        self.tally = FrozenTally()
        self.counted = (-1, 0)  # (commit_ts, count): the last answer of `count`

    def get(self, key: Key, commit_ts: int) -> Row | None:
        for memtree in self.memtrees:
            version = memtree.versions.get(key)
            while version is not None:
                if version.commit_ts <= commit_ts:
                    return version.row
                version = version.prev
        return self.frozen.get(key)

    def scan(
        self,
        commit_ts: int,
        lo: Key | None,
        hi: Key | None,
        reverse: bool,
        columns: tuple[int, ...] | None,
    ) -> Iterator[tuple[Key, Row]]:
        """Rows of [lo, hi) in key order; with columns, just those positions of each row."""
        if not any(memtree.has_keys_between(lo, hi) for memtree in self.memtrees):
            return self.frozen.scan(lo, hi, reverse, columns)
        return self._scan_merged(commit_ts, lo, hi, reverse, columns)

    def _scan_merged(
        self,
        commit_ts: int,
        lo: Key | None,
        hi: Key | None,
        reverse: bool,
        columns: tuple[int, ...] | None,
    ) -> Iterator[tuple[Key, Row]]:
        project = projection(columns)
        changes = self._changes(commit_ts, lo, hi, reverse)
        change = next(changes, None)
        for entry in self.frozen.scan(lo, hi, reverse, columns):
            key = entry[0]
            while change is not None and (
                change[0] > key if reverse else change[0] < key  # type: ignore[operator]
            ):
                if change[1] is not None:
                    yield change[0], project(change[1])
                change = next(changes, None)
            if change is not None and change[0] == key:
                if change[1] is not None:
                    yield key, project(change[1])
                change = next(changes, None)
            else:
                yield entry
        while change is not None:
            if change[1] is not None:
                yield change[0], project(change[1])
            change = next(changes, None)

    def _changes(
        self, commit_ts: int, lo: Key | None, hi: Key | None, reverse: bool
    ) -> Iterator[tuple[Key, Row | None]]:
        """What the generations say about [lo, hi), in order: (key, row or None for deleted)."""
        used = [memtree for memtree in self.memtrees if memtree.versions]
        if len(used) == 1:
            versions = used[0].versions
            for key in used[0].keys_between(lo, hi, reverse):
                version = versions.get(key)
                while version is not None:
                    if version.commit_ts <= commit_ts:
                        yield key, version.row
                        break
                    version = version.prev
            return
        last: Key | None = None
        for key in heapq.merge(
            *(memtree.keys_between(lo, hi, reverse) for memtree in used), reverse=reverse
        ):
            if key == last:
                continue
            last = key
            for memtree in used:
                version = memtree.visible(key, commit_ts)
                if version is not None:
                    yield key, version.row
                    break

    def scan_pieces(
        self,
        commit_ts: int,
        lo: Key | None,
        hi: Key | None,
        columns: tuple[int, ...],
        by_column: bool,
    ) -> Iterator[Any]:
        """Rows without keys, ascending, in pieces: iterables of rows, or lists of columns."""
        if not any(memtree.has_keys_between(lo, hi) for memtree in self.memtrees):
            return self.frozen.scan_pieces(lo, hi, columns, by_column)
        used = [memtree for memtree in self.memtrees if memtree.versions]
        if len(used) == 1 and self.frozen.first_key() is None:
            return self._new_pieces(used[0], commit_ts, (lo, hi), columns, by_column)
        rows = map(itemgetter(1), self._scan_merged(commit_ts, lo, hi, False, columns))
        return pieces_of_rows(rows, by_column)

    def _new_pieces(
        self,
        memtree: MemTree,
        commit_ts: int,
        bounds: tuple[Key | None, Key | None],
        columns: tuple[int, ...],
        by_column: bool,
    ) -> Iterator[Any]:
        """scan_pieces of a tree that is all in one generation: no merge, half of its time."""
        lo, hi = bounds
        find, project, size = memtree.versions.get, projection(columns), 64
        while keys := memtree.first_keys(lo, hi, size):
            rows: list[Row] = []
            for version in map(find, keys):
                while version is not None and version.commit_ts > commit_ts:
                    version = version.prev
                if version is not None and version.row is not None:
                    rows.append(version.row)
            if rows and by_column:
                yield [[row[at] for row in rows] for at in columns]
            elif rows:
                yield map(project, rows)
            last = keys[-1]
            lo = last + 1 if isinstance(last, int) else last + b"\0"
            if len(keys) < size:
                return
            size = 1024

    def scan_batches(
        self, commit_ts: int, lo: Key | None, hi: Key | None, columns: tuple[int, ...] | None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of [lo, hi) as Arrow batches of up to about BATCH_ROWS rows.

        Batches of the frozen tree without changes pass as they are; others are overlaid.
        """
        if not any(memtree.has_keys_between(lo, hi) for memtree in self.memtrees):
            yield from self.frozen.scan_batches(lo, hi, columns)
            return
        project = projection(columns)
        changes = self._changes(commit_ts, lo, hi, False)
        change = next(changes, None)
        for batch in self.frozen.scan_batches(lo, hi, columns, with_key=True):
            if not batch.num_rows:
                continue
            last = batch.column(0)[-1].as_py()
            inside: list[tuple[Key, Row | None]] = []
            while change is not None and change[0] <= last:  # type: ignore[operator]
                row = change[1]
                inside.append((change[0], None if row is None else project(row)))
                change = next(changes, None)
            yield overlaid(batch, inside)
        if change is not None:
            rest = itertools.chain((change,), changes)
            rows = (project(row) for _, row in rest if row is not None)
            yield from batches_of_rows(self.spec, columns, rows)

    def count(self, commit_ts: int) -> int:
        """Rows at commit_ts: the frozen count, corrected by the keys the memtable knows."""
        used = [memtree for memtree in self.memtrees if memtree.versions]
        if not used:
            return self.frozen.count_range(None, None)
        known_ts, known = self.counted
        if known_ts != commit_ts:
            if len(used) == 1:
                known = self._count_one(used[0], commit_ts)
            else:
                known = self._count_all(used, commit_ts)
            self.counted = (commit_ts, known)
        return known

    def _count_one(self, memtree: MemTree, commit_ts: int) -> int:
        versions = list(memtree.versions.items())
        live = 0
        hidden: list[Key] = []  # all of their versions are newer
        for key, head in versions:
            version: Version | None = head
            while version is not None and version.commit_ts > commit_ts:
                version = version.prev
            if version is None:
                hidden.append(key)
            elif version.row is not None:
                live += 1
        tally, frozen = self.tally, self.frozen
        replaced = tally.count(frozen, memtree, len(versions))
        replaced -= sum(tally.holds(frozen, key) for key in hidden)
        return frozen.count_range(None, None) + live - replaced

    def _count_all(self, used: list[MemTree], commit_ts: int) -> int:
        total = self.frozen.count_range(None, None)
        for place, memtree in enumerate(used):
            for key in memtree.arrivals[:]:
                if any(key in newer.versions for newer in used[:place]):
                    continue  # counted there
                version = memtree.visible(key, commit_ts)
                if version is None:
                    below = (older.visible(key, commit_ts) for older in used[place + 1 :])
                    version = next((found for found in below if found is not None), None)
                if version is not None:
                    total += (version.row is not None) - self.tally.holds(self.frozen, key)
        return total

    def last_key(self) -> Key | None:
        """The greatest key any generation or the frozen tree knows, deleted or not."""
        keys = [memtree.last_key() for memtree in self.memtrees]
        keys.append(self.frozen.last_key())
        known = [key for key in keys if key is not None]
        return max(known) if known else None  # type: ignore[type-var]


class FrozenTally:
    """Remembers which changed keys the frozen tree holds, so that counting asks once a key."""

    __slots__ = ("found", "last", "lock", "memtree", "position", "present")

    def __init__(self) -> None:
        self.lock = Lock()
        self.found: dict[Key, bool] = {}
        self.last: Key | None = None
        self.memtree: MemTree | None = None
        self.position = 0  # arrivals[:position] of `memtree` were looked up,
        self.present = 0  # and so many of them are in the frozen tree

    def holds(self, frozen: FrozenTree, key: Key) -> bool:
        known = self.found.get(key)
        if known is None:
            if self.last is None:
                self.last = frozen.last_key()
            beyond = self.last is None or key > self.last  # type: ignore[operator]
            known = self.found[key] = False if beyond else frozen.get(key) is not None
        return known

    def count(self, frozen: FrozenTree, memtree: MemTree, stop: int) -> int:
        """How many of memtree.arrivals[:stop] the frozen tree holds; each is asked once."""
        with self.lock:  # snapshots of many threads share a view
            if self.memtree is not memtree or stop < self.position:
                self.memtree, self.position, self.present = memtree, 0, 0
            last = frozen.last_key() if stop > self.position else None
            if last is not None:
                for key in memtree.arrivals[self.position : stop]:
                    if key <= last and frozen.get(key) is not None:  # type: ignore[operator]
                        self.present += 1
            self.position = stop
            return self.present


class EmptyTree:
    """The frozen tree of a tree that no checkpoint has written."""

    def get(self, key: Key) -> Row | None:
        return None

    def point_reader(self, columns: tuple[int, ...] | None = None) -> Callable[[Key], Row | None]:
        return self.get

    def range_reader(self, columns: tuple[int, ...] | None, form: str) -> RangeRead:
        return lambda lo, hi, most: []

    def scan_pieces(
        self, lo: Key | None, hi: Key | None, columns: tuple[int, ...], by_column: bool
    ) -> Iterator[Any]:
        return iter(())

    def scan(
        self,
        lo: Key | None = None,
        hi: Key | None = None,
        reverse: bool = False,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[tuple[Key, Row]]:
        return iter(())

    def scan_batches(
        self,
        lo: Key | None = None,
        hi: Key | None = None,
        columns: tuple[int, ...] | None = None,
        with_key: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        return iter(())

    def count_range(self, lo: Key | None = None, hi: Key | None = None) -> int:
        return 0

    def first_key(self) -> Key | None:
        return None

    def last_key(self) -> Key | None:
        return None


EMPTY_TREE = EmptyTree()


class ListTree:
    """A frozen tree as two parallel lists in key order."""

    __slots__ = ("keys", "rows", "spec")

    def __init__(self, spec: TreeSpec, entries: list[tuple[Key, Row]]) -> None:
        self.spec = spec
        self.keys: list[Key] = [key for key, _ in entries]
        self.rows: list[Row] = [row for _, row in entries]

    def get(self, key: Key) -> Row | None:
        place = bisect_left(self.keys, key)  # type: ignore[type-var]
        if place < len(self.keys) and self.keys[place] == key:
            return self.rows[place]
        return None

    def point_reader(self, columns: tuple[int, ...] | None = None) -> Callable[[Key], Row | None]:
        if columns is None:
            return self.get
        project = projection(columns)

        def read(key: Key) -> Row | None:
            row = self.get(key)
            return None if row is None else project(row)

        return read

    def range_reader(self, columns: tuple[int, ...] | None, form: str) -> RangeRead:
        def read(lo: Key | None, hi: Key | None, most: int) -> list[Any]:
            found = itertools.islice(self.scan(lo, hi, False, columns), most + 1)
            if form == "entries":
                return list(found)
            return list(map(itemgetter(0 if form == "keys" else 1), found))

        return read

    def scan_pieces(
        self, lo: Key | None, hi: Key | None, columns: tuple[int, ...], by_column: bool
    ) -> Iterator[Any]:
        rows = map(itemgetter(1), self.scan(lo, hi, False, columns))
        return pieces_of_rows(rows, by_column)

    def _places(self, lo: Key | None, hi: Key | None) -> range:
        start = 0 if lo is None else bisect_left(self.keys, lo)  # type: ignore[type-var]
        stop = len(self.keys)
        if hi is not None:
            stop = bisect_left(self.keys, hi)  # type: ignore[type-var]
        return range(start, stop)

    def scan(
        self,
        lo: Key | None = None,
        hi: Key | None = None,
        reverse: bool = False,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[tuple[Key, Row]]:
        project = projection(columns)
        places = self._places(lo, hi)
        for place in reversed(places) if reverse else places:
            yield self.keys[place], project(self.rows[place])

    def scan_batches(
        self,
        lo: Key | None = None,
        hi: Key | None = None,
        columns: tuple[int, ...] | None = None,
        with_key: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        entries = self.scan(lo, hi, False, columns)
        if with_key:
            kind = "int64" if self.spec.key_kind == "int" else "binary"
            keyed = ((key, *row) for key, row in entries)
            return batches_of_rows(self.spec, columns, keyed, kind)
        return batches_of_rows(self.spec, columns, map(itemgetter(1), entries))

    def count_range(self, lo: Key | None = None, hi: Key | None = None) -> int:
        return len(self._places(lo, hi))

    def first_key(self) -> Key | None:
        return self.keys[0] if self.keys else None

    def last_key(self) -> Key | None:
        return self.keys[-1] if self.keys else None


def pieces_of_rows(rows: Iterator[Row], by_column: bool) -> Iterator[Any]:
    """Rows in pieces that grow to 1,024: lists of rows, or lists of columns."""
    size = 16
    while piece := list(itertools.islice(rows, size)):
        yield [list(values) for values in zip(*piece, strict=True)] if by_column else piece
        size = min(size * 4, 1024)


def projection(columns: tuple[int, ...] | None) -> Callable[[Row], Row]:
    """A function from a whole row to the row of the wanted positions (None: all)."""
    if columns is None:
        return _whole
    if not columns:
        return _empty
    if len(columns) == 1:
        position = columns[0]
        return lambda row: (row[position],)
    return itemgetter(*columns)


def _whole(row: Row) -> Row:
    return row


def _empty(row: Row) -> Row:
    return ()


def arrow_type(physical: str) -> Any:
    """The Arrow type that holds a physical kind (store.PHYSICAL_KINDS)."""
    import pyarrow as pa

    names = {"bool": "bool", "utf8": "string", "float32": "float", "float64": "double"}
    return pa.type_for_alias(names.get(physical, physical))


def overlaid(batch: pa.RecordBatch, changes: list[tuple[Key, Row | None]]) -> pa.RecordBatch:
    """A batch whose first field is "key", with changed rows put in, in key order, and the key
    taken off. Deleted keys (row None) may be absent from the batch."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if changes:
        keys = batch.column(0)
        changed = pa.array([key for key, _ in changes], keys.type)
        kept = batch.filter(pc.invert(pc.is_in(keys, value_set=changed)))
        added = [(key, *row) for key, row in changes if row is not None]
        if added:
            columns = [
                pa.array(values, field.type)
                for values, field in zip(zip(*added, strict=True), batch.schema)
            ]
            fresh = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
            table = pa.Table.from_batches([kept, fresh])
            table = table.take(pc.sort_indices(table.column(0))).combine_chunks()
            kept = table.to_batches()[0]
        batch = kept
    if batch.num_columns == 1:
        return empty_rows(batch.num_rows)
    return batch.select(range(1, batch.num_columns))


def empty_rows(count: int) -> pa.RecordBatch:
    """A batch of `count` rows without columns."""
    import pyarrow as pa

    nothing = pa.array([{}] * count, pa.struct([]))
    return pa.RecordBatch.from_struct_array(nothing)


def batches_of_rows(
    spec: TreeSpec,
    columns: tuple[int, ...] | None,
    rows: Iterator[Row],
    key_type: str | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows (already projected to `columns`) as batches of up to BATCH_ROWS rows.

    key_type: rows begin with their key, to be a first field "key" of this physical kind."""
    import pyarrow as pa

    wanted = range(len(spec.columns)) if columns is None else columns
    fields = [(str(at), arrow_type(spec.columns[at].physical)) for at in wanted]
    if key_type is not None:
        fields.insert(0, ("key", arrow_type(key_type)))
    schema = pa.schema(fields)
    while chunk := list(itertools.islice(rows, BATCH_ROWS)):
        if not fields:
            yield empty_rows(len(chunk))
            continue
        arrays = [
            pa.array(values, field.type) for values, field in zip(zip(*chunk, strict=True), schema)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
