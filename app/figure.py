"""Figures as SVG."""

import io
from collections.abc import Callable
from typing import Any

INK, FAINT = "#1f2d3d", "#6b7785"


def svg(name: str, fill: Callable[[Any], None]) -> bytes | None:
    """A figure of one diagram as the content of an SVG file; None where Matplotlib is not installed.

    Args:
        name: of the figure; equal results give an identical file, with searchable text.
        fill: draws into a Matplotlib axis.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return None
    style = {"svg.hashsalt": name, "svg.fonttype": "none", "text.color": INK, "axes.labelcolor": INK}
    with rc_context({**style, "xtick.color": FAINT, "ytick.color": FAINT, "font.size": 10}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        fill(figure.subplots())
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
