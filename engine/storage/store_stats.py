"""Counters of an open FileStore, as JSON-ready facts for `stats()` and the tools.

Does not: compute anything that takes longer than reading counters.
"""

from __future__ import annotations

from typing import Any

from engine.storage.file_store import FileStore


def store_stats(store: FileStore) -> dict[str, Any]:
    """Sizes in bytes, times in seconds, counts since the open."""
    data, log, pool = store.data, store.log.stats(), store.data.pool
    meta = data.meta
    return {
        "path": store.path,
        "page_size": meta.page_size,
        "page_count": meta.page_count,
        "free_page_count": data.space.free_page_count,
        "tree_count": len(data.entries),
        "checkpoint_no": meta.checkpoint_no,
        "ckpt_lsn": meta.ckpt_lsn,
        "visible_ts": store.visible_ts,
        "memtable_size": sum(g.bytes_used for g in store.state.generations),
        "generation_count": len(store.state.generations),
        "history_count": len(store.history),
        "open_snapshots": store.open_snapshot_count(),
        "oldest_snapshot_ts": store.oldest_snapshot_ts(),
        "oldest_pinned_checkpoint": store.oldest_pinned_checkpoint(),
        "failed": None if store.failure is None else store.failure.message,
        "checkpoint_problem": (
            None if store.checkpoint_problem is None else store.checkpoint_problem.message
        ),
        "problems_at_open": data.problems,
        "replayed_transactions": store.recovery.transaction_count,
        "torn_path": store.recovery.torn_path,
        "pool": {
            "hits": pool.hits,
            "misses": pool.misses,
            "evictions": pool.evictions,
            "reads": pool.reads,
            "verified": pool.verified,
        },
        "log": {
            "written_lsn": log.written_lsn,
            "durable_lsn": log.durable_lsn,
            "written_size": log.written_size,
            "unsynced_size": log.unsynced_size,
            "segment_no": log.segment_no,
            "segment_count": log.segment_count,
            "policy": log.policy,
            "failed": log.failed,
            "sync_count": log.sync.count,
            "sync_p50_s": log.sync.percentile_s(0.5),
            "sync_p99_s": log.sync.percentile_s(0.99),
        },
    }
