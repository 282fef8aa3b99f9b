"""Accuracies and their intervals, against published and hand-made numbers."""

from __future__ import annotations

import math

import pytest

from course_lib.evaluation.accuracy import Accuracy, Runs


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (95, 100, 0.888, 0.978),  # Newcombe 1998 gives these digits for Wilson's method
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_interval_of_published_examples(correct, n, low, high):
    assert Accuracy(correct, n).interval == pytest.approx((low, high), abs=6e-4)


@pytest.mark.parametrize("n", [1, 2, 7, 20, 500, 10_000])
def test_the_interval_is_that_of_wilsons_formula(n):
    z2 = 1.959963984540054**2
    for correct in {0, 1, n // 3, n // 2, n - 1, n}:
        half = math.sqrt(z2 * (correct * (n - correct) / n + z2 / 4))
        ends = [(correct + z2 / 2 + side) / (n + z2) for side in (-half, half)]
        low, high = Accuracy(correct, n).interval
        assert (low, high) == pytest.approx(ends, abs=1e-12)
        assert 0 <= low <= correct / n <= high <= 1


def test_accuracy_is_shown_with_n_and_interval():
    accuracy = Accuracy(1900, 2000)
    assert repr(accuracy) == "95.0 % (94.0–95.9, n = 2,000)"
    assert accuracy._repr_html_() == "<b>95.0 %</b><small> (94.0–95.9, n = 2,000)</small>"


@pytest.mark.parametrize(("correct", "n"), [(1, 0), (0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(correct, n):
    with pytest.raises(ValueError, match=f"{correct} correct of {n} examples"):
        Accuracy(correct, n)


@pytest.mark.filterwarnings("error")
def test_the_mean_of_several_seeds_has_students_interval():
    runs = Runs((Accuracy(93, 100), Accuracy(94, 100), Accuracy(95, 100)))
    half = 4.3027 * 0.01 / math.sqrt(3)  # t of 2 degrees of freedom; standard deviation 1 point
    assert runs.value == pytest.approx(0.94)
    assert runs.interval == pytest.approx((0.94 - half, 0.94 + half), abs=1e-5)
    assert Runs((Accuracy(94, 100),) * 3).interval == pytest.approx((0.94, 0.94))
    with pytest.raises(ValueError, match="needs two"):
        Runs((Accuracy(1, 2),))


def test_the_interval_over_seeds_stays_a_share():
    low, high = Runs((Accuracy(99, 100), Accuracy(100, 100), Accuracy(60, 100))).interval
    assert 0 <= low < high == 1
