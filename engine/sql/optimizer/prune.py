"""prune_columns: every node produces only what somebody above reads.

Scans then read fewer columns, projections and aggregates compute fewer expressions. The root keeps
its columns. Inputs of DISTINCT and set operations keep all of theirs: every column counts there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from engine.sql.expressions import columns_of, exprs_of
from engine.sql.plan import (
    Aggregate,
    ColumnId,
    CteScan,
    Distinct,
    Empty,
    Expr,
    Filter,
    Join,
    Limit,
    PlanNode,
    Project,
    Scan,
    SetOp,
    Sort,
    schema,
)


def prune_columns(plan: PlanNode, row_count: Callable[[int], int]) -> PlanNode:
    """See the module header."""
    return _prune(plan, set(schema(plan)))


def _read_by(exprs: Iterable[Expr]) -> set[ColumnId]:
    found: set[ColumnId] = set()
    for expr in exprs:
        found |= columns_of(expr)
    return found


def _prune(node: PlanNode, wanted: set[ColumnId]) -> PlanNode:
    match node:
        case Scan():
            kept = tuple([c for c in node.columns if (node.relation, c) in wanted])
            return node if len(kept) == len(node.columns) else replace(node, columns=kept)
        case Project():
            return _prune_project(node, wanted)
        case Aggregate():
            return _prune_aggregate(node, wanted)
        case Filter() | Sort() | Limit():
            below = wanted | _read_by(exprs_of(node))
            return replace(node, input=_prune(node.input, below))
        case Join():
            below = wanted | _read_by(exprs_of(node))
            return replace(node, left=_prune(node.left, below), right=_prune(node.right, below))
        case Distinct():
            return replace(node, input=_prune(node.input, set(schema(node.input))))
        case SetOp():
            left = _prune(node.left, set(schema(node.left)))
            return replace(node, left=left, right=_prune(node.right, set(schema(node.right))))
        case CteScan():
            return replace(node, plan=_prune(node.plan, set(schema(node.plan))))
        case Empty():
            return replace(node, schema=tuple([i for i in node.schema if i in wanted]))
        case _:
            return node


def _prune_project(node: Project, wanted: set[ColumnId]) -> PlanNode:
    kept = [i for i, column in enumerate(node.columns) if (node.relation, column) in wanted]
    if len(kept) < len(node.columns):
        node = replace(
            node,
            exprs=tuple([node.exprs[i] for i in kept]),
            columns=tuple([node.columns[i] for i in kept]),
        )
    return replace(node, input=_prune(node.input, _read_by(node.exprs)))


def _prune_aggregate(node: Aggregate, wanted: set[ColumnId]) -> PlanNode:
    count = len(node.keys)
    kept = [
        i for i in range(len(node.aggregates)) if (node.relation, node.columns[count + i]) in wanted
    ]
    if len(kept) < len(node.aggregates):
        node = replace(
            node,
            aggregates=tuple([node.aggregates[i] for i in kept]),
            columns=(*node.columns[:count], *[node.columns[count + i] for i in kept]),
        )
    return replace(node, input=_prune(node.input, _read_by(exprs_of(node))))
