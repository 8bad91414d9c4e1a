"""Frozen syntax nodes with source spans: what the grammar makes and the binder reads.

Nodes are `msgspec.Struct`s: frozen, made in 0.05 µs where a frozen dataclass takes 0.6, and
untracked by the garbage collector (`gc=False`; trees hold no cycles). `span` is the pair of
character offsets (start, end) in the statement's text. Identifiers are already folded to lower
case unless they were quoted. Sequences are tuples.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

Span: TypeAlias = tuple[int, int]
NO_SPAN: Span = (0, 0)


class Node(msgspec.Struct, frozen=True, gc=False):
    """Base of every syntax node."""


# ── expressions ──────────────────────────────────────────────────────────────────────────────
class Literal(Node, frozen=True, gc=False):
    """A constant. `kind`: 'integer', 'numeric' (value: str of digits), 'string', 'boolean',
    'null', 'blob' (X'..', bytes).

    `slot` is the index of this literal among the statement's literal tokens as counted by
    `lexer.normalize` (integer, numeric, string, blob), or -1 (true, false, null).
    """

    value: int | str | bytes | bool | None
    kind: str
    slot: int
    span: Span


class TypedLiteral(Node, frozen=True, gc=False):
    """DATE '2020-01-01', INTERVAL '1 day', TIMESTAMP '…'."""

    type: TypeName
    text: str
    slot: int
    span: Span


class Parameter(Node, frozen=True, gc=False):
    """`?` (index 0, 1, …), `$1` (index 0), or `:name` (name set; index in order of appearance)."""

    index: int
    name: str | None
    span: Span


class ColumnRef(Node, frozen=True, gc=False):
    """`a`, `t.a`, `s.t.a`: table is the qualifier next to the column; schema before it."""

    name: str
    table: str | None
    schema: str | None
    span: Span


class Star(Node, frozen=True, gc=False):
    """`*` or `t.*` in a select list or count(*)."""

    table: str | None
    span: Span


class Unary(Node, frozen=True, gc=False):
    """op: '-', '+', 'not', '~'."""

    op: str
    operand: Expr
    span: Span


class Binary(Node, frozen=True, gc=False):
    """op: 'and' 'or' '=' '<>' '<' '<=' '>' '>=' '+' '-' '*' '/' '%' '^' '||' '&' '|' '#' '<<'
    '>>' '->' '->>' ('!=' is folded into '<>'). `op_span` is the operator's own span."""

    op: str
    left: Expr
    right: Expr
    span: Span
    op_span: Span


class IsTest(Node, frozen=True, gc=False):
    """`x IS [NOT] NULL | TRUE | FALSE | UNKNOWN`. test: 'null', 'true', 'false', 'unknown'."""

    operand: Expr
    test: str
    negated: bool
    span: Span


class IsDistinct(Node, frozen=True, gc=False):
    """`a IS [NOT] DISTINCT FROM b`."""

    left: Expr
    right: Expr
    negated: bool
    span: Span


class Between(Node, frozen=True, gc=False):
    operand: Expr
    low: Expr
    high: Expr
    negated: bool
    span: Span


class InList(Node, frozen=True, gc=False):
    operand: Expr
    items: tuple[Expr, ...]
    negated: bool
    span: Span


class InQuery(Node, frozen=True, gc=False):
    operand: Expr
    query: Query
    negated: bool
    span: Span


class Like(Node, frozen=True, gc=False):
    """op: 'like', 'ilike', '~', '~*' (regular expressions; '!~' sets negated)."""

    op: str
    operand: Expr
    pattern: Expr
    escape: Expr | None
    negated: bool
    span: Span


class Exists(Node, frozen=True, gc=False):
    query: Query
    span: Span


class ScalarQuery(Node, frozen=True, gc=False):
    query: Query
    span: Span


class Case(Node, frozen=True, gc=False):
    """operand is None for the searched form."""

    operand: Expr | None
    whens: tuple[tuple[Expr, Expr], ...]
    default: Expr | None
    span: Span


class TypeName(Node, frozen=True, gc=False):
    """`numeric(10, 2)`: name lower case, multi-word names joined by one space. `slots`: the
    arguments' literal slots; they shape the plan, so a cached plan is only good for equal ones."""

    name: str
    args: tuple[int, ...]
    span: Span
    slots: tuple[int, ...] = ()


