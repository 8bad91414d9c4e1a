"""SERIALIZABLE: a transaction with writes commits only if its reads would be the same now.

Every read is recorded as what it asked, not what it got: keys (also absent ones) and ranges of
trees. Checks that a write makes (unique keys, the rows it looks for) are reads too. At commit, at
this commit's own place in the order of commits, no commit newer than the snapshot may have written
a key that was asked for. (Precision locking; Neumann, Mühlbauer, Kemper: Fast Serializable
Multi-Version Concurrency Control, SIGMOD 2015, section 2.3.)

Invariants
1. So each transaction with writes reads what it would read at its commit: the order of commits is
   a serial order, whatever level the other transactions run at.
2. A transaction without writes sits at its snapshot and is never checked.
3. Reads stay recorded when the statement or savepoint that made them is rolled back: the program
   has seen the answer.
4. More than KEYS_MAX keys or RANGES_MAX ranges of a tree widen to the whole tree. Widening can
   abort a transaction that was in order, never let one pass that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from engine.errors import SerializationFailure
from engine.storage.store import CATALOG_TREE, Key, Row
from engine.txn.isolation import IsolationLevel
from engine.txn.transaction import Transaction

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.txn.manager import TransactionManager

KEYS_MAX = 10_000
RANGES_MAX = 1_000


class TreeReads:
    """What was asked of one tree."""

    __slots__ = ("keys", "ranges", "whole")

    def __init__(self) -> None:
        self.keys: set[Key] = set()
        self.ranges: set[tuple[Key | None, Key | None]] = set()
        self.whole = False

    def add_key(self, key: Key) -> None:
        if not self.whole:
            self.keys.add(key)
            if len(self.keys) > KEYS_MAX:
                self.widen()

    def add_range(self, lo: Key | None, hi: Key | None) -> None:
        if not self.whole:
            self.ranges.add((lo, hi))
            if (lo is None and hi is None) or len(self.ranges) > RANGES_MAX:
                self.widen()

    def widen(self) -> None:
        """Count as a read of everything."""
        self.whole = True
        self.keys = set()
        self.ranges = {(None, None)}


class SerializableTransaction(Transaction):
    """A Transaction that records its reads and has them checked at commit."""

    __slots__ = ("reads",)

    def __init__(
        self, manager: TransactionManager, txn_id: int, level: IsolationLevel, read_only: bool
    ) -> None:
        Transaction.__init__(self, manager, txn_id, level, read_only)
        self.reads: dict[int, TreeReads] = {}

    def begin_statement(self) -> None:
        Transaction.begin_statement(self)
        self._reads_of(CATALOG_TREE).widen()  # the schema that gives the statement its meaning

    def settled(self, *tree_ids: int) -> None:
        """Never: every read is recorded."""
        return

    def get(self, tree_id: int, key: Key) -> Row | None:
        self._reads_of(tree_id).add_key(key)
        return Transaction.get(self, tree_id, key)

    def get_many(self, tree_id: int, keys: Sequence[Key]) -> list[Row | None]:
        reads = self._reads_of(tree_id)
        for key in keys:
            reads.add_key(key)
        return Transaction.get_many(self, tree_id, keys)

    def scan(
        self,
        tree_id: int,
        lo: Key | None = None,
        hi: Key | None = None,
        *,
        reverse: bool = False,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[tuple[Key, Row]]:
        self._reads_of(tree_id).add_range(lo, hi)
        return Transaction.scan(self, tree_id, lo, hi, reverse=reverse, columns=columns)

    def scan_pieces(
        self,
        tree_id: int,
        lo: Key | None,
        hi: Key | None,
        columns: tuple[int, ...],
        by_column: bool,
    ) -> Iterator[Any]:
        self._reads_of(tree_id).add_range(lo, hi)
        return Transaction.scan_pieces(self, tree_id, lo, hi, columns, by_column)

    def scan_batches(
        self,
        tree_id: int,
        lo: Key | None = None,
        hi: Key | None = None,
        *,
        columns: tuple[int, ...] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        self._reads_of(tree_id).add_range(lo, hi)
        return Transaction.scan_batches(self, tree_id, lo, hi, columns=columns)

    def count(self, tree_id: int) -> int:
        self._reads_of(tree_id).widen()
        return Transaction.count(self, tree_id)

    def lock_for_update(self, tree_id: int, key: Key) -> Row | None:
        self._reads_of(tree_id).add_key(key)
        return Transaction.lock_for_update(self, tree_id, key)

    def modify(
        self,
        table_id: int,
        key: Key,
        change: Callable[[Row, Any], Mapping[int, Mapping[Key, Row | None]] | None],
        argument: Any,
    ) -> bool:
        self._reads_of(table_id).add_key(key)
        return Transaction.modify(self, table_id, key, change, argument)

    def insert(self, tree_id: int, key: Key, row: Row) -> None:
        self._reads_of(tree_id).add_key(key)
        Transaction.insert(self, tree_id, key, row)

    def insert_many(self, tree_id: int, rows: Mapping[Key, Row]) -> None:
        reads = self._reads_of(tree_id)
        for key in rows:
            reads.add_key(key)
        Transaction.insert_many(self, tree_id, rows)

    def insert_unique(
        self, index_tree_id: int, lo: bytes, hi: bytes, entry: bytes, row: Row = ()
    ) -> None:
        self._reads_of(index_tree_id).add_range(lo, hi)
        Transaction.insert_unique(self, index_tree_id, lo, hi, entry, row)

    def validation(self) -> Callable[[], None]:
        return self.require_reads_unchanged

    def require_reads_unchanged(self) -> None:
        """Raise SerializationFailure if anything that was asked has been written since."""
        store = self.manager.store
        snapshot = self.snapshot
        for tree_id, reads in self.reads.items():
            for key in reads.keys:
                if store.latest_commit_ts(tree_id, key, snapshot):
                    _fail()
            for lo, hi in reads.ranges:
                if store.changed_since(tree_id, lo, hi, snapshot):
                    _fail()

    def _reads_of(self, tree_id: int) -> TreeReads:
        reads = self.reads.get(tree_id)
        if reads is None:
            reads = self.reads[tree_id] = TreeReads()
        return reads


def _fail() -> NoReturn:
    raise SerializationFailure(
        "what this transaction read was changed by one that committed after its snapshot",
        hint="run the transaction again",
    )
