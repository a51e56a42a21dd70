"""The style of all figures, and how a figure is rendered to files.

Curves differ in colour, marker and line style, bars in colour and hatching, and heat maps in lightness alone. So every
figure can be read in print without colour, and with any kind of colour vision.
"""

import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any

INK, FAINT, LINE = "#1f2d3d", "#5c6875", "#d5dbe1"
# The palette of Okabe and Ito 2008, "Color Universal Design", https://jfly.uni-koeln.de/color, without its yellow,
# which is too light for a line. Neighbours differ in lightness as well.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#000000", "#cc79a7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++")
# From light to dark; and from orange, the lighter end, through white to dark blue.
LIGHT_TO_DARK = ("#ffffff", "#cfe3f1", "#5ba4d0", "#0072b2", "#00263c")
AROUND_ZERO = ("#d98a00", "#f6dcae", "#ffffff", "#9cc7e2", "#00486f")

SIZE = (7.0, 4.0)  # inches
STYLE: dict[str, Any] = {
    "figure.dpi": 96,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "font.size": 10,
    "text.color": INK,
    # A dollar sign is just that: labels are often translated text.
    "text.parse_math": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": f"cycler('color', {list(COLOURS)})",
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#e3e8ec",
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "lines.solid_capstyle": "round",
    "hatch.color": "white",
    "legend.frameon": False,
    "image.interpolation": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "weitblick",
}
_METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {"Software": None}}


def curve(number: int) -> dict[str, Any]:
    """Colour, marker and line style of curve `number` (from 0), as arguments of `Axes.plot`."""
    looks = {"color": COLOURS, "marker": MARKERS, "linestyle": LINES}
    return {name: values[number % len(values)] for name, values in looks.items()}


def hatched(number: int) -> dict[str, Any]:
    """Colour and hatching of the group of bars `number` (from 0), as arguments of `Axes.bar`."""
    return {"color": COLOURS[number % len(COLOURS)], "hatch": HATCHES[number % len(HATCHES)]}


def every(count: int, most: int = 10) -> int:
    """The `markevery` of a curve of `count` points: every nth point has a marker, at most `most` of them."""
    return max(1, -(-count // most))


def colours(shades: tuple[str, ...]) -> Any:
    """A colour map of `LIGHT_TO_DARK` or `AROUND_ZERO`; needs Matplotlib."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("weitblick", shades)


def beside(axis: Any) -> None:
    """Puts the legend to the right of an axis."""
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def render(
    name: str, fill: Callable[[Any], None], size: tuple[float, float] = SIZE, kinds: tuple[str, ...] = ("svg", "png")
) -> Mapping[str, bytes] | None:
    """Renders a figure; returns the content of each file by kind, or None if Matplotlib is not installed.

    Args:
        name: of the figure; equal results give identical files. The text of an SVG can be searched.
        fill: draws into an empty Matplotlib figure.
        size: width and height in inches.
        kinds: which files, "svg" or "png".
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return None
    found = {}
    with rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # A letter that the font lacks becomes a box in a PNG; an SVG keeps the letter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=size)
        fill(figure)
        for kind in kinds:
            content = io.BytesIO()
            figure.savefig(content, format=kind, metadata=_METADATA[kind])
            found[kind] = content.getvalue()
    return found


def svg(name: str, fill: Callable[[Any], None], size: tuple[float, float] = SIZE) -> bytes | None:
    """Like `render`, but only for an SVG."""
    found = render(name, fill, size, ("svg",))
    return found["svg"] if found else None
