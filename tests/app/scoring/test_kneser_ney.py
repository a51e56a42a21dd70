"""The n-gram model: its probabilities sum to one, and equal those worked out by hand and by counting."""

import numpy as np
import pytest

from app.scoring.kneser_ney import KneserNey, _discounts

BEGIN, END = 0, 1
LINES = [[2, 3, 4, 2, 3], [2, 3, 5], [4, 2, 3, 4], [5, 5, 2], [2], [6, 2, 3, 4, 2]]


def model_of(order, lines=LINES, vocabulary=8):
    return KneserNey(lines, order, vocabulary, BEGIN, END)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("context", [[], [2], [2, 3], [6, 6], [3, 4, 2, 3]])
def test_the_next_token_is_certainly_one_of_the_vocabulary(order, context):
    model = model_of(order)
    total = 0.0
    for token in range(1, 8):
        line = context if token == END else [*context, token]
        total += np.exp(model.log_probabilities([line])[len(context)])
    assert total == pytest.approx(1.0)


def slow(order, lines, vocabulary, context, token):
    """The recursion as the paper writes it, over tuples and dictionaries."""
    grams = {}
    for line in lines:
        padded = (BEGIN, *line, END)
        for k in range(1, order + 1):
            for place in range(len(padded) - k + 1):
                gram = padded[place : place + k]
                grams[gram] = grams.get(gram, 0) + 1
    counts = {}
    for gram, count in grams.items():
        before = sum(1 for other in grams if len(other) == len(gram) + 1 and other[1:] == gram)
        counts[gram] = before if before and len(gram) < order else count
    counts = {gram: 0 if gram[-1] == BEGIN else count for gram, count in counts.items()}
    discounts = {k: _discounts(np.array([c for g, c in counts.items() if len(g) == k])) for k in range(1, order + 1)}

    def probability(context, token):
        k = len(context) + 1
        lower = probability(context[1:], token) if context else 1 / (vocabulary - 1)
        after = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context and len(gram) == k}
        total = sum(after.values())
        if not total:
            return lower
        discount = {word: min(discounts[k][min(count, 3)], count) for word, count in after.items()}
        own = max(after.get(token, 0) - discount.get(token, 0.0), 0.0)
        return own / total + sum(discount.values()) / total * lower

    return probability(tuple(context), token)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("line", [[2, 3, 4], [5, 6, 2, 3, 5], [7], []])
def test_equals_the_recursion_of_the_paper(order, line):
    found = np.exp(model_of(order).log_probabilities([line]))
    padded = (BEGIN, *line, END)
    expected = [
        slow(order, LINES, 8, padded[max(place - order + 1, 0) : place], padded[place])
        for place in range(1, len(padded))
    ]
    np.testing.assert_allclose(found, expected)


def test_longer_n_grams_predict_a_regular_text_better():
    lines = [[2, 3, 2, 4, 2, 3, 2, 4] for _ in range(20)] + LINES
    likelihoods = [model_of(order, lines).log_probabilities([[2, 3, 2, 4, 2, 3]]).sum() for order in (1, 2, 3)]
    assert likelihoods == sorted(likelihoods)
