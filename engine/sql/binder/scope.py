"""Names in sight: relations of a query, and those of the queries around it.

A Scope belongs to one query block. Resolving a name that an enclosing block owns records the
column in `outer` of every block between, which is how correlated subqueries come to know what
they read.

Invariants
1. A relation number belongs to exactly one Scope of the statement.
2. `outer` holds, for its block, every column of enclosing blocks read inside it, at any depth.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from engine.sql.ast import ColumnRef, Span
from engine.sql.binder.state import fail
from engine.sql.bound import Aggregate, BoundExpr, BoundQuery, Column
from engine.types import SqlType

if TYPE_CHECKING:
    from engine.errors import ProgrammingError


_WORDS = (
    "all",
    "current_date",
    "current_timestamp",
    "default",
    "distinct",
    "false",
    "null",
    "true",
)
"""Keywords that, misspelt, are read as columns."""


class ScopeRelation:
    """One FROM item: positions maps column name → index; table_name is '' for a derived table.

    A name that occurs twice in a derived table has position AMBIGUOUS.
    """

    __slots__ = ("alias", "names", "not_null", "positions", "relation", "table_name", "types")

    def __init__(
        self,
        alias: str,
        relation: int,
        positions: dict[str, int],
        names: tuple[str, ...],
        types: tuple[SqlType, ...],
        not_null: tuple[bool, ...] | None,
        table_name: str,
    ) -> None:
        self.alias = alias
        self.relation = relation
        self.positions = positions
        self.names = names
        self.types = types
        self.not_null = not_null
        self.table_name = table_name

    def column(self, position: int, span: Span) -> Column:
        not_null = self.not_null is not None and self.not_null[position]
        return Column(
            self.relation, position, self.names[position], self.types[position], not_null, span
        )


AMBIGUOUS = -1


class Merged:
    """A column that USING or NATURAL made of two: `expr` stands for the unqualified name."""

    __slots__ = ("expr", "relations")

    def __init__(self, expr: BoundExpr, relations: frozenset[int]) -> None:
        self.expr = expr
        self.relations = relations


class CommonTableBinding:
    """A WITH query in sight; `query` is None inside itself (WITH RECURSIVE)."""

    __slots__ = ("cte_id", "name", "names", "query")

    def __init__(
        self, name: str, names: tuple[str, ...], query: BoundQuery | None, cte_id: int
    ) -> None:
        self.name = name
        self.names = names
        self.query = query
        self.cte_id = cte_id


class Scope:
    """One query block. aggregates is None where aggregates are not allowed (`clause` says where
    we are); hides_parent: the block is a derived table, which sees the queries around the
    enclosing block but not that block's own relations."""

    __slots__ = (
        "aggregates",
        "by_alias",
        "clause",
        "common_tables",
        "hides_parent",
        "in_aggregate",
        "merged",
        "outer",
        "parent",
        "relations",
        "star",
    )

    def __init__(self, parent: Scope | None = None, *, hides_parent: bool = False) -> None:
        self.parent = parent
        self.hides_parent = hides_parent
        self.relations: list[ScopeRelation] = []
        self.by_alias: dict[str, ScopeRelation] = {}
        self.merged: dict[str, Merged] | None = None
        self.star: list[tuple[str, BoundExpr]] | None = None
        self.outer: dict[tuple[int, int], Column] = {}
        self.aggregates: list[Aggregate] | None = None
        self.in_aggregate = False
        self.clause = ""
        self.common_tables: dict[str, CommonTableBinding] = {}

    def add(self, relation: ScopeRelation, span: Span) -> None:
        """Bring a relation in sight. 42712 when its name is taken."""
        if relation.alias in self.by_alias:
            message = f'table name "{relation.alias}" specified more than once'
            raise fail("42712", message, span)
        self.relations.append(relation)
        self.by_alias[relation.alias] = relation

    def owns(self, relation: int) -> bool:
        return any(item.relation == relation for item in self.relations)

    def find_local(self, name: str, span: Span) -> BoundExpr | None:
        """The unqualified column in this block only. 42702 when two relations have it."""
        merged = self.merged.get(name) if self.merged else None
        found: Column | None = None
        for relation in self.relations:
            position = relation.positions.get(name)
            if position is None or (merged is not None and relation.relation in merged.relations):
                continue
            if found is not None or merged is not None or position == AMBIGUOUS:
                raise fail("42702", f'column reference "{name}" is ambiguous', span)
            found = relation.column(position, span)
        return found if merged is None else merged.expr

    def resolve(self, node: ColumnRef) -> BoundExpr:
        """The column a name means, here or in a block around. 42703, 42P01, 42702."""
        if node.table is not None:
            return self._resolve_qualified(node)
        expr = self.find_local(node.name, node.span)
        if expr is not None:
            return expr
        passed = [self]
        scope, visible = self.parent, not self.hides_parent
        while scope is not None:
            if visible:
                expr = scope.find_local(node.name, node.span)
                if expr is not None:
                    return _note_outer(expr, passed)
            passed.append(scope)
            visible = not scope.hides_parent
            scope = scope.parent
        raise self._unknown_column(node)

    def _resolve_qualified(self, node: ColumnRef) -> BoundExpr:
        assert node.table is not None
        passed: list[Scope] = []
        scope: Scope | None = self
        visible = True
        while scope is not None:
            relation = scope.by_alias.get(node.table) if visible else None
            if relation is not None:
                position = relation.positions.get(node.name)
                if position is None:
                    raise _unknown_qualified(relation, node)
                if position == AMBIGUOUS:
                    raise fail("42702", f'column reference "{node.name}" is ambiguous', node.span)
                column = relation.column(position, node.span)
                return _note_outer(column, passed) if passed else column
            passed.append(scope)
            visible = not scope.hides_parent
            scope = scope.parent
        raise self._unknown_table(node)

    def find_common_table(self, name: str) -> CommonTableBinding | None:
        scope: Scope | None = self
        while scope is not None:
            found = scope.common_tables.get(name)
            if found is not None:
                return found
            scope = scope.parent
        return None

    def _visible_relations(self) -> list[ScopeRelation]:
        relations = list(self.relations)
        scope, visible = self.parent, not self.hides_parent
        while scope is not None:
            if visible:
                relations.extend(scope.relations)
            visible = not scope.hides_parent
            scope = scope.parent
        return relations

    def _unknown_column(self, node: ColumnRef) -> ProgrammingError:
        relations = self._visible_relations()
        names = {name: relation for relation in relations for name in reversed(relation.names)}
        close = difflib.get_close_matches(node.name, [*names, *_WORDS], 1, 0.5)
        hint = None
        if close and close[0] not in names:
            hint = f"Perhaps you meant {close[0].upper()}."
        elif close:
            hint = f'Perhaps you meant "{names[close[0]].alias}.{close[0]}".'
        elif node.name in self.by_alias:
            hint = f'"{node.name}" is a table here; name one of its columns.'
        return fail("42703", f'column "{node.name}" does not exist', node.span, hint)

    def _unknown_table(self, node: ColumnRef) -> ProgrammingError:
        relations = self._visible_relations()
        close = difflib.get_close_matches(str(node.table), [item.alias for item in relations], 1)
        hint = f'Perhaps you meant "{close[0]}".' if close else None
        for relation in relations:
            if relation.table_name == node.table and relation.alias != node.table:
                hint = f'The table is called "{relation.alias}" in this query.'
        span = (node.span[0], node.span[0] + len(str(node.table)))
        message = f'missing FROM-clause entry for table "{node.table}"'
        return fail("42P01", message, span, hint)


def _note_outer(expr: BoundExpr, passed: list[Scope]) -> BoundExpr:
    # Invariant 2: every block between the reference and the owner reads the column.
    for column in columns_of(expr):
        for scope in passed:
            scope.outer[column.relation, column.column] = column
    return expr


def columns_of(expr: BoundExpr) -> list[Column]:
    """The columns of a reference: itself, or those a merged FULL JOIN column is made of."""
    if isinstance(expr, Column):
        return [expr]
    found: list[Column] = []
    for name in expr.__struct_fields__:
        value = getattr(expr, name)
        items = value if isinstance(value, tuple) else (value,)
        for item in items:
            parts = item if isinstance(item, tuple) else (item,)
            for part in parts:
                if hasattr(part, "__struct_fields__") and hasattr(part, "span"):
                    found.extend(columns_of(part))
    return found


def _unknown_qualified(relation: ScopeRelation, node: ColumnRef) -> ProgrammingError:
    close = difflib.get_close_matches(node.name, relation.names, 1, 0.5)
    hint = f'Perhaps you meant "{relation.alias}.{close[0]}".' if close else None
    message = f"column {node.table}.{node.name} does not exist"
    return fail("42703", message, node.span, hint)
