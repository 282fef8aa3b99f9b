"""The k-th smallest of many scores, without sorting or storing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np


def kth_smallest(read: Callable[[], Iterable[np.ndarray]], k: int) -> tuple[float, int]:
    """The k-th smallest of all scores, and how many equal to it are among the k smallest.

    As integers, the bits of float32 scores ≥ 0 are in the order of the scores, and those of −1 come
    first. So it counts instead of sorting: the upper 16 bits, then the lower 16 of the scores in the
    bin that holds the k-th. `read` is called twice, and one of its arrays is in memory at a time.

    Raises:
        ValueError: there are fewer than k scores, or others at the second call.

    Example:
        >>> kth_smallest(lambda: [np.float32([3, 1]), np.float32([2, 2, 7])], k=2)
        (2.0, 1)
    """
    if k == 0:
        return -np.inf, 0
    high, missing = _bin(((bits >> 16) + 2**15 for bits in map(_bits, read())), k)
    upper = high - 2**15
    low, missing = _bin(
        (bits[bits >> 16 == upper] & 0xFFFF for bits in map(_bits, read())), missing
    )
    return float(np.int32((upper << 16) + low).view(np.float32)), missing


def _bits(scores: np.ndarray) -> np.ndarray:
    return (scores + np.float32(0)).view(np.int32)  # the sum turns −0.0 into 0.0


def _bin(parts: Iterable[np.ndarray], k: int) -> tuple[int, int]:
    """The value (0 to 65535) of the k-th smallest, and its place among those equal to it."""
    counts = sum(np.bincount(part, minlength=2**16) for part in parts)
    totals = np.cumsum(counts)
    if totals[-1] < k:
        raise ValueError(
            f"k is {k}, but there are {totals[-1]} scores. They must be the same at each reading: "
            "does a score of your own give other values each time it is called?"
        )
    value = int(np.searchsorted(totals, k))
    return value, k - (int(totals[value - 1]) if value else 0)
