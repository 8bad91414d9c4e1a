"""`mantis info FILE`: what a database file is, read from its meta pages, log headers and lock file.

Nothing is opened for use: no lock is taken, no log is replayed, nothing is written, so it works
beside a running writer and on a damaged file. The SQL engine is not imported.
"""

from __future__ import annotations

import datetime
import os
import sys
from typing import Any

import click
import msgspec

from engine.errors import MissingFile
from engine.storage.page import Meta, read_metas
from engine.vfs import OsVfs
from engine.wal.segment import list_segments
from mantis_cli import exits
from mantis_cli.hints import missing_hint
from mantis_cli.options import color_option, database_argument, quiet_option
from mantis_cli.output.stream import wants_color

CLOSED_CLEANLY = 1  # optional feature bit 0 (engine/storage/data_file.py)


@click.command()
@database_argument
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@color_option
@quiet_option
def command(file: str, as_json: bool) -> None:
    """Show what a database file is, without opening it for use."""
    facts = read_facts(file)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode() + "\n")
    else:
        color = wants_color(sys.stdout)
        for name, value in _lines(facts):
            label = f"{name:<14}"
            sys.stdout.write(f"\x1b[1m{label}\x1b[0m{value}\n" if color else f"{label}{value}\n")
    if _is_short(facts):
        raise exits.Exit(exits.DAMAGE)


def read_facts(path: str) -> dict[str, Any]:
    """Facts about the file, JSON-ready. Raises MissingFile, NotADatabase, NewerFormat,
    DamageFound, StorageError."""
    vfs = OsVfs()
    try:
        file = vfs.open(path, readonly=True)
    except MissingFile as error:
        error.hint = missing_hint(path)
        raise
    try:
        slots = read_metas(file)
        size = file.size()
    finally:
        file.close()
    real = vfs.realpath(path)
    segments = list_segments(vfs, real)
    newest = slots.newest
    facts: dict[str, Any] = {
        "schema": "mantis.info/1",
        "path": path,
        "size_bytes": size,
        "page_size": newest.page_size,
        "page_count": newest.page_count,
        "free_pages": newest.free_page_count,
        "uuid": newest.uuid.hex(),
        "created": _time_text(newest.created_us),
        "closed_cleanly": bool(newest.optional_features & CLOSED_CLEANLY) and not segments,
        "holder": _holder(f"{real}-lock"),
        "meta": [_meta_facts(meta) for meta in (newest, slots.older) if meta is not None],
        "problems": list(slots.problems),
        "wal": {
            "segments": [
                {
                    "name": os.path.basename(segment.path),
                    "size_bytes": segment.size,
                    "first_lsn": segment.header.first_lsn if segment.header else None,
                    "sound": segment.header is not None,
                }
                for segment in segments
            ],
            "size_bytes": sum(segment.size for segment in segments),
        },
    }
    if _is_short(facts):
        needed = newest.page_count * newest.page_size
        facts["problems"].append(
            f"the file ends at {size:,} bytes, {newest.page_count:,} pages need {needed:,}"
        )
    return facts


def _is_short(facts: dict[str, Any]) -> bool:
    """Whether pages are missing at the end. A file never shrinks, so a writer cannot cause it."""
    return bool(facts["size_bytes"] < facts["page_count"] * facts["page_size"])


def _meta_facts(meta: Meta) -> dict[str, Any]:
    return {
        "checkpoint_no": meta.checkpoint_no,
        "last_commit_ts": meta.last_commit_ts,
        "ckpt_lsn": meta.ckpt_lsn,
        "required_features": meta.required_features,
        "optional_features": meta.optional_features,
    }


def _holder(lock_path: str) -> dict[str, Any] | None:
    """Who has the file open for writing, as its lock file says, and whether that process lives."""
    try:
        with open(lock_path, encoding="ascii") as file:
            pid_text, since_text = file.read(64).split()
        pid, since = int(pid_text), float(since_text)
    except (OSError, ValueError):
        return None
    try:
        os.kill(pid, 0)
        alive = True
    except PermissionError:
        alive = True
    except (OSError, OverflowError):
        alive = False
    return {"pid": pid, "since": _time_text(int(since * 1e6)), "alive": alive}


def _time_text(microseconds: int) -> str | None:
    if not microseconds:
        return None
    when = datetime.datetime.fromtimestamp(microseconds / 1e6, datetime.UTC)
    return when.strftime("%Y-%m-%d %H:%M:%SZ")


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    holder = facts["holder"]
    if holder is None:
        held = "nobody"
    else:
        state = "" if holder["alive"] else " (that process is gone: the lock is stale)"
        held = f"process {holder['pid']} since {holder['since']}{state}"
    segments = facts["wal"]["segments"]
    log = "none"
    if segments:
        plural = "s" if len(segments) > 1 else ""
        log = f"{len(segments)} segment{plural}, {facts['wal']['size_bytes']:,} bytes"
    at_rest = "yes" if facts["closed_cleanly"] else "no: the log is needed"
    if _is_short(facts):
        at_rest = "no: pages are missing"
    lines = [
        ("file", facts["path"]),
        ("size", f"{facts['size_bytes']:,} bytes"),
        (
            "pages",
            f"{facts['page_count']:,} of {facts['page_size'] // 1024} KiB, "
            f"{facts['free_pages']:,} free",
        ),
        ("uuid", facts["uuid"]),
        ("created", facts["created"] or "unknown"),
        ("open by", held),
        ("log", log),
        ("at rest", at_rest),
    ]
    for name, meta in zip(("newest meta", "older meta"), facts["meta"]):
        lines.append(
            (
                name,
                f"checkpoint {meta['checkpoint_no']}, commit {meta['last_commit_ts']}, "
                f"log after lsn {meta['ckpt_lsn']}",
            )
        )
    return lines + [("problem", problem) for problem in facts["problems"]]
