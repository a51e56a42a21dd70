"""Trains on one long document, to see whether its length has a cost."""

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from app.presets.preset import Preset
from app.probe.length import in_new_orders
from app.probe.sizes import Meter, state_bytes
from app.runs.run import Run
from app.training.objective import teacher_forcing
from app.training.optimizer import FusedAdam
from app.training.preparation import document_batches
from data.batching import Batch
from data.pairs import Pair
from data.shards import Shards, encode_pairs
from data.windows import cut

# New shapes have a one-time cost, whatever the position.
WARM_UP = 20
# More than is wanted, because pairs that are too long are left out.
SPARE = 1.25


def train_long(
    run: Run, pairs: Sequence[Pair], lengths: Sequence[int], report: Callable[[str], None]
) -> dict[str, Any]:
    """Trains on one long document, as one lane of the run's training would read it; the run stays as it is.

    Args:
        run: a run with document windows.
        pairs: pairs to build the document from, repeated in a new order each time until there are enough tokens.
        lengths: the lengths at which time and memory are noted, in source tokens.
        report: called with a line of text for every length.

    Returns:
        Plain values: "state_bytes", and under "lengths" the rows of a `Meter`.
    """
    preset = one_lane(run.preset)
    transformer = run.load_model()
    model = teacher_forcing(transformer, preset)
    model.build()
    if preset.training.freeze:
        transformer.freeze()
    optimizer = FusedAdam(preset.training.learning_rate, global_clipnorm=preset.training.clip_norm or None)
    optimizer.build(transformer.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    with tempfile.TemporaryDirectory() as folder:
        shards = _document(run, pairs, int(SPARE * max(lengths)), folder)
        for (inputs, labels), _ in itertools.islice(one_document(preset, shards), WARM_UP):
            model.train_on_batch(inputs, labels)
        meter = Meter(lengths)
        for (inputs, labels), position in one_document(preset, shards):
            model.train_on_batch(inputs, labels)
            before = len(meter.rows)
            meter(position)
            for row in meter.rows[before:]:
                report(
                    f"{row['tokens']:>9,} tokens  {row['peak_megabytes']:7,.0f} MB at most  "
                    f"{row['seconds_per_1000']:7.2f} s for 1,000 tokens of training"
                )
            if meter.finished:
                break
    return {"state_bytes": state_bytes(transformer.initial_memory(1)), "lengths": meter.rows}


def one_lane(preset: Preset) -> Preset:
    """The preset with one lane, whose rows are as long as those of each lane before.

    The ranking loss is off, because it exchanges the documents of lanes.
    """
    room = max(preset.training.batch_tokens // preset.documents.lanes, 16)
    return preset.with_overrides(["documents.lanes=1", f"training.batch_tokens={room}", "training.ranking=0"])


def one_document(preset: Preset, shards: Shards) -> Iterator[tuple[Batch, int]]:
    """The batches of shards with one document, and how many of its source tokens have been read after each."""
    _, current, end = cut(shards.source_lengths, preset.window_options()).T
    tokens = np.concatenate([[0], np.cumsum(shards.source_lengths.astype(np.int64) + 1)])
    ends = np.cumsum(tokens[end] - tokens[current])
    read = 0
    for batch in document_batches(preset, shards).epoch(0):
        read += int(batch[0]["source_windows"].max())
        yield batch, int(ends[read - 1])


def _document(run: Run, pairs: Sequence[Pair], tokens: int, folder: str) -> Shards:
    tokenizer, preset = run.tokenizer(), run.preset
    sizes = [len(ids) + 1 for ids in tokenizer.source.encode([pair.source for pair in pairs])]
    drawn = (pairs[number]._replace(doc="long") for number in in_new_orders(sizes, tokens))
    return encode_pairs(drawn, tokenizer, folder, "long", max_length=preset.data.max_length, form=preset.text_form())
