"""Random queries whose meaning MantisDB and another engine share.

Left out because engines differ on purpose: division by zero, mixed types, text to number, integer
overflow, upper and lower case beyond ASCII, substr from 0 or less, LIKE without ESCAPE where a
backslash is near. NULL placement is always written out.

Literals are written as markers, so that one query can be run with its literals in the text and with
parameters in their place: `render`. dialect: 'sqlite' or 'duckdb'; what the other engine lacks is
not made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Any

from tests.differential.schemas import WORDS, Table, random_value

Scope = list[tuple[str, str]]  # (qualified column, kind)
_MARKER = re.compile("\x01(\\d+)\x01")
_PATTERNS = ("a%", "%b", "%a%", "_", "a_", "", "%", "A%", "a!%", "a!_c", "%é%", "__%")


def literal_text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


class Query:
    """A statement with markers for its literals. ordered: whether the order of rows is defined."""

    __slots__ = ("literals", "marked", "ordered")

    def __init__(self, marked: str, literals: list[Any], ordered: bool = False) -> None:
        self.marked = marked
        self.literals = literals
        self.ordered = ordered

    def text(self) -> str:
        return _MARKER.sub(lambda m: literal_text(self.literals[int(m[1])]), self.marked)

    def parameters(self) -> tuple[str, list[Any]]:
        """(text with `?`, values in order)."""
        used = [self.literals[int(n)] for n in _MARKER.findall(self.marked)]
        return _MARKER.sub("?", self.marked), used


class Generator:
    """Queries over aliases of the schema's tables."""

    def __init__(self, rng: Random, tables: Sequence[Table], dialect: str = "sqlite") -> None:
        self.rng = rng
        self.tables = tables
        self.dialect = dialect
        self.aliases = 0
        self.literals: list[Any] = []
        self.views: dict[str, Scope] = {}  # name: columns
        self.common: dict[str, Scope] = {}  # WITH queries of the statement being made

    def alias(self) -> str:
        self.aliases += 1
        return f"q{self.aliases}"

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    # ── values ───────────────────────────────────────────────────────────────────────────────
    def literal(self, value: Any) -> str:
        self.literals.append(value)
        return f"\x01{len(self.literals) - 1}\x01"

    def value(self, kind: str, scope: Scope, depth: int = 0) -> str:
        """An expression of the kind."""
        if kind == "int":
            return self.number(scope, depth)
        if kind == "text":
            return self.text(scope, depth)
        if kind == "real":
            return self.real(scope, depth)
        return self.column(scope, kind) or self.literal(random_value(self.rng, kind))

    def column(self, scope: Scope, kind: str) -> str | None:
        columns = [c for c, k in scope if k == kind]
        return self.rng.choice(columns) if columns else None

    def number(self, scope: Scope, depth: int = 0) -> str:
        rng = self.rng
        roll = rng.random()
        if depth > 2 or roll < 0.5:
            column = self.column(scope, "int") if self.chance(0.75) else None
            return column or self.literal(rng.randint(-4, 9))
        a = self.number(scope, depth + 1)
        if roll < 0.68:
            return f"({a} {rng.choice('+-*')} {self.number(scope, depth + 1)})"
        if roll < 0.74 and self.dialect == "sqlite":
            return f"({self.divisor(scope)} {rng.choice('/%')} nullif({self.divisor(scope)}, 0))"
        if roll < 0.8:
            return f"coalesce({a}, {self.number(scope, depth + 1)})"
        if roll < 0.84:
            return f"nullif({a}, {self.number(scope, depth + 1)})"
        if roll < 0.88:
            return f"{rng.choice(('abs', '-', '- -'))}({a})"
        if roll < 0.92:
            return f"length({self.text(scope, depth + 1)})"
        if roll < 0.94 and scope and depth < 2:
            return self.scalar_subquery(scope)
        return self.case("int", scope, depth)

    def divisor(self, scope: Scope) -> str:
        """Of an integer type: a sum of bigint is numeric, which divides exactly."""
        columns = [c for c, k in scope if k == "int" and re.search(r"\.[rst][a-e]$", c)]
        if columns and self.chance(0.8):
            return self.rng.choice(columns)
        return self.literal(self.rng.randint(-4, 9))

    def real(self, scope: Scope, depth: int = 0) -> str:
        column = self.column(scope, "real") or self.literal(self.rng.randint(-8, 8) / 4)
        if depth > 1 or self.chance(0.6):
            return column
        return f"({column} {self.rng.choice('+-*')} {self.number(scope, depth + 1)})"

    def text(self, scope: Scope, depth: int = 0) -> str:
        rng = self.rng
        column = self.column(scope, "text") if self.chance(0.8) else None
        plain = column or self.literal(rng.choice(WORDS))
        roll = rng.random()
        if depth > 2 or roll < 0.65:
            return plain
        if roll < 0.73:
            return f"({plain} || {self.text(scope, depth + 1)})"
        if roll < 0.79:
            return f"substr({plain}, {rng.randint(1, 3)}, {rng.randint(0, 3)})"
        if roll < 0.83:
            return f"replace({plain}, 'a', {self.text(scope, depth + 1)})"
        if roll < 0.88:
            return f"coalesce({plain}, {self.text(scope, depth + 1)})"
        if roll < 0.91:
            return f"{rng.choice(('trim', 'ltrim', 'rtrim'))}({plain})"
        return self.case("text", scope, depth)

    def case(self, kind: str, scope: Scope, depth: int) -> str:
        then = self.value(kind, scope, depth + 1)
        otherwise = f" else {self.value(kind, scope, depth + 1)}" if self.chance(0.7) else ""
        if self.chance(0.25):
            operand, match = self.number(scope, depth + 1), self.number(scope, depth + 1)
            return f"(case {operand} when {match} then {then}{otherwise} end)"
        whens = f"when {self.condition(scope, depth + 1)} then {then}"
        if self.chance(0.3):
            then = self.value(kind, scope, depth + 1)
            whens += f" when {self.condition(scope, depth + 2)} then {then}"
        return f"(case {whens}{otherwise} end)"

    def scalar_subquery(self, outer: Scope) -> str:
        source, inner = self.table()
        scope = [*inner, *outer] if self.chance(0.6) else inner
        where = f" where {self.condition(scope, 2)}"
        own = [c for c, k in inner if k == "int"]
        if not own:
            return f"(select count(*) from {source}{where})"
        column = self.rng.choice(own)
        if self.chance(0.25):
            order = f" order by {column} {self.rng.choice(('asc', 'desc'))} nulls last limit 1"
            return f"(select {column} from {source}{where}{order})"
        call = self.rng.choice(("max({})", "min({})", "count({})", "sum({})", "count(distinct {})"))
        return f"(select {call.format(column)} from {source}{where})"

    # ── conditions ───────────────────────────────────────────────────────────────────────────
    def condition(self, scope: Scope, depth: int = 0) -> str:
        rng = self.rng
        roll = rng.random()
        if depth < 2 and roll < 0.28:
            parts = [self.condition(scope, depth + 1) for _ in range(rng.choice((2, 2, 3)))]
            return f"({rng.choice((' and ', ' or ')).join(parts)})"
        if depth < 2 and roll < 0.34:
            return f"(not {self.condition(scope, depth + 1)})"
        if depth < 2 and roll < 0.48:
            return self.subquery_condition(scope)
        return self.simple_condition(scope)

    def simple_condition(self, scope: Scope) -> str:
        rng = self.rng
        kind = rng.choice(("int", "int", "int", "text", "text", "real", "date"))
        op = rng.choice(("=", "=", "<>", "<", "<=", ">", ">="))
        roll = rng.random()
        negated = rng.choice(("", "not "))
        if roll < 0.5:
            other = "real" if kind == "int" and self.chance(0.15) else kind
            return f"{self.value(kind, scope, 1)} {op} {self.value(other, scope, 2)}"
        if roll < 0.62:
            items = [self.literal(random_value(rng, kind)) for _ in range(rng.randint(1, 4))]
            if self.chance(0.2):
                items.append("null")
            return f"{self.value(kind, scope, 1)} {negated}in ({', '.join(items)})"
        if roll < 0.7:
            return f"{self.value(kind, scope, 1)} is {negated}null"
        if roll < 0.8:
            low, high = sorted([random_value(rng, kind), random_value(rng, kind)])
            bounds = f"{self.literal(low)} and {self.literal(high)}"
            return f"{self.value(kind, scope, 1)} {negated}between {bounds}"
        if roll < 0.9:
            pattern = self.literal(rng.choice(_PATTERNS))
            return f"{self.text(scope, 1)} {negated}like {pattern} escape '!'"
        if roll < 0.95:
            a, b = self.value(kind, scope, 1), self.value(kind, scope, 2)
            return f"{a} is {negated}distinct from {b}"
        return f"(({self.simple_condition(scope)}) is {negated}true)"

    def subquery_condition(self, outer: Scope) -> str:
        rng = self.rng
        source, inner = self.source() if self.chance(0.2) else self.table()
        scope = [*inner, *outer] if self.chance(0.6) else inner
        where = f" where {self.condition(scope, 2)}" if self.chance(0.9) else ""
        negated = rng.choice(("", "not "))
        roll = rng.random()
        if roll < 0.4:
            return f"{negated}exists (select 1 from {source}{where})"
        kind = rng.choice(("int", "int", "text", "real", "date"))
        column = self.column(inner, kind)
        if roll < 0.85 and column is not None:
            wanted = self.value(kind, outer, 1)
            distinct = rng.choice(("", "", "distinct "))
            return f"{wanted} {negated}in (select {distinct}{column} from {source}{where})"
        return f"{self.number(outer, 1)} {rng.choice('<>=')} {self.scalar_subquery(outer)}"

    # ── FROM ─────────────────────────────────────────────────────────────────────────────────
    def table(self) -> tuple[str, Scope]:
        alias = self.alias()
        named = [*self.common.items(), *self.views.items()]
        if named and self.chance(0.25):
            name, columns = self.rng.choice(named)
            return f"{name} {alias}", [(f"{alias}.{c}", k) for c, k in columns]
        table = self.rng.choice(self.tables)
        return f"{table.name} {alias}", [(f"{alias}.{c.name}", c.kind) for c in table.columns]

    def source(self) -> tuple[str, Scope]:
        rng = self.rng
        text, scope = self.table() if self.chance(0.85) else self.derived()
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            right, added = self.table() if self.chance(0.8) else self.derived()
            wider = [*scope, *added]
            kind = rng.choice(
                ("join", "left join", "right join", "full join", "cross join", "join")
            )
            if kind == "cross join":
                text = f"{text} cross join {right}"
            else:
                text = f"{text} {kind} {right} on {self.join_condition(scope, added, kind)}"
            scope = wider
        return text, scope

    def join_condition(self, left: Scope, right: Scope, kind: str) -> str:
        """A condition that names columns: SQLite 3.40 loses rows of an outer join beside a constant."""
        rng = self.rng
        shared = [k for k in ("int", "text", "real", "date") if self.column(left, k)]
        shared = [k for k in shared if self.column(right, k)]
        if not shared:
            return f"{rng.choice(left)[0]} is not null and {rng.choice(right)[0]} is not null"
        chosen = rng.choice(shared)
        on = f"{self.column(left, chosen)} = {self.column(right, chosen)}"
        if kind == "full join":
            return on
        roll = rng.random()
        if roll < 0.25:
            column, kind = rng.choice([*left, *right])
            op = rng.choice(("=", "<", ">=", "<>"))
            return f"{on} and {column} {op} {self.value(kind, [*left, *right], 2)}"
        if roll < 0.4:
            column, kind = rng.choice(left)
            op = rng.choice(("<", ">=", "<>"))
            return f"{column} {op} {self.value(kind, right, 1)}"
        return on

    def using(self) -> tuple[str, Scope]:
        """Two derived tables joined by USING or NATURAL; the shared column is unqualified."""
        rng = self.rng
        kind = rng.choice(("int", "text"))
        sides = []
        for name in ("m", "n"):
            source, scope = self.table()
            column = self.column(scope, kind) or self.literal(random_value(rng, kind))
            alias = self.alias()
            extra = self.number(scope, 1)
            sides.append(f"(select {column} as k, {extra} as {name} from {source}) {alias}")
        join = rng.choice(("join", "left join", "right join", "full join"))
        if self.chance(0.4):
            return f"{sides[0]} natural {join} {sides[1]}", [
                ("k", kind),
                ("m", "int"),
                ("n", "int"),
            ]
        text = f"{sides[0]} {join} {sides[1]} using (k)"
        return text, [("k", kind), ("m", "int"), ("n", "int")]

    def derived(self) -> tuple[str, Scope]:
        body, columns = self.derived_body()
        alias = self.alias()
        return f"({body}) {alias}", [(f"{alias}.{c}", k) for c, k in columns]

    def derived_body(self) -> tuple[str, Scope]:
        rng = self.rng
        source, scope = self.table()
        roll = rng.random()
        if roll < 0.35:
            key, kind = rng.choice(scope)
            body = (
                f"select {key} as g, count(*) as n, sum({self.number(scope, 2)}) as s"
                f" from {source} group by {key}"
            )
            return body, [("g", kind), ("n", "int"), ("s", "int")]
        if roll < 0.5:
            op = rng.choice(("union", "union all", "intersect", "except"))
            other, more = self.table()
            body = (
                f"select {self.number(scope, 1)} as p, {self.text(scope, 1)} as w from {source} {op}"
                f" select {self.number(more, 1)}, {self.text(more, 1)} from {other}"
            )
            return body, [("p", "int"), ("w", "text")]
        if roll < 0.6:
            rows = [
                f"({self.literal(rng.randint(-3, 6))}, {self.literal(rng.choice(WORDS))})"
                for _ in range(rng.randint(1, 4))
            ]
            if self.dialect == "sqlite":
                return f"select column1 as p, column2 as w from (values {', '.join(rows)})", [
                    ("p", "int"),
                    ("w", "text"),
                ]
            return f"select p, w from (values {', '.join(rows)}) v (p, w)", [
                ("p", "int"),
                ("w", "text"),
            ]
        distinct = rng.choice(("", "distinct "))
        body = (
            f"select {distinct}{self.number(scope, 1)} as p, {self.text(scope)} as w"
            f" from {source} where {self.condition(scope, 1)}"
        )
        if self.chance(0.2):
            body += f" order by 1 {rng.choice(('asc', 'desc'))} nulls last, 2 nulls first limit 5"
        return body, [("p", "int"), ("w", "text")]

    # ── whole queries ────────────────────────────────────────────────────────────────────────
    def query(self) -> Query:
        """A query whose result is compared as a multiset, or in order when it sorts by all."""
        rng = self.rng
        self.literals = []
        self.common = {}
        prefix = ""
        if self.chance(0.15):
            body, columns = self.derived_body()
            prefix, self.common = f"with w0 as ({body}) ", {"w0": columns}
        roll = rng.random()
        if roll < 0.12:
            return Query(prefix + self.compound(), self.literals)
        if roll < 0.4:
            return Query(prefix + self.grouped(), self.literals)
        kinds = [
            rng.choice(("int", "int", "text", "real", "date")) for _ in range(rng.randint(1, 3))
        ]
        text = self.plain(kinds)
        ordered = self.chance(0.45)
        if ordered:
            text += self.order(len(kinds))
        return Query(prefix + text, self.literals, ordered)

    def order(self, width: int) -> str:
        rng = self.rng
        positions = rng.sample(range(1, width + 1), width)
        keys = [
            f"{i} {rng.choice(('asc', 'desc'))} nulls {rng.choice(('first', 'last'))}"
            for i in positions
        ]
        text = f" order by {', '.join(keys)}"
        if self.chance(0.6):
            text += f" limit {self.literal(rng.randint(0, 6))}"
            if self.chance(0.4):
                text += f" offset {self.literal(rng.randint(0, 4))}"
        return text

    def compound(self) -> str:
        rng = self.rng
        ops = ["union", "union all", "intersect", "except"]
        if self.dialect == "duckdb":
            ops += ["except all", "intersect all"]
        kinds = ["int", rng.choice(("text", "real", "date"))]
        left, op, right = self.plain(kinds), rng.choice(ops), self.plain(kinds)
        text = f"{left} {op} {right}"
        if self.chance(0.3) and op in ("union", "except"):
            text += f" {rng.choice(('union', 'except'))} {self.plain(kinds)}"
        return text

    def plain(self, kinds: list[str]) -> str:
        source, scope = self.using() if self.chance(0.12) else self.source()
        outputs = ", ".join([self.value(kind, scope) for kind in kinds])
        where = f" where {self.condition(scope)}" if self.chance(0.8) else ""
        distinct = "distinct " if self.chance(0.15) else ""
        return f"select {distinct}{outputs} from {source}{where}"

    def aggregate(self, scope: Scope) -> str:
        rng = self.rng
        number, text, real = self.number(scope, 1), self.text(scope, 1), self.real(scope, 1)
        call = rng.choice(
            (
                "count(*)",
                f"count({text})",
                f"sum({number})",
                f"sum({real})",
                f"total({number})" if self.dialect == "sqlite" else f"sum({number})",
                f"min({number})",
                f"max({text})",
                f"min({real})",
                f"avg({number})",
                f"count(distinct {number})",
                f"sum(distinct {number})",
                f"count(distinct {text})",
            )
        )
        if self.chance(0.25):
            call += f" filter (where {self.condition(scope, 2)})"
        return call

    def grouped(self) -> str:
        rng = self.rng
        source, scope = self.source()
        calls = ", ".join([self.aggregate(scope) for _ in range(rng.randint(1, 3))])
        where = f" where {self.condition(scope)}" if self.chance(0.6) else ""
        if self.chance(0.3):
            return f"select {calls} from {source}{where}"
        keys = [rng.choice(scope)[0] for _ in range(rng.randint(1, 2))]
        listed = ", ".join(dict.fromkeys(keys))
        having = ""
        if self.chance(0.4):
            having = f" having {self.aggregate(scope)} is not null" if self.chance(0.3) else ""
            having = having or rng.choice(
                (" having count(*) > 1", f" having max({self.number(scope, 2)}) > 0")
            )
        return f"select {listed}, {calls} from {source}{where} group by {listed}{having}"
