"""The store over one file: memtable generations over page trees, with a log beside them.

    commit    encode → log.append → install → durable as the policy says → publish

Opening, recovery, checkpoints and closing are in recoverable_store.py.

Invariants
1. Order of commit_ts = order in the log = order of publication. visible_ts moves to a commit
   only when that commit and all before it are as durable as their policies promise.
2. From the return of `log.append` on a commit is finished whatever happens: an exception of a
   signal handler is kept until the commit is installed, durable and published, then raised.
   Before that (and when append raises) nothing happened. Install may be repeated without harm.
   What this leaves open: a second handler raising within microseconds of the first, while the
   first is being kept; then the commit is in the log, and visible with the next commit.
3. A key or value that a page could not hold is refused before the log sees it.

Does not: resolve conflicts (engine.txn).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.durability.policy import Policy, parse_policy
from engine.errors import (
    CommitOutcomeUnknown,
    DataError,
    EngineFailed,
    Error,
    InternalError,
)
from engine.storage.data_file import create_file
from engine.storage.leaf_rows import require_columns_fit
from engine.storage.overflow import VALUE_SIZE_MAX
from engine.storage.recoverable_store import OP_BYTES, RecoverableStore, StoreOptions
from engine.storage.store import (
    CATALOG_TREE,
    TREE_DIRECTORY,
    Writes,
    decode_tree_spec,
)
from engine.vfs import Vfs
from engine.wal.record import CHUNK_SIZE, COMMIT, Op, encode_commit_records, encode_msgpack

FINISH_TRIES = 8
MAX_TEXT_SIZE = VALUE_SIZE_MAX // 4  # characters of up to four bytes


class FileStore(RecoverableStore):
    """See the module header; the seam's words are in store.Store."""

    # ── committing ───────────────────────────────────────────────────────────────────────────
    def commit(
        self,
        writes: Writes,
        *,
        durability: str | None = None,
        wait: bool = True,
        validate: Callable[[], None] | None = None,
    ) -> int:
        # Measured: every autocommit statement pays every line; a call of our own costs 0.05 µs.
        if not self._ready:
            self._prepare_commit()
        policy = self._policy if durability is None else self._find_policy(durability)
        log = self.log
        commit_ts = lsn = 0
        installed = False
        try:
            with self.mutex:
                if validate is not None:
                    validate()
                active = self.active
                # No loop with a condition in this frame: see tests/tidy/test_interruption.py.
                if min(writes, default=0) <= CATALOG_TREE or not writes.keys() <= active.keys():
                    self.require_trees(writes)
                commit_ts = self.last_ts + 1
                ops = [(t, key, row) for t, rows in writes.items() for key, row in rows.items()]
                count = len(ops)
                payload = encode_msgpack((commit_ts, self._clock_us(), ops))
                size = len(payload)
                if size > self._small_size:
                    self._require_sizes(writes, size)
                interrupt: BaseException | None = None
                records = self._chunked(commit_ts, ops, size) if size > CHUNK_SIZE else ()
                lsn = log.written_lsn + (len(records) or 1)  # of the COMMIT
                try:
                    if records:
                        self._append_records(records)
                    else:
                        log.append(COMMIT, 0, payload)
                    if count == 1 and ops[0][0] > CATALOG_TREE:
                        tree_id, key, row = ops[0]
                        active[tree_id].put_one(key, row, commit_ts, self)
                    else:
                        self.install(commit_ts, writes)
                except BaseException as error:
                    interrupt = self._finish_install(error, lsn, commit_ts, writes)
                # No call up to the end of the block, so no signal handler runs in between.
                generation = self.generation
                generation.bytes_used = used = generation.bytes_used + 3 * size + OP_BYTES * count
                self.last_ts = commit_ts
                if policy.waits:
                    self._waiting_ts = commit_ts
                elif self._waiting_ts <= self.visible_ts:
                    self.visible_ts = commit_ts  # Invariant 1: nothing before it waits
                installed = True
            if used > self._start_bytes:
                self._over_budget()
            if (
                policy is not self._os_policy
                or self.visible_ts < commit_ts
                or interrupt is not None
            ):
                if wait or interrupt is not None:
                    self._settle(commit_ts, lsn, policy, interrupt)
                else:
                    self._unsettled[commit_ts] = (lsn, policy)
        except BaseException as error:
            if installed and not isinstance(error, Error) and self.visible_ts < commit_ts:
                self._settle(commit_ts, lsn, policy, error)  # Invariant 2
            raise
        return commit_ts

    def _finish_install(
        self, error: BaseException, lsn: int, commit_ts: int, writes: Writes
    ) -> BaseException:
        """Something was raised between the append and the end of the installation: when the
        record is in the log, install it (Invariant 2); else raise, nothing happened."""
        if self.log.written_lsn < lsn or isinstance(error, Error):
            if self.log.failed is not None:
                self.fail(self.log.failed)
            raise error
        for _ in range(FINISH_TRIES):
            try:
                self.reinstall(commit_ts, writes)
                return error
            except BaseException as again:
                error = again
        self.fail(EngineFailed(f"a logged commit could not be installed: {error!r}"))
        raise CommitOutcomeUnknown(
            "the commit is in the log but not in memory",
            hint="reopen the database and look whether the transaction is there",
        ) from error

    def _chunked(
        self, commit_ts: int, ops: Sequence[Op], size: int
    ) -> Sequence[tuple[int, int, bytes]]:
        return list(encode_commit_records(commit_ts, self._clock_us(), ops, size))

    def _append_records(self, records: Sequence[tuple[int, int, bytes]]) -> None:
        """Log a large transaction. Chunks that were written before an error have no COMMIT, so
        they count for nothing; their txn_id, the LSN of the first, is never used again."""
        txn_id = self.log.written_lsn + 1
        for record_type, flags, payload in records:
            self.log.append(record_type, txn_id, payload, flags)

    def _settle(
        self, commit_ts: int, lsn: int, policy: Policy, interrupt: BaseException | None = None
    ) -> None:
        """Make the commit as durable as its policy says, then publish it and all before it."""
        log = self.log
        settled = False
        for _ in range(FINISH_TRIES):
            try:
                if not settled:
                    policy.settle(log, lsn)
                    if self.visible_ts < commit_ts and log.durable_lsn < lsn:
                        log.sync_shared(lsn)  # behind a commit that waits for its sync
                    settled = True
                with self.mutex:
                    if self.visible_ts < commit_ts:
                        self.visible_ts = commit_ts
                break
            except Error:
                if log.failed is not None:
                    self.fail(log.failed)
                raise
            except BaseException as error:  # a signal handler's; GroupSync ended its wait first
                interrupt = error
                settled = settled or log.durable_lsn >= lsn
        if interrupt is not None:
            raise interrupt

    def wait_durable(self, commit_ts: int) -> None:
        waiting = self._unsettled.pop(commit_ts, None)
        if waiting is not None:
            self._settle(commit_ts, *waiting)
        elif self.visible_ts < commit_ts:
            raise InternalError(f"commit {commit_ts} is not waiting")

    def _find_policy(self, name: str) -> Policy:
        policy = self._policies.get(name)
        if policy is None:
            policy = self._policies[name] = parse_policy(name)
        return policy

    def _require_sizes(self, writes: Writes, size: int) -> None:
        """Refuse what a page cannot keep. size: of all writes, encoded, in bytes."""
        longest = self.capabilities.max_key_size
        for tree_id, changes in writes.items():
            if tree_id == TREE_DIRECTORY:
                for row in changes.values():
                    if row is not None:
                        require_columns_fit(decode_tree_spec(row), self.data.meta.page_size)
            elif changes and isinstance(next(iter(changes)), bytes):
                key_size = max([len(key) for key in changes if isinstance(key, bytes)])
                if key_size > longest:
                    raise DataError(
                        f"a key of {key_size} bytes is longer than the {longest} that a page of "
                        f"{self.data.meta.page_size} bytes takes",
                        sqlstate="54000",
                        hint="index a shorter expression, or create the database with larger pages",
                    )
            if size > MAX_TEXT_SIZE:  # else no value can be longer
                for row in filter(None, changes.values()):  # entries of an index are empty rows
                    for value in row:
                        if isinstance(value, (str, bytes)) and len(value) > MAX_TEXT_SIZE:
                            raise DataError(
                                f"a value of {len(value)} characters is too long", sqlstate="54000"
                            )


def open_file_store(
    path: str, *, vfs: Vfs, options: StoreOptions, create_page_size: int | None = None
) -> FileStore:
    """Open (or, with create_page_size, first make) a database file without any locking: for
    tests and tools that hold it alone."""
    if create_page_size is not None:
        create_file(
            vfs,
            path,
            page_size=create_page_size,
            uuid=options.random_bytes(16),
            created_us=options.clock_us(),
            temporary_path=f"{path}-new",
        )
    file = vfs.open(path, readonly=options.readonly)
    try:
        return FileStore(vfs, path, file, options)
    except BaseException:
        file.close()
        raise
