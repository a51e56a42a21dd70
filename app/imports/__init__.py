"""Models of other programs become runs."""
