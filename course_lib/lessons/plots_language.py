"""Perplexities of several models on one logarithmic axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from course_lib.evaluation.perplexities import Perplexity, round_numbers, shown
from course_lib.lessons import style
from course_lib.lessons.plots_axes import axes, finish, legend, plain, whisker
from course_lib.lessons.sketch import Drawing


def perplexities(
    rows: Mapping[str, Perplexity], *, title: str, reference: Mapping[str, Perplexity] | None = None
) -> Drawing:
    """Perplexities with their 95 % intervals over the documents, one row a model; lower is better.

    The same documents are hard for all models, so overlapping intervals say little about a difference:
    `Perplexity.times` compares two models document by document.

    Args:
        rows: name → perplexity.
        title: the finding, or the question.
        reference: name → the model to compare with, as a line (default: none).

    Example:
        >>> import torch
        >>> one = Perplexity(torch.tensor([3.0, 4.0, 5.0]), torch.ones(3))
        >>> print(perplexities({"small": one}, title="How well?").alt)
        Perplexity with 95 % intervals over documents: small 54.6 (4.55–655, n = 3).
    """
    figure, (ax,) = axes(0.42 * len(rows) + 1.1, title)
    color = style.COLORS["student"]
    for row, result in enumerate(rows.values()):
        whisker(ax, row, result, color)
        ax.plot(result.value, row, "o", color=color, markersize=7, gid="value")
        look: Any = {"va": "center", "fontsize": style.NORMAL, "color": style.INK}
        ax.text(1.02, row, shown(result.value), transform=ax.get_yaxis_transform(), **look)
    dot: Any = {"marker": "o", "linestyle": "", "color": color, "label": "perplexity"}
    bar: Any = {"color": color, "linewidth": 1.2, "label": "95 % interval over documents"}
    handles = [Line2D([], [], **dot), Line2D([], [], **bar)]
    ends = [end for result in rows.values() for end in result.interval]
    for name, result in (reference or {}).items():
        ends.append(result.value)
        handles.append(ax.axvline(result.value, color=style.COLORS["teacher"], label=name))
    ax.set_xscale("log")
    if max(ends) < 100 * min(ends):  # else powers of ten
        ax.xaxis.set_major_locator(FixedLocator(round_numbers(min(ends), max(ends))))
        ax.xaxis.set_major_formatter(FuncFormatter(plain))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
    ax.set_xlabel("perplexity, lower is better")
    ax.tick_params(axis="y", labelsize=style.NORMAL, length=0)
    ax.grid(axis="x", alpha=0.3)
    legend(figure, handles)
    listed = "; ".join(f"{name} {result!r}" for name, result in rows.items())
    compared = "".join(f" {name}: {result!r}." for name, result in (reference or {}).items())
    return finish(figure, f"Perplexity with 95 % intervals over documents: {listed}.{compared}")
