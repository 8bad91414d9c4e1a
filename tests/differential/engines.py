"""The engines of the comparison behind one face, and what makes their answers comparable."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from engine.database import Database
from engine.session import Session
from tests.differential.schemas import Row, Table
from tests.unit.sql.sessions import memory_session


def comparable(value: Any) -> Any:
    """Booleans and whole numbers as integers, other numbers rounded to nine digits."""
    if isinstance(value, (bool, int)):
        return int(value)
    if isinstance(value, (float, Decimal)):
        number = float(f"{float(value):.9g}")
        return int(number) if number == int(number) else number
    return value


class Answer:
    """Rows, as a list when the order is defined. Equality is that of the multisets otherwise."""

    def __init__(self, rows: Sequence[Sequence[Any]], ordered: bool) -> None:
        self.rows = [tuple([comparable(value) for value in row]) for row in rows]
        self.ordered = ordered

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Answer):
            return NotImplemented
        if self.ordered and other.ordered:
            return self.rows == other.rows
        return Counter(self.rows) == Counter(other.rows)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = self.rows if self.ordered else sorted(self.rows, key=repr)
        return f"{len(shown)} rows: {shown[:12]}"


def load(target: Any, tables: Sequence[Table], rows: dict[str, list[Row]], indexes: bool) -> None:
    """Create and fill the tables. target: has execute(sql, params)."""
    for table in tables:
        target.execute(table.create())
        if indexes:
            for statement in table.indexes:
                target.execute(statement)
        marks = ", ".join("?" * len(table.columns))
        for row in rows[table.name]:
            target.execute(f"insert into {table.name} values ({marks})", row)


def mantis_session(optimizer: bool) -> Session:
    session = memory_session()
    session.execute(f"set optimizer = {'on' if optimizer else 'off'}")
    return session


class FileEngine:
    """A database file; `reopen` checkpoints, closes and opens it again."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.database = Database.open(self.path, create=True, durability="off")
        self.session = self.database.session()

    def reopen(self) -> None:
        self.session.execute("checkpoint")
        self.session.close()
        self.database.close()
        self.database = Database.open(self.path, durability="off")
        self.session = self.database.session()

    def close(self) -> None:
        self.session.close()
        self.database.close()


def sqlite_peer() -> sqlite3.Connection:
    peer = sqlite3.connect(":memory:", isolation_level=None)
    peer.execute("pragma case_sensitive_like = on")
    return peer


def run(session: Session, sql: str, params: Sequence[Any] = (), ordered: bool = False) -> Answer:
    return Answer(list(session.execute(sql, params).rows), ordered)
