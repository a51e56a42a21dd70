"""Scores for sentences and documents: BLEU over lines and documents, pronouns, term consistency, use of context."""
