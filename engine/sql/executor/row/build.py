"""Plans to operators: which node runs as a pipeline stage, which as an operator with inputs.

`compile_plan(node)` is called once a plan; what it returns is called once an execution. With a
`Profile` (EXPLAIN ANALYZE) nothing is fused: every node is an operator of its own, counted and
timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from engine.errors import DataError
from engine.sql import bound
from engine.sql.executor.row import operators
from engine.sql.executor.row.aggregate import compile_aggregate
from engine.sql.executor.row.context import Context, Open
from engine.sql.executor.row.emitter import PLAIN, Style
from engine.sql.executor.row.pipeline import ScanSource, compile_rows
from engine.sql.executor.row.scan import TableSource, ValuesOf
from engine.sql.executor.row.source import Emitter, Scope, compile_function
from engine.sql.expressions import free_columns, non_null
from engine.sql.plan import (
    Aggregate,
    ColumnId,
    CountRows,
    CteScan,
    Distinct,
    Empty,
    Expr,
    Filter,
    Join,
    Limit,
    OneRow,
    PlanNode,
    Project,
    Scan,
    Schema,
    SetOp,
    Sort,
    SortKey,
    Subplan,
    ValuesRows,
    schema,
)
from engine.types import SqlType, comparison_key

_MISSING: Any = object()
_MEMO_LIMIT = 50_000  # remembered outer values of one correlated subquery


class Profile:
    """Actual rows, seconds and runs of each node, by the node's identity."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.rows: dict[int, int] = {}
        self.seconds: dict[int, float] = {}
        self.runs: dict[int, int] = {}

    def watch(self, node: PlanNode, source: Open) -> Open:
        """The operator, counted and timed (its inputs' time included)."""
        key, clock = id(node), self.clock

        def run(x: Context) -> Iterator[tuple[Any, ...]]:
            self.runs[key] = self.runs.get(key, 0) + 1
            count = 0
            started = clock()
            rows = source(x)
            spent = 0.0
            try:
                for row in rows:
                    count += 1
                    spent += clock() - started
                    yield row
                    started = clock()
                spent += clock() - started
            finally:
                self.rows[key] = self.rows.get(key, 0) + count
                self.seconds[key] = self.seconds.get(key, 0.0) + spent

        return run


def compile_plan(
    node: PlanNode,
    *,
    outer: dict[ColumnId, int] | None = None,
    profile: Profile | None = None,
    style: Style = PLAIN,
) -> Open:
    """The operator for a plan. outer: column ids of enclosing queries, by outer value position."""
    return PlanCompiler(outer or {}, profile, style).open(node)


