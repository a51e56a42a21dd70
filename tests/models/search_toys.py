"""A toy model for the tests of search, and searches in plain Python to compare with.

The toy's logits depend on the input and on every token before, by a hash of the prefix that it keeps in its state. So a
state that is handed to the wrong hypothesis shows at once. The plain searches read the same table in float64.
"""

import itertools

import keras
import numpy as np
from keras import ops

PAD, UNK, BOS, EOS = 0, 1, 2, 3
IDS = {"bos": BOS, "eos": EOS, "pad": PAD}


class Toy:
    """A random distribution over the next token for every input and prefix.

    Args:
        vocabulary: int. V; ids from 4 on are ordinary tokens.
        length: int. The most steps.
        seed: int. Another seed makes another model.
        scale: float. Standard deviation of the logits.
        dtype: str. Dtype of the logits that `step` returns.
    """

    ROWS = 1009

    def __init__(self, vocabulary=7, length=4, seed=0, scale=2.0, dtype="float32"):
        table = np.random.default_rng(seed).normal(scale=scale, size=(self.ROWS, vocabulary)).astype("float32")
        self.table = ops.convert_to_numpy(ops.cast(ops.cast(table, dtype), "float32"))
        self.weights = np.array([pow(31, place, self.ROWS) for place in range(length)], "int32")
        self.vocabulary, self.length, self.dtype = vocabulary, length, dtype

    def state(self, inputs):
        """The state for inputs (B,), a nest of dict, list and tuple."""
        rows = ops.shape(inputs)[0]
        prefix = ops.zeros((rows, self.length), dtype="int32")
        return {"inputs": inputs, "caches": [(prefix,)], "position": ops.zeros((rows,), dtype="int32")}

    def step(self, tokens, state):
        ((prefix,),), position = state["caches"], state["position"]
        here = ops.arange(self.length, dtype="int32")[None, :] == position[:, None]
        prefix = ops.where(here, tokens[:, None] + 1, prefix)
        key = ops.sum(prefix * ops.convert_to_tensor(self.weights), axis=1) + 17 * state["inputs"]
        logits = ops.take(ops.convert_to_tensor(self.table), key % self.ROWS, axis=0)
        return ops.cast(logits, self.dtype), {**state, "caches": [(prefix,)], "position": position + 1}

    def logits(self, number, tokens):
        """Logits (V,) after `tokens`, for input `number`, without the state."""
        prefix = np.array([BOS, *tokens]) + 1
        return self.table[int((prefix * self.weights[: len(prefix)]).sum() + 17 * number) % self.ROWS]

    def log_probs(self, number, tokens):
        """Log-probabilities (V,) in float64 after `tokens`, for input `number`."""
        logits = self.logits(number, tokens).astype("float64")
        return logits - np.log(np.exp(logits).sum())

    def log_prob(self, number, tokens):
        """Log-probability of a whole sequence."""
        return sum(self.log_probs(number, tokens[:place])[token] for place, token in enumerate(tokens))

    def next_tokens(self, count, limit, min_length=0, forbidden=()):
        """The tokens that the rules allow as token number `count`."""
        if count == limit:
            return [EOS]
        ordinary = [token for token in range(self.vocabulary) if token not in (PAD, BOS, EOS, *forbidden)]
        return ordinary if count < min_length else [EOS, *ordinary]


def inputs(*numbers):
    """Input numbers as a tensor (B,)."""
    return ops.convert_to_tensor(np.array(numbers, "int32"))


def penalty(length, alpha):
    return ((5 + length) / 6) ** alpha


def every_hypothesis(toy, number, limit, alpha=0.0, **rules):
    """All complete sequences as (score, tokens), best first."""
    found = []
    for length in range(1, limit + 1):
        choices = [toy.next_tokens(count, limit, **rules) for count in range(1, length + 1)]
        for tokens in itertools.product(*choices):
            if EOS in tokens and tokens.index(EOS) == length - 1:
                found.append((toy.log_prob(number, tokens) / penalty(length, alpha), list(tokens)))
    return sorted(found, reverse=True)


def plain_beam_search(toy, number, beam, limit, alpha, nbest, exact=True, **rules):
    """Beam search on lists that, if exact, never finishes early. Returns (score, tokens), best first."""
    live, finished = [(0.0, [])], []
    for count in range(1, limit + 1):
        allowed = toy.next_tokens(count, limit, **rules)
        grown = [
            (score + toy.log_probs(number, tokens)[token], [*tokens, token])
            for score, tokens in live
            for token in allowed
        ]
        grown.sort(reverse=True)
        finished += [(score / penalty(count, alpha), tokens) for score, tokens in grown[:beam] if tokens[-1] == EOS]
        live = [(score, tokens) for score, tokens in grown if tokens[-1] != EOS][:beam]
        best = sorted(finished, reverse=True)[:nbest]
        if not exact and len(best) == nbest and live and live[0][0] / penalty(count + 1, alpha) <= best[-1][0]:
            break
    return sorted(finished, reverse=True)[:nbest]


def plain_greedy(toy, number, limit, **rules):
    """The likeliest token at each step. Returns (score, tokens)."""
    tokens = []
    while EOS not in tokens:
        allowed = toy.next_tokens(len(tokens) + 1, limit, **rules)
        tokens.append(max(allowed, key=toy.log_probs(number, tokens).__getitem__))
    return toy.log_prob(number, tokens), tokens


def lists(hypotheses):
    """Hypotheses with n for each input as nested lists of (score, tokens); those that do not exist are left out."""
    tokens, scores, lengths = (ops.convert_to_numpy(part) for part in hypotheses)
    return [
        [
            (float(score), row[:length].tolist())
            for row, score, length in zip(*parts, strict=True)
            if length  # an empty place
        ]
        for parts in zip(tokens, scores, lengths, strict=True)
    ]


def assert_same(found, expected):
    """Both are lists of (score, tokens). Scores to rounding; tokens, unless scores are too near to tell."""
    assert len(found) == len(expected)
    np.testing.assert_allclose([score for score, _ in found], [score for score, _ in expected], atol=2e-5)
    for place, (score, tokens) in enumerate(expected):
        others = [other for index, (other, _) in enumerate(expected) if index != place]
        if all(abs(score - other) > 1e-4 for other in others):
            assert found[place][1] == tokens


def assert_well_formed(hypotheses, limits, min_length=0, forbidden=()):
    """Checks what holds for the result of any search: (B, n, T) tokens, (B, n) scores and lengths."""
    tokens, scores, lengths = (ops.convert_to_numpy(part) for part in hypotheses)
    assert tokens.dtype == "int32" and scores.dtype == "float32" and lengths.dtype == "int32"
    for row_tokens, row_lengths, limit in zip(tokens, lengths, limits, strict=True):
        for row, length in zip(row_tokens, row_lengths, strict=True):
            assert (row[length:] == PAD).all()
            if length:
                assert min(min_length, limit) <= length <= limit
                assert row[length - 1] == EOS
                assert not np.isin(row[: length - 1], [PAD, BOS, EOS, *forbidden]).any()


def compiled(function, *signature):
    """`function` compiled for unknown sizes on TensorFlow, and as it is where there is no compiler for that."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, input_signature=[tf.TensorSpec(shape, "int32") for shape in signature])
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function
