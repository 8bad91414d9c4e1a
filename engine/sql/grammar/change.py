"""INSERT, REPLACE, UPDATE, DELETE.

What it does not do: names and types. WITH before an INSERT becomes part of its query. UPDATE …
FROM, DELETE … USING, ON CONFLICT DO UPDATE and targets of ON CONFLICT are recognised and refused.
"""

from __future__ import annotations

from engine.sql.ast import (
    Assignment,
    CommonTable,
    DefaultMarker,
    Delete,
    Expr,
    Insert,
    Query,
    SelectItem,
    Span,
    Update,
)
from engine.sql.grammar.expression import parse_expression
from engine.sql.grammar.from_clause import parse_table
from engine.sql.grammar.query import (
    parse_query,
    parse_query_after_with,
    parse_select_items,
    parse_values,
    parse_with,
)
from engine.sql.grammar.stream import QUERY_STARTS, TokenStream

_AFTER_VALUES = frozenset({"order", "limit", "offset", "union", "intersect", "except", "fetch"})


def parse_insert(p: TokenStream, ctes: tuple[CommonTable, ...] = ()) -> Insert:
    """`INSERT [OR IGNORE|REPLACE] INTO t [(columns)] source [ON CONFLICT DO NOTHING] …` and
    `REPLACE INTO …`."""
    first = p.pos
    conflict = "replace" if p.values[first] == "replace" else None
    p.pos += 1
    if conflict is None and p.accept("or"):
        conflict = _parse_or(p)
    p.expect("into")
    table = parse_table(p, False)
    columns: tuple[tuple[str, Span], ...] = ()
    if p.kinds[p.pos] == "(" and not _begins_query(p):
        columns = _parse_target_columns(p)
    if p.at_word("overriding"):
        p.unsupported("OVERRIDING", p.pos)
    source: Query | None
    if p.kinds[p.pos] == "default":
        p.pos += 1
        p.expect("values")
        source = None
        if ctes:
            p.unsupported("WITH before DEFAULT VALUES", p.pos - 2)
    elif p.kinds[p.pos] == "values":
        source = _parse_values_source(p)
    elif p.kinds[p.pos] in QUERY_STARTS or p.kinds[p.pos] == "(":
        source = parse_query(p)
    elif p.at_word("set"):
        p.unsupported("INSERT … SET", p.pos, "write INSERT INTO t (a, b) VALUES (1, 2)")
    else:
        p.fail("values", "select", "default values", *(() if columns else ("(",)))
    if ctes and source is not None:
        if source.ctes:
            p.unsupported("WITH both before INSERT and inside it", first)
        source = Query(
            source.body, source.order_by, source.limit, source.offset, ctes, False, source.span
        )
    if p.kinds[p.pos] == "on":
        conflict = _parse_on_conflict(p, conflict)
    returning = _parse_returning(p)
    return Insert(table, columns, source, conflict, returning, p.span_from(first))


def _parse_or(p: TokenStream) -> str:
    """After INSERT OR."""
    if p.accept_word("ignore"):
        return "nothing"
    if p.accept_word("replace"):
        return "replace"
    word = p.values[p.pos]
    if word in ("abort", "fail", "rollback"):
        p.unsupported(f"INSERT OR {word.upper()}", p.pos - 2)
    return p.fail("ignore", "replace")


def _begins_query(p: TokenStream) -> bool:
    """Is the parenthesis at `pos` a query's, not a list of columns?"""
    pos = p.pos
    while p.kinds[pos] == "(":
        pos += 1
    return p.kinds[pos] in QUERY_STARTS and not (
        p.kinds[pos] == "values" and p.kinds[pos + 1] in (",", ")")
    )


def _parse_target_columns(p: TokenStream) -> tuple[tuple[str, Span], ...]:
    p.pos += 1
    p.depth += 1
    columns: list[tuple[str, Span]] = []
    while True:
        name = p.identifier("a column name")
        columns.append((name, p.span(p.pos - 1)))
        if p.kinds[p.pos] != ",":
            if p.kinds[p.pos] in (".", "["):
                p.unsupported("a part of a column as target", p.pos - 1)
            p.close()
            return tuple(columns)
        p.pos += 1


