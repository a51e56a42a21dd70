"""How a memory was used over a document: how far the reading gates were open, and what became of the slots."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.figure import LIGHT_TO_DARK, LINE, colours, curve, every

Records = Sequence[Mapping[str, Any]]
SIDES = {"source": "encoder", "target": "decoder"}


def draw_gates(figure: Any, records: Records) -> None:
    """Draws the mean of the reading gates in each segment, and a band that holds nine tenths of the pieces.

    Args:
        figure: an empty Matplotlib figure.
        records: one for each segment of a document, in order; see `app.translation.inspection.inspect_window`.
    """
    axis, places = figure.subplots(), np.arange(1, len(records) + 1)
    means = {}
    for number, (side, stack) in enumerate(SIDES.items()):
        gates = [np.asarray(record[f"{side}_gates"], "float64") for record in records]
        means[stack] = np.array([each.mean() for each in gates])
        low, high = (np.array([np.quantile(each, share) for each in gates]) for share in (0.05, 0.95))
        look = curve(number)
        axis.fill_between(places, low, high, color=look["color"], alpha=0.15, linewidth=0)
        for edge in (low, high):
            axis.plot(places, edge, color=look["color"], linestyle=look["linestyle"], linewidth=0.5)
        axis.plot(places, means[stack], **look, markevery=every(len(places), 20), label=f"{stack}, mean of its pieces")
    stack = max(means, key=lambda name: means[name].max())
    segment, gate = int(means[stack].argmax()) + 1, means[stack].max()
    axis.set_title(f"The memory is read most by the {stack} in segment {segment:,}: its gate is {gate:.2f} open there")
    axis.set_xlabel("segment of the document (band: nine tenths of the pieces)")
    axis.set_ylabel("reading gate, 0 closed to 1 open")
    axis.set_ylim(bottom=0)
    axis.set_xlim(0.5, len(places) + 0.5)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(True)
    axis.legend()


def slots_size(records: Records) -> tuple[float, float]:
    """Width and height of the figure of `draw_slots`, in inches."""
    return min(12.0, max(7.0, 0.12 * len(records) + 2)), 7.5


def draw_slots(figure: Any, records: Records) -> None:
    """Draws the share of each slot that every window overwrote, and the share of reading attention each slot got."""
    writes = np.array([record["writes"] for record in _windows(records)])
    maps = {
        f"A window writes {100 * writes.mean():.1f}% of the slots anew, on average": (writes, "window", "written anew")
    }
    for side, stack in SIDES.items():
        read = np.array([record[f"{side}_slots"] for record in records])
        most = int(read.mean(axis=0).argmax())
        share = f"{100 * read.mean(axis=0)[most]:.1f}%, where an even share is {100 / read.shape[1]:.1f}%"
        maps[f"The {stack} reads slot {most} most: {share}"] = (read, "segment", "of the attention")
    axes = figure.subplots(len(maps), 1)
    for axis, (title, (values, what, share)) in zip(axes, maps.items(), strict=True):
        extent = (0.5, len(values) + 0.5, values.shape[1] - 0.5, -0.5)
        image = axis.imshow(values.T, cmap=colours(LIGHT_TO_DARK), vmin=0, aspect="auto", extent=extent)
        axis.set_title(title)
        axis.set_xlabel(f"{what} of the document")
        axis.set_ylabel("slot")
        for direction in (axis.xaxis, axis.yaxis):
            direction.get_major_locator().set_params(integer=True)
        axis.spines[:].set_visible(True)
        scale = figure.colorbar(image, ax=axis, pad=0.015, aspect=12)
        scale.outline.set_edgecolor(LINE)
        scale.set_label(f"share {share}")


def _windows(records: Records) -> list[Mapping[str, Any]]:
    """One record for each window."""
    found = {record["window"]: record for record in records}
    return [found[window] for window in sorted(found)]
