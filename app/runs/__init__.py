"""Run folders, and all that is kept in them."""
