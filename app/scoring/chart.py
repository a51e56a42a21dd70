"""Plots BLEU against the number of segments corrected so far."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.scoring.metrics import LengthScore
from data.errors import UserError
from data.files import atomic_write

_INK, _FAINT = "#1f2d3d", "#6b7785"
_COLOURS = ("#e0762f", "#2868b0", "#2f9b72", "#8a5fb3", "#b8336a", "#8c6d1f")


def draw_corrected(texts: Mapping[str, Sequence[LengthScore]], path: str | Path) -> None:
    """Writes the curves as SVG: with corrections, and dashed without them.

    Args:
        texts: the scores of each text, by its name; see `app.scoring.metrics.bleu_by_corrected`.
        path: the file.

    Raises:
        UserError: Matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("the figure needs Matplotlib: pip install matplotlib") from error
    # Equal results give an identical file, with searchable text.
    style = {"svg.hashsalt": "corrected", "svg.fonttype": "none", "text.color": _INK, "axes.labelcolor": _INK}
    with rc_context({**style, "xtick.color": _FAINT, "ytick.color": _FAINT, "font.size": 10}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        _fill(figure.subplots(), texts)
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    with atomic_write(path) as file:
        file.write(content.getvalue())


def _fill(axis: Any, texts: Mapping[str, Sequence[LengthScore]]) -> None:
    labels = list(dict.fromkeys(str(score) for scores in texts.values() for score in sorted(scores, key=_low)))
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


def _low(score: LengthScore) -> int:
    return score.low
