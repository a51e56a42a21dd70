"""Trusted translations that a search may read: stored segments, how they are found, and fuzzy matches."""
