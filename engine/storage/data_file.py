"""The data file as one checkpoint left it: meta pages, directory, free list, buffer pool.

At creation the file is two sound meta pages of an empty database. Later only checkpoint.py (and
bulk_load.py) write pages, and `write_meta` here the meta pages.

    meta N   ──► directory ──► every tree's root          meta N-1 ──► the same, one checkpoint ago
             └─► free list

Optional feature bit 0 of a meta page (CLOSED_CLEANLY) says that the trees hold everything: no log
is needed. A meta page without it is believed only together with its log: record ckpt_lsn + 1
(a NOTE) was durable before that meta page was written, so a log without it is damaged.

Invariants
1. The newest meta page whose directory, free list and checked pages verify is opened. When the
   newest is damaged, the older one is, and the log is replayed from there.
2. The next checkpoint_no is above every number seen and goes to the slot that the opened meta
   page does not use, so the opened checkpoint is never the one overwritten.
3. A new file gets its name only when its bytes are durable.
4. Pages of the opened checkpoint and of the one before are not written (freespace.py).

Does not: replay logs, lock files, decide when to checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from engine.errors import CannotOpen, DamageFound, Error, NotADatabase
from engine.storage import page
from engine.storage.btree import Tree
from engine.storage.buffer_pool import BufferPool, Io
from engine.storage.directory import (
    DIRECTORY_PAGES_SPEC,
    DirectoryEntry,
    decode_entry,
    frozen_tree_directory,
)
from engine.storage.freespace import FreeSpace, read_free_list
from engine.storage.mvcc import SYSTEM_SPECS
from engine.storage.overflow import REFERENCE, run_page_count
from engine.storage.page import EMPTY_ROOT, META_SIZE, Meta, TreeRoot
from engine.storage.store import CATALOG_SPEC, FIRST_USER_ID, TREE_DIRECTORY, TreeSpec
from engine.storage.table_store import EMPTY_TREE, FrozenTree
from engine.vfs import File, Vfs, directory_of

CLOSED_CLEANLY = 1
VERIFY_PAGES_MAX = 4096
"""Pages checked before a checkpoint is trusted after a crash: the top of every tree first."""


class DataFile:
    """One open data file at one checkpoint."""

    __slots__ = (
        "entries",
        "file",
        "meta",
        "next_checkpoint_no",
        "older",
        "pool",
        "problems",
        "readonly",
        "space",
    )

    def __init__(self, file: File, *, io: Io, readonly: bool, verify: bool) -> None:
        """Read the file. verify: check pages before trusting the newest checkpoint (a crash may
        have been in the way). Raises NotADatabase, NewerFormat, DamageFound, StorageError."""
        slots = page.read_metas(file)
        self.file = file
        self.readonly = readonly
        self.problems: list[str] = list(slots.problems)
        self.pool = BufferPool(file, slots.newest.page_size, io=io)
        self.older: Meta | None = None
        self.entries: dict[int, DirectoryEntry] = {}
        try:
            self._load(slots.newest, verify)
            self.older = slots.older
        except DamageFound as damage:
            if slots.older is None or slots.older.directory == slots.newest.directory:
                raise
            self.problems.append(f"checkpoint {slots.newest.checkpoint_no}: {damage.message}")
            self.pool.forget_all()
            self._load(slots.older, verify)
        # Invariant 2: one above the newest when that one was opened, else two.
        opened = self.meta.checkpoint_no
        self.next_checkpoint_no = slots.newest.checkpoint_no + 1
        if page.meta_slot(self.next_checkpoint_no) == page.meta_slot(opened):
            self.next_checkpoint_no += 1

    def _load(self, meta: Meta, verify: bool) -> None:
        size = self.file.size()
        if size < meta.page_count * meta.page_size:
            raise DamageFound(
                f"the file ends at {size} bytes, its meta page counts {meta.page_count} pages",
                offset=size,
                hint="mantis check shows the extent",
            )
        directory = Tree(self.pool, DIRECTORY_PAGES_SPEC, meta.directory)
        entries = {}
        for key, row in directory.scan():
            assert isinstance(key, int)
            entries[key] = decode_entry(key, row)
        space = read_free_list(
            self.pool.page,
            meta.free_page_no,
            meta.free_checksum,
            meta.page_count,
            meta.free_page_count,
        )
        if verify:
            roots = [entry.root for entry in entries.values()]
            require_sound_tops(self.pool, roots, VERIFY_PAGES_MAX)
        self.meta: Meta = meta
        self.entries = entries
        self.space: FreeSpace = space

    # ── reading ──────────────────────────────────────────────────────────────────────────────
    @property
    def closed_cleanly(self) -> bool:
        return bool(self.meta.optional_features & CLOSED_CLEANLY)

    @property
    def is_twice_clean(self) -> bool:
        """Both meta pages say that nothing else is needed, and say the same."""
        older = self.older
        return (
            self.closed_cleanly
            and older is not None
            and bool(older.optional_features & CLOSED_CLEANLY)
            and older.directory == self.meta.directory
            and older.ckpt_lsn == self.meta.ckpt_lsn
        )

    def frozen_trees(self) -> dict[int, FrozenTree]:
        """tree_id → frozen tree of the opened checkpoint, TREE_DIRECTORY included."""
        specs = [entry.spec for entry in self.entries.values()]
        trees: dict[int, FrozenTree] = {
            entry.spec.tree_id: self.tree(entry) for entry in self.entries.values()
        }
        trees[TREE_DIRECTORY] = frozen_tree_directory(specs)
        trees.setdefault(CATALOG_SPEC.tree_id, EMPTY_TREE)
        return trees

    def tree(self, entry: DirectoryEntry) -> FrozenTree:
        return Tree(self.pool, entry.spec, entry.root) if entry.root.page_no else EMPTY_TREE

    def specs(self) -> list[TreeSpec]:
        """Specs of all live trees, the system trees first."""
        users = [e.spec for e in self.entries.values() if e.spec.tree_id >= FIRST_USER_ID]
        return [*SYSTEM_SPECS, *users]

    # ── writing ──────────────────────────────────────────────────────────────────────────────
    def write_meta(self, meta: Meta) -> None:
        """Write and sync a meta page. After an error it is not known whether it is durable."""
        assert meta.checkpoint_no == self.next_checkpoint_no
        at = page.meta_slot(meta.checkpoint_no) * meta.page_size
        self.file.write(at, page.encode_meta(meta)[:META_SIZE])
        self.file.sync()

    def adopt(self, meta: Meta, entries: dict[int, DirectoryEntry]) -> None:
        """A checkpoint is durable: it is what this object is about from now on."""
        self.older = self.meta
        self.meta = meta
        self.entries = entries
        self.next_checkpoint_no = meta.checkpoint_no + 1

    def repeat_meta(self, *, closed_cleanly: bool, ckpt_lsn: int) -> None:
        """Write the opened checkpoint's meta page again, under the next number and in the other
        slot, with another CLOSED_CLEANLY bit. One sync.

        ckpt_lsn: no commit lies between the meta page's own and this one."""
        features = self.meta.optional_features & ~CLOSED_CLEANLY
        meta = msgspec.structs.replace(
            self.meta,
            checkpoint_no=self.next_checkpoint_no,
            ckpt_lsn=ckpt_lsn,
            optional_features=features | (CLOSED_CLEANLY if closed_cleanly else 0),
        )
        self.write_meta(meta)
        self.adopt(meta, self.entries)

    def close(self) -> None:
        self.pool.close()
        # Explicitly: a mapping has its own descriptor of the same open file, so a page view that
        # somebody still holds would keep the lock.
        self.file.unlock()
        self.file.close()


