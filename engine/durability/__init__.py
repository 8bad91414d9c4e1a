"""When a commit is durable: policies and syncs."""
