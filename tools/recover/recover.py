"""Survey and recovery of one database file.

`survey` opens nothing for writing and takes a shared lock; `recover` is what every open for
writing does, with its report: replay, keep torn bytes aside, checkpoint, remove the log.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.catalog import CATALOG_TREE
from engine.database import Database
from engine.errors import DamageFound, DatabaseLocked, Error
from engine.storage.data_file import CLOSED_CLEANLY, DataFile, require_database
from engine.vfs import Vfs
from engine.wal.record import Op
from engine.wal.recovery import RecoveryReport, replay
from engine.wal.segment import list_segments
from tools.recover.report import CLEAN, PENDING, RECOVERED, REFUSED, RecoverReport, TreeChange
from tools.tree_names import TreeNames, read_data_file


class _Counter:
    """Counts what replay would change, by tree."""

    def __init__(self, names: TreeNames) -> None:
        self.names = names
        self.trees: dict[int, TreeChange] = {}

    def apply(self, commit_ts: int, wall_us: int, ops: list[Op]) -> None:
        for op in ops:
            tree_id, _, row = op
            change = self.trees.setdefault(tree_id, TreeChange())
            if row is None:
                change.deletes += 1
            else:
                change.puts += 1
            if tree_id == CATALOG_TREE:
                self.names.learn_op(op)

    def by_name(self) -> dict[str, TreeChange]:
        return {self.names.name(tree_id): self.trees[tree_id] for tree_id in sorted(self.trees)}


def survey(vfs: Vfs, path: str) -> RecoverReport:
    """What recovery would do, without doing any of it.

    Raises MissingFile, NotADatabase, NewerFormat, DatabaseLocked, StorageError; damage is part of
    the report.
    """
    file = vfs.open(path, readonly=True)
    try:
        if not file.lock(exclusive=False):
            raise DatabaseLocked(f'"{path}" is open in another process', path=path)
        require_database(file)
        try:
            data = DataFile(file, io="pread", readonly=True, verify=True)
        except DamageFound as damage:
            return _refused(vfs, path, damage)
        meta = data.meta
        counter = _Counter(TreeNames())
        read_data_file(vfs, path, counter.names)
        clean = bool(meta.optional_features & CLOSED_CLEANLY)
        report = _empty(path, meta.checkpoint_no, meta.ckpt_lsn, data.problems)
        report.segments = [segment.path for segment in list_segments(vfs, path)]
        try:
            found = replay(
                vfs,
                path,
                meta.uuid,
                meta.ckpt_lsn + 1,
                counter.apply,
                mode="point-in-time",
                vouched_lsn=0 if clean else meta.ckpt_lsn + 1,
                keep_torn=False,
            )
        except DamageFound as damage:
            report.outcome, report.error = REFUSED, damage.message
            return report
        _take(report, found, counter)
        if found.lost:
            report.outcome, report.error = REFUSED, found.end.error().message
        elif report.segments or not clean or data.problems:
            report.outcome = PENDING
        return report
    finally:
        file.close()


def recover(vfs: Vfs, path: str, open_database: Callable[[], Database]) -> RecoverReport:
    """Bring the database to a clean single file. `open_database` opens `path` for writing.

    Raises as `survey` does; a damaged database is refused in the report and left as it was.
    """
    report = survey(vfs, path)
    if report.outcome in (CLEAN, REFUSED):
        return report
    database = open_database()
    try:
        store = database.store
        report.problems = list(store.data.problems)
        report.torn_path = store.recovery.torn_path
        database.store.checkpoint()
    finally:
        database.close()
    report.outcome = RECOVERED
    return report


def _empty(path: str, checkpoint_no: int, ckpt_lsn: int, problems: list[str]) -> RecoverReport:
    return RecoverReport(
        path=path,
        outcome=CLEAN,
        checkpoint_no=checkpoint_no,
        ckpt_lsn=ckpt_lsn,
        next_lsn=ckpt_lsn + 1,
        segments=[],
        transactions=0,
        rows=0,
        last_commit_ts=0,
        last_wall_us=None,
        trees={},
        end=None,
        problems=list(problems),
    )


def _refused(vfs: Vfs, path: str, damage: Error) -> RecoverReport:
    report = _empty(path, 0, 0, [])
    report.segments = [segment.path for segment in list_segments(vfs, path)]
    report.outcome, report.error = REFUSED, damage.message
    return report


def _take(report: RecoverReport, found: RecoveryReport, counter: _Counter) -> None:
    report.next_lsn = found.next_lsn
    report.transactions = found.transaction_count
    report.rows = found.row_count
    report.last_commit_ts = found.last_commit_ts
    report.last_wall_us = found.last_wall_us or None
    report.trees = counter.by_name()
    report.end = found.end
