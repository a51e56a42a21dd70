"""Makes what the search is measured on: a run of the base shape, its export for CTranslate2, and its arrays."""

from pathlib import Path
from typing import Any

import numpy as np

from app.bench.contestants.protocol import Channel

EOLE_POSITIONS = 5000  # rows of sinusoidal positions: EOLE expects exactly this many


def main() -> None:
    """Grows the run if the specification says so, exports it, and writes its weights as arrays if it says so."""
    channel = Channel()
    from app.bench.grow import grow
    from app.export.ctranslate2 import export
    from app.runs.run import Run

    spec = channel.spec
    run = Run.open(spec["run"])
    if spec["grow"]:
        run = grow(run, Path(spec["folder"]) / "run", **spec["grow"])
    export(run, Path(spec["folder"]) / "ctranslate2")
    if spec["arrays"]:
        write_arrays(run.load_model("auto"), spec["arrays"])
    model = run.preset.model
    layers = f"{model.encoder_layers}+{model.decoder_layers} layers of {model.width}/{model.hidden}"
    channel.send(run=str(run.path), shape=layers, vocabulary=run.tokenizer().vocabulary_size)


def write_arrays(model: Any, path: Path | str) -> None:
    """Writes a model's weights under CTranslate2's names into an .npz file, for programs that do not read `model.bin`.

    Args:
        model: a `models.transformer.Transformer`.
        path: the file.
    """
    from app.export.ctranslate2 import specification

    arrays = specification(model, EOLE_POSITIONS).variables()
    np.savez(path, **{name: array for name, array in arrays.items() if np.ndim(array)})


if __name__ == "__main__":
    main()
