"""Trains a preset into a run folder."""
