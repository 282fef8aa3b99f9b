"""Drawings of what has to be removed together: neurons, channels, residual groups, heads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle

from course_lib.lessons import style
from course_lib.lessons.sketch import Drawing, Point, arrow, box, cells, finish, label, line

GONE = style.tint(style.COLORS["accent"], 0.75)
STAYS = "#ECECEC"
TALL = 0.52  # inches: a box with two lines of text
LAYERS = ("stem", "basic1", "basic2", "reduce", "middle", "expand", "shortcut")


def neuron_removed(neuron: int = 2, inputs: int = 3, hidden: int = 4, outputs: int = 2) -> Drawing:
    """A hidden neuron in the network, and what it is in the weights: a row, a bias and a column.

    Weight matrices are those of ``nn.Linear``, ``[outputs, inputs]``. Explained in lesson 2.

    Args:
        neuron: index of the neuron, counted from 0 (the drawing counts from 1).
        inputs, hidden, outputs: how many neurons each layer has, 1 to 6 (default 3, 4, 2).

    Raises:
        ValueError: a layer is empty or too large to draw; there is no such neuron.

    Example:
        >>> drawing = neuron_removed(neuron=0, inputs=2, hidden=3, outputs=1)
        >>> print(drawing.alt)  # doctest: +NORMALIZE_WHITESPACE
        Hidden neuron 1 of 3 is removed: row 1 of W₁ (3 × 2 becomes 2 × 2), its bias, and
        column 1 of W₂ (1 × 3 becomes 1 × 2) go together.
    """
    sizes = (inputs, hidden, outputs)
    if not all(1 <= size <= 6 for size in sizes):
        raise ValueError(f"the layers have {sizes} neurons, expected 1 to 6 each. Draw fewer.")
    _check_index("neuron", neuron, hidden)
    middle, left = 0.4 + 0.25 * max(sizes), 3.0
    size = min(0.32, 2.6 / (max(inputs, 4) + max(hidden, 4)))
    widths = [max(count * size, 1.0) for count in (inputs, 1, hidden)]
    ax = style.canvas(left + sum(widths) + 0.55, 2 * middle + 0.15)
    _network(ax, sizes, neuron, middle)
    first = [[GONE if r == neuron else STAYS] * inputs for r in range(hidden)]
    bias = [[GONE if r == neuron else STAYS] for r in range(hidden)]
    second = [[GONE if c == neuron else STAYS for c in range(hidden)] for _ in range(outputs)]
    titles = (f"W₁: row {neuron + 1}", "b₁", f"W₂: column {neuron + 1}")
    shapes = (
        f"{hidden} × {inputs} → {hidden - 1} × {inputs}",
        f"{hidden} → {hidden - 1}",
        f"{outputs} × {hidden} → {outputs} × {hidden - 1}",
    )
    for i, fills in enumerate((first, bias, second)):
        x = left + sum(widths[:i]) + 0.2 * i + widths[i] / 2
        top, height = middle - len(fills) * size / 2, len(fills) * size
        cells(ax, (x - len(fills[0]) * size / 2, top), fills, size=size, name=titles[i][:2])
        label(ax, (x, top - 0.2), titles[i])
        label(ax, (x, top + height + 0.2), shapes[i], style.SMALL)
    return finish(
        ax,
        f"Hidden neuron {neuron + 1} of {hidden} is removed: row {neuron + 1} of W₁ ({hidden} × "
        f"{inputs} becomes {hidden - 1} × {inputs}), its bias, and column {neuron + 1} of W₂ "
        f"({outputs} × {hidden} becomes {outputs} × {hidden - 1}) go together.",
    )


def channel_with_batch_norm(
    gamma: float = 1.0, beta: float = 0.4, mean: float = -0.6, std: float = 0.5
) -> Drawing:
    """A channel whose filter is zero still outputs β − γμ / √(v + ε), because batch norm follows.

    So the filter, the batch norm's four numbers and the next layer's weights for the channel go
    together. Explained in lesson 2.

    Args:
        gamma, beta, mean: the channel's γ and β and its running mean μ.
        std: √(v + ε), the square root of the running variance plus ε (default 0.5).

    Raises:
        ValueError: std is not positive.

    Example:
        >>> print(channel_with_batch_norm(1.0, 0.4, -0.6, 0.5).alt)  # doctest: +NORMALIZE_WHITESPACE
        A channel with a zeroed filter outputs 0, but its batch norm turns that into
        0.4 − 1 · (−0.6) / 0.5 = 1.6, which the ReLU passes on to every filter of the next
        convolution. Filter, batch norm and one slice of each filter of the next convolution are
        removed together.
    """
    if not std > 0:
        raise ValueError(f"std is {std}, expected a positive number: √(variance + ε).")
    left_over = beta - gamma * mean / std
    ax = style.canvas(style.WIDTH, 3.85)
    height, step, top, row = 0.44, 0.56, 0.65, 3
    middles = [top + r * step + height / 2 for r in range(4)]
    for x, width, name in ((0.3, 1.1, "convolution"), (2.0, 1.1, "batch norm")):
        label(ax, (x + width / 2, 0.25), name)
        for r, y in enumerate(middles):
            _part(ax, (x, y - height / 2), (width, height), r == row)
    label(ax, (4.1, 0.25), "ReLU, pooling")
    whole = middles[-1] - middles[0] + height
    box(ax, (3.8, top), (0.6, whole), facecolor=STAYS, edgecolor="none")
    label(ax, (6.05, 0.25), "next convolution")
    for i in range(3):  # its filters: each has one slice for each channel
        x = 5.1 + 0.66 * i
        label(ax, (x + 0.29, 0.5), f"filter {i + 1}", style.SMALL)
        for r, y in enumerate(middles):
            _part(ax, (x, y - height / 2), (0.58, height), r == row)
        corner, size = (x - 0.02, top - 0.02), (0.62, whole + 0.04)
        box(ax, corner, size, facecolor="none", edgecolor=style.GRAY, linewidth=style.THIN)
    for r, y in enumerate(middles):
        color = style.INK if r == row else style.COLORS["pruned"]
        for start, end in ((1.45, 1.95), (3.15, 3.75), (4.45, 5.05)):
            arrow(ax, (start, y), (end, y), color)
    y = middles[row]
    label(ax, (0.85, y), "0 0 0  bias 0", style.SMALL)
    label(ax, (2.55, y), "γ  β  μ  v")
    outputs = ("0", _short(left_over), _short(max(left_over, 0.0)))
    for x, text in zip((1.7, 3.43, 4.73), outputs, strict=True):
        label(ax, (x, y - 0.15), text, weight="bold")
    frame: dict[str, Any] = {"facecolor": "none", "linestyle": "--", "linewidth": style.LINE}
    for left, right in ((0.2, 3.18), (5.0, style.WIDTH - 0.08)):  # the ReLU has nothing to remove
        corner, size = (left, y - height / 2 - 0.055), (right - left, height + 0.11)
        box(ax, corner, size, color=style.COLORS["accent"], **frame)
    shown = [_short(value, 4) for value in (beta, gamma, mean, std)]
    parts = [shown[0], *(f"({text})" if text[0] == "−" else text for text in shown[1:])]
    product = f"{parts[0]} − {parts[1]} · {parts[2]} / {parts[3]}"
    exact = all(float(f"{value:.4g}") == value for value in (gamma, beta, mean, std))
    result = f"{'=' if exact else '≈'} {_short(left_over, 4)}"
    formula = f"β − γμ / √(v + ε)  =  {product}  {result}{'' if exact else '  (rounded)'}"
    label(ax, (style.WIDTH - 0.15, 3.35), formula, ha="right")
    line(ax, [(3.43, y + 0.05), (3.43, 3.2)], style.GRAY, linewidth=0.8, linestyle=":")
    label(ax, (style.WIDTH / 2, 3.68), "dashed: removed together")
    then = "passes on to every filter of" if left_over > 0 else "turns into 0 for"
    return finish(
        ax,
        f"A channel with a zeroed filter outputs 0, but its batch norm turns that into {product} "
        f"{result}, which the ReLU {then} the next convolution. Filter, batch norm and one slice of "
        "each filter of the next convolution are removed together.",
    )


def _part(ax: Axes, at: Point, size: Point, gone: bool) -> None:
    box(ax, at, size, facecolor=GONE if gone else STAYS, edgecolor="none")


def residual_groups(
    basic: Sequence[int] = (16, 16),
    bottleneck: Sequence[int] = (16, 32, 64),
    names: Sequence[str] = LAYERS,
) -> Drawing:
    """Which channels a sum ties together: a basic block, then a bottleneck with a shortcut.

    Lines are channels, boxes are convolutions. A sum adds channel 5 to channel 5, so all lines that
    meet in it are one group. The two blocks of He et al. 2016, figure 5. Explained in lesson 2.

    Args:
        basic: channels around the basic block and inside it (default 16, 16).
        bottleneck: channels after its first, second and last convolution (default 16, 32, 64).
            It reads what the basic block outputs.
        names: of the seven convolutions (default: those of `SmallResNet`).

    Raises:
        ValueError: not two and three counts, or not seven names.

    Example:
        >>> print(residual_groups().alt)  # doctest: +NORMALIZE_WHITESPACE
        Channels that are removed together have one letter and one color. Basic block: A (16
        channels) is the output of stem, the output of basic2 and their sum; B (16) is the output
        of basic1. Bottleneck: its input is A; C (16) is the output of reduce and D (32) that of
        middle; E (64) is the output of expand, that of shortcut, and their sum.
    """
    if len(basic) != 2 or len(bottleneck) != 3:
        raise ValueError(
            f"got {len(basic)} and {len(bottleneck)} counts of channels, expected 2 for the basic "
            "block (around, inside) and 3 for the bottleneck (after each convolution)."
        )
    if len(names) != len(LAYERS):
        raise ValueError(f"got {len(names)} names, expected 7, as in {LAYERS}.")
    stem, *inside, reduce, middle, expand, shortcut = names
    ax = style.canvas(style.WIDTH, 4.6)
    A, B, C, D, E = zip("ABCDE", (*basic, *bottleneck), style.GROUPS, strict=True)
    label(ax, (0.1, 0.25), "basic block", ha="left", weight="bold")
    boxes = [f"{inside[0]}\n3 × 3", f"{inside[1]}\n3 × 3"]
    _block(ax, 1.6, [A, B, A], boxes)
    box(ax, (0.1, 1.6 - TALL / 2), (0.65, TALL), f"{stem}\n3 × 3", style.GRAY, zorder=3)
    _channels(ax, [(7.1, 1.6), (7.1, 2.15), (0.2, 2.15), (0.2, 3.7)], A, None)
    arrow(ax, (0.2, 2.15), (0.2, 3.05), A[2], mutation_scale=18)
    label(ax, (0.4, 2.4), "bottleneck", ha="left", weight="bold")
    boxes = [f"{reduce}\n1 × 1", f"{middle}\n3 × 3", f"{expand}\n1 × 1"]
    _block(ax, 3.7, [A, C, D, E], boxes, f"{shortcut}\n1 × 1")
    label(ax, (style.WIDTH - 0.05, 4.15), "→ classifier", style.SMALL, ha="right")
    label(ax, (style.WIDTH / 2, 4.38), "a color: removed together")
    return finish(
        ax,
        f"Channels that are removed together have one letter and one color. Basic block: A ({A[1]} "
        f"channels) is the output of {stem}, the output of {inside[1]} and their sum; B ({B[1]}) is "
        f"the output of {inside[0]}. Bottleneck: its input is A; C ({C[1]}) is the output of {reduce} "
        f"and D ({D[1]}) that of {middle}; E ({E[1]}) is the output of {expand}, that of {shortcut}, "
        "and their sum.",
    )


def attention_head(
    head: int = 1, heads: int = 3, head_size: int = 2, neuron: int = 3, neurons: int = 8
) -> Drawing:
    """Which rows, biases and columns belong to one attention head, and which to one FFN neuron.

    Weight matrices are those of ``nn.Linear``, ``[outputs, inputs]``; the hidden size is heads ×
    head_size. Michel et al. 2019, section 2. Explained in lesson 2b.

    Args:
        head, neuron: indices counted from 0 (the drawing counts from 1).
        heads, head_size: how many heads (default 3), and how many rows each has (default 2).
        neurons: how many FFN neurons (default 8).

    Raises:
        ValueError: there is no such head or neuron; more than 8 rows or 12 FFN neurons to draw.

    Example:
        >>> drawing = attention_head(head=0, heads=2, head_size=2, neuron=1, neurons=4)
        >>> print(drawing.alt)  # doctest: +NORMALIZE_WHITESPACE
        Head 1 of 2 is rows 1 to 2 of Q, K and V, with their biases, and columns 1 to 2 of O. FFN
        neuron 2 of 4 is row 2 of the up projection, with its bias, and column 2 of the down
        projection.
    """
    hidden = heads * head_size
    if not 1 <= hidden <= 8 or not 1 <= neurons <= 12:
        raise ValueError(
            f"heads × head_size is {hidden} and neurons is {neurons}, expected at most 8 and 12. "
            "Draw a smaller layer: the pattern is the same."
        )
    _check_index("head", head, heads)
    _check_index("neuron", neuron, neurons)
    left, size = 1.15, min(0.17, 1.1 / hidden, 4.9 / (hidden + neurons))
    ax = style.canvas(style.WIDTH, 1.3 + (hidden + max(hidden, neurons)) * size + 0.15)
    ours = [row // head_size == head for row in range(hidden)]
    rows = [[GONE if mine else STAYS] * hidden for mine in ours]
    columns = [[GONE if mine else STAYS for mine in ours]] * hidden
    gap, width = 0.2 + size, hidden * size  # a bias, a column of cells, stands in each gap
    places = [left + i * (width + gap) for i in range(3)]
    for x, name in zip(places, "QKV", strict=True):
        _matrix(ax, (x, 0.55), rows, size, name)
        cells(ax, (x + width + 0.05, 0.55), [row[:1] for row in rows], size=size, name=f"b{name}")
        label(ax, (x + width + 0.05 + size / 2, 0.33), "bias", style.SMALL)
    right = places[-1] + width + size + 0.15
    frame = (right - left + 0.1, width + 0.2)
    box(ax, (left - 0.1, 0.45), frame, facecolor="none", zorder=0)  # all three feed the head
    output = right + 0.55
    _matrix(ax, (output, 0.55), columns, size, "O")
    middle = 0.55 + width / 2
    arrow(ax, (right + 0.1, middle), (output - 0.15, middle))
    label(ax, (0.15, middle), f"head {head + 1}\nof {heads}", ha="left")
    top = 0.55 + width + 0.65
    up = [[GONE if r == neuron else STAYS] * hidden for r in range(neurons)]
    down = [[GONE if c == neuron else STAYS for c in range(neurons)]] * hidden
    _matrix(ax, (left, top), up, size, "up")
    cells(ax, (left + width + 0.05, top), [row[:1] for row in up], size=size, name="bup")
    label(ax, (left + width + 0.05 + size / 2, top - 0.22), "bias", style.SMALL)
    middle = top + max(neurons, hidden) * size / 2
    second = left + width + size + 0.85
    arrow(ax, (left + width + size + 0.15, middle), (second - 0.15, middle))
    _matrix(ax, (second, middle - hidden * size / 2), down, size, "down")
    label(ax, (0.15, middle), f"FFN\nneuron {neuron + 1}", ha="left")
    first, last = head * head_size + 1, (head + 1) * head_size
    return finish(
        ax,
        f"Head {head + 1} of {heads} is rows {first} to {last} of Q, K and V, with their biases, and "
        f"columns {first} to {last} of O. FFN neuron {neuron + 1} of {neurons} is row {neuron + 1} of "
        f"the up projection, with its bias, and column {neuron + 1} of the down projection.",
    )


def _network(ax: Axes, sizes: Sequence[int], neuron: int, middle: float) -> None:
    """Three layers of neurons as circles; one hidden neuron and its edges are dashed."""
    nodes = [
        [(0.35 + 0.95 * layer, middle + 0.5 * (i - (size - 1) / 2)) for i in range(size)]
        for layer, size in enumerate(sizes)
    ]
    gone = nodes[1][neuron]
    for before, after in ((nodes[0], nodes[1]), (nodes[1], nodes[2])):
        for start in before:
            for end in after:
                through = gone in (start, end)
                color = style.COLORS["accent" if through else "pruned"]
                line(ax, [start, end], color, linestyle="--" if through else "-", linewidth=1.2)
    for node in chain.from_iterable(nodes):
        fill, edge = (GONE, style.COLORS["accent"]) if node == gone else ("white", style.INK)
        dashes = "--" if node == gone else "-"
        circle = Circle(
            node, 0.15, facecolor=fill, edgecolor=edge, linestyle=dashes, linewidth=1.5, zorder=3
        )
        ax.add_patch(circle)


Group = tuple[str, int, str]


def _block(
    ax: Axes, y: float, groups: Sequence[Group], convolutions: Sequence[str], shortcut: str = ""
) -> None:
    """A residual block on a line: input, convolutions, sum; above, a shortcut with its own group.

    `groups` holds letter, channels and color after the input and after each convolution; `shortcut`
    is the text of its convolution, "" where it has none.
    """
    split, plus, end, height, width = 1.3, 6.25, 7.1, 0.85, 0.8
    count, tall = len(convolutions), TALL
    gap = (plus - split - count * width) / (count + 1)
    x, before, last, low = split, groups[0], groups[-1], y + 0.17
    _channels(ax, [(0.2, y), (split, y)], before, (1.03, low))
    for i, (text, group) in enumerate(zip(convolutions, groups[:-1], strict=True)):
        left = split + gap + i * (gap + width)
        _channels(ax, [(x, y), (left, y)], group, ((x + left) / 2, low) if i else None)
        box(ax, (left, y - tall / 2), (width, tall), text, style.GRAY)
        x = left + width
    _channels(ax, [(x, y), (plus, y)], last, ((x + plus - 0.17) / 2, low))
    _channels(ax, [(plus, y), (end, y)], last, (6.77, low))
    above = y - height
    middle = (split + plus) / 2
    if not shortcut:
        _channels(ax, [(split, y), (split, above), (plus, above), (plus, y)], last, None)
        label(ax, (middle, above + 0.17), _name(last), style.SMALL)
    else:
        _channels(ax, [(split, y), (split, above), (middle, above)], before, None)
        _channels(ax, [(middle, above), (plus, above), (plus, y)], last, None)
        corner = (middle - width / 2, above - tall / 2)
        box(ax, corner, (width, tall), shortcut, style.GRAY, zorder=3)
        label(ax, ((split + middle) / 2, above + 0.17), _name(before), style.SMALL)
        label(ax, ((middle + plus) / 2, above + 0.17), _name(last), style.SMALL)
    circle = Circle(
        (plus, y), 0.17, facecolor="white", edgecolor=style.INK, linewidth=1.5, zorder=4
    )
    ax.add_patch(circle)
    label(ax, (plus, y), "+", style.LARGE)


def _channels(ax: Axes, points: Sequence[Point], group: Group, at: Point | None) -> None:
    line(ax, points, group[2], linewidth=style.BOLD)
    if at is not None:
        label(ax, at, _name(group), style.SMALL)


def _name(group: Group) -> str:
    return f"{group[0]}: {group[1]}"


def _matrix(ax: Axes, at: Point, fills: Sequence[Sequence[str]], size: float, name: str) -> None:
    cells(ax, at, fills, size=size, name=name)
    label(ax, (at[0] + len(fills[0]) * size / 2, at[1] - 0.2), name)


def _short(value: float, digits: int = 3) -> str:
    """So many digits at most, and a real minus sign."""
    return f"{value:.{digits}g}".replace("-", "−")


def _check_index(name: str, index: int, count: int) -> None:
    if not 0 <= index < count:
        raise ValueError(f"{name} is {index}, expected an index from 0 to {count - 1}.")
