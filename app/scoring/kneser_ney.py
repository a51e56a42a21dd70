"""An n-gram language model, to compare a generator's perplexity with."""

from collections.abc import Sequence

import numpy as np


class KneserNey:
    """Interpolated modified Kneser-Ney smoothing, on token ids.

    Each n-gram has a number, which is looked up by the number of its first n - 1 tokens and its last token.

    Args:
        lines: token ids of each line, without special tokens.
        order: n, the longest n-grams counted.
        vocabulary: V, number of tokens.
        begin, end: the tokens before and after a line.
        never: tokens that never occur, such as padding; `begin` is always one of them.

    References:
        Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", section 3.
    """

    def __init__(
        self,
        lines: Sequence[Sequence[int]],
        order: int,
        vocabulary: int,
        begin: int,
        end: int,
        never: Sequence[int] = (),
    ) -> None:
        self.order, self.vocabulary, self.begin, self.end = order, vocabulary, begin, end
        self._possible = vocabulary - len({begin, *never})
        tokens, starts = self._joined(lines)
        # For each order k, from 1: the sorted keys of its n-grams, and the number of the one that ends at each place.
        self._keys: list[np.ndarray] = []
        places = []
        for k in range(1, order + 1):
            prefix = np.zeros(len(tokens), np.int64) if k == 1 else np.roll(places[-1], 1)
            real = np.arange(len(tokens)) - starts >= k - 1
            keys = np.where(real, prefix * vocabulary + tokens, -1)
            self._keys.append(np.unique(keys[real]))
            places.append(np.where(real, np.searchsorted(self._keys[-1], keys), -1))
        self._levels = [self._level(k, places, tokens) for k in range(1, order + 1)]

    def _joined(self, lines):
        """All tokens (N,), each line between `begin` and `end`, and where the line of each token starts (N,)."""
        sizes = np.array([len(line) + 2 for line in lines])
        tokens = np.concatenate([[self.begin, *line, self.end] for line in lines]).astype(np.int64)
        return tokens, np.repeat(np.cumsum(sizes) - sizes, sizes)

    def _level(self, k, places, tokens):
        """For order k: (the share of each n-gram after its discount, what each context leaves to the order below)."""
        size, here = len(self._keys[k - 1]), places[k - 1]
        counts = np.bincount(here[here >= 0], minlength=size)
        if k < self.order:
            # A shorter n-gram counts once for each different token before it; one that begins a line has none.
            above = places[k]
            _, first = np.unique(above, return_index=True)
            first = first[above[first] >= 0]
            continued = np.bincount(here[first], minlength=size)
            counts = np.where(continued > 0, continued, counts)
        context, last = np.divmod(self._keys[k - 1], self.vocabulary)
        counts = np.where(last == self.begin, 0, counts)  # never predicted
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        contexts = 1 if k == 1 else len(self._keys[k - 2])
        totals = np.maximum(np.bincount(context, counts, minlength=contexts), 1e-9)
        left = np.bincount(context, np.minimum(discounts, counts), minlength=contexts) / totals
        share = np.maximum(counts - discounts, 0) / totals[context]
        known = np.bincount(context, counts, minlength=contexts) > 0
        return share, np.where(known, left, 1.0)

    def log_probabilities(self, lines: Sequence[Sequence[int]]) -> np.ndarray:
        """Natural logarithms (N,) of the probability of each token of each line, its end included."""
        tokens, starts = self._joined(lines)
        within = np.arange(len(tokens)) - starts
        probability = np.full(len(tokens), 1 / self._possible)
        for k in range(1, self.order + 1):
            context = np.where(within >= k - 1, self._context(tokens, k - 1), -1)
            share, left = self._levels[k - 1]
            found = self._find(context, tokens, k)
            own = np.where(found >= 0, share[found], 0.0)
            probability = np.where(context >= 0, own + left[context] * probability, probability)
        return np.log(probability[within > 0])

    def _context(self, tokens, size):
        """The numbers of the n-grams of `size` tokens before each token (N,); -1 for one that was never seen."""
        number = np.zeros(len(tokens), np.int64)
        for k in range(1, size + 1):
            number = self._find(number, np.roll(tokens, size + 1 - k), k)
        return number

    def _find(self, prefix, tokens, k):
        """The numbers of n-grams of k tokens, given the numbers of their first k - 1 and the last."""
        keys, wanted = self._keys[k - 1], prefix * self.vocabulary + tokens
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((prefix >= 0) & (keys[place] == wanted), place, -1)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """The discounts (4,) of n-grams that occur 0, 1, 2, and 3 or more times; Chen and Goodman, equation 26."""
    one, two, three, four = (max(int(np.sum(counts == n)), 1) for n in range(1, 5))
    y = one / (one + 2 * two)
    found = [0.0, 1 - 2 * y * two / one, 2 - 3 * y * three / two, 3 - 4 * y * four / three]
    return np.clip(found, 0.0, [0.0, 1.0, 2.0, 3.0])
