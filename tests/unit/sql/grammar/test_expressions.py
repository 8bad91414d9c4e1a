"""Expressions: precedence, every operand and operator, and what they become."""

from __future__ import annotations

import pytest

from engine.errors import NotSupportedError, ProgrammingError
from engine.sql import ast
from engine.sql.grammar import parse, parse_expression
from engine.sql.lexer import normalize
from tests.unit.sql.grammar.shapes import show


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        # precedence, weak to strong
        ("a or b and c", "(a or (b and c))"),
        ("not a and b", "((not a) and b)"),
        ("not a = b", "(not (a = b))"),
        ("not not a", "(not (not a))"),
        ("a = b is null", "((a = b) is null)"),
        ("a = b like c", "(a = (like like b c - false))"),
        ("a + b < c * d", "((a + b) < (c * d))"),
        ("a || b + c", "(a || (b + c))"),
        ("a + b * c - d", "((a + (b * c)) - d)"),
        ("a - b - c", "((a - b) - c)"),
        ("a * b ^ c", "(a * (b ^ c))"),
        ("-a ^ b", "((- a) ^ b)"),
        ("-a::int", "(- (a :: int))"),
        ("- - + 5", "(- (- (+ 5)))"),
        ("~ a | b", "((~ a) | b)"),
        ("(a + b) * c", "((a + b) * c)"),
        ("a % 2 = 0 or b", "(((a % 2) = 0) or b)"),
        ("a -> 'k' ->> 'l' = 'x'", "(((a -> 'k') ->> 'l') = 'x')"),
        ("a << 1 >> 2 & 3 # 4", "((((a << 1) >> 2) & 3) # 4)"),
        # tests
        ("a is not null", "(a is not null)"),
        ("a isnull and b notnull and c not null", "(((a is null) and (b is not null)) and (c is not null))"),
        ("a is true", "(a is true)"),
        ("a is not unknown", "(a is not unknown)"),
        ("a is distinct from b + 1", "(isdistinct a (b + 1) false)"),
        ("a is not distinct from null", "(isdistinct a null true)"),
        ("a between 1 and 2 and b", "((between a 1 2 false) and b)"),
        ("a not between b + 1 and c || d", "(between a (b + 1) (c || d) true)"),
        ("a in (1, 2)", "(inlist a [1 2] false)"),
        ("a not in (1)", "(inlist a [1] true)"),
        ("1 in ()", "(inlist 1 [] false)"),
        ("a in (select b from t)", "(inquery a {select [b] from t} false)"),
        ("a = any (select b from t)", "(inquery a {select [b] from t} false)"),
        ("a <> all (select b from t)", "(inquery a {select [b] from t} true)"),
        ("a like 'x%'", "(like like a 'x%' - false)"),
        ("a not ilike b || '%' escape '!'", "(like ilike a (b || '%') '!' true)"),
        ("a ~ 'x' and a !~* 'y'", "((like ~ a 'x' - false) and (like ~* a 'y' - true))"),
        ("exists (select 1)", "(exists {select [1]})"),
        ("not exists (values (1))", "(not (exists {(values [[1]])}))"),
        # operands
        ("null", "null"),
        ("true", "True"),
        ("X'ff'", r"b'\xff'"),
        ("1.50", "1.50"),
        ("a.b", "a.b"),
        ("s.t.c", "s.t.c"),
        ('"A"."select"', "A.select"),
        ("t.select", "t.select"),
        ("date '2020-01-01'", "date '2020-01-01'"),
        ("timestamp with time zone '2020-01-01'", "timestamp with time zone '2020-01-01'"),
        ("interval '1 day'", "interval '1 day'"),
        ("interval '5' day", "(('5' || ' day') :: interval)"),
        ("date", "date"),
        ("a at time zone 'UTC'", "timezone('UTC' a)"),
        ("case when a then 1 else 2 end", "(case - [[a 1]] 2)"),
        ("case a when 1 then b when 2 then c end", "(case a [[1 b] [2 c]] -)"),
        ("cast(a as numeric(10, 2))", "(a :: numeric(10,2))"),
        ("a::double precision::text", "((a :: double precision) :: text)"),
        ("a::varchar(10)", "(a :: varchar(10))"),
        ("a::timestamp without time zone", "(a :: timestamp without time zone)"),
        ("(select 1)", "{select [1]}"),
        ("((select 1) + 2)", "({select [1]} + 2)"),
        ("((select 1) union (select 2))", "{(setoperation union false select [1] select [2])}"),
        ("(((select 1)))", "{select [1]}"),
        # calls
        ("f()", "f()"),
        ("f(a, b + 1)", "f(a (b + 1))"),
        ("count(*)", "count(*)"),
        ("count(distinct a)", "count(distinct a)"),
        ("sum(all a)", "sum(a)"),
        ("sum(a) filter (where b)", "sum(a) filter b"),
        ("string_agg(a, ',' order by b desc nulls last)", "string_agg(a ',' order [b desc nulls last])"),
        ("left(a, 1) || right(a, 1)", "(left(a 1) || right(a 1))"),
        ("extract(year from d)", "extract('year' d)"),
        ("extract('epoch' from d)", "extract('epoch' d)"),
        ("substring(a from 2 for 3)", "substring(a 2 3)"),
        ("substring(a for 3)", "substring(a 1 3)"),
        ("substring(a, 2)", "substring(a 2)"),
        ("position('a' in b || c)", "position('a' (b || c))"),
        ("trim(a)", "btrim(a)"),
        ("trim(both 'x' from a)", "btrim(a 'x')"),
        ("trim(leading from a)", "ltrim(a)"),
        ("trim(trailing 'x' from a)", "rtrim(a 'x')"),
        ("overlay(a placing b from 1 for 2)", "overlay(a b 1 2)"),
        ("current_date", "current_date()"),
        ("coalesce(a, b)", "coalesce(a b)"),
    ],
)  # fmt: skip
def test_shape(text: str, shape: str) -> None:
    assert show(parse_expression(text)) == shape