def _parse_values_source(p: TokenStream) -> Query:
    """VALUES with DEFAULT allowed; with more of a query after it, it is read as one."""
    first = p.pos
    body = parse_values(p, True)
    if p.kinds[p.pos] in _AFTER_VALUES:
        p.pos = first
        return parse_query(p)
    return Query(body, (), None, None, (), False, body.span)


def _parse_on_conflict(p: TokenStream, conflict: str | None) -> str:
    first = p.pos
    p.pos += 1
    if p.at_word("duplicate"):
        p.unsupported("ON DUPLICATE KEY UPDATE", first)
    p.expect_word("conflict")
    if conflict is not None:
        p.unsupported("ON CONFLICT together with OR or REPLACE", first)
    if p.kinds[p.pos] in ("(", "on"):
        p.unsupported(
            "a target of ON CONFLICT", p.pos, "ON CONFLICT DO NOTHING covers every constraint"
        )
    p.expect("do")
    if p.at_word("update"):
        p.unsupported("ON CONFLICT DO UPDATE", first)
    p.expect_word("nothing")
    return "nothing"


def _parse_returning(p: TokenStream) -> tuple[SelectItem, ...]:
    return parse_select_items(p) if p.accept("returning") else ()


def parse_update(p: TokenStream) -> Update:
    """`UPDATE t [[AS] a] SET column = value, … [WHERE …] [RETURNING …]`."""
    first = p.pos
    p.pos += 1
    if p.kinds[p.pos] == "or":
        p.unsupported("UPDATE OR …", p.pos)
    if p.kinds[p.pos] == "only":
        p.unsupported("UPDATE ONLY", p.pos)
    table = parse_table(p, True)
    p.expect_word("set")
    assignments = [_parse_assignment(p)]
    while p.accept(","):
        assignments.append(_parse_assignment(p))
    if p.kinds[p.pos] == "from":
        p.unsupported("UPDATE … FROM", p.pos)
    where = _parse_where(p)
    returning = _parse_returning(p)
    return Update(table, tuple(assignments), where, returning, p.span_from(first))


def _parse_assignment(p: TokenStream) -> Assignment:
    first = p.pos
    if p.kinds[first] == "(":
        p.unsupported("SET (columns) = …", first)
    column = p.identifier("a column name")
    if p.kinds[p.pos] == ".":
        p.unsupported("a qualified column in SET", first, "write the column's name alone")
    if p.kinds[p.pos] == "[":
        p.unsupported("a part of a column as target", first)
    p.expect("=")
    value: Expr | DefaultMarker
    if p.kinds[p.pos] == "default":
        value = DefaultMarker(p.span(p.pos))
        p.pos += 1
    else:
        value = parse_expression(p)
    return Assignment(column, value, p.span_from(first))


def _parse_where(p: TokenStream) -> Expr | None:
    if not p.accept("where"):
        return None
    if p.at_word("current") and p.values[p.pos + 1] == "of":
        p.unsupported("WHERE CURRENT OF", p.pos)
    return parse_expression(p)


def parse_delete(p: TokenStream) -> Delete:
    """`DELETE FROM t [[AS] a] [WHERE …] [RETURNING …]`."""
    first = p.pos
    p.pos += 1
    p.expect("from")
    if p.kinds[p.pos] == "only":
        p.unsupported("DELETE FROM ONLY", p.pos)
    table = parse_table(p, True)
    if p.kinds[p.pos] == "using":
        p.unsupported("DELETE … USING", p.pos)
    where = _parse_where(p)
    if p.kinds[p.pos] in ("order", "limit"):
        p.unsupported(f"DELETE … {p.kinds[p.pos].upper()}", p.pos)
    returning = _parse_returning(p)
    return Delete(table, where, returning, p.span_from(first))


def parse_with_statement(p: TokenStream) -> Query | Insert:
    """A statement that begins with WITH: a query, or an INSERT of one."""
    first = p.pos
    ctes = parse_with(p)
    if p.kinds[p.pos] == "NAME":
        word = p.values[p.pos]
        if word in ("insert", "replace"):
            return parse_insert(p, ctes)
        if word in ("update", "delete", "merge"):
            p.unsupported(f"WITH before {word.upper()}", p.pos)
    return parse_query_after_with(p, first, ctes)
