"""All plots of the lessons under one name: ``plots.pruning_curves(curves, title="…")``.

Each function takes results or numbers and returns a `sketch.Drawing`, which displays itself as a
cell's last line. Its alt text is made from the numbers that it shows.
"""

from __future__ import annotations

from dataclasses import replace

from IPython.display import display
from matplotlib.figure import Figure

from course_lib.lessons.plots_answers import answers, picture_and_bars
from course_lib.lessons.plots_bars import (
    class_bars,
    latency_bars,
    parts,
    reliability,
    signed_bars,
    size_bars,
)
from course_lib.lessons.plots_language import layer_scores, perplexities, recovery
from course_lib.lessons.plots_lines import line_panels, lines
from course_lib.lessons.plots_models import (
    digits,
    heat_map,
    inputs_used,
    mask_rows,
    unit_map,
    weight_histogram,
)
from course_lib.lessons.plots_results import accuracy_curves, intervals, pruning_curves
from course_lib.lessons.plots_scatter import scatter
from course_lib.lessons.plots_seeds import seed_panels
from course_lib.lessons.plots_slopes import slopes
from course_lib.lessons.plots_widths import layer_widths
from course_lib.lessons.sketch import Drawing

__all__ = [
    "accuracy_curves",
    "answers",
    "class_bars",
    "digits",
    "heat_map",
    "inputs_used",
    "intervals",
    "latency_bars",
    "layer_scores",
    "layer_widths",
    "line_panels",
    "lines",
    "mask_rows",
    "parts",
    "perplexities",
    "picture_and_bars",
    "pruning_curves",
    "recovery",
    "reliability",
    "scatter",
    "seed_panels",
    "show",
    "signed_bars",
    "size_bars",
    "slopes",
    "unit_map",
    "weight_histogram",
]


def show(picture: Drawing | Figure, alt: str = "") -> None:
    """Display a picture that is not a cell's last line, such as one in a loop.

    Args:
        picture: a drawing, or a figure of matplotlib.
        alt: says what the picture shows (default: the drawing's own text; a figure needs one).

    Raises:
        ValueError: a figure without a text.
    """
    if isinstance(picture, Drawing):
        display(replace(picture, alt=alt or picture.alt))
    elif alt:
        display(Drawing(picture, alt))
    else:
        raise ValueError("A figure came without alt. Say what it shows: show(figure, alt='…').")
