"""Tokens to syntax: pyparsing statements around recursive-descent hot productions."""

from engine.sql.grammar.parser import parse, parse_expression

__all__ = ["parse", "parse_expression"]
