"""Compares systems: a queue that trains and scores all that a plan names, and the report of what came out."""
