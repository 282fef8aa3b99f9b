"""Two measurements of the same thing, side by side: who falls, who rises, and how steeply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D

from course_lib.lessons import style
from course_lib.lessons.plots_axes import (
    TICK,
    axes,
    explain,
    finish,
    looks,
    name_reference,
    say,
    say_all,
    unit,
    whisker,
)
from course_lib.lessons.plots_axes import legend as add_legend
from course_lib.lessons.sketch import Drawing

Pair = tuple[Any, Any]


def slopes(
    rows: Mapping[str, Pair],
    *,
    between: Sequence[str],
    title: str,
    ylabel: str,
    roles: Mapping[str, str] | None = None,
    reference: Any = None,
) -> Drawing:
    """A line for each name, from its first result on the left to its second on the right.

    Args:
        rows: name → (first, second): anything with `value` and `interval`, all of one unit: Accuracy,
            Runs … Each value stands beside its end.
        between: what the left and the right side are, such as ``("movies", "electronics")``.
        title: the finding, or the question.
        ylabel: the quantity, such as "test accuracy".
        roles: name → role of `style.look` (default: a color of its own for each).
        reference: a result to compare with, as a line and a band, called "reference", or as in
            ``{"teacher": result}``.

    Raises:
        ValueError: no row, rows of several units, or not two sides.

    Example:
        >>> from course_lib.evaluation import Accuracy
        >>> rows = {"teacher": (Accuracy(87, 100), Accuracy(80, 100))}
        >>> looks = {"between": ("movies", "electronics"), "title": "Who falls?"}
        >>> print(slopes(rows, ylabel="test accuracy", **looks).alt)
        Test accuracy, from movies to electronics: teacher from 87.0 % to 80.0 %.
    """
    units = {unit(result) for pair in rows.values() for result in pair}
    if len(units) != 1 or len(between) != 2:
        raise ValueError(
            f"rows have the units {sorted(units)} and between is {list(between)}, expected at "
            "least one row, the same unit in all, and the names of two sides."
        )
    figure, (ax,) = axes(3.4, title)
    handles = []
    for i, (name, look) in enumerate(looks(rows, roles).items()):
        shift = 0.02 * (i - (len(rows) - 1) / 2)  # intervals of equal results stay apart
        ends, values = [shift, 1 + shift], [result.value for result in rows[name]]
        for at, result in zip(ends, rows[name], strict=True):
            whisker(ax, at, result, look["color"], upright=True)
        handles += ax.plot(ends, values, label=name, linewidth=style.LINE, markersize=7, **look)
    words = ""
    if reference is not None:
        name, other = name_reference(reference, "reference")
        handles.append(_reference(ax, name, other))
        words = f" {name}: {say_all(other)}."
    for side, align, x in ((0, "right", -0.06), (1, "left", 1.06)):
        inks = {name: look["color"] for name, look in looks(rows, roles).items()}
        _label(ax, [(pair[side], inks[name]) for name, pair in rows.items()], x, align)
    ax.set(xticks=(0, 1), xticklabels=between, xlim=(-0.35, 1.35), ylabel=ylabel)
    ax.tick_params(axis="x", labelsize=style.NORMAL, length=0)
    ax.yaxis.set_major_formatter(TICK[units.pop()])
    ax.grid(axis="y", alpha=0.3)
    results = [result for pair in rows.values() for result in pair]
    marks: list[Line2D] = [*handles, *explain(results, upright=True)]
    add_legend(figure, marks)
    description = "; ".join(f"{name} from {say(a)} to {say(b)}" for name, (a, b) in rows.items())
    return finish(figure, f"{ylabel}, from {between[0]} to {between[1]}: {description}.{words}")


def _reference(ax: Any, name: str, result: Any) -> Line2D:
    """A dashed line with its interval as a band."""
    text = f"{name} (band: its interval)"
    ax.axhspan(*result.interval, color=style.GRAY, alpha=0.15, linewidth=0, gid="reference band")
    return ax.axhline(result.value, color=style.INK, linestyle="--", linewidth=1, label=text)


def _label(ax: Any, results: Sequence[tuple[Any, str]], x: float, align: str) -> None:
    """The numbers at one side, in their lines' colors, apart where they would cover each other."""
    low, high = ax.get_ylim()
    least, below = 0.062 * (high - low), -float("inf")
    for result, color in sorted(results, key=lambda one: one[0].value):
        below = max(result.value, below + least)
        text: Any = {"ha": align, "va": "center", "fontsize": style.SMALL, "color": color}
        ax.text(x, below, say(result), gid="number", **text)
