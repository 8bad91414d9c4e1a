"""The cold statements: which pyparsing rule reads a statement that begins with which words.

A rule is built when it is first needed (1 to 5 ms each) and kept. Statements that MantisDB does
not have are listed with their names; they raise 0A000 before any rule is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import NoReturn

import pyparsing as pp

from engine.sql.ast import Statement
from engine.sql.grammar import change, control, query, schema
from engine.sql.grammar.elements import TokenText
from engine.sql.grammar.stream import TokenStream

_EXPLAINABLE: dict[str, Callable[[TokenStream], Statement]] = {
    "select": query.parse_query,
    "with": change.parse_with_statement,
    "values": query.parse_query,
    "from": query.parse_query,
    "(": query.parse_query,
    "insert": change.parse_insert,
    "replace": change.parse_insert,
    "update": change.parse_update,
    "delete": change.parse_delete,
}


def parse_explainable(p: TokenStream) -> Statement:
    """The statement EXPLAIN explains: a query or a change of data."""
    parse = _EXPLAINABLE.get(p.values[p.pos])
    if parse is None or p.kinds[p.pos] in ("STRING", "QUOTED"):
        if p.values[p.pos] in _RULES:
            p.unsupported(f"EXPLAIN of {str(p.values[p.pos]).upper()}", p.pos)
        p.fail("select", "insert", "update", "delete")
    return parse(p)


_RULES: dict[str, Callable[[], pp.ParserElement]] = {
    "create table": schema.create_table_rule,
    "create index": schema.create_index_rule,
    "create view": schema.create_view_rule,
    "drop": schema.drop_rule,
    "begin": control.begin_rule,
    "start": control.begin_rule,
    "commit": control.commit_rule,
    "end": control.commit_rule,
    "rollback": control.rollback_rule,
    "abort": control.rollback_rule,
    "savepoint": control.savepoint_rule,
    "release": control.release_rule,
    "set": control.set_rule,
    "show": control.show_rule,
    "pragma": control.pragma_rule,
    "explain": lambda: control.explain_rule(parse_explainable),
    "checkpoint": control.checkpoint_rule,
}
_UNSUPPORTED_WORDS = """
    alter analyse analyze attach call close cluster comment copy deallocate declare desc
    describe detach discard do execute export fetch grant import install listen load lock merge
    move notify pivot prepare reassign refresh reindex reset revoke security summarize table
    truncate unlisten unpivot use vacuum
"""
_CREATED = {
    "table": "create table",
    "index": "create index",
    "view": "create view",
}
_UNSUPPORTED_OBJECT_WORDS = """
    access aggregate cast collation conversion database domain event extension foreign
    function global group language local macro materialized operator policy procedure publication
    recursive role rule schema sequence server statistics subscription tablespace temp temporary
    transform trigger type unlogged user virtual
"""
_UNSUPPORTED = frozenset(_UNSUPPORTED_WORDS.split())
_UNSUPPORTED_OBJECTS = frozenset(_UNSUPPORTED_OBJECT_WORDS.split())
_BUILT: dict[str, pp.ParserElement] = {}
_LOCK = RLock()


def parse_by_rule(p: TokenStream) -> Statement:
    """The statement at the start of the stream; leaves `pos` behind it.

    Raises SyntaxFailure at the furthest token any alternative of the rule reached.
    """
    name = _choose_rule(p)
    element = _BUILT.get(name)
    if element is None:
        element = _build(name)
    text = TokenText.of(p)
    try:
        results = element.parse_string(text)
    except pp.ParseException:
        _fail(p, text)
    # What an optional part wanted still helps if the statement does not end here.
    p.pos = _end_of(p, results[0])
    if p.kinds[p.pos] not in ("END", ";"):
        if text.furthest >= p.pos:
            _fail(p, text)
        p.fail("end of the statement")
    statement: Statement = results[0]
    return statement


def _fail(p: TokenStream, text: TokenText) -> NoReturn:
    p.pos = text.furthest
    p.fail(*text.wanted)


def _end_of(p: TokenStream, statement: Statement) -> int:
    """The index of the first token behind the statement."""
    return p.ends.index(statement.span[1]) + 1


def _build(name: str) -> pp.ParserElement:
    with _LOCK:
        if name not in _BUILT:
            _BUILT[name] = _RULES[name]().parse_with_tabs()
        return _BUILT[name]


def _choose_rule(p: TokenStream) -> str:
    """The rule for the statement's first words; raises when there is none."""
    word = p.values[0] if p.kinds[0] in ("NAME", p.values[0]) else ""
    if word == "create":
        return _choose_create(p)
    if word == "drop" and p.values[1] in _UNSUPPORTED_OBJECTS and p.kinds[1] != "QUOTED":
        p.pos = 1
        p.unsupported(f"DROP {p.values[1].upper()}", 0)
    if word in _RULES:
        return str(word)
    if word in _UNSUPPORTED:
        p.unsupported(str(word).upper(), 0)
    return p.fail("a statement")


def _choose_create(p: TokenStream) -> str:
    """CREATE [OR REPLACE] [UNIQUE] object."""
    p.pos = 1
    if p.accept("or"):
        p.expect_word("replace")
    unique = p.accept("unique")
    word = p.values[p.pos]
    if p.kinds[p.pos] in ("NAME", word) and not unique:
        if word in _UNSUPPORTED_OBJECTS:
            p.unsupported(f"CREATE {word.upper()}", 0)
        if word == "table" and p.pos > 1:
            p.unsupported("CREATE OR REPLACE TABLE", 0)
    rule = _CREATED.get(word) if p.kinds[p.pos] in ("NAME", word) else None
    if rule is None or (unique and word != "index"):
        p.fail("index") if unique else p.fail("table", "index", "view")
    assert rule is not None
    p.pos = 0
    return rule
