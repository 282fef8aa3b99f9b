"""The machinery of the checks: what they say, and that no two mistakes look alike."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from course_lib import checks
from course_lib.checks import facts, guarding, naming
from course_lib.checks.checking import (
    SHARED,
    Check,
    WrongAnswerError,
    call,
    edited,
    mistakes_of,
    slopes,
)
from course_lib.checks.comparing import Range, agree, show, unchanged
from course_lib.checks.guarding import Seen
from course_lib.checks.naming import COMMON

EVERY = [
    check
    for lesson in checks.LESSONS.values()
    for check in vars(lesson).values()
    if isinstance(check, Check)
]
each_check = pytest.mark.parametrize("check", EVERY, ids=lambda check: check.name)

double = Check(
    name="double",
    right="""
def double(x):
    y = 2 * x
    return y
""",
    tries={
        "double([1, 2.5])": call(torch.tensor([1.0, 2.5])),
        "double(3.7)": call(3.7),
        "double(-1.3) | a negative number": call(-1.3),
    },
    mistakes="""
x² for 2x | They agree at 2 alone.
  2 * x => x**2
half of it | Twice is the other way.
  2 * x => x / 2
one is added | Nothing is added here.
  return y => return y + 1
""",
    checked="two numbers",
    not_checked="large ones",
)


def wrong(answer) -> WrongAnswerError:
    with pytest.raises(WrongAnswerError) as caught:
        double(answer)
    return caught.value


# --- what a check says ----------------------------------------------------------------------------


def test_a_right_answer_is_told_what_was_checked_and_what_was_not(capsys):
    assert double(lambda x: x + x) is None  # nbgrader would take a value for a partial grade
    said = capsys.readouterr().out
    assert said == "✓ double\n  checked      two numbers\n  not checked  large ones\n"


def test_a_mistake_is_named_with_what_was_tried_came_and_expected():
    error = wrong(lambda x: x**2)
    assert error.mistake == "x² for 2x"
    titles = [line.split()[0] for line in str(error).splitlines()]
    assert titles == ["double:", "tried", "came", "expected", "mistake", "They"]
    assert "[1, 6.25]" in str(error) and "[2, 5]" in str(error)


def test_an_unknown_mistake_is_not_guessed():
    error = wrong(lambda x: 7 * x + x**3)
    assert error.mistake == "none that this check knows"
    assert "x²" not in str(error)


def test_two_mistakes_at_once_are_both_named():
    assert wrong(lambda x: x * x + 1).mistake == "x² for 2x; and one is added"


def test_a_mistake_made_in_a_part_of_the_tries_is_named():
    assert wrong(lambda x: x * x if isinstance(x, torch.Tensor) else 2 * x).mistake == "x² for 2x"


def test_what_is_alike_in_one_try_of_three_is_not_named():
    error = wrong(lambda x: x * x if isinstance(x, torch.Tensor) else 7 * x + x**3)
    assert error.mistake == "none that this check knows"


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        (lambda x: 7 * x, facts.times(3.5)),
        (lambda x: -2 * x, naming.SIGN),
        (lambda x: 2 * x - 0.3, naming.OFFSET),
        (lambda x: (2 * x,), naming.WRAPPED),
        (lambda x: [2 * x], naming.WRAPPED),
        (lambda x: 2 * x * float("nan"), naming.NAN),
        (lambda x: "two", naming.KIND),
        (lambda x: (2 * x).reshape(2, 1) if isinstance(x, torch.Tensor) else 2 * x, naming.SHAPED),
        (lambda x: torch.zeros(3, 3), naming.SHAPE),
    ],
)
def test_what_can_be_seen_is_said(answer, fact):
    assert wrong(answer).mistake == fact.name


def test_what_is_special_about_the_wrong_tries_is_said():
    assert wrong(lambda x: 2 * abs(x)).mistake == "wrong with a negative number"


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
    assert error.mistake == "it stops with an error: an attribute that this object has not"
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


@pytest.mark.parametrize("value", ["two", object(), [1, "x"], {"a": 2}])
def test_a_value_of_another_kind(value):
    assert wrong(lambda x: value).mistake == naming.KIND.name


def test_chance_is_seeded_and_the_callers_stays_as_it_was():
    right = "def chance():\n    return torch.rand(3)"
    check = Check("chance", right, {"chance()": call()}, "none | of them\n  3 => 4", "", "")
    states = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    check(lambda: torch.rand(3) + 0 * random.random() + 0 * np.random.rand())
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())


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


# --- guarding -------------------------------------------------------------------------------------


def switches(value, answer=2):
    def switching(x):
        if callable(value):
            value()
        return answer * x

    return switching


@pytest.mark.parametrize(
    "switch",
    [lambda: torch.set_grad_enabled(False), lambda: torch.set_default_dtype(torch.float64)],
)
def test_a_switch_that_is_left_on_is_named_and_switched_back(switch):
    assert wrong(switches(switch)).mistake == guarding.LEFT.name
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("leave", [exit, sys.exit, lambda: sys.exit("done")])
def test_leaving_python_is_a_mistake_and_ends_nothing(leave):
    assert wrong(switches(leave)).mistake == guarding.EXITS.name


def test_random_states_are_put_back_after_an_error():
    def drawing(x):
        return [torch.rand(1), random.random(), np.random.rand()][x]

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]
    assert wrong(drawing).mistake.startswith(guarding.STOPPED.name)
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])


def endless(x):
    while True:
        time.sleep(0)


def test_an_endless_loop_is_stopped(monkeypatch):
    monkeypatch.setattr(guarding, "SECONDS", 0.3)
    error = wrong(endless)
    assert error.mistake == guarding.ENDLESS.name and "nothing within 0.3 seconds" in str(error)


def frozen(layer):
    layer.requires_grad_(False)
    return 1


def accumulating(layer):
    layer.weight.sum().backward()
    return 1


def resized(layer):
    layer.in_features = 7
    return 1


@pytest.mark.parametrize(
    "answer", [frozen, accumulating, resized, lambda layer: layer.eval() and 1]
)
def test_what_an_answer_leaves_on_its_input_is_a_change(answer):
    right, tries = "def one(layer):\n    return 1", {"one": call(nn.Linear(2, 2))}
    check = Check("one", right, tries, "a | b\n  1 => 2", "", "")
    assert check.find(answer).mistake == guarding.CHANGED.name


def test_the_gradient_of_a_loss_is_a_value():
    tries = {
        "value": call(torch.tensor([1.0, 2.5])),
        "slope | gradient": slopes(lambda x: {"x": x}, torch.tensor([1.0, 2.5])),
    }
    right = "def loss(x):\n    return (x * x).sum()"
    loss = Check("loss", right, tries, "no square | why\n  x * x => x", "", "")
    assert loss.find(lambda x: x.square().sum()) is None
    assert loss.find(lambda x: (x * x).sum().item()).mistake == naming.CUT_OFF.name
    assert loss.find(lambda x: (x * x.detach()).sum()).mistake == "`x` is detached in one place"

    def half(x):
        return (x * x).sum() / 4 + (x * x).sum().item() * 3 / 4

    assert loss.find(half).mistake == naming.PART_CUT.name


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
        (0.5003, 0.5, False),
        (torch.zeros(2, 2), torch.zeros(4), False),
        ({"a": 1.0}, {"a": torch.tensor(1)}, True),
        ({"b": 1.0}, {"a": 1.0}, False),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0}, True),
        ((0.5,), 0.5, False),
        ([0.5, 0.25], torch.tensor([0.5, 0.25]), True),
        (torch.tensor([[1.0, 2.0]]), torch.tensor([1.0, 2.0]), False),
        (1000.5, 1000, False),
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
    graded = [torch.ones(2, requires_grad=True) for _ in "ab"]
    for factor, tensor in enumerate(graded):
        tensor.grad = torch.full((2,), float(factor))
    assert not unchanged(*graded)
    one, other = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    assert unchanged(one, other)
    assert not unchanged(one, other.eval())
    other.train().weight.requires_grad = False
    assert not unchanged(one, other)
    assert not unchanged(nn.Sequential(nn.Linear(1, 1)), nn.Sequential())


# --- the checks themselves ------------------------------------------------------------------------


@each_check
def test_the_package_offers_it_under_its_name(check):
    assert getattr(checks, check.name) is check
    assert check.name in checks.__all__


@each_check
def test_the_right_answer_passes_and_cannot_be_taken_from_the_check(check):
    if isinstance(check.right, str):
        check(check.made(check.right))
        assert check.find(check.right).mistake == "no function"


@each_check
def test_nothing_or_a_tuple_around_the_answer_does_not_pass(check):
    if isinstance(check.right, str):
        right = check.made(check.right)
        assert check.find(lambda *given: None) and check.find(lambda *given: (right(*given),))
        assert check.find(lambda *given: wrapped(right(*given)))


def wrapped(value):
    return {k: (v,) for k, v in value.items()} if isinstance(value, dict) else [value]


@each_check
def test_it_knows_five_mistakes_and_says_what_it_leaves_out(check):
    assert len({mistake.name for mistake in check.known}) == len(check.known) >= 5
    assert check.checked and check.not_checked
    for mistake in check.known:
        assert len(mistake.name) <= 70 and 20 <= len(mistake.why) <= 300, mistake.name
        assert mistake.wrong, f"{mistake.name} has neither edit nor pattern"


def test_an_edit_that_does_not_fit_in_one_place_does_not_load():
    for old in ("3 * x", "x"):
        with pytest.raises(ValueError, match="stands"):
            Check("f", "def f(x):\n    return 2 * x", {}, f"a | b\n  {old} => 1", "", "")
    with pytest.raises(ValueError, match="must name one try"):
        mistakes_of("a | b\n  ? size: 3", {"the size": call(), "another size": call()})


def test_edits_over_several_lines_and_whole_bodies():
    text = "a | @stay\n  - y = 2 * x\n  -     return y\n  + return 2\nb | why\n  = return 1"
    several, body = mistakes_of(text, {})
    assert several.why == SHARED["stay"]
    assert edited(double.right, several).strip() == "def double(x):\n    return 2"
    assert edited(double.right, body) == "def double(x):\n    return 1"


@each_check
def test_patterns_do_not_hold_for_the_right_answer_nor_for_each_other(check):
    patterns = [m for m in check.known if isinstance(m.wrong, Seen)]
    right = check.expected
    for pattern in patterns:
        whats = pattern.wrong.keys() - {naming.BEFORE}
        assert whats <= check.tries.keys()
        assert not all(pattern.wrong[what] == right[what] for what in whats)
    for one, other in itertools.combinations(patterns, 2):
        assert one.wrong != other.wrong


def test_no_hint_praises_or_shouts():
    words = re.compile(r"!|\b(all passed|perfect|awesome|great job|simply|obviously)\b", re.I)
    texts = [t for check in EVERY for m in (*check.known, *COMMON) for t in (m.name, m.why)]
    texts += [text for check in EVERY for text in (check.checked, check.not_checked)]
    assert [text for text in texts if words.search(text)] == []


def test_a_profiler_or_a_debugger_goes_on_after_a_check():
    """Before, Python 3.11 waited for an exception that was taken back, and %prun never ended."""
    code = """
import sys, time
from course_lib.checks.guarding import TooLongError, at_most
for seconds in (60, 0.1):
    try:
        with at_most(seconds):
            while seconds < 1:
                pass
    except TooLongError:
        print("late")
    for switch in (sys.setprofile, sys.settrace):
        switch(lambda *given: None)
        with at_most(60):
            sorted([2, 1], key=lambda one: one)
        switch(None)
print("end")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "late\nend\n", done.stderr
