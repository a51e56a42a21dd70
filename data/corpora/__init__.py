"""Corpora by name: built-in ones, folders, and those of a warehouse."""
