"""Operators: arithmetic, comparison, logic, LIKE, IN lists, CASE, casts.

An untyped side takes the other side's type (`date_col = '2020-01-01'`, `price * ?`). Numbers meet
in their common type. NULL with NULL in arithmetic is integer (PostgreSQL calls it ambiguous).
"""

from __future__ import annotations

from functools import lru_cache

from engine.sql import ast
from engine.sql.ast import Span
from engine.sql.binder.coercion import (
    apply_cast,
    coerce,
    coerce_for_comparison,
    comparison_type,
    settle,
    settle_as,
    unify,
)
from engine.sql.binder.dispatch import bind_condition, bind_expression, bind_value, binds
from engine.sql.binder.resolve import choose_overload
from engine.sql.binder.scope import Scope
from engine.sql.binder.state import Binding, Expr, Pending, fail
from engine.sql.bound import (
    And,
    BoundExpr,
    Call,
    Case,
    Cast,
    Compare,
    Const,
    InList,
    IsNull,
    Like,
    Not,
    Or,
)
from engine.sql.functions.registry import ScalarFunction, scalar_overloads
from engine.types import (
    BOOLEAN,
    BYTEA,
    INTEGER,
    INTERVAL,
    NUMBER_KINDS,
    NUMERIC,
    TEXT,
    TEXT_KINDS,
    UNKNOWN,
    SqlType,
    can_cast,
    cannot_cast,
    common_type,
    parse_type_name,
    type_text,
)

_COMPARISONS = frozenset(("=", "<>", "<", "<=", ">", ">="))
_SHIFTS = frozenset(("<<", ">>"))
_TEMPORAL = frozenset(("date", "timestamp", "timestamptz", "interval", "time"))


# ── binary ───────────────────────────────────────────────────────────────────────────────────
@binds(ast.Binary)
def _bind_binary(binding: Binding, scope: Scope, node: ast.Binary) -> Expr:
    op = node.op
    if op in ("and", "or"):
        return _bind_logic(binding, scope, node)
    left = bind_expression(binding, scope, node.left)
    right = bind_expression(binding, scope, node.right)
    if op in _COMPARISONS:
        return compare(binding, op, left, right, node.span, node.op_span)
    return bind_operator(binding, op, left, right, node.span, node.op_span)


def _bind_logic(binding: Binding, scope: Scope, node: ast.Binary) -> BoundExpr:
    """A chain of one operator becomes one node; walked with a loop, as chains can be long."""
    op, where = node.op, node.op.upper()
    chain: list[ast.Expr] = []
    at: ast.Expr = node
    while isinstance(at, ast.Binary) and at.op == op:
        chain.append(at.right)
        at = at.left
    chain.append(at)
    args: list[BoundExpr] = []
    kind: type[And] | type[Or] = And if op == "and" else Or
    for part in reversed(chain):
        bound = bind_condition(binding, scope, part, where)
        if bound.__class__ is kind:
            args.extend(bound.args)  # type: ignore[union-attr]
        else:
            args.append(bound)
    return kind(tuple(args), BOOLEAN, node.span)


def compare(
    binding: Binding, op: str, left: Expr, right: Expr, span: Span, op_span: Span | None = None
) -> BoundExpr:
    """Both sides as one type, then Compare. 42883 when there is no such operator."""
    target = comparison_type(left, right)
    if target is None:
        raise no_operator(op, left.type, right.type, op_span or span)
    return Compare(
        op,
        coerce_for_comparison(binding, left, target),
        coerce_for_comparison(binding, right, target),
        BOOLEAN,
        span,
    )


def no_operator(op: str, left: SqlType, right: SqlType, span: Span) -> Exception:
    """42883 as PostgreSQL words it."""
    message = f"operator does not exist: {type_text(left)} {op} {type_text(right)}"
    return fail("42883", message, span, "Add an explicit CAST to one side.")


def bind_operator(
    binding: Binding, op: str, left: Expr, right: Expr, span: Span, op_span: Span
) -> BoundExpr:
    """Arithmetic, bits, `||`, JSON operators."""
    if op == "||":
        return _bind_concatenation(binding, left, right, span, op_span)
    if op not in _SHIFTS:
        left, right = _type_untyped(binding, op, left, right)
    found = _operator_for(op, left.type.kind, right.type.kind)
    if found is None:
        raise no_operator(op, left.type, right.type, op_span)
    if isinstance(found, str):
        message = f"operator is not unique: {type_text(left.type)} {op} {type_text(right.type)}"
        raise fail("42725", message, op_span, "Add explicit casts.")
    first, second = found.arg_types
    args = (coerce(binding, left, first), coerce(binding, right, second))
    return Call(found, args, found.return_type, span)


