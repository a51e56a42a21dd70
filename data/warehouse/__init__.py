"""Corpora in a database: one table of pairs and one set of SQL for DuckDB and BigQuery."""
