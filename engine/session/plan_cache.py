"""The plan cache of a session: exact text, then text with literals taken out, then nothing.

    text ──dict──► Hit(entry, literal values)                             50 ns
      └─ normalize ─► key ──dict──► entries, by the values of baked literals    2-5 us

An entry knows the catalog it was made for; whoever uses it compares identities.

Invariants
1. At most `capacity` texts and `capacity` shapes are kept, in two generations: a hit in the old one
   moves to the young one, and a full young one replaces the old. So the least recently used half
   goes first, and a hit in the young one costs one dictionary look-up.
2. An entry is found by its normalised key only when the literals in its baked slots have the values
   they had when it was made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from engine.errors import DataError
from engine.sql.lexer import normalize

_V = TypeVar("_V")
_MAX_TEXT = 4096  # longer texts are found by their shape only
_MARKER = re.compile(r'"(?:[^"]|"")*+"|\'([iInsb])\'')  # of lexer.normalize
_MARKED = {"i": "integer", "I": "integer", "n": "numeric", "s": "string", "b": "blob"}
_MAX_VARIANTS = 16  # entries of one shape that differ in baked literals


class Generations(Generic[_V]):
    """A bounded mapping from text; see Invariant 1. `young` may be read directly."""

    __slots__ = ("evictions", "limit", "old", "young")

    def __init__(self, capacity: int) -> None:
        self.limit = max(capacity // 2, 1)
        self.young: dict[str, _V] = {}
        self.old: dict[str, _V] = {}
        self.evictions = 0

    def get(self, key: str) -> _V | None:
        value = self.young.get(key)
        if value is None:
            value = self.old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: str, value: _V) -> None:
        if len(self.young) >= self.limit:
            self.evictions += len(self.old)
            # The dictionary stays the same object: fast paths hold it.
            self.old = dict(self.young)
            self.young.clear()
        self.young[key] = value

    def clear(self) -> None:
        self.young.clear()
        self.old = {}


class Hit:
    """What an exact text leads to. entry: a compiled statement (statements.Entry) or a
    control statement; literals: the values of its literals, as the entry wants them."""

    __slots__ = ("catalog", "entry", "literals", "point", "within")

    def __init__(self, entry: Any, literals: tuple[Any, ...]) -> None:
        self.entry = entry
        self.catalog = entry.catalog
        self.point: Callable[..., Any] | None = entry.point
        self.within: Callable[..., Any] | None = entry.within
        self.literals = literals


class PlanCache:
    """texts, shapes and their counters."""

    __slots__ = ("_last", "misses", "shape_hits", "shapes", "text_hits", "texts")

    def __init__(self, capacity: int) -> None:
        self.texts: Generations[Hit] = Generations(capacity)
        self.shapes: Generations[list[Any]] = Generations(capacity)
        self._last: tuple[str, tuple[str, list[Any]]] = ("", ("", []))  # text, normalized
        self.text_hits = 0
        self.shape_hits = 0
        self.misses = 0

    def find(self, text: str, catalog: Any) -> Hit | None:
        """The hit for a text; entries of another catalog are left out."""
        hit = self.texts.get(text)
        if hit is not None and hit.catalog is catalog:
            self.text_hits += 1
            entry = hit.entry
            hit.point, hit.within = entry.point, entry.within
            return hit
        return self.find_shape(text, catalog)

    def find_shape(self, text: str, catalog: Any) -> Hit | None:
        """The hit for a text that differs from a cached one in literals only."""
        if "\0" in text:  # which no parameter may hold either
            place = text.index("\0")
            message = "text cannot hold NUL characters"
            raise DataError(message, sqlstate="22021", span=(place, place + 1))
        key, literals = self._normalized(text)
        entries = self.shapes.get(key)
        if entries is not None:
            for entry in entries:
                if entry.catalog is catalog and entry.fits(literals):
                    values = entry.literal_values(literals)
                    if values is None:
                        break
                    self.shape_hits += 1
                    hit = Hit(entry, values)
                    if len(text) <= _MAX_TEXT:
                        self.texts.put(text, hit)
                    return hit
        self.misses += 1
        return None

    def _normalized(self, text: str) -> tuple[str, list[Any]]:
        """A new text is looked for, made and added: three times the same."""
        last, found = self._last
        if last is not text:
            found = normalize(text)
            self._last = (text, found)
        return found

    def add(self, text: str, entry: Any) -> Hit:
        """Remember an entry under its text and its shape."""
        key, literals = self._normalized(text)
        # Invariant 2: a literal that is no parameter may have shaped the plan, whoever read it (a
        # type's arguments, a statement's option), so it counts as baked even if nobody said so.
        kinds = [_MARKED[mark] for mark in _MARKER.findall(key) if mark]
        if literals:
            entry.read_literals_as(kinds)
        shared = {slot for slot, _ in entry.literal_slots} - set(entry.baked_slots)
        entry.baked_slots = tuple([slot for slot in range(len(literals)) if slot not in shared])
        entry.baked_values = tuple([literals[slot] for slot in entry.baked_slots])
        values = entry.literal_values(literals)
        assert values is not None  # the binder has read the same literals
        entries = self.shapes.get(key) or []
        current = [other for other in entries if other.catalog is entry.catalog]
        self.shapes.put(key, [entry, *current[: _MAX_VARIANTS - 1]])
        hit = Hit(entry, values)
        if len(text) <= _MAX_TEXT:
            self.texts.put(text, hit)
        return hit

    def counters(self) -> dict[str, int]:
        """text_hits leaves out the fast path, which counts nothing."""
        return {
            "text_hits": self.text_hits,
            "shape_hits": self.shape_hits,
            "misses": self.misses,
            "texts": len(self.texts.young) + len(self.texts.old),
            "shapes": len(self.shapes.young) + len(self.shapes.old),
            "evictions": self.texts.evictions + self.shapes.evictions,
        }
