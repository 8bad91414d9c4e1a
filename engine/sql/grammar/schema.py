"""CREATE and DROP as pyparsing rules.

What it does not do: names and types, and decide what a table's options mean. Constraints named at
a column arrive as constraints of the table, so that the name is kept.
"""

from __future__ import annotations

from typing import Any

import pyparsing as pp

from engine.errors import ProgrammingError
from engine.sql.ast import (
    Check,
    ColumnDef,
    CreateIndex,
    CreateTable,
    CreateView,
    Drop,
    Expr,
    IndexItem,
    KeyConstraint,
    Node,
    Span,
)
from engine.sql.grammar.elements import (
    Build,
    Constant,
    Keyword,
    Name,
    Named,
    Production,
    Symbol,
    flag,
    gathered,
    keywords,
    listed,
    optional,
    refusals,
    separated,
)
from engine.sql.grammar.expression import OTHER, parse_expression
from engine.sql.grammar.query import parse_query
from engine.sql.grammar.stream import TokenStream
from engine.sql.grammar.type_name import parse_type_name


class SourceExpr(Node, frozen=True, gc=False):
    """An expression with its source text."""

    expr: Expr
    text: str


class Default(Node, frozen=True, gc=False):
    value: SourceExpr


class Flag(Node, frozen=True, gc=False):
    """'not null', 'null', 'primary' or 'unique' at a column, with the constraint's name."""

    word: str
    name: str | None
    span: Span


def parse_source_expression(p: TokenStream) -> SourceExpr:
    """An expression and its text, as the catalog stores it."""
    first = p.pos
    expr = parse_expression(p)
    return SourceExpr(expr, p.text[p.starts[first] : p.ends[p.pos - 1]])


def parse_default_expression(p: TokenStream) -> SourceExpr:
    """A DEFAULT's expression: without AND, OR, comparisons, which would run into what follows."""
    first = p.pos
    expr = parse_expression(p, OTHER)
    return SourceExpr(expr, p.text[p.starts[first] : p.ends[p.pos - 1]])


def _named(results: pp.ParseResults, key: str) -> str | None:
    found = optional(results, key)
    return found.name if isinstance(found, Named) else None


def _pairs(names: tuple[Named, ...]) -> tuple[tuple[str, Span], ...]:
    return tuple((found.name, found.span) for found in names)


def object_name(what: str, key: str) -> pp.ParserElement:
    """A name without a schema before it, as `key` in the results."""
    return Name(what)(key) + pp.Opt(refusals([("a schema-qualified name here", ".")]))


IF_NOT_EXISTS = flag("if_not_exists", "if", "not", "exists")
IF_EXISTS = flag("if_exists", "if", "exists")


# ── constraints ──────────────────────────────────────────────────────────────────────────────
_CONSTRAINT_NAME = pp.Opt(Keyword("constraint") + Name("a name for the constraint")("constraint"))
_REFUSED_CONSTRAINTS = [
    ("a foreign key", "references"),
    ("a foreign key", "foreign", "key"),
    ("a generated column", "generated"),
    ("a generated column", "as", "("),
    ("COLLATE", "collate"),
    ("AUTOINCREMENT", "autoincrement"),
    ("AUTO_INCREMENT", "auto_increment"),
    ("an exclusion constraint", "exclude"),
    ("a deferrable constraint", "deferrable"),
    ("a deferrable constraint", "initially"),
    ("ON CONFLICT in a constraint", "on", "conflict"),
    ("CREATE TABLE … (LIKE …)", "like"),
    ("NOT VALID", "not", "valid"),
    ("NO INHERIT", "no", "inherit"),
    ("USING INDEX", "using", "index"),
    ("INCLUDE", "include"),
    ("NULLS NOT DISTINCT", "nulls"),
]


def _check_rule() -> pp.ParserElement:
    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> Check:
        source = results["source"]
        return Check(_named(results, "constraint"), source.expr, source.text, span)

    expr = Production(parse_source_expression, "an expression")("source")
    return Build(_CONSTRAINT_NAME + Keyword("check") + Symbol("(") + expr + Symbol(")"), make)


def _column_flag_rule() -> pp.ParserElement:
    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> Flag:
        return Flag(results["word"], _named(results, "constraint"), span)

    words = pp.MatchFirst(
        [
            Keyword("not") + Keyword("null", flag=True)("word"),
            Keyword("primary", flag=True)("word") + Keyword("key"),
            Keyword("unique", flag=True)("word"),
        ]
    )
    return Build(_CONSTRAINT_NAME + words, make)


