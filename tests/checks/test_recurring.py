"""Slips that recur: they are made in any right answer, and named where no listed mistake fits."""

from __future__ import annotations

import ast

import pytest
import torch

from course_lib import checks
from course_lib.checks.checking import Check, call, edited
from course_lib.checks.recurring import slips

FIRST = torch.tensor([[0.3, -1.2, 4.1], [2.4, -0.9, 0.7]])
OTHER = torch.tensor([[1.3, 0.2, -2.6], [-0.8, 1.1, 0.5]])
RIGHT = """
def score(one, other, share):
    rows = [row.abs() for row in one]
    far = sum(row.mean() for row in rows) - (one * other).sum() / 3
    return far, round(share * 5)
"""
score = Check(
    name="score",
    right=RIGHT,
    tries={
        "score": lambda answer: list(call(FIRST, OTHER, 0.36)(answer)),
        "the other way": lambda answer: list(call(OTHER, FIRST, 0.5)(answer)),
        "twice the same": lambda answer: list(call(FIRST, FIRST, 0.93)(answer)),
    },
    mistakes="nothing | it is\n  round(share * 5) => 0",
    checked="",
    not_checked="",
)
SLIPS = {
    "the sign is not taken off": ("row.abs()", "row"),
    "the sum for the mean": ("row.mean()", "row.sum()"),
    "plus for minus": (") - (", ") + ("),
    "rounded down": ("round(share", "int(share"),
    "halves are rounded up": ("round(share * 5)", "int(share * 5 + 0.5)"),
    "only the first of several counts": ("for row in rows", "for row in rows[:1]"),
    "the last of several is left out": ("for row in rows", "for row in rows[:-1]"),
    "not multiplied by `other`": ("one * other", "one"),
    "1 minus `share` in its place": ("share * 5", "(1 - share) * 5"),
    "the results are in another order": ("far, round(share * 5)", "round(share * 5), far"),
    "`one` and `other` are exchanged": ("in one]", "in other]"),
}


@pytest.mark.parametrize(("name", "change"), SLIPS.items())
def test_a_slip_is_named_that_no_check_lists(name, change):
    assert RIGHT.count(change[0]) == 1
    assert name in score.find(score.made(RIGHT.replace(*change))).mistake.split("; or ")


def test_two_slips_that_do_the_same_are_both_said():
    above = Check(
        name="above",
        right="def above(x):\n    return max(x, 0)",
        tries={"above(-3.7)": call(-3.7), "above(-1.3)": call(-1.3)},
        mistakes="it is not | at all\n  max(x, 0) => 7",
        checked="",
        not_checked="",
    )
    both = above.find(lambda x: x).mistake
    assert both == "the smallest for the largest; or a limit is left out"


def test_the_same_slip_in_two_places_is_one():
    source = "def f(p, q):\n    return p.log() - q.log()"
    made = {edited(source, slip): slip.name for slip in slips(source)}
    assert made["def f(p, q):\n    return p.log2() - q.log2()"] == "bits for nats (log2)"


@pytest.mark.parametrize("lesson", checks.LESSONS)
def test_every_slip_is_python_and_changes_the_answer(lesson, recwarn):
    for check in vars(checks.LESSONS[lesson]).values():
        if isinstance(check, Check) and isinstance(check.right, str):
            for slip in check.slips:
                source = edited(check.right, slip)
                compile(source, check.name, "exec")
                assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(check.right)), slip.name
            assert len(check.slips) > 10
    assert not recwarn.list  # a warning in a notebook costs points
