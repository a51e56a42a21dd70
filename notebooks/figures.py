"""The pictures of the notebooks: a few kinds of plot in one style, so that a cell needs one line for its figure."""

import os
import textwrap

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator, NullFormatter

from app.figure import (
    AROUND_ZERO,
    COLOURS,
    FAINT,
    INK,
    LIGHT_TO_DARK,
    LINE,
    STYLE,
    beside,
    colours,
    curve,
    every,
    hatched,
)

WEIGHTS, SIGNED = colours(LIGHT_TO_DARK), colours(AROUND_ZERO)
ALLOWED = ListedColormap(["#e9edf1", COLOURS[0]])
_GROUPS = ["#f3f5f7", "#f6dcae", "#cfe3f1", "#bfe3d6", "#edd3e2"]


def masks(panels, rows=None, columns=None, xlabel="may look at ...", ylabel="position"):
    """Boolean matrices side by side: blue for "may attend".

    Args:
        panels: title to boolean matrix (rows, columns).
        rows, columns: labels of the cells; numbers by default.
        xlabel, ylabel: labels of every panel, and of the first one.
    """
    with plt.rc_context(STYLE):
        matrices = [np.asarray(matrix) for matrix in panels.values()]
        figure, axes = _panels(len(panels), 0.34, matrices)
        for axis, title, matrix in zip(axes, panels, matrices, strict=True):
            axis.imshow(matrix, cmap=ALLOWED, vmin=0, vmax=1)
            _grid(axis, matrix.shape)
            axis.set_title(title, pad=8)
            axis.set_xlabel(xlabel)
            _ticks(axis, rows, columns, matrix.shape)
        axes[0].set_ylabel(ylabel)
        plt.show()


def heatmaps(panels, rows=None, columns=None, xlabel="", ylabel="", signed=False, cell=None, share=True, bar=""):
    """Matrices of numbers side by side, all in the same colours.

    Args:
        panels: title to matrix (rows, columns).
        rows, columns: labels of the cells; numbers by default.
        xlabel, ylabel: labels of every panel, and of the first one.
        signed: numbers around zero, in two colours, instead of numbers from zero up; in small matrices those clearly
            below zero have a dash.
        cell: size of a cell in inches; by default panels share the width of the page.
        share: whether the largest number of all panels sets the colours, or each panel has its own.
        bar: what the colour stands for, written at a scale next to the last panel; "" for no scale.
    """
    with plt.rc_context(STYLE):
        matrices = [np.asarray(matrix, dtype="float32") for matrix in panels.values()]
        figure, axes = _panels(len(panels), cell, matrices)
        common = max(float(np.abs(matrix).max()) for matrix in matrices)
        for axis, title, matrix in zip(axes, panels, matrices, strict=True):
            most = common if share else float(np.abs(matrix).max())
            image = axis.imshow(
                matrix,
                cmap=SIGNED if signed else WEIGHTS,
                vmin=-most if signed else 0,
                vmax=most,
                aspect="equal" if cell else "auto",
                interpolation="nearest",
            )
            if signed and matrix.size <= 800:
                axis.autoscale(False)
                below = np.argwhere(matrix < -0.1 * most)
                axis.plot(below[:, 1], below[:, 0], linestyle="", marker="_", color=INK, markersize=4)
            axis.set_title(title)
            axis.set_xlabel(xlabel)
            _ticks(axis, rows, columns, matrix.shape)
            if cell is None and rows is None:
                axis.yaxis.set_major_locator(MaxNLocator(6, integer=True))
            for spine in axis.spines.values():
                spine.set_visible(True)
        axes[0].set_ylabel(ylabel)
        if bar:
            scale = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.015, aspect=18)
            scale.outline.set_edgecolor(LINE)
            scale.set_label(bar)
        plt.show()


