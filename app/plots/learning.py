"""Learning curves: the loss of training and validation, and BLEU, against updates or hours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.figure import beside, curve

# Points of a training curve, each the mean of an equal number of log entries.
_POINTS = 80

Log = Sequence[Mapping[str, Any]]
UPDATES, HOURS = "updates", "hours"


def has_curve(log: Log) -> bool:
    """Whether there is anything to draw."""
    return any("nll" in entry for entry in log)


def with_times(log: Log) -> Log:
    """The entries that say how long the training had taken; earlier versions wrote no times."""
    return [entry for entry in log if "seconds" in entry]


def draw_learning(figure: Any, logs: Mapping[str, Log], by: str = UPDATES) -> None:
    """Draws one curve of training and one of validation for each run; BLEU of validation below, if it was measured.

    Args:
        figure: an empty Matplotlib figure.
        logs: the entries of the log of each run, by its name.
        by: what the curves are drawn against: `UPDATES`, or `HOURS`, for which all entries must have times.
    """
    validations = {name: _validations(log, by) for name, log in logs.items()}
    measured = {name: [each for each in found if "bleu" in each] for name, found in validations.items()}
    panels = figure.subplots(2 if any(measured.values()) else 1, sharex=True, squeeze=False)[:, 0]
    for number, (name, log) in enumerate(logs.items()):
        look, prefix = curve(number), f"{name}: " if len(logs) > 1 else ""
        places, losses = _training(log, by)
        thin = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 0.9, "alpha": 0.75}
        panels[0].plot(places, losses, **thin, label=f"{prefix}training,\nwith dropout")
        for axis, key, found in zip(panels, ("nll", "bleu"), (validations[name], measured[name]), strict=False):
            points = [each["place"] for each in found], [each[key] for each in found]
            if found:
                axis.plot(*points, **look, label=f"{prefix}validation")
    panels[0].set_title(_title(validations, by))
    panels[0].set_ylabel("loss, nats a token")
    for axis in panels:
        axis.grid(True)
        axis.margins(y=0.08)
    beside(panels[0])
    if len(panels) > 1:
        panels[1].set_ylabel("BLEU of validation")
        panels[1].set_ylim(0, 1.08 * panels[1].dataLim.ymax or 1)
    panels[-1].set_xlabel("hours of training" if by == HOURS else UPDATES)
    panels[-1].xaxis.set_major_formatter("{x:,g}" if by == HOURS else "{x:,.0f}")


def _place(entry: Mapping[str, Any], by: str) -> float:
    return entry["seconds"] / 3600 if by == HOURS else entry["update"]


def _validations(log: Log, by: str) -> list[dict[str, Any]]:
    return [{"place": _place(entry, by), **entry["validation"]} for entry in log if "validation" in entry]


def _training(log: Log, by: str = UPDATES) -> tuple[list[float], list[float]]:
    """The means of updates, or hours, and losses over equal numbers of entries."""
    entries = [(_place(entry, by), entry["nll"]) for entry in log if "nll" in entry]
    groups = np.array_split(np.array(entries, "float64").reshape(-1, 2), max(1, min(_POINTS, len(entries))))
    means = np.array([group.mean(axis=0) for group in groups if len(group)]).reshape(-1, 2)
    return means[:, 0].tolist(), means[:, 1].tolist()


def _title(validations: Mapping[str, list[dict[str, Any]]], by: str) -> str:
    found = [(each["nll"], name, each["place"]) for name, own in validations.items() for each in own]
    if not found:
        return "Loss in training; no validation yet"
    loss, name, place = min(found)
    when = f"{place:.2g} hours" if by == HOURS else f"{place:,} updates"
    whose = f", with {name}" if len(validations) > 1 else ""
    return f"Validation loss is lowest, {loss:.2f} nats a token, after {when}{whose}"
