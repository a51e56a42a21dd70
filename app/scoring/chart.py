"""Plots BLEU against the number of segments corrected so far."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.figure import svg
from app.scoring.metrics import LengthScore
from data.errors import UserError
from data.files import atomic_write

_COLOURS = ("#e0762f", "#2868b0", "#2f9b72", "#8a5fb3", "#b8336a", "#8c6d1f")


def draw_corrected(texts: Mapping[str, Sequence[LengthScore]], path: str | Path) -> None:
    """Writes the curves as SVG: with corrections, and dashed without them.

    Args:
        texts: the scores of each text, by its name; see `app.scoring.metrics.bleu_by_corrected`.
        path: the file.

    Raises:
        UserError: Matplotlib is not installed.
    """
    content = svg("corrected", lambda axis: _fill(axis, texts))
    if content is None:
        raise UserError("the figure needs Matplotlib: pip install matplotlib")
    with atomic_write(path) as file:
        file.write(content)


def _fill(axis: Any, texts: Mapping[str, Sequence[LengthScore]]) -> None:
    every = sorted((score for scores in texts.values() for score in scores), key=lambda score: score.low)
    labels = list(dict.fromkeys(map(str, every)))
    for number, (name, scores) in enumerate(texts.items()):
        colour, places = _COLOURS[number % len(_COLOURS)], [labels.index(str(score)) for score in scores]
        axis.plot(places, [score.bleu for score in scores], color=colour, marker="o", markersize=5, label=name)
        if all(score.baseline is not None for score in scores):
            axis.plot(places, [score.baseline for score in scores], color=colour, linestyle="--", linewidth=1)
    axis.set_xticks(range(len(labels)), labels)
    axis.set_xlabel("segments of the document corrected before (dashed: without corrections)")
    axis.set_ylabel("BLEU")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
