"""Drawings of lesson 7: next tokens, dropped layers, grouped heads, Wanda's scores, two divergences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from course_lib.lessons import style
from course_lib.lessons.sketch import (
    PRUNED,
    Drawing,
    arrow,
    box,
    cells,
    finish,
    label,
    line,
    number,
)

TEACHER, STUDENT, ACCENT = (style.COLORS[role] for role in ("teacher", "student", "accent"))
KEPT = style.tint(style.COLORS["kept"], 0.5)
WORDS, CHANCES = ("The", "film", "was", "great"), (0.05, 0.4, 0.2)


def next_tokens(words: Sequence[str] = WORDS, probabilities: Sequence[float] = CHANCES) -> Drawing:
    """How a language model is measured: each next token's probability, and the perplexity of all.

    Args:
        words: 3 to 5 tokens.
        probabilities: what the model gave to each of them but the first, above 0.

    Raises:
        ValueError: another number of tokens, or not one probability for each but the first.

    Example:
        >>> print(next_tokens(("a", "b", "c"), (0.5, 0.125)).alt)  # doctest: +NORMALIZE_WHITESPACE
        The model reads the tokens one after the other and gives a probability to each next one:
        b 0.50, c 0.12. The perplexity is (0.50 · 0.12) to the power of −1/2, which is 4.0.
    """
    p = np.asarray([float(one) for one in probabilities])
    if not 3 <= len(words) <= 5 or len(p) != len(words) - 1 or min(p) <= 0:
        raise ValueError(
            f"got {len(words)} tokens and {len(p)} probabilities; expected 3 to 5 tokens and a "
            "probability above 0 for each but the first."
        )
    ax = style.canvas(style.WIDTH, 2.1)
    slot = min(1.3, 5.9 / len(words))
    size = (slot - 0.3, 0.36)
    for i, word in enumerate(words):
        x = 0.2 + slot * i
        box(ax, (x, 0.9), size, str(word), style.GRAY)
        if i:
            box(ax, (x, 0.2), size, number(p[i - 1], 2), TEACHER)
            arrow(ax, (x - slot + 0.7 * size[0], 0.88), (x - 0.03, 0.46), TEACHER)
    label(ax, (0.2 + slot * len(words), 0.38), "p(next)", ha="left")
    perplexity = math.exp(-float(np.log(p).mean()))
    product = " · ".join(number(one, 2) for one in p)
    root = f"perplexity = ({product})^(−1/{len(p)}) = {number(perplexity)}"
    label(ax, (0.2, 1.7), root, ha="left")
    listed = ", ".join(f"{word} {one:.2f}" for word, one in zip(words[1:], p, strict=True))
    return finish(
        ax,
        "The model reads the tokens one after the other and gives a probability to each next one: "
        f"{listed}. The perplexity is ({product}) to the power of −1/{len(p)}, which is "
        f"{number(perplexity)}.",
    )


def layers_dropped(layers: int = 6, gone: Sequence[int] = (3, 4)) -> Drawing:
    """A stack without some of its layers: the rest keep their weights, and get new places in the cache.

    Args:
        layers: 3 to 9.
        gone: the dropped ones, counted from 0 (the drawing counts from 1); at least one stays.

    Raises:
        ValueError: another number of layers, or no such layer.

    Example:
        >>> print(layers_dropped(4, [1]).alt)  # doctest: +NORMALIZE_WHITESPACE
        Layer 2 of 4 is dropped, so what layer 1 gives goes to layer 3. The places in the cache, in
        code from 0, are numbered anew: layer 1 has 0, layer 3 has 1, layer 4 has 2.
    """
    kept = [i for i in range(layers) if i not in gone]
    if not 3 <= layers <= 9 or not kept or not gone or not set(gone) <= set(range(layers)):
        raise ValueError(
            f"layers is {layers} and gone {list(gone)}; expected 3 to 9 layers, and some of them gone."
        )
    each = 5.7 / layers
    ax, width = style.canvas(style.WIDTH, 2.75), each - 0.22
    for i in range(layers):
        stays = i in kept
        color = TEACHER if stays else style.COLORS["pruned"]
        look = {} if stays else {"linestyle": "--"}
        at = (1.35 + each * i, 0.55)
        box(ax, at, (width, 0.5), str(i + 1), color, **look)
        label(ax, (at[0] + width / 2, 0.25), str(i), style.SMALL)
        if stays:
            place = kept.index(i)
            new = (1.35 + each * place, 1.55)
            box(ax, new, (width, 0.5), str(i + 1), STUDENT)
            label(ax, (new[0] + width / 2, 2.4), str(place), style.SMALL)
            arrow(ax, (at[0] + width / 2, 1.1), (new[0] + width / 2, 1.5), style.GRAY)
    for y, count in ((0.8, layers), (1.8, len(kept))):
        for i in range(count - 1):
            line(ax, [(1.35 + each * i + width, y), (1.35 + each * (i + 1), y)], style.INK)
    label(ax, (0.12, 0.25), "old layer_idx", style.SMALL, ha="left")
    label(ax, (0.12, 0.8), "layers", ha="left")
    label(ax, (0.12, 1.8), "kept", ha="left")
    label(ax, (0.12, 2.4), "new layer_idx", style.SMALL, ha="left")
    first = min(gone)
    many = len(gone) > 1
    dropped = ", ".join(str(i + 1) for i in sorted(gone))
    after = next((i for i in kept if i > first), None)
    before = max((i for i in kept if i < first), default=None)
    flow = ""
    if after is not None and before is not None:
        flow = f", so what layer {before + 1} gives goes to layer {after + 1}"
    places = ", ".join(f"layer {i + 1} has {place}" for place, i in enumerate(kept))
    return finish(
        ax,
        f"Layer{'s' * many} {dropped} of {layers} {'are' if many else 'is'} dropped{flow}. The places "
        f"in the cache, in code from 0, are numbered anew: {places}.",
    )


def grouped_heads(queries: int = 9, groups: int = 3, gone: int = 1) -> Drawing:
    """Grouped-query attention: several query heads share one head of keys and values, and go with it.

    Ainslie et al. 2023, section 2.2.

    Args:
        queries: query heads, a multiple of the groups, at most 12.
        groups: key–value heads.
        gone: the group that is removed, counted from 0 (the drawing counts from 1).

    Raises:
        ValueError: such numbers cannot be drawn, or there is no such group.

    Example:
        >>> print(grouped_heads(4, 2, gone=0).alt)  # doctest: +NORMALIZE_WHITESPACE
        4 query heads share 2 key–value heads, 2 each. The smallest unit that can be removed is a
        key–value head with its query heads: group 1 is query heads 1 to 2 and key–value head 1.
    """
    if not 1 <= groups <= queries <= 12 or queries % groups or not 0 <= gone < groups:
        raise ValueError(
            f"queries is {queries}, groups {groups} and gone {gone}; expected at most 12 queries, a "
            "multiple of the groups, and one of the groups."
        )
    of_each, each = queries // groups, 5.9 / queries
    ax = style.canvas(style.WIDTH, 1.75)
    for group in range(groups):
        ours = group == gone
        color = ACCENT if ours else TEACHER
        left = 1.1 + each * of_each * group
        middle = left + each * of_each / 2 - 0.05
        box(ax, (middle - 0.35, 1.15), (0.7, 0.4), f"KV {group + 1}", color)
        for i in range(of_each):
            x = left + each * i
            box(ax, (x, 0.2), (each - 0.1, 0.4), str(group * of_each + i + 1), color)
            line(ax, [(x + each / 2 - 0.05, 0.62), (middle, 1.13)], color)
    label(ax, (0.12, 0.4), "Q heads", ha="left")
    label(ax, (0.12, 1.35), "shared", ha="left")
    first, last = gone * of_each + 1, (gone + 1) * of_each
    return finish(
        ax,
        f"{queries} query heads share {groups} key–value heads, {of_each} each. The smallest unit that "
        f"can be removed is a key–value head with its query heads: group {gone + 1} is query heads "
        f"{first} to {last} and key–value head {gone + 1}.",
    )


def wanda_mask(
    weights: Any = ((0.5, -0.9, 0.2, 0.4), (-0.3, 0.1, 0.6, -0.7)),
    norms: Any = (4.0, 0.5, 8.0, 1.0),
) -> Drawing:
    """Wanda: |weight| times the norm of its input; in each output row the lower half goes.

    Sun et al. 2024, section 3.

    Args:
        weights: ``[rows, 4]``, one to three rows.
        norms: of the four inputs, ≥ 0.

    Raises:
        ValueError: other shapes.

    Example:
        >>> print(wanda_mask([[1.0, -2.0, 3.0, 4.0]], [8, 1, 1, 1]).alt)
        Scores |W| · ‖x‖. Row 1: 8.0, 2.0, 3.0, 4.0; stay 1, 4, by magnitude alone 3, 4.
    """
    w, x = np.asarray(weights, float), np.asarray(norms, float)
    if w.ndim != 2 or w.shape[1] != 4 or not 1 <= len(w) <= 3 or x.shape != (4,) or x.min() < 0:
        raise ValueError(
            f"weights are {list(w.shape)} and norms {list(x.shape)}; expected one to three rows of 4 "
            "weights, and 4 norms ≥ 0."
        )
    scores, size, top, rows = np.abs(w) * x, 0.5, 1.15, len(w)
    stays = {name: np.argsort(-value, 1, kind="stable")[:, :2] for name, value in
             (("wanda", scores), ("magnitude", np.abs(w)))}  # fmt: skip
    ax = style.canvas(style.WIDTH, top + rows * size + 0.2)
    ax_texts = [[number(v, 1) for v in row] for row in w]
    label(ax, (0.2 + 2 * size, 0.22), "input norms ‖x‖, and weights W", style.SMALL)
    pale = style.tint(ACCENT, 0.4)
    cells(ax, (0.2, 0.42), [[pale] * 4], [[number(v, 1) for v in x]], size, "norms")
    cells(ax, (0.2, top), [["#ECECEC"] * 4] * rows, ax_texts, size, "weights")
    for left, name, said in (
        (2.65, "wanda", "|W| · ‖x‖, blue stays"),
        (5.0, "magnitude", "|W|, blue stays"),
    ):
        value = scores if name == "wanda" else np.abs(w)
        fills = [[KEPT if c in stays[name][r] else PRUNED for c in range(4)] for r in range(rows)]
        texts = [[number(v, 1) for v in row] for row in value]
        cells(ax, (left, top), fills, texts, size, name)
        label(ax, (left + 2 * size, top - 0.25), said, style.SMALL)
    description = " ".join(
        f"Row {r + 1}: {', '.join(number(v) for v in scores[r])}; stay {_places(stays['wanda'][r])}, "
        f"by magnitude alone {_places(stays['magnitude'][r])}."
        for r in range(rows)
    )
    return finish(ax, f"Scores |W| · ‖x‖. {description}")


def two_divergences(apart: float = 2.0, width: float = 0.6) -> Drawing:
    """What a student with one peak makes of a teacher with two: by forward, and by reverse KL.

    The curves are normal densities. By forward KL the best student has the teacher's mean and variance;
    by reverse KL it has about one of the peaks. Murphy 2012, *Machine learning*, section 21.2.2.

    Args:
        apart: half the distance of the two peaks, 1 to 3 (default 2).
        width: their standard deviation, 0.4 to 1 (default 0.6).

    Raises:
        ValueError: other numbers.

    Example:
        >>> print(two_divergences().alt)  # doctest: +NORMALIZE_WHITESPACE
        A teacher with two peaks at −2.0 and 2.0. By forward KL a student with one peak is wide, and
        has much of its probability between them. By reverse KL it has only one of the peaks.
    """
    if not 1 <= apart <= 3 or not 0.4 <= width <= 1:
        raise ValueError(f"apart is {apart} and width {width}; expected 1 to 3, and 0.4 to 1.")
    x = np.linspace(-5, 5, 201)

    def density(mean: float, deviation: float) -> np.ndarray:
        return np.exp(-(((x - mean) / deviation) ** 2) / 2) / deviation

    teacher = (density(-apart, width) + density(apart, width)) / 2
    students = {
        "forward KL: covers both": density(0, math.hypot(apart, width)),
        "reverse KL: picks one": density(apart, width),
    }
    ax = style.canvas(style.WIDTH, 2.3)
    for i, (name, student) in enumerate(students.items()):
        left, high = 0.3 + 3.5 * i, max(1.0 / width, 1.0)
        for values, color in ((teacher, TEACHER), (student, STUDENT)):
            points = [
                (left + 0.31 * (a + 5), 1.9 - 1.3 * b / high)
                for a, b in zip(x, values, strict=True)
            ]
            line(ax, points, color, linewidth=2)
        line(ax, [(left, 1.92), (left + 3.1, 1.92)], style.INK, linewidth=1)
        label(ax, (left + 1.55, 0.3), name)
    label(ax, (0.3, 2.1), "in both:", style.SMALL, ha="left")
    for x0, name, color in ((1.0, "teacher", TEACHER), (2.05, "student", STUDENT)):
        box(ax, (x0, 2.02), (0.2, 0.16), "", color, facecolor=color)
        label(ax, (x0 + 0.28, 2.1), name, style.SMALL, ha="left")
    return finish(
        ax,
        f"A teacher with two peaks at {number(-apart)} and {number(apart)}. By forward KL a student "
        "with one peak is wide, and has much of its probability between them. By reverse KL it has "
        "only one of the peaks.",
    )


def _places(indices: np.ndarray) -> str:
    return ", ".join(str(i + 1) for i in sorted(indices))
