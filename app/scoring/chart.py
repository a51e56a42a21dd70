"""Plots BLEU against the number of segments corrected so far."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.figure import beside, curve, svg
from app.scoring.metrics import LengthScore
from data.errors import UserError
from data.files import atomic_write
from data.installing import extra_command


def draw_corrected(texts: Mapping[str, Sequence[LengthScore]], path: str | Path) -> None:
    """Writes the curves as SVG: with corrections, and dashed without them.

    Args:
        texts: the scores of each text, by its name; see `app.scoring.metrics.bleu_by_position`.
        path: the file.

    Raises:
        UserError: Matplotlib is not installed.
    """
    content = svg("corrected", lambda figure: _fill(figure.subplots(), texts))
    if content is None:
        raise UserError(f"the figure needs Matplotlib: {extra_command('plots')}")
    with atomic_write(path) as file:
        file.write(content)


def _fill(axis: Any, texts: Mapping[str, Sequence[LengthScore]]) -> None:
    every = sorted((score for scores in texts.values() for score in scores), key=lambda score: score.low)
    labels = list(dict.fromkeys(map(str, every)))
    for number, (name, scores) in enumerate(texts.items()):
        look, places = curve(number), [labels.index(str(score)) for score in scores]
        axis.plot(places, [score.bleu for score in scores], **{**look, "linestyle": "-"}, label=name)
        if all(score.baseline is not None for score in scores):
            look |= {"linestyle": "--", "linewidth": 1, "markerfacecolor": "white"}
            axis.plot(places, [score.baseline for score in scores], **look)
    axis.set_title("BLEU of what follows, while a document is corrected from its beginning")
    axis.set_xticks(range(len(labels)), labels)
    axis.set_xlabel("segments of the document corrected before (dashed, hollow: without corrections)")
    axis.set_ylabel("BLEU")
    beside(axis)