class PlanCompiler:
    """See pipeline.Compiler. One for each (sub)plan."""

    def __init__(
        self,
        outer: dict[ColumnId, int],
        profile: Profile | None = None,
        style: Style = PLAIN,
    ) -> None:
        self.style = style
        self.outer = outer
        self.profile = profile
        self.fuse = profile is None

    def open(self, node: PlanNode) -> Open:
        source = self._open(node)
        return source if self.profile is None else self.profile.watch(node, source)

    def _open(self, node: PlanNode) -> Open:
        match node:
            case Filter() | Project() | Scan():
                return compile_rows(self, node)
            case Join():
                return self._full_join(node) if node.kind == "full" else compile_rows(self, node)
            case Aggregate():
                return compile_aggregate(self, node, self._argument_passes)
            case Sort():
                return self._sort(node)
            case Limit():
                bounds = self._bounds(node.limit, node.offset)
                return operators.limit_operator(self.open(node.input), bounds)
            case Distinct():
                return operators.distinct_operator(self.open(node.input), self._row_key(node))
            case SetOp():
                return self._set(node)
            case CteScan():
                source = self.open(node.plan)
                if free_columns(node.plan):
                    return source
                return operators.common_operator(source, node.cte_id)
            case ValuesRows():
                return self._values(node)
            case CountRows():
                return operators.count_operator(node.table.table_id)
            case OneRow():
                return operators.one_row
            case Empty():
                return operators.no_rows

    # ── functions of expressions ─────────────────────────────────────────────────────────────
    def scope(self, ids: Schema, row: str, sure: frozenset[ColumnId] = frozenset()) -> Scope:
        """Columns read by position from the variable `row`."""
        names = {column_id: f"{row}[{i}]" for i, column_id in enumerate(ids)}
        return Scope(names, sure, self.outer)

    def tuple_function(
        self, exprs: tuple[Expr, ...], scope: Scope, arguments: str = "x"
    ) -> Callable[..., tuple[Any, ...]]:
        """A function of `arguments` (x: Context first) giving the expressions' values."""
        emitter = _straight_emitter(self)
        values = [emitter.value(expr, scope) for expr in exprs]
        return self._function(emitter, f"({''.join([v + ', ' for v in values])})", arguments)

    def test_function(
        self, predicates: tuple[Expr, ...], scope: Scope, arguments: str
    ) -> Callable[..., Any]:
        """A function that is truthy when every predicate is true."""
        emitter = _straight_emitter(self)
        tests = [emitter.is_true(predicate, scope) for predicate in predicates]
        return self._function(emitter, " and ".join(tests) or "True", arguments)

    def _function(self, emitter: Emitter, result: str, arguments: str) -> Callable[..., Any]:
        head = [f"def run({arguments}):", "    p = x.params", "    o = x.outer"]
        lines = [*head, *["    " + line for line in emitter.hoisted], f"    return {result}"]
        function: Callable[..., Any] = compile_function(
            "\n".join(lines) + "\n", emitter.environment
        )
        return function

    def _bounds(
        self, limit: Expr | None, offset: Expr | None
    ) -> Callable[[Context], tuple[int | None, int]]:
        null = bound.Const(None, SqlType("bigint"), (0, 0))
        values = self.tuple_function((limit or null, offset or null), Scope({}, outer=self.outer))

        def bounds(x: Context) -> tuple[int | None, int]:
            limit_value, offset_value = values(x)
            return (
                operators.require_bound(limit_value, "LIMIT"),
                operators.require_bound(offset_value, "OFFSET") or 0,
            )

        return bounds

    # ── scans and values ─────────────────────────────────────────────────────────────────────
    def scan_source(self, scan: Scan) -> ScanSource:
        access = scan.access
        values_of: ValuesOf | None = None
        if access.equal or access.any_of or access.lower or access.upper:
            null = bound.Const(None, SqlType("bigint"), (0, 0))
            lower = null if access.lower is None else access.lower
            upper = null if access.upper is None else access.upper
            equal_count, any_count = len(access.equal), len(access.any_of)
            exprs = (*access.equal, *access.any_of, lower, upper)
            flat = self.tuple_function(exprs, Scope({}, outer=self.outer))

            def split(x: Context) -> tuple[tuple[Any, ...], tuple[Any, ...], Any, Any]:
                values = flat(x)
                end = equal_count + any_count
                return values[:equal_count], values[equal_count:end], values[-2], values[-1]

            values_of = split
        return TableSource(scan, values_of)

    def _values(self, node: ValuesRows) -> Open:
        if all(type(e) is bound.Param for row in node.rows for e in row):
            indexes = [[e.index for e in row if type(e) is bound.Param] for row in node.rows]
            gathers = [operators.gather(tuple(row)) for row in indexes]
            return lambda x: iter([gather(x.params) for gather in gathers])
        scope = Scope({}, outer=self.outer)
        # One function for a few rows at a time keeps each compile() small.
        functions = [
            self._rows_function(node.rows[start : start + 64], scope)
            for start in range(0, len(node.rows), 64)
        ]
        return lambda x: iter([row for function in functions for row in function(x)])

    def _rows_function(self, rows: tuple[tuple[Expr, ...], ...], scope: Scope) -> Any:
        emitter = _straight_emitter(self)
        texts = [
            "(" + "".join([emitter.value(expr, scope) + ", " for expr in row]) + ")" for row in rows
        ]
        return self._function(emitter, f"[{', '.join(texts)}]", "x")

    # ── sort, distinct, sets ─────────────────────────────────────────────────────────────────
    def _sort(self, node: Sort) -> Open:
        source = self.open(node.input)
        ids = schema(node.input)
        plain = self._plain_passes(node, ids)
        if plain is not None:
            return self._sorted(node, source, plain)
        # Keys that are expressions are computed once a row, appended, and cut off at the end.
        scope = self.scope(ids, "r", non_null(node.input))
        extend = self.tuple_function(tuple([key.expr for key in node.keys]), scope, "x, r")
        width = len(ids)

        def extended(x: Context) -> Iterator[tuple[Any, ...]]:
            return (row + extend(x, row) for row in source(x))

        rows = self._sorted(node, extended, self._argument_passes(node.keys, width))
        return lambda x: (row[:width] for row in rows(x))

    def _sorted(self, node: Sort, source: Open, passes: list[operators.SortPass]) -> Open:
        if node.limit is None:
            return operators.sort_operator(source, passes)
        return operators.top_operator(source, passes, self._bounds(node.limit, node.offset))

    def _plain_passes(self, node: Sort, ids: Schema) -> list[operators.SortPass] | None:
        """Passes when every key is a column of the input."""
        sure = non_null(node.input)
        keys: list[tuple[str, SortKey, bool]] = []
        for key in node.keys:
            expr = key.expr
            if type(expr) is not bound.Column or (expr.relation, expr.column) not in ids:
                return None
            column_id = (expr.relation, expr.column)
            keys.append((f"r[{ids.index(column_id)}]", key, column_id in sure))
        return sort_passes(keys)

    def _argument_passes(self, keys: tuple[SortKey, ...], width: int) -> list[operators.SortPass]:
        return sort_passes([(f"r[{width + i}]", key, False) for i, key in enumerate(keys)])

    def _row_key(self, node: PlanNode) -> operators.KeyFunction | None:
        """Comparison key of a node's whole rows."""
        types = output_types(node)
        return operators.row_key(types)

    def _set(self, node: SetOp) -> Open:
        left, right = self.open(node.left), self.open(node.right)
        if node.op == "union":
            both = operators.union_all_operator(left, right)
            if node.all:
                return both
            return operators.distinct_operator(both, self._row_key(node))
        return operators.set_operator(node.op, node.all, left, right, self._row_key(node))

    # ── joins ────────────────────────────────────────────────────────────────────────────────
    def _full_join(self, node: Join) -> Open:
        left_ids, right_ids = schema(node.left), schema(node.right)
        keys = None
        if node.left_keys:
            keys = (
                self._key_function(node.left_keys, self.scope(left_ids, "r")),
                self._key_function(node.right_keys, self.scope(right_ids, "r")),
            )
        scope = self.scope(left_ids, "l")
        scope.names.update(self.scope(right_ids, "r").names)
        return operators.full_join_operator(
            self.open(node.left),
            self.open(node.right),
            keys,
            self.test_function(node.on, scope, "x, l, r"),
            (len(left_ids), len(right_ids)),
        )

    def _key_function(self, keys: tuple[Expr, ...], scope: Scope) -> Callable[[Context, Any], Any]:
        values = self.tuple_function(keys, scope, "x, r")
        conversions = [comparison_key(key.type) for key in keys]

        def key(x: Context, row: Any) -> Any:
            found = values(x, row)
            if None in found:
                return None
            return tuple([v if c is None else c(v) for v, c in zip(found, conversions)])

        return key

    # ── subqueries in expressions ────────────────────────────────────────────────────────────
    def subplan(self, subplan: Subplan) -> Any:
        """A runner (context, outer values[, operand]) → value."""
        ids = {(c.relation, c.column): i for i, c in enumerate(subplan.outer)}
        source = compile_plan(subplan.plan, outer=ids, profile=self.profile, style=self.style)
        if subplan.kind == "scalar":
            return memoized(lambda x: _scalar(source(x)))
        if subplan.kind == "exists":
            negated = subplan.negated
            return memoized(lambda x: (next(source(x), _MISSING) is _MISSING) is negated)
        assert subplan.operand is not None
        convert = comparison_key(subplan.operand.type)
        members = memoized(lambda x: _members(source(x), convert))
        return _in_runner(members, convert, subplan.negated)


