"""The row executor: closures and generators."""
