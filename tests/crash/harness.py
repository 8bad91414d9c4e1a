"""A workload on a simulated disk, a model beside it, and the verdict on what a crash left.

The model keeps the state after every commit. A disk image is right when the recovered state is
the state after some commit k with

    acknowledged <= k <= started        (no acknowledged commit lost, none invented)

all of it (no half transaction, no hole, because the model is compared whole), when the recovered
store takes new commits, and when `check_file` finds nothing after it was closed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from engine.errors import CommitOutcomeUnknown, Error, MissingFile
from engine.storage.check import check_file
from engine.storage.file_store import FileStore, open_file_store
from engine.storage.recoverable_store import StoreOptions
from engine.storage.store import (
    TREE_DIRECTORY,
    ColumnSpec,
    Key,
    Row,
    TreeSpec,
    Writes,
    decode_tree_spec,
    encode_tree_spec,
)
from engine.vfs_simulated import SimulatedDisk

PATH = "/data/crash.mantis"
PAGE_SIZE = 4096

ROWS = TreeSpec(
    20,
    "int",
    (ColumnSpec(0, "int64"), ColumnSpec(1, "utf8"), ColumnSpec(2, "int32")),
    key_column=0,
)
NAMES = TreeSpec(21, "bytes", ())
EXTRA = TreeSpec(22, "bytes", (ColumnSpec(0, "binary"),))

State = dict[int, dict[Key, Row]]
"""tree_id → key → row, for user trees only."""


def options(seed: int, durability: str = "group") -> StoreOptions:
    source = random.Random(seed)
    ticks = iter(range(1, 1 << 62))
    return StoreOptions(
        clock_us=lambda: next(ticks),
        timer=lambda: 0.0,
        random_bytes=source.randbytes,
        durability=durability,
        io="pread",
        background=False,
        segment_size=16384,  # so that segments fill up, and are quick to read
    )


class Run:
    """One process life after another on one disk, with the model of what was committed.

    states[ts] is the state after commit ts. acknowledged: newest commit whose durability was
    promised; started: newest commit that may have reached the log.
    """

    def __init__(self, disk: SimulatedDisk, seed: int = 0, durability: str = "group") -> None:
        self.disk = disk
        self.seed = seed
        self.durability = durability
        self.states: dict[int, State] = {0: {}}
        self.acknowledged = 0
        self.started = 0
        self.tip = 0  # the commit the next one builds on
        self.store: FileStore | None = None
        self.page_size = PAGE_SIZE

    def open(self, *, create: bool = False) -> FileStore:
        self.store = open_file_store(
            PATH,
            vfs=self.disk,
            options=options(self.seed, self.durability),
            create_page_size=self.page_size if create else None,
        )
        return self.store

    def create(self, *specs: TreeSpec) -> None:
        self.commit({TREE_DIRECTORY: {spec.tree_id: encode_tree_spec(spec) for spec in specs}})

    def commit(self, writes: Writes, *, wait: bool = True, durability: str | None = None) -> int:
        """Commit, keeping the model right whatever happens."""
        assert self.store is not None
        commit_ts = self.tip + 1
        self.states[commit_ts] = after(self.states[self.tip], writes)
        self.started = max(self.started, commit_ts)
        try:
            assert self.store.commit(writes, wait=wait, durability=durability) == commit_ts
        except CommitOutcomeUnknown:
            raise
        except Error:
            del self.states[commit_ts]  # it says that nothing happened
            self.started = self.tip
            raise
        self.tip = commit_ts
        if wait and (durability or self.durability) in ("full", "group"):
            self.acknowledged = commit_ts
        return commit_ts

    def load(self, spec: TreeSpec, rows: list[Row]) -> int:
        """A new tree from Arrow batches, with one ordinary row beside it: both or neither."""
        import pyarrow as pa

        assert self.store is not None
        columns = [pa.array(values) for values in zip(*rows, strict=True)]
        names = [str(position) for position in range(len(columns))]
        batch = pa.RecordBatch.from_arrays(columns, names=names)
        writes: Writes = {
            TREE_DIRECTORY: {spec.tree_id: encode_tree_spec(spec)},
            ROWS.tree_id: {-spec.tree_id: (-spec.tree_id, "loaded", len(rows))},
        }
        commit_ts = self.tip + 1
        state = after(self.states[self.tip], writes)
        state[spec.tree_id] = {row[0]: row for row in rows}
        self.states[commit_ts] = state
        self.started = commit_ts
        assert self.store.commit_loads(writes, {spec.tree_id: iter([batch])}) == commit_ts
        self.tip = self.acknowledged = commit_ts
        return commit_ts

    def wait_durable(self, commit_ts: int) -> None:
        assert self.store is not None
        self.store.wait_durable(commit_ts)
        self.acknowledged = max(self.acknowledged, commit_ts)

    def checkpoint(self) -> None:
        assert self.store is not None
        self.store.checkpoint()
        self.acknowledged = self.tip  # a checkpoint is durable under every policy

    def close(self) -> None:
        assert self.store is not None
        self.store.close()
        self.acknowledged = self.tip
        self.store = None

    def fork(self, disk: SimulatedDisk) -> Run:
        """The same history, continued on an image of the disk."""
        other = Run(disk, self.seed + 1, self.durability)
        other.states = dict(self.states)
        other.acknowledged, other.started, other.tip = self.acknowledged, self.started, self.tip
        return other


def after(state: State, writes: Writes) -> State:
    """The state after a write set; shares unchanged trees with the one before."""
    result = dict(state)
    for tree_id, row in writes.get(TREE_DIRECTORY, {}).items():
        assert isinstance(tree_id, int)
        if row is None:
            result.pop(tree_id, None)
        else:
            result.setdefault(tree_id, {})
    for tree_id, changes in writes.items():
        if tree_id == TREE_DIRECTORY or tree_id not in result:
            continue
        tree = dict(result[tree_id])
        for key, changed in changes.items():
            if changed is None:
                tree.pop(key, None)
            else:
                tree[key] = changed
        result[tree_id] = tree
    return result


def dump(store: FileStore) -> State:
    """Everything a new snapshot sees; rows by scan, counts and point reads compared on the way."""
    snapshot = store.snapshot()
    state: State = {}
    for tree_id, row in snapshot.scan(TREE_DIRECTORY):
        assert isinstance(tree_id, int)
        assert decode_tree_spec(row).tree_id == tree_id
        rows = dict(snapshot.scan(tree_id))
        assert snapshot.count(tree_id) == len(rows)
        if rows:
            some = next(iter(rows))
            assert snapshot.get(tree_id, some) == rows[some]
        state[tree_id] = rows
    snapshot.close()
    return state


def require_right(run: Run, store: FileStore) -> None:
    """The recovered state is the state after a commit that may be the last."""
    recovered = store.visible_ts
    assert run.acknowledged <= recovered, f"lost commits {recovered + 1} to {run.acknowledged}"
    assert recovered <= run.started, f"commit {recovered} was never made"
    assert dump(store) == run.states[recovered], f"state differs from that after {recovered}"
    run.tip = run.started = run.acknowledged = recovered


def verify_image(run: Run, image: SimulatedDisk, *, life_goes_on: bool = True) -> bool:
    """Recover an image and prove it right; False when the database was not born yet.

    life_goes_on: also commit, close, check the file, and open it once more."""
    heir = run.fork(image)
    try:
        store = heir.open()
    except MissingFile:
        assert run.acknowledged == 0, "the database is gone"
        return False
    require_right(heir, store)
    if life_goes_on:
        go_on(heir)
    return True


def go_on(run: Run) -> None:
    """A recovered store must work: commit, close, check, reopen."""
    if ROWS.tree_id not in run.states[run.tip]:
        if run.tip == 0:
            run.create(ROWS, NAMES, EXTRA)
        else:
            run.create(ROWS)
    run.commit({ROWS.tree_id: {-1: (-1, "after the crash", run.seed)}})
    run.close()
    require_clean(run.disk)
    store = run.open()
    require_right(run, store)
    assert store.recovery.transaction_count == 0
    store.close()


def require_clean(disk: SimulatedDisk) -> None:
    """check_file finds nothing, and nothing but the database and torn bytes is left."""
    file = disk.open(PATH, readonly=True)
    findings = list(check_file(disk, PATH, file))
    file.close()
    assert findings == [], findings
    left = [name for name in disk.list_dir("/data") if "-wal-torn-" not in name]
    left = [name for name in left if not name.endswith("-new")]
    assert left == ["crash.mantis"], left


Workload = Callable[[Run, random.Random], None]


def crash_everywhere(
    workload: Workload, seed: int, images_per_operation: int, *, durability: str = "group"
) -> int:
    """Run the workload once; at every disk operation recover images of a power loss right there.

    Returns the number of images."""
    disk = SimulatedDisk(seed)
    run = Run(disk, seed, durability)
    chance = random.Random(seed)
    count = 0

    def look(index: int, operation: str, path: str) -> None:
        nonlocal count
        for _ in range(images_per_operation):
            image_seed = chance.randrange(1 << 30)
            try:
                verify_image(run, disk.crash_image(image_seed))
            except BaseException as error:
                error.add_note(
                    f"seed {seed}, operation {index} ({operation} {path}), image {image_seed}, "
                    f"acknowledged {run.acknowledged}, started {run.started}"
                )
                raise
            count += 1

    disk.on_operation = look
    workload(run, random.Random(seed))
    return count


def text_of(chance: random.Random, size_max: int) -> str:
    return "".join(chance.choices("abcdefgh ", k=chance.randrange(size_max)))


def row_of(chance: random.Random, key: int, size_max: int = 40) -> Row:
    return (key, text_of(chance, size_max), chance.randrange(1000))


def name_of(row: Row) -> bytes:
    """The index entry of a row, as the SQL layer would derive it."""
    return f"{row[1]}\0{row[0]:012d}".encode()


def with_index(state: Mapping[Key, Row], changes: Mapping[Key, Row | None]) -> Writes:
    """Changes of ROWS with the entries of the index NAMES that follow from them."""
    entries: dict[Key, Row | None] = {}
    for key in changes:
        if key in state:
            entries[name_of(state[key])] = None
    for row in changes.values():
        if row is not None:
            entries[name_of(row)] = ()
    return {ROWS.tree_id: changes, NAMES.tree_id: entries}
