"""Expressions to Python source: one text for a whole pipeline, compiled once per plan.

An expression becomes a Python expression that evaluates to the runtime value, or None for NULL.
Predicates are emitted in the form that is asked for: `is_true` and `is_false` give Python truth
values, so WHERE never builds a three-valued result. Temporaries are walrus assignments.

Invariants
1. Constants, functions and callables never appear in the text: they are names (k0, k1, …) bound
   in the environment. Equal shapes therefore give equal texts, and `compile_function` keeps
   the code objects of recent texts: measured, compile() is 20-70 us of a new plan, exec() 2.
2. A column is a local name; its null test is dropped when the plan says it is never NULL.
3. Parameters are locals p0, p1, …; expressions of parameters alone are evaluated once, before
   the loop (`hoisted`), unless they stand under CASE, AND or OR, where evaluation is conditional.

What it does not do: loops and rows (engine.sql.executor.row.pipeline).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any, cast

from engine.errors import NotSupportedError
from engine.sql import bound
from engine.sql.executor.row.values import (
    caster,
    compare_key,
    in_list,
    like_matcher,
    text_matcher,
)
from engine.sql.expressions import is_volatile, walk
from engine.sql.functions.registry import ScalarFunction
from engine.sql.plan import ColumnId, Expr, Subplan

INT_RANGES = {
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
}
_FLOAT_KINDS = ("real", "double")
_PYTHON_COMPARE = {"=": "==", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_INVERSE = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
# NaN equals NaN and is greater than every number (PostgreSQL); Python's comparisons are false.
_FLOAT_COMPARE = {
    "=": "({a} == {b} or ({a} != {a} and {b} != {b}))",
    "<>": "({a} != {b} and ({a} == {a} or {b} == {b}))",
    "<": "({a} < {b} or ({b} != {b} and {a} == {a}))",
    "<=": "({a} <= {b} or {b} != {b})",
    ">": "({a} > {b} or ({a} != {a} and {b} == {b}))",
    ">=": "({a} >= {b} or {a} != {a})",
}


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


class Emitter:
    """Emits source for expressions of one generated function.

    `environment` are the function's globals; `hoisted` are lines for its head;
    `compile_subplan(subplan)` gives a callable (context, outer values[, operand]).
    """

    def __init__(
        self,
        compile_subplan: Callable[[Subplan], Any],
    ) -> None:
        self.environment: dict[str, Any] = {}
        self.hoisted: list[str] = []
        self._compile_subplan = compile_subplan
        self.hoisting = True
        self.known_params = False  # p0, p1, … are set by the caller's text
        self._temps = 0
        self._conditional = 0
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
        if (
            kind not in _ATOMS
            and self.hoisting
            and not self._conditional
            and self._is_fixed(expr)
            and not is_volatile(expr)
        ):
            # Invariant 3: once per execution, not once per row.
            return self.hoist(_VALUES[kind](self, expr, scope))
        return _VALUES[kind](self, expr, scope)

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

    # ── predicates ───────────────────────────────────────────────────────────────────────────
    def is_true(self, expr: Expr, scope: Scope) -> str:
        """Source that is truthy exactly when the boolean expression is TRUE."""
        match expr:
            case bound.And():
                return self._joined(expr.args, " and ", self.is_true, scope)
            case bound.Or():
                return self._joined(expr.args, " or ", self.is_true, scope)
            case bound.Not():
                return self.is_false(expr.operand, scope)
            case bound.Compare() if expr.op in _PYTHON_COMPARE:
                return self._compare_test(expr, expr.op, scope)
            case bound.InList():
                return self._in_test(expr, expr.negated, scope)
            case bound.Like():
                return self._like_test(expr, expr.negated, scope)
            case _:
                return f"({self.value(expr, scope)})"

    def is_false(self, expr: Expr, scope: Scope) -> str:
        """Source that is truthy exactly when the boolean expression is FALSE."""
        match expr:
            case bound.And():
                return self._joined(expr.args, " or ", self.is_false, scope)
            case bound.Or():
                return self._joined(expr.args, " and ", self.is_false, scope)
            case bound.Not():
                return self.is_true(expr.operand, scope)
            case bound.Compare() if expr.op in _PYTHON_COMPARE:
                return self._compare_test(expr, _INVERSE[expr.op], scope)
            case bound.InList():
                return self._in_test(expr, not expr.negated, scope)
            case bound.Like():
                return self._like_test(expr, not expr.negated, scope)
            case _:
                return f"(({self.value(expr, scope)}) is False)"

    def _joined(
        self,
        args: tuple[Expr, ...],
        operator: str,
        form: Callable[[Expr, Scope], str],
        scope: Scope,
    ) -> str:
        parts = [form(args[0], scope)]
        self._conditional += 1
        parts.extend([form(arg, scope) for arg in args[1:]])
        self._conditional -= 1
        return "(" + operator.join(parts) + ")"

    def _compare_test(self, expr: bound.Compare, op: str, scope: Scope) -> str:
        tests, text = self.comparison(op, expr.left, expr.right, scope)
        return _guarded_test(tests, text)

    def comparison(self, op: str, left: Expr, right: Expr, scope: Scope) -> tuple[list[str], str]:
        """(null tests, source of the comparison when none of them is true)."""
        kind = left.type.kind
        if kind in _FLOAT_KINDS:
            test_a, first_a, a = self.name(left, scope)
            test_b, first_b, b = self.name(right, scope)
            text = _FLOAT_COMPARE[op].format(a=a, b=b)
            if (first_a, first_b) != (a, b):
                # name both before either is compared; a tuple of two is always true
                text = f"(({first_a}, {first_b}) and {text})"
        else:
            test_a, a = self.bind(left, scope)
            test_b, b = self.bind(right, scope)
            order = compare_key(left.type)
            if order is not None:
                name = self.constant(order)
                a, b = f"{name}({a})", f"{name}({b})"
            text = f"{a} {_PYTHON_COMPARE[op]} {b}"
        return [test for test in (test_a, test_b) if test is not None], text

    def _in_test(self, expr: bound.InList, negated: bool, scope: Scope) -> str:
        if not expr.items:
            return str(negated)
        listed = self._hoisted_list(expr, scope)
        if listed is None:
            value = self._in_general(expr, scope)
            wanted = "False" if negated is not expr.negated else "True"
            return f"(({value}) is {wanted})"
        if not negated:
            return f"({self.value(expr.operand, scope)} in {listed})"
        test, reference = self.bind(expr.operand, scope)
        text = f"not {listed}n and {reference} not in {listed}"
        return _guarded_test([test] if test else [], text)

    def _hoisted_list(self, expr: bound.InList, scope: Scope) -> str | None:
        """A local holding the set of the items (and, with suffix n, whether one is NULL), when
        the items are fixed."""
        if expr.operand.type.kind in ("real", "double", "interval") or not all(
            type(item) in (bound.Const, bound.Param) for item in expr.items
        ):
            return None
        items = ", ".join([self.value(item, scope) for item in expr.items])
        name = f"h{len(self.hoisted)}"
        self.hoisted.append(f"{name}, {name}n = {self.constant(in_list)}(({items},))")
        return name

    def _in_general(self, expr: bound.InList, scope: Scope) -> str:
        """operand = item OR …, three-valued, through one comparison each."""
        compares = tuple(
            [bound.Compare("=", expr.operand, item, expr.type, expr.span) for item in expr.items]
        )
        either: Any = compares[0]
        if len(compares) > 1:
            either = bound.Or(compares, expr.type, expr.span)
        if expr.negated:
            either = bound.Not(either, expr.type, expr.span)
        return self.value(either, scope)

    def _like_test(self, expr: bound.Like, negated: bool, scope: Scope) -> str:
        tests, text = self.like(expr, scope)
        return _guarded_test(tests, f"not {text}" if negated else text)

    def like(self, expr: bound.Like, scope: Scope) -> tuple[list[str], str]:
        """(null tests, source of the match ignoring `negated`)."""
        fixed = type(expr.pattern) is bound.Const and (
            expr.escape is None or type(expr.escape) is bound.Const
        )
        if fixed and expr.pattern.value is not None:  # type: ignore[union-attr]
            escape = None if expr.escape is None else cast(bound.Const, expr.escape).value
            pattern = cast(bound.Const, expr.pattern).value
            matcher = self.constant(like_matcher(expr.op, pattern, escape))
            test, reference = self.bind(expr.operand, scope)
            return ([test] if test else []), f"{matcher}({reference})"
        tests: list[str] = []
        references: list[str] = []
        for part in (expr.operand, expr.pattern, expr.escape):
            if part is None:
                references.append("None")
                continue
            test, reference = self.bind(part, scope)
            if test is not None:
                tests.append(test)
            references.append(reference)
        match = self.constant(text_matcher(expr.op))
        return tests, f"{match}({', '.join(references)})"

    # ── one method a kind of expression ──────────────────────────────────────────────────────
    def _const(self, expr: bound.Const, scope: Scope) -> str:
        value = expr.value
        if value is None or value is True or value is False:
            return repr(value)
        return self.constant(value)

    def _param(self, expr: bound.Param, scope: Scope) -> str:
        return self.param(expr.index)

    def _column(self, expr: bound.Column, scope: Scope) -> str:
        column_id = (expr.relation, expr.column)
        name = scope.names.get(column_id)
        return name if name is not None else f"o[{scope.outer[column_id]}]"

    def _call(self, expr: bound.Call, scope: Scope) -> str:
        function = expr.function
        if function.strict:
            tests: list[str] = []
            firsts: list[str] = []
            names: list[str] = []
            inline = function.operator is not None and len(expr.args) == 2
            for arg in expr.args:
                test, first, name = (
                    self.name(arg, scope)
                    if inline and function.check is not None
                    else (*self.bind(arg, scope), "")
                )
                if test is not None:
                    tests.append(test)
                firsts.append(first)
                names.append(name)
            if inline:
                text = self._inline(function, firsts, names)
            else:
                text = f"{self.constant(function.implementation)}({', '.join(firsts)})"
            return _guarded_value(tests, text)
        values = [self.value(arg, scope) for arg in expr.args]
        if function.name == "coalesce":
            # No argument after the first that is not NULL is evaluated: it may divide by zero.
            names = [self.temp() for _ in values[:-1]]
            tests = [f"{n} if ({n} := {v}) is not None else" for n, v in zip(names, values)]
            return f"({' '.join(tests)} {values[-1]})"
        return f"{self.constant(function.implementation)}({', '.join(values)})"

    def _inline(self, function: ScalarFunction, firsts: list[str], names: list[str]) -> str:
        """The operator itself; out of range, the implementation is called to raise its error."""
        text = f"{firsts[0]} {function.operator} {firsts[1]}"
        if function.check is None:
            return f"({text})"
        result = self.temp()
        again = f"{self.constant(function.implementation)}({names[0]}, {names[1]})"
        if function.check in INT_RANGES:
            low, high = INT_RANGES[function.check]
            return f"({result} if {low} <= ({result} := {text}) <= {high} else {again})"
        if function.check == "float64":
            return f"({result} if ({result} := {text}) - {result} == 0.0 else {again})"
        return f"{self.constant(function.implementation)}({firsts[0]}, {firsts[1]})"

    def _compare(self, expr: bound.Compare, scope: Scope) -> str:
        if expr.op in _PYTHON_COMPARE:
            tests, text = self.comparison(expr.op, expr.left, expr.right, scope)
            return _guarded_value(tests, f"({text})")
        equal = expr.op == "is not distinct"
        left, right = self.value(expr.left, scope), self.value(expr.right, scope)
        a, b = self.temp(), self.temp()
        first = f"({a} := {left}) is None"
        second = f"({b} := {right}) is None"
        if expr.left.type.kind in _FLOAT_KINDS:
            differ = _FLOAT_COMPARE["<>"].format(a=a, b=b)
        else:
            order = compare_key(expr.left.type)
            key = "" if order is None else self.constant(order)
            differ = f"{key}({a}) != {key}({b})"
        both = f"({first}) | ({second})"
        one = f"({a} is None) != ({b} is None)"
        text = f"(({one}) if {both} else ({differ}))"
        return f"(not {text})" if equal else text

    def _and(self, expr: bound.And, scope: Scope) -> str:
        if self.never_null(expr, scope):
            return self._joined(expr.args, " and ", self.value, scope)
        return self._three_valued(expr.args, "False", "True", scope)

    def _or(self, expr: bound.Or, scope: Scope) -> str:
        if self.never_null(expr, scope):
            return self._joined(expr.args, " or ", self.value, scope)
        return self._three_valued(expr.args, "True", "False", scope)

    def _three_valued(
        self, args: tuple[Expr, ...], deciding: str, otherwise: str, scope: Scope
    ) -> str:
        names = [self.temp() for _ in args]
        parts: list[str] = []
        for index, (name, arg) in enumerate(zip(names, args, strict=True)):
            if index == 1:
                self._conditional += 1
            parts.append(f"({name} := {self.value(arg, scope)}) is {deciding}")
        if len(args) > 1:
            self._conditional -= 1
        decided = " or ".join(parts)
        unknown = " or ".join([f"{name} is None" for name in names])
        return f"({deciding} if {decided} else None if {unknown} else {otherwise})"

    def _not(self, expr: bound.Not, scope: Scope) -> str:
        test, reference = self.bind(expr.operand, scope)
        return _guarded_value([test] if test else [], f"(not {reference})")

    def _is_null(self, expr: bound.IsNull, scope: Scope) -> str:
        source = self.value(expr.operand, scope)
        return f"(({source}) is {'not ' if expr.negated else ''}None)"

    def _in_list(self, expr: bound.InList, scope: Scope) -> str:
        if not expr.items:
            return str(expr.negated)  # nothing is in an empty list, not even NULL
        listed = self._hoisted_list(expr, scope)
        if listed is None:
            return self._in_general(expr, scope)
        test, name = self.bind(expr.operand, scope)
        found, absent = ("False", "True") if expr.negated else ("True", "False")
        text = f"({found} if {name} in {listed} else None if {listed}n else {absent})"
        return _guarded_value([test] if test else [], text)

    def _like(self, expr: bound.Like, scope: Scope) -> str:
        tests, text = self.like(expr, scope)
        return _guarded_value(tests, f"(not {text})" if expr.negated else text)

    def _case(self, expr: bound.Case, scope: Scope) -> str:
        parts: list[str] = []
        for index, (when, then) in enumerate(expr.whens):
            condition = self.is_true(when, scope)
            if index == 0:
                self._conditional += 1
            parts.append(f"{self.value(then, scope)} if {condition} else ")
        default = self.value(expr.default, scope)
        self._conditional -= 1
        return f"({''.join(parts)}{default})"

    def _cast(self, expr: bound.Cast, scope: Scope) -> str:
        function = caster(expr.operand.type, expr.type, expr.explicit)
        if function is None:
            return self.value(expr.operand, scope)
        test, reference = self.bind(expr.operand, scope)
        text = f"{self.constant(function)}({reference})"
        return _guarded_value([test] if test else [], text)

    def _subplan(self, expr: Subplan, scope: Scope) -> str:
        runner = self._compile_subplan(expr)
        values = "".join([self.value(value, scope) + ", " for value in expr.values])
        values = f"({values})"
        name = self.constant(runner)
        if expr.operand is None:
            return f"{name}(x, {values})"
        return f"{name}(x, {values}, {self.value(expr.operand, scope)})"

    def _unexpected(self, expr: Expr, scope: Scope) -> str:
        raise NotSupportedError(
            f"{type(expr).__name__} is not supported here", span=getattr(expr, "span", None)
        )


def _guarded_value(tests: list[str], text: str) -> str:
    return f"(None if {' or '.join(tests)} else {text})" if tests else text


def _guarded_test(tests: list[str], text: str) -> str:
    guards = [f"not ({test})" if ":=" in test else _negate(test) for test in tests]
    return "(" + " and ".join([*guards, text]) + ")"


def _negate(test: str) -> str:
    return "False" if test == "True" else test.replace(" is None", " is not None")


_ATOMS = (bound.Const, bound.Param, bound.Column)
_VALUES: dict[type, Callable[[Emitter, Any, Scope], str]] = {
    bound.Const: Emitter._const,
    bound.Param: Emitter._param,
    bound.Column: Emitter._column,
    bound.Call: Emitter._call,
    bound.Compare: Emitter._compare,
    bound.And: Emitter._and,
    bound.Or: Emitter._or,
    bound.Not: Emitter._not,
    bound.IsNull: Emitter._is_null,
    bound.InList: Emitter._in_list,
    bound.Like: Emitter._like,
    bound.Case: Emitter._case,
    bound.Cast: Emitter._cast,
    Subplan: Emitter._subplan,
    bound.GroupKey: Emitter._unexpected,
    bound.AggregateRef: Emitter._unexpected,
}
