"""Random schemas and rows that every engine of the comparison takes.

Kinds: int, text, real (multiples of 0.25: sums are exact in every engine), date (text in ISO form).
A primary key is written with NOT NULL, because SQLite lets NULLs into one otherwise, and as `int`
and not `integer`, which SQLite would number by itself.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

WORDS = (
    "",
    " ",
    "a",
    "A",
    "ab",
    "aB",
    "abc",
    "b",
    "ba",
    "z",
    "a%",
    "a_c",
    "é",
    "ß",
    "日本",
    "0",
    "10",
)
DAYS = ("2024-01-01", "2024-02-29", "2023-12-31", "1999-06-15")
_TYPES = {
    "int": ("int", "bigint", "int", "smallint"),
    "text": ("text",),
    "real": ("double precision",),
}
_KINDS = ("int", "int", "int", "text", "text", "real", "date")

Row = tuple[Any, ...]


class Column(NamedTuple):
    """kind: int, text, real or date; type: as written in SQL; nullable: whether rows hold NULLs."""

    name: str
    kind: str
    type: str
    nullable: bool


class Table(NamedTuple):
    """unique: tuples of column positions, the first one the primary key if `keyed`."""

    name: str
    columns: tuple[Column, ...]
    keyed: bool
    unique: tuple[tuple[int, ...], ...]
    indexes: tuple[str, ...]

    def create(self) -> str:
        parts = [f"{c.name} {c.type}{'' if c.nullable else ' not null'}" for c in self.columns]
        for number, key in enumerate(self.unique):
            word = "primary key" if self.keyed and number == 0 else "unique"
            parts.append(f"{word} ({', '.join([self.columns[i].name for i in key])})")
        return f"create table {self.name} ({', '.join(parts)})"


def random_value(rng: Random, kind: str) -> Any:
    if kind == "int":
        return rng.randint(-4, 9)
    if kind == "real":
        return rng.randint(-12, 20) / 4
    return rng.choice(DAYS if kind == "date" else WORDS)


def random_table(rng: Random, name: str) -> Table:
    columns: list[Column] = []
    for number in range(rng.randint(2, 5)):
        kind = "int" if number == 0 else rng.choice(_KINDS)
        written = rng.choice(_TYPES["text" if kind == "date" else kind])
        columns.append(Column(f"{name}{'abcde'[number]}", kind, written, rng.random() < 0.8))
    positions = range(len(columns))
    keyed = rng.random() < 0.6
    unique: list[tuple[int, ...]] = []
    if keyed:
        unique.append((0,) if rng.random() < 0.6 else tuple(rng.sample(positions, 2)))
        for i in unique[0]:
            columns[i] = columns[i]._replace(nullable=False)
    if rng.random() < 0.25:
        unique.append((rng.choice(positions),))
    indexes = []
    for number in range(rng.choice((0, 1, 1, 2))):
        chosen = rng.sample(positions, rng.randint(1, min(3, len(columns))))
        parts = [columns[i].name + rng.choice(("", "", " desc")) for i in chosen]
        indexes.append(f"create index {name}_i{number} on {name} ({', '.join(parts)})")
    return Table(name, tuple(columns), keyed, tuple(unique), tuple(indexes))


def random_row(rng: Random, table: Table, spread: int = 1) -> Row:
    values = []
    for column in table.columns:
        if column.nullable and rng.random() < 0.2:
            values.append(None)
        elif column.kind == "int" and spread > 1:
            values.append(rng.randint(-4, 9 * spread))
        else:
            values.append(random_value(rng, column.kind))
    return tuple(values)


def violates(table: Table, rows: list[Row]) -> bool:
    """Whether the rows break NOT NULL, the primary key or a UNIQUE constraint."""
    for row in rows:
        if any(v is None and not c.nullable for v, c in zip(row, table.columns, strict=True)):
            return True
    for key in table.unique:
        keys = [tuple([row[i] for i in key]) for row in rows]
        keys = [k for k in keys if None not in k]
        if len(set(keys)) < len(keys):
            return True
    return False


def random_rows(rng: Random, table: Table) -> list[Row]:
    """Few rows, or some 80: the optimizer joins correlated subqueries from 50 on."""
    count = rng.choice((0, 5, 12, 12, 80))
    rows: list[Row] = []
    for _ in range(count):
        row = random_row(rng, table, 3 if count > 20 else 1)
        if not violates(table, [*rows, row]):
            rows.append(row)
    return rows


def random_schema(rng: Random) -> tuple[Table, ...]:
    return tuple([random_table(rng, name) for name in ("r", "s", "t")[: rng.randint(2, 3)]])
