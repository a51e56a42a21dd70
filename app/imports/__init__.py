"""Imports models of other programs as runs."""
