"""Records of the sample corpus that this version does not answer, each with its reason.

Strict both ways: a failure that is not listed fails the test, and so does a listed one that
passes. Keys: file (relative to the corpus) → {line of the record: reason}; the whole-file form
maps to a single reason for files whose subject the version does not have.
"""

from __future__ import annotations

FILES: dict[str, str] = {}

RECORDS: dict[str, dict[int, str]] = {}
