"""What a model looked at in a sentence: the decoder's attention to the source, and the alignment of words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.figure import LIGHT_TO_DARK, LINE, colours
from app.translation.attention import Attention

# A map with at most this many cells has numbers in them.
_WRITTEN = 260
_CELL = 0.3  # inches
_LETTER = 0.075
_TITLE: dict[str, Any] = {"fontsize": 10.5, "x": 0.01, "ha": "left"}


def attention_size(found: Attention) -> tuple[float, float]:
    """Width and height of the figure of `draw_attention`, in inches."""
    layers, _, target, source = found.weights.shape
    width = layers * source * 0.22 + _widest(found.target) + 1.0
    return max(5.0, width), max(2.4, target * 0.2 + _widest(found.source) + 1.0)


def draw_attention(figure: Any, found: Attention) -> None:
    """Draws, for each layer, what each piece of the translation attends to in the source; mean over heads."""
    maps = found.weights.mean(axis=1)
    axes = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
    for number, (axis, weights) in enumerate(zip(axes, maps, strict=True), start=1):
        image = _map(axis, weights, found.source, found.target)
        axis.set_title(f"layer {number}", loc="center", fontsize=9)
    axes[0].set_ylabel("translation, piece by piece")
    heads = found.weights.shape[1]
    figure.suptitle(f"What each piece of the translation attended to in the source: mean of {heads} heads", **_TITLE)
    figure.supxlabel("source, piece by piece", fontsize=10)
    _scale(figure, image, axes, "share of the attention")


def alignment_size(found: Attention) -> tuple[float, float]:
    """Width and height of the figure of `draw_alignment`, in inches."""
    source, target, _ = found.alignment()
    return max(5.0, len(source) * 0.42 + _widest(target) + 1.4), max(2.4, len(target) * _CELL + _widest(source) + 0.9)


def draw_alignment(figure: Any, found: Attention) -> None:
    """Draws the soft alignment of words, with a frame around the largest share of each word of the translation."""
    source, target, weights = found.alignment()
    axis = figure.subplots()
    image = _map(axis, weights, source, target)
    for row, column in enumerate(weights.argmax(axis=1)):
        axis.add_patch(_frame(column, row))
    for (row, column), share in np.ndenumerate(weights):
        if weights.size <= _WRITTEN and round(100 * share) >= 5:
            colour = "white" if share > 0.65 * weights.max() else "black"
            axis.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axis.set_xlabel("source")
    axis.set_ylabel("translation")
    figure.suptitle("Soft alignment: where each word's attention lies, %", **_TITLE)
    if weights.size > _WRITTEN:
        _scale(figure, image, [axis], "share of the attention")


def _map(axis: Any, weights: np.ndarray, columns: Sequence[str], rows: Sequence[str]) -> Any:
    image = axis.imshow(weights, cmap=colours(LIGHT_TO_DARK), vmin=0, vmax=float(weights.max()), aspect="auto")
    axis.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.tick_params(length=0, labelcolor="black")
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color(LINE)
    return image


def _frame(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.4, clip_on=False, zorder=3
    )


def _scale(figure: Any, image: Any, axes: Sequence[Any], label: str) -> None:
    scale = figure.colorbar(image, ax=list(axes), pad=0.015, aspect=24)
    scale.outline.set_edgecolor(LINE)
    scale.set_label(label)


def _widest(texts: Sequence[str]) -> float:
    return max(map(len, texts)) * _LETTER