def _table_key_rule() -> pp.ParserElement:
    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> KeyConstraint:
        columns = _pairs(results["columns"])
        return KeyConstraint(_named(results, "constraint"), "primary" in results, columns, span)

    primary = Keyword("primary", flag=True)("primary") + Keyword("key")
    columns = gathered(listed(Name("a column name")))("columns")
    return Build(_CONSTRAINT_NAME + (primary | Keyword("unique")) + columns, make)


# ── CREATE TABLE ─────────────────────────────────────────────────────────────────────────────
def _column_rule() -> pp.ParserElement:
    """A ColumnDef; what the table has to know of it stays in a `_Column` until then."""
    default = Build(
        Keyword("default") + Production(parse_default_expression, "an expression")("value"),
        lambda stream, results, span: Default(results["value"]),
    )
    null = Keyword("null")  # allowed, and what a column is anyway
    constraint = (
        refusals(_REFUSED_CONSTRAINTS) | _column_flag_rule() | _check_rule() | default | null
    )
    column_type = Production(parse_type_name, "a type name")("type")
    parts = gathered(pp.ZeroOrMore(constraint))("parts")
    return Build(Name("a column name")("column") + column_type + parts, _make_column)


class _Column(Node, frozen=True, gc=False):
    """A column with what belongs to the table: named keys, and its default's text."""

    column: ColumnDef
    keys: tuple[KeyConstraint, ...]
    default_text: str | None


def _make_column(stream: TokenStream, results: pp.ParseResults, span: Span) -> _Column:
    name: Named = results["column"]
    flags: set[str] = set()
    keys: list[KeyConstraint] = []
    checks: list[Check] = []
    default: SourceExpr | None = None
    for part in results["parts"]:
        if isinstance(part, Check):
            checks.append(part)
        elif isinstance(part, Default):
            if default is not None:
                raise ProgrammingError(
                    f'column "{name.name}" has more than one DEFAULT', sqlstate="42601", span=span
                )
            default = part.value
        elif part.name is None or part.word == "null":
            flags.add(part.word)
        else:
            columns = ((name.name, name.span),)
            keys.append(KeyConstraint(part.name, part.word == "primary", columns, part.span))
    column = ColumnDef(
        name=name.name,
        type=results["type"],
        not_null="null" in flags,
        primary_key="primary" in flags,
        unique="unique" in flags,
        default=None if default is None else default.expr,
        checks=tuple(checks),
        span=span,
    )
    return _Column(column, tuple(keys), None if default is None else default.text)


def create_table_rule() -> pp.ParserElement:
    """CREATE TABLE [IF NOT EXISTS] name (columns and constraints) [WITH (…)] | AS query."""
    element = pp.MatchFirst(
        [
            refusals([("CREATE TABLE … (LIKE …)", "like"), ("a foreign key", "foreign", "key")]),
            _table_key_rule(),
            _check_rule(),
            refusals([("an exclusion constraint", "exclude", "using")]),
            _column_rule(),
        ]
    )
    option = Build(
        Name("an option")("name") + Symbol("=") + Constant()("value"),
        lambda stream, results, span: (results["name"].name, results["value"]),
    )
    options = gathered(pp.Opt(Keyword("with") + listed(option)))("options")
    tails = refusals(
        [
            ("WITHOUT ROWID", "without"),
            ("STRICT", "strict"),
            ("INHERITS", "inherits"),
            ("PARTITION BY", "partition"),
            ("TABLESPACE", "tablespace"),
            ("ON COMMIT", "on", "commit"),
            ("USING", "using"),
        ]
    )
    definitions = gathered(listed(element))("elements") + options + pp.Opt(tails)
    query = Keyword("as") + Production(parse_query, "a query")("query")
    name = IF_NOT_EXISTS + object_name("a table name", "name")
    return Build(keywords("create", "table") + name + (query | definitions), _make_table)


