"""A lock ends with close(), also while somebody still looks at a mapping of the file."""

from __future__ import annotations

import os
from pathlib import Path

from engine.vfs import OsVfs


def test_close_gives_the_lock_back_while_a_mapping_lives(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    vfs = OsVfs()
    first = vfs.open(path, create=True)
    first.write(0, b"x" * 8192)
    assert first.lock(exclusive=True)
    view = first.map(0, 8192)
    second = vfs.open(path)
    assert not second.lock(exclusive=True)
    first.close()
    assert second.lock(exclusive=True)
    assert bytes(view[:3]) == b"xxx"
    second.close()


def test_a_forked_child_that_closes_leaves_the_lock_of_its_parent(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    vfs = OsVfs()
    held = vfs.open(path, create=True)
    assert held.lock(exclusive=True)
    child = os.fork()
    if not child:
        held.close()
        os._exit(0)
    os.waitpid(child, 0)
    other = vfs.open(path)
    assert not other.lock(exclusive=False)
    other.close()
    held.close()
