"""Run folders and their content."""
