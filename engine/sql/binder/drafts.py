"""Queries whose output types are not settled yet.

A query is bound in two steps: binding makes a draft that knows what its outputs are by
themselves; `finish` says what the surroundings want (the column types of an INSERT, the common
types of a UNION, the other side of IN) and makes the bound query. So `INSERT INTO t SELECT ?, NULL`
and `SELECT NULL UNION SELECT 1` get the types PostgreSQL gives them.
"""

from __future__ import annotations

from typing import TypeAlias

from engine.sql.ast import Span
from engine.sql.binder.coercion import cast_is_identity, coerce, settle
from engine.sql.binder.state import Binding, Expr, Pending, fail
from engine.sql.bound import (
    BoundExpr,
    BoundQuery,
    Column,
    OutputColumn,
    OutputSort,
    Relation,
    Select,
    SetOperation,
    SubqueryScan,
    Values,
)
from engine.types import TEXT, SqlType, can_cast, common_type, type_text

Targets: TypeAlias = list[SqlType] | None


class SelectDraft:
    """A SELECT block. `visible` outputs come first, those that exist for ORDER BY after them."""

    __slots__ = (
        "aggregates",
        "distinct",
        "from_",
        "group_by",
        "grouped",
        "having",
        "outputs",
        "visible",
        "where",
    )

    def __init__(
        self,
        from_: Relation | None,
        where: BoundExpr | None,
        outputs: list[Expr],
        distinct: bool,
    ) -> None:
        self.from_ = from_
        self.where = where
        self.outputs = outputs
        self.visible = len(outputs)
        self.distinct = distinct
        self.grouped = False
        self.group_by: tuple[BoundExpr, ...] = ()
        self.aggregates: tuple[object, ...] = ()
        self.having: BoundExpr | None = None

    def finish(self, binding: Binding, targets: Targets, context: str) -> Select:
        outputs: list[BoundExpr] = []
        for i, expr in enumerate(self.outputs):
            if targets is None or i >= self.visible:
                outputs.append(settle(binding, expr))
            elif isinstance(expr, Pending) or not self.distinct:
                outputs.append(coerce(binding, expr, targets[i], context))
            else:
                outputs.append(expr)
        return Select(
            self.from_,
            self.where,
            self.grouped,
            self.group_by,
            self.aggregates,  # type: ignore[arg-type]
            self.having,
            tuple(outputs),
            self.distinct,
        )


class ValuesDraft:
    """Rows of expressions, each column of one type."""

    __slots__ = ("rows", "types")

    def __init__(self, rows: list[list[Expr]], types: list[SqlType]) -> None:
        self.rows = rows
        self.types = types

    def finish(self, binding: Binding, targets: Targets, context: str) -> Values:
        wanted = [TEXT if t.kind == "unknown" else t for t in self.types]
        if targets is not None:
            wanted = [
                target if can_cast(own, target, context) else own
                for own, target in zip(wanted, targets, strict=True)
            ]
        return Values(
            tuple(
                tuple(
                    coerce(binding, expr, target, context)
                    for expr, target in zip(row, wanted, strict=True)
                )
                for row in self.rows
            )
        )


class SetDraft:
    """UNION, INTERSECT, EXCEPT: both sides are finished with the types they have in common."""

    __slots__ = ("all", "left", "op", "right", "types")

    def __init__(self, op: str, all_: bool, left: QueryDraft, right: QueryDraft) -> None:
        self.op = op
        self.all = all_
        self.left = left
        self.right = right
        self.types = [
            _unified(self.op, a, b, right.span)
            for a, b in zip(left.types, right.types, strict=True)
        ]

    def finish(self, binding: Binding, targets: Targets, context: str) -> SetOperation:
        wanted = [
            own if own.kind != "unknown" else TEXT if targets is None else targets[i]
            for i, own in enumerate(self.types)
        ]
        return SetOperation(self.op, self.all, self.left.finish(wanted), self.right.finish(wanted))


def _unified(op: str, left: SqlType, right: SqlType, span: Span) -> SqlType:
    target = common_type([left, right])
    if target is None:
        pair = f"{type_text(left)} and {type_text(right)}"
        raise fail("42804", f"{op.upper()} types {pair} cannot be matched", span)
    return target


class QueryDraft:
    """A query with its ORDER BY, LIMIT and OFFSET. origins: (table, column) of plain columns."""

    __slots__ = (
        "binding",
        "body",
        "limit",
        "names",
        "offset",
        "order_by",
        "origins",
        "span",
        "types",
    )

    def __init__(
        self,
        binding: Binding,
        body: SelectDraft | ValuesDraft | SetDraft,
        names: list[str],
        types: list[SqlType],
        span: Span,
    ) -> None:
        self.binding = binding
        self.body = body
        self.names = names
        self.types = types
        self.span = span
        self.origins: list[tuple[str, str]] | None = None
        self.order_by: tuple[OutputSort, ...] = ()
        self.limit: BoundExpr | None = None
        self.offset: BoundExpr | None = None

    def finish(self, targets: Targets, context: str = "implicit") -> BoundQuery:
        """The bound query, its columns cast to `targets` where given. 42804."""
        binding = self.binding
        wanted = targets
        if targets is not None and (self.order_by or self.body.__class__ is SetDraft):
            # A cast below the sort would change its order: only untyped outputs settle inside.
            wanted = [
                target if own.kind == "unknown" else own
                for own, target in zip(self.types, targets, strict=True)
            ]
        body = self.body.finish(binding, wanted, context)
        types = _final_types(body, self.body, len(self.names))
        columns = tuple(
            OutputColumn(name, types[i], *(self.origins[i] if self.origins else ("", "")))
            for i, name in enumerate(self.names)
        )
        query = BoundQuery(body, columns, self.order_by, self.limit, self.offset)
        if targets is None:
            return query
        return _cast_outputs(binding, query, targets, context, self.span)


def _final_types(
    body: Select | Values | SetOperation, draft: SelectDraft | ValuesDraft | SetDraft, count: int
) -> list[SqlType]:
    if isinstance(body, Select):
        return [expr.type for expr in body.outputs[:count]]
    if isinstance(body, Values):
        assert isinstance(draft, ValuesDraft)
        return _values_types(body, draft)
    left, right = body.left.columns, body.right.columns
    joined = [common_type([a.type, b.type]) for a, b in zip(left, right, strict=True)]
    return [left[i].type if t is None else t for i, t in enumerate(joined)]


def _values_types(body: Values, draft: ValuesDraft) -> list[SqlType]:
    types = []
    for i in range(len(draft.types)):
        found = common_type([row[i].type for row in body.rows])
        types.append(draft.types[i] if found is None else found)
    return types


def _cast_outputs(
    binding: Binding, query: BoundQuery, targets: list[SqlType], context: str, span: Span
) -> BoundQuery:
    """The query itself when its columns already are (or read as) `targets`, else a SELECT of
    casts around it."""
    if all(
        cast_is_identity(column.type, target)
        for column, target in zip(query.columns, targets, strict=True)
    ):
        return query
    relation = binding.new_relation()
    scan = SubqueryScan(relation, query, "", 0, span)
    outputs = []
    for i, column in enumerate(query.columns):
        source = Column(relation, i, column.name, column.type, False, span)
        outputs.append(coerce(binding, source, targets[i], context))
    columns = tuple(
        OutputColumn(column.name, expr.type)
        for column, expr in zip(query.columns, outputs, strict=True)
    )
    select = Select(scan, None, False, (), (), None, tuple(outputs), False)
    return BoundQuery(select, columns, (), None, None)
