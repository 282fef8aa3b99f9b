"""Plots of language models: perplexities, scores of layers, and what training brings back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from course_lib.evaluation.perplexities import Perplexity, round_numbers, shown
from course_lib.evaluation.significance import Share
from course_lib.lessons import style
from course_lib.lessons.plots_axes import (
    axes,
    explain,
    finish,
    legend,
    looks,
    percent,
    plain,
    say_all,
    set_log_ticks,
    whisker,
)
from course_lib.lessons.sketch import Drawing


def perplexities(
    rows: Mapping[str, Perplexity], *, title: str, reference: Mapping[str, Perplexity] | None = None
) -> Drawing:
    """Perplexities with their 95 % intervals over the reviews, one row a model; lower is better.

    The same reviews are hard for all models, so overlapping intervals say little about a difference:
    `Perplexity.times` compares two models review by review.

    Args:
        rows: name → perplexity.
        title: the finding, or the question.
        reference: name → the model to compare with, as a line (default: none).

    Example:
        >>> import torch
        >>> one = Perplexity(torch.tensor([3.0, 4.0, 5.0]), torch.ones(3))
        >>> print(perplexities({"small": one}, title="How well?").alt)
        Perplexity with 95 % intervals over reviews: small 54.6 (4.55–655, n = 3).
    """
    figure, (ax,) = axes(0.42 * len(rows) + 1.1, title)
    color = style.COLORS["student"]
    for row, result in enumerate(rows.values()):
        whisker(ax, row, result, color)
        ax.plot(result.value, row, "o", color=color, markersize=7, gid="value")
        look: Any = {"va": "center", "fontsize": style.NORMAL, "color": style.INK}
        ax.text(1.02, row, shown(result.value), transform=ax.get_yaxis_transform(), **look)
    dot: Any = {"marker": "o", "linestyle": "", "color": color, "label": "perplexity"}
    bar: Any = {"color": color, "linewidth": 1.2, "label": "95 % interval over reviews"}
    handles = [Line2D([], [], **dot), Line2D([], [], **bar)]
    ends = [end for result in rows.values() for end in result.interval]
    for name, result in (reference or {}).items():
        ends.append(result.value)
        handles.append(ax.axvline(result.value, color=style.COLORS["teacher"], label=name))
    ax.set_xscale("log")
    if max(ends) < 1e5 * min(ends):  # else matplotlib writes 10⁸
        ticks = round_numbers(min(ends), max(ends))
        if len(ticks) > 6:  # their labels would run into each other
            ticks = [tick for tick in ticks if f"{tick:e}".startswith("1")]
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_major_formatter(FuncFormatter(plain))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
    ax.set_xlabel("perplexity, lower is better")
    ax.tick_params(axis="y", labelsize=style.NORMAL, length=0)
    ax.grid(axis="x", alpha=0.3)
    legend(figure, handles)
    listed = "; ".join(f"{name} {result!r}" for name, result in rows.items())
    compared = "".join(f" {name}: {result!r}." for name, result in (reference or {}).items())
    return finish(figure, f"Perplexity with 95 % intervals over reviews: {listed}.{compared}")


def layer_scores(
    scores: Mapping[str, Sequence[float]], *, title: str, marked: Sequence[int] = ()
) -> Drawing:
    """Scores of the layers, one panel a score, one above the other, each on its own logarithmic axis.

    Args:
        scores: what the score is → one number above 0 for each layer.
        title: the finding, or the question.
        marked: layers to look at, counted from 1, as the axis counts.

    Example:
        >>> scores = {"block influence": [0.9, 0.1, 0.2], "loss": [8.0, 1.5, 4.0]}
        >>> print(layer_scores(scores, title="Layer 2 is the least important", marked=[2]).alt)
        Block influence of layers 1 to 3: 0.9, 0.1, 0.2. Loss of layers 1 to 3: 8, 1.5, 4. Marked: 2.
    """
    figure, panels = axes(1.9 * len(scores) + 0.5, title, (len(scores), 1), sharex=True)
    sentences, handles = [], []
    for ax, (name, values) in zip(panels, scores.items(), strict=True):
        layers = list(range(1, len(values) + 1))
        ax.plot(layers, values, "o-", color=style.COLORS["teacher"], markersize=4, gid="layers")
        here = [layers.index(layer) for layer in marked if layer in layers]
        look: Any = {"color": style.COLORS["accent"], "markersize": 9, "gid": "marked"}
        handles = ax.plot([layers[i] for i in here], [values[i] for i in here], "D", **look)
        ax.set_yscale("log")
        decade = 10.0 ** math.floor(math.log10(min(values)))  # its tick shows if there is room
        set_log_ticks(ax.yaxis, [decade, *values], plain)
        ax.set_title(name, fontsize=style.NORMAL, loc="left")
        ax.grid(alpha=0.3)
        listed = ", ".join(map(plain, values))
        sentences.append(f"{name[:1].upper()}{name[1:]} of layers 1 to {len(layers)}: {listed}.")
    panels[-1].set(xlabel="layer, counted from 1", xticks=[1, *range(5, len(layers) + 1, 5)])
    if marked:
        handles[0].set_label(f"layers {' and '.join(map(str, marked))}")
        legend(figure, handles)
        sentences.append(f"Marked: {', '.join(map(str, marked))}.")
    return finish(figure, " ".join(sentences))


def recovery(curves: Mapping[str, tuple[Sequence[int], Sequence[Share]]], *, title: str) -> Drawing:
    """The share of the lost log-perplexity that is back, against the steps of training.

    Args:
        curves: way of training → (steps, shares), as `tables.recovery` gives it.
        title: the finding, or the question.

    Example:
        >>> shares = [Share(0.0, 0.0, 0.0, 24), Share(0.6, 0.5, 0.7, 24)]
        >>> print(recovery({"distilled": ([0, 100], shares)}, title="Is it back?").alt)
        Share of the lost log-perplexity that is back. Distilled: 0.0 % (0.0 to 0.0) after 0 steps, \
60.0 % (50.0 to 70.0) after 100 steps.
    """
    figure, (ax,) = axes(3.3, title)
    roles = {"distilled": "student", "fine-tuned": "labels"}
    colored = {name: role for name, role in roles.items() if name in curves}
    handles, sentences = [], ["Share of the lost log-perplexity that is back."]
    for i, (name, look) in enumerate(looks(curves, colored).items()):
        steps, shares = curves[name]
        beside = [step + 0.006 * max(steps) * (2 * i - len(curves) + 1) for step in steps]
        for at, share in zip(beside, shares, strict=True):
            whisker(ax, at, share, look["color"], upright=True)
        values = [share.value for share in shares]
        handles += ax.plot(beside, values, label=name, linewidth=style.LINE, markersize=6, **look)
        said = zip(map(say_all, shares), steps, strict=True)
        listed = ", ".join(f"{share} after {step} steps" for share, step in said)
        sentences.append(f"{name[:1].upper()}{name[1:]}: {listed}.")
    ax.set(xlabel="steps of training", ylabel="lost log-perplexity that is back", ylim=(-0.03, 1))
    ax.set_xticks(sorted({step for steps, _ in curves.values() for step in steps}))
    ax.yaxis.set_major_formatter(percent)
    ax.grid(alpha=0.3)
    marks = explain((share for _, shares in curves.values() for share in shares), upright=True)
    marks[0].set_label("95 % interval over reviews")
    legend(figure, [*handles, *marks])
    return finish(figure, " ".join(sentences))
