"""Accuracy with its interval, for one model and over several seeds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from scipy.stats import binomtest, ttest_1samp


class Shown:
    """A result whose `repr` reads "value (detail)": notebooks show the value in bold."""

    def _repr_html_(self) -> str:
        value, bracket, detail = repr(self).partition(" (")
        return f"<b>{escape(value)}</b><small>{escape(bracket + detail)}</small>"


@dataclass(frozen=True, repr=False)
class Estimate(Shown):
    """A measured number with its 95 % interval from `low` to `high`."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high


@dataclass(frozen=True, repr=False)
class Accuracy(Shown):
    """Share of correct answers, with the number of examples and the 95 % interval.

    `interval` is that of Wilson 1927. Unlike ± 1.96 standard errors it stays inside [0, 1] and is right
    for small n. Explained in lesson 1.

    Example:
        >>> Accuracy(correct=95, n=100)
        95.0 % (88.8–97.8, n = 100)
    """

    correct: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.n or self.n == 0:
            raise ValueError(f"{self.correct} correct of {self.n} examples cannot be an accuracy.")

    @property
    def value(self) -> float:
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        found = binomtest(self.correct, self.n).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    def __repr__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} % ({100 * low:.1f}–{100 * high:.1f}, n = {self.n:,})"


@dataclass(frozen=True, repr=False)
class Runs(Shown):
    """The same experiment with several seeds: the mean accuracy, and the 95 % interval of that mean.

    The interval is Student's t over the seeds: it covers the chance in training, that of `Accuracy` the
    chance in the choice of the test set. With three seeds it is wide. Explained in lesson 1.

    Example:
        >>> Runs((Accuracy(93, 100), Accuracy(94, 100), Accuracy(95, 100)))
        94.0 % (91.5–96.5, 3 seeds, n = 100)
    """

    accuracies: tuple[Accuracy, ...]

    def __post_init__(self) -> None:
        if len(self.accuracies) < 2:
            raise ValueError(f"Got {len(self.accuracies)} run; an interval over seeds needs two.")

    @property
    def value(self) -> float:
        return float(np.mean([accuracy.value for accuracy in self.accuracies]))

    @property
    def interval(self) -> tuple[float, float]:
        low, high = mean_interval([accuracy.value for accuracy in self.accuracies])
        return max(low, 0.0), min(high, 1.0)

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"{100 * self.value:.1f} % ({100 * low:.1f}–{100 * high:.1f}, "
            f"{len(self.accuracies)} seeds, n = {self.accuracies[0].n:,})"
        )


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean of the values."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # all nearly equal
        low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    return float(low), float(high)
