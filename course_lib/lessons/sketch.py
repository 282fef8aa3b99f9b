"""The parts of a drawing: cells, boxes, arrows, labels; and the finished `Drawing` with its alt text.

Every function draws on axes of `style.canvas`, so places and sizes are inches from the top left.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from course_lib.lessons import style

Point = tuple[float, float]
Grid = Sequence[Sequence[str] | np.ndarray]  # rows of strings
# Beside the PNG in a notebook, for the site. Jupyter shows an image/svg+xml without its alt text, and
# before the PNG; a form that it does not know it leaves alone.
SVG = "application/vnd.course.drawing+svg"
PRUNED = style.tint(style.COLORS["pruned"], 0.45)


@dataclass(frozen=True)
class Drawing:
    """A figure and the text that says what it shows. As a cell's last line it displays as PNG.

    A schematic has its SVG beside it in the notebook, which the site shows: sharp at any size. A plot
    has not: ten thousand points are small as PNG.

    Example:
        >>> drawing = finish(style.canvas(1, 1), "an empty square")
        >>> drawing
        Drawing: an empty square
        >>> "<title>an empty square</title>" in drawing.svg()
        True
    """

    figure: Figure
    alt: str
    schematic: bool = False

    def png(self) -> bytes:
        """The picture for a notebook, 100 dots per inch."""
        return self._save("png", {"Software": None})

    def svg(self) -> str:
        """The picture for a site; the alt text is its title. The same drawing gives the same file."""
        return self._save("svg", {"Title": self.alt, "Date": None, "Creator": None}).decode()

    def _save(self, kind: str, metadata: dict[str, Any]) -> bytes:
        buffer = BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": "drawing"}):
            self.figure.savefig(buffer, format=kind, dpi=100, metadata=metadata)
        return buffer.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        data = {"image/png": base64.b64encode(self.png()).decode(), "text/plain": self.alt}
        if self.schematic:
            data[SVG] = self.svg()
        return data, {"image/png": {"alt": self.alt}}

    def __repr__(self) -> str:
        return f"Drawing: {self.alt}"


def finish(ax: Axes, alt: str) -> Drawing:
    """The schematic on these axes, with its alt text."""
    return Drawing(cast(Figure, ax.figure), alt, schematic=True)


def label(ax: Axes, at: Point, text: str, size: float = style.NORMAL, **options: Any) -> None:
    """Text centered on a point. `options` go to matplotlib, such as ``ha="left"``."""
    defaults = {"ha": "center", "va": "center", "color": style.INK, "zorder": 5}
    ax.text(*at, text, fontsize=size, **{**defaults, **options})


def cells(
    ax: Axes,
    at: Point,
    fills: Grid,
    texts: Grid | None = None,
    size: float = 0.4,
    name: str = "cells",
) -> None:
    """A grid of squares with its top left corner at a point: a matrix.

    `fills` holds a color for each square and `texts` what is written in it (default: nothing);
    `size` is a square's side. Squares and texts are called ``name[row,column]`` (their `gid`).
    """
    x, y = at
    for r, row in enumerate(fills):
        for c, fill in enumerate(row):
            corner = (x + c * size, y + r * size)
            square = Rectangle(
                corner, size, size, facecolor=fill, edgecolor="white", linewidth=1.5,
                gid=f"{name}[{r},{c}]",
            )  # fmt: skip
            ax.add_patch(square)
            if texts is not None:
                color = style.FADED if fill == PRUNED else style.INK
                middle = (corner[0] + size / 2, corner[1] + size / 2)
                gid = f"{name}[{r},{c}] text"
                label(ax, middle, texts[r][c], style.SMALL, color=color, gid=gid)


def box(
    ax: Axes, at: Point, size: Point, text: str = "", color: str = style.GRAY, **options: Any
) -> None:
    """A rounded box with its top left corner at a point, pale inside, with a text in the middle.

    `size` is width and height. `options` go to matplotlib's patch, such as ``linestyle="--"``.
    """
    (x, y), (width, height) = at, size
    defaults = {"facecolor": style.tint(color), "edgecolor": color, "linewidth": style.LINE}
    shape = f"round,pad=0,rounding_size={min(0.06, width / 4)}"
    ax.add_patch(FancyBboxPatch(at, width, height, shape, **{**defaults, **options}))
    if text:
        label(ax, (x + width / 2, y + height / 2), text)


def arrow(ax: Axes, start: Point, end: Point, color: str = style.INK, **options: Any) -> None:
    """A straight arrow from one point to another. `options` go to matplotlib's arrow."""
    defaults: dict[str, Any] = {
        "arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0,
        "linewidth": style.LINE, "joinstyle": "miter",
    }  # fmt: skip
    ax.add_patch(FancyArrowPatch(start, end, color=color, **{**defaults, **options}))


def line(ax: Axes, points: Sequence[Point], color: str = style.INK, **options: Any) -> None:
    """Straight lines through points. `options` go to ``ax.plot``."""
    x, y = zip(*points, strict=True)
    defaults = {"linewidth": style.LINE, "solid_capstyle": "round", "solid_joinstyle": "round"}
    ax.plot(x, y, color=color, **{**defaults, **options})


def number(value: float, decimals: int = 1) -> str:
    """A number with a real minus sign; −0.0 becomes 0.0.

    Example:
        >>> number(-0.5), number(-0.04), number(0.25, 2)
        ('−0.5', '0.0', '0.25')
    """
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")
