"""Records of the sample corpus that this version does not answer, each with its reason.

Strict both ways: a failure that is not listed fails the test, and so does a listed one that
passes. RECORDS: file (relative to the corpus) → (reason, lines of the records).
"""

from __future__ import annotations

_TRIGGERS = "triggers are not supported"
_DIVISION = "division by zero is an error, as in PostgreSQL, not NULL"
_READS = "reads what a record listed here would have written"

RECORDS: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "evidence/in1.test": (
        ("text meets integers as an integer, as in PostgreSQL, not by storage class", (279, 290)),
        ("blobs and integers do not compare, as in PostgreSQL", (313, 324)),
    ),
    "evidence/slt_lang_createtrigger.test": (
        (_TRIGGERS, (24, 28, 39, 42, 45, 80, 83, 86, 89, 92, 95)),
        (_TRIGGERS, (191, 194, 197, 200, 203, 206, 209, 212, 215, 218)),
    ),
    "evidence/slt_lang_droptrigger.test": ((_TRIGGERS, (24, 27, 31, 35, 44, 51)),),
    "evidence/slt_lang_reindex.test": (
        ("there is no REINDEX: an index is part of each checkpoint", (37, 40)),
    ),
    "evidence/slt_lang_replace.test": (
        ("varchar(16) holds at most 16 characters, as in PostgreSQL", (38, 58)),
        (_READS, (42, 62)),
    ),
    "evidence/slt_lang_update.test": (
        ("assigning a column twice is an error, as in PostgreSQL", (88,)),
        (_READS, (98, 104)),
    ),
    "random/aggregates.test": ((_DIVISION, (23382,)),),
}


def listed(name: str) -> dict[int, str]:
    """{line of the record: reason} for one file."""
    return {line: reason for reason, lines in RECORDS.get(name, ()) for line in lines}
