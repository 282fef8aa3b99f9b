"""The challenge of lesson 2: what is missing, and any way to halve the work."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from learners import Learners
from torch import nn
from torch.utils.data import TensorDataset

from course_lib import checks, datasets, models, pruning, structured
from course_lib.checks import lesson2
from course_lib.evaluation.timing import Latency
from course_lib.structured.latency_target import SpedUp
from course_lib.training.recipe import Fitted

narrow, honest = (Learners(2).names[name] for name in ("narrow", "honest"))
WHOLE = models.build(models.SmallCNN)


def narrower(share: float, model: nn.Module = WHOLE) -> nn.Module:
    return structured.remove(model, structured.choose(model, share, per_group=True))


def by_hand() -> nn.Module:
    model = copy.deepcopy(WHOLE)
    few = list(range(24))
    model.conv2, model.bn2, _ = narrow(model.conv2, model.bn2, nn.Conv2d(64, 1, 1), few)
    model.fc1.weight.data = model.fc1.weight.data[:, : 24 * 49]
    return model


def sped_up() -> SpedUp:
    row = Latency((1.0, 1.0), batch=1, threads=1)
    smaller = narrower(0.3)
    return SpedUp(smaller, 2, 2.0, row, row, structured.changes(WHOLE, smaller))


def with_true_numbers(model: nn.Module) -> nn.Module:
    honest(model)
    return model


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make every network this accurate: training one would take the tests too long."""
    return lambda accuracy: monkeypatch.setattr(lesson2, "_heldout", lambda model: accuracy)


@pytest.mark.parametrize(
    ("mistake", "answer", "accuracy"),
    [
        ("the result of `fit` for its network", lambda: Fitted(narrower(0.3), [], 1), 0.97),
        ("the result of `speed_up` for its network", sped_up, 0.97),
        ("another network", lambda: models.build(models.LeNet300), 0.97),
        ("its layers do not say their true sizes", by_hand, 0.97),
        ("zeros are multiplied, too", lambda: pruning.prune_weights(WHOLE, 0.9), 0.97),
        (
            "half of the parameters for half of the work",
            lambda: structured.prune(WHOLE, 0.6, layers=["fc1"]),
            0.97,
        ),
        ("more must go", lambda: WHOLE, 0.97),
        ("more must go", lambda: narrower(0.1), 0.5),
        ("cut, and never recovered", lambda: narrower(0.5), 0.62),
        ("a little below the bar", lambda: narrower(0.3), 0.949),
    ],
)
def test_the_challenge_says_what_is_missing(bar, mistake, answer, accuracy):
    bar(accuracy)
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.twice_as_fast(answer())
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    "answer",
    [
        lambda: narrower(0.3),
        lambda: narrower(0.9),
        lambda: narrower(0.3).train(),
        lambda: narrower(0.3).requires_grad_(False),
        lambda: narrower(0.4, narrower(0.3)),
        lambda: copy.deepcopy(narrower(0.5)),
        lambda: structured.remove(WHOLE, {"conv2": range(0, 64, 3)}),
        lambda: structured.remove(WHOLE, {"conv1": range(8), "conv2": range(48)}),
        lambda: structured.prune(WHOLE, 0.9),
        lambda: with_true_numbers(by_hand()),
        lambda: pruning.prune_weights(narrower(0.3), 0.5),
    ],
)
def test_the_challenge_takes_any_way_to_halve_the_work(bar, answer, capsys):
    bar(0.96)
    checks.twice_as_fast(answer())
    said = " ".join(capsys.readouterr().out.split())
    assert "its share of operations 0." in said
    assert "accuracy on the held-out pictures 0.96" in said


def test_the_challenge_looks_at_the_test_part(monkeypatch):
    """The real look, on a few pictures: a fresh network guesses."""
    pictures = TensorDataset(torch.zeros(10, 1, 28, 28), torch.arange(10))
    monkeypatch.setattr(datasets, "mnist", lambda: {"test": pictures})
    with pytest.raises(checks.WrongAnswerError, match="held-out pictures") as caught:
        checks.twice_as_fast(narrower(0.3))
    assert caught.value.mistake == "cut, and never recovered"


def test_half_of_the_parameters_is_not_half_of_the_work():
    """What the challenge turns on."""
    fewer = structured.prune(WHOLE, 0.5, layers=["fc1"])
    assert lesson2._parameters(fewer) <= 0.5 < 0.9 < lesson2._work(fewer)
