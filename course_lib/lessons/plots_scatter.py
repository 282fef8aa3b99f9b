"""Cost against accuracy: a scatter plot whose labels stand beside their points and never collide."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from course_lib.lessons import style
from course_lib.lessons.plots_axes import (
    TICK,
    axes,
    explain,
    finish,
    legend,
    looks,
    plain,
    say,
    set_log_ticks,
    unit,
    whisker,
)
from course_lib.lessons.sketch import Drawing

# Where a label may stand: (right, up) of its point in points, and its alignment; the nearest first.
NEAR = 7
DOT = 7  # points across
HALO = withStroke(linewidth=3, foreground="white")  # readable where a name must cross a line
SIDE, LEVEL = ("center", "left", "right"), ("center", "bottom", "top")
PLACES = [
    (x * far, y * far, SIDE[x], LEVEL[y])
    for far in (NEAR, 14, 22, 32, 44)
    for x, y in ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1))
]  # fmt: skip


def scatter(
    points: Mapping[str, tuple[Any, Any]],
    *,
    title: str,
    xlabel: str,
    log: bool = True,
    roles: Mapping[str, str] | None = None,
    lines: Mapping[str, Any] | None = None,
) -> Drawing:
    """Cost against a result, one point a name, with 95 % intervals: what a trade-off looks like.

    Args:
        points: name → (cost, result with `value` and `interval`), all results of one unit. A cost is a
            number, or a measured one with `value` and `interval`, too.
        title: the finding, or the question.
        xlabel: the cost with its unit, such as "megabytes on disk".
        log: is the cost's axis logarithmic? (default: yes)
        roles: name → role of `style.look` (default: all in one color).
        lines: name → a result to compare with, as a horizontal line, or a cost, as a vertical one.

    Raises:
        ValueError: no point, a cost of 0 or less on a log axis, or a role for a name that is not there.

    Example:
        >>> from course_lib.evaluation import Accuracy
        >>> points = {"teacher": (90, Accuracy(90, 100)), "student": (10, Accuracy(85, 100))}
        >>> drawing = scatter(points, title="A ninth of the size", xlabel="megabytes")
        >>> print(drawing.alt)  # doctest: +NORMALIZE_WHITESPACE
        Accuracy against megabytes: teacher 90.0 % at 90; student 85.0 % at 10. The cheapest is
        student, the highest teacher.
    """
    measured = {name: cost for name, (cost, _) in points.items() if hasattr(cost, "interval")}
    points = {name: (getattr(cost, "value", cost), one) for name, (cost, one) in points.items()}
    costs = [cost for cost, _ in points.values()]
    if not costs or (log and min(costs) <= 0):
        raise ValueError(
            f"points have the costs {costs}, expected at least one, and above 0 on a log axis. Pass "
            "log=False to show a cost of 0."
        )
    figure, (ax,) = axes(4, title)
    found = looks(points, dict.fromkeys(points, "teacher") | dict(roles or {}))
    results = [result for _, result in points.values()]
    for name, (cost, result) in points.items():
        color = found[name]["color"]
        whisker(ax, cost, result, color, upright=True)
        if name in measured:
            whisker(ax, result.value, measured[name], color)
        ax.plot(cost, result.value, "o", color=color, markersize=DOT, gid=name)
    sentences = [_line(ax, name, one) for name, one in (lines or {}).items()]
    costs += [one for one in (lines or {}).values() if not hasattr(one, "interval")]
    if log:
        ax.set_xscale("log")
        set_log_ticks(ax.xaxis, costs, plain)
    ax.margins(x=0.18, y=0.12)
    if not log and min(costs) >= 0:
        ax.set_xlim(left=0)
    ax.yaxis.set_major_formatter(TICK[unit(results[0])])
    ax.set(xlabel=xlabel, ylabel="accuracy")
    ax.grid(alpha=0.25)
    dot = Line2D([], [], linestyle="", marker="o", color=style.INK, label="accuracy")
    crossing = explain(measured.values())
    ends = [
        (one.interval[0], one.interval[1], points[name][1].value) for name, one in measured.items()
    ]
    across = [ax.transData.transform([(low, y), (high, y)])[:, 0] for low, high, y in ends]
    if crossing and max(right - left for left, right in across) < DOT * figure.dpi / 72:
        crossing = []  # a legend explains no mark that the dots hide
    legend(figure, [dot, *explain(results, upright=True), *crossing])
    _label_points(ax, points)
    listed = "; ".join(
        f"{name} {say(result)} at {plain(cost)}" for name, (cost, result) in points.items()
    )
    cheapest = min(points, key=lambda name: points[name][0])
    highest = max(points, key=lambda name: points[name][1].value)
    sentences.insert(
        0,
        f"Accuracy against {xlabel}: {listed}. The cheapest is {cheapest}, the highest {highest}.",
    )
    return finish(figure, " ".join(sentences))


def _line(ax: Axes, name: str, at: Any) -> str:
    """A line to compare with, its name on it; returns what it says."""
    look: Any = {"color": style.COLORS["baseline"], "linestyle": (0, (5, 3)), "linewidth": 1}
    note: Any = {"textcoords": "offset points", "fontsize": style.SMALL, "gid": "line"}
    if hasattr(at, "interval"):
        ax.axhspan(*at.interval, color=look["color"], alpha=0.1, linewidth=0, zorder=0)
        ax.axhline(at.value, zorder=1, **look)
        axis = ax.get_yaxis_transform()
        text = f"{name} (band: its interval)"
        ax.annotate(text, (0.01, at.value), (0, 3), xycoords=axis, color=style.INK, **note)
        return f"A line: {name}, {say(at)}."
    ax.axvline(at, zorder=1, **look | {"color": style.COLORS["dense"]})
    axis = ax.get_xaxis_transform()
    ax.annotate(name, (at, 0.02), (-4, 0), xycoords=axis, ha="right", color=style.INK, **note)
    return f"A line: {name}, {plain(at)}."


def _label_points(ax: Axes, points: Mapping[str, tuple[float, Any]]) -> None:
    """Write each name near its point where it covers least; one that is far gets a thin line."""
    figure: Any = ax.figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what was measured must not move any more
    lines = [box for line in ax.lines for box in _covered(line)]
    at = {name: ax.transData.transform((cost, one.value)) for name, (cost, one) in points.items()}
    marks = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in at.values()]
    across, up = ax.bbox.intervalx, ax.bbox.intervaly
    for name, (cost, result) in points.items():
        note = ax.annotate(
            name, (cost, result.value), (7, 0), textcoords="offset points", gid="name",
            fontsize=style.SMALL, color=style.INK, zorder=5, path_effects=[HALO],
        )  # fmt: skip
        costs = []
        for x, y, ha, va in PLACES:
            note.set(position=(x, y), ha=ha, va=va)
            box = note.get_window_extent(renderer)
            far = max(abs(x), abs(y))
            outside = box.x0 < across[0] or box.x1 > across[1] or box.y0 < up[0] or box.y1 > up[1]
            path = [at[name] + np.array((x, y)) * t * 100 / 72 for t in np.linspace(0.2, 0.9, 8)]
            crossed = sum(any(mark.contains(*spot) for mark in marks) for spot in path)
            costs.append(
                1000 * outside + 100 * box.count_overlaps(marks) + 2 * box.count_overlaps(lines)
                + far / 3 + 20 * crossed * (far > NEAR)
            )  # fmt: skip
        x, y, ha, va = PLACES[int(np.argmin(costs))]
        note.set(position=(x, y), ha=ha, va=va)
        marks.append(note.get_window_extent(renderer).padded(2))
        if max(abs(x), abs(y)) > NEAR:
            arrow = {"arrowstyle": "-", "color": style.GRAY, "linewidth": 0.7, "shrinkB": 4}
            place: Any = {"xytext": (x, y), "textcoords": "offset points"}
            ax.annotate("", (cost, result.value), **place, arrowprops=arrow)


def _covered(line: Line2D) -> list[Bbox]:
    """Small boxes along a line, in pixels."""
    xy = line.get_transform().transform(np.column_stack(line.get_data()))
    path: Any = xy
    for a, b in itertools.pairwise(xy):
        count = int(np.hypot(*(b - a)) // 6) + 1
        path = [*path, *(a + (b - a) * t for t in np.linspace(0, 1, count + 1))]
    half = max(2, line.get_linewidth() * 100 / 72 / 2)
    return [Bbox.from_extents(x - half, y - 2, x + half, y + 2) for x, y in path]
