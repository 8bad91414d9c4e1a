"""Physical plans to rows."""
