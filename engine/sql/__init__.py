"""SQL: text to tokens, syntax, bound tree, plan, rows."""
