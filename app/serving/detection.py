"""Which language a text is in."""

import functools
from collections.abc import Sequence

# How much of a text is looked at.
_MOST_CHARACTERS = 2000


def detect(text: str, count: int = 3) -> list[tuple[str, float]]:
    """The likeliest languages of a text, with their probabilities.

    Args:
        text: the longer, the better.
        count: how many languages.

    Example:
        >>> detect("Wer reitet so spät durch Nacht und Wind?", 1)[0][0]
        'de'
    """
    found: Sequence[tuple[str, float]] = _identifier().rank(text[:_MOST_CHARACTERS])
    return [(language, float(probability)) for language, probability in found[:count]]


@functools.cache
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
