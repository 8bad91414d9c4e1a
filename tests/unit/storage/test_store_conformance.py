"""One suite for every Store: what engine/storage/store.py promises, asked of each."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import InterfaceError, InternalError
from engine.storage.file_store import open_file_store
from engine.storage.memory_store import MemoryStore
from engine.storage.recoverable_store import StoreOptions
from engine.storage.store import (
    FIRST_USER_ID,
    TREE_DIRECTORY,
    ColumnSpec,
    Key,
    Row,
    Store,
    TreeSpec,
    encode_tree_spec,
)
from engine.vfs import OsVfs

INT_TREE = TreeSpec(
    20,
    "int",
    (ColumnSpec(0, "int64"), ColumnSpec(1, "utf8"), ColumnSpec(2, "float64")),
    key_column=0,
)
ROWID_TREE = TreeSpec(21, "int", (ColumnSpec(0, "utf8"), ColumnSpec(1, "bool")))
BYTES_TREE = TreeSpec(22, "bytes", (ColumnSpec(0, "int64"),))
INDEX_TREE = TreeSpec(23, "bytes", ())
SPECS = (INT_TREE, ROWID_TREE, BYTES_TREE, INDEX_TREE)


def create(store: Store, *specs: TreeSpec) -> None:
    store.commit({TREE_DIRECTORY: {spec.tree_id: encode_tree_spec(spec) for spec in specs}})


def entry(number: int, text: str = "x") -> Row:
    return (number, text, number / 2)


def put(store: Store, *numbers: int, text: str = "x") -> int:
    return store.commit({INT_TREE.tree_id: {n: entry(n, text) for n in numbers}})


def keys_of(rows: Iterator[tuple[Key, Row]]) -> list[Key]:
    return [key for key, _ in rows]


@pytest.fixture(params=["memory", "file", "file-pread"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    made: list[Store] = []

    def make() -> Store:
        if request.param == "memory":
            store: Store = MemoryStore()
        else:
            path = str(tmp_path / f"store{len(made)}.mantis")
            options = StoreOptions(
                clock_us=lambda: time.time_ns() // 1000,
                timer=time.monotonic,
                random_bytes=os.urandom,
                io="pread" if request.param == "file-pread" else "mmap",
            )
            store = open_file_store(path, vfs=OsVfs(), options=options, create_page_size=4096)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: Callable[[], Store]) -> Store:
    made = make_store()
    create(made, *SPECS)
    return made


def test_an_empty_store_has_only_its_system_trees(make_store: Callable[[], Store]) -> None:
    fresh = make_store()
    snapshot = fresh.snapshot()
    assert snapshot.get(50, 1) is None
    assert list(snapshot.scan(50)) == []
    assert snapshot.count(50) == 0
    assert snapshot.tree_spec(50) is None
    assert snapshot.tree_spec(TREE_DIRECTORY) is not None
    assert list(snapshot.scan(TREE_DIRECTORY)) == []
    snapshot.close()


def test_a_commit_is_seen_by_later_snapshots_only(store: Store) -> None:
    before = store.snapshot()
    commit_ts = put(store, 1, 2)
    after = store.snapshot()
    assert store.visible_ts == commit_ts == after.commit_ts > before.commit_ts
    assert before.get(20, 1) is None
    assert after.get(20, 1) == entry(1)
    assert after.get_many(20, [2, 3, 1]) == [entry(2), None, entry(1)]
    store.commit({20: {1: None, 2: entry(2, "new")}})
    assert after.get(20, 1) == entry(1)
    assert after.get(20, 2) == entry(2)
    last = store.snapshot()
    assert last.get(20, 1) is None
    assert last.get(20, 2) == entry(2, "new")
    for snapshot in (before, after, last):
        snapshot.close()


@pytest.mark.parametrize("checkpoint", [False, True])
def test_ranges_are_half_open_and_go_both_ways(store: Store, checkpoint: bool) -> None:
    put(store, *range(0, 100, 10))
    if checkpoint:
        store.checkpoint()
    put(store, 5, 15, 95)
    store.commit({20: {20: None}})
    snapshot = store.snapshot()
    assert keys_of(snapshot.scan(20, 10, 40)) == [10, 15, 30]
    assert keys_of(snapshot.scan(20, 10, 40, reverse=True)) == [30, 15, 10]
    assert keys_of(snapshot.scan(20, None, 11)) == [0, 5, 10]
    assert keys_of(snapshot.scan(20, 85, None)) == [90, 95]
    assert keys_of(snapshot.scan(20, 40, 40)) == []
    assert list(snapshot.scan(20, 5, 11, columns=(1, 0))) == [(5, ("x", 5)), (10, ("x", 10))]
    assert list(snapshot.scan(20, 5, 11, columns=(2,))) == [(5, (2.5,)), (10, (5.0,))]
    assert list(snapshot.scan(20, 5, 11, columns=())) == [(5, ()), (10, ())]
    assert snapshot.count(20) == 12
    snapshot.close()


def test_bytes_keys_sort_as_bytes(store: Store) -> None:
    keys = [b"", b"\x00", b"\x00\x01", b"a", b"ab", b"b", b"\xff"]
    store.commit(
        {22: {key: (number,) for number, key in enumerate(keys)}, 23: dict.fromkeys(keys, ())}
    )
    for _ in range(2):
        snapshot = store.snapshot()
        assert keys_of(snapshot.scan(22)) == keys
        assert keys_of(snapshot.scan(23, b"a", b"b")) == [b"a", b"ab"]
        assert snapshot.get(23, b"a") == ()
        assert snapshot.get(23, b"c") is None
        assert snapshot.get(22, b"ab") == (4,)
        snapshot.close()
        store.checkpoint()


@pytest.mark.parametrize("columns", [None, (1,), (2, 0), ()])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_batches_hold_the_rows_of_a_scan(
    store: Store, checkpoint: bool, columns: tuple[int, ...] | None
) -> None:
    pytest.importorskip("pyarrow")
    put(store, *range(300))
    if checkpoint:
        store.checkpoint()
    store.commit({20: dict.fromkeys(range(0, 300, 7)) | {n: entry(n, "u") for n in (1, 150, 301)}})
    store.commit({20: {2: (2, None, None)}})
    snapshot = store.snapshot()
    for lo, hi in ((None, None), (2, 151), (290, None), (400, 500)):
        expected = [row for _, row in snapshot.scan(20, lo, hi, columns=columns)]
        found: list[Row] = []
        for batch in snapshot.scan_batches(20, lo, hi, columns=columns):
            names = [str(position) for position in (range(3) if columns is None else columns)]
            assert batch.schema.names == names
            found += (
                zip(*(column.to_pylist() for column in batch.columns))
                if names
                else [()] * (batch.num_rows)
            )
        assert found == expected
    snapshot.close()


def test_trees_come_and_go_with_their_snapshots(store: Store) -> None:
    before = store.snapshot()
    spec = TreeSpec(store.allocate_id(), "int", (ColumnSpec(0, "int64"),), key_column=0)
    tree_id = spec.tree_id
    store.commit({TREE_DIRECTORY: {tree_id: encode_tree_spec(spec)}, tree_id: {1: (1,)}})
    during = store.snapshot()
    assert before.tree_spec(tree_id) is None
    assert before.get(tree_id, 1) is None
    assert during.tree_spec(tree_id) == spec
    store.checkpoint()
    store.commit({TREE_DIRECTORY: {tree_id: None}})
    after = store.snapshot()
    for _ in range(2):
        assert during.get(tree_id, 1) == (1,)
        assert list(during.scan(tree_id)) == [(1, (1,))]
        assert after.get(tree_id, 1) is None
        assert list(after.scan(tree_id)) == []
        assert after.tree_spec(tree_id) is None
        store.checkpoint()
    with pytest.raises(InternalError):
        store.commit({tree_id: {2: (2,)}})
    assert store.allocate_id() > tree_id
    for snapshot in (before, during, after):
        snapshot.close()


def test_a_write_set_for_an_unknown_tree_changes_nothing(store: Store) -> None:
    before = store.visible_ts
    with pytest.raises(InternalError):
        store.commit({20: {1: entry(1)}, 99: {1: (1,)}})
    assert store.visible_ts == before
    snapshot = store.snapshot()
    assert snapshot.get(20, 1) is None
    snapshot.close()


def test_a_closed_snapshot_raises_but_its_scans_end_well(store: Store) -> None:
    put(store, *range(1000))
    store.checkpoint()
    snapshot = store.snapshot()
    running = snapshot.scan(20)
    assert next(running)[0] == 0
    unstarted = snapshot.scan(20)
    snapshot.close()
    snapshot.close()
    for number in range(3):
        store.commit({20: {n: entry(n, f"round {number}") for n in range(1000)}})
        store.checkpoint()
    assert [row for _, row in running] == [entry(n) for n in range(1, 1000)]
    with pytest.raises(InterfaceError):
        list(unstarted)
    for ask in (
        lambda: snapshot.get(20, 1),
        lambda: snapshot.get_many(20, [1]),
        lambda: snapshot.scan(20),
        lambda: snapshot.scan_batches(20),
        lambda: snapshot.count(20),
        lambda: snapshot.tree_spec(20),
    ):
        with pytest.raises(InterfaceError):
            ask()


def test_latest_commit_ts_remembers_over_checkpoints(store: Store) -> None:
    first = put(store, 1)
    since = store.snapshot()
    assert store.latest_commit_ts(20, 1, since) == 0
    assert store.latest_commit_ts(20, 2, since) == 0
    second = put(store, 1, text="changed")
    third = store.commit({20: {2: entry(2)}})
    later = store.snapshot()
    fourth = store.commit({20: {2: None}})
    assert since.commit_ts == first
    for _ in range(3):
        assert store.latest_commit_ts(20, 1, since) == second
        assert store.latest_commit_ts(20, 1, later) == 0
        assert store.latest_commit_ts(20, 2, since) == fourth
        assert store.latest_commit_ts(20, 2, later) == fourth
        assert third < fourth
        put(store, 77)
        store.checkpoint()
    since.close()
    later.close()


def test_point_readers_follow_commits_and_checkpoints(store: Store) -> None:
    whole = store.point_reader(20)
    part = store.point_reader(20, (2, 1))
    assert whole(1) is None and part(1) is None
    put(store, 1, 2)
    for _ in range(3):
        assert whole(1) == entry(1)
        assert part(2) == (1.0, "x")
        assert whole(3) is None
        store.checkpoint()
    store.commit({20: {1: None, 2: entry(2, "new")}})
    assert whole(1) is None
    assert part(2) == (1.0, "new")
    store.commit({TREE_DIRECTORY: {20: None}})
    assert whole(2) is None
    store.checkpoint()
    assert whole(2) is None
    unborn = store.point_reader(24)
    assert unborn(1) is None
    create(store, TreeSpec(24, "int", (ColumnSpec(0, "int64"),)))
    store.commit({24: {1: (9,)}})
    assert unborn(1) == (9,)


def test_rowids_grow_past_everything_used(store: Store) -> None:
    assert [store.next_rowid(21) for _ in range(3)] == [1, 2, 3]
    store.commit({21: {50: ("a", True)}})
    assert store.next_rowid(21) == 51
    store.checkpoint()
    assert store.next_rowid(21) == 52
    store.commit({21: {90: ("b", None)}})
    store.commit({21: {90: None}})
    store.checkpoint()
    store.commit({21: {5: ("c", None)}})
    store.checkpoint()
    assert store.next_rowid(21) == 91
    store.commit({20: {-5: entry(-5)}})
    assert store.next_rowid(20) == 1


def test_ids_are_never_given_twice(store: Store) -> None:
    first = store.allocate_id()
    assert first >= FIRST_USER_ID
    create(store, TreeSpec(first + 10, "int", ()))
    given = [store.allocate_id() for _ in range(5)]
    assert given == sorted(set(given))
    assert given[0] > first + 10


def test_wait_false_then_wait_durable(store: Store) -> None:
    commit_ts = store.commit({20: {1: entry(1)}}, wait=False)
    store.wait_durable(commit_ts)
    assert store.visible_ts >= commit_ts
    assert store.point_reader(20)(1) == entry(1)


def test_null_and_wide_values_survive_a_checkpoint(store: Store) -> None:
    rows = {
        1: (1, None, None),
        2: (2, "ä€😀" * 3, float("inf")),
        3: (3, "long " * 5000, -0.0),
        -(2**63): (-(2**63), "", 1e300),
        2**63 - 1: (2**63 - 1, "\x00", None),
    }
    store.commit({20: rows})
    store.checkpoint()
    snapshot = store.snapshot()
    assert dict(snapshot.scan(20)) == rows
    assert [snapshot.get(20, key) for key in rows] == list(rows.values())
    snapshot.close()


def test_count_follows_inserts_updates_and_deletes(store: Store) -> None:
    put(store, *range(500))
    old = store.snapshot()
    store.checkpoint()
    store.commit({20: dict.fromkeys(range(0, 500, 2))})
    store.commit({20: {n: entry(n, "u") for n in range(250, 600)}})
    snapshot = store.snapshot()
    assert old.count(20) == 500
    assert snapshot.count(20) == len(list(snapshot.scan(20)))
    store.checkpoint()
    assert snapshot.count(20) == len(list(snapshot.scan(20)))
    fresh = store.snapshot()
    assert fresh.count(20) == snapshot.count(20)
    for each in (old, snapshot, fresh):
        each.close()


@pytest.mark.parametrize("seed", range(6))
def test_against_a_dictionary(store: Store, seed: int) -> None:
    """Random commits, checkpoints and snapshots; every snapshot keeps answering like the
    dictionary that was copied when it was taken."""
    random_source = random.Random(seed)
    model: dict[Key, Row] = {}
    kept: list[tuple[object, dict[Key, Row]]] = []
    for step in range(120):
        changes: dict[Key, Row | None] = {}
        for _ in range(random_source.randrange(1, 12)):
            key = random_source.randrange(60)
            changes[key] = None if random_source.random() < 0.3 else entry(key, f"s{step}")
        store.commit({20: changes})
        for key, row in changes.items():
            if row is None:
                model.pop(key, None)
            else:
                model[key] = row
        chance = random_source.random()
        if chance < 0.1:
            store.checkpoint()
        elif chance < 0.3:
            kept.append((store.snapshot(), dict(model)))
        elif chance < 0.4 and kept:
            kept.pop(random_source.randrange(len(kept)))[0].close()  # type: ignore[attr-defined]
        lo = random_source.randrange(60)
        for snapshot, expected in [*kept[-3:], (store.snapshot(), model)]:
            ordered = sorted(expected.items())
            assert list(snapshot.scan(20)) == ordered  # type: ignore[attr-defined]
            assert list(snapshot.scan(20, lo, lo + 20, reverse=True)) == [  # type: ignore[attr-defined]
                (key, row)
                for key, row in reversed(ordered)
                if lo <= key < lo + 20  # type: ignore[operator]
            ]
            assert snapshot.count(20) == len(expected)  # type: ignore[attr-defined]
            assert snapshot.get(20, lo) == expected.get(lo)  # type: ignore[attr-defined]
            if expected is model:
                snapshot.close()  # type: ignore[attr-defined]
    for snapshot, _ in kept:
        snapshot.close()  # type: ignore[attr-defined]


def test_readers_never_see_half_a_commit(store: Store) -> None:
    """Each commit writes the same number under every key; a snapshot must see one number."""
    stop = threading.Event()
    failures: list[str] = []
    store.commit({20: {key: (key, "", 0.0) for key in range(10)}})
    read = store.point_reader(20)

    def look() -> None:
        last = 0.0
        while not stop.is_set():
            snapshot = store.snapshot()
            seen = {row[2] for _, row in snapshot.scan(20)}
            if len(seen) != 1 or snapshot.count(20) != 10:
                failures.append(f"half a commit: {sorted(seen)}")
            snapshot.close()
            row = read(3)
            if row is None or row[2] < last:
                failures.append(f"went back from {last} to {row}")
                return
            last = row[2]

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 400):
        store.commit({20: {key: (key, "", number / 1) for key in range(10)}}, durability="os")
        if number % 60 == 0:
            store.checkpoint()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_concurrent_commits_are_all_kept(store: Store) -> None:
    def work(base: int) -> None:
        for number in range(100):
            put(store, base + number)

    threads = [threading.Thread(target=work, args=(base * 1000,)) for base in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = store.snapshot()
    assert snapshot.count(20) == 400
    assert len(list(snapshot.scan(20))) == 400
    snapshot.close()
