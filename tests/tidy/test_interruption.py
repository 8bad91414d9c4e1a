"""No gap through which an interruption leaves a lock behind.

The story: on Python 3.12 and 3.13 a signal handler that raised during a commit left the commit
mutex locked for ever. `with mutex:` gives the lock back through the exception table, but the
compiler puts the backward jump that ends a loop after a *condition* into a block that the table
does not cover (3.11 does cover it), and handlers run exactly at backward jumps. So in the modules
below, which hold locks in the thread that calls them, a frame with a `with` or `try` has no such
loop; it calls a function that has.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Iterator
from types import CodeType

import pytest

from tests.tidy.sources import ROOT

MODULES = (
    "engine/durability/sync.py",
    "engine/storage/buffer_pool.py",
    "engine/storage/file_store.py",
    "engine/txn/commit.py",
    "engine/txn/lock_manager.py",
    "engine/txn/transaction.py",
    "engine/wal/appender.py",
    "engine/wal/writer.py",
)


def functions_of(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from functions_of(constant)


def gaps_of(code: CodeType) -> list[int]:
    """Lines of backward jumps into a covered region that are not covered themselves."""
    if code.co_flags & inspect.CO_GENERATOR:
        return []  # the whole of a generator is covered, by a handler that only ends it
    entries = dis._parse_exception_table(code)  # type: ignore[attr-defined]

    names = {instruction.offset: instruction.opname for instruction in dis.get_instructions(code)}

    def is_covered(offset: int) -> bool:
        """By a `with` or `try`; a comprehension in line has a region too, inside of theirs."""
        for entry in entries:
            if entry.start <= offset < entry.end:
                return names[entry.target] == "PUSH_EXC_INFO" or is_covered(entry.target)
        return False

    return [
        instruction.positions.lineno
        for instruction in dis.get_instructions(code)
        if instruction.opname.startswith("JUMP_BACKWARD")
        and is_covered(instruction.argval)
        and not is_covered(instruction.offset)
    ]


@pytest.mark.parametrize("path", MODULES)
def test_no_lock_stays_behind(path: str) -> None:
    module = compile((ROOT / path).read_text(encoding="utf-8"), path, "exec")
    gaps = [(code.co_name, lines) for code in functions_of(module) if (lines := gaps_of(code))]
    assert not gaps, f"{path}: {gaps}"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="3.11 covers the jump")
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="not known of later versions")
def test_a_gap_is_seen() -> None:
    source = "def f(m, xs):\n  with m:\n    for x in xs:\n      if x:\n        g(x)\n"
    codes = list(functions_of(compile(source, "gap", "exec")))
    assert any(gaps_of(code) for code in codes)
