"""Sessions over a memory store, for tests."""

from __future__ import annotations

from typing import Any

from engine.catalog import CATALOG_TREE, load_catalog
from engine.session import Session
from engine.storage.memory_store import MemoryStore
from engine.txn.manager import TransactionManager


def memory_session(**options: Any) -> Session:
    """A session over an empty store of its own."""
    store = MemoryStore()
    manager = TransactionManager(
        store, lambda snapshot: load_catalog(snapshot.scan(CATALOG_TREE), snapshot.commit_ts)
    )
    return Session(store, manager, **options)


def second_session(first: Session, **options: Any) -> Session:
    """Another client of the same store."""
    return Session(first.store, first.transactions, **options)


def rows(session: Session, sql: str, *params: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    return list(session.execute(sql, params).rows)