def lines(
    curves, xlabel="", ylabel="", title="", logx=False, logy=False, marks=None, bottom=None, styles=None, bands=None
):
    """Curves with their names next to them.

    Args:
        curves: name to y values, or to a pair of x and y values.
        xlabel, ylabel, title: texts.
        logx, logy: logarithmic axes.
        marks: name to an x value that gets a dotted line.
        bottom: lowest y shown.
        styles: name to a matplotlib line style such as "--" or "o", or "C1--" with the number of a colour.
        bands: name to low and high y values; the area between them is shaded in the curve's colour.
    """
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.6, 3.3))
        axis.grid(True)
        for number, (name, values) in enumerate(curves.items()):
            x, y = values if isinstance(values, tuple) else (np.arange(1, len(values) + 1), values)
            look = {**curve(number), "markevery": every(len(x))}
            if name in (styles or {}):
                own = {} if styles[name].startswith("C") else {"color": look["color"]}
                (line,) = axis.plot(x, y, styles[name], **own, label=name)
            else:
                (line,) = axis.plot(x, y, **look, label=name)
            if name in (bands or {}):
                axis.fill_between(x, *bands[name], color=line.get_color(), alpha=0.15, linewidth=0)
        axis.set(xlabel=xlabel, ylabel=ylabel)
        axis.set_title(title)
        for side, is_log in (("x", logx), ("y", logy)):
            if is_log:
                axis.set(**{f"{side}scale": "log"})
                # Powers of ten are written with signs for formulas, which the common style leaves alone.
                getattr(axis, f"{side}axis").set_major_formatter("{x:,g}")
                getattr(axis, f"{side}axis").set_minor_formatter(NullFormatter())
        if bottom is not None:
            axis.set_ylim(bottom=bottom)
        for name, x in (marks or {}).items():
            axis.axvline(x, color=FAINT, linewidth=1, linestyle=":")
            axis.annotate(
                name,
                (x, 0),
                (5, 6),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                color=FAINT,
                fontsize=9,
            )
        if len(curves) > 1:
            beside(axis)
        plt.show()


def bars(groups, labels, ylabel="", title="", errors=None, form="{:.1f}", top=None, xlabel=""):
    """Bars side by side, each with its number.

    Args:
        groups: name to values, one for each label.
        labels: the texts below the bars.
        ylabel, xlabel, title: texts.
        errors: name to half-widths of intervals, one for each label.
        form: how a number is written; "" for no numbers.
        top: highest y shown.
    """
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.6, 3.3))
        axis.grid(True, axis="y")
        width = 0.8 / len(groups) if len(groups) > 1 else 0.5
        for number, (name, values) in enumerate(groups.items()):
            x = np.arange(len(labels)) + (number - (len(groups) - 1) / 2) * width
            spread = errors[name] if errors else None
            drawn = axis.bar(
                x,
                values,
                width * 0.9,
                **hatched(number),
                label=name,
                yerr=spread,
                error_kw={"ecolor": INK, "elinewidth": 1.2, "capsize": 4},
            )
            if form:
                axis.bar_label(drawn, [form.format(value) for value in values], padding=3, fontsize=9)
        axis.set_xticks(np.arange(len(labels)), labels)
        axis.tick_params(axis="x", length=0, labelcolor=INK)
        axis.set(xlabel=xlabel, ylabel=ylabel)
        axis.set_title(title)
        axis.set_ylim(min(0, 1.12 * axis.dataLim.ymin), top or 1.12 * axis.dataLim.ymax or 1)
        if len(groups) > 1:
            beside(axis)
        plt.show()