def _make_table(stream: TokenStream, results: pp.ParseResults, span: Span) -> CreateTable:
    name: Named = results["name"]
    elements: tuple[Any, ...] = optional(results, "elements", ())
    columns = [element for element in elements if isinstance(element, _Column)]
    keys = [element for element in elements if isinstance(element, KeyConstraint)]
    return CreateTable(
        name=name.name,
        name_span=name.span,
        columns=tuple(column.column for column in columns),
        keys=(*(key for column in columns for key in column.keys), *keys),
        checks=tuple(element for element in elements if isinstance(element, Check)),
        if_not_exists="if_not_exists" in results,
        query=optional(results, "query"),
        options=optional(results, "options", ()),
        default_texts=tuple(
            (position, column.default_text)
            for position, column in enumerate(columns)
            if column.default_text is not None
        ),
        span=span,
    )


# ── CREATE INDEX, CREATE VIEW, DROP ──────────────────────────────────────────────────────────
def create_index_rule() -> pp.ParserElement:
    """CREATE [UNIQUE] INDEX [IF NOT EXISTS] [name] ON table (column [ASC|DESC], …)."""
    ordering = pp.Opt(Keyword("asc") | Keyword("desc", flag=True)("descending"))
    options = pp.Opt(
        refusals([("COLLATE", "collate"), ("NULLS FIRST or LAST in an index", "nulls")])
    )
    item = Build(
        Name("a column name")("column")
        + pp.Opt(refusals([("an expression in an index", "(")]))
        + options
        + ordering
        + options,
        lambda stream, results, span: IndexItem(
            results["column"].name, "descending" in results, span
        ),
    )
    expression = refusals([("an expression in an index", "(")])
    refused = refusals(
        [
            ("CREATE INDEX CONCURRENTLY", "concurrently"),
        ]
    )
    tail = refusals(
        [
            ("a partial index (WHERE)", "where"),
            ("INCLUDE", "include"),
            ("WITH in CREATE INDEX", "with"),
            ("TABLESPACE", "tablespace"),
            ("NULLS NOT DISTINCT", "nulls"),
        ]
    )
    head = Keyword("create") + flag("unique", "unique") + Keyword("index") + pp.Opt(refused)
    name = pp.Opt(object_name("a name for the index", "name"))
    method = pp.Opt(refusals([("USING in CREATE INDEX", "using")]))
    table = Keyword("on") + object_name("a table name", "table") + method
    items = gathered(listed(expression | item))("items")
    return Build(head + IF_NOT_EXISTS + name + table + items + pp.Opt(tail), _make_index)


def _make_index(stream: TokenStream, results: pp.ParseResults, span: Span) -> CreateIndex:
    table: Named = results["table"]
    return CreateIndex(
        name=_named(results, "name"),
        table=table.name,
        items=results["items"],
        unique="unique" in results,
        if_not_exists="if_not_exists" in results,
        table_span=table.span,
        span=span,
    )


def create_view_rule() -> pp.ParserElement:
    """CREATE [OR REPLACE] VIEW [IF NOT EXISTS] name [(columns)] AS query."""

    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> CreateView:
        query, text = results["query"]
        return CreateView(
            name=results["name"].name,
            columns=tuple(found.name for found in optional(results, "columns", ())),
            query=query,
            text=text,
            or_replace="or_replace" in results,
            if_not_exists="if_not_exists" in results,
            span=span,
        )

    head = Keyword("create") + flag("or_replace", "or", "replace") + Keyword("view")
    columns = pp.Opt(gathered(listed(Name("a column name")))("columns"))
    query = Keyword("as") + Production(_parse_source_query, "a query")("query")
    refused = pp.Opt(refusals([("WITH CHECK OPTION", "with")]))
    return Build(head + IF_NOT_EXISTS + object_name("a view name", "name") + columns
                 + refused + query + refused, make)  # fmt: skip


def _parse_source_query(p: TokenStream) -> tuple[Any, str]:
    first = p.pos
    query = parse_query(p)
    return query, p.text[p.starts[first] : p.ends[p.pos - 1]]


def drop_rule() -> pp.ParserElement:
    """DROP TABLE|INDEX|VIEW [IF EXISTS] name, … [CASCADE|RESTRICT]."""

    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> Drop:
        names = _pairs(results["names"])
        return Drop(results["kind"], names, "if_exists" in results, "cascade" in results, span)

    kinds = pp.MatchFirst([Keyword(kind, flag=True) for kind in ("table", "index", "view")])
    names = gathered(separated(object_name("a name", "name")))("names")
    behaviour = pp.Opt(Keyword("cascade", flag=True)("cascade") | Keyword("restrict"))
    return Build(Keyword("drop") + kinds("kind") + IF_EXISTS + names + behaviour, make)
