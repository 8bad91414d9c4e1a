"""The second half of a bulk load: from built pages to a published commit (bulk_load.py says how).

The caller holds the store's checkpoint lock and runs this where no signal handler runs. It is the
part of RecoverableStore that only bulk loads need, in a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from engine.errors import EngineFailed, Error
from engine.storage.bulk_load import Loaded
from engine.storage.checkpoint import write_checkpoint
from engine.storage.store import Writes

if TYPE_CHECKING:
    from engine.storage.recoverable_store import RecoverableStore


def publish_loads(
    store: RecoverableStore, writes: Writes, loaded: Loaded, validate: Callable[[], None] | None
) -> int:
    """Install, checkpoint, publish; returns the commit_ts. Raises what `validate` raises (nothing
    has happened), else EngineFailed."""
    with store.mutex:  # to the end: bulk_load.py, Invariant 2
        if validate is not None:
            validate()
        store.require_trees(writes)
        commit_ts = store.last_ts + 1
        try:
            store.install(commit_ts, writes)
            store.last_ts = commit_ts
            source = store.seal_for_checkpoint(False)
            source.loaded = loaded
            store.log.barrier()
            result = write_checkpoint(store.data, source)
            store.guarded_meta(closed_cleanly=False, ckpt_lsn=source.ckpt_lsn)
            _note(store, loaded, commit_ts, result.meta.checkpoint_no)
        except Error as error:
            failure = EngineFailed(f"a bulk load failed half-way: {error.message}")
            store.fail(failure)
            raise failure from error
        trees = store.data.frozen_trees()
        for tree_id in loaded.roots:  # nobody sees these trees before visible_ts moves
            store.state.trees[tree_id].frozen = trees[tree_id]
        store.visible_ts = commit_ts
        store.publish_checkpoint(result.meta.checkpoint_no, source.generations[0], trees)
    if store.data.older is not None:
        store.log.retire(store.data.older.ckpt_lsn + 1)
    return commit_ts


def _note(store: RecoverableStore, loaded: Loaded, commit_ts: int, checkpoint_no: int) -> None:
    """Tell readers of the log why it has no such commit. The load is durable by now, so a log that
    cannot take the note fails with the next commit, if it still fails then."""
    rows = {str(tree_id): root.row_count for tree_id, root in loaded.roots.items()}
    facts = {"commit_ts": commit_ts, "checkpoint_no": checkpoint_no, "rows": rows}
    with suppress(Error):
        store.log.append_note("load", facts)
