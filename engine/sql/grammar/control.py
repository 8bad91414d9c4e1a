"""Transactions, settings, EXPLAIN and CHECKPOINT as pyparsing rules.

What it does not do: know which settings exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyparsing as pp

from engine.sql.ast import (
    Begin,
    Checkpoint,
    Commit,
    Explain,
    Release,
    Rollback,
    Savepoint,
    SetSetting,
    SetTransaction,
    ShowSetting,
    Span,
    Statement,
)
from engine.sql.grammar.elements import (
    Build,
    Constant,
    Keyword,
    Name,
    Production,
    Symbol,
    Unless,
    gathered,
    keywords,
    listed,
    optional,
)
from engine.sql.grammar.stream import TokenStream

_WORK = pp.Opt(Keyword("work") | Keyword("transaction"))


# ── transactions ─────────────────────────────────────────────────────────────────────────────
def _modes() -> pp.ParserElement:
    """ISOLATION LEVEL … and READ ONLY | READ WRITE, in any order, with or without commas."""
    levels = pp.MatchFirst(
        [
            Keyword("serializable", flag=True),
            Keyword("repeatable", flag=True) + Keyword("read", flag=True),
            Keyword("read", flag=True) + Keyword("committed", flag=True),
            Keyword("read", flag=True) + Keyword("uncommitted", flag=True),
        ]
    )
    isolation = Build(
        keywords("isolation", "level") + levels,
        lambda stream, results, span: ("isolation", " ".join(results)),
    )
    access = Build(
        Keyword("read") + (Keyword("only", flag=True) | Keyword("write", flag=True)),
        lambda stream, results, span: ("read_only", results[0] == "only"),
    )
    refused = Unless([("DEFERRABLE", "deferrable"), ("DEFERRABLE", "not", "deferrable")])
    mode = refused + (isolation | access)
    return gathered(mode + pp.ZeroOrMore(pp.Opt(Symbol(",")) + mode))("modes")


def _mode_values(stream: TokenStream, results: pp.ParseResults) -> tuple[Any, Any]:
    values: dict[str, Any] = {}
    for key, value in optional(results, "modes", ()):
        if key in values:
            stream.fail("each transaction mode once")
        values[key] = value
    return values.get("isolation"), values.get("read_only")


def begin_rule() -> pp.ParserElement:
    """BEGIN [WORK|TRANSACTION] [modes]; START TRANSACTION [modes]."""

    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> Begin:
        return Begin(*_mode_values(stream, results), span)

    refused = Unless(
        [(f"BEGIN {word.upper()}", word) for word in ("deferred", "immediate", "exclusive")]
    )
    begin = Keyword("begin") + refused + _WORK
    return Build((begin | keywords("start", "transaction")) + pp.Opt(_modes()), make)


def commit_rule() -> pp.ParserElement:
    """COMMIT|END [WORK|TRANSACTION]."""
    refused = Unless([("COMMIT PREPARED", "prepared"), ("AND CHAIN", "and")])
    words = (Keyword("commit") | Keyword("end")) + refused + _WORK + refused
    return Build(words, lambda stream, results, span: Commit(span))


def rollback_rule() -> pp.ParserElement:
    """ROLLBACK|ABORT [WORK|TRANSACTION] [TO [SAVEPOINT] name]."""

    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> Rollback:
        savepoint = optional(results, "savepoint")
        return Rollback(None if savepoint is None else savepoint.name, span)

    refused = Unless([("ROLLBACK PREPARED", "prepared"), ("AND CHAIN", "and")])
    head = (Keyword("rollback") | Keyword("abort")) + refused + _WORK
    return Build(head + refused + pp.Opt(Keyword("to") + _savepoint_name()), make)


def _savepoint_name() -> pp.ParserElement:
    name = Name("a savepoint's name")("savepoint")
    return (Keyword("savepoint") + name) | name


def savepoint_rule() -> pp.ParserElement:
    """SAVEPOINT name."""
    return Build(
        Keyword("savepoint") + Name("a name for the savepoint")("savepoint"),
        lambda stream, results, span: Savepoint(results["savepoint"].name, span),
    )


def release_rule() -> pp.ParserElement:
    """RELEASE [SAVEPOINT] name."""
    return Build(
        Keyword("release") + _savepoint_name(),
        lambda stream, results, span: Release(results["savepoint"].name, span),
    )


# ── settings ─────────────────────────────────────────────────────────────────────────────────
def _number(sign: bool) -> pp.ParserElement:
    if not sign:
        return Constant()
    return Build(Symbol("-") + Constant(), lambda stream, results, span: _negate(stream, results))


def _negate(stream: TokenStream, results: pp.ParseResults) -> Any:
    value = results[0]
    if isinstance(value, bool) or not isinstance(value, int | float):
        stream.fail("a number")
    return -value


def _value() -> pp.ParserElement:
    return (_number(True) | _number(False))("value")


def set_rule() -> pp.ParserElement:
    """SET [SESSION] name =|TO value; SET TIME ZONE value; SET TRANSACTION modes."""

    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> Statement:
        return SetSetting(results["name"].name, results["value"], False, span)

    def make_zone(stream: TokenStream, results: pp.ParseResults, span: Span) -> Statement:
        return SetSetting("timezone", results["value"], False, span)

    def make_modes(stream: TokenStream, results: pp.ParseResults, span: Span) -> Statement:
        return SetTransaction(*_mode_values(stream, results), span)

    set_ = Keyword("set")
    refused = Unless(
        [
            ("SET LOCAL", "local"),
            ("SET SESSION CHARACTERISTICS", "session", "characteristics"),
            ("SET SESSION AUTHORIZATION", "session", "authorization"),
            ("SET ROLE", "role"),
            ("SET CONSTRAINTS", "constraints"),
            ("SET NAMES", "names"),
        ]
    )
    default = Unless([("SET … TO DEFAULT", "default")])
    equals = Symbol("=") | Keyword("to")
    dotted = Unless([("a setting's name with a dot", ".")])
    name = Name("the name of a setting")("name") + dotted
    return pp.MatchFirst(
        [
            Build(set_ + Keyword("transaction") + _modes(), make_modes),
            Build(set_ + keywords("time", "zone") + (default + _value()), make_zone),
            Build(
                set_
                + refused
                + ((Keyword("session") + name) | name)
                + equals
                + (default + _value()),
                make,
            ),
        ]
    )


def show_rule() -> pp.ParserElement:
    """SHOW name | ALL | TIME ZONE | TRANSACTION ISOLATION LEVEL."""

    def make(name: str) -> Callable[[TokenStream, pp.ParseResults, Span], ShowSetting]:
        return lambda stream, results, span: ShowSetting(name, False, span)

    show = Keyword("show")
    return pp.MatchFirst(
        [
            Build(show + keywords("time", "zone"), make("timezone")),
            Build(
                show + keywords("transaction", "isolation", "level"),
                make("transaction_isolation"),
            ),
            Build(show + Keyword("all"), make("all")),
            Build(
                show + Name("the name of a setting")("name"),
                lambda stream, results, span: ShowSetting(results["name"].name, False, span),
            ),
        ]
    )


def pragma_rule() -> pp.ParserElement:
    """PRAGMA name; PRAGMA name = value; PRAGMA name(value)."""

    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> Statement:
        name = results["name"].name
        if "value" in results:
            return SetSetting(name, results["value"], True, span)
        return ShowSetting(name, True, span)

    dotted = Unless([("a schema in PRAGMA", ".")])
    value = (Symbol("=") + _value()) | (Symbol("(") + _value() + Symbol(")"))
    return Build(
        Keyword("pragma") + Name("the name of a pragma")("name") + dotted + pp.Opt(value), make
    )


# ── EXPLAIN, CHECKPOINT ──────────────────────────────────────────────────────────────────────
_EXPLAIN_OPTIONS = frozenset({"analyze", "verbose", "format"})


def explain_rule(parse_statement: Callable[[TokenStream], Statement]) -> pp.ParserElement:
    """EXPLAIN [ANALYZE] [VERBOSE] statement; EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) statement."""

    def make_option(stream: TokenStream, results: pp.ParseResults, span: Span) -> tuple[str, Any]:
        name = results["name"]
        if name not in _EXPLAIN_OPTIONS:
            index = stream.starts.index(span[0])
            stream.pos = index
            stream.unsupported(f"EXPLAIN ({name.upper()})", index)
        return name, optional(results, "value", True)

    def make(stream: TokenStream, results: pp.ParseResults, span: Span) -> Explain:
        options = dict(optional(results, "options", ()))
        format_ = str(options.get("format", "text"))
        if format_ not in ("text", "json"):
            stream.pos = 0
            stream.unsupported(f"EXPLAIN (FORMAT {format_.upper()})", 0)
        return Explain(
            statement=results["statement"],
            analyze="analyze" in results or options.get("analyze", False) is True,
            verbose="verbose" in results or options.get("verbose", False) is True,
            format=format_,
            span=span,
        )

    words = pp.MatchFirst([Keyword(w, flag=True) for w in ("analyze", "verbose")])
    option = Build((words | _AnyWord())("name") + pp.Opt(Constant()("value")), make_option)
    statement = Production(parse_statement, "a statement")("statement")
    plain = (
        pp.Opt(Keyword("analyze", flag=True)("analyze"))
        + pp.Opt(Keyword("verbose", flag=True)("verbose"))
        + Unless([("EXPLAIN QUERY PLAN", "query", "plan")])
    )
    options = gathered(listed(option))("options") + pp.FollowedBy(_NotQuery())
    return Build(Keyword("explain") + (options | plain) + statement, make)


class _AnyWord(Name):
    """An option's name as a plain string."""

    def value(self, stream: TokenStream, index: int) -> list[Any]:
        return [stream.values[index]]


class _NotQuery(Symbol):
    """Anything: after the options' parenthesis a statement follows."""

    def __init__(self) -> None:
        super().__init__("a statement")

    def accepts(self, stream: TokenStream, index: int) -> bool:
        return stream.kinds[index] != "END"


def checkpoint_rule() -> pp.ParserElement:
    """CHECKPOINT."""
    return Build(Keyword("checkpoint"), lambda stream, results, span: Checkpoint(span))