def density(x, y, xlabel="", ylabel="", title="", limit=None):
    """Where many points are, with the diagonal on which both numbers are equal."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(5.2, 4.2))
        limit = limit or max(max(x), max(y))
        axis.plot([0, limit], [0, limit], color=FAINT, linewidth=1, linestyle="--", zorder=3)
        drawn = axis.hexbin(
            x, y, gridsize=32, extent=(0, limit, 0, limit), cmap=WEIGHTS, mincnt=1, bins="log", linewidths=0.2
        )
        axis.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, limit), ylim=(0, limit))
        axis.set_title(title)
        scale = figure.colorbar(drawn, ax=axis, pad=0.02, aspect=24)
        scale.outline.set_edgecolor(LINE)
        scale.set_label("pairs")
        plt.show()


def tokens(panels, names=None, groups=None):
    """Small batches of token ids as numbers in boxes, side by side.

    Args:
        panels: title to integer matrix (rows, columns).
        names: what is written for some ids, such as {2: "bos"}; padding, 0, is a dot.
        groups: title to integer matrix of the same shape: boxes with equal numbers have the same colour, 0 has none.
            By default padding, special tokens and others have one colour each.
    """
    names = {0: "·", 2: "bos", 3: "eos"} if names is None else names
    with plt.rc_context(STYLE):
        matrices = [np.asarray(matrix) for matrix in panels.values()]
        figure, axes = _panels(len(panels), 0.27, matrices)
        for axis, title, matrix in zip(axes, panels, matrices, strict=True):
            kind = np.select([matrix == 0, matrix <= 3], [0, 1], 2) if groups is None else np.asarray(groups[title])
            axis.imshow(kind, cmap=ListedColormap(_GROUPS), vmin=0, vmax=len(_GROUPS) - 1)
            _grid(axis, matrix.shape)
            axis.set_title(title)
            axis.set(xticks=[], yticks=[])
            for (row, column), id in np.ndenumerate(matrix):
                axis.text(column, row, names.get(int(id), str(id)), ha="center", va="center", fontsize=7.5)
        plt.show()


def pieces(sentences, title="", shades=None):
    """Sentences cut into pieces, each piece a coloured tile; an underscore at its start stands for a space before it.

    Args:
        sentences: label to list of pieces.
        title: text.
        shades: label to a number for each piece: the larger, the darker its tile. By default neighbours differ.
    """
    most = max(max(values) for values in shades.values()) if shades else 1
    with plt.rc_context(STYLE | {"figure.constrained_layout.use": False}):
        figure, axis = plt.subplots(figsize=(7.6, 0.52 * len(sentences) + 0.45))
        figure.subplots_adjust(left=0.1, right=0.99, bottom=0.02, top=0.8)
        axis.set_title(title)
        axis.set(xlim=(0, 1), ylim=(len(sentences) - 0.4, -0.6))
        axis.axis("off")
        for row, (label, cut) in enumerate(sentences.items()):
            axis.text(-0.01, row, label, ha="right", va="center", color=FAINT)
            x = 0.0
            for number, piece in enumerate(cut):
                colour = WEIGHTS(0.6 * shades[label][number] / most) if shades else COLOURS[number % 2] + "26"
                drawn = axis.text(
                    x,
                    row,
                    piece.replace("\u2581", "_"),
                    va="center",
                    family="monospace",
                    bbox={"boxstyle": "round,pad=0.28", "fc": colour, "ec": "none"},
                )
                box = drawn.get_window_extent(figure.canvas.get_renderer()).transformed(axis.transData.inverted())
                x = box.x1 + 0.022
        plt.show()


def ranking(texts, values, xlabel="", title="", form="{:.2f}"):
    """Texts, each with a bar as long as its value; the values are negative and the best comes first.

    Args:
        texts: one for each bar.
        values: negative numbers, such as log-probabilities.
        xlabel, title: texts.
        form: how a number is written.
    """
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.6, 0.42 * len(texts) + 0.9))
        places = np.arange(len(texts))
        axis.barh(places, values, height=0.6, color=[COLOURS[0]] + [COLOURS[0] + "80"] * (len(texts) - 1))
        for place, value in zip(places, values, strict=True):
            text = form.format(value).replace("-", "\u2212")
            axis.annotate(text, (value, place), (5, 0), textcoords="offset points", va="center", fontsize=9)
        axis.set_yticks(places, [textwrap.shorten(text, 52, placeholder=" ...") for text in texts])
        axis.tick_params(axis="y", length=0, labelcolor=INK)
        axis.invert_yaxis()
        axis.set_xlim(0, 1.12 * min(values))
        axis.set_xlabel(xlabel)
        axis.set_title(title)
        plt.show()


def neighbours(panels, xlabel="", limit=1.0):
    """Short lists side by side, each text with a bar as long as its number, from 0 to `limit`.

    Args:
        panels: title to pairs of a text and a number.
        xlabel: label of every panel.
        limit: the largest number that a bar can show.
    """
    with plt.rc_context(STYLE):
        count = max(map(len, panels.values()))
        figure, axes = _as_row(*plt.subplots(1, len(panels), figsize=(7.6, 0.3 * count + 0.9)))
        for axis, (title, found) in zip(axes, panels.items(), strict=True):
            places, values = np.arange(len(found)), [value for _, value in found]
            axis.barh(places, values, height=0.7, color=COLOURS[0] + "66")
            axis.set_yticks(places, [text for text, _ in found])
            axis.tick_params(axis="y", length=0, labelcolor=INK)
            axis.set(xlim=(0, limit), xlabel=xlabel)
            axis.invert_yaxis()
            axis.set_title(title)
        plt.show()


def table(columns, title="", marked=(), widths=None):
    """Texts in rows and columns; marked cells are bold on a coloured ground.

    Args:
        columns: header to list of texts, all of the same length; long texts are wrapped.
        title: text.
        marked: pairs of a row's and a column's number, from 0.
        widths: widths of the columns, in any unit; equal by default.
    """
    widths = np.array(widths or [1] * len(columns), "float")
    edges = np.cumsum([0, *(7.6 * widths / widths.sum())])
    cells = [
        [textwrap.fill(text, int(14.5 * (edges[number + 1] - edges[number]))) for text in texts]
        for number, texts in enumerate(columns.values())
    ]
    heights = [0.17 * max(text.count("\n") + 1 for text in row) + 0.1 for row in zip(*cells, strict=True)]
    tops = np.cumsum([0.3, *heights])
    with plt.rc_context(STYLE | {"figure.constrained_layout.use": False}):
        figure = plt.figure(figsize=(7.6, tops[-1] + 0.35))
        axis = figure.add_axes([0, 0, 1, tops[-1] / (tops[-1] + 0.35)])
        axis.set(xlim=(0, 7.6), ylim=(tops[-1], 0))
        axis.axis("off")
        axis.set_title(title, x=0.008)
        for number, header in enumerate(columns):
            axis.text(edges[number] + 0.06, 0.15, header, va="center", color=FAINT, fontsize=9)
            for row, text in enumerate(cells[number]):
                is_marked = (row, number) in marked
                if is_marked:
                    place = (edges[number], tops[row]), edges[number + 1] - edges[number] - 0.05, heights[row]
                    axis.add_patch(plt.Rectangle(*place, color=_GROUPS[1], linewidth=0))
                weight = "bold" if is_marked else "normal"
                middle = tops[row] + heights[row] / 2
                axis.text(edges[number] + 0.06, middle, text, va="center", fontsize=8.5, fontweight=weight)
        for top in tops[:-1]:
            axis.plot([0, 7.6], [top, top], color=LINE, linewidth=0.8)
        plt.show()


def slider(draw, **positions):
    """A cell's output with sliders; it is drawn again whenever a slider is moved.

    When the notebook is executed for its file, with nobody to move a slider, the first positions are drawn.

    Args:
        draw: prints and draws; called with the value of each slider.
        positions: name to slider, a widget of ipywidgets.
    """
    if os.environ.get("WEITBLICK_STILL") == "1":
        draw(**{name: position.value for name, position in positions.items()})
        return None
    return ipywidgets.interactive(draw, **positions)


def _panels(count, cell, matrices):
    """A figure with panels side by side, as wide as their matrices if cells have a fixed size."""
    if cell is None:
        return _as_row(*plt.subplots(1, count, figsize=(7.6, 3.0), sharey=True))
    shapes = [matrix.shape for matrix in matrices]
    width = sum(columns * cell + 0.45 for _, columns in shapes) + 0.9
    height = max(rows for rows, _ in shapes) * cell + 1.1
    ratios = [columns for _, columns in shapes]
    return _as_row(*plt.subplots(1, count, figsize=(width, height), width_ratios=ratios))


def _as_row(figure, axes):
    return figure, list(np.atleast_1d(axes))


def _grid(axis, shape):
    """White lines between cells."""
    axis.set_xticks(np.arange(shape[1] + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(shape[0] + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=2)
    axis.tick_params(which="minor", length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _ticks(axis, rows, columns, shape):
    """Labels of cells; long ones are turned."""
    axis.tick_params(length=0)
    if columns is not None:
        turned = max(map(len, columns)) > 2
        axis.set_xticks(
            range(shape[1]),
            columns[: shape[1]],
            rotation=60 if turned else 0,
            ha="right" if turned else "center",
            rotation_mode="anchor" if turned else None,
        )
    elif shape[1] <= 24:
        axis.set_xticks(range(shape[1]))
    if rows is not None:
        axis.set_yticks(range(shape[0]), rows[: shape[0]])
    elif shape[0] <= 24:
        axis.set_yticks(range(shape[0]))
