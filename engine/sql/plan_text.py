"""Plans as text and as JSON-ready dictionaries: the one renderer for EXPLAIN and tests.

A node is one line: its kind and what it works on, then its inputs, indented. Subqueries in
expressions are named (subquery 1), (subquery 2), … and follow the node that uses them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.sql import bound
from engine.sql.expressions import exprs_of, walk
from engine.sql.plan import (
    KEY_COLUMN,
    Access,
    Aggregate,
    AggregateCall,
    ColumnId,
    CountRows,
    CreateTableAsPlan,
    CteScan,
    DdlPlan,
    DeletePlan,
    Distinct,
    Empty,
    Expr,
    Filter,
    InsertPlan,
    Join,
    Limit,
    OneRow,
    PlanNode,
    Project,
    QueryPlan,
    Scan,
    SetOp,
    Sort,
    SortKey,
    StatementPlan,
    Subplan,
    UpdatePlan,
    ValuesRows,
    inputs,
)
from engine.types import type_text

Actual = Callable[[PlanNode], "dict[str, Any] | None"]
"""Measured facts of a node: actual_rows, actual_ms, runs."""


def plan_tree(plan: StatementPlan | PlanNode, actual: Actual | None = None) -> dict[str, Any]:
    """{'node': title, 'detail': …, 'plans': [inputs…], 'subplans': […]} and actual facts."""
    return _Renderer(actual).statement(plan)


def plan_lines(plan: StatementPlan | PlanNode, actual: Actual | None = None) -> list[str]:
    """The tree as indented lines."""
    lines: list[str] = []
    _draw(plan_tree(plan, actual), 0, lines)
    return lines


def _draw(tree: dict[str, Any], depth: int, lines: list[str]) -> None:
    text = "  " * depth + tree["node"]
    if tree.get("detail"):
        text += " " + tree["detail"]
    if "actual_rows" in tree:
        text += f"  [rows={tree['actual_rows']} time={tree['actual_ms']:.3f} ms"
        if tree["runs"] != 1:
            text += f" runs={tree['runs']}"
        text += "]"
    lines.append(text)
    for child in tree.get("plans", ()):
        _draw(child, depth + 1, lines)
    for name, child in tree.get("subplans", ()):
        lines.append("  " * (depth + 1) + f"({name})")
        _draw(child, depth + 2, lines)


class _Renderer:
    def __init__(self, actual: Actual | None) -> None:
        self._actual = actual
        self._names: dict[ColumnId, str] = {}
        self._subplans: dict[int, str] = {}

    def statement(self, plan: StatementPlan | PlanNode) -> dict[str, Any]:
        match plan:
            case QueryPlan():
                return self.node(plan.plan)
            case InsertPlan():
                plans = [] if plan.source is None else [self.node(plan.source)]
                conflict = f" on conflict {plan.conflict}" if plan.conflict else ""
                return {"node": "Insert", "detail": plan.table.name + conflict, "plans": plans}
            case UpdatePlan():
                columns = [plan.table.columns[i].name for i, _ in plan.assignments]
                detail = f"{plan.table.name} set {', '.join(columns)}"
                return {"node": "Update", "detail": detail, "plans": [self.node(plan.source)]}
            case DeletePlan():
                source = self.node(plan.source)
                return {"node": "Delete", "detail": plan.table.name, "plans": [source]}
            case CreateTableAsPlan():
                source = self.node(plan.source)
                return {"node": "CreateTable", "detail": plan.table.name, "plans": [source]}
            case DdlPlan():
                return {"node": type(plan.statement).__name__, "detail": "", "plans": []}
            case _:
                return self.node(plan)

    def node(self, node: PlanNode) -> dict[str, Any]:
        plans = [self.node(child) for child in inputs(node)]  # names first
        found: list[tuple[str, dict[str, Any]]] = []
        for expr in exprs_of(node):
            for part in walk(expr):
                if type(part) is Subplan and id(part) not in self._subplans:
                    name = f"subquery {len(self._subplans) + 1}"
                    self._subplans[id(part)] = name
                    found.append((name, self.node(part.plan)))
        title, detail = self._describe(node)
        tree: dict[str, Any] = {"node": title, "detail": detail, "plans": plans}
        if found:
            tree["subplans"] = found
        facts = None if self._actual is None else self._actual(node)
        if facts is not None:
            tree.update(facts)
        return tree

    def _describe(self, node: PlanNode) -> tuple[str, str]:
        match node:
            case Scan():
                return self._scan(node)
            case Filter():
                return "Filter", self.conjunction(node.predicates)
            case Project():
                texts = [self.text(expr) for expr in node.exprs]
                for column, text in zip(node.columns, texts, strict=True):
                    self._names[node.relation, column] = text
                return "Project", ", ".join(texts)
            case Join():
                return self._join(node)
            case Aggregate():
                return self._aggregate(node)
            case Sort():
                keys = ", ".join([self.sort_key(key) for key in node.keys])
                if node.limit is None:
                    return "Sort", keys
                return "TopN", f"{keys} limit {self.text(node.limit)}"
            case Limit():
                return "Limit", self._limit(node)
            case SetOp():
                for i in range(node.width):
                    self._names[node.relation, i] = f"column{i + 1}"
                return node.op.capitalize() + (" all" if node.all else ""), ""
            case ValuesRows():
                for i in range(node.width):
                    self._names[node.relation, i] = f"column{i + 1}"
                return "Values", f"{len(node.rows)} row" + ("" if len(node.rows) == 1 else "s")
            case CteScan():
                return "CommonTable", node.name
            case CountRows():
                self._names[node.relation, 0] = "count(*)"
                return "CountRows", node.table.name
            case Distinct():
                return "Distinct", ""
            case Empty():
                return "Empty", ""
            case OneRow():
                return "OneRow", ""

    def _scan(self, node: Scan) -> tuple[str, str]:
        columns = node.table.columns
        for i, column in enumerate(columns):
            self._names[node.relation, i] = column.name
        self._names[node.relation, KEY_COLUMN] = "key"
        name = node.table.name + ("" if node.alias == node.table.name else f" {node.alias}")
        shown = ", ".join([columns[i].name for i in node.columns if i >= 0])
        access = node.access
        if access == Access():
            return "Scan", f"{name} ({shown})"
        bounds = self._bounds(node, access)
        if access.index is not None:
            title, name = "IndexScan", f"{name} by {access.index.name}"
        else:
            title = "KeyScan" if bounds else "Scan"
        back = " backwards" if access.reverse else ""
        return title, f"{name}{bounds}{back} ({shown})"

    def _bounds(self, node: Scan, access: Access) -> str:
        table = node.table
        if access.index is not None:
            positions = [part.column_index for part in access.index.columns]
        else:
            positions = list(table.primary_key)
        names = [table.columns[i].name for i in positions]
        parts = [f"{n} = {self.text(e)}" for n, e in zip(names, access.equal, strict=False)]
        following = names[len(parts)] if len(parts) < len(names) else ""
        if access.any_of:
            items = ", ".join([self.text(e) for e in access.any_of])
            parts.append(f"{following} in ({items})")
        if access.lower is not None:
            op = ">=" if access.lower_inclusive else ">"
            parts.append(f"{following} {op} {self.text(access.lower)}")
        if access.upper is not None:
            op = "<=" if access.upper_inclusive else "<"
            parts.append(f"{following} {op} {self.text(access.upper)}")
        return " where " + " and ".join(parts) if parts else ""

    def _join(self, node: Join) -> tuple[str, str]:
        keys = [
            f"{self.text(left)} = {self.text(right)}"
            for left, right in zip(node.left_keys, node.right_keys, strict=True)
        ]
        title = "HashJoin" if keys else "NestedLoop"
        parts = [*keys, *[self.text(expr) for expr in node.on]]
        kind = node.kind + (" null-aware" if node.null_aware else "")
        return title, f"{kind} {' and '.join(parts)}".rstrip()

    def _aggregate(self, node: Aggregate) -> tuple[str, str]:
        keys = [self.text(key) for key in node.keys]
        calls = [self.call(call) for call in node.aggregates]
        for column, text in zip(node.columns, [*keys, *calls], strict=True):
            self._names[node.relation, column] = text
        by = f" by {', '.join(keys)}" if keys else ""
        return "Aggregate", (", ".join(calls) + by).strip()

    def _limit(self, node: Limit) -> str:
        parts = []
        if node.limit is not None:
            parts.append(self.text(node.limit))
        if node.offset is not None:
            parts.append(f"offset {self.text(node.offset)}")
        return " ".join(parts)

    # ── expressions ──────────────────────────────────────────────────────────────────────────
    def call(self, call: AggregateCall) -> str:
        args = ", ".join([self.text(arg) for arg in call.args]) or "*"
        order = ""
        if call.order_by:
            order = " order by " + ", ".join([self.sort_key(key) for key in call.order_by])
        text = f"{call.function.name}({'distinct ' if call.distinct else ''}{args}{order})"
        return text if call.filter is None else f"{text} filter ({self.text(call.filter)})"

    def sort_key(self, key: SortKey) -> str:
        text = self.text(key.expr) + (" desc" if key.descending else "")
        if key.nulls_first is not key.descending:
            text += " nulls first" if key.nulls_first else " nulls last"
        return text

    def conjunction(self, exprs: tuple[Expr, ...]) -> str:
        return " and ".join([self.text(expr) for expr in exprs])

    def text(self, expr: Expr) -> str:
        """The expression in SQL's words."""
        match expr:
            case bound.Const():
                return _constant(expr.value)
            case bound.Param():
                return f"${expr.index + 1}"
            case bound.Column():
                known = self._names.get((expr.relation, expr.column))
                return known or expr.name or f"column {expr.column}"
            case bound.Compare():
                return f"{self.text(expr.left)} {expr.op} {self.text(expr.right)}"
            case bound.And():
                return "(" + " and ".join([self.text(arg) for arg in expr.args]) + ")"
            case bound.Or():
                return "(" + " or ".join([self.text(arg) for arg in expr.args]) + ")"
            case bound.Not():
                return f"not {self.text(expr.operand)}"
            case bound.IsNull():
                return f"{self.text(expr.operand)} is {'not ' if expr.negated else ''}null"
            case bound.Call():
                return self._call(expr)
            case bound.Cast():
                return f"cast({self.text(expr.operand)} as {type_text(expr.type)})"
            case _:
                return self._rare(expr)

    def _call(self, expr: bound.Call) -> str:
        name = expr.function.name
        args = [self.text(arg) for arg in expr.args]
        if name[0].isalpha():
            return f"{name}({', '.join(args)})"
        return f"({name}{args[0]})" if len(args) == 1 else f"({args[0]} {name} {args[1]})"

    def _rare(self, expr: Expr) -> str:
        match expr:
            case bound.InList():
                items = ", ".join([self.text(item) for item in expr.items])
                return f"{self.text(expr.operand)} {'not ' if expr.negated else ''}in ({items})"
            case bound.Like():
                negated = "not " if expr.negated else ""
                return f"{self.text(expr.operand)} {negated}{expr.op} {self.text(expr.pattern)}"
            case bound.Case():
                whens = " ".join(
                    [f"when {self.text(w)} then {self.text(t)}" for w, t in expr.whens]
                )
                return f"case {whens} else {self.text(expr.default)} end"
            case Subplan():
                name = self._subplans.get(id(expr), "subquery")
                negated = "not " if expr.negated else ""
                if expr.operand is not None:
                    return f"{self.text(expr.operand)} {negated}in ({name})"
                return f"{negated}exists ({name})" if expr.kind == "exists" else f"({name})"
            case _:
                return type(expr).__name__.lower()


def _constant(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)