@lru_cache(512)
def _operator_for(op: str, left: str, right: str) -> ScalarFunction | str | None:
    types = [SqlType(left), SqlType(right)]
    if left in NUMBER_KINDS and right in NUMBER_KINDS and op not in _SHIFTS:
        common = common_type(types)
        assert common is not None
        types = [common, common]
    return choose_overload(scalar_overloads(op), types)


def _type_untyped(binding: Binding, op: str, left: Expr, right: Expr) -> tuple[Expr, Expr]:
    """An untyped side takes the other's type; beside a date, text and `?` are intervals."""
    left_unknown, right_unknown = left.type.kind == "unknown", right.type.kind == "unknown"
    if not left_unknown and not right_unknown:
        return left, right
    if op in ("->", "->>"):
        return left, right
    if left_unknown and right_unknown:
        target = _both_untyped(binding, left, right)
        return coerce(binding, left, target), coerce(binding, right, target)
    if left_unknown:
        return coerce(binding, left, _partner(op, right.type)), right
    return left, coerce(binding, right, _partner(op, left.type))


def _partner(op: str, other: SqlType) -> SqlType:
    if other.kind in _TEMPORAL:
        if op in ("*", "/") and other.kind == "interval":
            return SqlType("double")
        return other if op == "-" and other.kind == "date" else INTERVAL
    return other if other.kind != "numeric" else NUMERIC


def _both_untyped(binding: Binding, left: Expr, right: Expr) -> SqlType:
    for side in (left, right):
        if isinstance(side, Pending) and side.kind == "param":
            known = binding.caller_types.get(side.index)
            if known is not None and known.kind != "unknown":
                return known
            binding.weak.add(side.index)
    pendings = [side for side in (left, right) if isinstance(side, Pending)]
    return NUMERIC if any(side.kind == "param" for side in pendings) else INTEGER


def _bind_concatenation(
    binding: Binding, left: Expr, right: Expr, span: Span, op_span: Span
) -> BoundExpr:
    kinds = (left.type.kind, right.type.kind)
    target = BYTEA if "bytea" in kinds and set(kinds) <= {"bytea", "unknown"} else TEXT
    if target is TEXT and not any(kind in TEXT_KINDS or kind == "unknown" for kind in kinds):
        raise no_operator("||", left.type, right.type, op_span)
    function = _operator_for("||", target.kind, target.kind)
    assert isinstance(function, ScalarFunction)
    args = tuple(coerce(binding, side, target, "assignment") for side in (left, right))
    return Call(function, args, target, span)


# ── unary ────────────────────────────────────────────────────────────────────────────────────
@binds(ast.Unary)
def _bind_unary(binding: Binding, scope: Scope, node: ast.Unary) -> Expr:
    op = node.op
    if op == "not":
        operand = bind_condition(binding, scope, node.operand, "NOT")
        return Not(operand, BOOLEAN, node.span)
    value = bind_expression(binding, scope, node.operand)
    if value.type.kind == "unknown":
        value = _type_unary_operand(binding, value)
    if op == "+":
        return value  # of any type; PostgreSQL has it for numbers only
    function = choose_overload(scalar_overloads(op), [value.type])
    if not isinstance(function, ScalarFunction):
        message = f"operator does not exist: {op} {type_text(value.type)}"
        raise fail("42883", message, node.span)
    if isinstance(value, Pending) and op == "-":
        negated = _negated_literal(value, node.span)
        if negated is not None and binding.literals == "params":
            if value.value not in _LEAST_INTEGERS:
                negated = None  # a parameter, negated at run time
            else:  # its type is another than the positive literal's: a plan of its own
                binding.baked.append(value.slot)
                return settle(binding, negated)
        if negated is not None:
            # Its slot holds the number without the sign: baked here, so that no later settling
            # makes a parameter of it.
            if value.slot >= 0 and binding.literals == "baked":
                binding.baked.append(value.slot)
            return negated
    argument = coerce(binding, value, function.arg_types[0])
    return Call(function, (argument,), function.return_type, node.span)


