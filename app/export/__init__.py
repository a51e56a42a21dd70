"""Exports trained models for other programs: one module for each format, each with `export(run, directory, ...)`."""