@pytest.mark.parametrize(
    ("text", "construct"),
    [
        ("sum(a) over (partition by b)", "a window function (OVER)"),
        ("rank() over w", "a window function (OVER)"),
        ("percentile_cont(0.5) within group (order by a)", "an ordered-set aggregate (WITHIN GROUP)"),
        ("array[1, 2]", "ARRAY"),
        ("a[1]", "array subscripting"),
        ("row(1, 2)", "a row value"),
        ("(1, 2) = (a, b)", "a row value"),
        ("a collate \"C\"", "COLLATE"),
        ("a similar to 'x'", "SIMILAR TO"),
        ("a > all (select 1)", "> ALL"),
        ("a = any (b)", "= ANY over an array"),
        ("a::int[]", "an array type"),
        ("pg_catalog.lower(a)", "a schema-qualified function name"),
        ("f(a => 1)", "a named argument"),
        ("interval '1-2' year to month", "an interval with two fields"),
        ("a @> b", "operator @>"),
        ("a between symmetric 1 and 2", "BETWEEN SYMMETRIC"),
        ("current_timestamp(3)", "CURRENT_TIMESTAMP with a precision"),
    ],
)  # fmt: skip
def test_unsupported(text: str, construct: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        parse_expression(text)
    assert caught.value.message == f"{construct} is not supported"
    assert caught.value.span is not None and caught.value.span[0] < caught.value.span[1]


def test_spans() -> None:
    text = "SELECT  (a + 1) * b.c, f(x) FROM t"
    query = parse(text)
    assert isinstance(query, ast.Query) and isinstance(query.body, ast.Select)
    product = query.body.items[0].expr
    assert isinstance(product, ast.Binary) and isinstance(product.left, ast.Binary)
    shown = [
        text[s:e] for s, e in (product.span, product.op_span, product.left.span, product.right.span)
    ]
    assert shown == ["(a + 1) * b.c", "*", "a + 1", "b.c"]
    call = query.body.items[1].expr
    assert isinstance(call, ast.FunctionCall)
    assert text[slice(*call.span)] == "f(x)" and text[slice(*call.name_span)] == "f"


def test_parameters() -> None:
    assert show(parse_expression("? + ? * ?")) == "($1 + ($2 * $3))"
    assert show(parse_expression("$2 + $1 + $2")) == "(($2 + $1) + $2)"
    assert show(parse_expression(":b + :a + :b")) == "((:b@0 + :a@1) + :b@0)"
    assert show(parse_expression("((select ?) + ?) * ((select ?) union (select ?))")) == (
        "(({select [$1]} + $2) * {(setoperation union false select [$3] select [$4])})"
    )
    with pytest.raises(ProgrammingError, match="cannot mix"):
        parse_expression("? + $1")
    with pytest.raises(ProgrammingError, match=r"no parameter \$0") as caught:
        parse_expression("$0")
    assert caught.value.sqlstate == "42P02"


def _literals(node: object) -> list[tuple[int, object]]:
    """(slot, value) of every literal of a tree, in any order."""
    if isinstance(node, tuple):
        return [pair for item in node for pair in _literals(item)]
    if isinstance(node, ast.Literal):
        return [(node.slot, node.value)] if node.slot >= 0 else []
    if isinstance(node, ast.TypedLiteral):
        return [(node.slot, node.text)]
    if isinstance(node, ast.TypeName):
        return list(zip(node.slots, map(abs, node.args)))
    if isinstance(node, ast.Node):
        fields = node.__struct_fields__
        return [pair for f in fields if "span" not in f for pair in _literals(getattr(node, f))]
    return []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1, 'a', -2.5, X'00', date '2020-01-01', a::numeric(10, 2), interval '5' day",
        "SELECT $1, 3 FROM t1 WHERE a IN (1, 2) AND extract('year' FROM b) = 5 LIMIT 10 OFFSET 5",
        "INSERT INTO t VALUES (1, 'x', DEFAULT), (2.5, 'y', 1 + 2)",
        "UPDATE t SET a = 1, b = 'x' WHERE c = ((SELECT 4) + 5)",
        "WITH x AS (SELECT 1) SELECT 2 FROM x UNION SELECT 3 ORDER BY 1 FETCH FIRST 4 ROWS ONLY",
        "SELECT trim('a' from 'b'), ((select 1) union (select 2)), cast('7' as varchar(3))",
    ],
)
def test_slots_are_the_normalised_literals(text: str) -> None:
    """Literal.slot indexes normalize's list, however often the parser went back."""
    _, literals = normalize(text)
    found = sorted(_literals(parse(text)), key=lambda pair: pair[0])
    assert [slot for slot, _ in found] == list(range(len(literals)))
    assert [value for _, value in found] == literals


