"""Lets these tests use the log of tests/unit/wal."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "wal"))
