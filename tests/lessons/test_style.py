"""The palette: roles are told apart with any kind of color vision, and text stays readable."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from course_lib.lessons import sketch, style

# Machado, Oliveira & Fernandes 2009, severity 1.0, on linear RGB.
VISION = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # sRGB, white D65


def linear(color: str) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(color: str, vision: np.ndarray) -> np.ndarray:
    x, y, z = TO_XYZ @ np.clip(vision @ linear(color), 0, 1) / TO_XYZ.sum(1)
    cube = [t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z)]
    return np.array([116 * cube[1] - 16, 500 * (cube[0] - cube[1]), 200 * (cube[1] - cube[2])])


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(TO_XYZ[1] @ linear(color)) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("kind", VISION)
def test_any_two_roles_differ_in_color(kind):
    for (one, a), (other, b) in itertools.combinations(style.COLORS.items(), 2):
        distance = np.linalg.norm(lab(a, VISION[kind]) - lab(b, VISION[kind]))
        assert distance > 10, f"{one} and {other} look alike with {kind} vision: {distance:.1f}"


def test_the_check_of_colors_finds_what_it_looks_for():
    red, green = lab("#c04000", VISION["deuteranopia"]), lab("#6f7a00", VISION["deuteranopia"])
    assert (
        np.linalg.norm(red - green)
        < 20
        < np.linalg.norm(lab("#c04000", np.eye(3)) - lab("#6f7a00", np.eye(3)))
    )


def test_every_role_has_a_marker_of_its_own():
    assert style.MARKERS.keys() == style.COLORS.keys()
    assert len(set(style.MARKERS.values())) == len(style.MARKERS)


@pytest.mark.parametrize("role", style.COLORS)
def test_text_is_readable_on_the_tint_of_every_role(role):
    assert contrast(style.INK, style.tint(style.COLORS[role])) >= 4.5


def test_what_is_gone_is_faded_and_readable():
    assert contrast(style.FADED, sketch.PRUNED) >= 4.5
    assert contrast(style.FADED, "white") >= 4.5


@pytest.mark.parametrize("role", ["teacher", "student", "baseline", "random", "dense"])
def test_a_line_of_a_plot_stands_out_from_white(role):
    assert contrast(style.COLORS[role], "white") >= 3


def test_look_is_what_a_plot_takes():
    ax = style.canvas(1, 1)
    (line,) = ax.plot([0, 1], [0, 1], **style.look("teacher"))
    assert (line.get_color(), line.get_marker()) == (style.BLUE, "s")


def test_an_unknown_role_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'pupil'\. Choose one of teacher, student"):
        style.look("pupil")


def test_a_tint_lies_between_white_and_the_color():
    assert style.tint(style.BLUE, 0) == "#ffffff"
    assert style.tint(style.BLUE, 1) == style.BLUE.lower()


def test_a_canvas_is_white_counts_inches_downward_and_is_unknown_to_pyplot():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    ax = style.canvas(4, 1)
    assert plt.get_fignums() == before
    assert ax.figure.get_facecolor() == (1, 1, 1, 1)
    to_pixels = ax.transData.transform
    assert to_pixels((1, 0)) == pytest.approx((100, 100))  # the top, one inch from the left
    assert to_pixels((1, 1)) == pytest.approx((100, 0))