# ── depth ────────────────────────────────────────────────────────────────────────────────────
def _depth(node: object) -> int:
    if isinstance(node, ast.Node):
        return 1 + max((_depth(getattr(node, f)) for f in node.__struct_fields__), default=0)
    if isinstance(node, tuple):
        return max(map(_depth, node), default=0)
    return 0


@pytest.mark.parametrize("word", ["AND", "OR"])
def test_long_chains_are_balanced(word: str) -> None:
    terms = [f"a = {i}" for i in range(3000)]
    tree = parse_expression(f" {word} ".join(terms))
    assert _depth(tree) < 20
    values = [value for _, value in _literals(tree)]
    assert values == list(range(3000)), "the terms keep their order"


def test_long_unions_are_balanced() -> None:
    query = parse(" UNION ALL ".join(f"SELECT {i}" for i in range(1000)))
    assert _depth(query) < 30
    assert [value for _, value in _literals(query)] == list(range(1000))


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "1" + ")" * 5000,
        "1" + " + 1" * 5000,
        "- " * 5000 + "1",
        "NOT " * 5000 + "TRUE",
        "CASE WHEN " * 3000 + "TRUE",
        "f(" * 3000 + "1" + ")" * 3000,
        "a" + "::text" * 3000,
        "(SELECT " * 3000 + "1" + ")" * 3000,
        "a IN (" * 3000 + "1" + ")" * 3000,
        "cast(" * 3000 + "1",
        "exists (select " * 3000,
        "trim(" * 3000,
        "sum(a) filter (where " * 3000,
        "1 = (1 + (" * 3000,
        "a between (" * 3000,
        "2 ^ (- " * 3000,
    ],
)
def test_depth_is_limited(text: str) -> None:
    """54001 in place of RecursionError, and soon."""
    with pytest.raises(ProgrammingError) as caught:
        parse_expression(text)
    assert caught.value.sqlstate == "54001"


def test_nested_tries_do_not_explode() -> None:
    """Parentheses that may hold a query or an expression are tried; 90 levels of them end."""
    text = "(" * 90 + "(SELECT 1)" + " + 1)" * 90
    assert show(parse_expression(text)).startswith("(" * 90 + "{select [1]} + 1)")
    nested = "1"
    for _ in range(25):
        nested = f"((SELECT {nested}) + 1)"
    assert show(parse_expression(nested)).count("select") == 25
    tables = "t"
    for _ in range(25):
        tables = f"((SELECT 1 FROM {tables}) JOIN b ON 1 = 1)"
    with pytest.raises(ProgrammingError):
        parse(f"SELECT 1 FROM {tables} WHERE")
