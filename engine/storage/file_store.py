"""The store over one file: memtable generations over page trees, with a log beside them.

    commit    encode → log.append → install → durable as the policy says → publish
    open      newest sound checkpoint → replay the log after it → (first commit: see start)
    start     the replayed tail is checkpointed before the first new commit, because the page
              cache may show log bytes that never reached the disk; then the log gets a NOTE, and
              only then a meta page says that the log is needed
    close     checkpoint, both meta pages say CLOSED_CLEANLY, the log is removed

Invariants
1. Order of commit_ts = order in the log = order of publication. visible_ts moves to a commit
   only when that commit and all before it are as durable as their policies promise.
2. From the return of `log.append` on a commit is finished whatever happens: an exception of a
   signal handler is kept until the commit is installed, durable and published, then raised.
   Before that (and when append raises) nothing happened. Install may be repeated without harm.
3. Checkpoint, start and close run in a thread of their own, where signal handlers never run.
4. After a failed sync or meta page the store is FAILED: reads go on, writes raise EngineFailed.
5. The memtable is a function of (checkpoint, log): replay and commit install the same way.
6. A key or value that a page could not hold is refused before the log sees it.

States: open → FAILED → closed; open → closed. `_fail` and `close` make the transitions.

Does not: lock files or know other processes (engine/database.py), resolve conflicts (engine.txn).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from engine.durability.policy import Policy, parse_policy
from engine.errors import DataError, EngineFailed, Error, InterfaceError, ReadOnly
from engine.storage import page
from engine.storage.buffer_pool import Io
from engine.storage.checkpoint import (
    CheckpointInput,
    has_changes,
    run_unsignalled,
    write_checkpoint,
)
from engine.storage.data_file import DataFile, create_file
from engine.storage.mvcc import MvccStore, StoreState, initial_state
from engine.storage.overflow import VALUE_SIZE_MAX
from engine.storage.store import (
    CATALOG_TREE,
    TREE_DIRECTORY,
    Capabilities,
    Key,
    Row,
    Writes,
)
from engine.storage.memtable import Version
from engine.vfs import File, Vfs
from engine.wal.record import COMMIT, CHUNK_SIZE, encode_msgpack
from engine.wal.recovery import RecoveryReport, recover_log
from engine.wal.writer import LogWriter

MEMTABLE_START_BYTES = 128 << 20
MEMTABLE_LIMIT_BYTES = 384 << 20
OP_BYTES = 320
"""Estimated memory of one installed row beside three times its log bytes (measured: rows of five
small columns take 420 to 520 bytes all told)."""
ROOM_WAIT_S = 0.05


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


class FileStore(MvccStore):
    """See the module header; the seam's words are in store.Store."""

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
        self._checkpoint_lock = threading.RLock()
        self._background: threading.Thread | None = None
        self._started = False
        self._ready = False  # commits need no preparation
        self._waiting_ts = 0  # newest commit that waits for a sync
        self._unsettled: dict[int, tuple[int, Policy]] = {}  # commits made with wait=False
        self._start_bytes = options.memtable_start_bytes
        self.recovery = self._replay(vfs)
        self._log = self._make_log(vfs, self.recovery)

    def _replay(self, vfs: Vfs) -> LogReport:
        meta = self.data.meta
        vouched_lsn = 0 if self.data.closed_cleanly else meta.ckpt_lsn + 1
        report = recover_log(
            vfs,
            self.path,
            meta.uuid,
            meta.ckpt_lsn,
            self._apply,
            vouched_lsn=vouched_lsn,
            readonly=self.options.readonly,
        )
        self.visible_ts = self.last_ts
        return report

    def _apply(self, commit_ts: int, wall_us: int, ops: Iterable[tuple[int, Key, Row | None]]) -> None:
        """Install a replayed commit (Invariant 5)."""
        if commit_ts != self.last_ts + 1:
            raise DamageFound(
                f"the log continues with commit {commit_ts} where {self.last_ts + 1} is due",
                path=self.path,
            )
        active = self.active
        count = 0
        for tree_id, key, row in ops:
            if tree_id <= CATALOG_TREE or tree_id not in active:
                self._apply_whole(commit_ts, ops)
                break
            count += 1
            memtree = active[tree_id]
            if key not in memtree.versions:
                memtree.arrivals.append(key)
            memtree.versions[key] = Version(commit_ts, row, None)  # nobody reads older ones
        self.generation.bytes_used += count * 2 * OP_BYTES
        self.last_ts = commit_ts
        self.last_wall_us = wall_us

    def _apply_whole(
        self, commit_ts: int, ops: Iterable[tuple[int, Key, Row | None]]
    ) -> None:
        writes: dict[int, dict[Key, Row | None]] = {}
        for tree_id, key, row in ops:
            writes.setdefault(tree_id, {})[key] = row
        try:
            self.require_trees(writes)
        except InternalError as error:
            raise DamageFound(f"the log names what is not there: {error.message}") from error
        self.install(commit_ts, writes)

    def _make_log(self, vfs: Vfs, report: LogReport) -> LogWriter:
        options = self.options
        return LogWriter(
            vfs,
            self.path,
            self.data.meta.uuid,
            segment_no=report.next_segment_no,
            next_lsn=report.next_lsn,
            chain=report.chain,
            sealed=report.sealed,
            clock_us=options.clock_us,
            random_bytes=options.random_bytes,
            timer=options.timer,
            policy=self._policy,
            commit_mutex=self.mutex,
            background=options.background,
        )

    # ── committing ───────────────────────────────────────────────────────────────────────────
    def commit(
        self,
        writes: Writes,
        *,
        durability: str | None = None,
        wait: bool = True,
        validate: Callable[[], None] | None = None,
    ) -> int:
        # Measured: every line here is paid by every autocommit statement; a call costs 0.05 µs,
        # so the single-row case is written out. See Invariant 2 for the try.
        if not self._ready:
            self._prepare_commit()
        log = self._log
        policy = self._policy if durability is None else self._find_policy(durability)
        interrupt: BaseException | None = None
        with self.mutex:
            if validate is not None:
                validate()
            active = self.active
            for tree_id in writes:
                if tree_id not in active:
                    self.require_trees(writes)
            commit_ts = self.last_ts + 1
            ops = [
                (tree_id, key, row)
                for tree_id, changes in writes.items()
                for key, row in changes.items()
            ]
            payload = encode_msgpack((commit_ts, self.options.clock_us(), ops))
            if len(payload) > self.capabilities.max_key_size:
                self._require_sizes(writes)
            lsn = log.written_lsn + 1
            try:
                if len(payload) <= CHUNK_SIZE:
                    lsn = log.append(COMMIT, 0, payload)
                else:
                    lsn = log.append_commit(lsn, commit_ts, self.options.clock_us(), ops)
                self._install_one(commit_ts, ops[0]) if len(ops) == 1 else self.install(commit_ts, writes)
            except BaseException as error:
                interrupt = error
                if not log_has(lsn): raise
        return commit_ts
