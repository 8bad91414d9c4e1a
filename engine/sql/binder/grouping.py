"""From expressions over rows to expressions over groups.

After aggregation only group keys and aggregates exist: `lift` replaces every part that equals a
GROUP BY expression by its GroupKey and refuses columns that are left (42803).

A table's columns may be used freely when its primary key is among the group keys: they are added
as further keys, which changes no group. A subquery above the aggregation may read group keys that
are plain columns; they stay Columns inside it and in its `outer` list.
"""

from __future__ import annotations

from engine.sql import bound
from engine.sql.binder.rewrite import map_children, same_expression
from engine.sql.binder.scope import Scope
from engine.sql.binder.state import Expr, Pending, fail
from engine.sql.bound import BoundExpr, Column, GroupKey

_SUBQUERIES = (bound.ScalarSubquery, bound.Exists, bound.InSubquery)


class Grouping:
    """The group keys of one SELECT. primary_keys: relation number → positions of its key."""

    __slots__ = ("keys", "primary_keys", "scope")

    def __init__(
        self, scope: Scope, keys: list[BoundExpr], primary_keys: dict[int, tuple[int, ...]]
    ) -> None:
        self.scope = scope
        self.keys = keys
        self.primary_keys = primary_keys

    def lift(self, expr: Expr) -> Expr:
        """The expression in terms of group keys and aggregates. 42803."""
        if isinstance(expr, Pending):
            return expr
        for i, key in enumerate(self.keys):
            if same_expression(key, expr):
                return GroupKey(i, key.type, expr.span)
        if isinstance(expr, Column):
            return self._lift_column(expr)
        if isinstance(expr, _SUBQUERIES):
            for column in expr.outer:
                self._require_key(column)
        return map_children(expr, self.lift)

    def _lift_column(self, column: Column) -> BoundExpr:
        if not self.scope.owns(column.relation):
            return column
        if self._depends_on_keys(column.relation):
            self.keys.append(column)
            return GroupKey(len(self.keys) - 1, column.type, column.span)
        raise self._not_grouped(column)

    def _require_key(self, column: Column) -> None:
        if not self.scope.owns(column.relation):
            return
        if any(same_expression(key, column) for key in self.keys):
            return
        if not self._depends_on_keys(column.relation):
            raise self._not_grouped(column)
        self.keys.append(column)

    def _depends_on_keys(self, relation: int) -> bool:
        positions = self.primary_keys.get(relation)
        if not positions:
            return False
        grouped = {
            key.column for key in self.keys if isinstance(key, Column) and key.relation == relation
        }
        return grouped.issuperset(positions)

    def _not_grouped(self, column: Column) -> Exception:
        alias = next(r.alias for r in self.scope.relations if r.relation == column.relation)
        message = f'column "{alias}.{column.name}" must appear in the GROUP BY clause'
        message += " or be used in an aggregate function"
        return fail("42803", message, column.span)
