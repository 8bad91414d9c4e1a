"""Giving expressions the types they need: literals and parameters settle, others get casts.

A conversion that leaves every value as it is (integer to bigint, varchar to text) adds no node.
Constants are converted at once, so bad literals are found while binding, with their span.
"""

from __future__ import annotations

from typing import Any

from engine.errors import Error
from engine.sql.ast import Span
from engine.sql.binder.state import Binding, Expr, Pending, fail
from engine.sql.bound import BoundExpr, Cast, Column, Const, Param
from engine.types import (
    BIGINT,
    BOOLEAN,
    INTEGER_KINDS,
    NUMERIC,
    TEXT,
    TEXT_KINDS,
    UNKNOWN,
    SqlType,
    can_cast,
    cast_function,
    common_type,
    literal_converter,
    type_text,
)


def settle(binding: Binding, expr: Expr) -> BoundExpr:
    """The expression with the type it has by itself; an untyped literal becomes text."""
    if expr.__class__ is not Pending:
        return expr  # type: ignore[return-value]
    assert isinstance(expr, Pending)
    if expr.type.kind != "unknown":
        return settle_as(binding, expr, expr.type)
    if expr.kind == "param":
        known = binding.caller_types.get(expr.index)
        if known is None:
            binding.untyped.add(expr.index)
            return Param(expr.index, UNKNOWN, expr.span)
        return Param(expr.index, known, expr.span)
    return settle_as(binding, expr, TEXT)


def settle_as(
    binding: Binding, expr: Pending, target: SqlType, context: str = "implicit"
) -> BoundExpr:
    """A literal or parameter as a value of `target`. Raises 42804 when its own type does not go
    there, DataError when its text does not read as one."""
    kind = expr.kind
    if kind == "param":
        return _settle_parameter(binding, expr, target)
    if kind == "null":
        return Const(None, target, expr.span)
    if not can_cast(expr.type, target, context):
        raise mismatch(expr.type, target, expr.span)
    value = _convert(literal_converter(kind, target), expr.value, expr.span)
    if expr.slot >= 0 and binding.literals == "params":
        # A text that does not read as the type is an error here, with its place.
        _convert(literal_converter(kind, target), expr.value, expr.span)
        binding.slots.append((expr.slot, target))
        return Param(binding.caller_count + len(binding.slots) - 1, target, expr.span)
    if expr.slot >= 0 and binding.literals == "baked":
        binding.baked.append(expr.slot)
    return Const(value, target, expr.span)


def _settle_parameter(binding: Binding, expr: Pending, target: SqlType) -> BoundExpr:
    known = binding.caller_types.setdefault(expr.index, target)
    param = Param(expr.index, known, expr.span)
    if known == target or cast_is_identity(known, target):
        return param
    if can_cast(known, target, "assignment"):
        return Cast(param, target, False, expr.span)
    name = binding.caller_names.get(expr.index)
    label = f":{name}" if name else f"${expr.index + 1}"
    message = f"parameter {label} is used as {type_text(known)} and as {type_text(target)}"
    raise fail("42P08", message, expr.span, f"Write CAST({label} AS {type_text(known)}).")


def cast_is_identity(source: SqlType, target: SqlType) -> bool:
    """True when every value of `source` is the same runtime value of `target`."""
    if source == target:
        return True
    return can_cast(source, target, "explicit") and cast_function(source, target) is None


def _convert(convert: Any, value: Any, span: Span) -> Any:
    try:
        return convert(value)
    except Error as error:
        if error.span is None:
            error.span = span
        raise


def coerce(
    binding: Binding, expr: Expr, target: SqlType, context: str = "implicit", what: str = ""
) -> BoundExpr:
    """`expr` as a value of `target`. context: as in engine.types.casts. what: how to name the
    place in the error ('column "a"'). Raises 42804."""
    source = expr.type
    if expr.__class__ is Pending:
        assert isinstance(expr, Pending)
        if expr.type.kind == "unknown" or can_cast(source, target, context):
            return settle_as(binding, expr, target, context)
        raise mismatch(source, target, expr.span, what)
    if source == target:
        return expr  # type: ignore[return-value]
    assert not isinstance(expr, Pending)
    if source.kind == "unknown":
        if isinstance(expr, Param):
            return _settle_parameter(binding, _as_pending(expr), target)
        # A column that is a parameter inside a subquery: its values' own types decide.
        binding.weak |= binding.untyped
        return Cast(expr, target, False, expr.span)
    if not can_cast(source, target, context):
        raise mismatch(source, target, expr.span, what)
    return apply_cast(expr, target, explicit=False)


