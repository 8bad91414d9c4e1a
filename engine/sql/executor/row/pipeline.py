"""Pipelines: a run of scan, filter, project and join-probe nodes as one generated loop.

    def run(x):                         x: Context
        p = x.params; o = x.outer
        h0 = ...                        hoisted: parameters, hash tables, what no row changes
        for _, r0 in k0(x):             the source: pairs of a scan, or rows of an operator
            a0, a1 = r0                 only the columns that later stages read
            if not (...): continue      Filter
            m1 = h1.get(a0)             Join, right side hashed
            if m1 is None: continue
            for r1 in m1:
                b0 = r1[3]
                yield (a1, b0 + p0)     the sink

Sinks: `rows` yields tuples, `table` returns {key: [rows]} for a hash join, `aggregate` (in
aggregate.py) groups. Everything else (sort, distinct, set operations) is an operator with an
input (operators.py), hence the source of the pipeline above it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Protocol

from engine.sql.executor.row.context import Open
from engine.sql.executor.row.emitter import Style
from engine.sql.executor.row.source import Emitter, Scope, compile_function
from engine.sql.expressions import columns_of, exprs_of, non_null
from engine.sql.plan import (
    ColumnId,
    Expr,
    Filter,
    Join,
    OneRow,
    PlanNode,
    Project,
    Scan,
    Schema,
    Subplan,
    schema,
)
from engine.types import comparison_key


class ScanSource(Protocol):
    """A table scan: `pairs(x)` gives (tree key, row); columns maps a column number to
    its place in the row (KEY_COLUMN is not there) with its storage-to-runtime conversion.
    pieces(x, positions, by column): the same rows without keys, or None where keys are needed to
    find them; positions: the columns of the scan, as numbers of the table."""

    pairs: Open
    pieces: Callable[[Any, tuple[int, ...], bool], Iterator[Any]] | None
    positions: tuple[int, ...]
    places: dict[int, int]
    conversions: dict[int, Callable[[Any], Any]]


class Compiler(Protocol):
    """What a pipeline needs from engine.sql.executor.row.build."""

    outer: dict[ColumnId, int]
    fuse: bool
    style: Style

    def open(self, node: PlanNode) -> Open: ...

    def scan_source(self, scan: Scan) -> ScanSource: ...

    def subplan(self, subplan: Subplan) -> Any: ...


_PROBED = ("inner", "left", "semi", "anti")
_JOINS_MAX = 8  # of one function: each is a loop or two, and Python nests at most 20


def stages_of(node: PlanNode, most: int) -> tuple[PlanNode, list[PlanNode]]:
    """(source node, at most `most` stages from the source upwards) of the pipeline that ends in
    `node`."""
    stages: list[PlanNode] = []
    joins = 0
    while len(stages) < most and joins < _JOINS_MAX:
        if isinstance(node, Filter | Project):
            stages.append(node)
            node = node.input
        elif isinstance(node, Join) and node.kind in _PROBED:
            stages.append(node)
            node = node.left
            joins += 1
        else:
            break
    stages.reverse()
    return node, stages


class Pipeline:
    """Text of one generated function. `needed`: ids that the sink reads, beside the whole row
    if `whole`."""

    def __init__(
        self,
        compiler: Compiler,
        node: PlanNode,
        needed: set[ColumnId],
        whole: bool,
        unfused_stages: int = 0,
    ) -> None:
        self.compiler = compiler
        self.emitter = Emitter(compiler.subplan, compiler.style)
        self.lines: list[str] = []
        self.depth = 1
        self._levels = 0
        most = 1_000_000 if compiler.fuse else unfused_stages
        self.source, self.stages = stages_of(node, most)
        self.emitter.hoisting = not isinstance(self.source, OneRow)
        # Unfused, a scan under something else is an operator of its own.
        self._opens_scan = compiler.fuse or bool(unfused_stages and not self.stages)
        self.used = set(needed)
        self.whole = whole and not any(isinstance(stage, Project) for stage in self.stages)
        for stage in self.stages:
            for expr in exprs_of(stage):
                self.used |= columns_of(expr)
        self.scope = Scope({}, frozenset(), compiler.outer)
        self.row = "()"
        self._open_source()
        last = self.stages[-1] if self.stages else None
        for stage in self.stages:
            self._stage(stage, inline=stage is last and whole)

    # ── text ─────────────────────────────────────────────────────────────────────────────────
    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def finish(self, after: list[str] | None = None, before: list[str] | None = None) -> Any:
        """The compiled function; `before` and `after` are lines around the loop."""
        head = ["def run(x):", "    p = x.params", "    o = x.outer"]
        head += ["    " + text for text in (*self.emitter.hoisted, *(before or []))]
        text = "\n".join([*head, *self.lines, *["    " + line for line in (after or [])]])
        return compile_function(text + "\n", self.emitter.environment)

    def value(self, expr: Expr) -> str:
        return self.emitter.value(expr, self.scope)

    # ── source ───────────────────────────────────────────────────────────────────────────────
    def _open_source(self) -> None:
        source = self.source
        self.scope.non_null = non_null(source)
        if not isinstance(source, Scan) or not self._opens_scan:
            self.line(f"for r0 in {self.emitter.constant(self.compiler.open(source))}(x):")
            self.depth += 1
            self.row = "r0"
            self._unpack("r0", "a", schema(source))
            return
        scan = self.compiler.scan_source(source)
        width = max(scan.places.values(), default=-1) + 1
        in_place = [scan.places.get(c) for c in source.columns] == list(range(width))
        in_place = in_place and not scan.conversions
        if self.whole and not in_place:
            self.used |= set(schema(source))
        names: dict[int, str] = {}
        wanted = [c for c in source.columns if (source.relation, c) in self.used and c >= 0]
        whole = self.whole and in_place
        if scan.pieces is not None and source.columns == scan.positions and (whole or wanted):
            self._loop_over_pieces(scan.pieces, scan.positions if whole else tuple(wanted), whole)
        else:
            self.line(f"for key, r0 in {self.emitter.constant(scan.pairs)}(x):")
            whole = True
        self.depth += 1
        if not whole:
            pass  # the loop's own variables
        elif len(wanted) > 1 and len(wanted) * 2 >= width and width == len(scan.places):
            by_place = {scan.places[c]: f"a{c}" for c in wanted}
            self.line(", ".join([by_place.get(i, "_") for i in range(width)]) + ", = r0")
        else:
            for column in wanted:
                self.line(f"a{column} = r0[{scan.places[column]}]")
        nullable = self.scope.non_null
        for column in source.columns:
            name = "key" if column < 0 else f"a{column}"
            names[column] = name
            if column in scan.conversions and (source.relation, column) in self.used:
                convert = f"{self.emitter.constant(scan.conversions[column])}({name})"
                if (source.relation, column) not in nullable:
                    convert = f"None if {name} is None else {convert}"
                self.line(f"{name} = {convert}")
        self.scope.names = {(source.relation, c): name for c, name in names.items()}
        self.row = "r0" if in_place else _tuple([names[c] for c in source.columns])

    def _loop_over_pieces(self, pieces: Any, columns: tuple[int, ...], whole: bool) -> None:
        """No frame, no poll and no key a row: measured, half of the time of a loop over pairs.
        zip gives the same tuple again when nobody kept it."""

        def rows(x: Any) -> Iterator[Any]:
            return chain.from_iterable(pieces(x, columns, False))

        target = "r0" if whole else "".join([f"a{column}, " for column in columns])
        self.line(f"for {target} in {self.emitter.constant(rows)}(x):")

    def _unpack(self, row: str, prefix: str, ids: Schema) -> None:
        wanted = [i for i, column_id in enumerate(ids) if column_id in self.used]
        if len(wanted) > 1 and len(wanted) * 2 >= len(ids):
            names = [f"{prefix}{i}" if i in wanted else "_" for i in range(len(ids))]
            self.line(", ".join(names) + f", = {row}")
        else:
            for i in wanted:
                self.line(f"{prefix}{i} = {row}[{i}]")
        for i in wanted:
            self.scope.names[ids[i]] = f"{prefix}{i}"

    # ── stages ───────────────────────────────────────────────────────────────────────────────
    def _stage(self, stage: PlanNode, inline: bool) -> None:
        self._levels += 1
        match stage:
            case Filter():
                self.skip_unless(stage.predicates)
            case Project():
                self._project(stage, inline)
            case Join():
                self._join(stage)
            case _:
                raise AssertionError(stage)

    def skip_unless(self, predicates: tuple[Expr, ...]) -> None:
        """`continue` unless every predicate is true."""
        if predicates:
            self.line(f"if not ({self.condition(predicates)}): continue")

    def condition(self, predicates: tuple[Expr, ...]) -> str:
        return " and ".join([self.emitter.is_true(p, self.scope) for p in predicates]) or "True"

    def _project(self, project: Project, inline: bool) -> None:
        level = self._levels
        names: dict[ColumnId, str] = {}
        parts: list[str] = []
        for column, expr in zip(project.columns, project.exprs, strict=True):
            text = self.value(expr)
            column_id = (project.relation, column)
            if not inline and not text.isidentifier() and column_id in self.used:
                name = f"v{level}_{column}"
                self.line(f"{name} = {text}")
                text = name
            names[column_id] = text
            parts.append(text)
        self.row = _tuple(parts)
        self.scope = Scope(names, non_null(project), self.compiler.outer)

    def _join(self, join: Join) -> None:
        level = self._levels
        right_ids = schema(join.right)
        row, matches = f"r{level}", f"m{level}"
        scope = self.scope
        left_scope = Scope(dict(scope.names), scope.non_null, scope.outer)
        if join.null_aware:
            self._null_aware_anti(join, level)
            return
        if not join.on and join.kind in ("semi", "anti") and join.left_keys:
            keys = self._hoisted_table(join, "keys")
            word = "in" if join.kind == "anti" else "not in"
            self.line(f"if {self.key(join.left_keys)} {word} {keys}: continue")
            return
        if join.left_keys:
            table = self._hoisted_table(join, "table")
            candidates = f"{table}.get({self.key(join.left_keys)}, ())"
        else:
            if "poll = x.poll" not in self.emitter.hoisted:
                self.emitter.hoisted.append("poll = x.poll")
            self.line("poll()")
            candidates = self._hoisted_table(join, "list")
        both = non_null(join) if join.kind == "inner" else scope.non_null | non_null(join.right)
        if join.kind == "inner":
            self.line(f"for {row} in {candidates}:")
            self.depth += 1
            self._unpack(row, f"b{level}_", right_ids)
            scope.non_null = both
            self.skip_unless(join.on)
            self.row = _concatenate(self.row, row)
            return
        if not join.on and join.kind == "left":
            self.line(f"{matches} = {candidates}")
        else:
            # Rows that match, or at least whether there is one.
            self.line(f"{matches} = []")
            self.line(f"for {row} in {candidates}:")
            self.depth += 1
            self._unpack(row, f"b{level}_", right_ids)
            scope.non_null = both
            self.line(f"if {self.condition(join.on)}:")
            self.line(f"    {matches}.append({row})")
            if join.kind != "left":
                self.line("    break")
            self.depth -= 1
            self.scope = left_scope
        if join.kind == "left":
            nothing = self.emitter.constant(((None,) * len(right_ids),))
            self.line(f"for {row} in {matches} or {nothing}:")
            self.depth += 1
            self._unpack(row, f"b{level}_", right_ids)
            self.row = _concatenate(self.row, row)
        else:
            self.line(f"if {'not ' if join.kind == 'semi' else ''}{matches}: continue")

    def _null_aware_anti(self, join: Join, level: int) -> None:
        """NOT IN: rows pass when the right side is empty, or neither side is NULL and nothing is
        equal. Right rows that fail `on` never exist here: the optimizer keeps such subqueries."""
        keys = self._hoisted_table(join, "nullable")
        name = f"q{level}"
        self.line(f"{name} = {self.key(join.left_keys)}")
        self.line(
            f"if {keys}[1] and ({keys}[2] or {name} is None or {name} in {keys}[0]): continue"
        )

    def _hoisted_table(self, join: Join, form: str) -> str:
        """A local with the right side: 'table' {key: [rows]}, 'keys' set, 'nullable' (set,
        has rows, has NULL), 'list' rows."""
        if form == "list":
            build = self.emitter.constant(self.compiler.open(join.right))
            return self.emitter.hoist(f"list({build}(x))")
        build = self.emitter.constant(compile_table(self.compiler, join.right, join, form))
        return self.emitter.hoist(f"{build}(x)")

    def key(self, keys: tuple[Expr, ...]) -> str:
        """Source of a hash key: one value, or a tuple of them; floats and the like by their
        comparison key."""
        parts = [self.key_part(expr) for expr in keys]
        return parts[0] if len(parts) == 1 else _tuple(parts)

    def key_part(self, expr: Expr) -> str:
        convert = comparison_key(expr.type)
        if convert is None:
            return self.value(expr)
        test, reference = self.emitter.bind(expr, self.scope)
        text = f"{self.emitter.constant(convert)}({reference})"
        return f"(None if {test} else {text})" if test else text


def _tuple(parts: list[str]) -> str:
    return "(" + ", ".join(parts) + ("," if len(parts) == 1 else "") + ")"


def _concatenate(left: str, right: str) -> str:
    return right if left == "()" else f"{left} + {right}"


def compile_rows(compiler: Compiler, node: PlanNode) -> Open:
    """A generator function over the pipeline's rows."""
    pipeline = Pipeline(compiler, node, set(), True, 1)
    pipeline.line(f"yield {pipeline.row}")
    run: Open = pipeline.finish()
    return run


