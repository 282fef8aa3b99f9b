"""What is said of a wrong answer that no known mistake explains."""

from __future__ import annotations

import pytest
import torch

from course_lib.checks.checking import Check, call

ROW, OTHER = torch.tensor([0.2, 0.7, 1.9, 3.1]), torch.tensor([5.3, 0.4, 0.1, 2.2])
TABLE = torch.tensor([[0.3, 1.2], [2.4, 0.9]])

half = Check(
    name="half",
    right="def half(x):\n    return x / 2",
    tries={"half(row)": call(ROW), "half(another row)": call(OTHER)},
    mistakes="twice | no\n  x / 2 => 2 * x",
    checked="",
    not_checked="",
)
turn = Check(
    name="turn",
    right="def turn(x):\n    return 3 * x",
    tries={"turn(table)": call(TABLE)},
    mistakes="once | no\n  3 * x => x",
    checked="",
    not_checked="",
)
size = Check(
    name="size",
    right='def size(n):\n    return "large" if n > 9 else "small"',
    tries={f"size({n})": call(n) for n in (3, 4, 9, 10, 44)},
    mistakes="always small | no\n  > 9 => > 99",
    checked="",
    not_checked="",
)
names = Check(
    name="names",
    right="def names(rows):\n    return [name for name in rows]",
    tries={"names of two": call({"a": 1, "b": 2}), "of three": call({"c": 1, "d": 3, "e": 9})},
    mistakes="none | no\n  [name for name in rows] => []",
    checked="",
    not_checked="",
)


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        (lambda x: 50 * x, "100 times what is expected: percent for a fraction?"),
        (lambda x: 7 * x, "14 times what is expected"),
        (lambda x: 1 - x / 2, "1 minus what is expected"),
        (lambda x: (x / 2).exp(), "the exponential of what is expected"),
        (lambda x: (x / 2).sqrt(), "the root of what is expected"),
        (lambda x: (x / 2) ** 2, "the square of what is expected"),
        (lambda x: (x / 2).log(), "the logarithm of what is expected"),
        (lambda x: x * x.max(), "right but for a factor, another one for each input or row"),
        (lambda x: x.roll(1) / 2, "each in its neighbor's place"),
        (lambda x: x.flip(0) / 2, "in the reverse order"),
        (lambda x: torch.full_like(x, x.sum().item()), "the same value everywhere"),
        (
            lambda x: torch.cat([x[:-1] / 2, x[-1:]]),
            "the last number is wrong, and the others are right",
        ),
        (lambda x: x.sum() / 2, "the sum over a dimension that should stay"),
        (lambda x: x[-1] / 2, "the last over a dimension that should stay"),
        (lambda x: torch.stack([x / 2, 0 * x]), "the sum of what came is expected"),
        (lambda x: x @ x[:2], "it stops with an error: two shapes that do not fit"),
        (lambda x: x[7], "it stops with an error: an index behind the end"),
        (lambda x: {}["x"], "it stops with an error: a key that is not there"),
        (lambda x: 1 / 0, "it stops with an error: a division by 0"),
        (lambda x: no_such_name, "it stops with an error: a name that is not defined there"),  # noqa: F821
        (lambda x: x / 2 if x[0] < 1 else x**3 / 7, "right for some inputs, not for others"),
    ],
)
def test_a_fact_is_said(answer, fact):
    assert half.find(answer).mistake == fact


def test_where_it_is_right_is_said():
    said = str(half.find(lambda x: x / 2 if x[0] < 1 else x**3 / 7))
    assert "It is right for: half(row)" in said


def test_an_error_of_its_own_is_said():
    def raises(x):
        raise ValueError("too small")

    assert half.find(raises).mistake == "it stops with an error: its own"


def test_rows_and_columns():
    assert turn.find(lambda x: 3 * x.T).mistake == "rows and columns are exchanged"


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        (lambda n: "large" if n in (3, 44) else "small", '"large" and "small" are exchanged'),
        (lambda n: "large" if n > 3 else "small", '"large" where "small" is expected'),
    ],
)
def test_words_for_each_other(answer, fact):
    assert size.find(answer).mistake == fact


def test_another_kind_in_the_list():
    assert names.find(lambda rows: list(rows.values())).mistake == "numbers in the list, not texts"
