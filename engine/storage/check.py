"""Prove a whole database file, or say what is wrong with it, as findings.

    meta        both meta pages: sound, or one passed over and why
    directory   every entry readable; its tree checked by check_tree.py (its kinds of finding too)
    free space  the list readable, its count right, no page both free and reachable
    lost page   a page that is neither reachable, nor free, nor part of the free list
    older       the checkpoint before the newest, whole as well: the way back
    log         readable from the newest checkpoint on, joined, not damaged
    index       every row has its entry in every index, every entry has its row, counts agree

Findings come in that order. What damage hides is not reported twice: below an unreadable page
nothing is checked.

Does not: change anything, or know tables, indexes and types: `IndexCheck` brings the functions
that derive an index key from a row. Constraints are the SQL layer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import itemgetter
from typing import Any

import msgspec
from xxhash import xxh3_128_intdigest

from engine.errors import Error, NewerFormat
from engine.storage import page
from engine.storage.btree import Tree
from engine.storage.buffer_pool import BufferPool
from engine.storage.check_tree import Finding, check_tree
from engine.storage.data_file import CLOSED_CLEANLY
from engine.storage.directory import DIRECTORY_PAGES_SPEC, DirectoryEntry, decode_entry
from engine.storage.freespace import read_free_list
from engine.storage.page import Meta
from engine.storage.store import Key, Row, Snapshot
from engine.vfs import File, Vfs
from engine.wal.reader import scan_log


class IndexCheck(msgspec.Struct, frozen=True):
    """How one index follows from its table.

    columns: positions in the table's rows of what is indexed. encode(values of these, table_key):
    the index key a row must have. table_key_of(index_key): the key of the row of an entry."""

    index_id: int
    table_id: int
    columns: tuple[int, ...]
    encode: Callable[[Row, Key], bytes]
    table_key_of: Callable[[Key], Key]

    def entry_of(self, key: Key, row: Row) -> bytes:
        return self.encode(tuple([row[column] for column in self.columns]), key)


def check_file(vfs: Vfs, path: str, file: File) -> Iterator[Finding]:
    """Check the file and its log as they lie on the disk. The caller holds a lock on the file.

    Raises NotADatabase, NewerFormat and DamageFound only when no meta page can be read at all,
    and StorageError when the disk refuses."""
    slots = page.read_metas(file)
    for problem in slots.problems:
        yield Finding("meta", 0, 0, problem)
    pool = BufferPool(file, slots.newest.page_size, io="pread")
    yield from check_checkpoint(pool, slots.newest)
    older = slots.older
    if older is not None and older.directory != slots.newest.directory:
        for finding in check_checkpoint(pool, older, older=True):
            yield msgspec.structs.replace(finding, message=f"older checkpoint: {finding.message}")
    yield from check_log(vfs, path, slots.newest)


def check_checkpoint(pool: BufferPool, meta: Meta, *, older: bool = False) -> Iterator[Finding]:
    """Every page the meta page reaches, and that all pages of the file are accounted for.

    older: only what the way back needs; its free pages may have been used since."""
    if pool.page_limit() < meta.page_count:
        message = f"the file has {pool.page_limit()} pages, the meta page counts {meta.page_count}"
        yield Finding("meta", 0, 0, message)
    reached: set[int] = set()
    sound = True
    for finding in check_tree(pool, DIRECTORY_PAGES_SPEC, meta.directory, reached):
        sound = False
        yield finding
    entries: list[DirectoryEntry] = []
    if sound:
        for key, row in Tree(pool, DIRECTORY_PAGES_SPEC, meta.directory).scan():
            try:
                entries.append(decode_entry(key, row))
            except Error as error:
                sound = False
                yield Finding("directory", 0, meta.directory.page_no, error.message)
    for entry in entries:
        for finding in check_tree(pool, entry.spec, entry.root, reached):
            sound = False
            yield finding
        if entry.spec.tree_id >= meta.next_object_id:
            yield Finding(
                "directory",
                entry.spec.tree_id,
                meta.directory.page_no,
                f"tree {entry.spec.tree_id} has an id that was never given out",
            )
    if not older:
        yield from _check_free_space(pool, meta, reached, complete=sound)


def _check_free_space(
    pool: BufferPool, meta: Meta, reached: set[int], *, complete: bool
) -> Iterator[Finding]:
    """Each page exactly once in reachable, free, free list. complete: `reached` is all of them."""
    try:
        space = read_free_list(
            pool.page, meta.free_page_no, meta.free_checksum, meta.page_count, meta.free_page_count
        )
    except Error as error:
        yield Finding("free space", 0, meta.free_page_no, error.message)
        return
    seen = reached.copy()
    for list_page in space.list_pages:
        if list_page in seen:
            yield Finding("free space", 0, list_page, f"page {list_page} of the list is in use")
        seen.add(list_page)
    for extent in space.extents:
        for page_no in range(extent.first, extent.first + extent.count):
            if page_no in seen:
                yield Finding("free space", 0, page_no, f"page {page_no} is free and in use")
            seen.add(page_no)
        if extent.freed_at > meta.checkpoint_no:
            yield Finding(
                "free space", 0, extent.first, f"freed by checkpoint {extent.freed_at}, to come"
            )
    if complete:
        for page_no in range(page.FIRST_PAGE_NO, meta.page_count):
            if page_no not in seen:
                yield Finding("lost page", 0, page_no, f"page {page_no} is neither used nor free")


def check_log(vfs: Vfs, path: str, meta: Meta) -> Iterator[Finding]:
    """The log from the checkpoint on."""
    vouched_lsn = 0 if meta.optional_features & CLOSED_CLEANLY else meta.ckpt_lsn + 1
    try:
        scan = scan_log(vfs, path, meta.uuid, meta.ckpt_lsn + 1, vouched_lsn=vouched_lsn)
        for _ in scan:
            pass
    except NewerFormat:
        raise
    except Error as error:
        yield Finding("log", 0, 0, error.message)
        return
    if scan.end is not None and scan.end.kind == "damage":
        yield Finding("log", 0, 0, scan.end.error().message)


def check_indexes(snapshot: Snapshot, indexes: Iterable[IndexCheck]) -> Iterator[Finding]:
    """Index against table, both ways.

    First the entries that the rows must have and those that are there are counted and their hashes
    summed: equal sums of 128 bits are equal sets. Only where they differ each is looked up."""
    for check in indexes:
        rows = snapshot.scan(check.table_id, columns=check.columns)
        encode = check.encode
        expected = _digest(encode(values, key) for key, values in rows)
        found = _digest(map(itemgetter(0), snapshot.scan(check.index_id)))
        if expected != found or snapshot.count(check.index_id) != found[0]:
            yield from _compare(snapshot, check)


def _digest(entries: Iterable[Any]) -> tuple[int, int]:
    """(number, sum of hashes) of entries in any order."""
    count = total = 0
    remaining = iter(entries)
    while chunk := list(islice(remaining, 256)):
        count += len(chunk)
        total += sum(map(xxh3_128_intdigest, chunk))
    return count, total


def _compare(snapshot: Snapshot, check: IndexCheck) -> Iterator[Finding]:
    """Every row and every entry of an index that is not what it should be."""
    expected = 0
    for key, row in snapshot.scan(check.table_id):
        expected += 1
        if snapshot.get(check.index_id, check.entry_of(key, row)) is None:
            message = f"row {key!r} of tree {check.table_id} has no entry"
            yield Finding("index", check.index_id, 0, message)
    found = 0
    for entry, _ in snapshot.scan(check.index_id):
        found += 1
        try:
            table_key = check.table_key_of(entry)
            row_of_entry = snapshot.get(check.table_id, table_key)
            right = row_of_entry is not None and entry == check.entry_of(table_key, row_of_entry)
        except (Error, ValueError, IndexError) as error:
            yield Finding("index", check.index_id, 0, f"entry {entry!r} is malformed: {error}")
            continue
        if not right:
            message = f"entry {entry!r} belongs to no row of tree {check.table_id}"
            yield Finding("index", check.index_id, 0, message)
    if found != expected:
        message = f"{found} entries for {expected} rows"
        yield Finding("index", check.index_id, 0, message)
    if snapshot.count(check.index_id) != found:
        message = f"counts {snapshot.count(check.index_id)} entries, holds {found}"
        yield Finding("count", check.index_id, 0, message)
