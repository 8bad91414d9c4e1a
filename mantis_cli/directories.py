"""Where the command line keeps its own files: the XDG state directory.

Nothing is created until there is something to write.
"""

from __future__ import annotations

import os


def state_directory() -> str:
    """`$XDG_STATE_HOME/mantis`, by default `~/.local/state/mantis`. May not exist yet."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(
        os.path.expanduser("~"), ".local", "state"
    )
    return os.path.join(base, "mantis")
