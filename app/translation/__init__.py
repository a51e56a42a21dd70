"""Translates and scores lines and documents."""
