"""Look into a log without changing anything: pure functions over engine.wal.

source      open the log of a database (or one without its data file); names of trees
filters     which records and rows are wanted
dump        records and rows, as data and as lines
statistics  kinds, sizes, trees, syncs
verify      findings: damage, torn tail, payloads that do not decode

Everything is read-only and deterministic: no clock, no process id. A log that is being written
may show a moving end.
"""
