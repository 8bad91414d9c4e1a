"""Names to columns, types, functions, aggregates and subqueries."""
