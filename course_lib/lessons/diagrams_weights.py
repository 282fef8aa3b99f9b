"""Drawings of single weights: masked, kept two of four, stored sparsely, rounded to int8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from course_lib.lessons import style
from course_lib.lessons.sketch import PRUNED, Drawing, arrow, cells, finish, label, line, number

KEPT = style.tint(style.COLORS["kept"], 0.5)
POINTER = style.tint(style.COLORS["accent"], 0.4)  # a number that says where a weight stands

WEIGHTS = (
    (0.9, -0.1, 0.4, -0.7),
    (0.2, 0.6, -0.3, 0.1),
    (-0.5, 0.1, 0.8, -0.2),
    (0.3, -0.9, 0.2, 0.5),
)
ROW = (0.9, -0.1, 0.2, -0.7, 0.3, -0.8, 0.6, 0.1)
SPARSE_MATRIX = ((0.9, 0.0, 0.0, -0.7, 0.0, 0.2), (0.0, -0.8, 0.0, 0.0, 0.6, 0.0))
ROWS = (KEPT, style.tint(style.COLORS["labels"], 0.4), style.tint(style.COLORS["baseline"], 0.3))
FLOATS = (-0.62, -0.31, 0.06, 0.47, 1.3)


def mask_times_weights(weights: Any = WEIGHTS, mask: Any = None) -> Drawing:
    """A weight matrix times its mask, entry by entry, and the product. Explained in lesson 1.

    Args:
        weights: ``[rows, columns]``, a tensor, array or nested lists, at most 8 × 4.
        mask: 1 (stays) or 0 (pruned) for each weight, same shape (default: the half with the
            largest magnitudes stays).

    Raises:
        ValueError: weights are no matrix of that size, or the mask has another shape or values.

    Example:
        >>> mask_times_weights([[0.9, -0.1]], [[1, 0]]).alt.split(": ")[1]
        'the product keeps 1 of 2 weights (0.9); the others are 0.'
    """
    weights = _numbers(weights)
    if weights.ndim != 2 or not 0 < weights.shape[0] <= 8 or not 0 < weights.shape[1] <= 4:
        raise ValueError(
            f"weights have the shape {list(weights.shape)}, expected a matrix of at most 8 rows and "
            "4 columns. Pass a corner, such as layer.weight[:4, :4]."
        )
    if mask is None:
        mask = np.abs(weights) > np.median(np.abs(weights))
    mask = _numbers(mask)
    if mask.shape != weights.shape or not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"the mask has the shape {list(mask.shape)} and the values {np.unique(mask).tolist()}, "
            f"expected 0 or 1 in the shape of the weights, {list(weights.shape)}."
        )
    (rows, columns), size, top = weights.shape, 0.48, 0.55
    product, digits = weights * mask, _decimals(weights)
    ax = style.canvas(3 * columns * size + 1.2, rows * size + top + 0.2)
    shades = _shades(weights)
    gone = mask == 0
    panels = (
        ("weights", shades, _texts(weights, digits)),
        ("mask", np.where(gone, PRUNED, KEPT), _texts(mask, 0)),
        ("product", np.where(gone, PRUNED, shades), np.where(gone, "0", _texts(product, digits))),
    )
    for i, (name, fills, texts) in enumerate(panels):
        left = 0.15 + i * (columns * size + 0.45)
        cells(ax, (left, top), fills.tolist(), texts.tolist(), size, name)
        _outline(ax, (left, top), columns * size, rows * size)
        label(ax, (left + columns * size / 2, top - 0.26), name)
        if i < 2:
            middle = (left + columns * size + 0.225, top + rows * size / 2)
            label(ax, middle, "⊙="[i], style.LARGE)
    kept = [number(value, digits) for value in product[~gone]]
    return finish(
        ax,
        f"A {rows} × {columns} weight matrix times a mask of ones and zeros, entry by entry: the "
        f"product keeps {len(kept)} of {mask.size} weights ({', '.join(kept)}); the others are 0.",
    )


def two_of_four(weights: Any = ROW) -> Drawing:
    """The 2:4 pattern: of each four weights in a row the two largest magnitudes stay.

    Below the row stands what is stored: the kept weights, and for each its place in its group, 0 to
    3, in two bits. Mishra et al. 2021. Explained in lesson 1.

    Args:
        weights: one row of 4 or 8 weights.

    Raises:
        ValueError: another number of weights.

    Example:
        >>> print(two_of_four([0.9, -0.1, 0.2, -0.7]).alt)  # doctest: +NORMALIZE_WHITESPACE
        A row of 4 weights in groups of four, two kept in each: group 1 keeps 0.9 and −0.7.
        Stored are 2 weights and their places within the group: 0, 3.
    """
    weights = _numbers(weights)
    if weights.shape not in {(4,), (8,)}:
        raise ValueError(
            f"weights have the shape {list(weights.shape)}, expected one row of 4 or 8 weights. "
            "Pass a part of a row, such as layer.weight[0, :8]."
        )
    groups = weights.reshape(-1, 4)
    places = np.sort(np.argsort(-np.abs(groups), axis=1, kind="stable")[:, :2], axis=1)
    digits, size, left = _decimals(weights), 0.46, 1.35
    ax = style.canvas(left + len(groups) * (4 * size + 0.25), 2.7)
    for g, (group, kept) in enumerate(zip(groups, places, strict=True)):
        x = left + g * (4 * size + 0.25)
        _count(ax, (x, 0.22), 4, size)
        fills = [KEPT if i in kept else PRUNED for i in range(4)]
        cells(ax, (x, 0.4), [fills], [_texts(group, digits)], size, f"group {g}")
        _outline(ax, (x, 0.4), 4 * size, size)
        packed = x + size  # the two kept weights, under the middle of their group
        cells(ax, (packed, 1.5), [[KEPT] * 2], [_texts(group[kept], digits)], size, f"values {g}")
        cells(ax, (packed, 2.05), [[POINTER] * 2], [_texts(kept, 0)], size, f"places {g}")
        for i, place in enumerate(kept):
            start, end = (x + (place + 0.5) * size, 0.9), (packed + (i + 0.5) * size, 1.47)
            arrow(ax, start, end, style.COLORS["kept"])
    for y, text in ((0.63, "weights"), (1.73, "kept"), (2.28, "place (2 bits)")):
        label(ax, (left - 0.15, y), text, ha="right")
    pairs = [
        f"group {g} keeps " + " and ".join(_texts(group[kept], digits))
        for g, (group, kept) in enumerate(zip(groups, places, strict=True), start=1)
    ]
    return finish(
        ax,
        f"A row of {weights.size} weights in groups of four, two kept in each: {'; '.join(pairs)}. "
        f"Stored are {places.size} weights and their places within the group: "
        f"{', '.join(map(str, places.flatten()))}.",
    )


def sparse_storage(
    matrix: Any = SPARSE_MATRIX, value_bytes: int = 4, index_bytes: int = 4
) -> Drawing:
    """A matrix in a dense file, and the same matrix in compressed sparse row format (CSR).

    CSR stores each nonzero value and its column, row after row, and where each row starts in these two
    lists, with the end as a last entry. Rows have different colors. (The bytes of the few row starts
    are not counted.) Explained in lesson 1.

    Args:
        matrix: ``[rows, columns]`` with zeros, at most 3 × 8, and at most 8 numbers that are not zero.
        value_bytes: of one value (default 4, float32).
        index_bytes: of one column index (default 4; PyTorch's own default is int64: 8).

    Raises:
        ValueError: there is no number, or there are more than can be drawn.

    Example:
        >>> print(sparse_storage([[0.9, 0.0], [0.0, 0.5]]).alt)  # doctest: +NORMALIZE_WHITESPACE
        A 2 × 2 matrix, 2 of its numbers zero. A dense file stores all of them: 16 bytes. CSR
        stores 2 values and 2 column indices: 8 + 8 = 16 bytes, and that the rows start at 0, 1
        and end at 2.
    """
    matrix = np.atleast_2d(_numbers(matrix))
    rows, width = matrix.shape if matrix.ndim == 2 else (0, 0)
    places = np.argwhere(matrix)  # row after row: [nonzero, 2]
    if not 0 < rows <= 3 or not 0 < width <= 8 or len(places) > 8:
        raise ValueError(
            f"the matrix has the shape {list(matrix.shape)} and {len(places)} nonzero numbers, but "
            "expected are at most 3 rows of 1 to 8 numbers, and 8 nonzero. Pass a corner, such as "
            "layer.weight[:2, :6]."
        )
    count, digits, size, left = len(places), _decimals(matrix), 0.46, 1.2
    dense, values, indices = matrix.size * value_bytes, count * value_bytes, count * index_bytes
    starts = [int((places[:, 0] < row).sum()) for row in range(rows)]
    bytes_at, below = left + max(width, count) * size + 0.2, 0.4 + rows * size + 0.35
    ax = style.canvas(bytes_at + 2.1, below + 1.95)
    _count(ax, (left, 0.22), width, size)
    fills = [[ROWS[r] if value else PRUNED for value in row] for r, row in enumerate(matrix)]
    texts = [[number(value, digits) if value else "0" for value in row] for row in matrix]
    cells(ax, (left, 0.4), fills, texts, size, "dense")
    colors = [ROWS[row] for row, _ in places]
    stored = matrix[places[:, 0], places[:, 1]]
    cells(ax, (left, below), [colors], [_texts(stored, digits)], size, "values")
    cells(ax, (left, below + 0.5), [colors], [_texts(places[:, 1], 0)], size, "columns")
    cells(
        ax, (left, below + 1.2), [[*ROWS[:rows], "white"]], [_texts(np.array([*starts, count]), 0)],
        size, "starts",
    )  # fmt: skip
    dense_sum = f"{matrix.size} × {value_bytes} = {dense} bytes"
    sparse_sum = (
        f"{count} × ({value_bytes} + {index_bytes}) = {values + indices} bytes\n+ row starts"
    )
    label(ax, (bytes_at, 0.4 + rows * size / 2), dense_sum, ha="left")
    label(ax, (bytes_at, below + 0.48), sparse_sum, ha="left")
    names = ((0.4 + rows * size / 2, "dense"), (below + 0.22, "values"), (below + 0.72, "columns"))
    for y, text in (*names, (below + 1.42, "row starts")):
        label(ax, (left - 0.15, y), text, ha="right")
    kept = (
        "1 value and 1 column index" if count == 1 else f"{count} values and {count} column indices"
    )
    return finish(
        ax,
        f"A {rows} × {width} matrix, {matrix.size - count} of its numbers zero. A dense file stores "
        f"all of them: {dense} bytes. CSR stores {kept}: {values} + {indices} = {values + indices} "
        f"bytes, and that the rows start at {', '.join(map(str, starts))} and end at {count}.",
    )


def int8_number_line(
    weights: Sequence[float] = FLOATS, limit: float = 1.0, zoom: int = 3
) -> Drawing:
    """A row of float weights on the grid of int8 values: scale, rounding, clipping.

    The scale is ``limit / 127``, and q = round(w / scale), clipped to −127 … 127. The lower line
    looks at one weight closely, between the grid values around it. Jacob et al. 2018, section 2.1,
    with a zero point of 0. Explained in lesson 5.

    Args:
        weights: 1 to 6 numbers, which the caller keeps apart by a tenth of the range or more. They are
            written with two decimals, or three where the limit is below 0.5.
        limit: the largest magnitude that int8 can hold (default 1); beyond it weights are clipped.
        zoom: index of the weight to look at closely, counted from 0; it must not be clipped.

    Raises:
        ValueError: too many weights; a limit that is not positive; `zoom` is clipped.

    Example:
        >>> print(int8_number_line([0.5, 2.0], limit=1.0, zoom=0).alt)  # doctest: +NORMALIZE_WHITESPACE
        Float weights on the int8 grid with scale 1/127 = 0.007874: 0.50 → 64, 2.00 → 127
        (clipped). Close up, 0.5 / scale = 63.50 is rounded to 64.
    """
    floats = _numbers(weights)
    if floats.ndim != 1 or not 0 < floats.size <= 6 or not limit > 0:
        raise ValueError(
            f"got {floats.size} weights and limit={limit}, expected 1 to 6 weights and a positive "
            "limit. Pass fewer weights, and their largest magnitude as the limit."
        )
    if not -floats.size <= zoom < floats.size or _clipped(floats[zoom], limit):
        raise ValueError(
            f"zoom={zoom} is no weight within ±{limit} of {floats.tolist()}. Give the index of one "
            "that is not clipped."
        )
    scale = limit / 127
    steps = floats / scale
    whole = np.clip(np.round(steps), -127, 127).astype(int)
    ax = style.canvas(style.WIDTH, 4.0)
    names = [number(value, _places(limit)) for value in floats]
    place = _whole_line(ax, floats, whole, limit)
    _close_up(ax, float(steps[zoom]), int(whole[zoom]), place(whole[zoom] * scale))
    label(ax, (0.1, 2.85), f"scale = {limit:.4g} / 127 = {scale:.4g}", ha="left")
    exact = f"{floats[zoom]:.4g}".replace("-", "−")  # four digits, so that the division comes out
    ratio = f"{exact} / scale = {number(steps[zoom], 2)}"
    label(ax, (0.1, 3.3), f"{ratio} → {number(whole[zoom], 0)}", ha="left")
    pairs = [
        f"{name} → {number(q, 0)}{' (clipped)' if _clipped(w, limit) else ''}"
        for name, w, q in zip(names, floats, whole, strict=True)
    ]
    return finish(
        ax,
        f"Float weights on the int8 grid with scale {limit:.4g}/127 = {scale:.4g}: "
        f"{', '.join(pairs)}. Close up, {ratio} is rounded to {number(whole[zoom], 0)}.",
    )


def _clipped(value: float, limit: float) -> bool:
    """Whether int8 cannot hold a value; float32's own rounding does not count."""
    return abs(value) > limit * (1 + 1e-6)


def _places(limit: float) -> int:
    """Decimals that tell the weights below a limit apart."""
    return 3 if limit < 0.5 else 2


def _whole_line(ax: Axes, floats: Any, whole: Any, limit: float) -> Callable[[float], float]:
    """The upper part of `int8_number_line`; returns where a float stands from left to right."""
    reach = 1.12 * max(limit, np.abs(floats).max())
    upper, lower = 0.75, 1.65
    black, gray = style.COLORS["dense"], style.COLORS["pruned"]

    def place(value: float) -> float:
        return 3.95 + 3.0 * value / reach

    for side in (-1, 1):
        if np.abs(floats).max() > limit:  # gray: what is clipped
            ends = [(place(side * limit), upper), (place(side * reach), upper)]
            line(ax, ends, gray, linewidth=6, solid_capstyle="butt")
        end = place(side * limit)
        if min(abs(place(q * limit / 127) - end) for q in whole) > 0.5:  # room for its label
            text = number(127 * side, 0)
            label(ax, (end, lower + 0.25), text, style.SMALL, color=style.FADED)
    for y in (upper, lower):
        line(ax, [(place(-limit), y), (place(limit), y)], black)
    for tick in [-127, *range(-120, 121, 8), 127]:  # every eighth of the 255, and the ends
        x = place(tick * limit / 127)
        line(ax, [(x, lower - 0.05), (x, lower + 0.05)], black, linewidth=0.8)
    for value, q in zip(floats, whole, strict=True):
        clipped = _clipped(value, limit)
        color = style.COLORS["accent" if clipped else "kept"]
        at = place(q * limit / 127)
        ax.plot(place(value), upper, "o", color=color, markersize=8, zorder=4)
        arrow(ax, (place(value), upper + 0.1), (at, lower - 0.08), color)
        label(ax, (place(value), upper - 0.27), number(value, _places(limit)), style.SMALL)
        label(ax, (at, lower + 0.25), number(q, 0), style.SMALL)
        if clipped:
            label(ax, (place(value), upper - 0.52), "clipped", style.SMALL)
    for y, text in ((upper, "float32"), (lower, "int8")):
        label(ax, (0.1, y), text, ha="left")
    label(
        ax, (0.1, lower + 0.5), "a tick every 8 values", style.SMALL, ha="left", color=style.FADED
    )
    return place


def _close_up(ax: Axes, step: float, q: int, source: float) -> None:
    """The lower part of `int8_number_line`: one weight between its neighbors on the grid.

    `source` is where q stands on the upper line, from left to right.
    """
    spacing, y = 1.0, 3.35
    first = int(np.clip(np.floor(step) - 1, -127, 124))  # the four values shown are int8

    def place(value: float) -> float:
        return 5.0 + spacing * (value - first - 1.5)

    left, right = place(first - 0.4), place(first + 3.4)
    for corner, start in ((left, source - 0.14), (right, source + 0.14)):
        line(ax, [(start, 2.02), (corner, y - 0.75)], style.GRAY, linewidth=0.8, linestyle=":")
    ax.add_patch(Rectangle((left, y - 0.75), right - left, 1.2, facecolor="#F6F6F6", zorder=0))
    line(ax, [(left, y), (right, y)], style.COLORS["dense"])
    for tick in range(first, first + 4):
        line(ax, [(place(tick), y - 0.09), (place(tick), y + 0.09)], style.COLORS["dense"])
        weight = "bold" if tick == q else "normal"
        label(ax, (place(tick), y + 0.28), number(tick, 0), style.SMALL, weight=weight)
    ax.plot(place(step), y - 0.32, "o", color=style.COLORS["kept"], markersize=8)
    label(ax, (place(step), y - 0.56), number(step, 2), style.SMALL)
    arrow(ax, (place(step), y - 0.32), (place(q), y - 0.02), style.COLORS["kept"])


def _numbers(values: Any) -> np.ndarray:
    detached = values.detach().cpu() if hasattr(values, "detach") else values
    return np.asarray(detached, dtype=float)


def _decimals(values: np.ndarray) -> int:
    """One decimal if that says it all, else two."""
    return 1 if np.allclose(values, values.round(1), atol=1e-6) else 2


def _texts(values: np.ndarray, digits: int) -> np.ndarray:
    return np.vectorize(lambda value: number(value, digits), otypes=[object])(values)


def _shades(weights: np.ndarray) -> np.ndarray:
    """Darker for a larger magnitude, so that the eye finds the small ones."""
    share = np.abs(weights) / (np.abs(weights).max() or 1)
    shade = np.vectorize(lambda s: style.tint(style.COLORS["kept"], 0.1 + 0.6 * s), otypes=[object])
    return shade(share)


def _count(ax: Axes, at: tuple[float, float], columns: int, size: float) -> None:
    """Column indices from 0 above a row of cells."""
    for column in range(columns):
        middle = (at[0] + (column + 0.5) * size, at[1])
        label(ax, middle, str(column), style.SMALL, color=style.FADED)


def _outline(ax: Axes, at: tuple[float, float], width: float, height: float) -> None:
    x, y = at
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
    line(ax, corners, style.INK, linewidth=1)
