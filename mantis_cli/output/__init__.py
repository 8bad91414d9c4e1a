"""Result writers, error display, progress."""
