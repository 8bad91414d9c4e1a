"""`bind`: one statement, resolved and typed against a catalog.

Parameters are typed by what they meet: `WHERE id = ?` wants bigint, `INSERT … VALUES (?)` the
column's type. What nothing decides (`SELECT ?`) is UNKNOWN in `params`: the caller binds again
with the values' own types in `param_types` (engine.types.from_python), and may do so whenever a
value does not suit the deduced type (engine.types.TypeMismatch).

With `parameterize` literals become Params behind the caller's (`literal_slots`); those that shape
the plan stay constants (`baked_slots`). A literal that engine.types.literal_converter cannot turn
into its slot's type needs a plan of its own.

The statement is bound a second time in two cases: literals became Params and there are caller's
parameters (whose number must be known first), or a parameter met its type only after it had been
used without one. Both are rare, and binding has no side effects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import engine.sql.binder.calls
import engine.sql.binder.expressions  # noqa: F401  (both register binders of syntax nodes)
from engine.catalog import Catalog
from engine.sql import ast
from engine.sql.binder.changes import bind_delete, bind_insert, bind_update
from engine.sql.binder.query import bind_query
from engine.sql.binder.schema import (
    bind_create_index,
    bind_create_table,
    bind_create_view,
    bind_drop,
)
from engine.sql.binder.state import Binding, Parse
from engine.sql.bound import BoundBody, BoundStatement
from engine.types import SqlType


def _bind_top_query(binding: Binding, node: ast.Query) -> BoundBody:
    return bind_query(binding, node).finish(None)


_STATEMENTS: dict[type, Callable[[Binding, Any], BoundBody]] = {
    ast.Query: _bind_top_query,
    ast.Insert: bind_insert,
    ast.Update: bind_update,
    ast.Delete: bind_delete,
    ast.CreateTable: bind_create_table,
    ast.CreateIndex: bind_create_index,
    ast.CreateView: bind_create_view,
    ast.Drop: bind_drop,
}
_SCHEMA_CHANGES = (ast.CreateTable, ast.CreateIndex, ast.CreateView, ast.Drop)


def bind(
    statement: ast.Statement,
    catalog: Catalog,
    *,
    parameterize: bool = False,
    param_types: Mapping[int | str, SqlType] | None = None,
    parse: Parse | None = None,
    parse_expression: Parse | None = None,
) -> BoundStatement:
    """The bound statement (see the module header).

    statement         a query, data change or schema change; others need no binding
    param_types       position or name → type of caller's parameters, where known
    parse             text → Statement, for views; parse_expression: text → Expr, for DEFAULT and
                      CHECK. Needed only where the catalog has such texts.

    Raises ProgrammingError with a span (42703, 42P01, 42883, 42702, 42803, 42804, …), DataError
    for literals that do not read as the type they meet, NotSupportedError.
    """
    every = dict(param_types or {})
    named = {key: type_ for key, type_ in every.items() if isinstance(key, str)}
    given = {key: type_ for key, type_ in every.items() if isinstance(key, int)}
    parameterize = parameterize and not isinstance(statement, _SCHEMA_CHANGES)

    def attempt(count: int, types: dict[int, SqlType]) -> tuple[Binding, BoundBody]:
        binding = Binding(
            catalog,
            bind_query,
            parameterize=parameterize,
            caller_count=count,
            caller_types=types,
            named_types=named,
            parse=parse,
            parse_expression=parse_expression,
        )
        return binding, _STATEMENTS[statement.__class__](binding, statement)

    binding, body = attempt(0, dict(given))
    if binding.caller_names:
        count = max(binding.caller_names) + 1
        late = {i: binding.caller_types[i] for i in binding.untyped if i in binding.caller_types}
        if binding.slots or late:
            weak = binding.weak
            binding, body = attempt(count, {**given, **late})
            binding.weak |= weak & set(late)
    return BoundStatement(
        body,
        binding.param_specs(),
        tuple(binding.slots),
        tuple(binding.baked),
        binding.volatile,
    )