def _as_pending(param: Param) -> Pending:
    return Pending("param", None, -1, param.index, UNKNOWN, param.span)


def apply_cast(expr: BoundExpr, target: SqlType, *, explicit: bool) -> BoundExpr:
    """A cast that is known to exist: nothing, a converted constant, or a Cast node."""
    convert = cast_function(expr.type, target, explicit)
    if convert is None:
        return _retyped(expr, target)
    if isinstance(expr, Const):
        value = None if expr.value is None else _convert(convert, expr.value, expr.span)
        return Const(value, target, expr.span)
    return Cast(expr, target, explicit, expr.span)


def _retyped(expr: BoundExpr, target: SqlType) -> BoundExpr:
    """The same value under another type; columns keep their own (plans match on them)."""
    if isinstance(expr, Const):
        return Const(expr.value, target, expr.span)
    return expr


def mismatch(source: SqlType, target: SqlType, span: Span, what: str = "") -> Error:
    """42804."""
    if what:
        message = f"{what} is of type {type_text(target)} but expression is of type "
        message += type_text(source)
    else:
        message = f"cannot use {type_text(source)} as {type_text(target)}"
    return fail("42804", message, span, "Add an explicit CAST.")


def as_boolean(binding: Binding, expr: Expr, where: str) -> BoundExpr:
    """A condition. where: 'WHERE', 'NOT', 'JOIN/ON', … 42804 when it is not boolean."""
    if expr.__class__ is Pending:
        assert isinstance(expr, Pending)
        if expr.type.kind == "unknown":
            return settle_as(binding, expr, BOOLEAN)
    if expr.type.kind != "boolean":
        message = f"argument of {where} must be type boolean, not type {type_text(expr.type)}"
        raise fail("42804", message, expr.span, "Compare it with something, or cast it.")
    return expr  # type: ignore[return-value]


def unify(binding: Binding, exprs: list[Expr], what: str) -> tuple[list[BoundExpr], SqlType]:
    """All expressions as one common type. 42804."""
    target = unified_type(exprs, what)
    return [coerce(binding, expr, target) for expr in exprs], target


def unified_type(exprs: list[Expr], what: str) -> SqlType:
    """The type all expressions go to; text when nothing says otherwise. 42804.

    A length or scale survives only when every expression has it: an untyped one has none.
    """
    target = common_type([expr.type for expr in exprs])
    if target is None:
        raise _no_common_type(exprs, what)
    if target.precision is not None and any(expr.type.kind == "unknown" for expr in exprs):
        return SqlType(target.kind)
    return TEXT if target.kind == "unknown" else target


def _no_common_type(exprs: list[Expr], what: str) -> Error:
    types: list[SqlType] = []
    for expr in exprs:
        types.append(expr.type)
        if common_type(types) is None:
            first = next(t for t in types if t.kind != "unknown")
            message = (
                f"{what} types {type_text(first)} and {type_text(expr.type)} cannot be matched"
            )
            return fail("42804", message, expr.span)
    raise AssertionError(types)


def comparison_type(left: Expr, right: Expr) -> SqlType | None:
    """The type two sides are compared in; None when they cannot be.

    Integers compare as they are and a literal or parameter beside one is bigint, so that a plan
    fits any whole literal and an index on the column is usable; text kinds compare as text without
    a length limit.
    """
    target = common_type([left.type, right.type])
    if target is None:
        return None
    if target.kind in INTEGER_KINDS:
        return BIGINT
    if target.kind in TEXT_KINDS:
        both_char = left.type.kind in ("char", "unknown") and right.type.kind in ("char", "unknown")
        return SqlType("char") if both_char and target.kind == "char" else TEXT
    if target.kind == "unknown":
        return TEXT
    if target.kind == "numeric":
        return NUMERIC
    return target


def coerce_for_comparison(binding: Binding, expr: Expr, target: SqlType) -> BoundExpr:
    """As coerce; integers of any width stay as they are."""
    if expr.__class__ is Column and target.kind == "bigint":
        return expr  # type: ignore[return-value]
    if expr.type.kind == "char" and target.kind == "char":
        return settle(binding, expr)
    if expr.type.kind == "numeric" and target.kind == "numeric" and not isinstance(expr, Pending):
        return expr
    return coerce(binding, expr, target)
