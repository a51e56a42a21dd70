"""How well a generator predicts text: perplexity a token, a word and a byte."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from app.runs.run import Run
from app.scoring.bootstrap import measure, summed_by_document
from app.scoring.kneser_ney import KneserNey
from app.scoring.results import Results
from app.scoring.testsets import TestSet
from data.cleaning import normalise
from data.packing import PackedWindow
from data.shards import Shards
from data.tokenizer import BOS, EOS, PAD
from data.windows import cut


@dataclass(frozen=True)
class Perplexity:
    """The likelihood of a text, each line with its end.

    Args:
        title: the text and its size.
        nats: the sum of the negative log-likelihoods of all tokens.
        tokens: of the model, line ends included.
        words: separated by white space, line ends included. Compare models with different tokens by words or bytes.
        bytes: in UTF-8, line ends included.
        low, high: the 95% bootstrap interval of `per_word`, over documents; None with too few of them.
        weights: which weights, or what other model, were evaluated.
    """

    title: str
    nats: float
    tokens: int
    words: int
    bytes: int
    low: float | None
    high: float | None
    weights: str

    @property
    def per_token(self) -> float:
        """Perplexity of a token."""
        return math.exp(self.nats / self.tokens)

    @property
    def per_word(self) -> float:
        """Perplexity of a word."""
        return math.exp(self.nats / self.words)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte."""
        return self.nats / math.log(2) / self.bytes

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        own = {name: getattr(self, name) for name in ("per_token", "per_word", "bits_per_byte")}
        return {**asdict(self), **own}


def perplexity(run: Run, test: TestSet, which: str = "auto") -> Perplexity:
    """Evaluates a generator on the reference side of a text, its state carried through each document.

    Args:
        run: a generator.
        test: the text; without document boundaries, each line is read on its own.
        which: see `Run.weights`.

    Returns:
        The result, which is also written into the run's `results/NAME.json`.
    """
    from app.translation.keras_decoder import KerasDecoder

    options, text = run.preset.window_options(), _Text.of(run, test)

    def windows(document):
        for first, _, end in cut([len(line) for line in document], options).tolist():
            yield PackedWindow([[]] * (end - first), document[first:end], 0, first == 0)

    decoder = KerasDecoder(run.load_model(which), run.preset.search)
    found = decoder.score_windows([list(windows(document)) for document in text.documents])
    nats = np.array([-sum(score.log_probability for score in own) for own in found])
    result = text.perplexity(nats, run.weights_file(which)[0])
    Results(run.path).write(test.name, {**result.as_dict(), "fingerprint": test.fingerprint})
    return result


def of_ngrams(run: Run, shards: Sequence[Shards], order: int) -> Callable[[TestSet], Perplexity]:
    """Trains an n-gram model on a generator's training text, with its tokens.

    Args:
        run: the generator.
        shards: its training text.
        order: the longest n-grams.

    Returns:
        A function that gives the perplexity of a text, each line on its own.
    """
    lines = [
        one.target_tokens[begin:end]
        for one in shards
        for begin, end in zip(one.target_offsets[:-1], one.target_offsets[1:], strict=True)
    ]
    model = KneserNey(lines, order, run.tokenizer().vocabulary_size, BOS, EOS, [PAD])

    def evaluate(test: TestSet) -> Perplexity:
        text = _Text.of(run, test)
        nats = [-model.log_probabilities(document).sum() for document in text.documents]
        return text.perplexity(np.array(nats), f"{order}-grams of the training text, Kneser-Ney")

    return evaluate


@dataclass(frozen=True)
class _Text:
    """The reference side of a test set, as in training: `lines` as text, `documents` as the token ids of each line."""

    title: str
    lines: list[str]
    documents: list[list[list[int]]]

    @classmethod
    def of(cls, run: Run, test: TestSet) -> "_Text":
        data, form = run.preset.data, run.preset.text_form()
        lines = written = [normalise(line, data.lowercase) for line in test.references]
        if test.sources:
            _, lines = form.pairs([normalise(line, data.lowercase) for line in test.sources], written)
        ids = iter(run.tokenizer().target.encode(lines))
        sizes = test.documents or (1,) * len(lines)
        title = f"{test.origin}: {len(sizes):,} documents, {len(lines):,} lines"
        if lines != written:
            title += ", with spans set aside and lines in capitals as in training"
        return cls(title, lines, [[next(ids) for _ in range(size)] for size in sizes])

    def perplexity(self, nats: np.ndarray, weights: str) -> Perplexity:
        """The figures, given the negative log-likelihood of each document (N,)."""
        words = summed_by_document([len(line.split()) + 1 for line in self.lines], list(map(len, self.documents)))
        tokens = sum(len(line) + 1 for document in self.documents for line in document)
        size = sum(len(line.encode()) + 1 for line in self.lines)
        found = measure("perplexity", np.stack([nats, words], axis=1), lambda sums: math.exp(sums[0] / sums[1]))
        return Perplexity(self.title, float(nats.sum()), tokens, int(words.sum()), size, found.low, found.high, weights)