def _straight_emitter(compiler: PlanCompiler) -> Emitter:
    """For a function without a loop: it evaluates everything once a call."""
    emitter = Emitter(compiler.subplan, compiler.style)
    emitter.hoisting = False
    return emitter


def memoized(compute: Callable[[Context], Any]) -> Callable[[Context, tuple[Any, ...]], Any]:
    """`compute` in a child context, once for each distinct tuple of outer values."""

    def run(x: Context, values: tuple[Any, ...]) -> Any:
        memo = x.memo.get(run)
        if memo is None:
            memo = x.memo[run] = {}
        found = memo.get(values, _MISSING)
        if found is _MISSING:
            if len(memo) >= _MEMO_LIMIT:
                memo.clear()
            found = memo[values] = compute(x.child(values))
        return found

    return run


def _scalar(rows: Iterator[tuple[Any, ...]]) -> Any:
    row = next(rows, None)
    if row is None:
        return None
    if next(rows, None) is not None:
        raise DataError(
            "more than one row returned by a subquery used as an expression", sqlstate="21000"
        )
    return row[0]


def _members(
    rows: Iterator[tuple[Any, ...]], convert: Callable[[Any], Any] | None
) -> tuple[set[Any], bool, bool]:
    """(values, has a NULL, has rows)."""
    values = {row[0] for row in rows}
    any_rows = bool(values)
    has_null = None in values
    values.discard(None)
    if convert is not None:
        values = {convert(value) for value in values}
    return values, has_null, any_rows


