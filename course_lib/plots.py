"""The figures of the lessons. Every function returns its Figure; `show` displays it with alt text."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from course_lib.groups import groups
from course_lib.masking import prunable
from course_lib.measure import Accuracy, Calibration, Latency, Runs
from course_lib.units import CONVOLUTIONS

# Okabe & Ito 2008: told apart with any kind of colour vision; markers differ as well.
BLUE, ORANGE, GREEN, PINK, SKY, RED = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00",
)  # fmt: skip
GREY = "#999999"
_POINTS: dict[str, Any] = {"textcoords": "offset points", "ha": "center"}
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
MARKERS = "osD^vP"

CUTTABLE = (nn.Linear, *CONVOLUTIONS)

Curve = Sequence[tuple[float, Accuracy | Runs]]


def show(figure: Figure, alt: str) -> None:
    """Display a figure with a text that says what it shows, for those who cannot see it; close it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    plt.close(figure)
    png = base64.b64encode(buffer.getvalue()).decode()
    display({"image/png": png, "text/plain": alt}, metadata={"image/png": {"alt": alt}}, raw=True)


def digits(dataset: TensorDataset, columns: int = 12, rows: int = 2) -> Figure:
    """The first pictures of a dataset of digits, each with its label."""
    figure, axes = _axes(rows, columns, width=columns * 0.75, height=rows * 0.95)
    images, labels = dataset.tensors[0].cpu(), dataset.tensors[1]
    for ax, image, label in zip(axes.flat, images, labels, strict=False):
        ax.imshow(image.squeeze(0), cmap="gray_r")
        ax.set_title(int(label), fontsize=10)
        ax.set_axis_off()
    return figure


def weight_histogram(model: nn.Module) -> Figure:
    """One histogram of the weights for each layer; the dotted lines hold the middle half of them."""
    weights = prunable(model)
    figure, axes = _axes(1, len(weights), width=3.1 * len(weights), height=2.6, sharex=True)
    for ax, (layer, weight) in zip(axes.flat, weights.items(), strict=True):
        values = weight.flatten().cpu()
        middle = values.abs().median().item()
        ax.hist(values.numpy(), bins=80, color=BLUE)
        for edge in (-middle, middle):
            ax.axvline(edge, color="black", linestyle=":")
        ax.set(title=f"{layer}: {values.numel():,} weights", xlabel="weight", yticks=[])
    return figure


def accuracy_curves(
    curves: Mapping[str, Curve], xlabel: str = "sparsity", reference: Accuracy | None = None
) -> Figure:
    """Accuracy against a share (such as sparsity), one line a name, with 95 % intervals as bars.

    `reference`, such as the dense network's accuracy, becomes a grey band.
    """
    figure, axes = _axes(1, 1, width=7.2, height=3.8)
    ax = axes.flat[0]
    if reference is not None:
        ax.axhspan(*reference.interval, color=GREY, alpha=0.25, linewidth=0)
        ax.axhline(reference.value, color=GREY, label="dense, with its interval")
    for i, (name, points) in enumerate(curves.items()):
        accuracy_curve(ax, points, name, COLOURS[i % 6], MARKERS[i % 6])
    ax.set(xlabel=xlabel, ylabel="accuracy")
    ax.xaxis.set_major_formatter(_percent)
    ax.yaxis.set_major_formatter(_percent)
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def accuracy_curve(ax: Axes, points: Curve, name: str, colour: str, marker: str) -> None:
    """One line of `accuracy_curves` on axes that exist already."""
    x = [at for at, _ in points]
    y = [accuracy.value for _, accuracy in points]
    low = [accuracy.value - accuracy.interval[0] for _, accuracy in points]
    high = [accuracy.interval[1] - accuracy.value for _, accuracy in points]
    ax.errorbar(
        x, y, [low, high], label=name, color=colour, marker=marker, capsize=2, elinewidth=0.8
    )


def comparison(results: Mapping[str, Accuracy | Runs], title: str = "") -> Figure:
    """Accuracies as points with their 95 % intervals, one row a name; seeds as small dots."""
    figure, axes = _axes(1, 1, width=6.4, height=0.45 * len(results) + 1)
    ax = axes.flat[0]
    for row, result in enumerate(results.values()):
        low, high = result.interval
        ax.plot([low, high], [row, row], color=BLUE)
        ax.plot(result.value, row, "o", color=BLUE, markersize=8)
        for run in getattr(result, "accuracies", ()):
            ax.plot(run.value, row, "|", color="black", markersize=12)
        ax.annotate(f"{100 * result.value:.1f}", (result.value, row), (0, 7), **_POINTS)
    ax.set(yticks=range(len(results)), yticklabels=list(results), xlabel="accuracy", title=title)
    ax.xaxis.set_major_formatter(_percent)
    ax.xaxis.set_major_locator(MaxNLocator(5))  # more labels would run into each other
    ax.margins(x=0.08, y=0.25)
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.3)
    return figure


