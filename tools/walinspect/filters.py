"""Which records and rows are wanted. Every condition that is given must hold.

A condition on rows (table, key, put/delete) also chooses among records: those with such a row.
The time and commit_ts of rows in CHUNK records are those of the COMMIT that ends them, which comes
later; so a time filter looks at COMMIT and NOTE records, and shows no CHUNK.
"""

from __future__ import annotations

import msgspec

from engine.wal.record import COMMIT, NOTE, Op, Record, decode_commit, decode_note

RECORD_KINDS = ("commit", "chunk", "note")
ROW_KINDS = ("put", "delete")


class LogFilter(msgspec.Struct, frozen=True):
    """None: no condition. first_lsn, last_lsn: inclusive. since_us, until_us: Unix microseconds,
    inclusive. commit_ts: one transaction. tree_ids, kinds (RECORD_KINDS + ROW_KINDS), key (as
    text: the number, or \\x… for bytes)."""

    first_lsn: int | None = None
    last_lsn: int | None = None
    since_us: int | None = None
    until_us: int | None = None
    commit_ts: int | None = None
    tree_ids: frozenset[int] | None = None
    kinds: frozenset[str] | None = None
    key: str | None = None

    @property
    def chooses_rows(self) -> bool:
        """Whether any condition is about rows."""
        return (
            self.tree_ids is not None
            or self.key is not None
            or (self.kinds is not None and any(kind in ROW_KINDS for kind in self.kinds))
        )

    def wants_record(self, record: Record, ops: list[Op]) -> bool:
        """Whether a record, whose rows are `ops`, is wanted."""
        if self.first_lsn is not None and record.lsn < self.first_lsn:
            return False
        if self.last_lsn is not None and record.lsn > self.last_lsn:
            return False
        if self.kinds is not None:
            kinds = self.kinds.intersection(RECORD_KINDS)
            if kinds and record.type_name.lower() not in kinds:
                return False
        if not self._wants_time(record):
            return False
        return not self.chooses_rows or any(self.wants_row(op) for op in ops)

    def wants_row(self, op: Op) -> bool:
        """Whether a row of a wanted record is wanted."""
        tree_id, key, _ = op
        if self.tree_ids is not None and tree_id not in self.tree_ids:
            return False
        if self.key is not None and key_text(key) != self.key:
            return False
        if self.kinds is not None:
            kinds = self.kinds.intersection(ROW_KINDS)
            if kinds and row_kind(op) not in kinds:
                return False
        return True

    def _wants_time(self, record: Record) -> bool:
        if self.since_us is None and self.until_us is None and self.commit_ts is None:
            return True
        if record.type == COMMIT:
            commit = decode_commit(record)
            wall_us = commit.wall_us
            if self.commit_ts is not None and commit.commit_ts != self.commit_ts:
                return False
        elif record.type == NOTE and self.commit_ts is None:
            wall_us = decode_note(record).wall_us
        else:
            return False
        if self.since_us is not None and wall_us < self.since_us:
            return False
        return self.until_us is None or wall_us <= self.until_us


def key_text(key: int | bytes) -> str:
    """A tree key as text: the number, or \\x and hex."""
    return str(key) if isinstance(key, int) else f"\\x{key.hex()}"


def row_kind(op: Op) -> str:
    """'put' or 'delete'."""
    return "delete" if op[2] is None else "put"