def _in_runner(
    members: Callable[[Context, tuple[Any, ...]], Any],
    convert: Callable[[Any], Any] | None,
    negated: bool,
) -> Callable[[Context, tuple[Any, ...], Any], Any]:
    def run(x: Context, outer: tuple[Any, ...], operand: Any) -> Any:
        values, has_null, any_rows = members(x, outer)
        if not any_rows:
            return negated
        if operand is None:
            return None
        if (operand if convert is None else convert(operand)) in values:
            return not negated
        return None if has_null else negated

    return run


def sort_passes(keys: list[tuple[str, SortKey, bool]]) -> list[operators.SortPass]:
    """Sort passes for (source of the value, key, never NULL). Neighbouring keys of one
    direction share a pass. A NULL is placed by a flag before the value; NaN by its own key."""
    groups: list[tuple[bool, list[str]]] = []
    environment: dict[str, Any] = {}
    for text, key, sure in keys:
        parts: list[str] = []
        convert = comparison_key(key.expr.type)
        value = text
        if convert is not None:
            environment[f"k{len(environment)}"] = convert
            value = f"k{len(environment) - 1}({text})"
        if not sure:
            last = key.nulls_first is key.descending
            parts.append(f"{text} is {'' if last else 'not '}None")
            if convert is not None:
                value = f"None if {text} is None else {value}"
        parts.append(value)
        if groups and groups[-1][0] is key.descending:
            groups[-1][1].extend(parts)
        else:
            groups.append((key.descending, parts))
    passes: list[operators.SortPass] = []
    for descending, parts in groups:
        body = parts[0] if len(parts) == 1 else "(" + ", ".join(parts) + ")"
        names = dict(environment)
        passes.append((compile_function(f"def run(r): return {body}\n", names), descending))
    return passes


def output_types(node: PlanNode) -> list[SqlType]:
    """The types of a node's columns."""
    match node:
        case Scan():
            key = SqlType("bigint")
            return [node.table.columns[c].type if c >= 0 else key for c in node.columns]
        case Project():
            return [expr.type for expr in node.exprs]
        case Aggregate():
            return [*[k.type for k in node.keys], *[call.type for call in node.aggregates]]
        case Filter() | Distinct() | Sort() | Limit():
            return output_types(node.input)
        case Join():
            left = output_types(node.left)
            return left if node.kind in ("semi", "anti") else left + output_types(node.right)
        case SetOp():
            return output_types(node.left)
        case ValuesRows():
            return [expr.type for expr in node.rows[0]] if node.rows else []
        case CteScan():
            return output_types(node.plan)
        case CountRows():
            return [SqlType("bigint")]
        case _:
            return []