def _type_unary_operand(binding: Binding, value: Expr) -> BoundExpr:
    if isinstance(value, Pending) and value.kind == "param":
        if value.index not in binding.caller_types:
            binding.weak.add(value.index)
            return coerce(binding, value, NUMERIC)
        return settle(binding, value)
    is_null = isinstance(value, Pending) and value.kind == "null"
    return coerce(binding, value, INTEGER if is_null else SqlType("double"))


_LEAST_INTEGERS = (2**31, 2**63, str(2**31), str(2**63))


def _negated_literal(value: Pending, span: Span) -> Pending | None:
    """-5 as one literal, so that -2147483648 is an integer and -9223372036854775808 a bigint."""
    if value.kind not in ("integer", "numeric"):
        return None
    text = str(value.value)
    text = text[1:] if text.startswith("-") else "-" + text
    if value.kind == "integer" or text == str(-(2**63)):
        return Pending("integer", text, -1, -1, literal_type("integer", text), span)
    return Pending(value.kind, text, -1, -1, value.type, span)


def literal_type(kind: str, text: str) -> SqlType:
    """The type a number literal has by itself."""
    if kind != "integer":
        return NUMERIC
    if len(text) < 10:
        return INTEGER
    number = int(text)
    if -(2**31) <= number < 2**31:
        return INTEGER
    return SqlType("bigint") if -(2**63) <= number < 2**63 else NUMERIC


# ── tests ────────────────────────────────────────────────────────────────────────────────────
@binds(ast.IsTest)
def _bind_is_test(binding: Binding, scope: Scope, node: ast.IsTest) -> BoundExpr:
    if node.test == "null":
        operand = bind_value(binding, scope, node.operand)
        return IsNull(operand, node.negated, BOOLEAN, node.span)
    condition = bind_condition(binding, scope, node.operand, f"IS {node.test.upper()}")
    if node.test == "unknown":
        return IsNull(condition, node.negated, BOOLEAN, node.span)
    op = "is distinct" if node.negated else "is not distinct"
    wanted = Const(node.test == "true", BOOLEAN, node.span)
    return Compare(op, condition, wanted, BOOLEAN, node.span)


@binds(ast.IsDistinct)
def _bind_is_distinct(binding: Binding, scope: Scope, node: ast.IsDistinct) -> BoundExpr:
    left = bind_expression(binding, scope, node.left)
    right = bind_expression(binding, scope, node.right)
    op = "is not distinct" if node.negated else "is distinct"
    return compare(binding, op, left, right, node.span)


@binds(ast.Between)
def _bind_between(binding: Binding, scope: Scope, node: ast.Between) -> BoundExpr:
    """x BETWEEN a AND b is x >= a AND x <= b, each side typed on its own as in PostgreSQL."""
    operand = bind_expression(binding, scope, node.operand)
    low = bind_expression(binding, scope, node.low)
    high = bind_expression(binding, scope, node.high)
    if isinstance(operand, Pending):
        target = common_type([operand.type, low.type, high.type])
        if target is None or target.kind == "unknown":
            operand = settle(binding, operand)
        else:
            target = comparison_type(_typed(target), _typed(target)) or target
            operand = coerce(binding, operand, target)
    first = compare(binding, ">=", operand, low, node.span)
    second = compare(binding, "<=", operand, high, node.span)
    both = And((first, second), BOOLEAN, node.span)
    return Not(both, BOOLEAN, node.span) if node.negated else both


@binds(ast.InList)
def _bind_in_list(binding: Binding, scope: Scope, node: ast.InList) -> BoundExpr:
    operand = bind_expression(binding, scope, node.operand)
    items: list[Expr] = [bind_expression(binding, scope, item) for item in node.items]
    if not items:
        # SQLite's empty list: nothing is in it, not even NULL.
        return Const(node.negated, BOOLEAN, node.span)
    target = common_type([operand.type, *[item.type for item in items]])
    if target is None:
        bad = next(i for i in items if common_type([operand.type, i.type]) is None)
        raise no_operator("=", operand.type, bad.type, bad.span)
    target = comparison_type(_typed(target), _typed(target)) or target
    return InList(
        coerce_for_comparison(binding, operand, target),
        tuple(coerce_for_comparison(binding, item, target) for item in items),
        node.negated,
        BOOLEAN,
        node.span,
    )


