"""Scores that see a document: BLEU over documents, pronouns, consistency of terms, and the use of context."""
