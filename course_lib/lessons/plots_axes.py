"""What all plots share: axes in one style, a legend that explains every mark, numbers as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from course_lib.evaluation.accuracy import Accuracy, Runs
from course_lib.evaluation.perplexities import Perplexity, Ratio
from course_lib.evaluation.significance import Gap, PairedTest, Share
from course_lib.evaluation.timing import Speedup
from course_lib.lessons import style
from course_lib.lessons.sketch import Drawing

# The order in which curves without a role take their colors and markers.
ORDER = ("teacher", "student", "baseline", "labels", "kept", "accent", "dense", "random")
HATCHES = ("", "//", "..", "xx")  # bars are told apart without colors, too

# Two kinds of interval, two looks: a thin line without caps, and a thick translucent bar.
INTERVAL: dict[str, dict[str, Any]] = {
    "examples": {"linewidth": 1.2, "solid_capstyle": "butt"},
    "seeds": {"linewidth": 7, "alpha": 0.3, "solid_capstyle": "butt"},
    "rounds": {"linewidth": 1.2, "solid_capstyle": "butt"},
    "": {"linewidth": 1.2, "solid_capstyle": "butt"},
}


def axes(
    height: float, title: str = "", shape: tuple[int, int] = (1, 1), used: int | None = None,
    width: float = style.WIDTH, **options: Any,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A white figure with `shape` (rows, columns) panels, of which the first `used` are shown.

    `height` and `width` are inches; `options` go to ``figure.subplots``, such as ``sharex=True``.
    """
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    if title:
        text = textwrap.fill(title, round(width * 9.2))
        figure.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold")
    panels = list(figure.subplots(*shape, squeeze=False, **options).flat)
    for ax in panels:
        ax.tick_params(labelsize=style.SMALL)
        ax.spines[["top", "right"]].set_visible(False)
        for axis in (ax.xaxis, ax.yaxis):
            axis.label.set_size(style.NORMAL)
    for ax in panels[used:] if used else ():
        ax.set_visible(False)
    return figure, panels[:used]


def finish(figure: Figure, alt: str) -> Drawing:
    """The figure with its alt text, which starts with a capital letter."""
    return Drawing(figure, alt[:1].upper() + alt[1:])


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """A legend below the axes, in as many columns as fit; the figure grows by its height."""
    longest = max(len(handle.get_label()) for handle in handles)
    width, height = figure.get_size_inches()
    columns = max(1, int((100 * width - 20) / (60 + 7 * longest)))
    figure.set_figheight(height + 0.2 + 0.2 * -(-len(handles) // columns))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(columns, len(handles)),
        frameon=False, fontsize=style.SMALL, handletextpad=0.6, columnspacing=1.5,
    )  # fmt: skip


def looks(names: Iterable[str], roles: Mapping[str, str] | None) -> dict[str, dict[str, Any]]:
    """Name → color, marker and line style: those of its role, else the next that are free.

    Raises:
        ValueError: a role for a name that is not drawn, or a role that does not exist.

    Example:
        >>> looks(["magnitude", "by chance"], {"by chance": "random"})["by chance"]["color"]
        '#767676'
    """
    names = list(names)
    given = {name: style.ROLE_OF_COLOR.get(role, role) for name, role in (roles or {}).items()}
    if unknown := sorted(given.keys() - set(names)):
        raise ValueError(f"roles has {unknown}, expected names among {names}. Correct the names.")
    free = [role for role in ORDER if role not in given.values()] or list(ORDER)
    found: dict[str, Any] = {}
    taken: list[Any] = []
    others = 0
    for name in names:
        if name not in given:
            others += 1
        role = given.get(name) or free[(others - 1) % len(free)]
        repeat = taken.count(role)
        taken.append(role)
        face = {"markerfacecolor": "white"} if repeat else {}
        found[name] = style.look(role) | {"linestyle": ("-", "--", ":", "-.")[repeat % 4]} | face
    return found


def kind(result: Any) -> str:
    """What a result's interval is taken over: "seeds", "examples", "rounds", or "" (something else)."""
    if isinstance(result, Speedup):
        return "rounds"
    if isinstance(result, Runs) or type(result) is Gap:
        return "seeds"
    examples = Accuracy | Share | Gap | PairedTest | Ratio | Perplexity
    return "examples" if isinstance(result, examples) else ""


def unit(result: Any) -> str:
    """The result's unit: "%" for accuracies and shares, "points", "×" for speed-ups, else ""."""
    if isinstance(result, Gap | PairedTest):
        return "points"
    if isinstance(result, Speedup | Ratio):
        return "×"
    return "%" if isinstance(result, Accuracy | Runs | Share) else ""


def whisker(ax: Axes, at: float, result: Any, color: str, **options: Any) -> None:
    """A result's interval as a horizontal bar in row `at`, or with ``upright=True`` at x = `at`."""
    ends, place = list(result.interval), [at, at]
    x, y = (place, ends) if options.pop("upright", False) else (ends, place)
    drawn_as = {"color": color, "gid": f"interval: {kind(result)}"} | INTERVAL[kind(result)]
    ax.plot(x, y, **drawn_as, **options)


def explain(results: Iterable[Any], upright: bool = False) -> list[Line2D]:
    """Legend entries for the intervals of these results."""
    marker, size = ("|", 13) if upright else ("_", 18)
    entries = []
    for over in dict.fromkeys(kind(result) for result in results):
        look = INTERVAL[over]
        text = f"95 % interval over {over}" if over else "95 % interval"
        entries.append(
            Line2D(
                [], [], linestyle="", marker=marker, markersize=size, color=style.INK,
                markeredgewidth=look["linewidth"], alpha=look.get("alpha"), label=text,
            )
        )  # fmt: skip
    return entries


def percent(value: float, _position: float | None = None) -> str:
    """As many decimals as a tick needs: matplotlib's formatter writes 95.00% on a short axis.

    Example:
        >>> percent(0.95), percent(0.005)
        ('95 %', '0.5 %')
    """
    return f"{100 * value:.6g} %".replace("-", "−")


def points(value: float, _position: int | None = None) -> str:
    """A difference of two fractions, in points.

    Example:
        >>> points(0.012), points(-0.5)
        ('+1.2', '−50')
    """
    return f"{100 * value:+.6g}".replace("-", "−") if abs(value) > 1e-9 else "0"


def plain(value: float, _position: int | None = None) -> str:
    """A number with at most three digits that count, or a whole number with commas.

    Example:
        >>> plain(0.0123456), plain(1234567)
        ('0.0123', '1,234,567')
    """
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}").replace("-", "−")