def _typed(sql_type: SqlType) -> Const:
    return Const(None, sql_type, ast.NO_SPAN)


@binds(ast.Like)
def _bind_like(binding: Binding, scope: Scope, node: ast.Like) -> BoundExpr:
    """The pattern is baked: executors compile it once for the plan."""
    operand = _text_operand(binding, bind_expression(binding, scope, node.operand), node.op)
    with binding.baking():
        pattern = _text_operand(binding, bind_expression(binding, scope, node.pattern), node.op)
        escape = None
        if node.escape is not None:
            bound = bind_expression(binding, scope, node.escape)
            escape = _text_operand(binding, bound, "escape")
    return Like(node.op, operand, pattern, escape, node.negated, BOOLEAN, node.span)


def _text_operand(binding: Binding, expr: Expr, op: str) -> BoundExpr:
    if expr.type.kind not in TEXT_KINDS and expr.type.kind != "unknown":
        message = f"operator does not exist: {type_text(expr.type)} {op} text"
        raise fail("42883", message, expr.span, "Add an explicit CAST to text.")
    return coerce(binding, expr, TEXT)


# ── CASE and CAST ────────────────────────────────────────────────────────────────────────────
@binds(ast.Case)
def _bind_case(binding: Binding, scope: Scope, node: ast.Case) -> BoundExpr:
    conditions: list[BoundExpr] = []
    if node.operand is None:
        for condition, _ in node.whens:
            conditions.append(bind_condition(binding, scope, condition, "CASE/WHEN"))
    else:
        conditions = _bind_simple_case(binding, scope, node)
    results: list[Expr] = [bind_expression(binding, scope, result) for _, result in node.whens]
    if node.default is None:
        results.append(Pending("null", None, -1, -1, UNKNOWN, node.span))
    else:
        results.append(bind_expression(binding, scope, node.default))
    unified, target = unify(binding, results, "CASE")
    whens = tuple(zip(conditions, unified[:-1], strict=True))
    return Case(whens, unified[-1], target, node.span)


def _bind_simple_case(binding: Binding, scope: Scope, node: ast.Case) -> list[BoundExpr]:
    """CASE x WHEN v … compares x with each v in the one type that suits all."""
    assert node.operand is not None
    operand = bind_expression(binding, scope, node.operand)
    values: list[Expr] = [bind_expression(binding, scope, value) for value, _ in node.whens]
    target = common_type([operand.type, *[value.type for value in values]])
    if target is not None and operand.type.kind in ("unknown", *NUMBER_KINDS):
        target = comparison_type(_typed(target), _typed(target)) or target
        operand = coerce_for_comparison(binding, operand, target)
    settled = settle(binding, operand)
    return [compare(binding, "=", settled, value, value.span) for value in values]


@binds(ast.Cast)
def _bind_cast(binding: Binding, scope: Scope, node: ast.Cast) -> BoundExpr:
    target = parse_type_name(node.type)
    operand = bind_expression(binding, scope, node.operand)
    if isinstance(operand, Pending):
        limited = target.kind in TEXT_KINDS and target.precision is not None
        source = TEXT if operand.type.kind == "unknown" and limited else operand.type
        if not limited and can_cast(source, target, "assignment"):
            return settle_as(binding, operand, target, "assignment")
        operand = coerce(binding, operand, source) if limited else settle(binding, operand)
    if operand.type == target:
        return operand
    if operand.type.kind == "unknown":
        return Cast(operand, target, True, node.span)
    if not can_cast(operand.type, target, "explicit"):
        error = cannot_cast(operand.type, target)
        error.span = node.span
        raise error
    cast = apply_cast(operand, target, explicit=True)
    return cast if cast is not operand else Cast(operand, target, True, node.span)


@binds(ast.TypedLiteral)
def _bind_typed_literal(binding: Binding, scope: Scope, node: ast.TypedLiteral) -> BoundExpr:
    """DATE '2020-01-31': always a constant of the plan."""
    target = parse_type_name(node.type)
    with binding.baking():
        literal = Pending("string", node.text, node.slot, -1, UNKNOWN, node.span)
        return settle_as(binding, literal, target)
