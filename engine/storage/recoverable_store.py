"""A store over one data file and its log: open and recover it, start, checkpoint, load, close.

    open      newest sound checkpoint → replay the log after it → (first commit: see start)
    start     the replayed tail is checkpointed before the first new commit, because the page
              cache may show log bytes that never reached the disk; then the log gets a NOTE, and
              only then a meta page says that the log is needed
    close     checkpoint, both meta pages say CLOSED_CLEANLY, the log is removed

Invariants
1. The memtable is a function of (checkpoint, log): replay and commit install the same way.
2. Checkpoint, start and close run in a thread of their own, where signal handlers never run.
3. After a failed sync or meta page the store is FAILED: reads go on, writes raise EngineFailed.
4. One of checkpoint, load, start and close at a time: `checkpoint_lock`, taken before the commit
   mutex, never after it.

States: open → FAILED → closed; open → closed. `fail` and `close` make the transitions.

Does not: commit (file_store.py), lock files or know other processes (engine/database.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec

from engine.durability.policy import Policy, parse_policy
from engine.errors import (
    CommitOutcomeUnknown,
    DamageFound,
    EngineFailed,
    Error,
    InternalError,
    ReadOnly,
)
from engine.storage import page
from engine.storage.buffer_pool import Io
from engine.storage.bulk_load import build_loads
from engine.storage.checkpoint import (
    CheckpointInput,
    has_changes,
    run_unsignalled,
    write_checkpoint,
)
from engine.storage.data_file import DataFile, require_database
from engine.storage.load_publication import publish_loads
from engine.storage.memtable import Version
from engine.storage.mvcc import MvccStore, initial_state
from engine.storage.overflow import VALUE_SIZE_MAX
from engine.storage.snapshots import CLOSED_STATE
from engine.storage.store import (
    CATALOG_TREE,
    Capabilities,
    Key,
    Loads,
    Row,
    Writes,
)
from engine.storage.table_store import NEVER
from engine.vfs import File, Vfs
from engine.wal.record import Op
from engine.wal.recovery import RecoveryReport, replay
from engine.wal.segment import SEGMENT_SIZE_DEFAULT, list_segments
from engine.wal.writer import LogWriter

MEMTABLE_START_BYTES = 128 << 20
MEMTABLE_LIMIT_BYTES = 384 << 20
OP_BYTES = 320
"""Estimated memory of one installed row beside three times its log bytes (measured: rows of five
small columns take 420 to 520 bytes all told)."""
FINISH_TRIES = 8
MAX_TEXT_SIZE = VALUE_SIZE_MAX // 4  # characters of up to four bytes


class StoreOptions(msgspec.Struct, frozen=True):
    """What a FileStore is told from outside. clock_us: Unix microseconds; timer: seconds."""

    clock_us: Callable[[], int]
    timer: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    durability: str = "group"
    io: Io = "mmap"
    readonly: bool = False
    background: bool = True
    memtable_start_bytes: int = MEMTABLE_START_BYTES
    memtable_limit_bytes: int = MEMTABLE_LIMIT_BYTES
    segment_size: int = SEGMENT_SIZE_DEFAULT


class RecoverableStore(MvccStore):
    """See the module header."""

    def __init__(self, vfs: Vfs, path: str, file: File, options: StoreOptions) -> None:
        """Open the database in `file` (already locked as needed) and replay its log.

        Raises NotADatabase, NewerFormat, DamageFound, StorageError; the caller closes the file.
        """
        require_database(file)
        self.path = path
        self.options = options
        self.failure: EngineFailed | None = None
        self.checkpoint_problem: Error | None = None
        self.last_wall_us = 0
        self.data = DataFile(
            file, io=options.io, readonly=options.readonly, verify=bool(list_segments(vfs, path))
        )
        meta = self.data.meta
        state = initial_state(meta.checkpoint_no, self.data.specs(), self.data.frozen_trees())
        super().__init__(state, meta.last_commit_ts, meta.next_object_id)
        self.capabilities = Capabilities(
            page.max_key_size(meta.page_size), VALUE_SIZE_MAX, True, 0.0
        )
        self._policy = parse_policy(options.durability)
        self._policies: dict[str, Policy] = {}
        self._os_policy = parse_policy("os")
        self.checkpoint_lock = threading.RLock()
        self._started = False
        self.before_unlock: Callable[[], None] | None = None  # called by `close` at its end
        self._ready = False  # commits need no preparation
        self._clock_us = options.clock_us
        self._small_size = self.capabilities.max_key_size  # payloads up to this hold nothing long
        self._waiting_ts = 0  # newest commit that waits for a sync
        self._unsettled: dict[int, tuple[int, Policy]] = {}  # commits made with wait=False
        self._start_bytes = options.memtable_start_bytes
        self.recovery = self._replay(vfs)
        self.log = _make_log(self, vfs, self.recovery)

    def _replay(self, vfs: Vfs) -> RecoveryReport:
        meta = self.data.meta
        vouched_lsn = 0 if self.data.closed_cleanly else meta.ckpt_lsn + 1
        report = replay(
            vfs,
            self.path,
            meta.uuid,
            meta.ckpt_lsn + 1,
            self._apply,
            vouched_lsn=vouched_lsn,
            keep_torn=not self.options.readonly,
        )
        self.visible_ts = self.last_ts
        return report

    def _apply(self, commit_ts: int, wall_us: int, ops: Sequence[Op]) -> None:
        """Install a replayed commit (Invariant 1)."""
        if commit_ts != self.last_ts + 1:
            raise DamageFound(
                f"the log continues with commit {commit_ts} where {self.last_ts + 1} is due",
                path=self.path,
            )
        active = self.active
        count = 0
        for tree_id, key, row in ops:
            if tree_id <= CATALOG_TREE or tree_id not in active:
                _apply_whole(self, commit_ts, ops)
                break
            count += 1
            memtree = active[tree_id]
            if key not in memtree.versions:
                memtree.arrivals.append(key)
            memtree.last_ts = commit_ts
            if row is None:
                memtree.deletes = True
            memtree.versions[key] = Version(commit_ts, row, None)  # nobody reads older ones
        self.generation.bytes_used += count * 2 * OP_BYTES
        self.last_ts = commit_ts
        self.last_wall_us = wall_us

    # ── before a commit ──────────────────────────────────────────────────────────────────────
    def _prepare_commit(self) -> None:
        """Whatever must happen before the next commit: refusal, the start, or room."""
        self._require_writable()
        if not self._started:
            run_unsignalled(self._start)
        generations = self.state.generations
        if sum(g.bytes_used for g in generations) > self.options.memtable_limit_bytes:
            self.checkpoint()  # back-pressure: wait for the one that runs, or run it
        self._ready = True

    def _require_writable(self) -> None:
        self.require_open()
        if self.options.readonly:
            raise ReadOnly("the database is open read-only")
        if self.failure is not None:
            raise EngineFailed(self.failure.message, hint=self.failure.hint)

    def _start(self) -> None:
        """Before the first commit: see `start` in the module header."""
        with self.checkpoint_lock:
            if self._started:
                return
            if self.recovery.transaction_count:
                self._checkpoint(closing=True)
            with self.mutex:
                lsn = self.log.append_note("open")
            self.log.barrier()
            self.guarded_meta(closed_cleanly=False, ckpt_lsn=lsn - 1)
            self._started = True

    def guarded_meta(self, *, closed_cleanly: bool, ckpt_lsn: int) -> None:
        try:
            self.data.repeat_meta(closed_cleanly=closed_cleanly, ckpt_lsn=ckpt_lsn)
        except Error as error:
            failure = EngineFailed(
                f"a meta page could not be written: {error.message}",
                path=self.path,
                operation="write",
                hint="close and reopen the database, and look at the disk",
            )
            self.fail(failure)
            raise failure from error

    def _over_budget(self) -> None:
        """The active generation is large enough to be merged."""
        generations = self.state.generations
        total = sum(g.bytes_used for g in generations)
        if total > self.options.memtable_limit_bytes:
            self._ready = False  # the next commit waits in _prepare_commit
            self._start_bytes = NEVER  # until a checkpoint was tried
            return
        sealed = total - generations[0].bytes_used
        self._start_bytes = self.options.memtable_limit_bytes - sealed
        if self.options.background:
            threading.Thread(
                target=self._background_checkpoint, name="mantis-checkpoint", daemon=True
            ).start()

    def _background_checkpoint(self) -> None:
        try:
            self._checkpoint()
        except Error as error:
            self.checkpoint_problem = error

    # ── checkpoints ──────────────────────────────────────────────────────────────────────────
    def checkpoint(self) -> int:
        self._require_writable()
        return run_unsignalled(self._checkpoint)

    def _checkpoint(self, closing: bool = False) -> int:
        """checkpoint.py's protocol. closing: the log is not needed afterwards."""
        with self.checkpoint_lock:
            if self.failure is not None:
                raise EngineFailed(self.failure.message, hint=self.failure.hint)
            if not has_changes(self.state.generations):
                return self.data.meta.checkpoint_no
            try:
                source = self._seal_quickly(closing)
                self.log.barrier()
                with self.mutex:  # durable now, whatever their policies
                    self.visible_ts = max(self.visible_ts, source.last_ts)
                result = write_checkpoint(self.data, source)
            except (EngineFailed, CommitOutcomeUnknown) as error:
                self.fail(self.log.failed or EngineFailed(error.message, path=self.path))
                raise
            finally:
                self._start_bytes = self.options.memtable_start_bytes
            trees = self.data.frozen_trees()
            with self.mutex:
                self.publish_checkpoint(result.meta.checkpoint_no, source.generations[0], trees)
            self.checkpoint_problem = None
            if self.data.older is not None and not closing:
                self.log.retire(self.data.older.ckpt_lsn + 1)
            return result.meta.checkpoint_no

    def _seal_quickly(self, closing: bool) -> CheckpointInput:
        log = self.log
        if self._started and not closing:
            log.barrier()  # so that the rotation under the mutex has little to sync
        with self.mutex:
            return self.seal_for_checkpoint(closing)

    def seal_for_checkpoint(self, closing: bool) -> CheckpointInput:
        """What a checkpoint will hold. The caller holds the mutex."""
        log = self.log
        sealed = self.seal()
        ckpt_lsn = log.written_lsn
        if self._started and not closing:
            log.rotate()
            # The meta page vouches for this record: a log that is missing later is noticed.
            log.append_note("checkpoint", {"ckpt_lsn": ckpt_lsn})
        state = self.state
        last_ts = sealed.last_ts
        return CheckpointInput(
            last_ts=last_ts,
            ckpt_lsn=ckpt_lsn,
            next_object_id=self.next_id,
            views={
                tree_id: view
                for tree_id, view in state.trees.items()
                if view.created_ts <= last_ts < view.dropped_ts
            },
            generations=state.generations[1:],
            reusable_through=min(self.oldest_pinned_checkpoint(), self._older_checkpoint()),
            closing=closing,
        )

    # ── bulk loads ───────────────────────────────────────────────────────────────────────────
    def commit_loads(
        self,
        writes: Writes,
        loads: Loads,
        *,
        durability: str | None = None,
        validate: Callable[[], None] | None = None,
    ) -> int:
        """Commit `writes` with whole new trees (bulk_load.py); returns the commit_ts. Durable on
        return whatever the policy says. Other commits wait while it is published."""
        self._prepare_commit()
        with self.checkpoint_lock:
            reusable = min(self.oldest_pinned_checkpoint(), self._older_checkpoint())
            loaded = build_loads(self.data, writes, loads, reusable)
            self.log.barrier()
            return run_unsignalled(
                lambda: publish_loads(self, writes, loaded, validate), to_the_end=True
            )

    def _older_checkpoint(self) -> int:
        older = self.data.older
        return self.data.meta.checkpoint_no - 1 if older is None else older.checkpoint_no

    def fail(self, failure: EngineFailed) -> None:
        """open → FAILED."""
        if self.failure is None:
            self.failure = failure
        self._ready = False

    # ── the end ──────────────────────────────────────────────────────────────────────────────
    def close(self) -> None:
        """Checkpoint and leave a single file; where that fails, the log stays and holds all.

        Raises CommitOutcomeUnknown when not even the log could be synced.
        """
        if not self.closed:
            run_unsignalled(self._close, to_the_end=True)

    def _close(self) -> None:
        with self.checkpoint_lock:
            if self.closed:
                return
            self.closed = True
            self._ready = False
            try:
                if self.options.readonly or self.failure is not None:
                    self.log.close(clean=False)
                else:
                    self._close_cleanly()
            finally:
                self.state = CLOSED_STATE
                if self.before_unlock is not None:
                    self.before_unlock()
                self.data.close()

    def _close_cleanly(self) -> None:
        try:
            self._checkpoint(closing=True)
            while not self.data.is_twice_clean:
                self.guarded_meta(closed_cleanly=True, ckpt_lsn=self.log.written_lsn)
        except Error as error:
            self.checkpoint_problem = error
            self.log.close(clean=True)
            return
        self.log.close(clean=True, remove=True)

    def abandon(self) -> None:
        """In the child of a fork: refuse everything, write, sync and unlock nothing."""
        self.closed = True
        self._ready = False
        self.state = CLOSED_STATE
        self.data.file.close()


def _apply_whole(store: RecoverableStore, commit_ts: int, ops: Sequence[Op]) -> None:
    """Install a replayed commit that creates or drops trees, or touches the catalog."""
    writes: dict[int, dict[Key, Row | None]] = {}
    for tree_id, key, row in ops:
        writes.setdefault(tree_id, {})[key] = row
    try:
        store.require_trees(writes)
    except InternalError as error:
        raise DamageFound(f"the log names what is not there: {error.message}") from error
    store.install(commit_ts, writes)


def _make_log(store: RecoverableStore, vfs: Vfs, report: RecoveryReport) -> LogWriter:
    """The log, to go on where replay found its end."""
    options = store.options
    return LogWriter(
        vfs,
        store.path,
        store.data.meta.uuid,
        segment_no=report.next_segment_no,
        next_lsn=report.next_lsn,
        chain=report.chain,
        sealed=report.sealed,
        clock_us=options.clock_us,
        random_bytes=options.random_bytes,
        timer=options.timer,
        segment_size=options.segment_size,
        policy=store._policy,
        commit_mutex=store.mutex,
        background=options.background,
    )
