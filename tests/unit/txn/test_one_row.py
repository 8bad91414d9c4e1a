"""The short ways: one-shot writes outside a transaction, `modify` inside one."""

from __future__ import annotations

import pytest

from engine.errors import SerializationFailure, UniqueViolation
from engine.storage.memory_store import MemoryStore
from engine.txn.manager import TransactionManager
from tests.unit.txn.conftest import T, U
from tests.unit.txn.test_transaction import begin, entry, put


def test_write_one_inserts_or_raises(manager: TransactionManager, store: MemoryStore) -> None:
    catalog = manager.catalog
    writes = {T: {4: (4, "four")}}
    assert manager.write_one(T, 4, writes, catalog) == store.visible_ts
    with pytest.raises(UniqueViolation):
        manager.write_one(T, 4, writes, catalog)
    assert manager.locks() == []


def test_write_one_with_unique_prefix(manager: TransactionManager) -> None:
    catalog = manager.catalog

    def add(key: int, value: str) -> int | None:
        lo, hi, full = entry(value, key)
        writes = {T: {key: (key, value)}, U: {full: ()}}
        return manager.write_one(T, key, writes, catalog, ((U, lo, hi, full),))

    assert add(4, "a")
    with pytest.raises(UniqueViolation) as caught:
        add(5, "a")
    assert caught.value.tree_id == U
    assert manager.locks() == []
    holder = begin(manager)
    holder.insert_unique(U, *entry("b", 9))
    assert add(6, "b") is None
    assert begin(manager).get(T, 6) is None
    assert {lock.txn_id for lock in manager.locks()} == {holder.txn_id}


def test_modify_one_changes_deletes_or_leaves(manager: TransactionManager) -> None:
    catalog = manager.catalog

    def change(row: tuple[int, str], text: str | None) -> dict[int, dict[int, object]] | None:
        if text == row[1]:
            return None
        return {T: {row[0]: None if text is None else (row[0], text)}}

    assert manager.modify_one(T, 1, change, "new", catalog)
    assert manager.modify_one(T, 1, change, "new", catalog) == 0
    assert manager.modify_one(T, 9, change, "new", catalog) == 0
    assert manager.modify_one(T, 2, change, None, catalog)
    txn = begin(manager)
    assert txn.get_many(T, [1, 2]) == [(1, "new"), None]
    assert manager.locks() == []


def test_one_shots_decline_where_they_would_wait(manager: TransactionManager) -> None:
    catalog = manager.catalog
    holder = begin(manager)
    holder.put(T, 1, (1, "a"))
    assert manager.modify_one(T, 1, lambda row, _: {T: {1: None}}, None, catalog) is None
    holder.insert(T, 4, (4, "d"))
    assert manager.write_one(T, 4, {T: {4: (4, "x")}}, catalog) is None
    holder.rollback()
    ddl = begin(manager)
    ddl.lock_table(T, "X")
    assert manager.write_one(T, 4, {T: {4: (4, "x")}}, catalog) is None
    ddl.rollback()
    assert manager.write_one(T, 4, {T: {4: (4, "x")}}, ["stale"]) is None
    assert manager.write_one(T, 4, {T: {4: (4, "x")}}, catalog)


def test_one_shot_gives_its_lock_back_when_the_change_raises(manager: TransactionManager) -> None:
    def change(row: tuple[int, str], _: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        manager.modify_one(T, 1, change, None, manager.catalog)
    assert manager.locks() == []


def test_modify_is_lock_check_and_change(manager: TransactionManager) -> None:
    def upper(row: tuple[int, str], suffix: str) -> dict[int, dict[int, tuple[int, str]]] | None:
        return None if row[1] == "two" else {T: {row[0]: (row[0], row[1] + suffix)}}

    late = begin(manager)
    txn = begin(manager)
    assert txn.modify(T, 1, upper, "!")
    assert not txn.modify(T, 2, upper, "!")
    assert not txn.modify(T, 9, upper, "!")
    txn.begin_statement()
    assert txn.modify(T, 1, upper, "?")
    txn.commit()
    assert begin(manager).get(T, 1) == (1, "one!?")
    with pytest.raises(SerializationFailure):
        late.modify(T, 1, upper, "!")
    late.rollback()
    reader = begin(manager, "read committed")
    put(manager, 9, "new")
    put(manager, 2, None)
    put(manager, 3, "newer")
    assert not reader.modify(T, 9, upper, "!")  # the statement does not see it
    assert not reader.modify(T, 2, upper, "!")  # deleted since
    assert reader.modify(T, 3, upper, "!")
    reader.commit()
    assert begin(manager).get(T, 3) == (3, "newer!")


def test_serializable_modify_is_a_read(manager: TransactionManager) -> None:
    txn = begin(manager, "serializable")
    assert not txn.modify(T, 9, lambda row, _: None, None)
    txn.put(T, 2, (2, "mine"))
    put(manager, 9, "theirs")
    with pytest.raises(SerializationFailure):
        txn.commit()