def class_bars(rows: Mapping[str, Tensor], names: Sequence[str]) -> Figure:
    """Probabilities as bars: one panel a row of `rows`, one bar a class."""
    figure, axes = _axes(1, len(rows), width=2.9 * len(rows), height=2.5)
    for ax, (title, probabilities) in zip(axes.flat, rows.items(), strict=True):
        ax.bar(list(names), probabilities.tolist(), color=BLUE)
        for x, p in enumerate(probabilities.tolist()):
            if p >= 0.005:  # a label on an invisible bar would only confuse
                text = f"{p:.2f}".removeprefix("0")  # ".10": ten bars leave room for no more
                ax.annotate(text, (x, p), (0, 2), fontsize=8, **_POINTS)
        ax.set(ylim=(0, 1.12), yticks=[0, 0.5, 1])
        ax.set_title(title, fontsize=10, wrap=True)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str
) -> Figure:
    """Plain curves, name → (x, y), on logarithmic axes."""
    figure, axes = _axes(1, 1, width=6.4, height=3.4)
    ax = axes.flat[0]
    for i, (name, (x, y)) in enumerate(curves.items()):
        ax.loglog(x, y, color=COLOURS[i % 6], marker=MARKERS[i % 6], label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return figure


def heat_map(
    values: Sequence[Sequence[float]],
    rows: Sequence[object],
    columns: Sequence[object],
    unit: str = "accuracy",
) -> tuple[Figure, Axes]:
    """A table of numbers as colours, with each number written in; the largest has a frame.

    With the default `unit` they are accuracies, shown as percentages. Returns the axes, too, for the
    names of the two directions.
    """
    figure, axes = _axes(1, 1, width=0.85 * len(columns) + 2.2, height=0.5 * len(rows) + 1.3)
    ax = axes.flat[0]
    image = ax.imshow(values, cmap="viridis", aspect="auto")
    flat = [(value, r, c) for r, row in enumerate(values) for c, value in enumerate(row)]
    low, high = min(flat)[0], max(flat)[0]
    percent = unit == "accuracy"
    for value, r, c in flat:
        dark = value < (low + high) / 2
        colour = "white" if dark else "black"
        text = f"{100 * value:.1f}" if percent else f"{value:.2f}"
        ax.text(c, r, text, ha="center", va="center", color=colour)
    _, r, c = max(flat)
    ax.add_patch(Rectangle((c - 0.5, r - 0.5), 1, 1, fill=False, edgecolor=RED, linewidth=3))
    ax.set(xticks=range(len(columns)), yticks=range(len(rows)))
    ax.set(xticklabels=columns, yticklabels=rows)
    figure.colorbar(image, ax=ax, label=unit, format=FuncFormatter(_percent) if percent else None)
    return figure, ax


def parts(models: Mapping[str, Mapping[str, float]], unit: str) -> Figure:
    """What each model is made of: one stacked bar a model, its parts in the same order and colours."""
    figure, axes = _axes(1, 1, width=7.2, height=0.5 * len(models) + 1.5)
    ax = axes.flat[0]
    names = list(dict.fromkeys(part for parts_of_it in models.values() for part in parts_of_it))
    left = [0.0] * len(models)
    for i, name in enumerate(names):
        sizes = [parts_of_it.get(name, 0.0) for parts_of_it in models.values()]
        hatch = (None, "//", "..", "xx")[i % 4]  # told apart without colours, too
        ax.barh(
            list(models), sizes, left=left, label=name, color=COLOURS[i % 6],
            hatch=hatch, edgecolor="white",
        )  # fmt: skip
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    _label_bars(ax, left, [f"{end:,.1f}" for end in left])
    ax.set(xlabel=unit)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names), frameon=False)
    return figure


def reliability(models: Mapping[str, Calibration]) -> Figure:
    """Accuracy against confidence, one panel a model; a calibrated one lies on the diagonal."""
    figure, axes = _axes(1, len(models), width=2.9 * len(models), height=3)
    for ax, (name, result) in zip(axes.flat, models.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=GREY, linestyle=":")
        sizes = [8 + 150 * count / max(result.count) for count in result.count]
        ax.plot(result.confidence, result.accuracy, color=BLUE, linewidth=1)
        ax.scatter(result.confidence, result.accuracy, s=sizes, color=BLUE)
        ax.set(title=f"{name}: ECE {result.ece:.3f}", xlabel="confidence", ylabel="accuracy")
        ax.set(xlim=(0, 1.03), ylim=(0, 1.05))
        ax.title.set_fontsize(10)
    return figure


def latency_bars(latencies: Mapping[str, Latency], title: str = "") -> Figure:
    """Median latency as bars, the quartiles as whiskers; every bar says its number."""
    figure, axes = _axes(1, 1, width=6.4, height=0.5 * len(latencies) + 1)
    ax = axes.flat[0]
    rows = list(latencies.values())
    medians = [row.median for row in rows]
    whiskers = [[row.median - row.q1 for row in rows], [row.q3 - row.median for row in rows]]
    ax.barh(list(latencies), medians, xerr=whiskers, color=BLUE, ecolor="black", capsize=3)
    _label_bars(ax, [row.q3 for row in rows], [f"{row.median:.3g} ms" for row in rows])
    ax.set(xlabel=f"milliseconds a batch ({rows[0].setting})", title=title)
    return figure


