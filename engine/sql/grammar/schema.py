"""CREATE and DROP as pyparsing rules.

What it does not do: names and types, and decide what a table's options mean. Constraints named at
a column arrive as constraints of the table, so that the name is kept.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pyparsing as pp

from engine.errors import NotSupportedError, ProgrammingError
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
    Choice,
    Constant,
    Keyword,
    Make,
    Name,
    Named,
    Production,
    Symbol,
    Unless,
    flag,
    gathered,
    keywords,
    listed,
    optional,
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
    """DEFAULT at a column."""

    value: SourceExpr
    name: str | None
    span: Span


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
    return Name(what)(key) + Unless([("a schema-qualified name here", ".")])


IF_NOT_EXISTS = flag("if_not_exists", "if", "not", "exists")
IF_EXISTS = flag("if_exists", "if", "exists")


# ── constraints ──────────────────────────────────────────────────────────────────────────────
_REFUSED_AT_COLUMN = [
    ("a foreign key", "references"),
    ("a generated column", "generated"),
    ("a generated column", "as", "("),
    ("COLLATE", "collate"),
    ("AUTOINCREMENT", "autoincrement"),
    ("AUTO_INCREMENT", "auto_increment"),
    ("a deferrable constraint", "deferrable"),
    ("a deferrable constraint", "not", "deferrable"),
    ("a deferrable constraint", "initially"),
    ("ON CONFLICT in a constraint", "on", "conflict"),
    ("NO INHERIT", "no", "inherit"),
    ("NULLS NOT DISTINCT", "nulls"),
]
_REFUSED_AT_TABLE = [
    ("a foreign key", "foreign", "key"),
    ("an exclusion constraint", "exclude", "using"),
    ("CREATE TABLE … (LIKE …)", "like"),
]
_REFUSED_AFTER_KEY = [
    ("INCLUDE", "include"),
    ("USING INDEX TABLESPACE", "using", "index"),
    ("a deferrable constraint", "deferrable"),
    ("a deferrable constraint", "initially"),
    ("ON CONFLICT in a constraint", "on", "conflict"),
]


def _check_rule() -> pp.ParserElement:
    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> Check:
        source = results["source"]
        return Check(None, source.expr, source.text, span)

    expr = Production(parse_source_expression, "an expression")("source")
    return Build(Keyword("check") + Symbol("(") + expr + Symbol(")"), make)


def _constraints(by_word: dict[str, pp.ParserElement], refused: Unless) -> pp.ParserElement:
    """One of the constraints, with or without CONSTRAINT name before it."""

    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> Node:
        constraint: Node = msgspec.structs.replace(results[-1], span=span)
        return msgspec.structs.replace(constraint, name=results["constraint"].name)

    name = Name("a name for the constraint")("constraint")
    named = Build(Keyword("constraint") + name + refused + Choice(by_word), make)
    return refused + Choice({**by_word, "constraint": named})


def _column_constraints() -> pp.ParserElement:
    def make(word: str) -> Make:
        return lambda stream, results, span: Flag(word, None, span)

    flags: dict[str, pp.ParserElement] = {
        "not": Build(keywords("not", "null"), make("not null")),
        "null": Build(Keyword("null"), make("null")),
        "primary": Build(keywords("primary", "key"), make("primary")),
        "unique": Build(Keyword("unique"), make("unique")),
        "check": _check_rule(),
        "default": Build(
            Keyword("default") + Production(parse_default_expression, "an expression")("value"),
            lambda stream, results, span: Default(results["value"], None, span),
        ),
    }
    return _constraints(flags, Unless(_REFUSED_AT_COLUMN))


def _table_constraints() -> dict[str, pp.ParserElement]:
    """By first word."""

    def make(primary: bool) -> Make:
        return lambda stream, results, span: KeyConstraint(
            None, primary, _pairs(results["columns"]), span
        )

    columns = gathered(listed(Name("a column name")))("columns") + Unless(_REFUSED_AFTER_KEY)
    keys: dict[str, pp.ParserElement] = {
        "primary": Build(keywords("primary", "key") + columns, make(True)),
        "unique": Build(Keyword("unique") + columns, make(False)),
        "check": _check_rule(),
    }
    named = _constraints(keys, Unless(_REFUSED_AT_TABLE))
    return dict.fromkeys((*keys, "constraint"), named)


# ── CREATE TABLE ─────────────────────────────────────────────────────────────────────────────
def _column_rule() -> pp.ParserElement:
    """A `_Column`."""
    column_type = Production(parse_type_name, "a type name")("type")
    parts = gathered(pp.ZeroOrMore(_column_constraints()))("parts")
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
            if part.name is not None:
                raise _named_at_column("DEFAULT", part.span)
            if default is not None:
                raise ProgrammingError(
                    f'column "{name.name}" has more than one DEFAULT', sqlstate="42601", span=span
                )
            default = part.value
        elif part.name is None:
            flags.add(part.word)
        elif part.word in ("not null", "null"):
            raise _named_at_column(part.word.upper(), part.span)
        else:
            columns = ((name.name, name.span),)
            keys.append(KeyConstraint(part.name, part.word == "primary", columns, part.span))
    if {"null", "not null"} <= flags:
        raise ProgrammingError(
            f'column "{name.name}" is both NULL and NOT NULL', sqlstate="42601", span=span
        )
    column = ColumnDef(
        name=name.name,
        type=results["type"],
        not_null="not null" in flags,
        primary_key="primary" in flags,
        unique="unique" in flags,
        default=None if default is None else default.expr,
        checks=tuple(checks),
        span=span,
    )
    return _Column(column, tuple(keys), None if default is None else default.text)


def _named_at_column(word: str, span: Span) -> NotSupportedError:
    return NotSupportedError(f"a name for {word} is not supported", span=span)


def create_table_rule() -> pp.ParserElement:
    """CREATE TABLE [IF NOT EXISTS] name (columns and constraints) [WITH (…)] | AS query."""
    element = Unless(_REFUSED_AT_TABLE) + Choice(_table_constraints(), otherwise=_column_rule())
    option = Build(
        Name("an option")("name") + Symbol("=") + Constant()("value"),
        lambda stream, results, span: (results["name"].name, results["value"]),
    )
    options = gathered(pp.Opt(Keyword("with") + listed(option)))("options")
    tails = Unless(
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
    definitions = gathered(listed(element))("elements") + options + tails
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
    options = Unless([("COLLATE", "collate"), ("NULLS FIRST or LAST in an index", "nulls")])
    item = Build(
        Name("a column name")("column")
        + Unless([("an expression in an index", "(")])
        + options
        + ordering
        + options,
        lambda stream, results, span: IndexItem(
            results["column"].name, "descending" in results, span
        ),
    )
    expression = Unless([("an expression in an index", "(")])
    tail = Unless(
        [
            ("a partial index (WHERE)", "where"),
            ("INCLUDE", "include"),
            ("WITH in CREATE INDEX", "with"),
            ("TABLESPACE", "tablespace"),
            ("NULLS NOT DISTINCT", "nulls"),
        ]
    )
    head = Keyword("create") + flag("unique", "unique") + Keyword("index")
    refused = Unless([("CREATE INDEX CONCURRENTLY", "concurrently")])
    name = pp.Opt(object_name("a name for the index", "name"))
    method = Unless([("USING in CREATE INDEX", "using")])
    table = Keyword("on") + object_name("a table name", "table") + method
    items = gathered(listed(expression + item))("items")
    return Build(head + refused + IF_NOT_EXISTS + name + table + items + tail, _make_index)


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
    refused = Unless([("WITH CHECK OPTION", "with")])
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
