"""Expressions to Python source, one function a kind of expression.

An expression becomes a Python expression that evaluates to the runtime value, or None for NULL.
Predicates are emitted in the form that is asked for: `is_true` and `is_false` give Python truth
values, so WHERE never builds a three-valued result. Temporaries are walrus assignments. The text
being made, and its invariants, are in engine.sql.executor.row.emitter.

What it does not do: loops and rows (engine.sql.executor.row.pipeline).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from engine.errors import NotSupportedError
from engine.sql import bound
from engine.sql.executor.row.emitter import FORMS, Emitter, Scope, TooDeep, compile_function
from engine.sql.executor.row.values import (
    caster,
    compare_key,
    in_list,
    like_matcher,
    text_matcher,
)
from engine.sql.functions.registry import ScalarFunction
from engine.sql.plan import Expr, Subplan

__all__ = ["Emitter", "Scope", "TooDeep", "compile_function"]

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


# ── predicates ───────────────────────────────────────────────────────────────────────────
def _is_true(emitter: Emitter, expr: Expr, scope: Scope) -> str:
    match expr:
        case bound.And():
            return _joined(emitter, expr.args, " and ", emitter.is_true, scope)
        case bound.Or():
            return _joined(emitter, expr.args, " or ", emitter.is_true, scope)
        case bound.Not():
            return emitter.is_false(expr.operand, scope)
        case bound.Compare() if expr.op in _PYTHON_COMPARE:
            return _compare_test(emitter, expr, expr.op, scope)
        case bound.InList():
            return _in_test(emitter, expr, expr.negated, scope)
        case bound.Like():
            return _like_test(emitter, expr, expr.negated, scope)
        case _:
            return f"({emitter.value(expr, scope)})"


def _is_false(emitter: Emitter, expr: Expr, scope: Scope) -> str:
    match expr:
        case bound.And():
            return _joined(emitter, expr.args, " or ", emitter.is_false, scope)
        case bound.Or():
            return _joined(emitter, expr.args, " and ", emitter.is_false, scope)
        case bound.Not():
            return emitter.is_true(expr.operand, scope)
        case bound.Compare() if expr.op in _PYTHON_COMPARE:
            return _compare_test(emitter, expr, _INVERSE[expr.op], scope)
        case bound.InList():
            return _in_test(emitter, expr, not expr.negated, scope)
        case bound.Like():
            return _like_test(emitter, expr, not expr.negated, scope)
        case _:
            return f"(({emitter.value(expr, scope)}) is False)"


def _joined(
    emitter: Emitter,
    args: tuple[Expr, ...],
    operator: str,
    form: Callable[[Expr, Scope], str],
    scope: Scope,
) -> str:
    return "(" + operator.join([form(arg, scope) for arg in args]) + ")"


def _compare_test(emitter: Emitter, expr: bound.Compare, op: str, scope: Scope) -> str:
    tests, text = comparison(emitter, op, expr.left, expr.right, scope)
    return _guarded_test(tests, text)


def comparison(
    emitter: Emitter, op: str, left: Expr, right: Expr, scope: Scope
) -> tuple[list[str], str]:
    """(null tests, source of the comparison when none of them is true)."""
    kind = left.type.kind
    if kind in _FLOAT_KINDS:
        test_a, first_a, a = emitter.name(left, scope)
        test_b, first_b, b = emitter.name(right, scope)
        text = _FLOAT_COMPARE[op].format(a=a, b=b)
        if (first_a, first_b) != (a, b):
            # name both before either is compared; a tuple of two is always true
            text = f"(({first_a}, {first_b}) and {text})"
    else:
        test_a, a = emitter.bind(left, scope)
        test_b, b = emitter.bind(right, scope)
        order = compare_key(left.type)
        if order is not None:
            name = emitter.constant(order)
            a, b = f"{name}({a})", f"{name}({b})"
        text = f"{a} {_PYTHON_COMPARE[op]} {b}"
    return [test for test in (test_a, test_b) if test is not None], text


def _in_test(emitter: Emitter, expr: bound.InList, negated: bool, scope: Scope) -> str:
    if not expr.items:
        return str(negated)
    listed = _hoisted_list(emitter, expr, scope)
    if listed is None:
        value = _in_general(emitter, expr, scope)
        wanted = "False" if negated is not expr.negated else "True"
        return f"(({value}) is {wanted})"
    if not negated:
        return f"({emitter.value(expr.operand, scope)} in {listed})"
    test, reference = emitter.bind(expr.operand, scope)
    text = f"not {listed}n and {reference} not in {listed}"
    return _guarded_test([test] if test else [], text)


def _hoisted_list(emitter: Emitter, expr: bound.InList, scope: Scope) -> str | None:
    """A local holding the set of the items (and, with suffix n, whether one is NULL), when
    the items are fixed."""
    if expr.operand.type.kind in ("real", "double", "interval") or not all(
        type(item) in (bound.Const, bound.Param) for item in expr.items
    ):
        return None
    items = ", ".join([emitter.value(item, scope) for item in expr.items])
    name = f"h{len(emitter.hoisted)}"
    emitter.hoisted.append(f"{name}, {name}n = {emitter.constant(in_list)}(({items},))")
    return name


def _in_general(emitter: Emitter, expr: bound.InList, scope: Scope) -> str:
    """operand = item OR …, three-valued, through one comparison each."""
    compares = tuple(
        [bound.Compare("=", expr.operand, item, expr.type, expr.span) for item in expr.items]
    )
    either: Any = compares[0]
    if len(compares) > 1:
        either = bound.Or(compares, expr.type, expr.span)
    if expr.negated:
        either = bound.Not(either, expr.type, expr.span)
    return emitter.value(either, scope)


def _like_test(emitter: Emitter, expr: bound.Like, negated: bool, scope: Scope) -> str:
    tests, text = like(emitter, expr, scope)
    return _guarded_test(tests, f"not {text}" if negated else text)


def like(emitter: Emitter, expr: bound.Like, scope: Scope) -> tuple[list[str], str]:
    """(null tests, source of the match ignoring `negated`)."""
    fixed = type(expr.pattern) is bound.Const and (
        expr.escape is None or type(expr.escape) is bound.Const
    )
    if fixed and expr.pattern.value is not None:  # type: ignore[union-attr]
        escape = None if expr.escape is None else cast(bound.Const, expr.escape).value
        pattern = cast(bound.Const, expr.pattern).value
        matcher = emitter.constant(like_matcher(expr.op, pattern, escape))
        test, reference = emitter.bind(expr.operand, scope)
        return ([test] if test else []), f"{matcher}({reference})"
    tests: list[str] = []
    references: list[str] = []
    for part in (expr.operand, expr.pattern, expr.escape):
        if part is None:
            references.append("None")
            continue
        test, reference = emitter.bind(part, scope)
        if test is not None:
            tests.append(test)
        references.append(reference)
    match = emitter.constant(text_matcher(expr.op))
    return tests, f"{match}({', '.join(references)})"


# ── one function a kind of expression ──────────────────────────────────────────────────────
def _const(emitter: Emitter, expr: bound.Const, scope: Scope) -> str:
    value = expr.value
    if value is None or value is True or value is False:
        return repr(value)
    return emitter.constant(value)


def _param(emitter: Emitter, expr: bound.Param, scope: Scope) -> str:
    return emitter.param(expr.index)


def _column(emitter: Emitter, expr: bound.Column, scope: Scope) -> str:
    return emitter.column_source((expr.relation, expr.column), scope)


def _call(emitter: Emitter, expr: bound.Call, scope: Scope) -> str:
    function = expr.function
    if function.strict:
        tests: list[str] = []
        firsts: list[str] = []
        names: list[str] = []
        inline = function.operator is not None and len(expr.args) == 2
        named = inline and function.check is not None and not emitter.style.compact
        for arg in expr.args:
            test, first, name = (
                emitter.name(arg, scope) if named else (*emitter.bind(arg, scope), "")
            )
            if test is not None:
                tests.append(test)
            firsts.append(first)
            names.append(name)
        if inline:
            text = _inline(emitter, function, firsts, names)
        else:
            text = f"{emitter.constant(function.implementation)}({', '.join(firsts)})"
        return _guarded_value(tests, text)
    values = [emitter.value(arg, scope) for arg in expr.args]
    if function.name == "coalesce":
        # No argument after the first that is not NULL is evaluated: it may divide by zero.
        names = [emitter.temp() for _ in values[:-1]]
        tests = [f"{n} if ({n} := {v}) is not None else" for n, v in zip(names, values)]
        return f"({' '.join(tests)} {values[-1]})"
    if function.name == "nullif":
        # NULL stays NULL whatever the second argument is: it is not evaluated.
        name = emitter.temp()
        apply = emitter.constant(function.implementation)
        return f"(None if ({name} := {values[0]}) is None else {apply}({name}, {values[1]}))"
    return f"{emitter.constant(function.implementation)}({', '.join(values)})"


def _inline(emitter: Emitter, function: ScalarFunction, firsts: list[str], names: list[str]) -> str:
    """The operator itself; out of range, the implementation is called to raise its error."""
    text = f"{firsts[0]} {function.operator} {firsts[1]}"
    if function.check is None:
        return f"({text})"
    if emitter.style.compact:
        return f"{emitter.constant(function.implementation)}({firsts[0]}, {firsts[1]})"
    result = emitter.temp()
    again = f"{emitter.constant(function.implementation)}({names[0]}, {names[1]})"
    if function.check in INT_RANGES:
        low, high = INT_RANGES[function.check]
        return f"({result} if {low} <= ({result} := {text}) <= {high} else {again})"
    if function.check == "float64":
        return f"({result} if ({result} := {text}) - {result} == 0.0 else {again})"
    return f"{emitter.constant(function.implementation)}({firsts[0]}, {firsts[1]})"


def _compare(emitter: Emitter, expr: bound.Compare, scope: Scope) -> str:
    if expr.op in _PYTHON_COMPARE:
        tests, text = comparison(emitter, expr.op, expr.left, expr.right, scope)
        return _guarded_value(tests, f"({text})")
    equal = expr.op == "is not distinct"
    left, right = emitter.value(expr.left, scope), emitter.value(expr.right, scope)
    a, b = emitter.temp(), emitter.temp()
    first = f"({a} := {left}) is None"
    second = f"({b} := {right}) is None"
    if expr.left.type.kind in _FLOAT_KINDS:
        differ = _FLOAT_COMPARE["<>"].format(a=a, b=b)
    else:
        order = compare_key(expr.left.type)
        key = "" if order is None else emitter.constant(order)
        differ = f"{key}({a}) != {key}({b})"
    both = f"({first}) | ({second})"
    one = f"({a} is None) != ({b} is None)"
    text = f"(({one}) if {both} else ({differ}))"
    return f"(not {text})" if equal else text


def _and(emitter: Emitter, expr: bound.And, scope: Scope) -> str:
    if emitter.never_null(expr, scope):
        return _joined(emitter, expr.args, " and ", emitter.value, scope)
    return _three_valued(emitter, expr.args, "False", "True", scope)


def _or(emitter: Emitter, expr: bound.Or, scope: Scope) -> str:
    if emitter.never_null(expr, scope):
        return _joined(emitter, expr.args, " or ", emitter.value, scope)
    return _three_valued(emitter, expr.args, "True", "False", scope)


def _three_valued(
    emitter: Emitter, args: tuple[Expr, ...], deciding: str, otherwise: str, scope: Scope
) -> str:
    names = [emitter.temp() for _ in args]
    parts: list[str] = []
    for name, arg in zip(names, args, strict=True):
        parts.append(f"({name} := {emitter.value(arg, scope)}) is {deciding}")
    decided = " or ".join(parts)
    unknown = " or ".join([f"{name} is None" for name in names])
    return f"({deciding} if {decided} else None if {unknown} else {otherwise})"


def _not(emitter: Emitter, expr: bound.Not, scope: Scope) -> str:
    test, reference = emitter.bind(expr.operand, scope)
    return _guarded_value([test] if test else [], f"(not {reference})")


def _is_null(emitter: Emitter, expr: bound.IsNull, scope: Scope) -> str:
    source = emitter.value(expr.operand, scope)
    return f"(({source}) is {'not ' if expr.negated else ''}None)"


def _in_list(emitter: Emitter, expr: bound.InList, scope: Scope) -> str:
    if not expr.items:
        return str(expr.negated)  # nothing is in an empty list, not even NULL
    listed = _hoisted_list(emitter, expr, scope)
    if listed is None:
        return _in_general(emitter, expr, scope)
    test, name = emitter.bind(expr.operand, scope)
    found, absent = ("False", "True") if expr.negated else ("True", "False")
    text = f"({found} if {name} in {listed} else None if {listed}n else {absent})"
    return _guarded_value([test] if test else [], text)


def _like(emitter: Emitter, expr: bound.Like, scope: Scope) -> str:
    tests, text = like(emitter, expr, scope)
    return _guarded_value(tests, f"(not {text})" if expr.negated else text)


def _case(emitter: Emitter, expr: bound.Case, scope: Scope) -> str:
    parts: list[str] = []
    for when, then in expr.whens:
        condition = emitter.is_true(when, scope)
        parts.append(f"{emitter.value(then, scope)} if {condition} else ")
    default = emitter.value(expr.default, scope)
    return f"({''.join(parts)}{default})"


def _cast(emitter: Emitter, expr: bound.Cast, scope: Scope) -> str:
    function = caster(expr.operand.type, expr.type, expr.explicit)
    if function is None:
        return emitter.value(expr.operand, scope)
    test, reference = emitter.bind(expr.operand, scope)
    text = f"{emitter.constant(function)}({reference})"
    return _guarded_value([test] if test else [], text)


def _subplan(emitter: Emitter, expr: Subplan, scope: Scope) -> str:
    runner = emitter.compile_subplan(expr)
    values = "".join([emitter.value(value, scope) + ", " for value in expr.values])
    values = f"({values})"
    name = emitter.constant(runner)
    if expr.operand is None:
        return f"{name}(x, {values})"
    return f"{name}(x, {values}, {emitter.value(expr.operand, scope)})"


def _unexpected(emitter: Emitter, expr: Expr, scope: Scope) -> str:
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


FORMS.is_true = _is_true
FORMS.is_false = _is_false
FORMS.value = {
    bound.Const: _const,
    bound.Param: _param,
    bound.Column: _column,
    bound.Call: _call,
    bound.Compare: _compare,
    bound.And: _and,
    bound.Or: _or,
    bound.Not: _not,
    bound.IsNull: _is_null,
    bound.InList: _in_list,
    bound.Like: _like,
    bound.Case: _case,
    bound.Cast: _cast,
    Subplan: _subplan,
    bound.GroupKey: _unexpected,
    bound.AggregateRef: _unexpected,
}
