"""The state of one generated function's text: names, hoisted lines, depth; and its compilation.

How each kind of expression reads is in engine.sql.executor.row.source, which puts its functions
into FORMS: an Emitter only decides whether to hoist, to outline, or to ask them.

Invariants
1. Constants, functions and callables never appear in the text: they are names (k0, k1, …) bound
   in the environment. Equal shapes therefore give equal texts, and `compile_function` keeps
   the code objects of recent texts: measured, compile() is 20-70 us of a new plan, exec() 2.
2. A column is a local name; its null test is dropped when the plan says it is never NULL.
3. Parameters are locals p0, p1, …; expressions of parameters alone are evaluated once, by the
   first row that needs them: what raises must not raise where no row comes so far.
4. No text nests deeper than Python's parser takes: what is deeper becomes a function of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any

import msgspec

from engine.sql import bound
from engine.sql.expressions import columns_of, is_volatile, walk
from engine.sql.plan import ColumnId, Expr, Subplan

_ATOMS = (bound.Const, bound.Param, bound.Column)
_MAX_DEPTH = 20
_UNSET = object()  # what a local holds until its expression is first needed


class TooDeep(Exception):
    """The expression nests too deeply for a function without a Context."""


class Scope:
    """Where an expression's columns are.

    names     column id -> local name (or subscript) holding its value
    non_null  ids that are never NULL
    outer     column id -> position in the outer value tuple `o`
    """

    __slots__ = ("names", "non_null", "outer")

    def __init__(
        self,
        names: dict[ColumnId, str],
        non_null: frozenset[ColumnId] = frozenset(),
        outer: dict[ColumnId, int] | None = None,
    ) -> None:
        self.names = names
        self.non_null = non_null
        self.outer = outer or {}


@lru_cache(maxsize=2048)
def _code(text: str) -> CodeType:
    return compile(text, "<plan>", "exec")


def compile_function(text: str, environment: dict[str, Any], name: str = "run") -> Any:
    """The function `name` defined by the text, with `environment` as its globals."""
    exec(_code(text), environment)
    return environment[name]


class Style(msgspec.Struct, frozen=True, gc=False):
    """How text is made. compact: call functions that have an inline form, too: half the text to
    compile, for plans that touch few rows. first_literal: parameters from this index on are
    literals of the text, never NULL."""

    compact: bool
    first_literal: int


PLAIN = Style(False, 1 << 30)


class Forms:
    """How expressions read as source: value by class of expression, and the two truth forms."""

    value: dict[type, Callable[[Emitter, Any, Scope], str]]
    is_true: Callable[[Emitter, Expr, Scope], str]
    is_false: Callable[[Emitter, Expr, Scope], str]


FORMS = Forms()


class Emitter:
    """Emits source for expressions of one generated function.

    `environment` are the function's globals; `hoisted` are lines for its head;
    `compile_subplan(subplan)` gives a callable (context, outer values[, operand]).
    """

    def __init__(
        self,
        compile_subplan: Callable[[Subplan], Any],
        style: Style = PLAIN,
    ) -> None:
        self.style = style
        self.environment: dict[str, Any] = {}
        self.hoisted: list[str] = []
        self.compile_subplan = compile_subplan
        self.hoisting = True
        self.known_params = False  # p0, p1, … are set by the caller's text
        self.has_context = True  # the function has x, the Context
        self._temps = 0
        self._depth = 0
        self._params: set[int] = set()
        self._constants: dict[int, str] = {}

    # ── names ────────────────────────────────────────────────────────────────────────────────
    def constant(self, value: Any) -> str:
        """A global name for a value."""
        name = self._constants.get(id(value))
        if name is None:
            name = f"k{len(self.environment)}"
            self.environment[name] = value
            self._constants[id(value)] = name
        return name

    def temp(self) -> str:
        self._temps += 1
        return f"t{self._temps}"

    def hoist(self, text: str) -> str:
        """A local that holds the value of `text` before the loop starts."""
        name = f"h{len(self.hoisted)}"
        self.hoisted.append(f"{name} = {text}")
        return name

    def param(self, index: int) -> str:
        if index not in self._params and not self.known_params:
            self._params.add(index)
            self.hoisted.append(f"p{index} = p[{index}]")
        return f"p{index}"

    # ── values ───────────────────────────────────────────────────────────────────────────────
    def value(self, expr: Expr, scope: Scope) -> str:
        """Source of the runtime value, None for NULL."""
        kind = type(expr)
        if kind in _ATOMS:
            return FORMS.value[kind](self, expr, scope)
        if self._depth >= _MAX_DEPTH:
            return self._outlined(expr, scope)
        fixed = self.hoisting and self._is_fixed(expr) and not is_volatile(expr)
        if fixed:
            self.hoisting = False  # its parts need no locals of their own
        self._depth += 1
        source = FORMS.value[kind](self, expr, scope)
        self._depth -= 1
        if not fixed:
            return source
        self.hoisting = True
        unset = self.constant(_UNSET)
        name = self.hoist(unset)  # Invariant 3
        return f"({name} if {name} is not {unset} else ({name} := {source}))"

    def _outlined(self, expr: Expr, scope: Scope) -> str:
        """A call of a function of its own: Python's parser takes 200 nested parentheses."""
        if not self.has_context:
            raise TooDeep
        columns = sorted(columns_of(expr))
        names = {column_id: f"d{i}" for i, column_id in enumerate(columns)}
        inner = Emitter(self.compile_subplan, self.style)
        inner.hoisting = False
        result = inner.value(expr, Scope(names, scope.non_null))
        head = [f"def run({', '.join(['x', *names.values()])}):", "    p = x.params"]
        lines = [*head, *["    " + line for line in inner.hoisted], f"    return {result}"]
        function = compile_function("\n".join(lines) + "\n", inner.environment)
        values = [self.column_source(column_id, scope) for column_id in columns]
        return f"{self.constant(function)}({', '.join(['x', *values])})"

    def _is_fixed(self, expr: Expr) -> bool:
        for part in walk(expr):
            if type(part) is bound.Column or (type(part) is Subplan and part.operand is not None):
                return False
        return True

    def bind(self, expr: Expr, scope: Scope) -> tuple[str | None, str]:
        """(null test, reference): the test evaluates the expression and is true for NULL; the
        reference is a name, valid after the test. Without a test the reference is the source
        itself and must be used once."""
        kind = type(expr)
        if kind is bound.Const:
            if expr.value is None:  # type: ignore[union-attr]
                return "True", "None"
            return None, self.value(expr, scope)
        source = self.value(expr, scope)
        if self.never_null(expr, scope):
            return None, source
        if source.isidentifier():
            return f"{source} is None", source
        name = self.temp()
        return f"({name} := {source}) is None", name

    def name(self, expr: Expr, scope: Scope) -> tuple[str | None, str, str]:
        """As bind, with (test, first use, later uses)."""
        test, reference = self.bind(expr, scope)
        if test is not None or reference.isidentifier():
            return test, reference, reference
        name = self.temp()
        return None, f"({name} := {reference})", name

    def never_null(self, expr: Expr, scope: Scope) -> bool:
        match expr:
            case bound.Const():
                return expr.value is not None
            case bound.Column():
                return (expr.relation, expr.column) in scope.non_null
            case bound.Param():
                return expr.index >= self.style.first_literal
            case bound.IsNull():
                return True
            case bound.Compare():
                return "distinct" in expr.op or (
                    self.never_null(expr.left, scope) and self.never_null(expr.right, scope)
                )
            case bound.And() | bound.Or():
                return all(self.never_null(arg, scope) for arg in expr.args)
            case bound.Not():
                return self.never_null(expr.operand, scope)
            case bound.Case():
                return self.never_null(expr.default, scope) and all(
                    self.never_null(then, scope) for _, then in expr.whens
                )
            case Subplan():
                return expr.kind == "exists"
            case _:
                # a call or cast of non-NULL values may still give NULL: ask it
                return False

    # ── predicates ──
    def is_true(self, expr: Expr, scope: Scope) -> str:
        """Source that is truthy exactly when the boolean expression is TRUE."""
        if self._depth >= _MAX_DEPTH:
            return f"({self.value(expr, scope)})"
        self._depth += 1
        source = FORMS.is_true(self, expr, scope)
        self._depth -= 1
        return source

    def is_false(self, expr: Expr, scope: Scope) -> str:
        """Source that is truthy exactly when the boolean expression is FALSE."""
        if self._depth >= _MAX_DEPTH:
            return f"(({self.value(expr, scope)}) is False)"
        self._depth += 1
        source = FORMS.is_false(self, expr, scope)
        self._depth -= 1
        return source

    def column_source(self, column_id: ColumnId, scope: Scope) -> str:
        name = scope.names.get(column_id)
        return name if name is not None else f"o[{scope.outer[column_id]}]"
