"""Pruning while training: the schedules reach their goal, and nothing pruned comes back."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from weight_zoo import flat, pruned, randn

from course_lib.evaluation.prediction import evaluate
from course_lib.pruning.masks import masks_of, sparsity
from course_lib.pruning.schedules import cubic_sparsity, gradual_pruning, iterative_pruning
from course_lib.pruning.unstructured import prune_weights
from course_lib.training.loop import fit
from course_lib.training.recipe import Recipe


def test_the_cubic_schedule_by_hand():
    assert cubic_sparsity(0.5, final=0.8) == pytest.approx(0.8 * (1 - 0.5**3))
    assert cubic_sparsity(0.4, final=0.8, end=0.5) == pytest.approx(0.8 * (1 - 0.2**3))
    assert [cubic_sparsity(p, 0.9, 0.7) for p in (-1, 0)] == [0, 0]
    assert [cubic_sparsity(p, 0.9, 0.7) for p in (0.7, 0.8, 1, 2)] == [0.9] * 4


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_cubic_schedule_rises_and_stays_within(a, b, final):
    low, high = (cubic_sparsity(p, final, end=0.7) for p in sorted((a, b)))
    assert 0 <= low <= high <= final


@pytest.mark.parametrize("end", [0, -0.3, 1.1])
def test_a_schedule_that_cannot_be_is_refused(end):
    with pytest.raises(ValueError, match="0 < end ≤ 1"):
        cubic_sparsity(0.5, 0.9, end)
    with pytest.raises(ValueError, match=r"amount is 1\.5"):
        cubic_sparsity(0.5, 1.5)


def points(n: int, seed: int) -> TensorDataset:
    labels = torch.arange(n) % 2
    return TensorDataset(randn(n, 8, seed=seed) + 0.7 * labels[:, None], labels)


DATA = {"train": points(96, 0), "validation": points(64, 1)}
RECIPE = Recipe(epochs=6, lr=0.01, batch_size=16)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 2))


class Spy:
    """The size as score, and a note of what was zero whenever it was asked."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Tensor]] = {}

    def __call__(self, layer: str, weight: Tensor) -> Tensor:
        self.seen.setdefault(layer, []).append(weight == 0)
        return weight.abs()


@pytest.mark.parametrize("final", [0.0, 0.5, 0.9, 1.0])
def test_gradual_pruning_reaches_its_goal_and_brings_nothing_back(final):
    model, spy = small_net(), Spy()
    fitted = gradual_pruning(model, DATA, RECIPE, final, spy)
    assert pruned(masks_of(fitted.model)) == round(final * 240)
    assert sparsity(fitted.model) == pytest.approx(round(final * 240) / 240)
    assert sparsity(model) == 0
    for layer, zeros in spy.seen.items():
        assert all((later | ~earlier).all() for earlier, later in itertools.pairwise(zeros))
        if final == 0.9:  # it did go gradually
            assert len({int(z.sum()) for z in zeros}) > 5, layer


@pytest.mark.parametrize("end", [0.1, 0.35, 0.55, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_the_goal_is_reached_whatever_the_schedule(end, epochs):
    recipe = Recipe(epochs=epochs, lr=0.01, batch_size=16)
    fitted = gradual_pruning(small_net(), DATA, recipe, 0.8, end=end)
    assert pruned(masks_of(fitted.model)) == round(0.8 * 240)


@pytest.mark.parametrize("select_from_last", [None, 1, 100])
def test_only_epochs_at_the_goal_are_chosen(select_from_last):
    # the accuracy falls as the sparsity rises: the best epochs are those before the goal
    recipe = Recipe(epochs=10, lr=1e-9, batch_size=16, select_from_last=select_from_last)
    fitted = gradual_pruning(small_net(), DATA, recipe, 1.0, end=0.7)
    assert fitted.epoch >= 8
    assert sparsity(fitted.model) == 1


@pytest.mark.parametrize(("epochs", "end", "first"), [(10, 0.8, 9), (10, 0.9, 10), (20, 0.55, 12)])
def test_every_epoch_after_the_goal_competes(epochs, end, first):
    # nothing is pruned or learned, so the accuracies are equal, and the first candidate is kept
    recipe = Recipe(epochs=epochs, lr=1e-9, batch_size=96)
    assert gradual_pruning(small_net(), DATA, recipe, 0.0, end=end).epoch == first


def test_gradual_pruning_is_reproducible_and_useful():
    first, second = (gradual_pruning(small_net(), DATA, RECIPE, 0.5) for _ in range(2))
    assert first.history == second.history
    assert torch.equal(flat(masks_of(first.model)), flat(masks_of(second.model)))
    assert evaluate(first.model, DATA["validation"]).value > 0.75


def test_gradual_pruning_goes_on_from_a_pruned_model():
    start = prune_weights(small_net(), 0.6)
    sparser = gradual_pruning(start, DATA, RECIPE, 0.8).model
    assert sparsity(sparser) == pytest.approx(0.8)
    assert not (flat(masks_of(sparser)) & ~flat(masks_of(start))).any()
    assert sparsity(gradual_pruning(start, DATA, RECIPE, 0.3).model) == pytest.approx(0.6)


def test_iterative_pruning_recovers_after_each_round():
    model, recipe = small_net(), Recipe(epochs=2, lr=0.01, batch_size=16)
    fitted = iterative_pruning(model, DATA, recipe, [0.3, 0.6, 0.8])
    assert sparsity(fitted.model) == pytest.approx(0.8)
    assert sparsity(model) == 0
    assert len(fitted.history) == 2  # of the last round
    by_hand = model
    for amount in (0.3, 0.6, 0.8):
        by_hand = fit(prune_weights(by_hand, amount), DATA, recipe).model
    assert torch.equal(fitted.model[0].weight, by_hand[0].weight)


def test_each_round_prunes_by_the_function_given():
    calls = []

    def prune(model: nn.Module, amount: float) -> nn.Module:
        calls.append((sparsity(model), amount))
        return prune_weights(model, amount, layers=["0"])

    fitted = iterative_pruning(
        small_net(), DATA, Recipe(epochs=1, batch_size=16), [0.25, 0.5], prune
    )
    assert calls == [(0, 0.25), (0.25 * 192 / 240, 0.5)]
    assert sparsity(fitted.model, ["0"]) == 0.5


@pytest.mark.parametrize("amounts", [[], [0.6, 0.3]])
def test_amounts_that_do_not_rise_are_refused(amounts):
    with pytest.raises(ValueError, match="the smallest first"):
        iterative_pruning(small_net(), DATA, RECIPE, amounts)
