"""Probes of memories: recall by distance on made-up documents, and measurements of finished runs on real ones."""
