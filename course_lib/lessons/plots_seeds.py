"""Results of several seeds as rows: nothing in the picture is an interval over examples."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from course_lib.evaluation.accuracy import Accuracy, Runs
from course_lib.lessons import style
from course_lib.lessons.plots_axes import (
    axes,
    explain,
    finish,
    legend,
    name_reference,
    percent,
    say,
    say_all,
    whisker,
)
from course_lib.lessons.plots_scatter import HALO
from course_lib.lessons.sketch import Drawing

Rows = Mapping[str, Accuracy | Runs]


def seed_panels(
    panels: Mapping[str, Rows],
    *,
    title: str,
    xlabel: str,
    reference: Accuracy | Mapping[str, Accuracy] | None = None,
    roles: Mapping[str, str] | None = None,
) -> Drawing:
    """Accuracies over seeds, one panel a group of rows: their ticks, mean and 95 % interval.

    A single model, such as one that is cut by magnitude, has no seeds, so it is a diamond without an
    interval. All panels share their rows and their scale.

    Args:
        panels: title ("" for none) → name → the runs, or the accuracy of a single model.
        title: the finding, or the question.
        xlabel: the quantity, such as "validation accuracy".
        reference: the accuracy of a single model to compare with, as a dashed line.
        roles: name → role of `style.look` (default: all in one color).

    Raises:
        ValueError: no panel, or panels of different rows.

    Example:
        >>> runs = Runs((Accuracy(84, 100), Accuracy(85, 100), Accuracy(86, 100)))
        >>> panels = {"heads": {"Taylor": runs, "magnitude": Accuracy(76, 100)}}
        >>> print(seed_panels(panels, title="Taylor wins", xlabel="accuracy").alt)
        Accuracy. Heads: Taylor 85.0 % (82.5 to 87.5), magnitude 76.0 % (one model).
    """
    names = {tuple(rows) for rows in panels.values()}
    if len(names) != 1:
        raise ValueError(
            f"panels have the rows {sorted(names)}, expected at least one panel, and the same rows in "
            "all of them."
        )
    (order,) = names
    results = [result for rows in panels.values() for result in rows.values()]
    columns = 2 if len(panels) == 4 else len(panels)
    shape = (len(panels) // columns, columns)
    height = (0.45 * len(order) + 0.5) * shape[0] + 0.7
    figure, found = axes(height, title, shape, sharex=True, sharey=True)
    for ax, (name, rows) in zip(found, panels.items(), strict=True):
        for at, (row, result) in enumerate(rows.items()):
            _row(ax, at, result, style.look((roles or {}).get(row, "teacher"))["color"])
        ax.set_title(textwrap.fill(name, round(66 / columns)), fontsize=style.NORMAL)
        ax.xaxis.set_major_formatter(percent)
        ax.grid(axis="x", alpha=0.3)
    found[0].set(yticks=range(len(order)), yticklabels=order, ylim=(len(order) - 0.5, -0.6))
    for ax in found:
        ax.tick_params(axis="y", labelsize=style.NORMAL, length=0)
    for ax in found[-columns:]:
        ax.set_xlabel(xlabel)
    found[0].locator_params(axis="x", nbins=10 // columns)
    handles, words = _marks(results), ""
    if reference is not None:
        called, one = name_reference(reference, "reference")
        _clear(found, one.value)
        line: Any = {"color": style.INK, "linestyle": (0, (5, 3)), "linewidth": 1}
        handles += [ax.axvline(one.value, label=called, zorder=1, **line) for ax in found][:1]
        words = f" {called}: {say(one)}."
    legend(figure, handles)
    return finish(figure, f"{xlabel}. {_tell(panels)}.{words}")


def _row(ax: Axes, at: int, result: Accuracy | Runs, color: str) -> None:
    """Ticks, mean, interval and number of some runs; a diamond and a number for a single model."""
    if isinstance(result, Runs):
        whisker(ax, at, result, color)
        ticks = [run.value for run in result.accuracies]
        look: Any = {"color": style.INK, "markersize": 10, "markeredgewidth": 1, "gid": "seeds"}
        ax.plot(ticks, [at] * len(ticks), "|", **look)
    marker = "o" if isinstance(result, Runs) else "D"
    ax.plot(result.value, at, marker, color=color, markersize=7, gid="value")
    text: Any = {"textcoords": "offset points", "ha": "center", "fontsize": style.SMALL}
    text["path_effects"] = [HALO]  # readable where the reference crosses it
    ax.annotate(say(result), (result.value, at), (0, 8), gid="number", **text)


def _clear(panels: list[Axes], line: float) -> None:
    """Move the numbers that a vertical line would cross to the side of it where their dots are."""
    left, right = panels[0].get_xlim()
    numbers: list[Any] = [text for ax in panels for text in ax.texts]
    for text in numbers:
        away = text.xy[0] - line
        if abs(away) < 0.06 * len(panels) ** 0.5 * (right - left):
            text.set_ha("right" if away < 0 else "left")


def _marks(results: list[Accuracy | Runs]) -> list[Line2D]:
    runs = [result for result in results if isinstance(result, Runs)]
    look: Any = {"linestyle": "", "color": style.INK}
    handles = []
    if runs:
        handles.append(Line2D([], [], marker="o", label="mean over the seeds", **look))
        handles.append(Line2D([], [], marker="|", markersize=10, label="one seed", **look))
        handles += explain(runs)
    if len(runs) < len(results):
        handles.append(Line2D([], [], marker="D", label="a single model, without seeds", **look))
    return handles


def _tell(panels: Mapping[str, Rows]) -> str:
    sentences = []
    for name, rows in panels.items():
        listed = [
            f"{row} {say_all(result) if isinstance(result, Runs) else f'{say(result)} (one model)'}"
            for row, result in rows.items()
        ]
        sentences.append(
            f"{name[:1].upper()}{name[1:]}: {', '.join(listed)}" if name else ", ".join(listed)
        )
    return ". ".join(sentences)
