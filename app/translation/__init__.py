"""Translates and scores segments in their documents: lines in, windows, memories, lines out."""
