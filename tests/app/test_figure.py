"""The style of all figures: what print in grey and eyes of all kinds need to tell curves apart."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from app.figure import AROUND_ZERO, COLOURS, LIGHT_TO_DARK, curve, hatched, render

pytest.importorskip("matplotlib")

# Machado, Oliveira and Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency",
# table 1, severity 1.0; for linear RGB.
VISION = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(colour: str, vision="usual") -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as it is seen."""
    rgb = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(VISION[vision]) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_all_colours_differ_for_every_kind_of_colour_vision(vision):
    for one, other in itertools.combinations(COLOURS, 2):
        assert np.linalg.norm(lab(one, vision) - lab(other, vision)) > 10, (one, other)


def test_no_colour_is_too_light_for_a_line_on_paper():
    assert all(lab(colour)[0] < 75 for colour in COLOURS)


def test_curves_and_bars_differ_without_colour():
    grey = [tuple(str(curve(number)[name]) for name in ("marker", "linestyle")) for number in range(12)]
    assert len(set(grey)) == len(grey)
    assert len({hatched(number)["hatch"] for number in range(6)}) == 6


def test_maps_can_be_read_by_lightness():
    light = [lab(colour)[0] for colour in LIGHT_TO_DARK]
    assert all(one - other > 8 for one, other in itertools.pairwise(light))
    # Of numbers around zero the negative end is far lighter than the positive one.
    assert lab(AROUND_ZERO[0])[0] - lab(AROUND_ZERO[-1])[0] > 25


def test_equal_figures_are_equal_files():
    def fill(figure):
        axis = figure.subplots()
        axis.plot([1, 2], [3, 4], **curve(0), label="a curve")
        axis.imshow([[0.0, 1.0]])
        axis.legend()

    first, second = (render("some", fill) for _ in range(2))
    assert first == second and first.keys() == {"svg", "png"}
    assert b"a curve" in first["svg"] and b"<dc:date>" not in first["svg"]
    assert first["png"].startswith(b"\x89PNG") and b"matplotlib" not in first["png"].lower()


def test_labels_are_shown_as_they_are_written():
    label = r"{name} costs $5 or $10^\x"
    found = render("some", lambda figure: figure.suptitle(label), kinds=("svg",))
    assert b"costs $5 or $10^\\x" in found["svg"]


def test_the_style_ends_with_the_figure():
    import matplotlib

    before = dict(matplotlib.rcParams)
    render("some", lambda figure: figure.subplots(), kinds=("svg",))
    assert dict(matplotlib.rcParams) == before


def test_no_other_module_has_colours_of_its_own():
    app = Path(__file__).resolve().parents[2] / "app"
    found = [path.name for path in app.rglob("*.py") if re.search('"#[0-9a-f]{6}"', path.read_text(encoding="utf-8"))]
    assert found == ["figure.py"]
