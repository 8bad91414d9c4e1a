"""Parsing: statements a second for shapes seen before and for texts never seen, beside sqlglot.

Three measures over one seeded corpus of mixed statements (most point queries and writes, some
joins, aggregates and subqueries, a few schema changes):

seen      normalize(text) and a dictionary look-up, as the plan cache does it: a shape seen before
new       parse(text) of a text never parsed before
sqlglot   sqlglot.parse_one(text, read="postgres") of the same texts, when it is installed

A text is new when its table and column names, or its literals, are; the words of SQL are not, as
in life. Percentiles are of single statements, timer included.

What it does not do: bind or plan.
"""

from __future__ import annotations

import random
import string
import time
from collections.abc import Callable
from typing import Any

from engine.sql.grammar import parse
from engine.sql.lexer import normalize

# (weight, shape): {t} {a} {b} {c} are names, {i} an integer, {n} a decimal, {s} a string.
SHAPES: tuple[tuple[int, str], ...] = (
    (20, "SELECT * FROM {t} WHERE {a} = {i}"),
    (10, "SELECT {a}, {b}, {c} FROM {t} WHERE {a} = {i} AND {b} > {n} ORDER BY {c} LIMIT {i}"),
    (15, "INSERT INTO {t} ({a}, {b}, {c}) VALUES ({i}, {s}, {n})"),
    (5, "INSERT INTO {t} VALUES ({i}, {s}, {n}), ({i}, {s}, {n}), ({i}, {s}, {n})"),
    (12, "UPDATE {t} SET {a} = {a} + {i}, {b} = {s} WHERE {c} = {i}"),
    (8, "DELETE FROM {t} WHERE {a} = {i} AND {b} <> {s}"),
    (6, "SELECT x.{a}, y.{b} FROM {t} x JOIN {u} y ON x.{a} = y.{a} WHERE y.{c} < {n}"),
    (6, "SELECT {a}, count(*), sum({b} * {n}) FROM {t} GROUP BY {a} HAVING count(*) > {i}"),
    (4, "SELECT {a} FROM {t} WHERE {b} IN (SELECT {b} FROM {u} WHERE {c} LIKE {s})"),
    (
        4,
        "SELECT CASE WHEN {a} > {i} THEN {s} ELSE {b} || {s} END AS {c} FROM {t}"
        " WHERE {a} BETWEEN {i} AND {i} OR {b} IS NULL",
    ),
    (
        3,
        "WITH q AS (SELECT {a}, max({b}) AS m FROM {t} GROUP BY {a})"
        " SELECT * FROM q WHERE m > {n} UNION ALL SELECT {a}, {b} FROM {u}",
    ),
    (
        2,
        "SELECT cast({a} AS numeric(10, 2)), {b}::text, coalesce({c}, {s}) FROM {t}"
        " WHERE NOT EXISTS (SELECT {i} FROM {u} WHERE {u}.{a} = {t}.{a})",
    ),
    (3, "BEGIN"),
    (3, "COMMIT"),
    (
        1,
        "CREATE TABLE {t} ({a} integer PRIMARY KEY, {b} text NOT NULL DEFAULT {s},"
        " {c} numeric(10, 2))",
    ),
    (1, "CREATE INDEX ON {t} ({a}, {b} DESC)"),
)


def make_corpus(count: int, seed: int) -> list[str]:
    """`count` statements; no two texts with names are equal."""
    rng = random.Random(seed)
    weights = [weight for weight, _ in SHAPES]
    shapes = rng.choices([shape for _, shape in SHAPES], weights, k=count)
    return [_fill(shape, rng) for shape in shapes]


def _fill(shape: str, rng: random.Random) -> str:
    names = {key: _name(rng) for key in "tuabc"}
    parts: list[str] = []
    for literal, field, _, _ in string.Formatter().parse(shape):
        parts.append(literal)
        if field is None:
            continue
        if field == "i":
            parts.append(str(rng.randrange(1_000_000)))
        elif field == "n":
            parts.append(f"{rng.randrange(100_000)}.{rng.randrange(100):02d}")
        elif field == "s":
            parts.append(f"'{_name(rng)} it''s {rng.randrange(1000)}'")
        else:
            parts.append(names[field])
    return "".join(parts)


def _name(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randrange(4, 11))) + "_x"


def measure(run: Callable[[str], Any], texts: list[str], seconds: float) -> dict[str, float]:
    """Run `run` over the texts, once each, until they or the seconds end.

    Gives statements_per_s (by CPU time of this thread, so that a busy machine counts less), count,
    and mean_us, p50_us, p99_us by the clock."""
    times: list[int] = []
    clock = time.perf_counter_ns
    deadline = clock() + int(seconds * 1e9)
    cpu = time.thread_time()
    for text in texts:
        start = clock()
        run(text)
        end = clock()
        times.append(end - start)
        if end > deadline:
            break
    cpu = time.thread_time() - cpu
    times.sort()
    return {
        "count": len(times),
        "statements_per_s": len(times) / cpu if cpu > 0 else 0.0,
        "mean_us": sum(times) / len(times) / 1000,
        "p50_us": times[len(times) // 2] / 1000,
        "p99_us": times[min(len(times) - 1, len(times) * 99 // 100)] / 1000,
    }


def _sqlglot_parser() -> Callable[[str], Any] | None:
    try:
        import sqlglot
    except ImportError:
        return None
    return lambda text: sqlglot.parse_one(text, read="postgres")


def run_parse_bench(seconds: float, seed: int) -> dict[str, Any]:
    """The three measures, about `seconds` in all.

    Result: {'seed', 'seen', 'new', 'sqlglot' (None when not installed), 'ratio_to_sqlglot'}; each
    measure as `measure` gives it. The ratio is of statements a second on the same texts.
    """
    share = seconds / 3
    warm = make_corpus(300, seed + 1)
    for text in warm:  # builds the grammar's rules
        parse(text)
    texts = make_corpus(max(2000, int(share * 40_000)), seed)
    known: dict[str, int] = {}
    seen_texts = make_corpus(max(2000, int(share * 40_000)), seed + 2)
    for text in seen_texts:
        known.setdefault(normalize(text)[0], len(known))
    seen = measure(lambda text: known[normalize(text)[0]], seen_texts * 3, share)
    new = measure(parse, texts, share)
    other = _sqlglot_parser()
    peer: dict[str, float] | None = None
    ratio: float | None = None
    if other is not None:
        for text in warm:
            other(text)
        same = texts[: int(new["count"])]
        peer = measure(other, same, share)
        common = same[: int(peer["count"])]
        ours = measure(parse, _renamed(common, seed), share)
        ratio = ours["statements_per_s"] / peer["statements_per_s"]
    return {"seed": seed, "seen": seen, "new": new, "sqlglot": peer, "ratio_to_sqlglot": ratio}


def _renamed(texts: list[str], seed: int) -> list[str]:
    """The texts with other names, so that parsing them again meets no word twice."""
    mark = f"_{seed % 97}y"
    return [text.replace("_x", mark) for text in texts]
