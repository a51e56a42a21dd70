"""The training objective of a preset, also used for validation."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from app.presets.preset import Preset
from data.batching import Batch


def teacher_forcing(transformer: Any, preset: Preset, lanes: int | None = None, parts: int = 1) -> Any:
    """Wraps the Transformer of a preset with its loss, for `compile`, `fit` and `evaluate`.

    Args:
        transformer: a model from `Run.new_model`.
        preset: if it has windows, the model carries the memory state of documents from batch to batch.
        lanes: number of documents read in parallel; by default the preset's.
        parts: the number of parts that a batch is computed in, see `TeacherForcing`.

    Returns:
        A `TeacherForcing` or a `DocumentTeacherForcing`.
    """
    from models.teacher_forcing import DocumentTeacherForcing, TeacherForcing

    smoothing, documents = preset.training.label_smoothing, preset.documents
    if documents.windows == "off":
        return TeacherForcing(transformer, smoothing, preset.training.r_drop, parts)
    own_choices = preset.training.memory_tokens != "reference"
    ranking, margin = preset.training.ranking, preset.training.ranking_margin
    extra = {"ranking": ranking, "margin": margin, "context_discount": documents.context_discount, "parts": parts}
    return DocumentTeacherForcing(transformer, smoothing, lanes or documents.lanes, own_choices, **extra)


def marked(batches: Iterable[Batch], preset: Preset, first: int = 0) -> Iterator[Batch]:
    """Adds an input "ranked" (B, 1) to batches: 1 in the batches of one update in `training.ranking_every`, else 0.

    Args:
        batches: the batches of a training.
        preset: its preset.
        first: the number of the first of these batches, counted from the beginning of the training.
    """
    training = preset.training
    for number, (inputs, labels) in enumerate(batches, first):
        ranked = number // training.accumulate % training.ranking_every == 0
        yield {**inputs, "ranked": np.full((len(labels), 1), ranked, np.int32)}, labels
