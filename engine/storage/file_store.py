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
