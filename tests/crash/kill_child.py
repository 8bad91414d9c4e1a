"""The child of test_kill.py: commits from two threads, and says so on a pipe.

Each writer inserts row n of its own and moves its counter to n in one transaction, then writes
`<writer> <n>` to stdout. Usage: kill_child.py PATH DURABILITY CHECKPOINT_EVERY
"""

from __future__ import annotations

import os
import sys
import threading
import time

from engine.storage.file_store import FileStore, open_file_store
from engine.storage.recoverable_store import StoreOptions
from engine.vfs import OsVfs

WRITER_KEYS = 1 << 40  # writer w owns keys from w * WRITER_KEYS; its counter is the first


def system_options(durability: str) -> StoreOptions:
    return StoreOptions(
        clock_us=lambda: time.time_ns() // 1000,
        timer=time.monotonic,
        random_bytes=os.urandom,
        durability=durability,
    )


def write(store: FileStore, writer: int, checkpoint_every: int) -> None:
    base = writer * WRITER_KEYS
    counter = store.point_reader(20)(base)
    number = 0 if counter is None else counter[2]
    while True:
        number += 1
        row = (base + number, f"writer {writer}", number)
        store.commit({20: {base + number: row, base: (base, "counter", number)}})
        os.write(1, f"{writer} {number}\n".encode())
        if number % checkpoint_every == 0:
            store.checkpoint()


def main() -> None:
    path, durability, checkpoint_every = sys.argv[1:]
    store = open_file_store(path, vfs=OsVfs(), options=system_options(durability))
    os.write(1, b"ready\n")
    for writer in (1, 2):
        threading.Thread(
            target=write, args=(store, writer, int(checkpoint_every)), daemon=True
        ).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
