"""Bound tree to logical plan: one node for each clause, in the order SQL evaluates them.

    FROM -> WHERE -> GROUP BY -> HAVING -> SELECT -> DISTINCT -> ORDER BY -> LIMIT

The plan is correct as it stands; engine.sql.optimizer makes it fast. Subqueries in expressions
become `Subplan`s whose outer columns are recomputed here from the plan itself.
"""

from __future__ import annotations

from engine.catalog import Table
from engine.sql import bound
from engine.sql.expressions import free_columns, map_children, split_conjuncts
from engine.sql.plan import (
    KEY_COLUMN,
    Aggregate,
    AggregateCall,
    CreateTableAsPlan,
    CteScan,
    DdlPlan,
    DeletePlan,
    Distinct,
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
)
from engine.types import UNKNOWN, SqlType

_NO_SPAN = (0, 0)


def plan_statement(body: bound.BoundBody) -> StatementPlan:
    """The logical plan of a bound statement."""
    planner = _Planner()
    match body:
        case bound.BoundQuery():
            return QueryPlan(planner.plan_query(body), body.columns)
        case bound.Insert():
            return planner.plan_insert(body)
        case bound.Update():
            source, predicates = planner.plan_target(body.table, body.relation, body.where)
            return UpdatePlan(
                body.table,
                body.relation,
                source,
                predicates,
                tuple([(i, planner.plan_expr(e)) for i, e in body.assignments]),
                tuple([(name, planner.plan_expr(e)) for name, e in body.checks]),
                tuple([planner.plan_expr(e) for e in body.returning]),
                body.returning_columns,
            )
        case bound.Delete():
            source, predicates = planner.plan_target(body.table, body.relation, body.where)
            return DeletePlan(
                body.table,
                body.relation,
                source,
                predicates,
                tuple([planner.plan_expr(e) for e in body.returning]),
                body.returning_columns,
            )
        case bound.CreateTable() if body.query is not None:
            return CreateTableAsPlan(body.table, body.if_not_exists, planner.plan_query(body.query))
        case _:
            return DdlPlan(body)


