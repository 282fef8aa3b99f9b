"""Is one model better than another? Paired tests, and intervals of differences and ratios."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import DegenerateDataWarning, binomtest, bootstrap, ttest_rel
from torch import Tensor

from course_lib.evaluation.accuracy import Estimate, Runs, Shown, mean_interval


@dataclass(frozen=True, repr=False)
class Gap(Estimate):
    """Mean difference of two accuracies with its 95 % interval: fractions, shown as points."""

    def __repr__(self) -> str:
        value, low, high = 100 * self.value, 100 * self.low, 100 * self.high
        return f"{value:+.1f} points ({low:+.1f} to {high:+.1f})"


def gap(runs: Runs, baseline: Runs) -> Gap:
    """The mean difference between `runs` and `baseline`, paired by seed (Student's t over the seeds).

    Example:
        >>> from course_lib.evaluation import Accuracy
        >>> a, b = (Runs(tuple(Accuracy(c, 100) for c in row)) for row in ([90, 92, 94], [91, 92, 96]))
        >>> gap(a, b)
        -1.0 points (-3.5 to +1.5)
    """
    pairs = zip(runs.accuracies, baseline.accuracies, strict=True)
    differences = [a.value - b.value for a, b in pairs]
    return Gap(float(np.mean(differences)), *mean_interval(differences))


class _Tested(Shown):
    """A difference with a p value."""

    @property
    def verdict(self: Any) -> str:
        """Which of the two is better, or "no significant difference", at the 5 % level.

        Its user is lab 4, where a learner computes it and a challenge is judged by it. Lessons judge by
        `interval` and a margin (`lessons.claims.verdict`): a small test set finds nothing significant.
        """
        if self.p_value >= 0.05:
            return "no significant difference"
        return "the first is better" if self.value > 0 else "the second is better"


@dataclass(frozen=True, repr=False)
class PairedTest(_Tested):
    """Two models on the same examples, by those that only one answers correctly (McNemar, exact).

    `only_a` and `only_b` count these for the first and the second model. If the models were equally
    good, each would be a coin flip: `p_value` is the probability of a split at least as uneven. `value`
    is the difference of the accuracies, `interval` its 95 % interval (Agresti & Min 2005, which adds
    half an example to each of the four kinds).

    McNemar 1947; Dietterich 1998, section 3.1. Explained in lesson 1.
    """

    only_a: int
    only_b: int
    n: int

    @property
    def value(self) -> float:
        return (self.only_a - self.only_b) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        n = self.n + 2
        center = (self.only_a - self.only_b) / n
        half = 1.959964 * math.sqrt((self.only_a + self.only_b + 1) / n - center**2) / math.sqrt(n)
        return max(center - half, -1.0), min(center + half, 1.0)

    @property
    def p_value(self) -> float:
        differing = self.only_a + self.only_b
        return float(binomtest(self.only_a, differing).pvalue) if differing else 1.0

    def __repr__(self) -> str:
        return (
            f"{self.verdict} (only the first right: {self.only_a}, only the second: {self.only_b}, "
            f"p = {self.p_value:.2g}, n = {self.n:,})"
        )


def paired_test(correct_a: Tensor, correct_b: Tensor) -> PairedTest:
    """McNemar's test of two models on the same test set: bool ``[n]``, which examples each answers
    correctly, in the same order. ValueError if they differ in shape.

    Example:
        >>> import torch
        >>> paired_test(torch.ones(8), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1]))
        the first is better (only the first right: 6, only the second: 0, p = 0.031, n = 8)
    """
    if correct_a.shape != correct_b.shape or correct_a.ndim != 1:
        raise ValueError(
            f"The answers have shapes {tuple(correct_a.shape)} and {tuple(correct_b.shape)}; a paired "
            "test needs two lists of the same examples in the same order."
        )
    a, b = correct_a.bool(), correct_b.bool()
    return PairedTest(int((a & ~b).sum()), int((~a & b).sum()), len(a))


@dataclass(frozen=True, repr=False)
class PairedRuns(_Tested, Gap):
    """Mean difference of two ways to train over several seeds on the same examples, with its test."""

    p_value: float
    seeds: int
    n: int

    def __repr__(self) -> str:
        return (
            f"{self.verdict} ({Gap.__repr__(self)}, p = {self.p_value:.2g}, "
            f"{self.seeds} seeds, n = {self.n:,})"
        )


def paired_test_over_seeds(correct_a: Tensor, correct_b: Tensor) -> PairedRuns:
    """Two ways to train, each with several seeds, on the same test set: a paired t-test.

    For each example, the shares of seeds that answer it correctly are a pair. Interval and p value
    cover the chance in the choice of the test set, averaged over the seeds; `gap` covers the chance in
    training. Explained in lesson 3.

    Args:
        correct_a, correct_b: bool ``[seeds, n]``, which examples each model answers correctly, in the
            same order for both kinds.

    Raises:
        ValueError: the two differ in shape, or are not ``[seeds, n]``.

    Example:
        >>> import torch
        >>> better = torch.tensor([[True, True, False, True], [True, True, True, True]])
        >>> paired_test_over_seeds(better, ~better).value
        0.75
    """
    usable = correct_a.ndim == 2 and correct_a.shape[0] > 0 and correct_a.shape[1] > 1
    if correct_a.shape != correct_b.shape or not usable:
        raise ValueError(
            f"The answers have shapes {tuple(correct_a.shape)} and {tuple(correct_b.shape)}; expected "
            "[seeds, n] for both, of the same two or more examples in the same order."
        )
    a, b = (correct.double().mean(0).cpu().numpy() for correct in (correct_a, correct_b))
    # Where no example differs there is no spread to test against.
    p_value = 1.0 if (a == b).all() else float(np.nan_to_num(ttest_rel(a, b).pvalue, nan=1.0))
    return PairedRuns(float((a - b).mean()), *mean_interval(a - b), p_value, *correct_a.shape)


@dataclass(frozen=True, repr=False)
class Share(Estimate):
    """How much of something a smaller model retains, as a fraction, with its 95 % interval."""

    n: int

    def __repr__(self) -> str:
        to = "–" if self.low >= 0 else " to "  # a dash between two minus signs reads badly
        low, high = 100 * self.low, 100 * self.high
        return f"{100 * self.value:.1f} % ({low:.1f}{to}{high:.1f}, n = {self.n:,})"


def retained(student: Tensor, teacher: Tensor, floor: Tensor | None = None) -> Share:
    """The share of the teacher's accuracy that a student retains: a paired bootstrap over the examples.

    With a `floor`, the share of the teacher's gain over it: (student − floor) / (teacher − floor).
    "97 % of BERT" sounds like much until a linear model has 93 %. The interval covers the chance in the
    choice of the test set (Efron & Tibshirani 1993, section 13.3). Explained in lesson 4.

    Args:
        student: bool ``[n]``, or ``[seeds, n]``: the share of seeds that answer an example correctly.
        teacher, floor: bool ``[n]``, or ``[seeds, n]``, over the same examples in the same order.

    Returns:
        A `Share`, with NaN where the teacher is no better than the floor.

    Raises:
        ValueError: they are not over the same two or more examples.

    Example:
        >>> import torch
        >>> teacher, student = torch.tensor([1, 1, 1, 1, 0] * 40), torch.tensor([1, 1, 1, 0, 0] * 40)
        >>> retained(student, teacher)
        75.0 % (67.9–81.5, n = 200)
    """
    rows = [student, teacher] + ([] if floor is None else [floor])
    n = student.shape[-1]
    if len({row.shape[-1] for row in rows}) > 1 or n < 2:
        raise ValueError(
            f"The answers have shapes {[tuple(row.shape) for row in rows]}; expected [n] or [seeds, n] "
            "for each, of the same two or more examples in the same order."
        )
    shares = [row.double().reshape(-1, n).mean(0).cpu().numpy() for row in rows]

    def ratio(s: np.ndarray, t: np.ndarray, f: np.ndarray | None = None, axis: int = -1) -> Any:
        least = 0.0 if f is None else f.mean(axis)
        return (s.mean(axis) - least) / (t.mean(axis) - least)

    if floor is not None and shares[1].mean() <= shares[2].mean():
        return Share(math.nan, math.nan, math.nan, n)
    # In a resample of few examples the teacher may gain nothing. The share is then infinite or NaN, and
    # so is the interval.
    with (
        np.errstate(divide="ignore", invalid="ignore"),
        warnings.catch_warnings(action="ignore", category=DegenerateDataWarning),
    ):
        low, high = bootstrap(
            shares, ratio, paired=True, n_resamples=2000, batch=200, method="percentile", rng=0
        ).confidence_interval
    return Share(float(ratio(*shares)), float(low), float(high), n)  # type: ignore[arg-type]
