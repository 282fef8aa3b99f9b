"""Pictures above the answers that models give to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from course_lib.lessons import style
from course_lib.lessons.plots_axes import axes, finish
from course_lib.lessons.plots_bars import draw_bars
from course_lib.lessons.sketch import Drawing

RIGHT, WRONG = style.COLORS["teacher"], style.COLORS["student"]


def answers(images: Tensor, labels: Tensor, rows: Mapping[str, Tensor], title: str = "") -> Drawing:
    """Pictures of digits, and below each the digit that every model answers: right ones on a tint.

    Args:
        images: ``[n, 1, height, width]``, at most 12.
        labels: ``[n]``, the true digits.
        rows: name of a model → its answers ``[n]``.
        title: the finding, or the question.

    Raises:
        ValueError: not one answer for each picture, or no or too many pictures.

    Example:
        >>> import torch
        >>> rows = {"alone": torch.tensor([5, 8]), "with a teacher": torch.tensor([3, 8])}
        >>> print(answers(torch.rand(2, 1, 4, 4), torch.tensor([3, 3]), rows).alt)
        2 pictures of 3, 3. alone answers 5, 8: 0 right. with a teacher answers 3, 8: 1 right.
    """
    n = len(images)
    lengths = {name: len(given) for name, given in rows.items()}
    if not 1 <= n <= 12 or {*lengths.values(), len(labels)} != {n}:
        raise ValueError(
            f"{n} pictures, {len(labels)} labels and answers {lengths}; expected 1 to 12 pictures, and "
            "a label and an answer of each model for every one."
        )
    height = 0.95 + 0.36 * len(rows) + 0.35 * bool(title)
    figure, (ax,) = axes(height, title)
    ax.set(xlim=(-0.5, n - 0.5), ylim=(-len(rows) - 0.1, 1.05), xticks=[])
    ax.spines[:].set_visible(False)
    for i, image in enumerate(images.cpu()):
        place = (i - 0.44, i + 0.44, 0.02, 1.02)
        ax.imshow(image.squeeze(0).numpy(), cmap="gray_r", extent=place, aspect="auto")
    ax.set(xlim=(-0.5, n - 0.5), ylim=(-len(rows) - 0.1, 1.05))
    sentences = [f"{n} pictures of {_listed(labels)}."]
    for row, (name, given) in enumerate(rows.items()):
        right = (given == labels).tolist()
        for i, (digit, good) in enumerate(zip(given.tolist(), right, strict=True)):
            look: Any = {"facecolor": style.tint(RIGHT, 0.3), "edgecolor": RIGHT} if good else {}
            look = {"boxstyle": "round,pad=0.25", "linewidth": 1, **(look or WRONG_BOX)}
            weight = "bold" if good else "normal"
            spot = (i, -row - 0.55)
            ax.text(*spot, str(digit), ha="center", va="center", bbox=look, weight=weight, gid=name)
        sentences.append(f"{name} answers {_listed(given)}: {sum(right)} right.")
    ax.set_yticks([-row - 0.55 for row in range(len(rows))], list(rows), fontsize=style.NORMAL)
    ax.tick_params(length=0)
    return finish(figure, " ".join(sentences))


def picture_and_bars(
    image: Tensor,
    rows: Mapping[str, Tensor],
    names: Sequence[str],
    *,
    title: str,
    top: float = 1.0,
) -> Drawing:
    """One picture, and beside it what a model answers, as bars: one panel a row.

    Args:
        image: ``[1, height, width]``.
        rows: name → probabilities ``[classes]``, one to three.
        names: of the classes.
        title: the finding, or the question.
        top: the largest probability on the axis (default 1). A longer bar is cut, and has an arrow.

    Example:
        >>> import torch
        >>> rows = {"T = 1": torch.tensor([0.9, 0.1])}
        >>> bars = picture_and_bars(torch.rand(1, 4, 4), rows, ["cat", "dog"], title="A cat?")
        >>> print(bars.alt)
        A picture, and the answers to it. T = 1: cat 0.900, dog 0.100.
    """
    ratios: Any = {"gridspec_kw": {"width_ratios": [0.8, *([2.2 / len(rows)] * len(rows))]}}
    figure, (picture, *panels) = axes(2.5, title, (1, 1 + len(rows)), **ratios)
    picture.imshow(image.cpu().squeeze(0).numpy(), cmap="gray_r")
    picture.set_axis_off()
    sentences = ["A picture, and the answers to it."]
    for ax, (name, tensor) in zip(panels, rows.items(), strict=True):
        values = tensor.tolist()
        draw_bars(ax, values, names, top, labeled=len(rows) == 1)
        ax.set_title(name, fontsize=style.NORMAL)
        ranked = sorted(zip(values, names, strict=True), key=lambda pair: -pair[0])
        sentences.append(f"{name}: {', '.join(f'{n} {p:.3f}' for p, n in ranked[:3])}.")
    panels[0].set_ylabel("probability")
    return finish(figure, " ".join(sentences))


WRONG_BOX = {"facecolor": "white", "edgecolor": style.COLORS["pruned"]}


def _listed(digits: Tensor | Sequence[int]) -> str:
    return ", ".join(str(int(digit)) for digit in digits)
