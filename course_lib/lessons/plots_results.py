"""Plots of results with their intervals, as curves or as rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from course_lib.evaluation.accuracy import Accuracy, Runs
from course_lib.lessons import style
from course_lib.lessons.plots_axes import (
    TICK,
    axes,
    explain,
    finish,
    kind,
    legend,
    looks,
    name_reference,
    percent,
    say,
    say_all,
    set_log_ticks,
    unit,
    whisker,
)
from course_lib.lessons.sketch import Drawing

Result = Accuracy | Runs
Curve = Sequence[tuple[float, Result]]


def pruning_curves(
    curves: Mapping[str, Curve],
    *,
    title: str,
    reference: Result | Mapping[str, Result] | None = None,
    roles: Mapping[str, str] | None = None,
    xlabel: str = "weights left",
    guessing: float | None = None,
) -> Drawing:
    """Validation accuracy against the weights left, on a log axis from all of them to few.

    Results have 95 % intervals. Where curves share a point, each is drawn a few pixels beside the
    next, so that their intervals stay apart.

    Args:
        curves: name → (fraction of the weights left, result), in any order.
        title: the finding, or the question.
        reference: the network before pruning: a line with its interval as a band, called "dense", or
            as in ``{"dense, same epochs": result}``.
        roles: name → role of `style.look` (default: colors in turn).
        xlabel: what a fraction of is left.
        guessing: the accuracy of a guess, as a dotted line.

    Raises:
        ValueError: a fraction outside (0, 1], no curve, a role for a name that is not there.

    Example:
        >>> points = [(1.0, Accuracy(95, 100)), (0.1, Accuracy(60, 100))]
        >>> print(pruning_curves({"magnitude": points}, title="Few weights suffice").alt)
        Accuracy against weights left. magnitude: 95.0 % at 100 %, 60.0 % at 10 %.
    """
    places = [at for points in curves.values() for at, _ in points]
    wrong = [at for at in places if not 0 < at <= 1]
    if wrong or not places:
        raise ValueError(
            f"curves hold {f'{wrong[0]} weights left' if wrong else 'no point'}, expected fractions "
            "above 0 and up to 1. Pass 1 − sparsity."
        )
    drawing = _accuracy_curves(
        {name: sorted(curve, key=lambda p: -p[0]) for name, curve in curves.items()},
        title, reference, roles, xlabel,
    )  # fmt: skip
    ax = drawing.figure.axes[0]
    if guessing is not None:
        ax.axhline(guessing, color=style.GRAY, linestyle=":", linewidth=1, gid="guessing")
        ax.annotate(
            f"guessing: {percent(guessing)}", (0, guessing), (3, 3), ha="left", color=style.FADED,
            xycoords=ax.get_yaxis_transform(), textcoords="offset points", fontsize=style.SMALL,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(max(places) * 1.15, min(places) / 1.15)  # from all weights to few
    ax.set(xlabel=f"{xlabel} (log scale: fewer to the right)", ylabel="validation accuracy")
    set_log_ticks(ax.xaxis, places, percent)
    if _room_for_each(places):
        ax.set_xticks(sorted(set(places)))
    return drawing


def _room_for_each(places: Sequence[float], least: float = 0.07) -> bool:
    """Whether ticks at these fractions of a log axis have short labels, and room for them."""
    if any(abs(at - float(f"{at:.2g}")) > 1e-9 for at in places):
        return False
    logs = sorted({math.log(at) for at in places})
    gaps = [b - a for a, b in itertools.pairwise(logs)]
    return len(gaps) > 1 and min(gaps) > least * (logs[-1] - logs[0])


def accuracy_curves(
    curves: Mapping[str, Curve],
    xlabel: str = "sparsity",
    reference: Result | Mapping[str, Result] | None = None,
    title: str = "",
) -> Drawing:
    """As `pruning_curves`, against any fraction on a linear axis that rises to the right."""
    drawing = _accuracy_curves(
        {name: sorted(curve, key=lambda p: p[0]) for name, curve in curves.items()},
        title, reference, None, xlabel,
    )  # fmt: skip
    drawing.figure.axes[0].xaxis.set_major_formatter(percent)
    return drawing


def _accuracy_curves(
    curves: Mapping[str, Curve], title: str, reference: Any, roles: Any, xlabel: str
) -> Drawing:
    figure, (ax,) = axes(3.3, title)
    handles, results = [], [result for curve in curves.values() for _, result in curve]
    for i, (name, look) in enumerate(looks(curves, roles).items()):
        aside = min(10, 90 / len(curves) ** 2) * (i - (len(curves) - 1) / 2) / 72  # inches
        beside = ax.transData + ScaledTranslation(aside, 0, figure.dpi_scale_trans)
        for at, result in curves[name]:
            whisker(ax, at, result, look["color"], upright=True, transform=beside)
        x, y = [at for at, _ in curves[name]], [result.value for _, result in curves[name]]
        handles += ax.plot(
            x, y, label=name, transform=beside, linewidth=style.LINE, markersize=5, **look
        )
        # Matplotlib leaves a line with its own transform out of the limits.
        ends = [end for _, result in curves[name] for end in result.interval]
        ax.update_datalim([(at, end) for at in x for end in (min(ends), max(ends))])
    words = ""
    if reference is not None:
        name, dense = name_reference(reference, "dense")
        handles.append(_reference(ax, name, dense, upright=False))
        results.append(dense)
        words = f" {name}: {say_all(dense)}."
    ax.autoscale_view()
    if reference is not None and _narrow(dense, ax.get_ylim()):
        handles[-1].set_label(name)  # nobody sees the band beside the line
    ax.set(xlabel=xlabel, ylabel="accuracy")
    ax.yaxis.set_major_formatter(percent)
    ax.grid(alpha=0.3)
    marks = explain(results, upright=True)
    if len(curves) > 1:
        marks[0].set_label(f"{marks[0].get_label()} (points shifted sideways)")
    legend(figure, [*handles, *marks])
    return finish(figure, _tell_curves(curves, reference, xlabel) + words)


def _narrow(result: Any, limits: tuple[float, float]) -> bool:
    """Whether a dot hides a result's interval on an axis with these limits."""
    (low, high), (bottom, top) = result.interval, limits
    return high - low < 0.015 * (top - bottom)


