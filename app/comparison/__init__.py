"""Compares systems: a queue that trains and scores everything a plan names, and the report of the results."""