def ratio(value: float) -> str:
    """A ratio with two decimals, or with three digits where it is large.

    Example:
        >>> ratio(0.9987), ratio(41.66)
        ('1.00', '41.7')
    """
    return f"{value:.2f}" if value < 10 else plain(value)


TICK: dict[str, Any] = {"%": percent, "points": points, "×": plain, "": plain}


def say(result: Any) -> str:
    """A result's value with its unit, as a picture's label says it.

    Example:
        >>> say(Accuracy(95, 100))
        '95.0 %'
    """
    scale = unit(result)
    text = {"%": f"{100 * result.value:.1f} %", "points": f"{100 * result.value:+.1f} points"}
    text["×"] = f"{ratio(result.value)} ×"
    return text.get(scale, plain(result.value)).replace("-", "−")


def say_all(result: Any) -> str:
    """A result's value and interval.

    Example:
        >>> say_all(Accuracy(95, 100))
        '95.0 % (88.8 to 97.8)'
    """
    forms = {"%": lambda end: f"{100 * end:.1f}", "points": lambda end: f"{100 * end:+.1f}"}
    form = (forms | {"×": ratio}).get(unit(result), plain)
    ends = [form(end) for end in result.interval]
    return f"{say(result)} ({ends[0]} to {ends[1]})".replace("-", "−")


def name_reference(reference: Any, name: str) -> tuple[str, Any]:
    """A reference result with its name: `reference` is the result itself, or {name: result}."""
    return next(iter(reference.items())) if isinstance(reference, Mapping) else (name, reference)


def set_log_ticks(axis: Any, values: Iterable[float], tick: Any) -> None:
    """Ticks at 1, 2, 3 and 5 times a power of ten; more on a short axis, fewer on a long one."""
    low, high = min(values := list(values)), max(values)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for digits in ((1,), (1, 2, 3, 5), range(1, 10)):
        candidates = [float(f"{digit}e{power}") for power in powers for digit in digits]
        ticks = [t for t in candidates if low * 0.98 <= t <= high * 1.02]
        if len(ticks) >= 4:
            break
    if len(ticks) > 9:  # their labels would run into each other
        ticks = [tick for tick in ticks if f"{tick:e}"[0] != "3"]
    ticks = ticks or [low]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(tick))
    axis.set_minor_formatter(NullFormatter())
