"""Presets: every choice of one experiment, in commented TOML files."""
