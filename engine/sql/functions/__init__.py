"""Scalar and aggregate functions and operators; importing the package fills the registry."""

from engine.sql.functions import aggregates, conditional, datetime, json, math, operators, text

__all__ = ["aggregates", "conditional", "datetime", "json", "math", "operators", "text"]
