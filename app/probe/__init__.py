"""Probes of memory: recall by distance on synthetic documents, and measurements of finished runs on real ones."""
