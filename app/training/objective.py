"""The training objective of a preset, also used for validation."""

from typing import Any

from app.presets.preset import Preset


def teacher_forcing(transformer: Any, preset: Preset, lanes: int | None = None) -> Any:
    """Wraps the Transformer of a preset with its loss, for `compile`, `fit` and `evaluate`.

    Args:
        transformer: a model from `Run.new_model`.
        preset: if it has windows, the model carries the memory state of documents from batch to batch.
        lanes: number of documents read in parallel; by default the preset's.

    Returns:
        A `TeacherForcing` or a `DocumentTeacherForcing`.
    """
    from models.teacher_forcing import DocumentTeacherForcing, TeacherForcing

    smoothing, documents = preset.training.label_smoothing, preset.documents
    if documents.windows == "off":
        return TeacherForcing(transformer, smoothing)
    own_choices = preset.training.memory_tokens == "own"
    return DocumentTeacherForcing(transformer, smoothing, lanes or documents.lanes, own_choices)
