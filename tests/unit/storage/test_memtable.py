"""Version chains, cuts, and the ordered view that is built late."""

from __future__ import annotations

import random

import pytest

from engine.storage.memtable import INSORT_KEYS_MAX, MemTree, Version


def chain_of(memtree: MemTree, key: int) -> list[int]:
    found = []
    version = memtree.versions.get(key)
    while version is not None:
        found.append(version.commit_ts)
        version = version.prev
    return found


def test_the_newest_visible_version_is_found() -> None:
    memtree = MemTree()
    for commit_ts in (3, 5, 9):
        memtree.put(1, (commit_ts,) if commit_ts != 5 else None, commit_ts, 0)
    assert memtree.visible(1, 2) is None
    assert memtree.visible(1, 4) == Version(3, (3,), None)
    tombstone = memtree.visible(1, 5)
    assert tombstone is not None and tombstone.row is None
    newest = memtree.visible(1, 100)
    assert newest is not None and newest.row == (9,)
    assert memtree.visible(2, 100) is None


def test_versions_nobody_can_see_are_cut() -> None:
    memtree = MemTree()
    for commit_ts in range(1, 6):
        memtree.put(1, (commit_ts,), commit_ts, horizon=2)
    # 2 is visible to the oldest reader, so 1 may go; 2 to 5 may not
    assert chain_of(memtree, 1) == [5, 4, 3, 2]
    held = memtree.versions[1]
    memtree.put(1, (6,), 6, horizon=5)
    assert chain_of(memtree, 1) == [6, 5]
    assert held.prev is not None, "a reader's chain was cut under it"
    memtree.put_one(1, (7,), 7, Horizon(6))
    assert chain_of(memtree, 1) == [7, 6]


class Horizon:
    def __init__(self, oldest: int) -> None:
        self.oldest = oldest

    def oldest_snapshot_ts(self) -> int:
        return self.oldest


def test_installing_twice_changes_nothing() -> None:
    memtree = MemTree()
    for _ in range(3):
        memtree.put(1, ("a",), 4, 0)
    assert chain_of(memtree, 1) == [4]
    assert memtree.arrivals == [1]


def test_a_half_installed_put_is_taken_back() -> None:
    memtree = MemTree()
    memtree.put(1, ("a",), 1, 0)
    memtree.arrivals += [7, 5]  # what an interruption before `versions` leaves
    assert list(memtree.keys_between(None, None, False)) == [1, 5, 7]
    memtree.undo_half_put()
    assert memtree.arrivals == [1]
    memtree.put_new({7: ("b",), 5: ("c",)}, 2)
    assert list(memtree.keys_between(None, None, False)) == [1, 5, 7]
    memtree.put(9, ("d",), 3, 0)
    assert memtree.sorted_keys() == [1, 5, 7, 9]


@pytest.mark.parametrize("batch", [1, INSORT_KEYS_MAX, INSORT_KEYS_MAX * 4])
def test_the_ordered_view_follows_arrivals(batch: int, seed: int) -> None:
    chance = random.Random(seed)
    memtree = MemTree()
    model: set[int] = set()
    for commit_ts in range(30):
        for _ in range(batch):
            key = chance.randrange(100_000)
            memtree.put(key, (), commit_ts, 0)
            model.add(key)
        lo, hi = sorted(chance.sample(range(100_000), 2))
        expected = sorted(key for key in model if lo <= key < hi)
        assert list(memtree.keys_between(lo, hi, False)) == expected
        assert list(memtree.keys_between(lo, hi, True)) == expected[::-1]
        assert memtree.has_keys_between(lo, hi) == bool(expected)
        assert memtree.last_key() == max(model)
    assert memtree.sorted_keys() == sorted(model)


def test_appended_keys_are_not_sorted_again() -> None:
    memtree = MemTree()
    for start in range(0, 1000, 100):
        memtree.put_new(dict.fromkeys(range(start, start + 100), ()), start + 1)
        assert memtree.last_key() == start + 99
    assert memtree.order == list(range(1000))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_range_stays_in_order_while_keys_arrive(reverse: bool) -> None:
    memtree = MemTree()
    memtree.put_new(dict.fromkeys(range(0, 20_000, 2), ()), 1)
    seen = []
    for key in memtree.keys_between(None, None, reverse):
        seen.append(key)
        if len(seen) % 500 == 0:
            memtree.put(len(seen) * 2 + 1, (), 2, 0)
            list(memtree.keys_between(0, 5, False))  # catches up in the middle
    assert seen == sorted(seen, reverse=reverse)
    assert set(range(0, 20_000, 2)) <= set(seen)
    assert len(seen) == len(set(seen))
