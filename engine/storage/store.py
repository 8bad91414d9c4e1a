"""The seam: all that the layers above may ask of storage, and nothing else.

Everything is a tree: an ordered map from key (int, or order-preserving bytes) to row (a tuple of
values in storage form). A table is a tree, an index is a tree, the catalog is a tree. Two stores
implement the seam and pass one conformance suite (tests/unit/storage/test_store_conformance.py):
`MemoryStore` (engine/storage/memory_store.py) and `FileStore` (engine/storage/file_store.py).
A distributed store would be a third, so nothing above may assume that a call is local.

Invariants
1. A Snapshot is immutable: the same question always gets the same answer until it is closed.
2. `commit` is atomic: a snapshot sees all of a write set or none of it.
3. commit_ts values grow by one in log order; a commit is visible (`visible_ts`) only when all
   before it are, and under durable policies only when it is durable.
4. Row locks and conflict rules live above (engine.txn); the store trusts that two concurrent
   write sets never share a key, and answers `latest_commit_ts` so that the caller can know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

Key: TypeAlias = int | bytes
Row: TypeAlias = tuple[Any, ...]
Writes: TypeAlias = Mapping[int, Mapping[Key, Row | None]]
"""tree_id → key → new row, or None for a delete."""
Loads: TypeAlias = "Mapping[int, Iterable[pa.RecordBatch]]"
"""tree_id → Arrow batches: the key first where TreeSpec.key_column is None, then the columns;
sorted by key, keys unique."""

PHYSICAL_KINDS = ("bool", "int16", "int32", "int64", "float32", "float64", "utf8", "binary")


class ColumnSpec(msgspec.Struct, frozen=True, gc=False):
    """One stored column. physical: one of PHYSICAL_KINDS."""

    column_id: int
    physical: str


class TreeSpec(msgspec.Struct, frozen=True, gc=False):
    """What a tree stores. key_kind: 'int' (signed 64-bit) or 'bytes'.

    key_column: position in `columns` of the column that equals an int key (stored once, as the
    key), or None when the key is not part of the row. storage: 'btree'.
    """

    tree_id: int
    key_kind: str
    columns: tuple[ColumnSpec, ...] = ()
    key_column: int | None = None
    storage: str = "btree"


TREE_DIRECTORY = 0  # key = tree id, row = (MessagePack TreeSpec,): which trees exist
CATALOG_TREE = 1  # key = object id, row = (kind, name, payload): see engine.catalog
FIRST_USER_ID = 16

DIRECTORY_SPEC = TreeSpec(TREE_DIRECTORY, "int", (ColumnSpec(0, "binary"),))
CATALOG_SPEC = TreeSpec(
    CATALOG_TREE, "int", (ColumnSpec(0, "utf8"), ColumnSpec(1, "utf8"), ColumnSpec(2, "binary"))
)
"""The two trees that always exist."""

_encode = msgspec.msgpack.Encoder().encode
_decode_spec = msgspec.msgpack.Decoder(TreeSpec).decode


def encode_tree_spec(spec: TreeSpec) -> Row:
    """The TREE_DIRECTORY row that creates the tree."""
    return (_encode(spec),)


def decode_tree_spec(row: Row) -> TreeSpec:
    """The spec in a TREE_DIRECTORY row."""
    return _decode_spec(row[0])


class Capabilities(msgspec.Struct, frozen=True, gc=False):
    """Limits a caller must respect. Sizes in bytes; round trip in microseconds."""

    max_key_size: int
    max_value_size: int
    durable: bool
    round_trip_us: float


class Snapshot(Protocol):
    """One committed state. Ranges are [lo, hi); None is unbounded."""

    commit_ts: int

    def get(self, tree_id: int, key: Key) -> Row | None: ...

    def get_many(self, tree_id: int, keys: Sequence[Key]) -> list[Row | None]: ...

    def scan(
        self,
        tree_id: int,
        lo: Key | None = None,
        hi: Key | None = None,
        *,
        reverse: bool = False,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[tuple[Key, Row]]:
        """Keys in order with their rows. With `columns`, rows hold just those positions."""
        ...

    def scan_pieces(
        self,
        tree_id: int,
        lo: Key | None,
        hi: Key | None,
        columns: tuple[int, ...],
        by_column: bool,
    ) -> Iterator[Any]:
        """The rows of `scan` without their keys, ascending, in pieces as storage has them: each an
        iterable of rows or, by_column, a sequence of one list a column (columns not empty)."""
        ...

    def scan_batches(
        self,
        tree_id: int,
        lo: Key | None = None,
        hi: Key | None = None,
        *,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The same rows, ascending, as Arrow batches of up to ~64 k rows (fields named by
        position: "0", "1", …)."""
        ...

    def count(self, tree_id: int) -> int:
        """Number of rows, without reading them."""
        ...

    def tree_spec(self, tree_id: int) -> TreeSpec | None: ...

    def close(self) -> None:
        """Release pages and versions; a closed snapshot raises on use. Idempotent."""
        ...


