"""A memory store with one table (tree T, int keys) and one unique index (tree U, bytes keys)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine.storage.memory_store import MemoryStore
from engine.storage.store import (
    CATALOG_TREE,
    TREE_DIRECTORY,
    ColumnSpec,
    Snapshot,
    TreeSpec,
    encode_tree_spec,
)
from engine.txn.manager import TransactionManager
from tests.isolation.actors import Actors

T = 100
U = 101
SPEC_T = TreeSpec(T, "int", (ColumnSpec(0, "int64"), ColumnSpec(1, "utf8")), 0)
SPEC_U = TreeSpec(U, "bytes")


def load_catalog(snapshot: Snapshot) -> Any:
    """A schema for these tests: its rows."""
    return list(snapshot.scan(CATALOG_TREE))


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    store.commit({TREE_DIRECTORY: {T: encode_tree_spec(SPEC_T), U: encode_tree_spec(SPEC_U)}})
    store.commit({T: {1: (1, "one"), 2: (2, "two"), 3: (3, "three")}})
    yield store
    store.close()


@pytest.fixture
def manager(store: MemoryStore) -> TransactionManager:
    return TransactionManager(store, load_catalog)


@pytest.fixture
def actors(manager: TransactionManager) -> Iterator[Actors]:
    with Actors(manager.lock_manager) as actors:
        yield actors
