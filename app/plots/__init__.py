"""Figures of finished and running trainings, drawn from their run folders."""

# The names of the figures of runs, some of which show a sentence or a document, and of the figures of a comparison.
OF_SENTENCE, OF_DOCUMENT = ("attention", "alignment"), ("gates", "slots")
OF_RUNS = ("learning", "learning-hours", *OF_SENTENCE, *OF_DOCUMENT, "length", "position")
OF_COMPARISON = ("scores", "costs")
