"""Plots of data and of what is inside a model: weights, masks, units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from course_lib.lessons import style
from course_lib.lessons.plots_axes import axes, finish, legend, percent, plain, say_all
from course_lib.lessons.sketch import Drawing
from course_lib.pruning.masks import prunable


def digits(dataset: TensorDataset, columns: int = 12, rows: int = 2, title: str = "") -> Drawing:
    """The first pictures of a dataset of digits, each with its label."""
    height, width = rows * 0.95 + 0.3 * bool(title), max(columns * 0.6, 3.0)
    figure, panels = axes(height, title, (rows, columns), width=width)
    images, labels = dataset.tensors[0].cpu(), dataset.tensors[1].tolist()
    for ax in panels:
        ax.set_axis_off()
    for ax, image, label in zip(panels, images, labels, strict=False):
        ax.imshow(image.squeeze(0).numpy(), cmap="gray_r")
        ax.set_title(str(label), fontsize=style.NORMAL)
    shown = labels[: len(panels)]
    listed = ", ".join(map(str, shown))
    return finish(
        figure, f"{len(shown)} pictures of handwritten digits with their labels: {listed}."
    )


def weight_histogram(model: nn.Module, title: str = "") -> Drawing:
    """A histogram of each layer's weights, on one axis; half of them lie between the dotted lines.

    Example:
        >>> layer = nn.Linear(3, 1)
        >>> layer.weight = nn.Parameter(torch.tensor([[-0.2, 0.1, 0.5]]))
        >>> print(weight_histogram(nn.Sequential(layer)).alt)
        Histograms of the weights of 1 layer. Half of the weights lie within: 0 ±0.2 (3 weights).
    """
    weights = {name: weight.flatten().cpu() for name, weight in prunable(model).items()}
    half = {name: weight.abs().median().item() for name, weight in weights.items()}
    columns = min(len(weights), 3)
    rows = -(-len(weights) // columns)
    options: dict[str, Any] = {"shape": (rows, columns), "used": len(weights), "sharex": True}
    figure, panels = axes(2.3 * rows + 0.4, title, **options)
    for ax, (layer, values) in zip(panels, weights.items(), strict=True):
        ax.hist(values.numpy(), bins=80, color=style.COLORS["kept"])
        for edge in (-half[layer], half[layer]):
            ax.axvline(edge, color=style.INK, linestyle=":")
        text = f"{layer}: {len(values):,} weights\nhalf within ±{plain(half[layer])}"
        ax.set_title(text, fontsize=style.SMALL)
        ax.set(xlabel="weight", yticks=[])
    panels[0].xaxis.set_major_locator(MaxNLocator(4))  # shared by all
    panels[0].set_ylabel("weights")
    dots = Line2D([], [], linestyle=":", color=style.INK, label="half of the weights lie between")
    legend(figure, [dots])
    listed = ", ".join(f"{n} ±{plain(half[n])} ({len(w):,} weights)" for n, w in weights.items())
    count = f"{len(weights)} layer{'s' * (len(weights) > 1)}"
    description = f"Histograms of the weights of {count}. Half of the weights lie within: {listed}."
    if len(weights) > 1:
        narrow, wide = min(half, key=half.__getitem__), max(half, key=half.__getitem__)
        description += f" Narrowest is {narrow}, widest {wide}."
    return finish(figure, description)


def heat_map(
    values: Sequence[Sequence[Any]],
    rows: tuple[str, Sequence[object]],
    columns: tuple[str, Sequence[object]],
    title: str = "",
    unit: str = "accuracy",
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> Drawing:
    """A table of numbers as colors, with each number written in; the largest has a frame.

    Args:
        values: ``[rows, columns]``, numbers; or differences with `value` and `interval` in points, as
            of `evaluation.gap`: then each interval is written below its number.
        rows: the name of that direction, and a label for each row.
        columns: the same for the columns.
        title: the finding, or the question.
        unit: what the numbers are; accuracies (default) are shown in percent.
        limits: what the colors span → both ends of the scale (default: the smallest and the largest
            number, which makes any difference look large; for differences the largest of them, rounded
            up to whole points, with 0 in the middle). The name stands beside the scale.

    Example:
        >>> print(heat_map([[0.9, 0.8]], ("T", [4]), ("alpha", [0.5, 1]), "T = 4").alt)
        Accuracy by T and alpha: largest 90.0 % at T 4, alpha 0.5; smallest 80.0 % at T 4, alpha 1.
    """
    gaps = hasattr(values[0][0], "interval")
    height = (0.6 if gaps else 0.45) * len(rows[1]) + 1.2
    figure, (ax,) = axes(height, title, width=_width(len(columns[1]), 0.85, 3.2))
    numbers = [[100 * cell.value for cell in row] for row in values] if gaps else values
    cells = [(value, r, c) for r, row in enumerate(numbers) for c, value in enumerate(row)]
    low, high = min(cells), max(cells)
    widest = math.ceil(max(abs(low[0]), abs(high[0]))) or 1
    both = (-widest, widest) if gaps else (low[0], high[0])
    ((scale, (darkest, brightest)),) = (limits or {unit: both}).items()
    colors: dict[str, Any] = {"cmap": "PuOr" if gaps else "viridis", "aspect": "auto"}
    image = ax.imshow(numbers, vmin=darkest, vmax=brightest, **colors)
    percents = unit == "accuracy"

    def written(value: float, r: int, c: int) -> str:
        if gaps:
            return say_all(values[r][c]).replace(" points", "")
        return f"{100 * value:.1f}" if percents else f"{value:.2f}"

    for value, r, c in cells:
        dark = abs(value) > 0.7 * widest if gaps else value < (darkest + brightest) / 2
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": style.SMALL}
        text = written(value, r, c).replace(" (", "\n(")
        ax.text(c, r, text, color="white" if dark else "black", **look)
    corner = (high[2] - 0.5, high[1] - 0.5)
    look = {"fill": False, "edgecolor": style.INK, "linewidth": 3}
    ax.add_patch(Rectangle(corner, 1, 1, **look))
    ax.set(xticks=range(len(columns[1])), xticklabels=columns[1], xlabel=columns[0])
    ax.set(yticks=range(len(rows[1])), yticklabels=rows[1], ylabel=rows[0])
    _color_bar(ax, image, scale, percents)
    legend(figure, [Patch(label="the largest", **look)])

    def place(cell: tuple[float, int, int]) -> str:
        value = f"{written(*cell)} %" if percents else written(*cell)
        return f"{value} at {rows[0]} {rows[1][cell[1]]}, {columns[0]} {columns[1][cell[2]]}"

    description = f"{unit} by {rows[0]} and {columns[0]}"
    return finish(figure, f"{description}: largest {place(high)}; smallest {place(low)}.")


def unit_map(values: Tensor, rows: str, columns: str, label: str, title: str = "") -> Drawing:
    """A number for each unit of each layer ``[layers, units]`` as colors; both are counted from 1.

    Example:
        >>> print(unit_map(torch.tensor([[0.5, 2.0]]), "layer", "head", "importance").alt)
        Importance by layer and head, from 1: highest 2 (layer 1, head 2), lowest 0.5 (layer 1, head 1).
    """
    values = values.detach().float().cpu()
    height, width = values.shape
    figure, (ax,) = axes(0.4 * height + 1.2, title, width=_width(width, 0.42, 2.4))
    least = min(0.0, values.min().item())  # from 0, so that twice as much looks like twice as much
    image = ax.imshow(values.numpy(), cmap="viridis", aspect="auto", vmin=least)
    step = -(-width // 24)  # more numbers would run into each other
    ax.set(xticks=range(0, width, step), xticklabels=range(1, width + 1, step), xlabel=columns)
    ax.set(yticks=range(height), yticklabels=range(1, height + 1), ylabel=rows)
    _color_bar(ax, image, label)

    def place(index: Tensor) -> str:
        row, column = divmod(int(index), width)
        return f"{plain(values[row, column].item())} ({rows} {row + 1}, {columns} {column + 1})"

    description = f"highest {place(values.argmax())}, lowest {place(values.argmin())}"
    return finish(figure, f"{label} by {rows} and {columns}, from 1: {description}.")


def mask_rows(mask: Tensor, title: str = "") -> Drawing:
    """A corner of a mask ``[neurons, inputs]`` as squares, with a line every four: the 2:4 pattern."""
    figure, (ax,) = axes(7 * mask.shape[0] / mask.shape[1] + 0.8, title)
    colors = [style.COLORS["pruned"], style.COLORS["teacher"]]
    ax.imshow(
        mask.float().cpu().numpy(), cmap=ListedColormap(colors), vmin=0, vmax=1, aspect="equal"
    )
    for edge in range(0, mask.shape[1] + 1, 4):
        ax.axvline(edge - 0.5, color="black", linewidth=1.5)
    for edge in range(1, mask.shape[1]):
        ax.axvline(edge - 0.5, color="white", linewidth=0.5, zorder=1.5)
    for edge in range(1, mask.shape[0]):
        ax.axhline(edge - 0.5, color="white", linewidth=0.5, zorder=1.5)
    ax.set(xticks=[], yticks=[], xlabel="input (a line every four)", ylabel="neuron")
    legend(figure, [Patch(color=colors[0], label="pruned"), Patch(color=colors[1], label="kept")])
    kept = mask[:, : mask.shape[1] // 4 * 4].reshape(-1, 4).sum(1)
    description = f"Of {mask.numel()} weights in {len(mask)} rows, {int(mask.sum())} are kept"
    description += (
        f"; each group of four keeps {int(kept.min())} to {int(kept.max())}" if len(kept) else ""
    )
    return finish(figure, f"{description}.")


def inputs_used(model: nn.Module, title: str = "") -> Drawing:
    """How many weights of LeNet's first layer each pixel still has: which pixels it still uses."""
    weight = prunable(model, ["fc1"])["fc1"]  # [units, 784]
    used = (weight != 0).sum(0).view(28, 28).cpu()
    figure, (ax,) = axes(3.4, title, width=4.6)
    image = ax.imshow(used.numpy(), cmap="viridis")
    _color_bar(ax, image, f"weights left, of {len(weight)}")
    ax.set_axis_off()
    far = torch.arange(28).sub(13.5).abs()
    distance = torch.maximum(far[:, None], far[None, :])  # from the center, in pixels
    zones = {
        "the center (8 × 8 pixels)": distance < 4,
        "the ring around it (out to 20 × 20)": (distance > 4) & (distance < 10),
        "the border (the outer 4 pixels)": distance > 10,
    }
    means = [f"{used[zone].float().mean():.1f} in {name}" for name, zone in zones.items()]
    empty = int((used == 0).sum())
    return finish(
        figure,
        f"A map of 28 × 28 pixels, colored by the weights left. On average a pixel has "
        f"{', '.join(means)}. {empty} of 784 pixels have none.",
    )


def _width(columns: int, each: float, extra: float) -> float:
    return min(each * columns + extra, style.WIDTH)


def _color_bar(ax: Axes, image: Any, label: str, percents: bool = False) -> None:
    figure: Any = ax.figure
    bar = figure.colorbar(image, ax=ax, format=FuncFormatter(percent) if percents else None)
    bar.set_label(label, fontsize=style.NORMAL)
    bar.ax.tick_params(labelsize=style.SMALL)
