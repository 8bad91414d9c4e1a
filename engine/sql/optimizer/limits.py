"""count_rows, use_key_order, choose_top_n: answers that need less than every row.

count_rows     count(*) of a whole table without a filter is read from the tree's root
use_key_order  ORDER BY on what the scan's key order gives already drops the sort; with a LIMIT, an
               index that has the order is worth reading
choose_top_n   LIMIT over a sort keeps only the rows it needs
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from engine.catalog import Table
from engine.sql import bound
from engine.sql.expressions import map_inputs, transform
from engine.sql.plan import (
    FULL_SCAN,
    Access,
    Aggregate,
    CountRows,
    Filter,
    Limit,
    PlanNode,
    Project,
    Scan,
    Sort,
    SortKey,
)

RowCount = Callable[[int], int]


def count_rows(plan: PlanNode, row_count: RowCount) -> PlanNode:
    """See the module header."""
    return transform(plan, _count)


def _count(node: PlanNode) -> PlanNode:
    if not isinstance(node, Aggregate) or node.keys or len(node.aggregates) != 1:
        return node
    call = node.aggregates[0]
    source = node.input
    while isinstance(source, Project):
        source = source.input
    if (
        isinstance(source, Scan)
        and source.access == FULL_SCAN
        and call.function.name == "count"
        and not call.args
        and call.filter is None
    ):
        counted = CountRows(node.relation - 1_000_000, source.table)
        column = bound.Column(counted.relation, 0, "count(*)", call.type, True, (0, 0))
        return Project(node.relation, counted, (column,), node.columns)
    return node


def choose_top_n(plan: PlanNode, row_count: RowCount) -> PlanNode:
    """See the module header."""
    return transform(plan, _top)


def _top(node: PlanNode) -> PlanNode:
    if isinstance(node, Limit) and node.limit is not None and isinstance(node.input, Sort):
        sort = node.input
        if sort.limit is None:
            return replace(node, input=replace(sort, limit=node.limit, offset=node.offset))
    return node


def use_key_order(plan: PlanNode, row_count: RowCount) -> PlanNode:
    """See the module header."""

    def go(node: PlanNode, limited: bool) -> PlanNode:
        if isinstance(node, Sort):
            ordered = _ordered_input(node.input, node.keys, limited)
            if ordered is not None:
                return go(ordered, limited)
        below = isinstance(node, Limit) or (limited and isinstance(node, Project))
        return map_inputs(node, lambda child: go(child, below))

    return go(plan, False)


def _ordered_input(node: PlanNode, keys: tuple[SortKey, ...], limited: bool) -> PlanNode | None:
    """The input reading in that order by itself, or None."""
    match node:
        case Filter():
            below = _ordered_input(node.input, keys, limited)
            return None if below is None else replace(node, input=below)
        case Project():
            return _through_project(node, keys, limited)
        case Scan():
            return _ordered_scan(node, keys, limited)
        case _:
            return None


def _through_project(node: Project, keys: tuple[SortKey, ...], limited: bool) -> PlanNode | None:
    made = {
        (node.relation, column): expr for column, expr in zip(node.columns, node.exprs, strict=True)
    }
    moved: list[SortKey] = []
    for key in keys:
        if type(key.expr) is not bound.Column:
            return None
        expr = made.get((key.expr.relation, key.expr.column))
        if type(expr) is not bound.Column:
            return None
        moved.append(replace(key, expr=expr))
    below = _ordered_input(node.input, tuple(moved), limited)
    return None if below is None else replace(node, input=below)


def _ordered_scan(scan: Scan, keys: tuple[SortKey, ...], limited: bool) -> Scan | None:
    wanted: list[tuple[int, bool, bool]] = []
    for key in keys:
        expr = key.expr
        if type(expr) is not bound.Column or expr.relation != scan.relation:
            return None
        wanted.append((expr.column, key.descending, key.nulls_first))
    access = scan.access
    if access.any_of and len(access.equal) < _key_width(scan.table, access) - 1:
        return None
    reverse = _reverse_for(scan.table, access, wanted)
    if reverse is not None:
        return replace(scan, access=replace(access, reverse=reverse))
    if access == FULL_SCAN and limited:
        for index in scan.table.indexes:
            by_index = Access(index)
            reverse = _reverse_for(scan.table, by_index, wanted)
            if reverse is not None:
                return replace(scan, access=replace(by_index, reverse=reverse))
    return None


def _key_width(table: Table, access: Access) -> int:
    return len(table.primary_key if access.index is None else access.index.columns)


def _reverse_for(table: Table, access: Access, wanted: list[tuple[int, bool, bool]]) -> bool | None:
    """Whether to read backwards for the order; None when the key does not give it."""
    if access.index is None:
        parts = [(i, False) for i in table.primary_key]
    else:
        parts = [(part.column_index, part.descending) for part in access.index.columns]
    fixed = {column for column, _ in parts[: len(access.equal)]}
    remaining = [part for part in parts if part[0] not in fixed]
    reverse: bool | None = None
    unique = access.index is None and bool(table.primary_key)
    for column, descending, nulls_first in wanted:
        if column in fixed:
            continue
        if not remaining:
            # All of a primary key is used up: nothing is left to order.
            return bool(reverse) if unique else None
        part_column, part_descending = remaining.pop(0)
        if part_column != column:
            return None
        backwards = descending is not part_descending
        not_null = table.columns[column].not_null or column in table.primary_key
        if not not_null and nulls_first is not descending:
            return None
        if reverse is not None and backwards is not reverse:
            return None
        reverse = backwards
        fixed.add(column)
    return bool(reverse)
