"""Crash recovery with a report."""
