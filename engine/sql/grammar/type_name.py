"""Type names: `numeric(10, 2)`, `double precision`, `timestamp with time zone`.

What it does not do: know which types exist (the binder's work), except that it recognises array
types, which there are none of.
"""

from __future__ import annotations

from engine.sql.ast import TypeName
from engine.sql.grammar.stream import TokenStream

# First word → the words that may follow it, as they appear in the name.
_TAILS: dict[str, tuple[tuple[str, ...], ...]] = {
    "double": (("precision",),),
    "character": (("varying",),),
    "char": (("varying",),),
    "bit": (("varying",),),
    "national": (("character", "varying"), ("character",), ("char",)),
    "long": (("varchar",),),
    "unsigned": (("big", "int"),),
}
_ZONED = frozenset({"time", "timestamp"})


def parse_type_name(p: TokenStream) -> TypeName:
    """A type's name with its arguments; multi-word names are joined by one space."""
    first = p.pos
    name = p.identifier("a type name")
    if p.kinds[p.pos] == ".":
        p.unsupported("a schema-qualified type name", first)
    for tail in _TAILS.get(name, ()):
        if p.values[p.pos : p.pos + len(tail)] == tail:
            p.pos += len(tail)
            name = " ".join((name, *tail))
            break
    args: tuple[int, ...] = ()
    slots: tuple[int, ...] = ()
    if p.kinds[p.pos] == "(":
        args, slots = _parse_arguments(p)
    if name in _ZONED:
        name += _parse_zone(p)
    if p.kinds[p.pos] in ("[", "array"):
        p.unsupported("an array type", first)
    return TypeName(name, args, p.span_from(first), slots)


def _parse_arguments(p: TokenStream) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`(10, 2)`: the numbers and their literal slots."""
    args: list[int] = []
    slots: list[int] = []
    p.expect("(")
    while True:
        negative = p.accept("-")
        if p.kinds[p.pos] != "INTEGER":
            p.fail("a number")
        value = p.values[p.pos]
        args.append(-value if negative else value)
        slots.append(p.slots[p.pos])
        p.pos += 1
        if not p.accept(","):
            break
    if p.kinds[p.pos] != ")":
        p.fail(",", ")")
    p.pos += 1
    return tuple(args), tuple(slots)


def _parse_zone(p: TokenStream) -> str:
    """` with time zone` or ` without time zone` or nothing."""
    kind, word = p.kinds[p.pos], p.values[p.pos]
    if kind != "with" and not (kind == "NAME" and word == "without"):
        return ""
    if p.values[p.pos + 1 : p.pos + 3] != ("time", "zone"):
        return ""
    p.pos += 3
    return f" {word} time zone"
