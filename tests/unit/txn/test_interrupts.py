"""Exceptions that signal handlers raise, at the worst moments."""

from __future__ import annotations

import pytest

from engine.storage.memory_store import MemoryStore
from engine.storage.store import CATALOG_TREE
from engine.txn.manager import TransactionManager
from tests.unit.txn.conftest import T, load_catalog
from tests.unit.txn.test_transaction import begin, change_schema


class Interrupt(BaseException):
    """Like KeyboardInterrupt: not an Exception."""


def test_interrupt_while_giving_up_locks_leaks_none(
    manager: TransactionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    txn = begin(manager)
    txn.put(T, 1, (1, "a"))
    release_tables = manager.lock_manager.__class__.release_tables
    calls = []

    def interrupted(self: object, owner: object) -> None:
        calls.append(owner)
        if len(calls) == 1:
            raise Interrupt
        release_tables(self, owner)  # type: ignore[arg-type]

    monkeypatch.setattr(manager.lock_manager.__class__, "release_tables", interrupted)
    with pytest.raises(Interrupt):
        txn.commit()
    assert txn.status == "committed"
    assert manager.locks() == [] and manager.active() == []
    assert begin(manager).get(T, 1) == (1, "a")


@pytest.mark.parametrize("after", [False, True])
def test_interrupt_in_a_commit_leaves_the_schema_right(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """The store finishes or refuses the commit, then the exception comes out of it."""
    commit = store.commit

    def interrupted(writes: object, **options: object) -> int:
        if after:
            commit(writes, **options)  # type: ignore[arg-type]
        raise Interrupt

    monkeypatch.setattr(store, "commit", interrupted)
    manager = TransactionManager(store, load_catalog)
    txn = begin(manager)
    txn.lock_schema()
    txn.put(CATALOG_TREE, 50, ("table", "t50", b""))
    with pytest.raises(Interrupt):
        txn.commit()
    assert txn.status == "unknown"
    assert [row[1] for _, row in manager.catalog] == (["t50"] if after else [])
    assert begin(manager).catalog is manager.catalog
    assert manager.lock_manager.strong == {}


def test_interrupt_while_the_schema_is_read(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No plan matches the schema kept, and each statement reads its own."""
    manager = TransactionManager(store, load_catalog)
    txn = begin(manager)
    txn.lock_schema()
    txn.put(CATALOG_TREE, 50, ("table", "t50", b""))

    def interrupted(*args: object) -> None:
        raise Interrupt

    with monkeypatch.context() as patch:
        patch.setattr(manager.schema.__class__, "add", interrupted)
        with pytest.raises(Interrupt):
            txn.commit()
    stale = manager.catalog
    assert stale is None
    assert [row[1] for _, row in begin(manager).catalog] == ["t50"]
    change_schema(manager, 51)
    assert [row[1] for _, row in manager.catalog] == ["t50", "t51"]
