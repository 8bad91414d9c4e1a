"""Random schemas, rows and queries whose meaning MantisDB and SQLite share.

Left out because they differ on purpose: division by zero, mixed types, text to number, LIKE's
letter case, integer overflow. NULL placement is always written out.
"""

from __future__ import annotations

from random import Random

TABLES = {
    "t1": ("a integer primary key", "b integer", "c text", "d integer"),
    "t2": ("x integer", "y integer", "z text"),
    "t3": ("k text", "n integer", "m integer not null", "primary key (k, m)"),
}
INDEXES = (
    "create index t1_b on t1 (b, d)",
    "create index t2_xy on t2 (x desc, y)",
    "create unique index t3_m on t3 (m)",
)
COLUMNS = {
    "t1": {"a": "int", "b": "int", "c": "text", "d": "int"},
    "t2": {"x": "int", "y": "int", "z": "text"},
    "t3": {"k": "text", "n": "int", "m": "int"},
}
WORDS = ("", "a", "ab", "abc", "b", "ba", "z")


def schema_statements() -> list[str]:
    tables = [f"create table {name} ({', '.join(parts)})" for name, parts in TABLES.items()]
    return [*tables, *INDEXES]


def rows(rng: Random) -> dict[str, list[tuple[object, ...]]]:
    """Rows of every table; keys are unique."""

    def number() -> int | None:
        return None if rng.random() < 0.2 else rng.randint(-3, 6)

    def word() -> str | None:
        return None if rng.random() < 0.2 else rng.choice(WORDS)

    keys = rng.sample(range(-5, 30), 14)
    marks = rng.sample(range(-3, 20), 12)
    return {
        "t1": [(key, number(), word(), number()) for key in keys],
        "t2": [(number(), number(), word()) for _ in range(rng.randint(0, 14))],
        "t3": [(rng.choice(WORDS), number(), mark) for mark in marks],
    }


