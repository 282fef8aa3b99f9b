"""The machinery of the checks: what they say, and that no two mistakes look alike."""

from __future__ import annotations

import itertools
import re
import warnings

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from course_lib import checks
from course_lib.checks.checking import (
    Check,
    Mistake,
    Range,
    Seen,
    WrongAnswerError,
    agree,
    call,
    show,
    unchanged,
)

EVERY = [
    check
    for lesson in checks.LESSONS.values()
    for check in vars(lesson).values()
    if isinstance(check, Check)
]
each_check = pytest.mark.parametrize("check", EVERY, ids=lambda check: check.name)
MADE = [
    (check, mistake)
    for check in EVERY
    for mistake in check.mistakes
    if not isinstance(mistake.wrong, Seen)
]

double = Check(
    name="double",
    right=lambda x: 2 * x,
    tries={"double([1, 2])": call(torch.tensor([1.0, 2.0])), "double(3)": call(3.0)},
    mistakes=(
        Mistake("x² for 2x", "They agree at 2 alone.", lambda x: x * x),
        Mistake("half of it", "Twice is the other way.", lambda x: x / 2),
    ),
    checked="two numbers",
    not_checked="negative ones",
)


def wrong(answer) -> WrongAnswerError:
    with pytest.raises(WrongAnswerError) as caught:
        double(answer)
    return caught.value


# --- what a check says ----------------------------------------------------------------------------


def test_a_right_answer_is_told_what_was_checked_and_what_was_not(capsys):
    assert double(lambda x: x + x) is None  # nbgrader would take a value for a partial grade
    said = capsys.readouterr().out
    assert said == "✓ double\n  checked      two numbers\n  not checked  negative ones\n"


def test_a_mistake_is_named_with_what_was_tried_came_and_expected():
    error = wrong(lambda x: x**2)
    assert error.mistake == "x² for 2x"
    titles = [line.split()[0] for line in str(error).splitlines()]
    assert titles == ["double:", "tried", "came", "expected", "mistake", "They"]
    assert "[1, 4]" in str(error) and "[2, 4]" in str(error)


def test_an_unknown_mistake_is_not_guessed():
    error = wrong(lambda x: 7 * x)
    assert error.mistake == "none that this check knows"
    assert "x²" not in str(error)


def test_a_mistake_must_agree_everywhere():
    assert wrong(lambda x: x * x if isinstance(x, torch.Tensor) else 6.5).mistake.startswith("none")


@pytest.mark.parametrize("nothing", [lambda x: None, lambda x: ...])
def test_nothing_returned(nothing):
    assert wrong(nothing).mistake == "nothing is returned"


def test_a_stub():
    def stub(x):
        raise NotImplementedError

    assert wrong(stub).mistake == "nothing is written yet"


def test_no_function():
    error = wrong(6.0)
    assert error.mistake == "no function" and "came         6\n" in str(error)


def test_an_exception_names_the_learners_line():
    def stops(x):
        y = 2 * x
        return y.no_such_thing

    error = wrong(stops)
    assert error.mistake == "it stops with an error"
    assert "AttributeError" in str(error) and "return y.no_such_thing" in str(error)


def test_an_exception_inside_a_library_names_the_learners_line_too():
    def stops(x):
        return torch.cat([x, "no tensor"])

    assert 'return torch.cat([x, "no tensor"])' in str(wrong(stops))


def test_a_changed_input_is_a_mistake_of_its_own():
    def in_place(x):
        x *= 2
        return x

    assert wrong(in_place).mistake == "the input is changed in place"
    double(lambda x: in_place(x.clone() if isinstance(x, torch.Tensor) else x))  # a copy is fine


@pytest.mark.parametrize("value", ["two", object(), [1, "x"], {"a": 2}, torch.zeros(3, 3)])
def test_a_value_of_another_kind(value):
    assert wrong(lambda x: value).mistake == "none that this check knows"


def test_chance_is_seeded_and_the_callers_stays_as_it_was():
    check = Check("chance", lambda: torch.rand(3), {"chance()": call()}, (), "", "")
    before = torch.random.get_rng_state()
    check(lambda: torch.rand(3))
    assert torch.equal(before, torch.random.get_rng_state())


