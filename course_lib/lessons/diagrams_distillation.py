"""Drawings of teachers and students: losses, copied layers; and the whole pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from course_lib.lessons import style
from course_lib.lessons.sketch import Drawing, Point, arrow, box, finish, label, line, number

TEACHER, STUDENT = style.COLORS["teacher"], style.COLORS["student"]
LABELS, LOSS = style.COLORS["labels"], style.COLORS["accent"]
STAGES = (("original", 100, 90.0), ("prune", 50, 89.0), ("distill", 25, 89.5), ("int8", 6, 89.4))


def teacher_and_student(
    teacher_logits: Sequence[float] = (4.0, 2.5, -2.0),
    student_logits: Sequence[float] = (2.0, 0.5, 0.0),
    label_index: int = 0,
    T: float = 4.0,
    alpha: float = 0.5,
    classes: Sequence[str] = (),
) -> Drawing:
    """Teacher, student and the two losses: the soft one at temperature T, the hard one with labels.

    Targets stand above, the student's answers below, and between them the loss, a sum of two. The
    bars are the softmax of the logits given. Hinton, Vinyals & Dean 2015, section 2. Lesson 3.

    Args:
        teacher_logits, student_logits: of one example, 2 to 5 classes.
        label_index: the true class, counted from 0 (default 0).
        T: the temperature of the soft loss (default 4). alpha: its weight (default 0.5).
        classes: short names, written below the bars of teacher and label (default: none).

    Raises:
        ValueError: the numbers of classes differ; there is no such class; T is not positive.

    Example:
        >>> drawing = teacher_and_student((2.0, 0.0), (0.0, 0.0), T=2.0, alpha=0.7)
        >>> print(drawing.alt)  # doctest: +NORMALIZE_WHITESPACE
        One input goes through teacher and student. At T = 2 the teacher's probabilities are
        0.73, 0.27 and the student's 0.50, 0.50: the KL divergence compares them. The
        cross-entropy compares the student's probabilities at T = 1 (0.50, 0.50) with the label,
        class 1. The loss is α · T² · KL + (1 − α) · CE = 0.7 · 2² · KL + 0.3 · CE.
    """
    n = len(teacher_logits)
    if len(student_logits) != n or not 2 <= n <= 5 or not 0 <= label_index < n:
        raise ValueError(
            f"got {n} logits of the teacher, {len(student_logits)} of the student and label "
            f"{label_index}, expected 2 to 5 classes for both and a label among them."
        )
    if not T > 0:
        raise ValueError(f"T is {T}, expected a positive temperature, such as 4.")
    targets, soft = _softmax(teacher_logits, T), _softmax(student_logits, T)
    hard, truth = _softmax(student_logits, 1), np.eye(n)[label_index]
    ax = style.canvas(style.WIDTH, 4.5)
    upper, lower, first, second = 0.95, 3.2, 3.45, 5.6
    box(ax, (0.15, 1.85), (0.85, 0.45), "input")
    box(ax, (1.4, upper - 0.45), (1.4, 0.9), "teacher", TEACHER)
    box(ax, (1.6, lower - 0.25), (1.0, 0.5), "student", STUDENT)
    arrow(ax, (0.8, 1.8), (1.35, upper + 0.2))
    arrow(ax, (0.8, 2.35), (1.55, lower - 0.15))
    panels = (
        ("teacher", (first, upper), targets, TEACHER, f"$p_T$: softmax, T = {T:g}"),
        ("label", (second, upper), truth, LABELS, "label y"),
        ("student soft", (first, lower), soft, STUDENT, f"$q_T$: softmax, T = {T:g}"),
        ("student hard", (second, lower), hard, STUDENT, "$q_1$: softmax, T = 1"),
    )
    for name, at, values, color, title in panels:
        _bars(ax, at, values, color, name)
        above = at[1] == upper
        for i, text in enumerate(classes if above else ()):
            label(ax, (at[0] + 1.1 * (i + 0.5) / n, upper + 0.52), text, style.SMALL)
        label(ax, (at[0] + 0.55, at[1] - 0.62 if above else at[1] + 0.62), title, style.SMALL)
    arrow(ax, (2.85, upper), (first - 0.1, upper))
    arrow(ax, (2.65, lower), (first - 0.1, lower))
    below, fork, turn = lower + 0.85, 2.95, second - 0.45
    line(ax, [(fork, lower), (fork, below), (turn, below), (turn, lower)])
    arrow(ax, (turn, lower), (second - 0.1, lower))
    centers, y = (first + 0.55, second + 0.55), 2.1
    for x in centers:
        arrow(ax, (x, upper + (0.62 if classes else 0.5)), (x, y - 0.36), LOSS)
        arrow(ax, (x, lower - 0.5), (x, y + 0.36), LOSS)
    parts = f"{alpha:g} · {T:g}² · KL", f"{number(1 - alpha, 2).rstrip('0').rstrip('.')} · CE"
    _sum(ax, y, dict(zip(centers, parts, strict=True)), ("α · T² · KL", "(1 − α) · CE"))
    for y, text in ((4.06, "α: the teacher's share"), (4.3, "T²: offsets the smaller gradient")):
        label(ax, (0.15, y), text, style.SMALL, ha="left")
    return finish(
        ax,
        f"One input goes through teacher and student. At T = {T:g} the teacher's probabilities are "
        f"{_listed(targets)} and the student's {_listed(soft)}: the KL divergence compares them. The "
        f"cross-entropy compares the student's probabilities at T = 1 ({_listed(hard)}) with the "
        f"label, class {label_index + 1}. The loss is α · T² · KL + (1 − α) · CE = "
        f"{' + '.join(parts)}.",
    )


def copied_layers(copied: Sequence[int] = (1, 3, 5), teacher_layers: int = 6) -> Drawing:
    """Which layers of the teacher a student starts from. Explained in lesson 4.

    Args:
        copied: index of a teacher's layer for each layer of the student, counted from 0 as in code
            (default 1, 3, 5). The drawing counts from 1.
        teacher_layers: how many the teacher has, at most 12 (default 6).

    Raises:
        ValueError: nothing is copied, or a layer that the teacher does not have.

    Example:
        >>> print(copied_layers([0, 5]).alt)  # doctest: +NORMALIZE_WHITESPACE
        A student of 2 layers starts from a teacher of 6 layers, counted from 1: student layer 1
        from teacher layer 1, student layer 2 from teacher layer 6. Embeddings, pooler, and classifier
        are copied, too.
    """
    if not 1 <= teacher_layers <= 12:
        raise ValueError(f"teacher_layers is {teacher_layers}, expected 1 to 12. Draw fewer.")
    if not 1 <= len(copied) <= 12 or not all(0 <= layer < teacher_layers for layer in copied):
        raise ValueError(
            f"copied is {list(copied)}, expected 1 to 12 indices from 0 to {teacher_layers - 1}, "
            f"because the teacher has {teacher_layers} layers."
        )
    left, right, height = 1.1, style.WIDTH - 0.1, 0.6
    ax = style.canvas(style.WIDTH, 2.9)
    slot = min(0.95, (right - left) / max(teacher_layers, len(copied)))
    width = min(0.4, 0.7 * slot)
    middle = left + slot * max(teacher_layers, len(copied)) / 2

    def place(i: int, count: int) -> float:
        return middle + slot * (i - (count - 1) / 2)

    upper, lower = 0.35, 1.95
    for i in range(teacher_layers):
        used = i in copied
        look = {} if used else {"facecolor": "white", "linestyle": "--"}
        color = TEACHER if used else style.GRAY
        corner = (place(i, teacher_layers) - width / 2, upper)
        box(ax, corner, (width, height), str(i + 1), color, **look)
    for i, layer in enumerate(copied):
        x = place(i, len(copied))
        box(ax, (x - width / 2, lower), (width, height), str(i + 1), STUDENT)
        arrow(ax, (place(layer, teacher_layers), upper + height + 0.06), (x, lower - 0.06), TEACHER)
    for y, count in ((upper, teacher_layers), (lower, len(copied))):
        for i in range(count - 1):
            start, end = place(i, count) + width / 2 + 0.04, place(i + 1, count) - width / 2 - 0.04
            arrow(ax, (start, y + height / 2), (end, y + height / 2), style.GRAY, mutation_scale=7)
    label(ax, (0.15, upper + height / 2), "teacher", ha="left")
    label(ax, (0.15, lower + height / 2), "student", ha="left")
    also = "embeddings, pooler, and classifier are copied, too"
    label(ax, (0.15, lower + height + 0.22), also, style.SMALL, ha="left")
    pairs = [f"student layer {i} from teacher layer {t + 1}" for i, t in enumerate(copied, start=1)]
    return finish(
        ax,
        f"A student of {_layers(len(copied))} starts from a teacher of {_layers(teacher_layers)}, "
        f"counted from 1: {', '.join(pairs)}. {also.capitalize()}.",
    )


def distilbert_losses(
    weights: Sequence[float] = (5, 2, 1), teacher_layers: int = 6, student_layers: int = 3
) -> Drawing:
    """The three losses of DistilBERT and where each attaches: soft, hard, cosine.

    Targets stand above, the student below. Sanh et al. 2019, section 2; the default weights are
    those of the authors' code. Explained in lesson 4.

    Args:
        weights: of the soft, the hard and the cosine loss (default 5, 2, 1).
        teacher_layers, student_layers: 1 to 12 each (default 6, 3).

    Raises:
        ValueError: not three weights; no layers, or more than 12.

    Example:
        >>> print(distilbert_losses().alt)  # doctest: +NORMALIZE_WHITESPACE
        Teacher (6 layers) and student (3 layers) each turn the input into hidden states and
        then logits. Three losses attach to the student: cosine (weight 1) between its last
        hidden states and the teacher's, soft (weight 5) between the logits of both, hard
        (weight 2) between its logits and the labels.
    """
    if len(weights) != 3:
        raise ValueError(f"got {len(weights)} weights, expected three: soft, hard, cosine.")
    if not (1 <= teacher_layers <= 12 and 1 <= student_layers <= 12):
        raise ValueError(
            f"got {teacher_layers} and {student_layers} layers, expected 1 to 12. Draw fewer."
        )
    soft, hard, cosine = weights
    ax = style.canvas(style.WIDTH, 4.0)
    upper, middle, lower = 0.8, 2.0, 3.2
    hidden, logits, right = 3.55, 5.0, 6.5  # centers of the columns
    for y, name, layers, color in (
        (upper, "teacher", teacher_layers, TEACHER),
        (lower, "student", student_layers, STUDENT),
    ):
        _stack(ax, (1.05, y), layers, color)
        label(ax, (0.15, y), name, ha="left")
        label(ax, (1.05 + 0.06 * layers, y + 0.57), _layers(layers), style.SMALL)
        start = 1.05 + 0.12 * layers + 0.08
        arrow(ax, (start, y), (hidden - 0.58, y))
        box(ax, (hidden - 0.55, y - 0.3), (1.1, 0.6), "last hidden\nstates", color)
        arrow(ax, (hidden + 0.58, y), (logits - 0.43, y))
        box(ax, (logits - 0.4, y - 0.3), (0.8, 0.6), "logits", color)
    box(ax, (right - 0.4, upper - 0.3), (0.8, 0.6), "labels", LABELS)
    losses = ((hidden, "cosine", cosine), (logits, "soft", soft), (right, "hard", hard))
    for x, name, weight in losses:
        _loss(ax, (x, middle), f"{weight:g} · {name}")
        arrow(ax, (x, upper + 0.35), (x, middle - 0.27), LOSS)
        if name != "hard":
            arrow(ax, (x, lower - 0.35), (x, middle + 0.27), LOSS)
    line(ax, [(logits + 0.45, lower), (right, lower), (right, lower - 0.4)], LOSS)
    arrow(ax, (right, lower - 0.35), (right, middle + 0.27), LOSS)
    return finish(
        ax,
        f"Teacher ({_layers(teacher_layers)}) and student ({_layers(student_layers)}) each turn the "
        "input into hidden states and then logits. Three losses attach to the student: cosine "
        f"(weight {cosine:g}) between its last hidden states and the teacher's, soft (weight "
        f"{soft:g}) between the logits of both, hard (weight {hard:g}) between its logits and the "
        "labels.",
    )


def pipeline(stages: Sequence[tuple[str, float, float]] = STAGES) -> Drawing:
    """The pipeline prune → distill → int8: the area of a square is the size after each step.

    Explained in lesson 5.

    Args:
        stages: 2 to 5 of (step, megabytes, accuracy in percent); the first is the model before any
            step. The default is an example with round numbers, not a measurement.

    Raises:
        ValueError: fewer or more stages; a size that is not positive.

    Example:
        >>> print(pipeline([("teacher", 90, 87.0), ("int8", 24, 86.5)]).alt)
        Sizes and accuracies along the pipeline: teacher 90 MB, 87.0 %; after int8 24 MB, 86.5 %.
    """
    if not 2 <= len(stages) <= 5 or not all(size > 0 for _, size, _ in stages):
        raise ValueError(
            f"got {list(stages)}, expected 2 to 5 of (step, megabytes, accuracy in percent) with "
            "positive sizes."
        )
    largest, slot = max(size for _, size, _ in stages), style.WIDTH / len(stages)
    widest = min(1.2, slot - 0.55)
    ax = style.canvas(style.WIDTH, 2.6)
    y, edges = 1.0, []
    for i, (_, size, _) in enumerate(stages):
        side, x = widest * (size / largest) ** 0.5, slot * (i + 0.5)
        color = STUDENT if i else TEACHER
        square = Rectangle(
            (x - side / 2, y - side / 2), side, side, facecolor=style.tint(color),
            edgecolor=color, linewidth=style.LINE, gid=f"size {i}",
        )  # fmt: skip
        ax.add_patch(square)
        edges.append((x - side / 2, x + side / 2))
    for i, (step, size, accuracy) in enumerate(stages):
        x = slot * (i + 0.5)
        label(ax, (x, 1.95), f"{size:g} MB", weight="bold")
        label(ax, (x, 2.22), f"{accuracy:.1f} %")
        if i:
            start, end = edges[i - 1][1] + 0.1, edges[i][0] - 0.1
            arrow(ax, (start, y), (end, y))
            label(ax, ((start + end) / 2, y - 0.2), step)
        else:
            label(ax, (x, y), step)
    later = "; ".join(
        f"after {step} {size:g} MB, {accuracy:.1f} %" for step, size, accuracy in stages[1:]
    )
    step, size, accuracy = stages[0]
    return finish(
        ax,
        f"Sizes and accuracies along the pipeline: {step} {size:g} MB, {accuracy:.1f} %; {later}.",
    )


def _bars(ax: Axes, at: Point, values: np.ndarray, color: str, name: str) -> None:
    """A small bar chart of probabilities, 1.1 × 0.8 inches, its left middle at a point."""
    x, y = at
    base, slot = y + 0.4, 1.1 / len(values)
    for i, value in enumerate(values):
        bar = Rectangle(
            (x + (i + 0.15) * slot, base - 0.8 * value), 0.7 * slot, 0.8 * value,
            facecolor=color, gid=f"{name}[{i}]",
        )  # fmt: skip
        ax.add_patch(bar)
    line(ax, [(x, base), (x + 1.1, base)], style.INK, linewidth=1)


def _loss(ax: Axes, at: Point, text: str) -> None:
    """A loss as a pill around a point."""
    width, height = 1.1, 0.46
    box(ax, (at[0] - width / 2, at[1] - height / 2), (width, height), text, LOSS)


def _sum(ax: Axes, y: float, parts: dict[float, str], formulas: Sequence[str]) -> None:
    """A loss as the sum of its parts: each a box around its x, with its formula and its numbers."""
    for (x, text), formula in zip(parts.items(), formulas, strict=True):
        box(ax, (x - 0.75, y - 0.32), (1.5, 0.64), color=LOSS)
        label(ax, (x, y - 0.13), formula)
        label(ax, (x, y + 0.13), f"= {text}", style.SMALL)
    label(ax, (min(parts) - 1.1, y), "loss  =")
    for left, right in pairwise(parts):
        label(ax, ((left + right) / 2, y), "+")


def _stack(ax: Axes, at: Point, layers: int, color: str) -> None:
    """Layers as thin slabs next to each other, their left middle at a point."""
    for i in range(layers):
        box(ax, (at[0] + 0.12 * i, at[1] - 0.4), (0.08, 0.8), color=color, linewidth=1)


def _softmax(logits: Sequence[float], T: float) -> np.ndarray:
    scaled = np.asarray([float(value) for value in logits]) / T
    powers = np.exp(scaled - scaled.max())
    return powers / powers.sum()


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _listed(values: np.ndarray) -> str:
    return ", ".join(number(value, 2) for value in values)
