"""Scalar and aggregate functions and operators; importing the package fills the registry."""

from engine.sql.functions import aggregates, operators

__all__ = ["aggregates", "operators"]
