"""Undoing: what a statement or a savepoint leaves behind so that it can be taken back.

Definitions
    mark   a savepoint: its name, what undoes the writes since, how many locks were held, and the
           transaction's own schema then

Invariants
1. A mark's `undo` has the first old value of each key since the mark, a tree's `undo` the first
   since the statement began. Putting them back needs no I/O and cannot fail.
2. Without a mark nothing older than the running statement is kept: the whole write set goes.
3. `catalog` is what the running statement sees: the schema after the transaction's own changes, or
   its snapshot's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import ProgrammingError
from engine.storage.store import Key
from engine.txn.isolation import IsolationLevel
from engine.txn.snapshot import UNWRITTEN
from engine.txn.write_set import Writes

if TYPE_CHECKING:
    from engine.txn.manager import TransactionManager


class Mark:
    """A savepoint. undo: tree_id → key → old own value. held: tree_id → number of locks."""

    __slots__ = ("catalog", "held", "name", "undo")

    def __init__(self, name: str, held: dict[int, int], catalog: Any) -> None:
        self.name = name
        self.held = held
        self.catalog = catalog
        self.undo: dict[int, dict[Key, Any]] = {}


class Savepoints(Writes):
    """A write set with marks in it."""

    __slots__ = ("_catalog", "_marks", "catalog")

    def __init__(
        self, manager: TransactionManager, txn_id: int, level: IsolationLevel, read_only: bool
    ) -> None:
        Writes.__init__(self, manager, txn_id, level, read_only)
        self._marks: list[Mark] = []
        self._catalog: Any = None  # after own schema changes
        self.catalog: Any = manager.catalog

    def savepoint(self, name: str) -> None:
        """Mark this point. The same name may be used again: the newest one counts."""
        self._end_statement()
        held = {tree_id: len(tree.held) for tree_id, tree in self.trees.items()}
        self._marks.append(Mark(name, held, self._catalog))

    def rollback_to(self, name: str) -> None:
        """Undo every write since the savepoint, which stays; give back the row locks taken since.
        Table locks stay. Raises ProgrammingError (3B001) for an unknown name."""
        index = _find_mark(self._marks, name)
        self._end_statement()
        while len(self._marks) > index + 1:
            self._undo_mark(self._marks.pop())
        self._undo_mark(self._marks[-1])

    def release(self, name: str) -> None:
        """Forget the savepoint and those after it; their writes stay.
        Raises ProgrammingError (3B001) for an unknown name."""
        index = _find_mark(self._marks, name)
        self._end_statement()
        while len(self._marks) > index:
            mark = self._marks.pop()
            if self._marks:
                _merge_undo(self._marks[-1].undo, mark.undo)

    def _set_catalog(self, own: Any) -> None:
        self._catalog = own
        self.catalog = self.manager.catalog_at(self.snapshot) if own is None else own

    def _end_statement(self) -> None:
        """Make the statement's writes visible to the next one; keep what undoes them if a
        savepoint may want it."""
        for tree in self.trees.values():
            if tree.undo:
                if self._marks:
                    _merge_undo(self._marks[-1].undo, {tree.tree_id: tree.undo})
                tree.end_statement()

    def _undo_mark(self, mark: Mark) -> None:
        for tree_id, undo in mark.undo.items():
            tree = self.trees[tree_id]
            own = tree.own
            for key, old in undo.items():
                if old is UNWRITTEN:
                    own.pop(key, None)
                else:
                    own[key] = old
            tree.ordered = None
        mark.undo = {}
        self._set_catalog(mark.catalog)
        for tree_id, tree in self.trees.items():
            kept = mark.held.get(tree_id, 0)
            if len(tree.held) > kept:
                later = tree.held[kept:]
                del tree.held[kept:]
                earlier = set(tree.held)
                self.manager.lock_manager.release_rows(
                    self, tree_id, [key for key in later if key not in earlier]
                )


def _find_mark(marks: list[Mark], name: str) -> int:
    for index in range(len(marks) - 1, -1, -1):
        if marks[index].name == name:
            return index
    raise ProgrammingError(f"savepoint {name!r} does not exist", sqlstate="3B001")


def _merge_undo(into: dict[int, dict[Key, Any]], later: dict[int, dict[Key, Any]]) -> None:
    """Invariant 3: the older value of a key counts."""
    for tree_id, undo in later.items():
        older = into.get(tree_id)
        into[tree_id] = {**undo, **older} if older else undo