class Cast(Node, frozen=True, gc=False):
    operand: Expr
    type: TypeName
    span: Span


class FunctionCall(Node, frozen=True, gc=False):
    """`f(args)`; count(*) has args (Star,). EXTRACT(f FROM x) arrives as name 'extract' with a
    string Literal (slot -1) and x; SUBSTRING(a FROM b FOR c), POSITION(a IN b), TRIM(…) likewise
    become plain calls: substring(a,b,c), position(a,b), btrim/ltrim/rtrim(a[,b])."""

    name: str
    args: tuple[Expr, ...]
    distinct: bool
    filter: Expr | None
    order_by: tuple[OrderItem, ...]
    span: Span
    name_span: Span


Expr: TypeAlias = (
    Literal
    | TypedLiteral
    | Parameter
    | ColumnRef
    | Star
    | Unary
    | Binary
    | IsTest
    | IsDistinct
    | Between
    | InList
    | InQuery
    | Like
    | Exists
    | ScalarQuery
    | Case
    | Cast
    | FunctionCall
)


# ── queries ──────────────────────────────────────────────────────────────────────────────────
class OrderItem(Node, frozen=True, gc=False):
    """nulls_first None = PostgreSQL's default (last for ASC, first for DESC)."""

    expr: Expr
    descending: bool
    nulls_first: bool | None
    span: Span


class SelectItem(Node, frozen=True, gc=False):
    expr: Expr
    alias: str | None
    span: Span


class TableRef(Node, frozen=True, gc=False):
    name: str
    schema: str | None
    alias: str | None
    column_aliases: tuple[str, ...]
    span: Span


class SubqueryRef(Node, frozen=True, gc=False):
    query: Query
    alias: str | None
    column_aliases: tuple[str, ...]
    span: Span


class Join(Node, frozen=True, gc=False):
    """kind: 'inner', 'left', 'right', 'full', 'cross'. A comma in FROM is a 'cross' join."""

    kind: str
    left: FromItem
    right: FromItem
    on: Expr | None
    using: tuple[str, ...]
    natural: bool
    span: Span


FromItem: TypeAlias = TableRef | SubqueryRef | Join


class Select(Node, frozen=True, gc=False):
    """One SELECT block, without ORDER BY and LIMIT (they belong to Query)."""

    items: tuple[SelectItem, ...]
    distinct: bool
    from_: FromItem | None
    where: Expr | None
    group_by: tuple[Expr, ...]
    having: Expr | None
    span: Span


class Values(Node, frozen=True, gc=False):
    """Rows of expressions; a DefaultMarker only inside INSERT."""

    rows: tuple[tuple[Expr | DefaultMarker, ...], ...]
    span: Span


class SetOperation(Node, frozen=True, gc=False):
    """op: 'union', 'intersect', 'except'. Sides may be whole Query nodes (parentheses)."""

    op: str
    all: bool
    left: QueryBody
    right: QueryBody
    span: Span


class CommonTable(Node, frozen=True, gc=False):
    name: str
    column_aliases: tuple[str, ...]
    query: Query
    span: Span


class Query(Node, frozen=True, gc=False):
    """WITH … body ORDER BY … LIMIT … OFFSET …"""

    body: QueryBody
    order_by: tuple[OrderItem, ...]
    limit: Expr | None
    offset: Expr | None
    ctes: tuple[CommonTable, ...]
    recursive: bool
    span: Span


QueryBody: TypeAlias = Select | Values | SetOperation | Query


# ── data changes ─────────────────────────────────────────────────────────────────────────────
class DefaultMarker(Node, frozen=True, gc=False):
    """DEFAULT in VALUES or SET."""

    span: Span


class Insert(Node, frozen=True, gc=False):
    """source None = DEFAULT VALUES. conflict: None, 'nothing' (INSERT OR IGNORE, ON CONFLICT DO
    NOTHING) or 'replace' (INSERT OR REPLACE, REPLACE INTO)."""

    table: TableRef
    columns: tuple[tuple[str, Span], ...]
    source: Query | None
    conflict: str | None
    returning: tuple[SelectItem, ...]
    span: Span


