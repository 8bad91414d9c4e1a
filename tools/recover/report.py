"""The report of `mantis recover`: facts, and the lines a person reads."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.wal.reader import LogEnd

SCHEMA = "mantis.recover/1"

CLEAN = "clean"
PENDING = "needs recovery"
RECOVERED = "recovered"
REFUSED = "damaged"


class TreeChange(msgspec.Struct):
    """What replay changes in one tree."""

    puts: int = 0
    deletes: int = 0


class RecoverReport(msgspec.Struct):
    """outcome: CLEAN, PENDING (dry run), RECOVERED or REFUSED.

    problems     damage found in the data file that opening works around
    error        why the database is refused, None when it is not
    """

    path: str
    outcome: str
    checkpoint_no: int
    ckpt_lsn: int
    next_lsn: int
    segments: list[str]
    transactions: int
    rows: int
    last_commit_ts: int
    last_wall_us: int | None
    trees: dict[str, TreeChange]
    end: LogEnd | None
    torn_path: str | None = None
    problems: list[str] = []
    error: str | None = None

    @property
    def is_damaged(self) -> bool:
        return self.outcome == REFUSED

    def facts(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {"schema": SCHEMA, **msgspec.to_builtins(self)}

    def lines(self) -> list[str]:
        """The report in words."""
        lines = [f"{self.path}: {self.outcome}"]
        if not self.checkpoint_no:  # no checkpoint verifies: what the log adds to is not known
            return [*lines, f"refused: {self.error}"]
        lines.append(f"checkpoint {self.checkpoint_no} holds the log up to LSN {self.ckpt_lsn}")
        if self.segments:
            lines.append(
                f"log: {_count(len(self.segments), 'segment')}, LSN up to {self.next_lsn - 1}"
            )
        else:
            lines.append("log: none")
        if self.transactions:
            verb = "replayed" if self.outcome == RECOVERED else "to replay"
            lines.append(
                f"{verb}: {_count(self.transactions, 'transaction')}, {_count(self.rows, 'row')}"
            )
            for name, change in self.trees.items():
                lines.append(f"  {name}: {change.puts} put, {change.deletes} deleted")
        else:
            lines.append("nothing to replay")
        lines.extend(self._end_lines())
        lines.extend(f"problem: {problem}" for problem in self.problems)
        if self.error is not None:
            lines.append(f"refused: {self.error}")
        return lines

    def _end_lines(self) -> list[str]:
        end = self.end
        if end is None or end.kind == "clean":
            return []
        if end.kind == "damage":
            lost = f"LSN {end.first_lsn} to {end.last_lsn}"
            return [f"damage: {lost} lost at byte {end.offset} of {end.path} ({end.reason})"]
        where = f"byte {end.offset} of {end.path}"
        kept = f"kept in {self.torn_path}" if self.torn_path else "will be kept aside"
        return [
            f"torn tail: {end.torn_size} bytes at {where}, never acknowledged as durable; {kept}"
        ]


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
