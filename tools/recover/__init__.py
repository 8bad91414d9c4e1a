"""Crash recovery with a report: what an unclean stop left, and what opening makes of it.

survey   look only: which transactions the log adds to the last checkpoint, and how the log ends
recover  open the database (which replays, checks and writes a checkpoint), close it, and report

Nothing is ever dropped in silence: torn bytes are kept in a file, damage is refused and named.
Salvage of a damaged file into a new one is not here.
"""
