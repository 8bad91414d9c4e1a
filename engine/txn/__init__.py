"""Snapshots, locks, the commit protocol."""