def size_bars(sizes: Mapping[str, int], title: str = "") -> Figure:
    """Bytes as bars; every bar says its number in kilobytes, or in megabytes where it is large."""
    figure, axes = _axes(1, 1, width=6.4, height=0.5 * len(sizes) + 1)
    ax = axes.flat[0]
    unit, name = (1e6, "MB") if max(sizes.values()) > 5e6 else (1e3, "kB")
    values = [size / unit for size in sizes.values()]
    ax.barh(list(sizes), values, color=GREEN)
    _label_bars(ax, values, [f"{value:,.0f} {name}" for value in values])
    ax.set(xlabel=name, title=title)
    return figure


def coupling(model: nn.Module) -> Figure:
    """Which layers compute and which read each group of channels: what must be cut together.

    One row a group; a filled square computes its channels, a ring reads them.
    """
    found = groups(model)
    modules = [name for name, module in model.named_modules() if isinstance(module, CUTTABLE)]
    modules = [n for n in modules if any(n == s.module for g in found.values() for s in g.slices)]
    width, height = 0.62 * len(modules) + 2, 0.5 * len(found) + 1.6
    figure, axes = _axes(1, 1, width=width, height=height)
    ax = axes.flat[0]
    for row, group in enumerate(found.values()):
        colour = COLOURS[row % 6]
        places = {(modules.index(s.module), s.reads) for s in group.slices if s.module in modules}
        ends = [x for x, _ in places]
        ax.plot([min(ends), max(ends)], [row, row], color=colour, linewidth=1)
        for x, reads in sorted(places):  # a layer may do both: the ring lies on the square
            mark, size, face = ("o", 8, "white") if reads else ("s", 12, colour)
            ax.plot(x, row, mark, color=colour, markerfacecolor=face, markersize=size)
    ax.set(xticks=range(len(modules)), yticks=range(len(found)), xlim=(-0.6, len(modules) - 0.4))
    ax.set_xticklabels(modules, rotation=40, ha="right")
    ax.set_yticklabels([f"{group.units} {group.kind}" for group in found.values()])
    ax.set_title("■ computes   ○ reads", fontsize=10)
    ax.invert_yaxis()
    ax.margins(y=0.2)
    ax.grid(alpha=0.25)
    return figure


def unit_map(values: Tensor, rows: str, columns: str, label: str) -> Figure:
    """A number for each unit of each layer ``[layers, units]`` as colours: the importance of heads."""
    figure, axes = _axes(
        1, 1, width=0.42 * values.shape[1] + 2.2, height=0.42 * values.shape[0] + 1
    )
    ax = axes.flat[0]
    image = ax.imshow(values.detach().float().cpu(), cmap="viridis", aspect="auto")
    ax.set(xlabel=columns, ylabel=rows)
    ax.set(xticks=range(values.shape[1]), yticks=range(values.shape[0]))
    figure.colorbar(image, ax=ax, label=label)
    return figure


def mask_rows(mask: Tensor, title: str = "") -> Figure:
    """A corner of a mask as squares: dark where the weight stays. Shows a pattern such as 2:4."""
    figure, axes = _axes(1, 1, width=6.4, height=2.4)
    ax = axes.flat[0]
    ax.imshow(mask.float().cpu(), cmap="Blues", vmin=0, vmax=1.2, aspect="equal")
    for edge in range(0, mask.shape[1] + 1, 4):
        ax.axvline(edge - 0.5, color="black", linewidth=1)
    ax.set(title=title, yticks=[], xlabel="input", ylabel="neuron")
    return figure


def inputs_used(model: nn.Module) -> Figure:
    """How many weights of LeNet's first layer each pixel still has: where it can still see."""
    weight = prunable(model, ["fc1"])["fc1"]  # [units, 784]
    used = (weight != 0).sum(0).view(28, 28).cpu()
    figure, axes = _axes(1, 1, width=3.6, height=3)
    ax = axes.flat[0]
    image = ax.imshow(used, cmap="viridis")
    figure.colorbar(image, ax=ax, label=f"weights left, of {len(weight)}")
    ax.set_axis_off()
    return figure


def _axes(
    rows: int, columns: int, width: float, height: float, sharex: bool = False
) -> tuple[Figure, Any]:
    return plt.subplots(
        rows,
        columns,
        figsize=(width, height),
        squeeze=False,
        sharex=sharex,
        layout="constrained",
    )


def _percent(value: float, _position: int | None = None) -> str:
    """As many decimals as a tick needs: matplotlib's formatter writes 95.00% on a short axis."""
    return f"{100 * value:.6g} %"


def _label_bars(ax: Axes, ends: Sequence[float], texts: Sequence[str]) -> None:
    for row, (end, text) in enumerate(zip(ends, texts, strict=True)):
        ax.annotate(text, (end, row), xytext=(6, 0), textcoords="offset points", va="center")
    ax.set_xlim(0, max(ends) * 1.2)
    ax.invert_yaxis()  # the first name on top, as one reads
    ax.spines[["top", "right"]].set_visible(False)
