"""The pool: bounded, verified on first touch, blind to nothing that is written again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from trees import Forest, spec_of

from engine.errors import DamageFound, DiskFull
from engine.storage import buffer_pool
from engine.storage.btree import Tree
from engine.storage.buffer_pool import BufferPool, FilePageSink
from engine.storage.merge import merge_tree
from engine.vfs import OsVfs

ROWS = [(n, (n, f"text {n}")) for n in range(30_000)]
SPEC = spec_of("int64", "utf8")


def test_clock_keeps_what_is_used() -> None:
    forest = Forest(capacity=64)
    tree = forest.build(SPEC, ROWS)
    read = tree.point_reader()
    leaf_count = sum(1 for _ in tree.leaves())
    assert leaf_count > 200
    first = tree.pool.leaf(*_first_leaf(tree))
    for n in range(0, 30_000, 40):
        assert read(5) == (5, "text 5")  # touched all the time
        read(n)
    assert forest.pool.leaf(*_first_leaf(tree)) is first
    assert len(forest.pool.views) <= 64 and forest.pool.evictions > 100


def _first_leaf(tree: Tree) -> tuple[int, int]:
    leaf = next(tree.leaves())[0]
    return leaf.page_no, leaf.checksum


def test_counters_tell_hits_from_misses() -> None:
    forest = Forest()
    tree = forest.build(SPEC, ROWS[:1000])
    pool = forest.pool
    before = (pool.hits, pool.misses)
    assert list(tree.scan()) == ROWS[:1000]
    first = (pool.hits, pool.misses)
    assert list(tree.scan()) == ROWS[:1000]
    pages = first[1] - before[1]
    assert pages > 2 and first[0] == before[0]
    assert (pool.hits, pool.misses) == (first[0] + pages, first[1])


def test_pages_are_verified_once_a_version() -> None:
    forest = Forest(capacity=64)
    tree = forest.build(SPEC, ROWS)
    list(tree.scan())
    verified = forest.pool.verified
    list(tree.scan())  # evicted views are parsed again, not verified again
    assert forest.pool.verified == verified
    changed = forest.merge(tree, [(9, None)])
    assert changed.get(8) == (8, "text 8")
    assert forest.pool.verified > verified


def test_a_page_written_again_is_seen_anew() -> None:
    forest = Forest()
    tree = forest.build(SPEC, ROWS[:50])
    for n in range(20):
        tree = forest.merge(tree, [(3, (3, f"version {n}"))])
        assert tree.get(3) == (3, f"version {n}")
        assert list(tree.scan(3, 4)) == [(3, (3, f"version {n}"))]
    assert forest.space.page_count < 12  # pages were reused on the way


@pytest.mark.parametrize("io", ["mmap", "pread"])
def test_a_tree_is_readable_while_it_is_built(tmp_path: Path, io: str) -> None:
    file = OsVfs().open(str(tmp_path / "db"), create=True)
    pool = BufferPool(file, 4096, io=io)  # type: ignore[arg-type]
    forest = Forest()
    forest.file, forest.pool = file, pool  # type: ignore[assignment]
    tree = forest.build(SPEC, ROWS[:500])
    assert tree.get(499) == (499, "text 499")
    for at in range(500, 30_000, 4000):
        space, sink = forest.begin()
        merged = merge_tree(tree, ROWS[at : at + 4000], space, sink)
        fresh = Tree(pool, SPEC, merged.root)  # nothing is synced or committed yet
        assert list(fresh.scan(at)) == ROWS[at : at + 4000]
        space.free(merged.freed_page_nos)
        space.write_list(sink)
        space.commit()
        tree = fresh
    assert forest.findings(tree) == []
    pool.close()
    file.close()


def test_windows_follow_the_file_and_old_views_live_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer_pool, "WINDOW_SIZE", 1 << 16)  # many windows
    file = OsVfs().open(str(tmp_path / "db"), create=True)
    forest = Forest()
    forest.file, forest.pool = file, BufferPool(file, 4096)  # type: ignore[assignment]
    tree = forest.build(SPEC, ROWS[:300])
    held = list(tree.leaves())
    tree = forest.merge(tree, ROWS[300:])
    assert list(tree.scan()) == ROWS
    assert len(forest.pool._windows) > 5
    forest.pool.close()
    rows = [key for leaf, start, stop in held for key in leaf.key_range(start, stop)]
    assert rows == list(range(300))  # views outlive pool and windows
    file.close()


def test_page_numbers_are_bounded_before_reading() -> None:
    for io in ("mmap", "pread"):
        forest = Forest(io=io)
        tree = forest.build(SPEC, ROWS[:10])
        for page_no in (-1, 0, 1, 10_000, 1 << 60):
            with pytest.raises(DamageFound, match="outside the file"):
                forest.pool.leaf(page_no, tree.root.checksum)


def test_a_leaf_is_no_branch() -> None:
    forest = Forest()
    tree = forest.build(SPEC, ROWS[:3000])
    root, leaf = tree.root, next(tree.leaves())[0]
    with pytest.raises(DamageFound, match="not a leaf"):
        forest.pool.leaf(root.page_no, root.checksum)
    with pytest.raises(DamageFound, match="not a branch"):
        forest.pool.branch(leaf.page_no, leaf.checksum)


def test_a_full_disk_drops_the_build_and_nothing_else() -> None:
    forest = Forest()
    tree = forest.build(SPEC, ROWS[:2000])

    class Full:
        def __getattr__(self, name: str) -> object:
            return getattr(forest.file, name)

        def allocate(self, size: int, *, durable: bool = True) -> None:
            raise DiskFull("no space")

    before = (forest.space.page_count, list(forest.space.extents))
    space, sink = forest.begin()
    sink = FilePageSink(Full(), forest.pool)  # type: ignore[arg-type]
    with pytest.raises(DiskFull):
        merge_tree(tree, ROWS[2000:20_000], space, sink)
    space.rollback()
    assert (forest.space.page_count, forest.space.extents) == before
    assert list(tree.scan()) == ROWS[:2000]
    assert list(forest.merge(tree, ROWS[2000:4000]).scan()) == ROWS[:4000]


def test_readers_in_threads_while_checkpoints_go_on() -> None:
    forest = Forest(capacity=64)
    trees = [forest.build(SPEC, ROWS[:5000])]
    problems: list[BaseException] = []
    stop = threading.Event()

    def reader(seed: int) -> None:
        try:
            read = trees[0].point_reader()
            n = seed
            while not stop.is_set():
                n = (n * 1103515245 + 12345) % 5000
                assert read(n) == ROWS[n][1]
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    tree = trees[0]
    try:
        for checkpoint in range(15):
            # The readers pin the first root, so nothing of it may be reused.
            forest.checkpoint_no += 1
            space = forest.space.begin(forest.checkpoint_no, 1, forest.page_size)
            sink = FilePageSink(forest.file, forest.pool)
            changes = [(n, (n, f"changed {checkpoint}")) for n in range(checkpoint, 5000, 50)]
            merged = merge_tree(tree, changes, space, sink)
            space.free(merged.freed_page_nos)
            space.write_list(sink)
            space.commit()
            tree = Tree(forest.pool, SPEC, merged.root)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []
    assert list(trees[0].scan()) == ROWS[:5000]
