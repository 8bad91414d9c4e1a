"""Where imported bytes come from, and which format they have.

source                     bytes
path                       the file, mapped
path.gz                    decompressed
archive.zip                its only member, decompressed
archive.zip::member        that member
-                          standard input

The result is one bytes-like object: decompressed and piped data up to SPOOL_BYTES stays in memory,
more goes to an unlinked temporary file that is mapped, so memory stays bounded.
"""

from __future__ import annotations

import gzip
import mmap
import os
import sys
import tempfile
import zipfile
import zlib
from typing import IO, Any

import msgspec

from mantis_cli.exits import CannotRead, Failed
from mantis_cli.signals import SIGNALS

SPOOL_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
IN_FORMATS = ("csv", "tsv", "json", "jsonl", "parquet")
_EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


class Input(msgspec.Struct, frozen=True):
    """data: bytes or a read-only mmap. name: the innermost file's name, for messages.
    format: a name of IN_FORMATS, or None when the name does not tell."""

    data: Any
    name: str
    format: str | None

    @property
    def size(self) -> int:
        return len(self.data)


def open_input(source: str) -> Input:
    """Read a source as described in the module header. Raises CannotRead, Failed."""
    if source == "-":
        return Input(_spool(sys.stdin.buffer), "<stdin>", None)
    path, _, member = source.partition("::")
    if not member and not os.path.exists(path):
        raise CannotRead(f"cannot read {path}: no such file")
    try:
        if member or path.endswith(".zip"):
            return _open_zip(path, member)
        if path.endswith(".gz"):
            with gzip.open(path, "rb") as stream:
                return _named(_spool(stream), path[:-3])
        return _named(_map(path), path)
    except OSError as error:
        raise CannotRead(f"cannot read {path}: {error.strerror or error}") from None
    except (EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise Failed(f"{path} is not a whole compressed file: {error}") from None


def _named(data: Any, name: str) -> Input:
    return Input(data, name, _EXTENSIONS.get(os.path.splitext(name)[1].lower()))


def _open_zip(path: str, member: str) -> Input:
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if not member:
            if len(names) != 1:
                raise CannotRead(
                    f"{path} holds {len(names)} files",
                    hint=f"choose one: {path}::NAME, NAME one of {', '.join(names[:8])}",
                )
            member = names[0]
        if member not in names:
            raise CannotRead(
                f"{path} holds no file {member}", hint=f"it holds {', '.join(names[:8])}"
            )
        with archive.open(member) as stream:
            return _named(_spool(stream), member)


def _map(path: str) -> Any:
    if os.path.isdir(path):
        raise CannotRead(f"cannot read {path}: is a directory")
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size == 0 or not os.path.isfile(path):
            return _spool(stream)
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _spool(stream: Any) -> Any:
    """All of a stream: bytes when small, else a map of an unlinked temporary file."""
    kept = bytearray()
    file: IO[bytes] | None = None
    total = 0
    while True:
        with SIGNALS.interruptible():
            chunk = stream.read(CHUNK_BYTES)
        if not chunk:
            break
        total += len(chunk)
        if file is None and total > SPOOL_BYTES:
            file = tempfile.TemporaryFile(prefix="mantis-import-")  # noqa: SIM115
            file.write(kept)
            kept.clear()
        if file is None:
            kept += chunk
        else:
            file.write(chunk)
    if file is None:
        return bytes(kept)
    with file:
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
