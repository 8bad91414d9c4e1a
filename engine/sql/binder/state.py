"""What one call of `bind` knows: catalog, parameters, literals, numbers given out.

states of a literal (`Binding.literals`)
    'params'   it may become a Param, so that the plan fits other literals too
    'baked'    its value shapes the plan: a constant, its slot recorded in `baked_slots`
    'foreign'  it stands in another text (a view, DEFAULT or CHECK): a constant without a slot

`Pending` is an expression that has no type yet: an untyped literal, NULL, a parameter, or a number
that may still become a wider one. Coercion (engine.sql.binder.coercion) turns it into a Const or a
Param; it never leaves the binder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.catalog import Catalog
from engine.errors import Error, ProgrammingError
from engine.sql import ast
from engine.sql.ast import Span
from engine.sql.bound import Bound, BoundExpr, ParamSpec
from engine.types import UNDECIDED, UNKNOWN, SqlType

if TYPE_CHECKING:
    from engine.sql.binder.drafts import QueryDraft
    from engine.sql.binder.scope import Scope

Parse: TypeAlias = Callable[[str], Any]


class Pending(Bound, frozen=True, gc=False):
    """kind: 'integer', 'numeric', 'string', 'blob', 'null' or 'param'. type: what it is by itself
    (UNKNOWN for string, null and param). slot: of the literal, or -1; index: of the parameter."""

    kind: str
    value: Any
    slot: int
    index: int
    type: SqlType
    span: Span


Expr: TypeAlias = BoundExpr | Pending


class Binding:
    """The state of one `bind`. `query_binder` is engine.sql.binder.query.bind_query, given here so
    that expressions (which hold subqueries) and queries (which hold expressions) stay apart."""

    __slots__ = (
        "baked",
        "caller_count",
        "caller_names",
        "caller_types",
        "catalog",
        "cte_count",
        "literals",
        "named_types",
        "parse",
        "parse_expression",
        "query_binder",
        "relation_count",
        "slots",
        "untyped",
        "view_stack",
        "volatile",
        "weak",
    )

    def __init__(
        self,
        catalog: Catalog,
        query_binder: Callable[[Binding, ast.Query, Scope | None], QueryDraft],
        *,
        parameterize: bool,
        caller_count: int = 0,
        caller_types: dict[int, SqlType] | None = None,
        named_types: dict[str, SqlType] | None = None,
        parse: Parse | None = None,
        parse_expression: Parse | None = None,
    ) -> None:
        self.catalog = catalog
        self.query_binder = query_binder
        self.literals = "params" if parameterize else "const"
        self.caller_count = caller_count
        self.caller_types: dict[int, SqlType] = caller_types or {}
        self.named_types: dict[str, SqlType] = named_types or {}
        self.caller_names: dict[int, str | None] = {}
        self.parse = parse
        self.parse_expression = parse_expression
        self.slots: list[tuple[int, SqlType]] = []
        self.baked: list[int] = []
        self.untyped: set[int] = set()  # parameters once settled without any hint
        self.weak: set[int] = set()  # parameters whose type is only a guess
        self.relation_count = 0
        self.cte_count = 0
        self.view_stack: tuple[str, ...] = ()
        self.volatile = False  # whether a function may answer differently each time

    def new_relation(self) -> int:
        number = self.relation_count
        self.relation_count += 1
        return number

    def param_specs(self) -> tuple[ParamSpec, ...]:
        """Positions without a gap. UNKNOWN: nothing typed it; UNDECIDED: its type was a guess."""
        count = max(self.caller_names, default=-1) + 1
        return tuple(
            ParamSpec(
                i,
                self.caller_names.get(i),
                UNDECIDED if i in self.weak else self.caller_types.get(i, UNKNOWN),
            )
            for i in range(count)
        )

    @contextmanager
    def baking(self, when: bool = True) -> Iterator[None]:
        """Within, literals shape the plan."""
        before = self.literals
        if when and before == "params":
            self.literals = "baked"
        try:
            yield
        finally:
            self.literals = before

    @contextmanager
    def foreign_text(self, span: Span) -> Iterator[None]:
        """Within, syntax comes from another text: literals have no slots, and errors point at the
        place that mentions that text."""
        before = self.literals
        self.literals = "foreign"
        try:
            yield
        except Error as error:
            error.span = span
            raise
        finally:
            self.literals = before


def fail(
    sqlstate: str, message: str, span: Span | None, hint: str | None = None
) -> ProgrammingError:
    """The binder's errors: the statement is wrong, here."""
    return ProgrammingError(message, sqlstate=sqlstate, span=span, hint=hint)
