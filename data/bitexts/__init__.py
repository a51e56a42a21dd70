"""Bilingual files (TMX, XLIFF, PO, TSV) as streams of pairs."""
