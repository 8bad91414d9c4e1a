"""Tokens, scripts and normalised texts."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import DataError, ProgrammingError
from engine.sql.lexer import (
    KEYWORDS,
    LITERAL_KINDS,
    RESERVED,
    is_complete,
    normalize,
    scan,
    split_statements,
    tokenize,
)


def pairs(text: str) -> list[tuple[str, object]]:
    kinds, values, *_ = tokenize(text)
    return list(zip(kinds, values))[:-3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT a", [("select", "select"), ("NAME", "a")]),
        ("Foo _x1 a$b", [("NAME", "foo"), ("NAME", "_x1"), ("NAME", "a$b")]),
        ('"Foo ""x"""', [("QUOTED", 'Foo "x"')]),
        ("émile", [("NAME", "émile")]),
        ("''", [("STRING", "")]),
        ("'it''s'", [("STRING", "it's")]),
        (r"E'a\n\t\\\'\x41\101\u00e9\U0001F600'''", [("STRING", "a\n\t\\'AAé😀'")]),
        ("X'00fF'", [("BLOB", b"\x00\xff")]),
        ("$$a'b$$", [("STRING", "a'b")]),
        ("$tag$ $$ $tag$", [("STRING", " $$ ")]),
        ("2147483648", [("INTEGER", 2147483648)]),
        ("9223372036854775807", [("INTEGER", 2**63 - 1)]),
        ("9223372036854775808", [("NUMERIC", "9223372036854775808")]),
        ("007", [("INTEGER", 7)]),
        ("1_000", [("INTEGER", 1000)]),
        ("0xFF 0o17 0b101", [("INTEGER", 255), ("INTEGER", 15), ("INTEGER", 5)]),
        ("1.50 .5 5. 1e5 2.5E-3", [("NUMERIC", t) for t in ("1.50", ".5", "5.", "1e5", "2.5E-3")]),
        ("? $1 :name", [("PARAMETER", "?"), ("PARAMETER", "$1"), ("PARAMETER", ":name")]),
        ("a::int", [("NAME", "a"), ("::", "::"), ("NAME", "int")]),
        (":a::int", [("PARAMETER", ":a"), ("::", "::"), ("NAME", "int")]),
        ("a!=b", [("NAME", "a"), ("<>", "<>"), ("NAME", "b")]),
        ("a==b", [("NAME", "a"), ("=", "="), ("NAME", "b")]),
        ("a->>'b'", [("NAME", "a"), ("->>", "->>"), ("STRING", "b")]),
        ("1-2", [("INTEGER", 1), ("-", "-"), ("INTEGER", 2)]),
        ("a.b", [("NAME", "a"), (".", "."), ("NAME", "b")]),
        ("a -- b\n/* c /* d */ e */ f", [("NAME", "a"), ("NAME", "f")]),
        ("-- only", []),
        ("  \n\t", []),
        ("", []),
        ("LIKE'x'", [("like", "like"), ("STRING", "x")]),
    ],
)
def test_tokens(text: str, expected: list[tuple[str, object]]) -> None:
    assert pairs(text) == expected


def test_spans_and_slots() -> None:
    text = "  SELECT 'a', -- one\n\t12 , b  "
    kinds, _, starts, ends, slots = tokenize(text)
    assert kinds == ("select", "STRING", ",", "INTEGER", ",", "NAME", "END", "END", "END")
    shown = [text[s:e] for s, e in zip(starts, ends)]
    assert shown == ["SELECT", "'a'", ",", "12", ",", "b", ""]
    assert slots[:7] == [0, 0, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("text", "error", "sqlstate", "at"),
    [
        ("SELECT 'abc", ProgrammingError, "42601", 7),
        ('SELECT "abc', ProgrammingError, "42601", 7),
        ("SELECT /* abc", ProgrammingError, "42601", 7),
        ("SELECT $x$ abc", ProgrammingError, "42601", 7),
        ("SELECT 12abc", ProgrammingError, "42601", 7),
        ("SELECT 1.2.3", ProgrammingError, "42601", 7),
        ("SELECT 0xZZ", ProgrammingError, "42601", 7),
        ('SELECT ""', ProgrammingError, "42601", 7),
        ("SELECT a ` b", ProgrammingError, "42601", 9),
        ("SELECT a ! b", ProgrammingError, "42601", 9),
        ("SELECT X'abc'", DataError, "22P02", 7),
        ("SELECT X'0g'", DataError, "22P02", 7),
        (r"SELECT E'\uZZ'", DataError, "22025", 7),
        (r"SELECT E'\000'", DataError, "22025", 7),
        ("SELECT E'abc", ProgrammingError, "42601", 7),
    ],
)
def test_unreadable(text: str, error: type[Exception], sqlstate: str, at: int) -> None:
    with pytest.raises(error) as caught:
        tokenize(text)
    assert caught.value.sqlstate == sqlstate  # type: ignore[attr-defined]
    assert caught.value.span[0] == at  # type: ignore[attr-defined]


def test_scan_keeps_going() -> None:
    tokens = scan("SELECT `a` -- x\n'open")
    problems = [(t.kind, t.text, t.problem) for t in tokens if t.problem]
    assert problems == [
        ("error", "`", "unknown character"),
        ("error", "`", "unknown character"),
        ("string", "'open", "unterminated quoted string"),
    ]
    assert [t.kind for t in tokens if t.text == "-- x"] == ["comment"]


def test_keywords() -> None:
    assert "select" in RESERVED and "savepoint" not in RESERVED
    assert RESERVED < KEYWORDS and all(w == w.lower() for w in KEYWORDS)


