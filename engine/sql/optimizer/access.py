"""choose_access: a filter over a scan becomes a look-up in the primary key or an index.

For each key (primary key, then indexes in order) the conjuncts are matched against its columns from
the left: equalities as long as they go, then one IN list, or bounds of the next column. The best
match wins:

match                                     score
whole unique key by equality              1000, less 1 for an index
n equalities, then IN list                100 n + 90
n equalities, then two bounds             100 n + 60
n equalities, then one bound              100 n + 30
a bound alone on an index                 0: half a table by key is slower than a scan
primary key against index                 + 5

A conjunct that an access path implements is dropped from the filter.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.catalog import Index, Table
from engine.sql import bound
from engine.sql.expressions import columns_of, is_volatile, transform
from engine.sql.plan import FULL_SCAN, Access, Expr, Filter, PlanNode, Scan
from engine.types import INTEGER_KINDS, SqlType

_FLIPPED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TEXT_KINDS = ("text", "varchar")


def choose_access(plan: PlanNode, row_count: Callable[[int], int]) -> PlanNode:
    """See the module header."""
    return transform(plan, _choose)


def _choose(node: PlanNode) -> PlanNode:
    if not isinstance(node, Filter) or not isinstance(node.input, Scan):
        return node
    scan = node.input
    if scan.access != FULL_SCAN:
        return node
    terms = [_Term(scan, predicate) for predicate in node.predicates]
    best: tuple[int, Access, set[int]] = (0, FULL_SCAN, set())
    for index, key in _keys(scan.table):
        found = _match(scan.table, index, key, terms)
        if found[0] > best[0]:
            best = found
    score, access, used = best
    if not score:
        return node
    rest = tuple([p for i, p in enumerate(node.predicates) if i not in used])
    chosen = Scan(scan.relation, scan.table, scan.alias, scan.columns, access)
    return Filter(chosen, rest) if rest else chosen


def _keys(table: Table) -> list[tuple[Index | None, tuple[int, ...]]]:
    keys: list[tuple[Index | None, tuple[int, ...]]] = []
    if table.primary_key:
        keys.append((None, table.primary_key))
    for index in table.indexes:
        keys.append((index, tuple([part.column_index for part in index.columns])))
    return keys


class _Term:
    """One conjunct as `column op value(s)`; op '' when it is of no use here."""

    __slots__ = ("column", "op", "values")

    def __init__(self, scan: Scan, predicate: Expr) -> None:
        self.op = ""
        self.column = -1
        self.values: tuple[Expr, ...] = ()
        if is_volatile(predicate):
            return
        match predicate:
            case bound.Compare(op=op) if op in _FLIPPED:
                if not self._set(scan, op, predicate.left, (predicate.right,)):
                    self._set(scan, _FLIPPED[op], predicate.right, (predicate.left,))
            case bound.InList(negated=False):
                self._set(scan, "in", predicate.operand, predicate.items)
            case bound.Column() if predicate.type.kind == "boolean":
                true = bound.Const(True, predicate.type, predicate.span)
                self._set(scan, "=", predicate, (true,))
            case _:
                pass

    def _set(self, scan: Scan, op: str, side: Expr, values: tuple[Expr, ...]) -> bool:
        column = _key_column(scan, side)
        if column is None:
            return False
        stored = scan.table.columns[column].type
        for value in values:
            if not key_compatible(stored, value.type):
                return False
            if any(relation == scan.relation for relation, _ in columns_of(value)):
                return False
        self.op, self.column, self.values = op, column, values
        return True


def _key_column(scan: Scan, side: Expr) -> int | None:
    """The column, seen through casts between integer types (they keep order)."""
    if (
        type(side) is bound.Cast
        and side.type.kind in INTEGER_KINDS
        and side.operand.type.kind in INTEGER_KINDS
    ):
        side = side.operand
    if type(side) is bound.Column and side.relation == scan.relation and side.column >= 0:
        return side.column
    return None


def key_compatible(column: SqlType, value: SqlType) -> bool:
    """Whether a value of this type can be encoded as the column's key and compare the same."""
    if column.kind in INTEGER_KINDS:
        return value.kind in INTEGER_KINDS
    if column.kind in _TEXT_KINDS:
        return value.kind in _TEXT_KINDS
    if column.kind in ("numeric", "char", "real"):
        return column == value
    return column.kind == value.kind


def _match(
    table: Table, index: Index | None, key: tuple[int, ...], terms: list[_Term]
) -> tuple[int, Access, set[int]]:
    """(score, access, positions of the conjuncts it implements)."""
    used: set[int] = set()
    equal: list[Expr] = []
    for column in key:
        found = _find(terms, column, ("=",), used)
        if found is None:
            break
        used.add(found)
        equal.append(terms[found].values[0])
    unique = index is None or index.unique
    score = 100 * len(equal) + (5 if index is None else 0)
    if len(equal) == len(key):
        return (
            (1000 if index is None else 999) if unique else score,
            Access(index, tuple(equal)),
            used,
        )
    column = key[len(equal)]
    listed = _find(terms, column, ("in",), used)
    if listed is not None:
        access = Access(index, tuple(equal), terms[listed].values)
        return score + 90, access, used | {listed}
    lower = _find(terms, column, (">", ">="), used)
    upper = _find(terms, column, ("<", "<="), used)
    bounds = [found for found in (lower, upper) if found is not None]
    if not bounds:
        return (score if equal else 0), Access(index, tuple(equal)), used
    if len(bounds) == 1 and index is not None and not equal:
        return 0, FULL_SCAN, set()
    access = Access(
        index,
        tuple(equal),
        (),
        None if lower is None else terms[lower].values[0],
        lower is None or terms[lower].op == ">=",
        None if upper is None else terms[upper].values[0],
        upper is None or terms[upper].op == "<=",
    )
    return score + 30 * len(bounds), access, used | set(bounds)


def _find(terms: list[_Term], column: int, ops: tuple[str, ...], used: set[int]) -> int | None:
    for position, term in enumerate(terms):
        if term.column == column and term.op in ops and position not in used:
            return position
    return None
