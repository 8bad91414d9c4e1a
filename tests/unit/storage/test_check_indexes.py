"""Index against table, both ways: every way in which they can differ is found and named."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import UniqueViolation
from engine.keys import index_key_codec
from engine.session import Session
from engine.storage.check import IndexCheck, check_indexes
from engine.storage.memory_store import MemoryStore
from engine.storage.store import (
    TREE_DIRECTORY,
    ColumnSpec,
    Key,
    Row,
    TreeSpec,
    encode_tree_spec,
)
from engine.types import INTEGER, TEXT
from tests.unit.sql.sessions import memory_session, rows

TABLE = TreeSpec(
    100, "int", (ColumnSpec(0, "int64"), ColumnSpec(1, "utf8"), ColumnSpec(2, "int32"))
)
INDEX = TreeSpec(101, "bytes", ())
CODEC = index_key_codec(((INTEGER, True), (TEXT, False)), True)


def entry(key: int, row: Row) -> bytes:
    return CODEC.encode((row[2], row[1]), key)


ROWS: dict[int, Row] = {
    n: (n * 3, None if n % 5 == 0 else f"text {n}", None if n % 7 == 0 else n % 10)
    for n in range(5000)
}


def found(changes: dict[Key, Row | None]) -> list[str]:
    """The findings where `changes` were made to the entries and to nothing else."""
    store = MemoryStore()
    store.commit(
        {TREE_DIRECTORY: {spec.tree_id: encode_tree_spec(spec) for spec in (TABLE, INDEX)}}
    )
    entries: dict[Key, Row | None] = {entry(key, row): () for key, row in ROWS.items()}
    table: Any = ROWS
    store.commit({TABLE.tree_id: table, INDEX.tree_id: {**entries, **changes}})
    snapshot = store.snapshot()

    def table_key_of(raw: Key) -> Key:
        assert isinstance(raw, bytes)
        return CODEC.table_key(raw)

    check = IndexCheck(INDEX.tree_id, TABLE.tree_id, (2, 1), CODEC.encode, table_key_of)
    findings = list(check_indexes(snapshot, [check]))
    snapshot.close()
    store.close()
    assert {finding.tree_id for finding in findings} <= {INDEX.tree_id}
    return [finding.message for finding in findings]


def test_a_sound_index() -> None:
    assert found({}) == []


def test_a_row_without_its_entry() -> None:
    messages = found({entry(77, ROWS[77]): None})
    assert messages == ["row 77 of tree 100 has no entry", "4999 entries for 5000 rows"]


def test_an_entry_without_a_row() -> None:
    stray = entry(9999, (0, "stray", 1))
    messages = found({stray: ()})
    assert messages == [
        f"entry {stray!r} belongs to no row of tree 100",
        "5001 entries for 5000 rows",
    ]


def test_an_entry_of_another_value() -> None:
    """As many entries as rows, so that only comparing them tells."""
    wrong = entry(78, (0, "other", 1))
    messages = found({entry(78, ROWS[78]): None, wrong: ()})
    assert messages == [
        "row 78 of tree 100 has no entry",
        f"entry {wrong!r} belongs to no row of tree 100",
    ]


def test_an_entry_that_is_none() -> None:
    (first, second) = found({b"\x01": ()})
    assert "b'\\x01'" in first
    assert second == "5001 entries for 5000 rows"


# ── CREATE INDEX over rows that are there ────────────────────────────────────────────────────
@pytest.fixture
def session() -> Session:
    made = memory_session()
    made.execute("create table t (id integer primary key, a integer, b text)")
    made.execute_many(
        "insert into t values (?, ?, ?)",
        [(n, n % 7, f"text {n}" if n % 3 else None) for n in range(1, 9001)],
    )
    return made


def trees(session: Session) -> dict[Key, Row]:
    snapshot = session.store.snapshot()
    try:
        return dict(snapshot.scan(TREE_DIRECTORY))
    finally:
        snapshot.close()


@pytest.mark.parametrize("columns", ["a", "b desc", "b, a desc"])
def test_an_index_has_an_entry_for_each_row(session: Session, columns: str) -> None:
    session.execute(f"create index i on t ({columns})")
    (index,) = session.transactions.catalog.tables["t"].indexes
    snapshot = session.store.snapshot()
    assert snapshot.count(index.index_id) == 9000
    snapshot.close()
    assert rows(session, "select id from t where b = 'text 4000'") == [(4000,)]
    assert rows(session, "select count(*) from t where a = 3") == [(1286,)]


def test_an_index_that_is_rolled_back_leaves_nothing(session: Session) -> None:
    before = trees(session)
    session.begin()
    session.execute("insert into t values (10000, 1, 'mine')")
    session.execute("create index i on t (b)")
    assert rows(session, "select id from t where b = 'mine'") == [(10000,)]
    session.rollback()
    assert trees(session) == before
    assert session.transactions.catalog.tables["t"].indexes == ()
    assert rows(session, "select count(*) from t where b = 'mine'") == [(0,)]


def test_a_unique_index_over_repeats_leaves_nothing(session: Session) -> None:
    before = trees(session)
    with pytest.raises(UniqueViolation) as caught:
        session.execute("create unique index i on t (a)")
    assert caught.value.detail == "Key (a)=(1) is duplicated."
    assert trees(session) == before
    session.execute("create unique index i on t (b)")  # NULLs are no repeats
    with pytest.raises(UniqueViolation):
        session.execute("insert into t values (20000, 1, 'text 1')")