# ── scripts ──────────────────────────────────────────────────────────────────────────────────
def test_split_statements() -> None:
    text = "SELECT ';' ; -- a; b\n;; INSERT INTO t VALUES ($$;$$) ; SELECT 1 -- end"
    shown = [text[s:e] for s, e in split_statements(text)]
    assert shown == ["SELECT ';'", "INSERT INTO t VALUES ($$;$$)", "SELECT 1"]


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("", True),
        ("-- note", True),
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT 1; -- note", True),
        ("SELECT ';", False),
        ("SELECT 1; /* open", False),
        ('SELECT "a;', False),
        ("SELECT 1; SELECT", False),
    ],
)
def test_is_complete(text: str, complete: bool) -> None:
    assert is_complete(text) is complete


# ── normalised texts ─────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "key", "literals"),
    [
        ("SELECT * FROM t WHERE id = 42", "SELECT * FROM t WHERE id = 'i'", [42]),
        ("SELECT  *\nFROM t1 WHERE c2='x'", "SELECT * FROM t1 WHERE c2='s'", ["x"]),
        ("VALUES (2147483647, 2147483648)", "VALUES ('i', 'I')", [2**31 - 1, 2**31]),
        ("VALUES (99999999999999999999, 1.50)", "VALUES ('n', 'n')", ["9" * 20, "1.50"]),
        ("VALUES ('a  b''c')", "VALUES ('s')", ["a  b'c"]),
        ("SELECT $1, 5", "SELECT $1 , 'i'", [5]),
        ('SELECT "a  1", 5', "SELECT \"a  1\" , 'i'", [5]),
        ("SELECT 1 -- one 2\n, 3", "SELECT 'i' , 'i'", [1, 3]),
        ("SELECT X'ff', E'\\n'", "SELECT 'b' , 's'", [b"\xff", "\n"]),
        ("SELECT 0x10, 1_0", "SELECT 'i', 'i'", [16, 10]),
        ("SELECT 'open", "SELECT 'open", []),
        ("SELECT 1x", "SELECT 1x", []),
    ],
)
def test_normalize(text: str, key: str, literals: list[object]) -> None:
    found_key, found = normalize(text)
    assert (found_key.strip(), found) == (key, literals)


def test_white_space_in_quotes_is_kept() -> None:
    assert normalize('SELECT "a  b"')[0] != normalize('SELECT "a b"')[0]
    assert normalize("SELECT 'a  b'") != normalize("SELECT 'a b'")


WORDS = """SELECT FROM t1 a"b 'it''s' 'x 12 1.5 .5 5. 1e5 1e 0x1F 1_0 99999999999 ? $1 :n :: :
    E'\\n' X'0f' -- /* */ $$ $a$ " ' ; , ( ) . * - + = == != ! ` é "Q q" ''"""
SQL_PIECES = st.sampled_from([*WORDS.split(), " ", "\n", "\t", "  "])
SQL_TEXT = st.lists(SQL_PIECES, max_size=14).map("".join) | st.text(max_size=40)


@given(SQL_TEXT)
@example("1.e5")
@example("a'b'1")
@example("x'1'")
def test_scan_covers_the_text(text: str) -> None:
    """Invariant 1."""
    tokens = scan(text)
    assert "".join(t.text for t in tokens) == text
    assert all(text[t.start : t.end] == t.text for t in tokens)


@given(SQL_TEXT)
@example("e1'a'")
@example("1$2")
@example("t.5 'a'")
def test_normalize_and_tokenize_agree(text: str) -> None:
    """Invariant 2: slot i of a statement is literal i of its normalised text."""
    _, literals = normalize(text)
    try:
        kinds, values, starts, ends, slots = tokenize(text)
    except (ProgrammingError, DataError) as error:
        assert error.span is not None and 0 <= error.span[0] <= error.span[1] <= len(text)
        return
    expected = [value for kind, value in zip(kinds, values) if kind in LITERAL_KINDS]
    assert literals == expected
    for index, kind in enumerate(kinds):
        if kind in LITERAL_KINDS:
            assert literals[slots[index]] == values[index]
    assert all(s <= e for s, e in zip(starts, ends))


@given(SQL_TEXT)
def test_fast_and_careful_ways_agree(text: str) -> None:
    """The columns by chunks and by scan are the same."""
    from engine.sql import lexer

    try:
        fast = tokenize(text)
    except (ProgrammingError, DataError):
        return
    careful = lexer._tokenize_carefully(text)
    assert fast[:2] == careful[:2]
    assert fast[2][:-1] == careful[2][:-1] and fast[3][:-1] == careful[3][:-1]
    assert fast[4] == careful[4]


@given(SQL_TEXT, st.sampled_from([" ", "\n", "\t\n"]))
def test_same_key_same_shape(text: str, space: str) -> None:
    """Invariant 3: texts of one key differ in literal values and spans only."""
    other = space + text + space
    if normalize(text)[0] != normalize(other)[0]:
        return
    try:
        kinds, values, *_ = tokenize(text)
        other_kinds, other_values, *_ = tokenize(other)
    except (ProgrammingError, DataError):
        return
    assert kinds == other_kinds
    plain = [v for k, v in zip(kinds, values) if k not in LITERAL_KINDS]
    assert plain == [v for k, v in zip(other_kinds, other_values) if k not in LITERAL_KINDS]


def test_remembered_chunks_are_bounded() -> None:
    from engine.sql import lexer

    for number in range(6000):
        tokenize(f"SELECT column_{number} FROM t")
    assert len(lexer._ENTRIES) <= 4096