def compile_table(
    compiler: Compiler, node: PlanNode, join: Join, form: str
) -> Callable[[Any], Any]:
    """A function (context) that hashes the node's rows by the join's right keys."""
    keys = join.right_keys
    needed: set[ColumnId] = set().union(*[columns_of(key) for key in keys])
    pipeline = Pipeline(compiler, node, needed, form == "table")
    before: list[str] = []
    if form == "table" and pipeline.row.startswith("("):
        # an inlined projection: keys read its columns by place
        pipeline.line(f"row = {pipeline.row}")
        pipeline.row = "row"
        ids = schema(node)
        pipeline.scope = Scope(
            {column_id: f"row[{i}]" for i, column_id in enumerate(ids)},
            pipeline.scope.non_null,
            compiler.outer,
        )
    pipeline.line(f"k = {pipeline.key(keys)}")
    null = "k is None" if len(keys) == 1 else "None in k"
    if form == "nullable":
        before += ["table = set()", "rows = nulls = False"]
        pipeline.line("rows = True")
        pipeline.line(f"if {null}: nulls = True")
        pipeline.line("else: table.add(k)")
        return pipeline.finish(["return table, rows, nulls"], before)  # type: ignore[no-any-return]
    pipeline.line(f"if {null}: continue")
    if form == "keys":
        before.append("table = set()")
        pipeline.line("table.add(k)")
    else:
        before += ["table = {}", "get = table.get"]
        pipeline.line("same = get(k)")
        pipeline.line(f"if same is None: table[k] = [{pipeline.row}]")
        pipeline.line(f"else: same.append({pipeline.row})")
    return pipeline.finish(["return table"], before)  # type: ignore[no-any-return]
