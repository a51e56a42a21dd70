"""Training on one batch again and again, with TensorFlow and with JAX, compared with keras-hub.

XLA compiles for each batch shape. With one shape it is seen at its best, and no peer waits for compilation.
"""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

from app.bench.contestant import Contestant
from app.bench.shapes import Shape
from app.bench.training import PRECISIONS, in_turns, specification
from data.errors import UserError

BACKENDS = ("tensorflow", "jax")
MODULES = {"ours": "ours_training", "keras-hub": "keras_hub_training"}
BATCHES = 9  # of which the one with a median number of tokens is trained on


def units(repeat: int) -> int:
    """How many steps of the progress bar `measure` takes."""
    return len(PRECISIONS) * (1 + len(BACKENDS) * len(MODULES) * (1 + repeat))


def measure(shape: Shape, corpus: str, repeat: int, folder: Path, step: Callable) -> dict:
    """Measures all backends on one shape.

    Args:
        shape: the model and its batch.
        corpus: where the batch comes from.
        repeat: turns; in each turn every contestant does the same updates.
        folder: for text, runs and logs; what is in it is replaced.
        step: called with a line for the progress bar whenever a unit of work begins.

    Returns:
        For JSON: for each precision, "ours, jax" and the like to rates or an error.

    Raises:
        UserError: JAX is not installed.
    """
    if not importlib.util.find_spec("jax"):
        raise UserError("JAX is not installed; `make test-backends` installs it into .venv")
    found = {}
    for precision in PRECISIONS:
        inside = folder / precision
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir(parents=True)
        changes = [*shape.changes(corpus), f"training.precision={precision}"]
        spec = specification(shape, changes, inside)
        step(f"{shape.name}: text")
        with Contestant("text", {**spec, "batches": BATCHES}, log=inside / "text.log") as one:
            one.answer()
        settings = {
            f"{name}, {backend}": {"precision": precision, "jit": backend == "jax"}
            for backend in BACKENDS
            for name in MODULES
        }

        def start(name: str, setting: dict, spec: dict = spec, inside: Path = inside) -> Contestant:
            contestant, backend = name.split(", ")
            run = inside / f"{contestant}-{backend}-run"
            if contestant == "ours":
                shutil.copytree(inside / "run", run)
            wanted = {**spec, "mode": "turns", "setting": setting, "run": str(run), "extra": 0, "one_batch": True}
            log = inside / f"{contestant}-{backend}.log"
            return Contestant(MODULES[contestant], wanted, log=log, variables={"KERAS_BACKEND": backend})

        found[precision] = in_turns(shape, settings, start, repeat, step)
    return {"shape": shape.as_dict(), "precisions": found}