def _reference(ax: Axes, name: str, result: Any, upright: bool) -> Line2D:
    """A dashed line with its interval as a band, in the color of the dense network."""
    span, line = (ax.axvspan, ax.axvline) if upright else (ax.axhspan, ax.axhline)
    span(*result.interval, color=style.COLORS["dense"], alpha=0.1, linewidth=0, zorder=0)
    return line(
        result.value, color=style.COLORS["dense"], linestyle=(0, (5, 3)), linewidth=1, zorder=1,
        label=f"{name} (band: its interval)",
    )  # fmt: skip


def _tell_curves(curves: Mapping[str, Curve], reference: Any, xlabel: str) -> str:
    """Each curve's ends, how far it keeps up with the reference, and where the curves separate."""
    sentences = [f"Accuracy against {xlabel}."]
    if len(curves) > 1 or reference is not None:
        sentences.append("Curves separate where their 95 % intervals no longer overlap.")
    for name, curve in curves.items():
        (first, start), (last, end) = curve[0], curve[-1]
        text = f"{name}: {say(start)} at {percent(first)}"
        text += f", {say(end)} at {percent(last)}" if len(curve) > 1 else ""
        if reference is not None:
            called, dense = name_reference(reference, "dense")
            apart = [at for at, result in curve if _apart(result, dense)]
            where = f"separates from {called} at {percent(apart[0])}" if apart else ""
            text += f", {where or f'never separates from {called}'}"
        sentences.append(text + ".")
    if len(curves) > 1:
        sentences.append(_tell_separation(curves))
    return " ".join(sentences)


def _tell_separation(curves: Mapping[str, Curve]) -> str:
    rows = {name: dict(curve) for name, curve in curves.items()}
    shared = [at for at in next(iter(rows.values())) if all(at in row for row in rows.values())]
    if not shared:
        return "The curves share no point."

    def by_value(at: float) -> list[str]:
        return sorted(rows, key=lambda name: rows[name][at].value)

    ranked = {at: by_value(at) for at in shared}
    split = [at for at in shared if _apart(rows[ranked[at][0]][at], rows[ranked[at][-1]][at])]
    where = f"separate at {percent(split[0])}" if split else "never separate"
    at = shared[-1]
    low, high = ranked[at][0], ranked[at][-1]
    return (
        f"The best and the worst {where}. At {percent(at)} the best is {high} "
        f"({say(rows[high][at])}) and the worst {low} ({say(rows[low][at])})."
    )


def _apart(one: Any, other: Any) -> bool:
    return one.interval[0] > other.interval[1] or other.interval[0] > one.interval[1]


