"""Every command: its module in mantis_cli/commands and one line of help.

Nothing here is imported until the command is used (mantis_cli/main.py).
"""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "shell": ("shell", "Open the interactive shell."),
    "query": ("query", "Run SQL and print the results."),
    "new": ("new", "Create an empty database file."),
    "import": ("import_", "Load CSV, TSV, JSON, JSONL or Parquet into a table."),
    "export": ("export", "Write a table or a query's rows to a file."),
    "schema": ("schema", "Print the statements that make the schema."),
    "tables": ("tables", "List tables with their row counts and indexes."),
    "info": ("info", "Show what a database file is, without opening it for use."),
    "check": ("check", "Verify every page, tree, index and log record."),
    "recover": ("recover", "Recover after a crash, and say what was found."),
    "wal": ("wal", "Look into the log: dump, stat, verify."),
    "bench": ("bench", "Measure against the sqlite3 module."),
}
