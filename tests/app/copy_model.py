"""A model that needs no training: it puts out its source."""

from types import SimpleNamespace

import numpy as np
from keras import ops

from data.tokenizer import Tokenizer

TEXT = [
    "The file could not be saved because the disk is full.",
    "Please choose another folder, or free some space first!",
    "Ein Mann geht; eine Frau steht: beide lesen ein Buch.",
    "Why are there so many windows? Nobody knows.",
]


class CopyModel:
    """Puts out the source, each token with probability `sure` and the others equally likely.

    Args:
        vocabulary: number of tokens.
        sure: probability of the source's next token.
    """

    def __init__(self, vocabulary: int, sure: float = 0.9):
        self.vocabulary = vocabulary
        self.margin = float(np.log(sure * (vocabulary - 1) / (1 - sure)))
        self.shapes = []

    def initial_state(self, source, max_length):
        self.shapes.append(tuple(source.shape))
        return {"source": source, "position": ops.zeros((ops.shape(source)[0],), "int32")}

    def step(self, tokens, state):
        source, position = state["source"], state["position"]
        here = ops.cast(ops.arange(ops.shape(source)[1]) == position[:, None], "int32")
        logits = self._logits(ops.sum(source * here, axis=1))
        return logits, {"source": source, "position": position + 1}

    def __call__(self, inputs, training=False):
        length = ops.shape(inputs["target"])[1]
        missing = ops.maximum(length - ops.shape(inputs["source"])[1], 0)
        return self._logits(ops.pad(inputs["source"], [[0, 0], [0, missing]])[:, :length])

    def _logits(self, ids):
        return self.margin * ops.one_hot(ids, self.vocabulary)


class CountingTokenizer:
    """A tokenizer that notes the lines it was given."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.seen = []

    @property
    def source(self):
        return self

    target = source

    def encode(self, texts):
        self.seen += texts
        return self.tokenizer.source.encode(texts)

    def decode(self, ids):
        return self.tokenizer.target.decode(ids)


def small_tokenizer() -> Tokenizer:
    """A tokenizer of a few pieces and all bytes, so that any text can be written."""
    return Tokenizer.train(TEXT, 320, seed=0)


def run_of(tokenizer, folder, preset, model):
    """What the evaluation asks of a run, around a model that was not trained."""
    return SimpleNamespace(
        preset=preset,
        path=folder,
        tokenizer=lambda: tokenizer,
        load_model=lambda which, decoding=False, search=None: model,
        weights_file=lambda which: ("update 7", folder / "weights.npz", "checksum 7"),
        summary=lambda: {},
    )
