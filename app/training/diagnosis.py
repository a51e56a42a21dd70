"""Locates the source of a non-finite number."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from app.runs.run import Run
from app.runs.weights import assign_variables, read_variables, split_variables
from app.training.preparation import Prepared
from app.training.state import sync

if TYPE_CHECKING:
    from app.training.supervisor import NotFinite

SHOWN = 60
TOO_FAR = (
    "the preceding updates went too far; start another run with a lower training.learning_rate, a longer "
    "training.warmup, or training.clip_norm = 1"
)


def explain(run: Run, prepared: Prepared, model: Any, fresh: Any, error: "NotFinite") -> str:
    """Explains what happened, whether the batch or the preceding updates caused it, and what to do.

    Args:
        run: the run, for its checkpoints.
        prepared: the text, to recreate the batch.
        model: the `TeacherForcing` model in its failed state.
        fresh: a Transformer with the weights from the start of training.
        error: the supervisor's `NotFinite`.

    Returns:
        The text of a one-line error.
    """
    sync(model)
    update = error.batch // run.preset.training.accumulate + 1
    found = run.checkpoints.latest(lambda _: None)
    origin = "from the start of training"
    if found:
        assign_variables(split_variables(fresh)[0], found[0].weights(), found[0].folder)
        origin = f"from the last good checkpoint, after update {found[0].update:,}"
    largest = _largest(fresh)
    inputs, labels = next(prepared.batches.stream(error.batch))
    place, rows = first_not_finite(fresh, inputs)
    accident = f"training stopped in update {update:,}: {error.what} ({_broken(model)})"
    if place is None:
        return f"{accident}. With other weights ({origin}), this batch gives finite numbers: {TOO_FAR}"
    where = f"the first non-finite output is that of {place}"
    if len(rows) == len(labels):
        return (
            f"{accident}. It also fails with other weights ({origin}): {where}, and {largest}. {TOO_FAR.capitalize()}"
        )
    tokenizer, row = prepared.tokenizer, rows[0]
    sides = ((tokenizer.source, inputs["source"]), (tokenizer.target, labels))
    texts = [side.decode([tokens[row].tolist()])[0] for side, tokens in sides]
    return (
        f"{accident}. It also fails with other weights ({origin}): {where}, for {len(rows)} of {len(labels)} pairs "
        f"of the batch, the first being {_short(texts[0])} = {_short(texts[1])}. Fix or leave out such pairs and "
        "start another run"
    )


def first_not_finite(transformer: Any, inputs: dict) -> tuple[str | None, list[int]]:
    """Finds the first layer whose output is not finite.

    Args:
        transformer: a Transformer that will not be used afterwards.
        inputs: {"source": (B, S), "target": (B, T)}.

    Returns:
        The layer's path and the affected rows of the batch; None and an empty list if everything is finite.
    """
    found = []

    def watch(layer):
        call = layer.call

        def watched(*args, **kwargs):
            output = call(*args, **kwargs)
            first = keras.tree.flatten(output)[0]
            rows = _rows_not_finite(first)
            if rows and not found:
                found.append((layer.path.partition("/")[2], rows))
            return output

        layer.call = watched

    for layer in dict.fromkeys([*transformer.layers_in_order, *getattr(transformer, "memory_layers", ())]):
        watch(layer)
    logits = transformer(inputs, training=False)
    if not found and (rows := _rows_not_finite(logits)):
        found.append(("the output layer", rows))
    return found[0] if found else (None, [])


def _rows_not_finite(tensor) -> list[int]:
    values = ops.convert_to_numpy(ops.cast(tensor, "float32"))
    return np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1)).tolist()


def _largest(transformer) -> str:
    weights = read_variables(split_variables(transformer)[0])
    sizes = {name: float(np.abs(array).max()) for name, array in weights.items()}
    name = max(sizes, key=sizes.get)
    return f"the largest weight is {sizes[name]:.3g}, in {name}"


def _broken(model) -> str:
    weights = read_variables(split_variables(model.transformer)[0])
    broken = [name for name, array in weights.items() if not np.isfinite(array).all()]
    if not broken:
        return "the weights are finite"
    return f"after it {len(broken)} of {len(weights)} weights are not finite, the first is {broken[0]}"


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + " ...")