class _Planner:
    """State of planning one statement: the next relation number and the common tables."""

    def __init__(self) -> None:
        self._next_relation = 0
        self._common: dict[int, PlanNode] = {}

    def _relation(self) -> int:
        self._next_relation -= 1
        return self._next_relation

    # ── queries ──────────────────────────────────────────────────────────────────────────────
    def plan_query(self, query: bound.BoundQuery, relation: int | None = None) -> PlanNode:
        """A plan that produces exactly the query's visible columns; as (relation, 0…) if given."""
        visible = len(query.columns)
        body = query.body
        width = len(body.outputs) if isinstance(body, bound.Select) else visible
        inner = relation if relation is not None and width == visible else self._relation()
        node = self._plan_body(body, inner, visible)
        if query.order_by:
            types = _output_types(query, width)
            keys = tuple(
                [
                    SortKey(
                        _column(inner, sort.output, types[sort.output]),
                        sort.descending,
                        sort.nulls_first,
                    )
                    for sort in query.order_by
                ]
            )
            node = Sort(node, keys)
        if query.limit is not None or query.offset is not None:
            limit = None if query.limit is None else self.plan_expr(query.limit)
            offset = None if query.offset is None else self.plan_expr(query.offset)
            node = Limit(node, limit, offset)
        if width != visible:
            outer = relation if relation is not None else self._relation()
            exprs = tuple([_column(inner, i, query.columns[i].type) for i in range(visible)])
            node = Project(outer, node, exprs, tuple(range(visible)))
        return node

    def _plan_body(
        self, body: bound.Select | bound.Values | bound.SetOperation, relation: int, width: int
    ) -> PlanNode:
        match body:
            case bound.Select():
                return self._plan_select(body, relation)
            case bound.Values():
                rows = tuple([tuple([self.plan_expr(e) for e in row]) for row in body.rows])
                return ValuesRows(relation, rows, width)
            case bound.SetOperation():
                left = self.plan_query(body.left)
                right = self.plan_query(body.right)
                return SetOp(relation, body.op, body.all, left, right, width)

    def _plan_select(self, select: bound.Select, relation: int) -> PlanNode:
        node: PlanNode = OneRow() if select.from_ is None else self._plan_from(select.from_)
        node = _filter(node, self.plan_conjuncts(select.where))
        lift: _Lift | None = None
        if select.grouped:
            group = self._relation()
            calls = tuple([self._plan_aggregate(call) for call in select.aggregates])
            keys = tuple([self.plan_expr(key) for key in select.group_by])
            columns = tuple(range(len(keys) + len(calls)))
            node = Aggregate(group, node, keys, calls, columns)
            lift = _Lift(group, keys)
            node = _filter(node, self.plan_conjuncts(select.having, lift))
        exprs = tuple([self.plan_expr(output, lift) for output in select.outputs])
        node = Project(relation, node, exprs, tuple(range(len(exprs))))
        return Distinct(node) if select.distinct else node

    def _plan_aggregate(self, call: bound.Aggregate) -> AggregateCall:
        order = tuple(
            [
                SortKey(self.plan_expr(key.expr), key.descending, key.nulls_first)
                for key in call.order_by
            ]
        )
        return AggregateCall(
            call.function,
            tuple([self.plan_expr(arg) for arg in call.args]),
            call.distinct,
            None if call.filter is None else self.plan_expr(call.filter),
            order,
            call.type,
        )

    def _plan_from(self, relation: bound.Relation) -> PlanNode:
        match relation:
            case bound.TableScan():
                columns = tuple(range(len(relation.table.columns)))
                return Scan(relation.relation, relation.table, relation.alias, columns)
            case bound.SubqueryScan():
                if not relation.cte_id:
                    return self.plan_query(relation.query, relation.relation)
                plan = self._common.get(relation.cte_id)
                if plan is None:
                    plan = self.plan_query(relation.query)
                    self._common[relation.cte_id] = plan
                return CteScan(relation.relation, relation.cte_id, relation.alias, plan)
            case bound.JoinTree():
                kind = "inner" if relation.kind == "cross" else relation.kind
                left, right = self._plan_from(relation.left), self._plan_from(relation.right)
                on = self.plan_conjuncts(relation.on)
                if kind == "right":
                    return Join("left", right, left, on)
                return Join(kind, left, right, on)

    # ── expressions ──────────────────────────────────────────────────────────────────────────
    def plan_conjuncts(
        self, expr: bound.BoundExpr | None, lift: _Lift | None = None
    ) -> tuple[Expr, ...]:
        return split_conjuncts(None if expr is None else self.plan_expr(expr, lift))

    def plan_expr(self, expr: Expr, lift: _Lift | None = None) -> Expr:
        """The expression with subqueries planned and, above an aggregation, group keys and
        aggregates turned into columns of it."""
        match expr:
            case bound.ScalarSubquery():
                return self._subplan("scalar", expr, None, False, lift)
            case bound.Exists():
                return self._subplan("exists", expr, None, expr.negated, lift)
            case bound.InSubquery():
                operand = self.plan_expr(expr.operand, lift)
                return self._subplan("in", expr, operand, expr.negated, lift)
            case bound.GroupKey() if lift is not None:
                return _column(lift.relation, expr.index, expr.type)
            case bound.AggregateRef() if lift is not None:
                return _column(lift.relation, lift.key_count + expr.index, expr.type)
            case _:
                return map_children(expr, lambda child: self.plan_expr(child, lift))

    def _subplan(
        self,
        kind: str,
        expr: bound.ScalarSubquery | bound.Exists | bound.InSubquery,
        operand: Expr | None,
        negated: bool,
        lift: _Lift | None,
    ) -> Subplan:
        plan = self.plan_query(expr.query)
        outer = tuple(free_columns(plan).values())
        values: tuple[Expr, ...] = outer
        if lift is not None:
            values = tuple([lift.columns.get((c.relation, c.column), c) for c in outer])
        return Subplan(kind, plan, outer, values, operand, negated, expr.type, expr.span)

    # ── data changes ─────────────────────────────────────────────────────────────────────────
    def plan_insert(self, insert: bound.Insert) -> InsertPlan:
        source = None if insert.source is None else self.plan_query(insert.source)
        return InsertPlan(
            insert.table,
            insert.relation,
            insert.columns,
            source,
            tuple([None if e is None else self.plan_expr(e) for e in insert.defaults]),
            tuple([(name, self.plan_expr(e)) for name, e in insert.checks]),
            insert.conflict,
            tuple([self.plan_expr(e) for e in insert.returning]),
            insert.returning_columns,
        )

    def plan_target(
        self, table: Table, relation: int, where: bound.BoundExpr | None
    ) -> tuple[PlanNode, tuple[Expr, ...]]:
        """The rows an UPDATE or DELETE changes, with their tree keys; and its predicates."""
        columns = (KEY_COLUMN, *range(len(table.columns)))
        predicates = self.plan_conjuncts(where)
        return _filter(Scan(relation, table, table.name, columns), predicates), predicates


class _Lift:
    """Where the keys and aggregates of a grouped Select are found. columns: grouped columns by
    id, for subqueries that read them as outer columns."""

    __slots__ = ("columns", "key_count", "relation")

    def __init__(self, relation: int, keys: tuple[Expr, ...]) -> None:
        self.relation = relation
        self.key_count = len(keys)
        self.columns = {
            (key.relation, key.column): _column(relation, i, key.type)
            for i, key in enumerate(keys)
            if type(key) is bound.Column
        }


def _filter(node: PlanNode, predicates: tuple[Expr, ...]) -> PlanNode:
    return Filter(node, predicates) if predicates else node


def _column(relation: int, column: int, type_: SqlType) -> bound.Column:
    return bound.Column(relation, column, "", type_, False, _NO_SPAN)


def _output_types(query: bound.BoundQuery, width: int) -> list[SqlType]:
    if isinstance(query.body, bound.Select):
        return [output.type for output in query.body.outputs]
    return [query.columns[i].type if i < len(query.columns) else UNKNOWN for i in range(width)]
