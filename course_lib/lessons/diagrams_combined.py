"""Drawings of lesson 5: what each technique takes away, a factored table, orders of two techniques."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from course_lib.lessons import style
from course_lib.lessons.sketch import Drawing, Point, arrow, finish, label, line

KEPT, GONE = style.COLORS["kept"], style.COLORS["pruned"]
TECHNIQUES = [
    "fewer\nlayers", "narrower\nlayers", "fewer\ntokens", "narrow\nembeddings", "int8:\n1 byte of 4",
]  # fmt: skip
EXAMPLE = {"prune first": [0.25] * 6, "distill first": [1.0] * 6}


def what_goes() -> Drawing:
    """What each of five techniques takes away from the embedding table and from the layers. Lesson 5.

    Example:
        >>> print(what_goes().alt)  # doctest: +NORMALIZE_WHITESPACE
        Five times an embedding table beside six layers. Fewer layers: every other layer is gone.
        Narrower layers: a part of each layer is gone. Fewer tokens: the lower rows of the table are
        gone. Narrow embeddings: the right columns of the table are gone. int8: three quarters of
        everything are gone.
    """
    ax = style.canvas(style.WIDTH, 2.55)
    slot, top, table, slab = style.WIDTH / len(TECHNIQUES), 0.45, (0.42, 1.35), (0.58, 0.16)
    for i, technique in enumerate(TECHNIQUES):
        x = slot * i + 0.17
        name = technique.replace("\n", " ").partition(":")[0]
        rows = 0.4 if name == "fewer tokens" else 1
        columns = 0.35 if name == "narrow embeddings" else 1
        _part(ax, (x, top), table, columns, rows, name == "int8")
        for layer in range(6):
            wide = 0.4 if name == "narrower layers" else 1
            wide = 0 if name == "fewer layers" and layer % 2 == 0 else wide
            at = (x + table[0] + 0.14, top + layer * (table[1] - slab[1]) / 5)
            _part(ax, at, slab, wide, 1, name == "int8")
        label(ax, (x + 0.57, 2.2), technique)
    for text, x in (("table", 0.38), ("layers", 1.02)):
        label(ax, (x, 0.24), text, style.SMALL, color=style.FADED)
    for text, x, color in (("what is left", 4.85, KEPT), ("removed", 6.15, GONE)):
        ax.add_patch(Rectangle((x, 0.17), 0.16, 0.14, facecolor=color))
        label(ax, (x + 0.24, 0.24), text, style.SMALL, ha="left")
    return finish(
        ax,
        "Five times an embedding table beside six layers. Fewer layers: every other layer is gone. "
        "Narrower layers: a part of each layer is gone. Fewer tokens: the lower rows of the table are "
        "gone. Narrow embeddings: the right columns of the table are gone. int8: three quarters of "
        "everything are gone.",
    )


def _part(ax: Axes, at: Point, size: Point, columns: float, rows: float, thin: bool) -> None:
    """A matrix in gray, and what stays of it in color; a thin one keeps a quarter of each stripe."""
    (x, y), (width, height) = at, size
    ax.add_patch(Rectangle(at, width, height, facecolor=GONE, edgecolor="white", linewidth=1))
    stripes = max(1, round(height / 0.16)) if thin else 1
    for i in range(stripes):
        share = rows * (0.25 if thin else 1) / stripes
        corner = (x, y + i * height / stripes)
        ax.add_patch(Rectangle(corner, width * columns, height * share, facecolor=KEPT))


def factored_table(words: int = 30_522, width: int = 384, rank: int = 128) -> Drawing:
    """A table of embeddings as the product of a narrow table and one small matrix. Lesson 5.

    Lan et al. 2020 (*ALBERT*), section 3.1.

    Args:
        words, width: of the table; `rank` numbers are stored for each word, fewer than `width`.

    Raises:
        ValueError: the rank is not between 1 and the width.

    Example:
        >>> print(factored_table(1000, 100, 10).alt)  # doctest: +NORMALIZE_WHITESPACE
        A table of 1,000 × 100 numbers is about a table of 1,000 × 10 times a matrix of 10 × 100.
        Instead of 100,000 numbers, 11,000 are stored.
    """
    if not 1 <= rank < width:
        raise ValueError(f"Got a rank of {rank} for {width} columns; expected 1 to {width - 1}.")
    ax = style.canvas(style.WIDTH, 2.9)
    top, tall, wide = 0.55, 1.7, 1.5
    narrow = max(0.14, wide * rank / width)
    low = max(0.14, 0.6 * rank / width)
    left = style.WIDTH / 2 - (2 * wide + narrow + 1.3) / 2
    spots = [(left, wide, tall, GONE), (left + wide + 0.75, narrow, tall, KEPT)]
    spots.append((left + wide + narrow + 1.3, wide, low, KEPT))
    texts = [("$E$", words, width), ("$U S$", words, rank), ("$V^T$", rank, width)]
    for (x, w, h, color), (name, rows, columns) in zip(spots, texts, strict=True):
        fill = style.tint(color, 0.6)
        ax.add_patch(Rectangle((x, top), w, h, facecolor=fill, edgecolor=style.INK, linewidth=1))
        label(ax, (x + w / 2, top - 0.2), f"{name}: {rows:,} × {columns:,}", style.SMALL)
    label(ax, (left + wide + 0.37, top + tall / 2), "≈", style.LARGE)
    label(ax, (left + wide + narrow + 1.02, top + tall / 2), "·", 24)
    before, after = words * width, words * rank + rank * width
    label(ax, (left + wide / 2, top + tall + 0.25), f"{before / 1e6:.3g} million")
    spot = left + wide + 0.75 + (narrow + 0.55 + wide) / 2
    label(ax, (spot, top + tall + 0.25), f"{after / 1e6:.3g} million numbers")
    return finish(
        ax,
        f"A table of {words:,} × {width:,} numbers is about a table of {words:,} × {rank:,} times a "
        f"matrix of {rank:,} × {width:,}. Instead of {before:,} numbers, {after:,} are stored.",
    )


def orders(widths: Mapping[str, Sequence[float]] = EXAMPLE, end: float = 0.25) -> Drawing:
    """Orders of pruning and distilling: how much of the width is left in each stage. Lesson 5.

    Args:
        widths: order → the share of the units that is left in each stage, 1 to 8 stages.
        end: the share that is left at the end, after one more cut where the last stage has more.

    Raises:
        ValueError: no order; orders with different numbers of stages; a share outside (0, 1].

    Example:
        >>> print(orders({"cut last": [1.0, 1.0]}, end=0.5).alt)
        What is left in each of 2 stages, and at the end. cut last: 100 %, 100 %, then 50 %.
    """
    stages = {len(row) for row in widths.values()}
    shares = [share for row in widths.values() for share in row]
    if len(stages) != 1 or not 1 <= max(stages) <= 8 or not all(0 < one <= 1 for one in shares):
        raise ValueError(
            f"Got {dict(widths)}; expected for each order 1 to 8 shares above 0 and up to 1, and as "
            "many for each."
        )
    count, height, gap = stages.pop(), 0.46, 0.24
    ax = style.canvas(style.WIDTH, 0.75 + len(widths) * (height + gap))
    left, slot = 2.15, (style.WIDTH - 2.15 - 0.9) / count
    for stage in range(count):
        label(ax, (left + slot * (stage + 0.5), 0.2), str(stage + 1), style.SMALL)
    label(ax, (left - 0.1, 0.2), "stage of distillation", style.SMALL, ha="right")
    label(ax, (style.WIDTH - 0.5, 0.2), "student", style.SMALL)
    for i, (name, row) in enumerate(widths.items()):
        bottom = 0.42 + i * (height + gap) + height
        label(ax, (left - 0.15, bottom - height / 2), name, ha="right")
        line(ax, [(left, bottom), (style.WIDTH - 0.25, bottom)], style.GRAY, linewidth=0.8)
        for stage, share in enumerate(row):
            corner = (left + slot * stage + 0.03, bottom - height * share)
            ax.add_patch(Rectangle(corner, slot - 0.06, height * share, facecolor=KEPT))
        corner = (style.WIDTH - 0.75, bottom - height * end)
        ax.add_patch(Rectangle(corner, 0.5, height * end, facecolor=style.COLORS["student"]))
        if row[-1] > end:
            start = (left + slot * count - 0.02, bottom - height * 0.75)
            arrow(ax, start, (style.WIDTH - 0.5, bottom - height * end - 0.02))
    bottom = 0.75 + len(widths) * (height + gap) - 0.2
    text = "height: the heads and FFN neurons left; arrow: a cut, no training after it"
    label(ax, (style.WIDTH / 2, bottom), text, style.SMALL)
    sentences = [
        f"{name}: {', '.join(f'{100 * share:.0f} %' for share in row)}, then {100 * end:.0f} %."
        for name, row in widths.items()
    ]
    return finish(
        ax, f"What is left in each of {count} stages, and at the end. {' '.join(sentences)}"
    )
