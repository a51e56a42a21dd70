"""What a memory of the target side could hold at best: stores that nothing is trained for, beside a sentence-level run.

    python -m tests.bench.stores runs/news-small --corpora ../corpora

For each validation document the decoder's states are put into a store, segment by segment, each with the vector of the
token that the reference has there. What a store gives back for a state is added to it, and the change of the
reference's likelihood is printed, in thousandths of a nat a token; below 0 is better. docs/memory.md draws conclusions.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from itertools import groupby, islice

import numpy as np

from app.runs.run import Run
from data.tokenizer import BOS, EOS, Tokenizer

SEED = 0


class Mean:
    """The mean of all states, older segments counting less."""

    def __init__(self, width: int, factor: float):
        self.mean, self.factor = np.zeros(width, "float32"), factor

    def write(self, states, vectors) -> None:
        self.mean = 0.8 * self.mean + 0.2 * states.mean(0)

    def read(self, states):
        return self.factor * self.mean


class Everything:
    """The last so many states, read by attention; what is given back is the token's vector."""

    def __init__(self, width: int, most: int = 400):
        self.keys = self.values = np.zeros((0, width), "float32")
        self.most = most

    def write(self, states, vectors) -> None:
        self.keys = np.concatenate([self.keys, states])[-self.most :]
        self.values = np.concatenate([self.values, vectors])[-self.most :]

    def read(self, states):
        return attention(states, self.keys) @ self.values


class Slots:
    """M slots with random addresses, each the mean of the states that it attends to, kept by a share z."""

    def __init__(self, width: int, slots: int, keep: float = 0.73):
        self.addresses = 2 * np.random.default_rng(SEED).normal(size=(slots, width)).astype("float32")
        self.keys, self.values = np.zeros((2, slots, width), "float32")
        self.keep = keep

    def write(self, states, vectors) -> None:
        weights = attention(self.addresses, states)
        self.keys = self.keep * self.keys + (1 - self.keep) * weights @ states
        self.values = self.keep * self.values + (1 - self.keep) * weights @ vectors

    def read(self, states):
        return attention(states, self.keys) @ self.values


class CompetingSlots(Slots):
    """The same, but each state goes to the one slot that is most like it; the others keep what they hold."""

    def write(self, states, vectors) -> None:
        for row, slot in enumerate((self.addresses @ states.T).argmax(axis=0)):
            self.keys[slot], self.values[slot] = states[row], vectors[row]


def stores(width: int) -> dict:
    """New stores by name."""
    means = {f"mean of the states, x {factor}": Mean(width, factor) for factor in (0.05, 0.1, 0.2, 0.4)}
    slots = {f"{count} slots, z = 0.73": Slots(width, count) for count in (16, 64, 128)}
    competing = {f"{count} competing slots": CompetingSlots(width, count) for count in (16, 64, 128)}
    return {**means, "all of the last 400 states": Everything(width), **slots, **competing}


def attention(queries, keys):
    """Softmax of scaled products, (N, D) and (K, D) -> (N, K)."""
    return np.exp(log_softmax(queries @ keys.T / queries.shape[-1] ** 0.5))


def log_softmax(scores):
    scores = scores - scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def documents_of(model, tokenizer: Tokenizer, pairs) -> Iterator[list]:
    """For each document its segments as states (T, D) and reference tokens (T,)."""
    for _, own in groupby(pairs, key=lambda pair: pair.doc):
        sources, targets = (tokenizer.encode(list(side)) for side in list(zip(*own, strict=True))[:2])
        found = []
        for source, target in zip(sources, targets, strict=True):
            inputs = {"source": np.array([[*source, EOS]]), "target": np.array([[BOS, *target]])}
            states = np.asarray(model.states(inputs), "float32")[0]
            found.append((states, np.array([*target, EOS])))
        yield found


def measure(documents: list[list], table) -> tuple[float, dict[str, float]]:
    """Nats a token without a store, and the change with each."""
    states, tokens = (np.concatenate(part) for part in zip(*(own for one in documents for own in one), strict=True))
    middle, usual, count = states.mean(0), table[tokens].mean(0), len(tokens)
    losses: Counter = Counter()
    for document in documents:
        kept = stores(table.shape[1])
        for place, (states, tokens) in enumerate(document):
            losses["nothing"] += loss(states, tokens, table)
            for name, store in kept.items():
                given = store.read(states - middle) if place else 0
                losses[name] += loss(states + given, tokens, table)
                store.write(states - middle, table[tokens] - usual)
    nothing = losses.pop("nothing")
    return nothing / count, {name: (value - nothing) / count for name, value in losses.items()}


def loss(states, tokens, table) -> float:
    return -float(log_softmax(states @ table.T)[np.arange(len(tokens)), tokens].sum())


def main() -> None:
    """Prints a table for each corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--corpora", nargs="+", default=[])
    parser.add_argument("--corpus", nargs="+", default=["libreoffice-help", "gnome-help", "europarl"])
    parser.add_argument("--lines", type=int, default=400, help="of the validation split (%(default)s)")
    args = parser.parse_args()
    run = Run.open(args.run)
    model, tokenizer = run.load_model(), run.tokenizer()
    table = np.asarray(model.output_embedding.table, "float32")
    for name in args.corpus:
        corpus = run.preset.corpora(args.corpora).open(name)
        pairs = list(islice(corpus.pairs("validation"), args.lines))
        nothing, changes = measure(list(documents_of(model, tokenizer, pairs)), table)
        print(f"{name}: {1000 * nothing:.0f} without a store")
        for store, change in changes.items():
            print(f"  {1000 * change:+7.1f}  {store}")


if __name__ == "__main__":
    main()
