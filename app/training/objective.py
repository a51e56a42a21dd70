"""The training objective of a preset, which validation evaluates as well."""

from typing import Any

from app.presets.preset import Preset


def teacher_forcing(transformer: Any, preset: Preset, lanes: int | None = None) -> Any:
    """Wraps the Transformer of a preset with its loss, for `compile`, `fit` and `evaluate`.

    Args:
        transformer: of `Run.new_model`.
        preset: documents in windows are read by a model that carries their memory from batch to batch.
        lanes: how many of them it reads side by side; the preset's by default.

    Returns:
        A `TeacherForcing` or a `DocumentTeacherForcing`.
    """
    from models.teacher_forcing import DocumentTeacherForcing, TeacherForcing

    smoothing, documents = preset.training.label_smoothing, preset.documents
    if documents.windows == "off":
        return TeacherForcing(transformer, smoothing)
    own_choices = preset.training.memory_tokens == "own"
    return DocumentTeacherForcing(transformer, smoothing, lanes or documents.lanes, own_choices)
