"""Transactions over a memory store: what they see, what they wait for, how they end."""

from __future__ import annotations

import pytest

from engine.errors import (
    InterfaceError,
    InternalError,
    ProgrammingError,
    ReadOnly,
    SerializationFailure,
    TransactionAborted,
    UniqueViolation,
)
from engine.storage.memory_store import MemoryStore
from engine.storage.store import CATALOG_TREE, TREE_DIRECTORY, TreeSpec, encode_tree_spec
from engine.txn.manager import TransactionManager
from engine.txn.transaction import Transaction
from tests.unit.txn.conftest import SPEC_T, T, U


def begin(manager: TransactionManager, isolation: str | None = None) -> Transaction:
    txn = manager.begin(isolation)
    txn.begin_statement()
    return txn


def put(manager: TransactionManager, key: int, text: str | None) -> None:
    txn = begin(manager)
    if text is None:
        txn.delete(T, key)
    else:
        txn.put(T, key, (key, text))
    txn.commit()


def keys(txn: Transaction, *args: int | None, reverse: bool = False) -> list[object]:
    return [key for key, _ in txn.scan(T, *args, reverse=reverse)]


# ── what a transaction sees ──────────────────────────────────────────────────────────────────
def test_snapshot_is_taken_at_the_first_statement(manager: TransactionManager) -> None:
    txn = manager.begin()
    put(manager, 1, "before")
    txn.begin_statement()
    put(manager, 1, "after")
    assert txn.get(T, 1) == (1, "before")
    txn.begin_statement()
    assert txn.get(T, 1) == (1, "before")


def test_read_committed_takes_a_snapshot_for_each_statement(manager: TransactionManager) -> None:
    txn = begin(manager, "read committed")
    put(manager, 1, "after")
    assert txn.get(T, 1) == (1, "one")
    txn.begin_statement()
    assert txn.get(T, 1) == (1, "after")


def test_reading_before_a_statement_is_a_bug_of_the_caller(manager: TransactionManager) -> None:
    with pytest.raises(AssertionError):
        manager.begin().get(T, 1)


def test_unknown_isolation_level_is_refused(manager: TransactionManager) -> None:
    with pytest.raises(ProgrammingError) as caught:
        manager.begin("chaos")
    assert caught.value.sqlstate == "22023"


