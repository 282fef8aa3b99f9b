"""Plots of bars, and of confidence: probabilities, parts of a model, latency, bytes, reliability."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from course_lib.evaluation.calibration import Calibration
from course_lib.evaluation.timing import Latency
from course_lib.lessons import style
from course_lib.lessons.plots_axes import HATCHES, ORDER, axes, finish, legend, percent, plain
from course_lib.lessons.sketch import Drawing

BAR = style.COLORS["teacher"]
LONGEST_NAME = 60  # characters above a panel


def signed_bars(
    rows: Mapping[str, Tensor], names: Sequence[str], *, title: str, ylabel: str
) -> Drawing:
    """Numbers of either sign as bars, one panel a row of `rows` ``[classes]``, on one scale.

    Example:
        >>> import torch
        >>> rows = {"T = 1": torch.tensor([-0.1, 0.1])}
        >>> print(signed_bars(rows, ["cat", "dog"], title="Up or down?", ylabel="push").alt)
        Push. T = 1: above 0 dog (+0.10); below 0 cat (−0.10).
    """
    figure, panels = axes(2.5, title, (1, len(rows)), sharey=True)
    sentences = [f"{ylabel}."]
    for ax, (name, tensor) in zip(panels, rows.items(), strict=True):
        values = tensor.tolist()
        colors = [BAR if value > 0 else style.COLORS["accent"] for value in values]
        ax.bar(list(names), values, color=colors)
        ax.axhline(0, color=style.INK, linewidth=style.THIN)
        ax.set_title(name, fontsize=style.NORMAL)
        said = [f"{n} ({v:+.2f})".replace("-", "−") for n, v in zip(names, values, strict=True)]
        up = [text for text, value in zip(said, values, strict=True) if value > 0]
        down = [text for text, value in zip(said, values, strict=True) if value <= 0]
        sentences.append(f"{name}: above 0 {', '.join(up)}; below 0 {', '.join(down)}.")
    panels[0].set_ylabel(ylabel)
    return finish(figure, " ".join(sentences))


def class_bars(rows: Mapping[str, Tensor], names: Sequence[str], title: str = "") -> Drawing:
    """Probabilities as bars: one panel a row of `rows` ``[classes]``, one bar a class. A long name is
    shortened above its panel, but not in the alt text.

    Example:
        >>> import torch
        >>> print(class_bars({"It is great.": torch.tensor([0.1, 0.9])}, ["negative", "positive"]).alt)
        Probabilities. It is great.: positive 0.90, negative 0.10.
    """
    columns = min(len(rows), 2 if len(names) > 4 else 4)
    lines = -(-len(rows) // columns)
    shape, panel = (lines, columns), style.WIDTH / columns
    figure, panels = axes(2.2 * lines + 0.3, title, shape, len(rows), sharey=True)
    sentences = ["Probabilities."]
    for ax, (name, tensor) in zip(panels, rows.items(), strict=True):
        probabilities = tensor.tolist()
        draw_bars(ax, probabilities, names)
        short = textwrap.shorten(name, LONGEST_NAME, placeholder=" …")
        ax.set_title(textwrap.fill(short, round(panel * 11)), fontsize=style.SMALL)
        ranked = sorted(zip(probabilities, names, strict=True), key=lambda pair: -pair[0])
        sentences.append(
            f"{name}: {', '.join(f'{n} {p:.2f}' for p, n in ranked[:3])}.".replace("..:", ".:")
        )
    for ax in panels[::columns]:
        ax.set_ylabel("probability")
    return finish(figure, " ".join(sentences))


def draw_bars(
    ax: Axes, values: Sequence[float], names: Sequence[str], top: float = 1.0, labeled: bool = True
) -> None:
    """Probabilities as bars, with numbers if `labeled`. One above `top` is cut, and has an arrow."""
    ax.bar(list(names), [min(value, 1.1 * top) for value in values], color=BAR)
    for x, p in enumerate(values):
        if p > top or (labeled and p >= 0.005):  # a label on an invisible bar would only confuse
            text = f"{p:.2f}".removeprefix("0")  # ".10": ten bars leave room for no more
            look: Any = {"textcoords": "offset points", "ha": "center", "fontsize": style.SMALL}
            if p > top:
                text = f"↑{p:.3f}".replace("0.", ".")
            ax.annotate(text, (x, min(p, 1.1 * top)), (0, 2), **look)
    ax.set(ylim=(0, (1.15 if top > 0.5 else 1.3) * top), yticks=[0, top / 2, top])


def parts(
    models: Mapping[str, Mapping[str, float]],
    unit: str,
    title: str = "",
    symbol: str = "",
    *,
    shares: bool = False,
) -> Drawing:
    """What each model is made of: one stacked bar a model, its parts in the same order and colors.

    The first part says its share of the model, and with `shares` every part; with a unit's `symbol`,
    such as "ms", its size, too, and sizes have two decimals.

    Example:
        >>> print(parts({"BERT": {"embeddings": 23.8, "layers": 85.1}}, "million parameters").alt)
        Million parameters. BERT: 108.9 (embeddings 23.8, layers 85.1).
    """
    figure, (ax,) = axes(0.5 * len(models) + 1.0, title)
    names = list(dict.fromkeys(part for made_of in models.values() for part in made_of))
    left, bars = [0.0] * len(models), []
    digits = 2 if symbol else 1
    largest = max(sum(made_of.values()) for made_of in models.values())
    for i, name in enumerate(names):
        sizes = [made_of.get(name, 0.0) for made_of in models.values()]
        color, hatch = style.COLORS[ORDER[i % len(ORDER)]], HATCHES[i % len(HATCHES)]
        look: Any = {"color": color, "hatch": hatch, "edgecolor": "white"}
        bars.append(ax.barh(list(models), sizes, left=left, label=name, **look))
        for row, made_of in enumerate(models.values()):
            share = sizes[row] / sum(made_of.values())
            fits = sizes[row] > 0.07 * largest
            if (i == 0 or shares) and share >= 0.05 and fits:  # the first, such as the embeddings
                look = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
                at = {"ha": "center", "va": "center", "fontsize": style.SMALL, "bbox": look}
                said = f"{100 * share:.0f} %"
                said = f"{sizes[row]:,.{digits}f} {symbol} ({said})" if symbol else said
                ax.text(left[row] + sizes[row] / 2, row, said, **at)
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    _label_bars(ax, left, [f"{end:,.{digits}f} {symbol}".rstrip() for end in left])
    ax.set(xlabel=unit)
    legend(figure, bars)
    description = "; ".join(
        f"{model}: {sum(made_of.values()):,.{digits}f} "
        f"({', '.join(f'{name} {size:,.{digits}f}' for name, size in made_of.items())})"
        for model, made_of in models.items()
    )
    return finish(figure, f"{unit}. {description}.")


def latency_bars(latencies: Mapping[str, Latency], title: str = "") -> Drawing:
    """Median latency as bars, the quartiles as whiskers; every bar says its number."""
    figure, (ax,) = axes(0.45 * len(latencies) + 1.0, title)
    rows = list(latencies.values())
    whiskers = [[row.median - row.q1 for row in rows], [row.q3 - row.median for row in rows]]
    medians = [row.median for row in rows]
    ax.barh(list(latencies), medians, xerr=whiskers, color=BAR, ecolor=style.INK, capsize=4)
    _label_bars(ax, [row.q3 for row in rows], [f"{plain(row.median)} ms" for row in rows])
    settings = list(dict.fromkeys(row.setting for row in rows))
    ax.set(xlabel=f"milliseconds per batch ({'; '.join(settings)})")
    look: Any = {"linestyle": "", "color": style.INK, "markersize": 12}
    bar = Line2D([], [], marker="s", label="median", **(look | {"color": BAR}))
    legend(figure, [bar, Line2D([], [], marker="_", label="from quartile to quartile", **look)])
    description = "; ".join(
        f"{name} {plain(row.median)} ms (quartiles {plain(row.q1)} to {plain(row.q3)})"
        for name, row in latencies.items()
    )
    return finish(figure, f"Median latency ({'; '.join(settings)}): {description}.")


def size_bars(sizes: Mapping[str, int], title: str = "") -> Drawing:
    """Bytes as bars; every bar says its number in kilobytes, or in megabytes where it is large.

    Example:
        >>> size_bars({"dense": 1_070_000, "zipped": 990_000}).alt
        'File sizes: dense 1,070 kB; zipped 990 kB.'
    """
    figure, (ax,) = axes(0.45 * len(sizes) + 1.2, title)
    unit, name = (1e6, "MB") if max(sizes.values()) > 5e6 else (1e3, "kB")
    values = [size / unit for size in sizes.values()]
    ax.barh(list(sizes), values, color=BAR)
    texts = [f"{plain(value)} {name}" for value in values]
    _label_bars(ax, values, texts)
    ax.set(xlabel=name)
    description = "; ".join(f"{model} {text}" for model, text in zip(sizes, texts, strict=True))
    return finish(figure, f"File sizes: {description}.")


def reliability(models: Mapping[str, Calibration], title: str = "") -> Drawing:
    """Accuracy against confidence, one panel a model; a calibrated one lies on the diagonal."""
    columns = len(models) if len(models) <= 3 else 2 if len(models) == 4 else 3
    shape = (-(-len(models) // columns), columns)
    shared = {"sharex": True, "sharey": True}
    figure, panels = axes(2.4 * shape[0] + 0.4, title, shape, len(models), **shared)
    sentences = []
    for ax, (name, result) in zip(panels, models.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=style.GRAY, linestyle=":")
        sizes = [8 + 150 * count / max(result.count) for count in result.count]
        ax.plot(result.confidence, result.accuracy, color=BAR, linewidth=1)
        ax.scatter(result.confidence, result.accuracy, s=sizes, color=BAR)
        ax.set(xlim=(0, 1.05), ylim=(0, 1.08), xlabel="confidence", ylabel="accuracy")
        ax.label_outer()
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks([0, 0.5, 1])
            axis.set_major_formatter(percent)
        ax.set_title(f"{name}: ECE {result.ece:.3f}", fontsize=style.SMALL)
        sentences.append(f"{name} {result.ece:.3f} ({_lean(result)})")
    dot: Any = {"marker": "o", "color": BAR, "linewidth": 1}
    legend(
        figure,
        [
            Line2D([], [], label="one bin: the larger, the more examples", **dot),
            Line2D([], [], linestyle=":", color=style.GRAY, label="perfectly calibrated"),
        ],
    )
    return finish(figure, f"Expected calibration error: {'; '.join(sentences)}.")


def _lean(result: Calibration) -> str:
    """Is the model on average more confident than accurate?"""
    n = sum(result.count)
    rows = zip(result.count, result.confidence, result.accuracy, strict=True)
    more = sum(count * (confidence - accuracy) for count, confidence, accuracy in rows) / n
    side = "above" if more >= 0 else "below"
    return f"confidence on average {100 * abs(more):.1f} points {side} accuracy"


def _label_bars(ax: Axes, ends: Sequence[float], texts: Sequence[str]) -> None:
    look: Any = {"textcoords": "offset points", "va": "center", "fontsize": style.SMALL}
    for row, (end, text) in enumerate(zip(ends, texts, strict=True)):
        ax.annotate(text, (end, row), xytext=(6, 0), **look)
    ax.set_xlim(0, max(ends) * 1.2)
    ax.invert_yaxis()  # the first name on top, as one reads
