"""Paired tests and intervals, against numbers worked out by hand and in simulations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from course_lib.evaluation.accuracy import Accuracy, Runs
from course_lib.evaluation.significance import (
    PairedTest,
    Share,
    gap,
    paired_test,
    paired_test_over_seeds,
    retained,
)


@pytest.mark.filterwarnings("error")
def test_a_gap_is_paired_by_seed():
    baseline = Runs(tuple(Accuracy(c, 100) for c in (50, 70, 90)))
    better = Runs(tuple(Accuracy(c, 100) for c in (52, 72, 92)))
    difference = gap(better, baseline)
    assert (difference.value, *difference.interval) == pytest.approx((0.02, 0.02, 0.02))
    assert repr(difference) == "+2.0 points (+2.0 to +2.0)"
    assert gap(baseline, baseline).interval == (0, 0)
    with pytest.raises(ValueError):
        gap(better, Runs(baseline.accuracies[:2]))


def answers(text: str) -> Tensor:
    return torch.tensor([letter == "y" for letter in text])


def test_mcnemar_counts_who_is_right_alone():
    test = paired_test(answers("yyyynnny"), answers("ynnnynny"))
    assert (test.only_a, test.only_b, test.n) == (3, 1, 8)
    assert test.p_value == pytest.approx(2 * (1 + 4) / 2**4)
    assert test.value == 0.25
    assert test.verdict == "no significant difference"


def test_the_verdict_names_the_better_one():
    assert paired_test(answers("y" * 6), answers("n" * 6)).verdict == "the first is better"
    assert paired_test(answers("n" * 6), answers("y" * 6)).verdict == "the second is better"
    # five to none could be chance: p = 0.0625
    assert paired_test(answers("y" * 5), answers("n" * 5)).verdict == "no significant difference"
    assert paired_test(answers("yn"), answers("yn")).p_value == 1


def test_the_interval_of_a_paired_difference():
    # Agresti 2002, section 10.1.1: 150 and 86 of 1,600 changed their mind; 0.04 ± 1.96 · 0.0095
    assert PairedTest(150, 86, 1600).interval == pytest.approx((0.021, 0.059), abs=5e-4)
    low, high = PairedTest(9, 2, 80).interval
    assert PairedTest(2, 9, 80).interval == pytest.approx((-high, -low))
    assert PairedTest(0, 0, 80).interval[1] > 0  # no difference seen is no proof of none


@pytest.mark.parametrize(
    ("a", "b"), [(torch.ones(3), torch.ones(4)), (torch.ones(2, 2), torch.ones(2, 2))]
)
def test_answers_that_are_no_pairs_are_refused(a, b):
    with pytest.raises(ValueError, match="same examples in the same order"):
        paired_test(a, b)


def test_seeds_are_averaged_before_the_pairs_are_compared():
    generator = torch.Generator().manual_seed(0)
    hard = torch.rand(400, generator=generator)
    a, b = (torch.rand(3, 400, generator=generator) < share * hard for share in (0.95, 0.6))
    test = paired_test_over_seeds(a, b)
    difference = (a.double().mean(0) - b.double().mean(0)).numpy()
    error = difference.std(ddof=1) / math.sqrt(400)
    assert test.value == pytest.approx(difference.mean())
    assert test.interval[0] == pytest.approx(difference.mean() - 1.96594 * error, abs=1e-5)
    assert test.verdict == "the first is better" and test.p_value < 0.001
    assert paired_test_over_seeds(b, a).verdict == "the second is better"
    equal = paired_test_over_seeds(a, a)
    assert (equal.verdict, equal.interval) == ("no significant difference", (0, 0))
    assert (test.seeds, test.n) == (3, 400)


@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 9), (9,)), ((3, 9), (2, 9)), ((3, 9), (3, 8)), ((3, 1), (3, 1)), ((0, 9), (0, 9))],
)
def test_runs_that_are_no_pairs_are_refused(a, b):
    with pytest.raises(ValueError, match=r"expected \[seeds, n\].*two or more examples"):
        paired_test_over_seeds(torch.ones(a).bool(), torch.ones(b).bool())


def test_the_share_that_is_retained_is_a_ratio_of_accuracies():
    teacher = torch.tensor([True] * 90 + [False] * 10)
    student = torch.stack([torch.arange(100) < 81, torch.arange(100) < 72])  # two seeds
    share = retained(student, teacher)
    assert share.value == pytest.approx(0.85)  # (0.81 + 0.72) / 2 / 0.9
    assert share.low < 0.85 < share.high and share.n == 100
    floor = torch.arange(100) < 60
    assert retained(student, teacher, floor).value == pytest.approx((0.765 - 0.6) / 0.3)
    assert retained(teacher, teacher) == Share(1.0, 1.0, 1.0, 100)
    assert math.isnan(retained(student, floor, teacher).value)


@pytest.mark.parametrize("student", [torch.ones(3), torch.ones(2, 5), torch.ones(0)])
def test_answers_over_other_examples_retain_no_share(student):
    with pytest.raises(ValueError, match=r"expected \[n\] or \[seeds, n\]"):
        retained(student, torch.ones(4))


@pytest.mark.filterwarnings("error")
def test_few_examples_with_hardly_a_gain_over_the_floor_give_no_warning():
    teacher = torch.tensor([1, 1, 1, 0] * 3)
    floor = torch.tensor([1, 0, 1, 1] * 2 + [1, 1, 0, 0])
    assert retained(teacher, teacher, floor).value == 1
