"""How many bytes memory states take."""

from typing import Any

import keras
from keras import ops


def state_bytes(transformer: Any) -> int:
    """What a `models.document.DocumentTransformer` carries from one window of a document to the next, in bytes."""
    return sum(ops.convert_to_numpy(leaf).nbytes for leaf in keras.tree.flatten(transformer.initial_memory(1)))