class Store(Protocol):
    capabilities: Capabilities

    @property
    def visible_ts(self) -> int: ...

    def point_reader(
        self, tree_id: int, columns: tuple[int, ...] | None = None
    ) -> Callable[[Key], Row | None]:
        """A function that reads the newest visible row of a key (its wanted positions), without
        a snapshot. It stays good over commits and checkpoints; None once the tree is gone."""
        ...

    def snapshot(self) -> Snapshot:
        """The newest visible state. Never blocks."""
        ...

    def latest_commit_ts(self, tree_id: int, key: Key, since: Snapshot) -> int:
        """commit_ts of the newest commit (visible or not) of this key if it is newer than
        `since`, else 0. Knows every commit back to the oldest open snapshot."""
        ...

    def last_key(self, tree_id: int) -> Key | None:
        """The greatest key of the tree that a commit, visible or not, wrote or the last checkpoint
        holds; None when there is none. Cheap, unless many keys arrived since the last call."""
        ...

    def changed_since(self, tree_id: int, lo: Key | None, hi: Key | None, since: Snapshot) -> bool:
        """Whether any commit (visible or not) newer than `since` wrote a key of [lo, hi)."""
        ...

    def commit(
        self,
        writes: Writes,
        *,
        durability: str | None = None,
        wait: bool = True,
        validate: Callable[[], None] | None = None,
    ) -> int:
        """Log, install, publish; returns commit_ts when as durable as the policy says.

        `validate` is called before anything happens, at this commit's place in the order of
        commits (under the commit mutex); what it raises is raised here, and nothing happened.

        `writes` may hold TREE_DIRECTORY rows that create or drop trees. With wait=False returns
        before durability; call `wait_durable(commit_ts)`.
        Raises DiskFull (nothing happened), CommitOutcomeUnknown, EngineFailed, ReadOnly.
        """
        ...

    def commit_loads(
        self,
        writes: Writes,
        loads: Loads,
        *,
        durability: str | None = None,
        validate: Callable[[], None] | None = None,
    ) -> int:
        """Commit `writes` together with all rows of trees that they create: all or nothing.
        Raises what `commit` and the batches raise; then nothing happened."""
        ...

    def wait_durable(self, commit_ts: int) -> None: ...

    def next_rowid(self, tree_id: int) -> int:
        """A fresh int key above every key ever used in the tree by this process."""
        ...

    def allocate_id(self) -> int:
        """A fresh object/tree id, never reused."""
        ...

    def checkpoint(self) -> int:
        """Write the newest visible state into the file; returns checkpoint_no. Idempotent when
        there is nothing to write. Raises StorageError; the store stays usable."""
        ...

    def close(self) -> None:
        """Checkpoint, leave a single file, release the lock. Idempotent."""
        ...