def create_file(
    vfs: Vfs, path: str, *, page_size: int, uuid: bytes, created_us: int, temporary_path: str
) -> None:
    """Make an empty database under `path` (Invariant 3). Raises CannotOpen when it exists,
    StorageError, DiskFull; then nothing is left behind."""
    if page_size not in page.PAGE_SIZES:
        raise CannotOpen(
            f"page size {page_size} is not one of {', '.join(map(str, page.PAGE_SIZES))}", path=path
        )
    if vfs.exists(path):
        raise CannotOpen(f'file already exists: "{path}"', path=path)
    file = vfs.open(temporary_path, create=True)
    try:
        file.truncate(0)
        file.allocate(page.FIRST_PAGE_NO * page_size, durable=False)
        for checkpoint_no in (1, 2):
            meta = empty_meta(page_size, uuid, checkpoint_no, created_us)
            file.write(page.meta_slot(checkpoint_no) * page_size, page.encode_meta(meta))
        file.sync(data_only=False)
        vfs.rename(temporary_path, path)
    except Error:
        if vfs.exists(temporary_path):
            vfs.remove(temporary_path)
        raise
    finally:
        file.close()
    vfs.sync_dir(directory_of(path))


def empty_meta(page_size: int, uuid: bytes, checkpoint_no: int, created_us: int) -> Meta:
    """The meta page of a database that holds nothing."""
    return Meta(
        page_size=page_size,
        uuid=uuid,
        checkpoint_no=checkpoint_no,
        ckpt_lsn=0,
        last_commit_ts=0,
        page_count=page.FIRST_PAGE_NO,
        directory=EMPTY_ROOT,
        free_page_no=0,
        free_checksum=0,
        free_page_count=0,
        next_object_id=FIRST_USER_ID,
        optional_features=CLOSED_CLEANLY,
        created_us=created_us,
    )


def require_database(file: File) -> None:
    """Raise NotADatabase for a file too small or too foreign to be one, naming what it is."""
    if file.size() == 0:
        raise NotADatabase(
            f'"{file.path}" is empty, not a MantisDB database',
            path=file.path,
            hint="mantis new creates a database",
        )


def tree_pages(pool: BufferPool, root: TreeRoot) -> Iterator[int]:
    """Every page number of a tree: branches, leaves and overflow runs. Raises DamageFound."""
    stack = [(root.page_no, root.checksum, root.height)] if root.page_no else []
    while stack:
        page_no, checksum, height = stack.pop()
        yield page_no
        if height > 1:
            branch = pool.branch(page_no, checksum)
            stack += [
                (child, child_checksum, height - 1)
                for child, child_checksum in zip(branch.children, branch.checksums)
            ]
            continue
        leaf = pool.leaf(page_no, checksum)
        for _, reference in leaf.overflow_references():
            first, size, _ = REFERENCE.unpack(reference)
            yield from range(first, first + run_page_count(size, pool.page_size))


def require_sound_tops(pool: BufferPool, roots: Iterable[TreeRoot], page_count_max: int) -> None:
    """Check pages of the trees, level by level from the roots, up to page_count_max of them.

    Raises DamageFound for the first that is not what its parent says."""
    level = [(root.page_no, root.checksum, root.height) for root in roots if root.page_no]
    checked = 0
    while level:
        below: list[tuple[int, int, int]] = []
        for page_no, checksum, height in level:
            if checked >= page_count_max:
                return
            checked += 1
            if height <= 1:
                pool.leaf(page_no, checksum)
                continue
            branch = pool.branch(page_no, checksum)
            below += [
                (child, child_checksum, height - 1)
                for child, child_checksum in zip(branch.children, branch.checksums)
            ]
        level = below
