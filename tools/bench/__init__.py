"""Workloads, drivers and comparison."""
