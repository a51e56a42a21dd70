"""What a training of a preset lowers, and a validation looks at."""

from app.preset import Preset


def teacher_forcing(transformer, preset: Preset):
    """Wraps the Transformer of a preset with its loss, for `compile`, `fit` and `evaluate`.

    Args:
        transformer: of `Run.new_model`.
        preset: documents in windows are read by a model that carries their memory from batch to batch.

    Returns:
        A `TeacherForcing` or a `DocumentTeacherForcing`.
    """
    from models.teacher_forcing import DocumentTeacherForcing, TeacherForcing

    smoothing, documents = preset.training.label_smoothing, preset.documents
    if documents.windows == "off":
        return TeacherForcing(transformer, smoothing)
    return DocumentTeacherForcing(
        transformer, smoothing, documents.lanes, preset.training.memory_tokens == "own"
    )
