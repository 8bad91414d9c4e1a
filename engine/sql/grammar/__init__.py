"""Tokens to syntax: pyparsing statements around recursive-descent hot productions."""