class Assignment(Node, frozen=True, gc=False):
    column: str
    value: Expr | DefaultMarker
    span: Span


class Update(Node, frozen=True, gc=False):
    table: TableRef
    assignments: tuple[Assignment, ...]
    where: Expr | None
    returning: tuple[SelectItem, ...]
    span: Span


class Delete(Node, frozen=True, gc=False):
    table: TableRef
    where: Expr | None
    returning: tuple[SelectItem, ...]
    span: Span


# ── schema changes ───────────────────────────────────────────────────────────────────────────
class ColumnDef(Node, frozen=True, gc=False):
    name: str
    type: TypeName
    not_null: bool
    primary_key: bool
    unique: bool
    default: Expr | None
    checks: tuple[Check, ...]
    span: Span


class Check(Node, frozen=True, gc=False):
    """`text` is the expression's source, stored in the catalog."""

    name: str | None
    expr: Expr
    text: str
    span: Span


class KeyConstraint(Node, frozen=True, gc=False):
    """Table-level PRIMARY KEY (…) or UNIQUE (…)."""

    name: str | None
    primary: bool
    columns: tuple[tuple[str, Span], ...]
    span: Span


class CreateTable(Node, frozen=True, gc=False):
    """`query` is set for CREATE TABLE … AS. options: WITH (name = value, …). `default_texts`
    maps a column's position to its DEFAULT expression's source text."""

    name: str
    name_span: Span
    columns: tuple[ColumnDef, ...]
    keys: tuple[KeyConstraint, ...]
    checks: tuple[Check, ...]
    if_not_exists: bool
    query: Query | None
    options: tuple[tuple[str, str | int], ...]
    default_texts: tuple[tuple[int, str], ...]
    span: Span


class IndexItem(Node, frozen=True, gc=False):
    column: str
    descending: bool
    span: Span


class CreateIndex(Node, frozen=True, gc=False):
    name: str | None
    table: str
    items: tuple[IndexItem, ...]
    unique: bool
    if_not_exists: bool
    table_span: Span
    span: Span


class Drop(Node, frozen=True, gc=False):
    """kind: 'table', 'index', 'view'."""

    kind: str
    names: tuple[tuple[str, Span], ...]
    if_exists: bool
    cascade: bool
    span: Span


class CreateView(Node, frozen=True, gc=False):
    name: str
    columns: tuple[str, ...]
    query: Query
    text: str
    or_replace: bool
    if_not_exists: bool
    span: Span


# ── the rest ─────────────────────────────────────────────────────────────────────────────────
class Begin(Node, frozen=True, gc=False):
    """isolation: 'read uncommitted', 'read committed', 'repeatable read', 'serializable' or
    None; read_only None when not said."""

    isolation: str | None
    read_only: bool | None
    span: Span


class Commit(Node, frozen=True, gc=False):
    span: Span


class Rollback(Node, frozen=True, gc=False):
    """ROLLBACK [TO [SAVEPOINT] savepoint]."""

    savepoint: str | None
    span: Span


class Savepoint(Node, frozen=True, gc=False):
    name: str
    span: Span


class Release(Node, frozen=True, gc=False):
    name: str
    span: Span


class SetTransaction(Node, frozen=True, gc=False):
    isolation: str | None
    read_only: bool | None
    span: Span


class Explain(Node, frozen=True, gc=False):
    """format: 'text' or 'json'."""

    statement: Statement
    analyze: bool
    verbose: bool
    format: str
    span: Span


class Checkpoint(Node, frozen=True, gc=False):
    span: Span


class SetSetting(Node, frozen=True, gc=False):
    """SET name = value, or PRAGMA name = value / PRAGMA name(value)."""

    name: str
    value: str | int | float | bool
    pragma: bool
    span: Span


class ShowSetting(Node, frozen=True, gc=False):
    """SHOW name, or PRAGMA name."""

    name: str
    pragma: bool
    span: Span


Statement: TypeAlias = (
    Query
    | Insert
    | Update
    | Delete
    | CreateTable
    | CreateIndex
    | CreateView
    | Drop
    | Begin
    | Commit
    | Rollback
    | Savepoint
    | Release
    | SetTransaction
    | Explain
    | Checkpoint
    | SetSetting
    | ShowSetting
)
