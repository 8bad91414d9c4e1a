"""Random INSERT, UPDATE and DELETE with what they must leave behind, worked out by SQLite's queries.

The outcome of a change is computed by SELECT and plain rows rather than by the other engine's own
change: constraints hold at the end of a statement (`update t set id = id + 1`), which SQLite checks
row by row.
"""

from __future__ import annotations

import sqlite3
from random import Random
from typing import Any, NamedTuple

from tests.differential.queries import Generator, Query
from tests.differential.schemas import Row, Table, random_row, violates


class Change(NamedTuple):
    """after: the table's rows when the change is done, None when it must raise an IntegrityError;
    returned: the rows of RETURNING *, None without."""

    table: Table
    query: Query
    after: list[Row] | None
    returned: list[Row] | None
    count: int


class Changer:
    """Changes of the tables as SQLite's connection holds them."""

    def __init__(self, rng: Random, tables: tuple[Table, ...], peer: sqlite3.Connection) -> None:
        self.rng = rng
        self.tables = tables
        self.peer = peer
        self.generator = Generator(rng, tables)

    def rows(self, table: Table) -> list[Row]:
        return list(self.peer.execute(f"select * from {table.name}"))

    def change(self) -> Change:
        """The next change; apply it with `accept`."""
        self.generator.literals = []
        self.generator.common = {}
        table = self.rng.choice(self.tables)
        make = self.rng.choice((self.insert, self.insert, self.update, self.update, self.delete))
        return make(table)

    def accept(self, change: Change) -> None:
        """Make SQLite's table hold the outcome."""
        if change.after is None:
            return
        self.peer.execute(f"delete from {change.table.name}")
        marks = ", ".join("?" * len(change.table.columns))
        statement = f"insert into {change.table.name} values ({marks})"
        self.peer.executemany(statement, change.after)

    # ── INSERT ───────────────────────────────────────────────────────────────────────────────
    def insert(self, table: Table) -> Change:
        rng, generator = self.rng, self.generator
        if rng.random() < 0.4:
            source, added = self.selected(table)
        else:
            added = [random_row(rng, table) for _ in range(rng.choice((1, 1, 2, 4)))]
            source = "values " + ", ".join(
                [f"({', '.join([generator.literal(v) for v in row])})" for row in added]
            )
        mode = rng.choice(("", "", "ignore", "conflict", "replace"))
        words = {"ignore": "or ignore ", "replace": "or replace "}.get(mode, "")
        tail = " on conflict do nothing" if mode == "conflict" else ""
        before = self.rows(table)
        after, taken = self.inserted(table, before, added, mode)
        text = f"insert {words}into {table.name} {source}{tail}"
        return self.returning(table, text, after, taken, len(taken))

    def selected(self, table: Table) -> tuple[str, list[Row]]:
        """SELECT of the columns' kinds, often from the very table (Halloween); in a whole order."""
        generator = self.generator
        source, scope = generator.table()
        outputs = [generator.value(c.kind, scope, 2) for c in table.columns]
        order = ", ".join([f"{i + 1} nulls last" for i in range(len(outputs))])
        text = (
            f"select {', '.join(outputs)} from {source} where {generator.condition(scope, 1)}"
            f" order by {order} limit {self.rng.randint(1, 9)}"
        )
        rows = self.peer.execute(Query(text, generator.literals).text()).fetchall()
        return text, rows

    def inserted(
        self, table: Table, before: list[Row], added: list[Row], mode: str
    ) -> tuple[list[Row] | None, list[Row]]:
        """(rows after, rows taken); None where a constraint fails."""
        rows, taken = list(before), []
        for row in added:
            if any(v is None and not c.nullable for v, c in zip(row, table.columns, strict=True)):
                return None, []
            clashing = [old for old in rows if violates(table, [old, row])]
            if clashing and mode == "":
                return None, []
            if clashing and mode in ("ignore", "conflict"):
                continue
            for old in clashing:
                rows.remove(old)
                if old in taken and mode == "replace":
                    pass  # RETURNING shows it all the same: it was inserted
            rows.append(row)
            taken.append(row)
        return rows, taken

    # ── UPDATE, DELETE ───────────────────────────────────────────────────────────────────────
    def update(self, table: Table) -> Change:
        rng, generator = self.rng, self.generator
        scope = [(f"{table.name}.{c.name}", c.kind) for c in table.columns]
        names = [c.name for c in table.columns]
        where = f" where {generator.condition(scope)}" if rng.random() < 0.8 else ""
        chosen = rng.sample(range(len(names)), rng.randint(1, min(2, len(names))))
        new = {i: self.assigned(table, i, scope) for i in chosen}
        test = f"coalesce(({where[7:]}), false)" if where else "true"
        outputs = [new.get(i, names[i]) for i in range(len(names))]
        computed = Query(
            f"select {test}, {', '.join(names)}, {', '.join(outputs)} from {table.name}",
            generator.literals,
        )
        rows, changed = [], []
        for found in self.peer.execute(computed.text()):
            old, fresh = found[1 : len(names) + 1], found[len(names) + 1 :]
            rows.append(fresh if found[0] else old)
            if found[0]:
                changed.append(fresh)
        sets = ", ".join([f"{names[i]} = {expr}" for i, expr in new.items()])
        after = None if violates(table, rows) else rows
        text = f"update {table.name} set {sets}{where}"
        return self.returning(table, text, after, changed, len(changed))

    def assigned(self, table: Table, position: int, scope: Any) -> str:
        """Key columns are moved by a constant more often: that is where rows meet each other."""
        column = table.columns[position]
        name = f"{table.name}.{column.name}"
        if column.kind == "int" and self.rng.random() < 0.6:
            return self.rng.choice((f"{name} + 1", f"{name} - 1", f"6 - {name}", f"- {name}"))
        return self.generator.value(column.kind, scope, 2)

    def delete(self, table: Table) -> Change:
        scope = [(f"{table.name}.{c.name}", c.kind) for c in table.columns]
        condition = self.generator.condition(scope)
        query = Query(
            f"select coalesce(({condition}), false), * from {table.name}", self.generator.literals
        )
        found = list(self.peer.execute(query.text()))
        kept = [row[1:] for row in found if not row[0]]
        gone = [row[1:] for row in found if row[0]]
        text = f"delete from {table.name} where {condition}"
        return self.returning(table, text, kept, gone, len(gone))

    def returning(
        self, table: Table, text: str, after: list[Row] | None, rows: list[Row], count: int
    ) -> Change:
        wanted = self.rng.random() < 0.4
        text += " returning *" if wanted else ""
        query = Query(text, self.generator.literals)
        return Change(table, query, after, rows if wanted else None, count)
