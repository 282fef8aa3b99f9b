"""Curves without intervals: schedules, and what changes over the steps of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from course_lib.lessons import style
from course_lib.lessons.plots_axes import axes, finish, legend, looks, plain, set_log_ticks
from course_lib.lessons.sketch import Drawing


def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    log: str = "",
    bold: str = "",
) -> Drawing:
    """Curves without intervals, such as a schedule, or the sparsity over training steps.

    Args:
        curves: name → (x, y).
        title: the finding, or the question.
        xlabel: with its unit, as is `ylabel`.
        log: which axes are logarithmic: "", "x", "y" or "xy".
        bold: the curve that matters most, drawn bold over the others.

    Example:
        >>> curve = {"cubic": ([0, 1, 2], [0.0, 70.0, 80.0])}
        >>> labels = {"xlabel": "epoch", "ylabel": "sparsity in %"}
        >>> print(lines(curve, title="Most weights go early", **labels).alt)
        Sparsity in % against epoch. cubic: 0 at 0, 70 at 1, 80 at 2.
    """
    if log not in {"", "x", "y", "xy"}:
        raise ValueError(f'log is {log!r}, expected "", "x", "y" or "xy": the logarithmic axes.')
    figure, (ax,) = axes(3.3, title)
    dense = any(len(x) > 20 for x, _ in curves.values())  # then dashes tell them apart, not markers
    told = [f"{ylabel} against {xlabel}."]
    handles: list[Any] = []
    for name, look in looks(curves, None).items():
        x, y = (list(map(float, numbers)) for numbers in curves[name])
        marks: dict[str, Any] = {"linewidth": style.LINE}
        if dense:  # each line is thinner than those below it, so that none is hidden
            marks |= {"marker": "", "linestyle": ("-", "--", ":", "-.")[len(handles) % 4]}
            marks["linewidth"] += 0 if bold else len(curves) - len(handles) - 1
        if name == bold:
            marks |= {"linewidth": style.BOLD, "linestyle": "-", "zorder": 3}
        handles += ax.plot(x, y, label=name, **(look | marks))
        middle = len(x) // 2 if len(x) > 2 else 0
        extremes = {y.index(min(y)), y.index(max(y)), 0, middle, len(x) - 1}
        places = [(x[at], y[at]) for at in sorted(extremes)]
        told.append(f"{name}: {', '.join(f'{plain(b)} at {plain(a)}' for a, b in places)}.")
    for letter, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
        if letter in log:
            getattr(ax, f"set_{letter}scale")("log")
            ends = [float(v) for pair in curves.values() for v in pair[letter == "y"]]
            set_log_ticks(axis, ends, plain)
            if letter == "x" and len(set(ends)) <= 8:
                axis.set_ticks(sorted(set(ends)))
    if "x" not in log and all(float(max(x)).is_integer() for x, _ in curves.values()):
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))  # no 2.5
        ends = [float(v) for x, _ in curves.values() for v in (min(x), max(x))]
        ax.set_xlim(min(ends) - 0.02 * (max(ends) - min(ends)), 1.02 * max(ends))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(alpha=0.3)
    if len(curves) > 1:
        legend(figure, handles)
    return finish(figure, " ".join(told))
