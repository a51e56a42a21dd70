"""Corpora by name: the built-in ones and folders."""