def test_warnings_cost_no_points(capsys):
    """nbgrader gives 0 points where a check writes to stderr."""

    def warns(x):
        warnings.warn("careful", stacklevel=1)
        return 2 * x

    double(warns)
    assert capsys.readouterr().err == ""


def test_in_a_notebook_the_message_stands_alone(capsys):
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    try:
        shell.push({"double": double})
        result = shell.run_cell("double(lambda x: x * x)")
    finally:
        InteractiveShell.clear_instance()
    said = capsys.readouterr().out
    assert isinstance(result.error_in_exec, WrongAnswerError)
    assert said.strip() == str(result.error_in_exec).strip()


# --- comparing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("came", "expected", "same"),
    [
        (0.5, torch.tensor(0.5), True),
        (np.float32(0.5), 0.5, True),
        (torch.tensor([0.5]), 0.5, True),
        (torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True), 0.5, True),
        ([0, 1], torch.tensor([False, True]), True),
        (torch.tensor([0.0, 1.0]), torch.tensor([False, True]), True),
        (float("nan"), float("nan"), True),
        (float("nan"), 0.5, False),
        (0.502, 0.5, False),
        (torch.zeros(2, 2), torch.zeros(4), False),
        ({"a": 1.0}, {"a": torch.tensor(1)}, True),
        ({"b": 1.0}, {"a": 1.0}, False),
        ("A ", "a", True),
        (1, "1", False),
        (0.89999, Range(0.9, 1), True),
        (0.8, Range(0.9, 1), False),
        ("0.9x", 0.9, False),
        (None, 0.0, False),
    ],
)
def test_agree(came, expected, same):
    assert agree(came, expected) is same


def test_show_is_short():
    assert show(torch.zeros(100, 100)) == "shape [100, 100]"
    assert show(np.array([[1.0, -0.0]])) == "[[1, 0]]"
    assert show({"a": [torch.tensor(1 / 3)]}) == "{a: [0.3333]}"
    assert len(show("x" * 1000)) < 110
    assert show(True) == "yes"


def test_unchanged_sees_every_kind_of_change():
    assert unchanged(*[(torch.tensor([float("nan")]), {"a": [1]}) for _ in "ab"])
    assert not unchanged(torch.tensor([1.0]), torch.tensor([1.0]).double())
    assert not unchanged([1], [1, 2])
    assert not unchanged({"a": 1}, {"b": 1})
    one, other = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    assert unchanged(one, other)
    assert not unchanged(one, other.eval())
    assert not unchanged(nn.Sequential(nn.Linear(1, 1)), nn.Sequential())


# --- the checks themselves ------------------------------------------------------------------------


@each_check
def test_the_package_offers_it_under_its_name(check):
    assert getattr(checks, check.name) is check
    assert check.name in checks.__all__


@each_check
def test_the_right_answer_passes(check):
    if not isinstance(check.right, Seen):
        check(check.right)


@each_check
def test_it_knows_five_mistakes_and_says_what_it_leaves_out(check):
    assert len({mistake.name for mistake in check.mistakes}) == len(check.mistakes) >= 5
    assert check.checked and check.not_checked
    for mistake in check.mistakes:
        assert len(mistake.name) <= 60 and 20 <= len(mistake.why) <= 260, mistake.name


@pytest.mark.parametrize(("check", "mistake"), MADE, ids=lambda one: one.name)
def test_each_mistake_is_told_from_all_others(check, mistake):
    assert check.find(mistake.wrong).mistake == mistake.name


@each_check
def test_patterns_do_not_hold_for_the_right_answer_nor_for_each_other(check):
    patterns = [m for m in check.mistakes if isinstance(m.wrong, Seen)]
    right = check.seen(check.right)
    for pattern in patterns:
        assert pattern.wrong.keys() <= check.tries.keys()
        assert not all(pattern.wrong[what] == right[what] for what in pattern.wrong)
    for one, other in itertools.combinations(patterns, 2):
        assert one.wrong != other.wrong


def test_no_hint_praises_or_shouts():
    words = re.compile(r"!|\b(all passed|perfect|awesome|great job|simply|obviously)\b", re.I)
    texts = [t for check in EVERY for m in check.mistakes for t in (m.name, m.why)]
    texts += [text for check in EVERY for text in (check.checked, check.not_checked)]
    assert [text for text in texts if words.search(text)] == []
