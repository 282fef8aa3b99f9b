"""The challenge of lesson 1: what is missing, and any way to hold zeros."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from course_lib import checks, datasets, models, pruning
from course_lib.checks import lesson1
from course_lib.training.recipe import Fitted


def network(sparsity: float, model: nn.Module | None = None) -> nn.Module:
    return pruning.prune_weights(model or models.build(models.SmallCNN), sparsity)


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make every network this accurate: training one would take the tests too long."""
    return lambda accuracy: monkeypatch.setattr(lesson1, "_heldout", lambda model: accuracy)


@pytest.mark.parametrize(
    ("mistake", "answer", "accuracy"),
    [
        ("the result of `fit` for its network", lambda: Fitted(network(0.95), [], 1), 0.97),
        ("another network", lambda: network(0.95, models.build(models.LeNet300)), 0.97),
        ("the zeros woke up", lambda: models.build(models.SmallCNN), 0.97),
        ("more could go", lambda: network(0.8), 0.97),
        ("pruned, and never recovered", lambda: network(0.98), 0.3),
        ("a little too far", lambda: network(0.98), 0.949),
        ("neither sparse nor accurate", lambda: network(0.5), 0.1),
    ],
)
def test_the_challenge_says_what_is_missing(bar, mistake, answer, accuracy):
    bar(accuracy)
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.most_sparsity(answer())
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    "answer",
    [
        lambda: network(0.9),
        lambda: network(0.99),
        lambda: network(0.95).train(),
        lambda: pruning.make_permanent(network(0.95)),
        lambda: copy.deepcopy(network(0.95)),
        lambda: pruning.prune_weights(network(0.5), 0.95),
        lambda: pruning.apply_masks(
            fresh := models.build(models.SmallCNN), pruning.layer_masks(fresh, 0.95)
        ),
        lambda: network(0.92, models.build(models.SmallCNN, 7)),
        lambda: pruning.make_permanent(network(0.95)).requires_grad_(False),
    ],
)
def test_the_challenge_takes_any_way_to_hold_zeros(bar, answer, capsys):
    bar(0.96)
    checks.most_sparsity(answer())
    assert "accuracy on the held-out pictures 0.96" in capsys.readouterr().out


def test_the_challenge_looks_at_the_test_part(monkeypatch):
    """The real look, on a few pictures: a fresh network guesses."""
    pictures = TensorDataset(torch.zeros(10, 1, 28, 28), torch.arange(10))
    monkeypatch.setattr(datasets, "mnist", lambda: {"test": pictures})
    with pytest.raises(checks.WrongAnswerError, match="held-out pictures") as caught:
        checks.most_sparsity(network(0.95))
    assert caught.value.mistake == "pruned, and never recovered"