def intervals(
    rows: Mapping[str, Any],
    *,
    title: str,
    xlabel: str,
    roles: Mapping[str, str] | None = None,
    reference: Any = None,
    margin: float | Mapping[str, float] | None = None,
) -> Drawing:
    """Results as dots with their 95 % intervals, one row a name; the numbers stand beside its row.

    Args:
        rows: name → anything with `value` and `interval`, all of one unit: Accuracy, Runs, Gap … Each
            seed of a Runs is a tick. Differences have a line at 0, and speed-ups one at 1. None makes
            the row a heading in bold, or a gap where the name is "". Below "students", the row
            "students: alone" is called "alone".
        title: the finding, or the question.
        xlabel: the quantity, such as "test accuracy".
        roles: name → role of `style.look` (default: all in one color).
        reference: a result to compare with, as a line and a band, called "reference", or as in
            ``{"teacher": result}``.
        margin: of the claim about these rows, as a dashed line: −0.01 is one point below. It is called
            "margin", or as in ``{"1.8 × (claim)": 1.8}``.

    Raises:
        ValueError: no row, or rows of several units.

    Example:
        >>> rows = {"alone": Accuracy(80, 100), "with a teacher": Accuracy(85, 100)}
        >>> drawing = intervals(rows, title="Does the teacher help?", xlabel="test accuracy")
        >>> print(drawing.alt)  # doctest: +NORMALIZE_WHITESPACE
        Test accuracy with 95 % intervals: alone 80.0 % (71.1 to 86.7); with a teacher 85.0 %
        (76.7 to 90.7). The highest is with a teacher, the lowest alone; their intervals overlap.
    """
    places = {name: row for row, name in enumerate(rows) if rows[name] is not None}
    every, lines, rows = rows, len(rows), {name: rows[name] for name in places}
    units = {unit(result) for result in rows.values()}
    if len(units) != 1:
        raise ValueError(
            f"rows have the units {sorted(units)}, expected at least one row and the same unit in all. "
            "Draw accuracies and differences in two plots."
        )
    figure, (ax,) = axes(0.42 * lines + 1.1, title)
    plain_look = {name: style.look("teacher") for name in rows}
    found = looks(rows, roles) if roles else plain_look
    seeds = False
    for name, row in places.items():
        result, color = rows[name], found[name]["color"]
        whisker(ax, row, result, color)
        runs = [run.value for run in getattr(result, "accuracies", ())]
        seeds = seeds or bool(runs)
        marks: Any = {"color": style.INK, "markersize": 10, "markeredgewidth": 1, "gid": "seeds"}
        ax.plot(runs, [row] * len(runs), "|", **marks)
        ax.plot(result.value, row, "o", color=color, markersize=7, gid="value")
        text: Any = {"transform": ax.get_yaxis_transform(), "va": "center", "gid": "number"}
        said = say_all(result) if unit(result) in {"×", "points"} else say(result)
        ax.text(1.02, row, said, fontsize=style.NORMAL, color=style.INK, **text)
    mark: dict[str, Any] = {"linestyle": "", "color": style.INK}
    handles = [Line2D([], [], marker="o", label=_dot(rows.values()), **mark)]
    if seeds:
        handles.append(Line2D([], [], marker="|", markersize=10, label="one seed", **mark))
    words = ""
    if reference is not None:
        name, other = name_reference(reference, "reference")
        handles.append(_reference(ax, name, other, upright=True))
        top: Any = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        ax.text(other.value, 1.01, say(other), fontsize=style.SMALL, gid="reference", **top)
        words = f" {name}: {say_all(other)}."
    for no_difference in [{"points": 0, "×": 1}[one] for one in units & {"points", "×"}]:
        look: Any = {"color": style.GRAY, "linewidth": 1, "label": "no difference"}
        handles.append(ax.axvline(no_difference, **look))
    if margin is not None:
        name, at = name_reference(margin, "margin")
        dashes: Any = {"color": style.INK, "linestyle": "--", "linewidth": 1, "label": name}
        handles.append(ax.axvline(at, gid="margin", **dashes))
        words += f" The claim's margin is at {TICK[min(units)](at, None)}."
    ax.set(xlabel=xlabel, ylim=(lines - 0.5, -0.5))
    _name_rows(ax, every)
    ax.locator_params(axis="x", nbins=6)  # more labels would run into each other
    ax.xaxis.set_major_formatter(TICK[units.pop()])
    ax.margins(x=0.06)
    ax.grid(axis="x", alpha=0.3)
    marks = explain(rows.values())
    if sum(_narrow(result, ax.get_xlim()) for result in rows.values()) > len(rows) / 2:
        marks[0].set_label(f"{marks[0].get_label()} (mostly narrower than the dot)")
    legend(figure, [*handles, *marks])
    return finish(figure, _tell_rows(rows, xlabel) + words)


def _dot(results: Iterable[Any]) -> str:
    """What the dot of these results is, for the legend."""
    over = {"seeds" if hasattr(result, "seeds") else kind(result) for result in results}
    named = {"seeds": "mean over the seeds", "rounds": "median over the rounds"}
    return named.get(over.pop(), "value") if len(over) == 1 else "value"


def _name_rows(ax: Axes, rows: Mapping[str, Any]) -> None:
    """Each row's name beside it; headings are bold, and the rows below leave them out."""
    heading, shown = "", {}
    for place, (name, result) in enumerate(rows.items()):
        heading = name if result is None else heading
        if name:
            shown[place] = name.removeprefix(f"{heading}: "), "bold" if result is None else "normal"
    ax.set_yticks([*shown], [name for name, _ in shown.values()])
    for tick, (_, weight) in zip(ax.get_yticklabels(), shown.values(), strict=True):
        tick.set_fontweight(weight)
    ax.tick_params(axis="y", labelsize=style.NORMAL, length=0)


def _tell_rows(rows: Mapping[str, Any], xlabel: str) -> str:
    listed = "; ".join(f"{name} {say_all(result)}" for name, result in rows.items())
    description = f"{xlabel} with 95 % intervals: {listed}."
    if len(rows) == 1:
        return description
    low, *_, high = sorted(rows, key=lambda name: rows[name].value)
    how = "do not overlap" if _apart(rows[low], rows[high]) else "overlap"
    return f"{description} The highest is {high}, the lowest {low}; their intervals {how}."
