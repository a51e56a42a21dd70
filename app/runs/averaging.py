"""Averages the weights of several checkpoints, which costs little and usually gains half a BLEU point or more."""

from collections.abc import Callable

import numpy as np

from app.runs.checkpoints import nearest, to_stderr
from app.runs.run import Run
from data.errors import UserError


def average(run: Run, last: int | None = None, report: Callable[[str], None] = to_stderr) -> list[int]:
    """Writes the mean of some checkpoints' weights as the run's `averaged.npz`; the caller must hold the run's lock.

    Args:
        run: the run.
        last: how many checkpoints; by default the preset's `training.average`, taken at the end or around the best one
            as `training.average_around` defines.
        report: called with a line for each damaged checkpoint.

    Returns:
        The update numbers that were averaged.

    Raises:
        UserError: the run has no intact checkpoint.

    References:
        Vaswani et al. 2017, section 6.1.
    """
    intact = _intact(run, report)
    chosen = [intact[update] for update in _choose(run, list(intact), last)]
    if not chosen:
        raise UserError(f"{run.path}: there is no checkpoint to average yet: train first")
    total = {}
    for checkpoint in chosen:
        for name, array in checkpoint.weights().items():
            total[name] = total.get(name, 0) + array.astype("float64")
    mean = {name: (array / len(chosen)).astype(np.float32) for name, array in total.items()}
    updates = [checkpoint.update for checkpoint in chosen]
    run.save_average(mean, updates)
    return updates


def _intact(run, report) -> dict:
    """The checkpoints that are not damaged, by update."""
    intact = {}
    for checkpoint in run.checkpoints.all():
        try:
            checkpoint.summary()
            intact[checkpoint.update] = checkpoint
        except UserError as error:
            report(f"warning: {error}; left out of the average")
    return intact


def _choose(run, updates: list[int], last: int | None) -> list[int]:
    training = run.preset.training
    if last is None and training.average_around == "best":
        best = _best(run)
        if best:
            return nearest(updates, best, training.average)
    return updates[-(last or training.average) :]


def _best(run) -> int | None:
    found = run.checkpoints.latest()
    best = found[1].get("best") if found else None
    return best["update"] if best else None
