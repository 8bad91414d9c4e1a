"""Bulk loads: power is lost at every disk operation around them, and a load is whole or absent.

A load is in no log record, so these images ask what the log cannot answer: that both meta pages
carry it before anyone is told, and that commits around it keep their places.
"""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from engine.errors import DataError, Error, InternalError
from engine.storage.memory_store import MemoryStore
from engine.storage.store import TREE_DIRECTORY, ColumnSpec, Key, Row, TreeSpec, encode_tree_spec
from engine.vfs_simulated import SimulatedDisk
from engine.wal.reader import scan_log
from engine.wal.record import NOTE, decode_note
from tests.crash.harness import (
    PATH,
    ROWS,
    Run,
    after,
    crash_everywhere,
    dump,
    require_clean,
    require_right,
    row_of,
    text_of,
    verify_image,
)

COLUMNS = (ColumnSpec(0, "int64"), ColumnSpec(1, "utf8"))


def spec_of(tree_id: int) -> TreeSpec:
    """Even ids keep their key as a column, odd ones have hidden rowids."""
    return TreeSpec(tree_id, "int", COLUMNS, key_column=0 if tree_id % 2 == 0 else None)


def load(run: Run, tree_id: int, rows: dict[Key, Row], others: dict[Key, Row | None]) -> None:
    """Commit a new tree by a bulk load, together with changes of ROWS, and keep the model."""
    assert run.store is not None
    writes = {
        TREE_DIRECTORY: {tree_id: encode_tree_spec(spec_of(tree_id))},
        ROWS.tree_id: others,
    }
    commit_ts = run.tip + 1
    run.states[commit_ts] = after(run.states[run.tip], {**writes, tree_id: rows})
    run.started = max(run.started, commit_ts)
    try:
        assert run.store.commit_loads(writes, {tree_id: batches(tree_id, rows)}) == commit_ts
    except Error:
        del run.states[commit_ts]
        run.started = run.tip
        raise
    run.tip = run.acknowledged = commit_ts


def batches(tree_id: int, rows: dict[Key, Row]) -> list[pa.RecordBatch]:
    found = []
    keys = list(rows)
    for start in range(0, len(keys), 50):
        part = keys[start : start + 50]
        columns = [pa.array([rows[key][place] for key in part]) for place in (0, 1)]
        if spec_of(tree_id).key_column is None:
            columns.insert(0, pa.array(part, pa.int64()))
        found.append(pa.RecordBatch.from_arrays(columns, [str(n) for n in range(len(columns))]))
    return found


def loads(run: Run, chance: random.Random) -> None:
    """Loads between commits, checkpoints and closes; a loaded tree is changed and dropped later."""
    run.open(create=True)
    run.create(ROWS)
    for step in range(5):
        tree_id = 30 + step
        rows: dict[Key, Row] = {
            key: (key if tree_id % 2 == 0 else key * 10, text_of(chance, 60))
            for key in range(1, chance.randrange(2, 150))
        }
        run.commit({ROWS.tree_id: {step: row_of(chance, step)}})
        load(run, tree_id, rows, {100 + step: row_of(chance, 100 + step)})
        run.commit({ROWS.tree_id: {200 + step: row_of(chance, 200 + step)}, tree_id: {1: None}})
        if step == 1:
            run.checkpoint()
        if step == 2:
            run.close()
            run.open()
        if step == 3:
            run.commit({TREE_DIRECTORY: {30: None}})
    run.close()


@pytest.mark.parametrize("life_seed", [1, 2, 3])
def test_a_load_is_whole_or_absent(life_seed: int) -> None:
    assert crash_everywhere(loads, life_seed, 1) > 100


def test_a_load_that_raises_changes_nothing() -> None:
    """Batches raise in the middle: the store goes on, and the pages are used again."""
    disk = SimulatedDisk(1)
    run = Run(disk)
    store = run.open(create=True)
    run.create(ROWS)

    def broken() -> object:
        yield batches(31, {1: (1, "a")})[0]
        raise DataError("bad row")

    before = dump(store)
    with pytest.raises(DataError, match="bad row"):
        store.commit_loads(
            {TREE_DIRECTORY: {31: encode_tree_spec(spec_of(31))}},
            {31: broken()},  # type: ignore[dict-item]
        )
    assert dump(store) == before
    run.commit({ROWS.tree_id: {1: (1, "x", 1)}})
    load(run, 31, {1: (10, "b")}, {})
    require_right(run, store)
    run.close()
    require_clean(disk)


def test_only_new_trees_are_loaded() -> None:
    run = Run(SimulatedDisk(1))
    store = run.open(create=True)
    run.create(ROWS)
    with pytest.raises(InternalError):
        store.commit_loads({}, {ROWS.tree_id: []})
    assert verify_image(run, run.disk.crash_image(1))


def test_a_reader_sees_all_or_nothing() -> None:
    run = Run(SimulatedDisk(1))
    store = run.open(create=True)
    run.create(ROWS)
    old = store.snapshot()
    load(run, 30, {key: (key, "x") for key in range(1, 400)}, {5: (5, "y", 1)})
    assert old.tree_spec(30) is None
    assert old.get(ROWS.tree_id, 5) is None
    assert old.count(30) == 0
    new = store.snapshot()
    assert new.count(30) == 399
    assert new.get(30, 7) == (7, "x")
    old.close()
    new.close()
    assert store.next_rowid(30) == 400
    run.close()


def test_the_memory_store_does_the_same() -> None:
    store = MemoryStore()
    for tree_id in (30, 31):
        rows: dict[Key, Row] = {1: (1, "a"), 2: (2, None)}
        writes = {TREE_DIRECTORY: {tree_id: encode_tree_spec(spec_of(tree_id))}}
        store.commit_loads(writes, {tree_id: batches(tree_id, rows)})
        snapshot = store.snapshot()
        assert dict(snapshot.scan(tree_id)) == rows
        snapshot.close()


def test_the_log_says_that_there_was_a_load() -> None:
    run = Run(SimulatedDisk(1))
    store = run.open(create=True)
    run.create(ROWS)
    load(run, 31, {key: (key, "x") for key in range(1, 120)}, {})
    meta = store.data.meta
    notes = [
        decode_note(record)
        for record in scan_log(run.disk, PATH, meta.uuid, meta.ckpt_lsn + 1, vouched_lsn=0)
        if record.type == NOTE
    ]
    (note,) = [note for note in notes if note.kind == "load"]
    assert note.facts == {
        "commit_ts": run.tip,
        "checkpoint_no": meta.checkpoint_no - 1,  # the last one repeats it in the other meta page
        "rows": {"31": 119},
    }
    run.close()
