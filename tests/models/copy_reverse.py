"""Trains a small Reformer to write its source backwards: `python -m tests.models.copy_reverse --length 768`.

An encoder-decoder whose two sides get into each other's attention never learns it (lucidrains/reformer-pytorch #90).
"""

import argparse
import time

import keras
import numpy as np

from models.teacher_forcing import TeacherForcing
from models.transformer import Transformer

WORDS = 16
REFORMER = {"norm": "pre", "stack": "reversible", "attention": "lsh", "feed_forward_chunks": 2, "dropout": 0.0}


def batch(random: np.random.Generator, rows: int, length: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random words, and the same backwards."""
    source = random.integers(4, 4 + WORDS, (rows, length))
    labels = source[:, ::-1]
    return {"source": source, "target": np.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=2)}, labels


def learn(
    length: int, updates: int, rows: int = 16, width: int = 64, layers: int = 2, report: int = 0, **settings
) -> float:
    """The share of right tokens that a model trained on random words gives for others, each after the right ones.

    Args:
        length: of a source.
        updates, rows: of the training, and sources in each update.
        width, layers: of the model, the latter on each side.
        report: updates between two lines of text; 0 for none.
        **settings: of the `Transformer`, beside those of a Reformer.
    """
    keras.utils.set_random_seed(1)
    model = TeacherForcing(Transformer(4 + WORDS, layers, layers, width, 2 * width, 4, **{**REFORMER, **settings}), 0.0)
    model.build()
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, updates - updates // 10, warmup_target=0.003, warmup_steps=updates // 10
    )
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), jit_compile=False)
    random, begun = np.random.default_rng(0), time.perf_counter()
    for number in range(1, updates + 1):
        found = model.train_on_batch(*batch(random, rows, length), return_dict=True)
        if report and number % report == 0:
            print(f"update {number:,}  loss {found['loss']:.4f}  {time.perf_counter() - begun:.0f} s", flush=True)
            model.reset_metrics()
    inputs, labels = batch(random, rows, length)
    return float(np.mean(np.argmax(model.transformer(inputs), axis=-1) == labels))


def main() -> None:
    """Parses, trains, and prints what was learnt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=768)
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--width", type=int, default=128)
    args = parser.parse_args()
    share = learn(args.length, args.updates, args.rows, args.width, report=50)
    print(f"{100 * share:.2f}% of the tokens of new sources are right; chance: {100 / WORDS:.1f}%")


if __name__ == "__main__":
    main()