def test_own_writes_overlay_every_kind_of_read(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.insert(T, 5, (5, "five"))
    txn.insert(T, 0, (0, "zero"))
    txn.delete(T, 2)
    txn.put(T, 3, (3, "THREE"))
    txn.begin_statement()
    assert txn.get(T, 2) is None
    assert txn.get_many(T, [5, 2, 3, 9]) == [(5, "five"), None, (3, "THREE"), None]
    assert keys(txn) == [0, 1, 3, 5]
    assert keys(txn, reverse=True) == [5, 3, 1, 0]
    assert keys(txn, 1, 5) == [1, 3]
    assert keys(txn, 1, 5, reverse=True) == [3, 1]
    assert list(txn.scan(T, 3, columns=(1,))) == [(3, ("THREE",)), (5, ("five",))]
    assert txn.count(T) == 4
    batches = list(txn.scan_batches(T, columns=(1, 0)))
    assert [b.schema.names for b in batches] == [["1", "0"]]
    assert batches[0].column(0).to_pylist() == ["zero", "one", "THREE", "five"]
    assert batches[0].column(1).to_pylist() == [0, 1, 3, 5]


def test_a_statement_does_not_see_its_own_writes(manager: TransactionManager) -> None:
    """The Halloween problem: an UPDATE that moves rows ahead of its own scan meets each once."""
    txn = begin(manager)
    txn.insert(T, 4, (4, "four"))
    txn.begin_statement()
    moved = []
    for key, row in txn.scan(T):
        moved.append(key)
        txn.delete(T, key)
        txn.insert(T, key + 10, (key + 10, row[1]))
        assert len(moved) < 10
    assert moved == [1, 2, 3, 4]
    assert keys(txn) == [1, 2, 3, 4]
    assert txn.get(T, 11) is None
    assert txn.count(T) == 4
    txn.begin_statement()
    assert keys(txn) == [11, 12, 13, 14]
    assert txn.count(T) == 4


def test_lock_for_update_sees_this_statements_write(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.put(T, 1, (1, "new"))
    assert txn.lock_for_update(T, 1) == (1, "new")
    assert txn.get(T, 1) == (1, "one")


def test_a_tree_made_by_the_transaction_is_usable_in_it(manager: TransactionManager) -> None:
    txn = begin(manager)
    spec = TreeSpec(200, SPEC_T.key_kind, SPEC_T.columns, SPEC_T.key_column)
    txn.put(TREE_DIRECTORY, 200, encode_tree_spec(spec))
    txn.insert(200, 7, (7, "seven"))
    txn.insert_many(200, {8: (8, "eight"), 6: (6, "six")})
    with pytest.raises(UniqueViolation):
        txn.insert(200, 8, (8, "again"))
    txn.begin_statement()
    assert [key for key, _ in txn.scan(200)] == [6, 7, 8]
    assert txn.get(200, 9) is None
    assert txn.count(200) == 3
    assert [b.num_rows for b in txn.scan_batches(200)] == [3]
    txn.commit()
    after = begin(manager)
    assert [key for key, _ in after.scan(200)] == [6, 7, 8]


# ── conflicts between transactions that do not overlap in time with a lock ─────────────────────
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
@pytest.mark.parametrize("action", ["lock", "put", "delete"])
def test_writing_a_row_changed_since_the_snapshot_is_40001(
    manager: TransactionManager, isolation: str, action: str
) -> None:
    txn = begin(manager, isolation)
    put(manager, 1, "theirs")
    with pytest.raises(SerializationFailure):
        if action == "lock":
            txn.lock_for_update(T, 1)
        elif action == "put":
            txn.put(T, 1, (1, "mine"))
        else:
            txn.delete(T, 1)


@pytest.mark.parametrize("isolation", ["read committed", "read uncommitted"])
def test_read_committed_writes_upon_the_newest_row(
    manager: TransactionManager, isolation: str
) -> None:
    txn = begin(manager, isolation)
    put(manager, 1, "theirs")
    put(manager, 2, None)
    assert txn.lock_for_update(T, 1) == (1, "theirs")
    assert txn.lock_for_update(T, 2) is None
    txn.put(T, 1, (1, "mine"))
    txn.commit()
    assert begin(manager).get(T, 1) == (1, "mine")


def test_insert_meets_an_invisible_row(manager: TransactionManager) -> None:
    txn = begin(manager)
    put(manager, 4, "theirs")
    assert txn.get(T, 4) is None
    with pytest.raises(UniqueViolation) as caught:
        txn.insert(T, 4, (4, "mine"))
    assert (caught.value.tree_id, caught.value.key) == (T, 4)


def test_insert_over_a_row_deleted_since_the_snapshot_is_40001(manager: TransactionManager) -> None:
    one, many = begin(manager), begin(manager)
    put(manager, 1, None)
    with pytest.raises(SerializationFailure):
        one.insert(T, 1, (1, "mine"))
    one.rollback()
    with pytest.raises(SerializationFailure):
        many.insert_many(T, {1: (1, "mine")})


def test_insert_of_a_row_deleted_by_the_transaction_itself(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.delete(T, 1)
    txn.insert(T, 1, (1, "again"))
    with pytest.raises(UniqueViolation):
        txn.insert(T, 1, (1, "twice"))
    txn.begin_statement()
    assert txn.get(T, 1) == (1, "again")


def test_insert_many_is_insert_of_each(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.insert_many(T, {4: (4, "a"), 5: (5, "b")})
    assert keys(txn) == [1, 2, 3]
    with pytest.raises(UniqueViolation):
        txn.insert_many(T, {6: (6, "c"), 2: (2, "d")})
    with pytest.raises(UniqueViolation):
        txn.insert_many(T, {5: (5, "e")})
    txn.abort_statement()
    txn.rollback()
    txn = begin(manager)
    txn.insert_many(T, {4: (4, "a"), 5: (5, "b")})
    txn.begin_statement()
    assert keys(txn) == [1, 2, 3, 4, 5]


# ── unique indexes ───────────────────────────────────────────────────────────────────────────
def entry(value: str, key: int) -> tuple[bytes, bytes, bytes]:
    prefix = value.encode() + b"\0"
    return prefix, prefix + b"\xff", prefix + bytes([key])


def test_unique_prefix_against_committed_and_own_entries(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.insert_unique(U, *entry("a", 1))
    with pytest.raises(UniqueViolation):
        txn.insert_unique(U, *entry("a", 2))
    txn.write_covered(U, entry("a", 1)[2], None)
    txn.insert_unique(U, *entry("a", 3))
    txn.commit()
    other = begin(manager)
    with pytest.raises(UniqueViolation) as caught:
        other.insert_unique(U, *entry("a", 4))
    assert caught.value.key == entry("a", 4)[2]
    other.write_covered(U, entry("a", 3)[2], None)
    other.insert_unique(U, *entry("a", 4))
    other.commit()
    assert [key for key, _ in begin(manager).scan(U)] == [entry("a", 4)[2]]


def test_unique_prefix_against_a_newer_invisible_commit(manager: TransactionManager) -> None:
    txn = begin(manager)
    other = begin(manager)
    other.insert_unique(U, *entry("a", 1))
    other.commit()
    assert list(txn.scan(U)) == []
    with pytest.raises(UniqueViolation):
        txn.insert_unique(U, *entry("a", 2))


def test_unique_candidates_survive_rollback_to_savepoint(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.insert_unique(U, *entry("a", 1))
    txn.savepoint("s")
    txn.begin_statement()
    txn.write_covered(U, entry("a", 1)[2], None)
    txn.insert_unique(U, *entry("a", 2))
    txn.rollback_to("s")
    txn.begin_statement()
    with pytest.raises(UniqueViolation):
        txn.insert_unique(U, *entry("a", 3))


# ── savepoints and failed statements ─────────────────────────────────────────────────────────
def test_savepoints_nest_and_undo(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.put(T, 1, (1, "a"))
    txn.savepoint("one")
    txn.begin_statement()
    txn.put(T, 1, (1, "b"))
    txn.insert(T, 9, (9, "x"))
    txn.savepoint("two")
    txn.begin_statement()
    txn.delete(T, 1)
    txn.write_many_covered(T, {9: None, 10: (10, "y")})
    txn.rollback_to("two")
    txn.begin_statement()
    assert txn.get(T, 1) == (1, "b")
    assert keys(txn) == [1, 2, 3, 9]
    txn.delete(T, 9)
    txn.release("two")
    txn.rollback_to("one")
    txn.begin_statement()
    assert txn.get(T, 1) == (1, "a")
    assert keys(txn) == [1, 2, 3]
    txn.rollback_to("one")
    txn.commit()
    assert begin(manager).get(T, 1) == (1, "a")


def test_the_newest_savepoint_of_a_name_counts(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.savepoint("s")
    txn.begin_statement()
    txn.put(T, 1, (1, "a"))
    txn.savepoint("s")
    txn.begin_statement()
    txn.put(T, 1, (1, "b"))
    txn.rollback_to("s")
    txn.begin_statement()
    assert txn.get(T, 1) == (1, "a")
    txn.release("s")
    txn.rollback_to("s")
    txn.begin_statement()
    assert txn.get(T, 1) == (1, "one")


@pytest.mark.parametrize("method", ["rollback_to", "release"])
def test_unknown_savepoint(manager: TransactionManager, method: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        getattr(begin(manager), method)("nowhere")
    assert caught.value.sqlstate == "3B001"


def test_rollback_to_gives_back_only_the_locks_taken_since(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.put(T, 1, (1, "a"))
    txn.savepoint("s")
    txn.begin_statement()
    txn.put(T, 1, (1, "b"))
    txn.put(T, 2, (2, "b"))
    txn.rollback_to("s")
    assert {lock.key for lock in manager.locks() if lock.kind == "row"} == {1}
    txn.rollback()
    assert manager.locks() == []


def test_a_key_written_again_after_a_rollback_is_scanned_once(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.insert(T, 8, (8, "x"))
    txn.begin_statement()
    assert keys(txn) == [1, 2, 3, 8]
    txn.savepoint("s")
    txn.begin_statement()
    for _ in range(2):
        txn.insert(T, 9, (9, "x"))
        txn.begin_statement()
        assert keys(txn) == [1, 2, 3, 8, 9]
        txn.rollback_to("s")
        txn.begin_statement()
        assert keys(txn) == [1, 2, 3, 8]


def test_rollback_to_keeps_a_lock_that_a_bulk_insert_met_again(manager: TransactionManager) -> None:
    txn = begin(manager)
    assert txn.lock_for_update(T, 5) is None
    txn.savepoint("s")
    txn.begin_statement()
    txn.insert_many(T, {5: (5, "x"), 6: (6, "x")})
    txn.rollback_to("s")
    assert {lock.key for lock in manager.locks() if lock.kind == "row"} == {5}


def test_failed_statement_fails_the_transaction(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.put(T, 1, (1, "a"))
    txn.begin_statement()
    txn.abort_statement()
    assert txn.status == "failed"
    assert manager.locks() == []  # nobody waits for a transaction that can only be rolled back
    with pytest.raises(TransactionAborted):
        txn.begin_statement()
    assert txn.commit() == 0
    assert txn.status == "rolled back"
    assert begin(manager).get(T, 1) == (1, "one")


def test_rollback_to_savepoint_revives_a_failed_transaction(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.put(T, 1, (1, "a"))
    txn.savepoint("s")
    txn.begin_statement()
    txn.put(T, 2, (2, "b"))
    txn.abort_statement()
    assert {lock.key for lock in manager.locks() if lock.kind == "row"} == {1}
    txn.rollback_to("s")
    txn.begin_statement()
    assert txn.get_many(T, [1, 2]) == [(1, "a"), (2, "two")]
    txn.commit()
    assert begin(manager).get(T, 1) == (1, "a")


# ── ends ─────────────────────────────────────────────────────────────────────────────────────
def test_commit_publishes_and_gives_back_everything(
    manager: TransactionManager, store: MemoryStore
) -> None:
    txn = begin(manager)
    txn.put(T, 1, (1, "a"))
    assert txn.commit() == store.visible_ts
    assert txn.status == "committed"
    assert manager.locks() == []
    assert manager.active() == []
    assert store.open_snapshot_count() == 0
    with pytest.raises(InterfaceError):
        txn.commit()
    with pytest.raises(InterfaceError):
        txn.begin_statement()
    txn.rollback()
    assert txn.status == "committed"


def test_commit_that_fails_is_a_rollback(
    manager: TransactionManager, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    txn = begin(manager)
    txn.put(999, 1, (1,))  # no such tree: the store refuses the write set
    with pytest.raises(Exception, match="tree 999"):
        txn.commit()
    assert txn.status == "rolled back"
    assert manager.locks() == []
    assert store.open_snapshot_count() == 0


def test_empty_commit_returns_the_snapshot(manager: TransactionManager, store: MemoryStore) -> None:
    before = store.visible_ts
    assert begin(manager).commit() == before == store.visible_ts


def test_read_only_transaction_refuses_writes(manager: TransactionManager) -> None:
    txn = manager.begin(read_only=True)
    txn.begin_statement()
    assert txn.get(T, 1) == (1, "one")
    with pytest.raises(ReadOnly):
        txn.put(T, 1, (1, "a"))


def test_views(manager: TransactionManager, store: MemoryStore) -> None:
    assert manager.oldest_snapshot_ts() is None
    idle = manager.begin("read committed")
    txn = begin(manager)
    txn.put(T, 1, (1, "a"))
    first, second = manager.active()
    assert (first.txn_id, first.isolation, first.snapshot_ts) == (
        idle.txn_id,
        "read committed",
        None,
    )
    assert (second.snapshot_ts, second.rows_written, second.status) == (
        store.visible_ts,
        1,
        "active",
    )
    assert manager.oldest_snapshot_ts() == store.visible_ts
    assert {(lock.kind, lock.object_id, lock.key, lock.mode) for lock in manager.locks()} == {
        ("row", T, 1, "X"),
        ("table", T, None, "IX"),
    }


# ── schema ───────────────────────────────────────────────────────────────────────────────────
def change_schema(manager: TransactionManager, object_id: int, table_id: int | None = None) -> None:
    txn = begin(manager)
    txn.lock_schema()
    if table_id is not None:
        txn.lock_table(table_id, "X")
    txn.put(CATALOG_TREE, object_id, ("table", f"t{object_id}", b""))
    txn.set_catalog(["own"])
    assert txn.catalog == ["own"]
    txn.commit()


def test_catalog_versions_follow_the_snapshots(manager: TransactionManager) -> None:
    before = begin(manager)
    empty = before.catalog
    assert empty == []
    change_schema(manager, 50)
    change_schema(manager, 51)
    assert before.catalog is empty
    assert [row[1] for _, row in manager.catalog] == ["t50", "t51"]
    assert begin(manager).catalog is manager.catalog
    before.rollback()
    change_schema(manager, 52)
    assert [row[1] for _, row in manager.catalog] == ["t50", "t51", "t52"]


def test_catalog_during_a_change_is_read_from_the_snapshot(manager: TransactionManager) -> None:
    change_schema(manager, 50)
    txn = begin(manager)
    manager.schema.changing = True
    assert [row[1] for _, row in txn.catalog] == ["t50"]


def test_schema_change_since_the_snapshot_is_40001(manager: TransactionManager) -> None:
    reader, other, schema = begin(manager), begin(manager), begin(manager)
    change_schema(manager, 50, T)
    with pytest.raises(SerializationFailure):
        reader.put(T, 1, (1, "a"))
    other.insert_unique(U, *entry("a", 1))  # another table: no conflict
    with pytest.raises(SerializationFailure):
        schema.lock_schema()


def test_savepoint_brings_the_schema_back(manager: TransactionManager) -> None:
    txn = begin(manager)
    txn.savepoint("s")
    txn.set_catalog(["own"])
    txn.rollback_to("s")
    assert txn.catalog == []


# ── serializable ─────────────────────────────────────────────────────────────────────────────
def test_serializable_write_skew_on_rows_ranges_and_absent_keys(
    manager: TransactionManager,
) -> None:
    for read in (
        lambda txn: txn.get(T, 1),
        lambda txn: txn.get(T, 7),
        lambda txn: txn.get_many(T, [1, 7]),
        lambda txn: list(txn.scan(T, 0, 8)),
        lambda txn: list(txn.scan_batches(T, 5)),
        lambda txn: txn.count(T),
    ):
        txn = begin(manager, "serializable")
        read(txn)
        txn.insert(T, 50, (50, "mine"))
        put(manager, 1, "theirs")
        put(manager, 7, "theirs")
        with pytest.raises(SerializationFailure):
            txn.commit()
        assert txn.status == "rolled back"
        put(manager, 7, None)


def test_serializable_passes_when_nothing_read_was_written(manager: TransactionManager) -> None:
    txn = begin(manager, "serializable")
    txn.get(T, 1)
    list(txn.scan(T, 10, 20))
    txn.insert(T, 50, (50, "mine"))
    put(manager, 2, "theirs")
    put(manager, 20, "theirs")
    assert txn.commit()


def test_serializable_reader_is_never_aborted(manager: TransactionManager) -> None:
    txn = begin(manager, "serializable")
    txn.get(T, 1)
    put(manager, 1, "theirs")
    txn.commit()
    assert txn.status == "committed"


def test_serializable_remembers_reads_of_rolled_back_savepoints(
    manager: TransactionManager,
) -> None:
    txn = begin(manager, "serializable")
    txn.savepoint("s")
    txn.begin_statement()
    txn.get(T, 1)
    txn.rollback_to("s")
    txn.begin_statement()
    txn.put(T, 2, (2, "mine"))
    put(manager, 1, "theirs")
    with pytest.raises(SerializationFailure):
        txn.commit()


def test_serializable_sees_changes_across_a_checkpoint(
    manager: TransactionManager, store: MemoryStore
) -> None:
    txn = begin(manager, "serializable")
    list(txn.scan(T))
    txn.insert(T, 50, (50, "mine"))
    put(manager, 1, "theirs")
    store.checkpoint()
    with pytest.raises(SerializationFailure):
        txn.commit()


def test_serializable_widens_instead_of_forgetting(
    manager: TransactionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.txn.serializable.KEYS_MAX", 3)
    monkeypatch.setattr("engine.txn.serializable.RANGES_MAX", 2)
    txn = begin(manager, "serializable")
    txn.get_many(T, [1, 2, 3, 30, 31])
    assert txn.reads[T].whole
    other = begin(manager, "serializable")
    for lo in (1, 2, 3):
        list(other.scan(T, lo, lo + 1))
    assert other.reads[T].whole


def test_schema_change_aborts_a_serializable_writer(manager: TransactionManager) -> None:
    txn = begin(manager, "serializable")
    txn.put(T, 1, (1, "a"))
    change_schema(manager, 50)
    with pytest.raises(SerializationFailure):
        txn.commit()


def test_loads_without_the_ddl_that_publishes_them_are_refused(
    manager: TransactionManager,
) -> None:
    """They would be lost in silence: nothing but a schema change commits them."""
    for key in (None, 7):
        txn = begin(manager)
        txn.loads = {T: iter([])}
        if key is not None:
            txn.put(T, key, (key, "written"))
        with pytest.raises(InternalError, match="rows to load"):
            txn.commit()
        assert txn.status == "rolled back"
        after = begin(manager)
        assert after.get(T, 7) is None
        after.rollback()
