"""From a source into a table of a database file: opens it, loads, and leaves no trace of a failure.

Apart from the command because importing the engine takes as long as reading 30 MB of CSV: the
command starts the reading first.
"""

from __future__ import annotations

import os
from contextlib import suppress

from mantis_cli.database import open_database
from mantis_cli.output.progress import Progress
from mantis_cli.transfer.load import Counts, Loader
from mantis_cli.transfer.rejects import Rejects
from mantis_cli.transfer.sources import Source


def load_into(
    path: str,
    table: str,
    reader: Source,
    pk: str | None,
    rejects: Rejects | None,
    progress: Progress,
    create: bool,
    wait_s: float,
) -> Counts:
    """Load all rows in one transaction. table: as SQL would write it. pk: columns with commas.
    create: make a missing file, and take it away again when the load fails: not when it cannot be
    opened, since then another process made it."""
    is_new = create and not os.path.exists(path)
    key = tuple(part.strip() for part in pk.split(",")) if pk else ()
    name = table[1:-1].replace('""', '"') if table.startswith('"') else table.lower()
    opened = False
    try:
        with open_database(path, create=create, wait_s=wait_s) as database:
            opened = True
            session = database.session()
            try:
                return Loader(session, reader, name, key, rejects, progress).run()
            finally:
                session.close()
    except BaseException:
        if is_new and opened:  # nothing changed: not even a file
            with suppress(OSError):
                os.unlink(path)
        raise
