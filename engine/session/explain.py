"""EXPLAIN [ANALYZE] [VERBOSE]: plan a statement, perhaps run it, and show the plan.

ANALYZE runs the statement (its changes stay, as in PostgreSQL) with every node counted and timed.
VERBOSE shows the plan before the first rule and after each rule that changed it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import NotSupportedError
from engine.session.statements import Entry, Params, bind_statement, compile_plan_of
from engine.sql import ast
from engine.sql.bound import OutputColumn
from engine.sql.executor.result import Result
from engine.sql.executor.row.build import Profile
from engine.sql.executor.row.context import Context
from engine.sql.optimizer import optimize
from engine.sql.plan import PlanNode, StatementPlan
from engine.sql.plan_text import plan_lines, plan_tree
from engine.sql.planner import plan_statement
from engine.types import JSON, TEXT

if TYPE_CHECKING:
    from engine.session.session import Session

_EXPLAINED = (ast.Query, ast.Insert, ast.Update, ast.Delete, ast.CreateTable)


def explain(session: Session, sql: str, statement: ast.Explain, params: Params) -> Result:
    """The plan as rows of one text column 'QUERY PLAN', or as one JSON row."""
    if not isinstance(statement.statement, _EXPLAINED):
        raise NotSupportedError("EXPLAIN of this statement", span=statement.span)
    transaction, own = session.begin_statement()
    try:
        catalog = transaction.catalog
        bound = bind_statement(statement.statement, catalog)
        steps: list[tuple[str, StatementPlan | PlanNode]] = []
        plan = plan_statement(bound.body)
        steps.append(("planned", plan))
        if session.settings.values["optimizer"]:
            plan = optimize(
                plan, transaction.row_estimate, trace=lambda rule, node: steps.append((rule, node))
            )
        profile: Profile | None = None
        if statement.analyze:
            profile = Profile(session.clock)
            run, columns = compile_plan_of(plan, profile)
            entry = Entry(bound, plan, catalog, run, columns)
            vector = entry.vector(params, ())
            session.require_writable(entry, transaction)
            started = session.clock()
            rows, _, _ = run(Context(vector, transaction, session.poll), transaction)
            for _ in rows:
                pass
            total_ms = (session.clock() - started) * 1000
        session.end_statement(transaction, own)
    except BaseException:
        session.abort_statement(transaction, own)
        raise
    actual = None if profile is None else _facts(profile)
    if statement.format == "json":
        tree: dict[str, Any] = {"plan": plan_tree(plan, actual)}
        if statement.verbose:
            tree["rules"] = [{"rule": name, "plan": plan_tree(node)} for name, node in steps]
        if profile is not None:
            tree["execution_ms"] = total_ms
        return _answer([msgspec.json.encode(tree).decode()], True)
    lines: list[str] = []
    if statement.verbose:
        for name, node in steps:
            lines += [f"-- {name}", *plan_lines(node), ""]
        lines.append("-- final")
    lines += plan_lines(plan, actual)
    if profile is not None:
        lines.append(f"Execution time: {total_ms:.3f} ms")
    return _answer(lines, False)


def _facts(profile: Profile) -> Any:
    def facts(node: PlanNode) -> dict[str, Any] | None:
        key = id(node)
        if key not in profile.runs:
            return None
        return {
            "actual_rows": profile.rows.get(key, 0),
            "actual_ms": profile.seconds.get(key, 0.0) * 1000,
            "runs": profile.runs[key],
        }

    return facts


def _answer(lines: list[str], is_json: bool) -> Result:
    columns = (OutputColumn("QUERY PLAN", JSON if is_json else TEXT),)
    return Result(columns, iter([(line,) for line in lines]), len(lines), "EXPLAIN")