class Generator:
    """Queries over aliases of the tables in scope."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.aliases = 0

    def alias(self) -> str:
        self.aliases += 1
        return f"q{self.aliases}"

    # scope: list of (qualified column, kind)
    def table(self) -> tuple[str, list[tuple[str, str]]]:
        name = self.rng.choice(tuple(COLUMNS))
        alias = self.alias()
        return f"{name} {alias}", [(f"{alias}.{c}", k) for c, k in COLUMNS[name].items()]

    def number(self, scope: list[tuple[str, str]], depth: int = 0) -> str:
        rng = self.rng
        columns = [c for c, k in scope if k == "int"]
        roll = rng.random()
        if depth > 2 or roll < 0.5:
            return (
                rng.choice(columns) if columns and rng.random() < 0.75 else str(rng.randint(-3, 6))
            )
        if roll < 0.75:
            op = rng.choice(("+", "-", "*"))
            return f"({self.number(scope, depth + 1)} {op} {self.number(scope, depth + 1)})"
        if roll < 0.85:
            return f"coalesce({self.number(scope, depth + 1)}, {self.number(scope, depth + 1)})"
        if roll < 0.92:
            return f"abs({self.number(scope, depth + 1)})"
        when, then = self.condition(scope, depth + 1), self.number(scope, depth + 1)
        return f"(case when {when} then {then} else {self.number(scope, depth + 1)} end)"

    def text(self, scope: list[tuple[str, str]]) -> str:
        columns = [c for c, k in scope if k == "text"]
        if columns and self.rng.random() < 0.8:
            return self.rng.choice(columns)
        return "'" + self.rng.choice(WORDS) + "'"

    def condition(self, scope: list[tuple[str, str]], depth: int = 0) -> str:
        rng = self.rng
        roll = rng.random()
        if depth < 2 and roll < 0.3:
            word = rng.choice(("and", "or"))
            return f"({self.condition(scope, depth + 1)} {word} {self.condition(scope, depth + 1)})"
        if depth < 2 and roll < 0.36:
            return f"(not {self.condition(scope, depth + 1)})"
        if depth < 2 and roll < 0.5:
            return self.subquery_condition(scope)
        op = rng.choice(("=", "<>", "<", "<=", ">", ">=", "="))
        if roll < 0.8:
            return f"{self.number(scope, 1)} {op} {self.number(scope, 1)}"
        if roll < 0.88:
            return f"{self.text(scope)} {op} {self.text(scope)}"
        if roll < 0.93:
            items = ", ".join([str(rng.randint(-3, 6)) for _ in range(rng.randint(1, 4))])
            return f"{self.number(scope, 1)} {rng.choice(('', 'not '))}in ({items})"
        if roll < 0.97:
            return f"{self.number(scope, 1)} is {rng.choice(('', 'not '))}null"
        return f"{self.number(scope, 1)} between {rng.randint(-3, 2)} and {rng.randint(0, 6)}"

    def subquery_condition(self, outer: list[tuple[str, str]]) -> str:
        source, inner = self.table()
        scope = [*inner, *outer] if self.rng.random() < 0.6 else inner
        where = f" where {self.condition(scope, 2)}"
        negated = self.rng.choice(("", "not "))
        roll = self.rng.random()
        if roll < 0.4:
            return f"{negated}exists (select 1 from {source}{where})"
        numbers = [c for c, k in inner if k == "int"]
        column = self.rng.choice(numbers)
        if roll < 0.8:
            return f"{self.number(outer, 1)} {negated}in (select {column} from {source}{where})"
        call = self.rng.choice(("max", "min", "count", "sum"))
        return f"{self.number(outer, 1)} > (select {call}({column}) from {source}{where})"

    def source(self) -> tuple[str, list[tuple[str, str]]]:
        rng = self.rng
        text, scope = self.table()
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            right, added = self.table() if rng.random() < 0.8 else self.derived()
            kind = rng.choice(("join", "left join", "cross join", ","))
            wider = [*scope, *added]
            if kind in ("cross join", ","):
                # A comma binds weaker than JOIN; a cross join keeps one order for both.
                text = f"{text} cross join {right}"
            else:
                a = rng.choice([c for c, k in scope if k == "int"])
                b = rng.choice([c for c, k in added if k == "int"])
                on = f"{a} = {b}" if rng.random() < 0.7 else self.condition(wider, 2)
                if rng.random() < 0.3:
                    on += f" and {self.condition(wider, 2)}"
                text = f"{text} {kind} {right} on {on}"
            scope = wider
        return text, scope

    def derived(self) -> tuple[str, list[tuple[str, str]]]:
        source, scope = self.table()
        alias = self.alias()
        if self.rng.random() < 0.5:
            key = self.rng.choice(scope)[0]
            text = (
                f"(select {key} as g, count(*) as n, sum({self.number(scope, 2)}) as s"
                f" from {source} group by {key}) {alias}"
            )
            return text, [(f"{alias}.n", "int"), (f"{alias}.s", "int")]
        text = (
            f"(select distinct {self.number(scope, 1)} as p, {self.text(scope)} as w"
            f" from {source} where {self.condition(scope, 1)}) {alias}"
        )
        return text, [(f"{alias}.p", "int"), (f"{alias}.w", "text")]

    def query(self) -> str:
        """A query whose result is compared as a multiset, or in order when it sorts by all."""
        rng = self.rng
        roll = rng.random()
        if roll < 0.12:
            op = rng.choice(("union", "union all", "intersect", "except"))
            left, right = self.plain(["int", "text"]), self.plain(["int", "text"])
            return f"{left} {op} {right}"
        if roll < 0.35:
            return self.grouped()
        kinds = [rng.choice(("int", "text")) for _ in range(rng.randint(1, 3))]
        text = self.plain(kinds)
        if rng.random() < 0.4:
            keys = ", ".join(
                [
                    f"{i + 1} {rng.choice(('asc', 'desc'))} nulls {rng.choice(('first', 'last'))}"
                    for i in range(len(kinds))
                ]
            )
            text += f" order by {keys}"
            if rng.random() < 0.6:
                text += f" limit {rng.randint(0, 6)}"
                if rng.random() < 0.4:
                    text += f" offset {rng.randint(0, 4)}"
        return text

    def plain(self, kinds: list[str]) -> str:
        source, scope = self.source()
        outputs = ", ".join([self.number(scope) if k == "int" else self.text(scope) for k in kinds])
        where = f" where {self.condition(scope)}" if self.rng.random() < 0.8 else ""
        distinct = "distinct " if self.rng.random() < 0.15 else ""
        return f"select {distinct}{outputs} from {source}{where}"

    def grouped(self) -> str:
        source, scope = self.source()
        calls = ", ".join(
            [
                self.rng.choice(
                    (
                        "count(*)",
                        f"count({self.number(scope, 1)})",
                        f"sum({self.number(scope, 1)})",
                        f"min({self.number(scope, 1)})",
                        f"max({self.text(scope)})",
                        f"count(distinct {self.number(scope, 1)})",
                    )
                )
                for _ in range(self.rng.randint(1, 3))
            ]
        )
        where = f" where {self.condition(scope)}" if self.rng.random() < 0.6 else ""
        if self.rng.random() < 0.3:
            return f"select {calls} from {source}{where}"
        keys = [self.rng.choice(scope)[0] for _ in range(self.rng.randint(1, 2))]
        listed = ", ".join(dict.fromkeys(keys))
        having = " having count(*) > 1" if self.rng.random() < 0.3 else ""
        return f"select {listed}, {calls} from {source}{where} group by {listed}{having}"
