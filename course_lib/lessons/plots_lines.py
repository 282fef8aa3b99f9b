"""Curves without intervals: schedules, and what changes over the steps of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from course_lib.lessons import style
from course_lib.lessons.plots_axes import axes, finish, legend, looks, plain, set_log_ticks
from course_lib.lessons.sketch import Drawing

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def lines(
    curves: Curves, *, title: str, xlabel: str, ylabel: str, log: str = "", bold: str = ""
) -> Drawing:
    """Curves without intervals, such as a schedule, or the sparsity over training steps.

    Args:
        curves: name → (x, y).
        title: the finding, or the question.
        xlabel: with its unit, as is `ylabel`.
        log: which axes are logarithmic: "", "x", "y" or "xy".
        bold: the curve that matters most, drawn bold, under the others, which stay visible.

    Example:
        >>> curve = {"cubic": ([0, 1, 2], [0.0, 70.0, 80.0])}
        >>> labels = {"xlabel": "epoch", "ylabel": "sparsity in %"}
        >>> print(lines(curve, title="Most weights go early", **labels).alt)
        Sparsity in % against epoch. cubic: 0 at 0, 70 at 1, 80 at 2.
    """
    figure, (ax,) = axes(3.3, title)
    handles, sentences = _draw(ax, curves, looks(curves, None), log, bold)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if len(curves) > 1:
        legend(figure, handles)
    return finish(figure, " ".join([f"{ylabel} against {xlabel}.", *sentences]))


def line_panels(
    panels: Mapping[str, Curves],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    logs: Sequence[str] = (),
) -> Drawing:
    """Curves in panels side by side, such as the whole and a part of it on another scale.

    A curve's name has the same color in all panels, and stands in one legend.

    Args:
        panels: what a panel shows → its curves, as in `lines`.
        title: the finding, or the question.
        xlabel: of all panels, with its unit, as is `ylabel`.
        logs: for each panel which axes are logarithmic: "", "x", "y" or "xy" (default: none).

    Raises:
        ValueError: not one of `logs` for each panel.

    Example:
        >>> whole = {"loss": ([1, 2, 3], [9.0, 2.0, 1.0])}
        >>> panels = {"all epochs": whole, "the last": {"loss": ([2, 3], [2.0, 1.0])}}
        >>> print(line_panels(panels, title="It falls", xlabel="epoch", ylabel="loss").alt)
        Loss against epoch. All epochs: loss: 9 at 1, 2 at 2, 1 at 3. The last: loss: 2 at 2, 1 at 3.
    """
    logs = logs or [""] * len(panels)
    if len(logs) != len(panels):
        raise ValueError(f"got {len(logs)} logs for {len(panels)} panels, expected one for each.")
    figure, both = axes(3.1, title, (1, len(panels)))
    found = looks(dict.fromkeys(name for curves in panels.values() for name in curves), None)
    handles: dict[str, Any] = {}
    sentences = [f"{ylabel} against {xlabel}."]
    for ax, log, (what, curves) in zip(both, logs, panels.items(), strict=True):
        drawn, said = _draw(ax, curves, found, log)
        handles |= dict(zip(curves, drawn, strict=True))
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.set_title(what, fontsize=style.NORMAL)
        sentences.append(f"{what[:1].upper()}{what[1:]}: {' '.join(said)}")
    legend(figure, list(handles.values()))
    return finish(figure, " ".join(sentences))


def _draw(
    ax: Axes, curves: Curves, found: Mapping[str, dict[str, Any]], log: str, bold: str = ""
) -> tuple[list[Any], list[str]]:
    """Draw curves with the looks `found`; their handles, and what each one does in words."""
    if log not in {"", "x", "y", "xy"}:
        raise ValueError(f'log is {log!r}, expected "", "x", "y" or "xy": the logarithmic axes.')
    dense = any(len(x) > 20 for x, _ in curves.values())  # then dashes tell them apart, not markers
    sentences: list[str] = []
    handles: list[Any] = []
    for name in curves:
        x, y = (list(map(float, numbers)) for numbers in curves[name])
        marks: dict[str, Any] = {"linewidth": style.LINE}
        if dense:  # each line is thinner than those below it, so that none is hidden
            marks |= {"marker": "", "linestyle": ("-", "--", ":", "-.")[len(handles) % 4]}
            marks["linewidth"] += 0 if bold else len(curves) - len(handles) - 1
        if name == bold:
            marks |= {"linewidth": style.BOLD, "linestyle": "-", "zorder": 1.9}
        handles += ax.plot(x, y, label=name, **(found[name] | marks))
        middle = len(x) // 2 if len(x) > 2 else 0
        extremes = {y.index(min(y)), y.index(max(y)), 0, middle, len(x) - 1}
        places = [(x[at], y[at]) for at in sorted(extremes)]
        sentences.append(f"{name}: {', '.join(f'{plain(b)} at {plain(a)}' for a, b in places)}.")
    _scale(ax, curves, log)
    ax.grid(alpha=0.3)
    return handles, sentences


def _scale(ax: Axes, curves: Curves, log: str) -> None:
    """Logarithmic axes with few ticks, and whole numbers on an x axis that counts."""
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
