"""What the crash tests do to a database. Each opens, works and (mostly) closes."""

from __future__ import annotations

import random

from engine.storage.store import TREE_DIRECTORY, ColumnSpec, Key, Row, TreeSpec, encode_tree_spec
from tests.crash.harness import EXTRA, NAMES, ROWS, Run, Workload, row_of, text_of, with_index


def inserts(run: Run, chance: random.Random) -> None:
    """Single-row commits, no checkpoint, never closed."""
    run.open(create=True)
    run.create(ROWS)
    for key in range(40):
        run.commit({ROWS.tree_id: {key: row_of(chance, key)}})


def updates_and_deletes(run: Run, chance: random.Random) -> None:
    run.open(create=True)
    run.create(ROWS)
    for step in range(30):
        changes: dict[Key, Row | None] = {}
        for _ in range(chance.randrange(1, 6)):
            key = chance.randrange(25)
            changes[key] = None if chance.random() < 0.35 else row_of(chance, key)
        run.commit({ROWS.tree_id: changes})
        if step % 12 == 11:
            run.checkpoint()
    run.close()


def across_trees(run: Run, chance: random.Random) -> None:
    """Rows with their index entries, in two trees at once: never one without the other."""
    run.open(create=True)
    run.create(ROWS, NAMES)
    for step in range(25):
        changes: dict[Key, Row | None] = {}
        for _ in range(chance.randrange(1, 8)):
            key = chance.randrange(40)
            changes[key] = None if chance.random() < 0.2 else row_of(chance, key)
        run.commit(with_index(run.states[run.tip][ROWS.tree_id], changes))
        if step in (9, 18):
            run.checkpoint()
    run.close()


def many_checkpoints(run: Run, chance: random.Random) -> None:
    """Trees of two levels, rewritten again and again, so that freed pages are used again."""
    run.open(create=True)
    run.create(ROWS, NAMES)
    for step in range(9):
        changes: dict[Key, Row | None] = {}
        for _ in range(60 if step < 3 else 15):
            key = chance.randrange(200)
            changes[key] = None if chance.random() < 0.2 else row_of(chance, key, 60)
        run.commit(with_index(run.states[run.tip][ROWS.tree_id], changes))
        run.checkpoint()
    run.close()


def trees_come_and_go(run: Run, chance: random.Random) -> None:
    run.open(create=True)
    run.create(ROWS)
    for step in range(12):
        spec = TreeSpec(30 + step, "int", (ColumnSpec(0, "utf8"), ColumnSpec(1, "bool")))
        rows: dict[Key, Row | None] = {
            key: (text_of(chance, 50), bool(key % 2)) for key in range(chance.randrange(30))
        }
        run.commit({TREE_DIRECTORY: {spec.tree_id: encode_tree_spec(spec)}, spec.tree_id: rows})
        alive = [tree_id for tree_id in run.states[run.tip] if tree_id >= 30]
        if len(alive) > 2:
            run.commit(
                {
                    TREE_DIRECTORY: {alive[0]: None},
                    ROWS.tree_id: {step: row_of(chance, step)},
                }
            )
        if step % 4 == 2:
            run.checkpoint()
    run.close()


def long_values(run: Run, chance: random.Random) -> None:
    """Values in overflow pages, replaced by others and by short ones."""
    run.open(create=True)
    run.create(EXTRA)
    for step in range(14):
        key = bytes([65 + chance.randrange(5)])
        size = chance.choice((10, 900, 3000, 9000, 20000))
        run.commit({EXTRA.tree_id: {key: (chance.randbytes(size),)}})
        if step % 4 == 3:
            run.checkpoint()
    run.commit({EXTRA.tree_id: {b"A": None}})
    run.close()


def group_commits(run: Run, chance: random.Random) -> None:
    """Several commits in flight, which one sync covers; mixed with commits of other policies."""
    run.open(create=True)
    run.create(ROWS)
    key = 0
    for _ in range(14):
        waiting = []
        for _ in range(chance.randrange(1, 5)):
            key += 1
            waiting.append(run.commit({ROWS.tree_id: {key: row_of(chance, key)}}, wait=False))
        if chance.random() < 0.3:
            key += 1
            run.commit({ROWS.tree_id: {key: row_of(chance, key)}}, durability="full")
        for commit_ts in chance.sample(waiting, len(waiting)):
            run.wait_durable(commit_ts)
        if chance.random() < 0.15:
            run.checkpoint()
    run.close()


def bulk(run: Run, chance: random.Random) -> None:
    """One transaction of more than a megabyte, logged in chunks, between small ones."""
    run.page_size = 32768
    run.open(create=True)
    run.create(ROWS)
    run.commit({ROWS.tree_id: {0: row_of(chance, 0)}})
    run.commit({ROWS.tree_id: {key: (key, "x" * 36000, key % 7) for key in range(1, 31)}})
    run.commit({ROWS.tree_id: {1: None, 2: row_of(chance, 2)}})
    run.checkpoint()
    run.commit({ROWS.tree_id: dict.fromkeys(range(3, 28))})
    run.close()


def loads(run: Run, chance: random.Random) -> None:
    """Bulk loads, which the log does not hold, between commits and checkpoints that it does."""
    run.open(create=True)
    run.create(ROWS)
    for step in range(5):
        for _ in range(4):
            key = chance.randrange(40)
            run.commit({ROWS.tree_id: {key: row_of(chance, key)}}, durability="os")
        spec = TreeSpec(40 + step, "int", ROWS.columns, key_column=0)
        run.load(spec, [row_of(chance, key) for key in range(chance.randrange(1, 300))])
        run.commit({spec.tree_id: {3: row_of(chance, 3), 5: None}})
        if step == 2:
            run.checkpoint()
        if step == 3:
            run.close()
            run.open()
    run.close()


def lives(run: Run, chance: random.Random) -> None:
    """Opened and closed several times, once without a change."""
    run.open(create=True)
    run.create(ROWS)
    run.close()
    for life in range(5):
        run.open()
        for key in range(life):
            run.commit({ROWS.tree_id: {10 * life + key: row_of(chance, key + 10 * life)}})
        if life == 3:
            run.checkpoint()
        run.close()


def relaxed(run: Run, chance: random.Random) -> None:
    """Commits that wait for nothing: what survives is a prefix, and never less than a checkpoint
    or a durable commit promised."""
    run.open(create=True)
    run.create(ROWS)
    for step in range(40):
        key = chance.randrange(30)
        policy = "full" if step % 13 == 12 else "os"
        run.commit({ROWS.tree_id: {key: row_of(chance, key)}}, durability=policy)
        if step == 25:
            run.checkpoint()
    run.close()


WORKLOADS: tuple[Workload, ...] = (
    inserts,
    updates_and_deletes,
    across_trees,
    many_checkpoints,
    trees_come_and_go,
    long_values,
    group_commits,
    lives,
    relaxed,
    loads,
    bulk,
)
