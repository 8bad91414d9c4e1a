"""Libraries behind the operator commands."""
