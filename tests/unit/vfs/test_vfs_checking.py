"""The checking Vfs raises at the first broken rule, and stays silent while they are kept."""

from __future__ import annotations

import pytest
from wal_logs import commit_payload, open_log

from engine.vfs_checking import CheckingVfs, Hooks
from engine.vfs_memory import MemoryVfs
from engine.wal.record import COMMIT, HEADER_SIZE, RECORD_MAGIC_BYTES, decode_header


def last_lsn(path: str, offset: int, data: bytes) -> int:
    """The LSN of the record that a write to a segment holds."""
    head = decode_header(data) if data[:2] == RECORD_MAGIC_BYTES else None
    return head.lsn if head is not None and len(data) > HEADER_SIZE else 0


def checking() -> CheckingVfs:
    hooks = Hooks()
    hooks.meta_size = lambda path: 200 if path.endswith("db") else 0
    hooks.page_is_live = lambda path, offset, size: path.endswith("db") and offset // 100 == 5
    hooks.segment_is_needed = lambda path: path.endswith("-wal-00000002")
    hooks.last_lsn = last_lsn
    return CheckingVfs(MemoryVfs(), hooks)


def test_a_live_page_is_not_written() -> None:
    vfs = checking()
    file = vfs.open("/d/db", create=True)
    file.write(400, b"x" * 100)
    with pytest.raises(AssertionError, match="live bytes 500"):
        file.write(500, b"x")
    assert len(vfs.violations) == 1


def test_meta_is_written_only_over_synced_pages() -> None:
    vfs = checking()
    file = vfs.open("/d/db", create=True)
    file.write(300, b"page")
    with pytest.raises(AssertionError, match="meta page"):
        file.write(0, b"meta")
    file.sync()
    file.write(0, b"meta")
    assert len(vfs.violations) == 1


def test_a_needed_segment_is_not_removed() -> None:
    vfs = checking()
    for number in (1, 2):
        vfs.open(f"/d/db-wal-0000000{number}", create=True)
    vfs.remove("/d/db-wal-00000001")
    with pytest.raises(AssertionError, match="removed"):
        vfs.remove("/d/db-wal-00000002")


def test_a_commit_is_acknowledged_only_after_its_sync() -> None:
    vfs = checking()
    log = open_log(vfs)
    first = log.append(COMMIT, 0, commit_payload(1))
    with pytest.raises(AssertionError, match="acknowledged"):
        vfs.acknowledge(first)
    log.make_durable(first)
    vfs.acknowledge(first)
    second = log.append(COMMIT, 0, commit_payload(2))
    with pytest.raises(AssertionError):
        vfs.acknowledge(second)
    log.make_durable(second)
    vfs.acknowledge(second)
    log.rotate()
    third = log.append(COMMIT, 0, commit_payload(3))
    with pytest.raises(AssertionError):
        vfs.acknowledge(third)
    log.make_durable(third)
    vfs.acknowledge(third)


def test_a_synced_record_in_a_segment_whose_name_is_not_synced_is_not_durable() -> None:
    vfs = checking()
    file = vfs.open("/d/db-wal-00000001", create=True)
    log = open_log(MemoryVfs())
    log.append(COMMIT, 0, commit_payload(1))
    raw = log._file.read(4096, 80)  # type: ignore[union-attr]
    file.write(4096, raw)
    file.sync()
    with pytest.raises(AssertionError):
        vfs.acknowledge(1)
    vfs.sync_dir("/d")
    vfs.acknowledge(1)
