"""Bytes rot after they were written: every answer afterwards is right, or an error that says so.

Databases are made on a MemoryVfs, damaged there by surgery, opened and read whole. The bar: 0
silent wrong answers, 0 crashes; what lies under a checksum is named by `check`; either meta page
may be lost; a damaged newest checkpoint is replaced by the older one and the log.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from engine.errors import DamageFound, Error, NotADatabase
from engine.storage import page
from engine.storage.btree import Tree
from engine.storage.buffer_pool import BufferPool
from engine.storage.check import check_file
from engine.storage.data_file import tree_pages
from engine.storage.directory import DIRECTORY_PAGES_SPEC, decode_entry
from engine.vfs_memory import MemoryVfs
from engine.wal.segment import HEADER_BLOCK_SIZE, list_segments
from tests.crash.harness import (
    EXTRA,
    NAMES,
    PAGE_SIZE,
    PATH,
    ROWS,
    Run,
    State,
    dump,
    row_of,
    with_index,
)

FLIPS = 400


def build(*, close: bool, tail: int = 12, seed: int = 0) -> Run:
    """Three trees over several checkpoints, long values, freed pages; with close=False the
    process stops without closing, `tail` commits after its last checkpoint."""
    chance = random.Random(4)
    run = Run(MemoryVfs(), seed)  # type: ignore[arg-type]
    run.open(create=True)
    run.create(ROWS, NAMES, EXTRA)
    for _ in range(4):
        changes = {key: row_of(chance, key, 60) for key in chance.sample(range(400), 120)}
        run.commit(with_index(run.states[run.tip][20], changes))
        run.commit({22: {bytes([65 + chance.randrange(4)]): (chance.randbytes(9000),)}})
        run.checkpoint()
    for _ in range(tail):
        key = chance.randrange(400)
        run.commit(with_index(run.states[run.tip][20], {key: row_of(chance, key)}))
    if close:
        run.close()
    return run


def contents(run: Run) -> dict[str, bytes]:
    disk = run.disk
    found = {}
    for name in disk.list_dir("/data"):
        file = disk.open(f"/data/{name}", readonly=True)
        found[f"/data/{name}"] = file.read(0, file.size())
        file.close()
    return found


def disk_with(files: dict[str, bytes]) -> MemoryVfs:
    disk = MemoryVfs()
    for path, data in files.items():
        file = disk.open(path, create=True)
        file.write(0, data)
        file.sync()
        file.close()
    return disk


def answer(run: Run, files: dict[str, bytes]) -> tuple[int, State] | Error:
    """(commit recovered, everything the database says), or the error it gives."""
    reader = Run(disk_with(files), 1)  # type: ignore[arg-type]
    try:
        store = reader.open()
        return store.visible_ts, dump(store)
    except Error as error:
        return error


def findings_of(files: dict[str, bytes]) -> list[str]:
    disk = disk_with(files)
    file = disk.open(PATH, readonly=True)
    try:
        return [finding.kind for finding in check_file(disk, PATH, file)]
    except Error as error:
        return [type(error).__name__]


def flip(
    data: bytes, chance: random.Random, lo: int = 0, hi: int | None = None
) -> tuple[bytes, int]:
    at = chance.randrange(lo, len(data) if hi is None else hi)
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :], at


def live_pages(data: bytes) -> set[int]:
    disk = disk_with({PATH: data})
    file = disk.open(PATH, readonly=True)
    pool = BufferPool(file, PAGE_SIZE, io="pread")
    newest = page.read_metas(file).newest
    reached = set(tree_pages(pool, newest.directory))
    for key, row in Tree(pool, DIRECTORY_PAGES_SPEC, newest.directory).scan():
        reached |= set(tree_pages(pool, decode_entry(key, row).root))
    return reached


CLOSED = build(close=True)
CLOSED_FILES = contents(CLOSED)
STOPPED = build(close=False)
STOPPED_FILES = contents(STOPPED)


def test_the_samples_are_sound() -> None:
    assert set(CLOSED_FILES) == {PATH}
    assert any("-wal-" in path for path in STOPPED_FILES)
    for run, files in ((CLOSED, CLOSED_FILES), (STOPPED, STOPPED_FILES)):
        assert answer(run, files) == (run.tip, run.states[run.tip])
        assert findings_of(files) == []
    assert len(live_pages(CLOSED_FILES[PATH])) > 20


def test_flipped_bits_of_a_closed_file(seed: int) -> None:
    """SQLite answers 47 % of such flips wrongly in silence; here none is."""
    chance = random.Random(seed)
    whole = CLOSED_FILES[PATH]
    live = live_pages(whole)
    right = refused = 0
    for _ in range(FLIPS):
        damaged, at = flip(whole, chance)
        files = {PATH: damaged}
        found = answer(CLOSED, files)
        if isinstance(found, Error):
            assert isinstance(found, (DamageFound, NotADatabase)), found
            refused += 1
        else:
            assert found == (CLOSED.tip, CLOSED.states[CLOSED.tip]), f"silently wrong, byte {at}"
            right += 1
        if at // PAGE_SIZE in live:
            assert findings_of(files), f"check does not name the flip at byte {at}"
    assert refused > 50 and right > 0


def zeroed(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(2, len(data) // PAGE_SIZE) * PAGE_SIZE
    return data[:at] + bytes(PAGE_SIZE) + data[at + PAGE_SIZE :]


def swapped(data: bytes, chance: random.Random) -> bytes:
    pages = [data[at : at + PAGE_SIZE] for at in range(0, len(data), PAGE_SIZE)]
    one, two = chance.sample(range(2, len(pages)), 2)
    pages[one], pages[two] = pages[two], pages[one]
    return b"".join(pages)


def doubled(data: bytes, chance: random.Random) -> bytes:
    pages = [data[at : at + PAGE_SIZE] for at in range(0, len(data), PAGE_SIZE)]
    one, two = chance.sample(range(2, len(pages)), 2)
    pages[one] = pages[two]
    return b"".join(pages)


def truncated(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(1, len(data))]


def scribbled(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) - 700)
    return data[:at] + chance.randbytes(chance.randrange(1, 700)) + data[at + 700 :]


@pytest.mark.parametrize(
    "damage", [zeroed, swapped, doubled, truncated, scribbled], ids=lambda f: f.__name__
)
def test_damaged_pages_are_never_believed(
    damage: Callable[[bytes, random.Random], bytes], seed: int
) -> None:
    chance = random.Random(seed)
    outcomes = set()
    for _ in range(60):
        files = {PATH: damage(CLOSED_FILES[PATH], chance)}
        found = answer(CLOSED, files)
        if not isinstance(found, Error):
            assert found == (CLOSED.tip, CLOSED.states[CLOSED.tip])
        outcomes.add(type(found).__name__)
        findings_of(files)  # must not crash
    assert "DamageFound" in outcomes


def test_a_stale_page_at_its_own_address_is_seen() -> None:
    """The older version of a page is sound by itself; only its parent knows better."""
    older = build(close=False, tail=0)
    before = contents(older)[PATH]
    assert older.store is not None
    live_before = live_pages(before)
    changes = {key: row_of(random.Random(1), key) for key in range(0, 400, 5)}
    older.commit({20: changes})
    older.checkpoint()
    older.commit({20: {1: row_of(random.Random(2), 1)}})
    older.checkpoint()
    older.commit({20: {1: row_of(random.Random(3), 1)}})
    older.close()
    after = contents(older)[PATH]
    seen = 0
    for number in sorted(live_pages(after) & live_before):
        at = number * PAGE_SIZE
        stale = before[at : at + PAGE_SIZE]
        if stale == after[at : at + PAGE_SIZE]:
            continue
        files = {PATH: after[:at] + stale + after[at + PAGE_SIZE :]}
        assert isinstance(answer(older, files), DamageFound)
        assert "stale" in findings_of(files)
        seen += 1
    assert seen > 0


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("run", ["closed", "stopped"])
def test_either_meta_page_may_be_lost(slot: int, run: str) -> None:
    sample, files = (CLOSED, CLOSED_FILES) if run == "closed" else (STOPPED, STOPPED_FILES)
    at = slot * PAGE_SIZE
    for lost in (bytes(512), random.Random(1).randbytes(512)):
        data = files[PATH][:at] + lost + files[PATH][at + 512 :]
        found = answer(sample, files | {PATH: data})
        assert found == (sample.tip, sample.states[sample.tip])
        assert "meta" in findings_of(files | {PATH: data})


def test_both_meta_pages_lost_is_refused() -> None:
    data = bytes(512) + CLOSED_FILES[PATH][512:PAGE_SIZE] + bytes(512)
    found = answer(CLOSED, {PATH: data + CLOSED_FILES[PATH][PAGE_SIZE + 512 :]})
    assert isinstance(found, (NotADatabase, DamageFound))


def test_a_damaged_newest_checkpoint_is_replaced_by_the_older_and_the_log() -> None:
    """Each page that the newest checkpoint wrote is damaged in turn: nothing is lost."""
    whole = STOPPED_FILES[PATH]
    disk = disk_with({PATH: whole})
    slots = page.read_metas(disk.open(PATH, readonly=True))
    newest = slots.newest.checkpoint_no
    tried = 0
    for number in range(2, len(whole) // PAGE_SIZE):
        at = number * PAGE_SIZE
        raw = whole[at : at + PAGE_SIZE]
        try:
            header = page.decode_header(raw, number)
        except DamageFound:
            continue
        if header.checkpoint_no != newest or header.page_type == page.OVERFLOW:
            continue
        damaged = whole[:at] + bytes(PAGE_SIZE) + whole[at + PAGE_SIZE :]
        files = STOPPED_FILES | {PATH: damaged}
        assert answer(STOPPED, files) == (STOPPED.tip, STOPPED.states[STOPPED.tip])
        heir = STOPPED.fork(disk_with(files))  # type: ignore[arg-type]
        store = heir.open()
        assert store.data.problems
        heir.commit({20: {1: (1, "goes on", 1)}})
        heir.close()
        store = heir.open()
        assert dump(store) == heir.states[heir.tip]
        store.close()
        assert findings_of(contents(heir)) == []
        tried += 1
    assert tried > 5


def test_flipped_bits_of_the_log(seed: int) -> None:
    """Only the very last record, which nothing vouches for yet, may go as a torn tail."""
    chance = random.Random(seed)
    last = max(path for path in STOPPED_FILES if "-wal-" in path)
    data = STOPPED_FILES[last]
    used = len(data.rstrip(b"\0"))
    torn = refused = 0
    for _ in range(FLIPS):
        damaged, at = flip(data, chance, HEADER_BLOCK_SIZE, used)
        found = answer(STOPPED, STOPPED_FILES | {last: damaged})
        if isinstance(found, Error):
            assert isinstance(found, DamageFound), found
            refused += 1
            continue
        commit_ts, state = found
        assert state == STOPPED.states[commit_ts]
        assert commit_ts >= STOPPED.tip - 1, f"byte {at}: {STOPPED.tip - commit_ts} commits gone"
        torn += commit_ts < STOPPED.tip
    assert refused > 100


def test_a_missing_or_foreign_log_is_refused() -> None:
    only = {PATH: STOPPED_FILES[PATH]}
    assert isinstance(answer(STOPPED, only), DamageFound)
    names = [segment.path for segment in list_segments(disk_with(STOPPED_FILES), PATH)]
    foreign = contents(build(close=False, tail=3, seed=99))
    theirs = foreign[max(name for name in foreign if "-wal-" in name)]
    assert isinstance(answer(STOPPED, STOPPED_FILES | {names[-1]: theirs}), DamageFound)
    for name in names:
        without = {path: data for path, data in STOPPED_FILES.items() if path != name}
        found = answer(STOPPED, without)
        # The segment before the newest checkpoint is kept for the way back only.
        if name == names[-1]:
            assert isinstance(found, DamageFound)
        else:
            assert isinstance(found, Error) or found == (STOPPED.tip, STOPPED.states[STOPPED.tip])
