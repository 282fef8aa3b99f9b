"""Drawings of distillation's loss and data: a KL divergence, and which student sees which examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Rectangle

from course_lib.lessons import style
from course_lib.lessons.sketch import Drawing, box, finish, label, line, number

TEACHER, STUDENT = style.COLORS["teacher"], style.COLORS["student"]
LABELS, UNUSED = style.COLORS["labels"], style.GRAY


def kl_terms(
    teacher: Sequence[float] = (0.7, 0.2, 0.1), student: Sequence[float] = (0.5, 0.25, 0.25)
) -> Drawing:
    """The KL divergence of two distributions, class by class: both bars, and the term below them.

    Args:
        teacher, student: probabilities of 2 to 4 classes, all above 0.

    Raises:
        ValueError: two numbers of classes, or a probability that is not above 0.

    Example:
        >>> print(kl_terms((0.5, 0.5), (0.25, 0.75)).alt)  # doctest: +NORMALIZE_WHITESPACE
        The KL divergence as a sum over the classes. Class 1: teacher 0.50, student 0.25, term
        +0.347. Class 2: teacher 0.50, student 0.75, term −0.203. The sum is 0.144.
    """
    p, q = (np.asarray([float(value) for value in values]) for values in (teacher, student))
    if len(p) != len(q) or not 2 <= len(p) <= 4 or min(*p, *q) <= 0:
        raise ValueError(
            f"got {len(p)} and {len(q)} probabilities, expected 2 to 4 for both, all above 0."
        )
    terms = p * np.log(p / q)
    ax = style.canvas(style.WIDTH, 2.7)
    left, base, height = 1.1, 1.55, 1.2
    slot = min(1.65, 5.0 / len(p))
    for name, color, y in (("teacher p", TEACHER, 0.55), ("student q", STUDENT, 0.95)):
        box(ax, (0.1, y - 0.12), (0.2, 0.24), "", color, facecolor=color)
        label(ax, (0.38, y), name, style.SMALL, ha="left")
    label(ax, (0.1, 2.15), "p · log(p / q)", style.SMALL, ha="left")
    for i, (a, b, term) in enumerate(zip(p, q, terms, strict=True)):
        x = left + slot * (i + 0.35)
        for shift, value, color, name in ((0, a, TEACHER, "p"), (0.34, b, STUDENT, "q")):
            size = (0.3, height * value)
            corner = (x + shift, base - size[1])
            ax.add_patch(Rectangle(corner, *size, facecolor=color, gid=f"{name}[{i}]"))
            label(ax, (x + shift + 0.15, corner[1] - 0.11), number(value, 2), style.SMALL)
        label(ax, (x + 0.32, base + 0.2), f"class {i + 1}", style.SMALL)
        label(ax, (x + 0.32, 2.15), _signed(term))
        if i:
            label(ax, (left + slot * (i + 0.1), 2.15), "+")
    line(ax, [(left + 0.2, base), (left + slot * len(p), base)], style.INK, linewidth=1)
    label(ax, (left + slot * (len(p) + 0.1), 2.15), f"=  {number(terms.sum(), 3)}", ha="left")
    description = " ".join(
        f"Class {i + 1}: teacher {a:.2f}, student {b:.2f}, term {_signed(term)}."
        for i, (a, b, term) in enumerate(zip(p, q, terms, strict=True))
    )
    total = number(terms.sum(), 3)
    return finish(
        ax, f"The KL divergence as a sum over the classes. {description} The sum is {total}."
    )


def training_sets(labeled: int = 200, total: int = 26619, what: str = "examples") -> Drawing:
    """Four ways to train a student: from few labels, or from answers to few or all examples.

    Args:
        labeled: how many examples have a label (default 200).
        total: how many examples there are (default 26,619).
        what: the examples' name, such as "images".

    Raises:
        ValueError: no labeled example, or no more examples than labeled ones.

    Example:
        >>> print(training_sets(10, 100).alt)  # doctest: +NORMALIZE_WHITESPACE
        Four students and what each one learns from. Labels alone: the labels of 10 examples. Soft,
        same examples: the teacher's probabilities for the same 10. Soft, all examples: its
        probabilities for all 100, without any label. Hard, all examples: its most probable class
        for all 100.
    """
    if not 0 < labeled < total:
        raise ValueError(f"labeled is {labeled} and total {total}, expected 0 < labeled < total.")
    rows = (
        ("labels alone", "labels", LABELS, False),
        (f"soft, same {what}", "probabilities", STUDENT, False),
        (f"soft, all {what}", "probabilities", STUDENT, True),
        (f"hard, all {what}", "classes", style.COLORS["accent"], True),
    )
    ax = style.canvas(style.WIDTH, 2.75)
    left, few, width, height = 1.8, 1.25, 5.2, 0.38
    label(ax, (0.1, 0.2), "not to scale", style.SMALL, ha="left")
    label(ax, (left + few / 2, 0.2), f"{labeled:,} labeled", style.SMALL)
    label(
        ax,
        (left + (few + width) / 2, 0.2),
        f"{total - labeled:,} unlabeled",
        style.SMALL,
    )
    for i, (name, text, color, everything) in enumerate(rows):
        y = 0.42 + 0.57 * i
        label(ax, (0.1, y + height / 2), name, ha="left")
        used = width if everything else few
        dashed = {"facecolor": "white", "linestyle": "--", "linewidth": style.THIN}
        box(ax, (left, y), (width, height), "", UNUSED, **dashed)
        box(ax, (left, y), (used, height), _who(text, everything), color, gid=name)
        for x in (left + 1.42, left + 1.5):  # a break: the lengths are not to scale
            line(ax, [(x, y + height + 0.05), (x + 0.1, y - 0.05)], "white", linewidth=3)
    return finish(
        ax,
        "Four students and what each one learns from. "
        f"Labels alone: the labels of {labeled:,} {what}. Soft, same {what}: the teacher's "
        f"probabilities for the same {labeled:,}. Soft, all {what}: its probabilities for all "
        f"{total:,}, without any label. Hard, all {what}: its most probable class for all {total:,}.",
    )


def _who(what: str, everything: bool) -> str:
    if what == "labels":
        return what
    return f"teacher's {what}" if everything else what


def _signed(value: float) -> str:
    return number(value, 3) if value < 0 else f"+{number(value, 3)}"
