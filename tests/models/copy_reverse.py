"""Trains a small Reformer to write its source backwards: `python -m tests.models.copy_reverse --length 768`.

An encoder-decoder whose two sides get into each other's attention never learns it (lucidrains/reformer-pytorch #90).
Attention that begins as the mean of 768 words finds the right one slowly. So each word stands 64 times at first, then
32 times, and so on, with which the model learns where to look before it has to look closely.
"""

import argparse
import time
from collections.abc import Sequence

import keras
import numpy as np

from models.teacher_forcing import TeacherForcing
from models.transformer import Transformer

WORDS = 16
REFORMER = {"norm": "pre", "stack": "reversible", "attention": "lsh", "feed_forward_chunks": 2, "dropout": 0.0}


def batch(
    random: np.random.Generator, rows: int, length: int, repeat: int = 1
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random words, each so many times in a row, and the same backwards."""
    source = np.repeat(random.integers(4, 4 + WORDS, (rows, length // repeat)), repeat, axis=1)
    labels = source[:, ::-1]
    return {"source": source, "target": np.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=2)}, labels


def learn(
    length: int,
    updates: int,
    rows: int = 16,
    width: int = 64,
    layers: int = 2,
    repeats: Sequence[int] = (1,),
    report: int = 0,
    **settings,
) -> float:
    """The share of right tokens that a model trained on random words gives for others, each after the right ones.

    Args:
        length: of a source, a multiple of all repeats.
        updates, rows: with each of the repeats, and sources in each update.
        width, layers: of the model, the latter on each side.
        repeats: how many times each word stands in a row.
        report: updates between two lines of text; 0 for none.
        **settings: of the `Transformer`, beside those of a Reformer.
    """
    keras.utils.set_random_seed(1)
    model = TeacherForcing(Transformer(4 + WORDS, layers, layers, width, 2 * width, 4, **{**REFORMER, **settings}), 0.0)
    model.build()
    total, warmup = updates * len(repeats), updates // 10
    rate = keras.optimizers.schedules.CosineDecay(0.0, total - warmup, warmup_target=0.003, warmup_steps=warmup)
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), jit_compile=False)
    random, begun = np.random.default_rng(0), time.perf_counter()
    for number in range(1, total + 1):
        repeat = repeats[(number - 1) // updates]
        found = model.train_on_batch(*batch(random, rows, length, repeat), return_dict=True)
        if report and number % report == 0:
            seconds = time.perf_counter() - begun
            print(f"update {number:,}  each word {repeat} x  loss {found['loss']:.4f}  {seconds:.0f} s", flush=True)
            model.reset_metrics()
    inputs, labels = batch(random, rows, length)
    return float(np.mean(np.argmax(model.transformer(inputs), axis=-1) == labels))


def main() -> None:
    """Parses, trains, and prints what was learnt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=768)
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, nargs="+", default=[64, 32, 16, 8, 4, 2, 1])
    args = parser.parse_args()
    share = learn(args.length, args.updates, args.rows, args.width, repeats=args.repeats, report=50)
    print(f"{100 * share:.2f}% of the tokens of new sources are right; chance: {100 / WORDS:.1f}%")


if __name__ == "__main__":
    main()
