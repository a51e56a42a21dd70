"""Averages the weights of several checkpoints: nearly free, and usually worth half a BLEU point or more."""

import numpy as np

from app.run import AVERAGED, Run
from app.weights import save_arrays
from data.errors import UserError


def average(run: Run, last: int | None = None, report=print) -> list[int]:
    """Writes the mean of some checkpoints' weights as the run's `averaged.npz`.

    Args:
        run: the run.
        last: how many checkpoints; by default the preset's `training.average`, taken at the end or around the best one
            as `training.average_around` says.
        report: where a line about damaged checkpoints goes.

    Returns:
        The update numbers that were averaged.

    Raises:
        UserError: the run has no whole checkpoint.

    References:
        Vaswani et al. 2017, section 6.1.
    """
    training = run.preset.training
    around = _best(run) if last is None and training.average_around == "best" else None
    chosen = _choose(_whole(run, report), last or training.average, around)
    if not chosen:
        raise UserError(f"{run.path}: there is no checkpoint to average yet: train first")
    total = {}
    for checkpoint in chosen:
        for name, array in checkpoint.weights().items():
            total[name] = total.get(name, 0) + array.astype("float64")
    mean = {name: (array / len(chosen)).astype(np.float32) for name, array in total.items()}
    updates = [checkpoint.update for checkpoint in chosen]
    run.write_summary(averaged={"updates": updates, "checksum": save_arrays(run.path / AVERAGED, mean)})
    return updates


def _whole(run, report):
    whole = []
    for checkpoint in run.checkpoints.all():
        try:
            checkpoint.summary()
            whole.append(checkpoint)
        except UserError as error:
            report(f"warning: {error}; left out of the average")
    return whole


def _best(run) -> int | None:
    found = run.checkpoints.latest()
    best = found[1].get("best") if found else None
    return best["update"] if best else None


def _choose(checkpoints, count, around):
    if around is None:
        return checkpoints[-count:]
    nearest = sorted(checkpoints, key=lambda checkpoint: abs(checkpoint.update - around))[:count]
    return sorted(nearest, key=lambda checkpoint: checkpoint.update)
