"""Drawings of lesson 6: the steps of `compress`, texts that are cut, and a verdict by an interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from course_lib.lessons import style
from course_lib.lessons.sketch import Drawing, arrow, box, finish, label, line, number

TEACHER, STUDENT = style.COLORS["teacher"], style.COLORS["student"]
FILES, YOURS = style.COLORS["labels"], "your student"
VERDICTS = {"holds": "yes", "does not hold": "no", "cannot tell": "cannot tell"}


def compress_steps() -> Drawing:
    """The six steps of `compression.compress`: which files go in, and what comes out.

    Explained in lesson 6.

    Example:
        >>> print(compress_steps().alt)  # doctest: +NORMALIZE_WHITESPACE
        From left to right: measure, choose, prune, distill, int8, measure again. The teacher goes into
        the first step, and its answers to labeled and unlabeled text go into distill. Labeled text
        goes into measure, prune and distill to train, and into measure again to test. The last step
        compares both models, and a folder comes out.
    """
    steps = ("measure", "choose", "prune", "distill", "int8", "measure\nagain")
    ax = style.canvas(style.WIDTH, 3.1)
    slot, y, size = style.WIDTH / len(steps), 1.1, (0.92, 0.56)
    middle = [slot * (i + 0.5) for i in range(len(steps))]
    for i, (x, step) in enumerate(zip(middle, steps, strict=True)):
        color = STUDENT if 2 <= i <= 4 else style.GRAY
        box(ax, (x - size[0] / 2, y), size, step, color)
        if i:
            arrow(
                ax,
                (middle[i - 1] + size[0] / 2 + 0.03, y + 0.28),
                (x - size[0] / 2 - 0.03, y + 0.28),
            )
    _texts_of_the_steps(ax, middle, y + size[1])
    box(ax, (middle[0] - 0.52, 0.08), (1.04, 0.5), "teacher", TEACHER)
    arrow(ax, (middle[0], 0.62), (middle[0], y - 0.04))
    line(ax, [(middle[0] + 0.56, 0.33), (middle[5], 0.33)], TEACHER)
    for x in (middle[3], middle[5]):
        arrow(ax, (x, 0.33), (x, y - 0.04), TEACHER)
    return finish(
        ax,
        "From left to right: measure, choose, prune, distill, int8, measure again. The teacher goes "
        "into the first step, and its answers to labeled and unlabeled text go into distill. Labeled "
        "text goes into measure, prune and distill to train, and into measure again to test. The last "
        "step compares both models, and a folder comes out.",
    )


def _texts_of_the_steps(ax: Axes, middle: Sequence[float], bottom: float) -> None:
    """The files below `compress_steps`: labeled text for four steps, unlabeled text, the folder."""
    top, train, test = 2.45, 1.88, 2.22
    plain = {"facecolor": "white"}  # a result: neither gray, a step that measures, nor text
    for i, text, color, look in (
        (0, "labeled\ntext", FILES, {}),
        (3, "unlabeled\ntext", FILES, {}),
        (5, "folder", style.INK, plain),
    ):
        box(ax, (middle[i] - 0.52, top), (1.04, 0.5), text, color, **look)
    first, last = middle[0] - 0.2, middle[5] - 0.25
    line(ax, [(first, top), (first, train), (middle[3] - 0.25, train)], FILES)
    for x in (first, middle[2], middle[3] - 0.25):
        arrow(ax, (x, train), (x, bottom + 0.04), FILES)
    start = middle[0] + 0.2
    line(ax, [(start, top), (start, test), (last, test)], FILES, linestyle="--")
    arrow(ax, (last, test), (last, bottom + 0.04), FILES, linestyle="--")
    arrow(ax, (middle[3] + 0.2, top - 0.04), (middle[3] + 0.2, bottom + 0.04), FILES)
    arrow(ax, (middle[5] + 0.2, bottom + 0.04), (middle[5] + 0.2, top - 0.04))
    training = middle[2] + 0.47  # between prune and distill: nothing is trained in measure
    for x, y, text in ((training, train, "to train"), (middle[4], test, "to test")):
        label(ax, (x, y + 0.15), text, style.SMALL)


def texts_cut(lengths: Sequence[int] = (9, 14, 22, 30, 45, 80), max_length: int = 32) -> Drawing:
    """Texts as bars, one unit a token: what lies behind `max_length` is never read. Lesson 6.

    Args:
        lengths: tokens of 1 to 10 texts.
        max_length: where they are cut.

    Raises:
        ValueError: no text, or more than 10; a length or a limit below 1.

    Example:
        >>> print(texts_cut((10, 50), max_length=32).alt)
        2 texts of 10, 50 tokens, cut at 32: 1 of them loses its end, 18 tokens in all.
    """
    if not 1 <= len(lengths) <= 10 or min(lengths) < 1 or max_length < 1:
        raise ValueError(
            f"Got lengths {list(lengths)} and {max_length}; expected 1 to 10, all above 0."
        )
    left, height, gap = 1.1, 0.2, 0.12
    ax = style.canvas(style.WIDTH, (height + gap) * len(lengths) + 0.75)
    unit = (style.WIDTH - left - 0.3) / max(*lengths, max_length)
    for i, n in enumerate(lengths):
        top, kept = 0.45 + i * (height + gap), min(n, max_length)
        for start, end, color in (
            (0, kept, style.COLORS["kept"]),
            (kept, n, style.COLORS["pruned"]),
        ):
            if end > start:
                corner = (left + start * unit, top)
                ax.add_patch(Rectangle(corner, (end - start) * unit, height, facecolor=color))
        label(ax, (left - 0.1, top + height / 2), f"{n} tokens", style.SMALL, ha="right")
    x, bottom = left + max_length * unit, 0.45 + len(lengths) * (height + gap)
    line(ax, [(x, 0.36), (x, bottom)], style.INK, linestyle="--")
    at, side = (
        ((x, 0.2), "center") if x < style.WIDTH - 1.3 else ((style.WIDTH - 0.1, 0.2), "right")
    )
    label(ax, at, f"max_length = {max_length} tokens", ha=side)
    lost = [n - max_length for n in lengths if n > max_length]
    if lost and max(lost) * unit > 1.0:  # room for a label on the longest gray bar
        row = lengths.index(max(lengths))
        at = (left + (max_length + max(lost) / 2) * unit, 0.45 + row * (height + gap) + height / 2)
        label(ax, at, "never read", style.SMALL)
    lose = "loses its end" if len(lost) == 1 else "lose their ends"
    return finish(
        ax,
        f"{len(lengths)} texts of {', '.join(map(str, lengths))} tokens, cut at {max_length}: "
        f"{len(lost)} of them {lose}, {sum(lost)} tokens in all.",
    )


def loss_verdicts(yours: tuple[float, float, float] | None = None, points: float = 2.0) -> Drawing:
    """Does a small model lose less than you can afford? Three intervals and their verdicts. Lesson 6.

    Args:
        yours: the change of the accuracy and its interval, in points: a fourth row (default: none).
        points: how many you can lose.

    Raises:
        ValueError: points are not above 0.

    Example:
        >>> print(loss_verdicts((-0.5, -1.4, 0.4)).alt)  # doctest: +NORMALIZE_WHITESPACE
        Does it lose less than 2 points? An interval above −2: yes. One below it: no. One across it:
        cannot tell. Your student, from −1.4 to 0.4: yes.
    """
    from course_lib.lessons.claims import verdict

    if not points > 0:
        raise ValueError(f"points is {points}; expected a number above 0.")
    rows = [
        ("example 1", (-0.3 * points, 0.35 * points)),
        ("example 2", (-1.9 * points, -1.2 * points)),
        ("example 3", (-1.4 * points, -0.4 * points)),
    ]
    rows += [] if yours is None else [(YOURS, (yours[1], yours[2]))]
    ends = [end for _, interval in rows for end in interval]
    low, high = min(*ends, -2 * points), max(*ends, 0.5 * points)
    ax = style.canvas(style.WIDTH, 0.42 * len(rows) + 1.0)
    left, right = 1.45, style.WIDTH - 1.3
    bottom = 0.45 + 0.42 * len(rows)

    def place(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    look: dict[str, Any] = {"color": style.INK, "linewidth": style.THIN}
    line(ax, [(left, bottom), (right, bottom)], **look)
    for value, dashes in ((-points, "--"), (0.0, "-")):
        line(ax, [(place(value), 0.3), (place(value), bottom)], linestyle=dashes, **look)
    label(ax, (place(0), bottom + 0.17), "0", style.SMALL)
    if place(0) - place(-points) > 0.4:  # room for both numbers
        label(ax, (place(-points), bottom + 0.17), f"−{points:g}", style.SMALL)
    label(ax, (place(-points), 0.15), f"you can lose {points:g} points", style.SMALL)
    label(ax, ((left + right) / 2, bottom + 0.4), "change of the accuracy, in points", style.SMALL)
    for i, (name, interval) in enumerate(rows):
        y, color = 0.52 + 0.42 * i, STUDENT if name == YOURS else style.GRAY
        line(ax, [(place(interval[0]), y), (place(interval[1]), y)], color, linewidth=style.BOLD)
        if yours is not None and name == YOURS:
            ax.plot(place(yours[0]), y, "o", color=style.INK, markersize=7, zorder=4)
            written = f"{interval[0]:+.2f} to {interval[1]:+.2f}".replace("-", "−")
            label(ax, (left - 0.15, y + 0.2), written, style.SMALL, ha="right")
        label(ax, (left - 0.15, y), name, ha="right")
        label(ax, (right + 0.15, y), VERDICTS[verdict(interval, -points)], ha="left")
    description = (
        f"Does it lose less than {points:g} points? An interval above −{points:g}: yes. One below "
    )
    description += "it: no. One across it: cannot tell."
    if yours is not None:
        said = VERDICTS[verdict(yours[1:], -points)]
        description += f" Your student, from {number(yours[1])} to {number(yours[2])}: {said}."
    return finish(ax, description)
