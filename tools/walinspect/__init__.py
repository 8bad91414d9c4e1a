"""The log as rows: filter, decode, statistics."""
