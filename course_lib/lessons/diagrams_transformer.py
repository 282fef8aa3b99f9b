"""Drawings of a transformer layer, and of the gates that measure how important its heads are."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import Circle

from course_lib.lessons import style
from course_lib.lessons.sketch import Drawing, Point, arrow, box, cells, finish, label, line

ATTENTION, FFN = style.COLORS["teacher"], style.COLORS["baseline"]
TOKENS = "[CLS]", "good", "film"


def transformer_layer(
    hidden: int = 384, heads: int = 12, neurons: int = 1536, layers: int = 6
) -> Drawing:
    """An encoder's layer with a lane for each token: the heads join the lanes, the FFN does not.

    Layer norms are left out; each stands behind a sum. Vaswani et al. 2017, section 3.1. Explained in
    lesson 2b.

    Args:
        hidden: numbers per token (default 384, MiniLM's).
        heads, neurons: attention heads and FFN neurons of the layer (default 12 and 1536).
        layers: how many of them the model has (default 6).

    Example:
        >>> print(transformer_layer(hidden=8, heads=2, neurons=32, layers=3).alt)
        ... # doctest: +NORMALIZE_WHITESPACE
        One of 3 transformer layers, from left to right, with a lane for each of 3 tokens. Each token
        comes in as 8 numbers. Q, K and V of all lanes feed 2 heads, the only place where the lanes
        meet. Then O, a sum with the input, the FFN with 32 neurons and a sum with its input work on
        each lane by itself. The classifier reads the lane of [CLS] alone.
    """
    ax = style.canvas(style.WIDTH, 3.5)
    lanes = [1.0 + 0.75 * i for i in range(len(TOKENS))]
    frame = {"facecolor": "none", "linestyle": "--", "zorder": 0}
    box(ax, (1.12, 0.45), (4.88, 2.55), **frame)  # type: ignore[arg-type]
    for token, y in zip(TOKENS, lanes, strict=True):
        box(ax, (0.1, y - 0.2), (0.72, 0.4), token)
        box(ax, (1.45, y - 0.2), (0.66, 0.4), "Q K V", ATTENTION)
        box(ax, (3.42, y - 0.2), (0.34, 0.4), "O", ATTENTION)
        box(ax, (4.62, y - 0.2), (0.62, 0.4), "FFN", FFN)
        for start, end in ((0.82, 1.45), (2.11, 2.36), (3.18, 3.42), (3.76, 3.95)):
            arrow(ax, (start, y), (end, y))
        for start, end in ((4.23, 4.62), (5.24, 5.5), (5.78, 6.2)):
            arrow(ax, (start, y), (end, y))
        for start, plus in ((1.28, 4.09), (4.38, 5.64)):
            _shortcut(ax, (start, y), plus)
    for i in (2, 1, 0):  # a pile of heads, side by side
        corner = (2.36 + 0.06 * i, 0.76 - 0.06 * i)
        box(ax, corner, (0.7, 2.02), "" if i else f"{heads}\nhead{'s' * (heads > 1)}", ATTENTION)
    box(ax, (6.2, lanes[0] - 0.22), (0.9, 0.44), "classifier")
    label(ax, (2.6, 0.25), "attention")
    label(ax, (4.93, 0.25), "FFN")
    label(ax, (6.55, 2.85), f"× {layers} layers", style.SMALL)
    label(ax, (0.52, 3.22), f"{hidden} numbers", style.SMALL)
    label(ax, (2.95, 3.22), "+ adds the input", style.SMALL)
    label(ax, (4.93, 3.22), f"{neurons:,} neurons", style.SMALL)
    return finish(
        ax,
        f"One of {layers} transformer layers, from left to right, with a lane for each of "
        f"{len(TOKENS)} tokens. Each token comes in as {hidden} numbers. Q, K and V of all lanes feed "
        f"{heads} head{'s' * (heads > 1)}, the only place where the lanes meet. Then O, a sum with "
        f"the input, the FFN with {neurons} neurons and a sum with its input work on each lane by "
        "itself. The classifier reads the lane of [CLS] alone.",
    )


def _shortcut(ax: Axes, start: Point, plus: float) -> None:
    """A line above that ends in a sum at x = plus; it passes behind all boxes."""
    x, y = start
    corners = [(x, y), (x, y - 0.3), (plus, y - 0.3), (plus, y - 0.14)]
    line(ax, corners, style.GRAY, zorder=0.5)
    ax.add_patch(
        Circle((plus, y), 0.14, facecolor="white", edgecolor=style.INK, linewidth=1.5, zorder=4)
    )
    label(ax, (plus, y), "+")


def gated_units(units: int = 3, gated: int = 1) -> Drawing:
    """Each head has one gate of 1, which all its numbers of all tokens share.

    The gate of a head that matters has a large gradient. Michel et al. 2019, equation 2. Explained in
    lesson 2b.

    Args:
        units: how many heads to draw, 2 to 5 (default 3).
        gated: index of the one whose gate is moved, counted from 0 (the drawing counts from 1).

    Raises:
        ValueError: too many units to draw, or no such unit.

    Example:
        >>> print(gated_units(units=2, gated=0).alt)  # doctest: +NORMALIZE_WHITESPACE
        The outputs of 2 heads, with a row for each token and a column for each number, are multiplied
        by gates of 1 and go on to O and the loss. One gate serves all numbers of a head, for all
        tokens. The gate of head 1 is moved a little: its importance is how much the loss changes.
    """
    if not 2 <= units <= 5 or not 0 <= gated < units:
        raise ValueError(
            f"units is {units} and gated {gated}, expected 2 to 5 units and the index of one of them."
        )
    ax = style.canvas(style.WIDTH, 2.75)
    size, top, left, each = 0.16, 1.12, 0.95, 0.9
    middle = top + 1.5 * size
    label(ax, (0.12, 0.68), "gates ξ", ha="left")
    label(ax, (0.12, middle), "rows:\ntokens", style.SMALL, ha="left")
    for i in range(units):
        x, ours = left + i * each, i == gated
        fill = style.tint(style.COLORS["accent"], 0.75) if ours else "#ECECEC"
        cells(ax, (x, top), [[fill] * 4] * 3, size=size, name=f"head {i + 1}")
        color = style.COLORS["accent"] if ours else style.COLORS["pruned"]
        gate = Circle((x + 2 * size, 0.68), 0.22, facecolor="white", edgecolor=color, zorder=3)
        ax.add_patch(gate)
        label(ax, (x + 2 * size, 0.68), "× 1", style.SMALL)
        arrow(ax, (x + 2 * size, 0.9), (x + 2 * size, top - 0.02), color, mutation_scale=8)
        label(ax, (x + 2 * size, 0.25), f"head {i + 1}", style.SMALL)
    end = left + units * each - 0.2
    arrow(ax, (end, middle), (end + 0.25, middle))
    box(ax, (end + 0.25, middle - 0.22), (0.4, 0.44), "O", ATTENTION)
    arrow(ax, (end + 0.65, middle), (end + 0.9, middle))
    box(ax, (end + 0.9, middle - 0.22), (0.65, 0.44), "loss L")
    label(ax, (left, 1.8), "columns: numbers", style.SMALL, ha="left")
    label(ax, (0.12, 2.2), "∂L/∂ξ = Σ h · ∂L/∂h over colored numbers", ha="left")
    label(ax, (0.12, 2.5), "importance: mean of |∂L/∂ξ| over sentences", ha="left")
    return finish(
        ax,
        f"The outputs of {units} heads, with a row for each token and a column for each number, are "
        "multiplied by gates of 1 and go on to O and the loss. One gate serves all numbers of a head, "
        f"for all tokens. The gate of head {gated + 1} is moved a little: its importance is "
        "how much the loss changes.",
    )
