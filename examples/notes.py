"""A notebook on the command line: one file, full of notes.

    python examples/notes.py add "water the plants"
    python examples/notes.py list
    python examples/notes.py find plants
    python examples/notes.py done 1

The file is notes.mantis in the current folder; `mantis shell notes.mantis` looks inside.
"""

from __future__ import annotations

import sys
from datetime import datetime

import mantisdb

USAGE = "usage: notes.py add TEXT | list | find WORD | done ID"


def open_notes(path: str = "notes.mantis") -> mantisdb.Connection:
    """The notebook, made on first use. Every statement is its own transaction."""
    connection = mantisdb.connect(path, autocommit=True)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS note"
        " (id integer PRIMARY KEY, written timestamp NOT NULL, text text NOT NULL)"
    )
    return connection


def main(arguments: list[str], now: datetime | None = None) -> int:
    match arguments:
        case ["add", text]:
            with_notes = open_notes()
            (number,) = with_notes.execute(
                "INSERT INTO note SELECT coalesce(max(id), 0) + 1, ?, ? FROM note RETURNING id",
                (now or datetime.now(), text),
            ).fetchone()
            print(f"note {number}")
        case ["list"]:
            with_notes = open_notes()
            show(with_notes.execute("SELECT id, written, text FROM note ORDER BY id"))
        case ["find", word]:
            with_notes = open_notes()
            show(
                with_notes.execute(
                    "SELECT id, written, text FROM note WHERE text ILIKE '%' || ? || '%'"
                    " ORDER BY id",
                    (word,),
                )
            )
        case ["done", number]:
            with_notes = open_notes()
            gone = with_notes.execute("DELETE FROM note WHERE id = ?", (int(number),)).rowcount
            print("gone" if gone else "there is no such note")
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    with_notes.close()
    return 0


def show(notes: mantisdb.Cursor) -> None:
    for number, written, text in notes:
        print(f"{number:4}  {written:%Y-%m-%d %H:%M}  {text}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
