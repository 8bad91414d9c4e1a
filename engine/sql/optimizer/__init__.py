"""Rewrites of plans: an ordered tuple of functions that keep every query's rows."""

from engine.sql.optimizer.rules import RULES, optimize

__all__ = ["RULES", "optimize"]
