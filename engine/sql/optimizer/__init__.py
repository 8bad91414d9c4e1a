"""Rewrite rules over logical plans, and the choice of access paths."""
