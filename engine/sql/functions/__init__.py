"""The one registry of scalar and aggregate functions."""
