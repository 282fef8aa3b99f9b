"""Scores, masks and schedules: exact counts, and numbers that were worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune
from torch.utils.data import TensorDataset

from course_lib import pruning
from course_lib.masking import Masks, apply_masks, masks_of, prunable, sparsity
from course_lib.measure import Accuracy
from course_lib.models import LeNet300, build
from course_lib.pruning import (
    cubic_sparsity,
    global_masks,
    gradual_pruning,
    iterative_pruning,
    layer_masks,
    magnitude,
    n_m_masks,
    prune,
    random_score,
    sensitivity,
    taylor,
    wanda,
)
from course_lib.training import Recipe, evaluate


def layers_of(*weights: Tensor) -> nn.Sequential:
    """Linear layers with these weights."""
    layers = [nn.Linear(weight.shape[1], weight.shape[0], bias=False) for weight in weights]
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight.data = weight.clone()
    return nn.Sequential(*layers)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pruned(masks: Masks) -> int:
    return sum(int((~mask).sum()) for mask in masks.values())


def flat(masks: Masks) -> Tensor:
    return torch.cat([mask.flatten() for mask in masks.values()])


def fixed(values: Tensor) -> pruning.Score:
    """A score that gives these values, whatever the weights are."""
    return lambda layer, weight: values


# few different values: ties and zeros are the rule
with_ties = st.lists(st.integers(-3, 3), min_size=1, max_size=40)
amounts = st.one_of(st.sampled_from([0, 1, 0.5, 0.25, 1 / 3]), st.floats(0, 1))


# --- amounts ----------------------------------------------------------------------------------


@given(st.lists(with_ties, min_size=1, max_size=3), amounts)
def test_exactly_the_amount_is_pruned_and_the_lowest_go_first(values, amount):
    weights = [torch.tensor([row], dtype=torch.float32) for row in values]
    masks = global_masks(layers_of(*weights), amount)
    everything = torch.cat([weight.flatten() for weight in weights])
    count = round(amount * len(everything))
    assert pruned(masks) == count
    # among equal ones the first
    order = sorted(range(len(everything)), key=lambda i: abs(everything[i].item()))
    expected = torch.ones(len(everything), dtype=torch.bool)
    expected[order[:count]] = False
    assert torch.equal(flat(masks), expected)


@given(st.lists(with_ties, min_size=1, max_size=3), amounts)
def test_each_layer_loses_exactly_its_amount(values, amount):
    weights = [torch.tensor([row], dtype=torch.float32) for row in values]
    for row, mask in zip(values, layer_masks(layers_of(*weights), amount).values(), strict=True):
        assert int((~mask).sum()) == round(amount * len(row))


@given(with_ties, amounts, amounts)
def test_asking_twice_is_asking_for_the_larger_one(values, first, second):
    model = layers_of(torch.tensor([values], dtype=torch.float32))
    once = prune(model, first)
    twice = prune(once, second)
    assert pruned(masks_of(twice)) == round(max(first, second) * len(values))
    assert not (flat(masks_of(twice)) & ~flat(masks_of(once))).any()  # nothing comes back


@pytest.mark.parametrize("score", [magnitude, random_score(3)])
def test_half_twice_is_half(score):
    once = prune(build(LeNet300), 0.5, score)
    twice = prune(once, 0.5, score)
    assert sparsity(once) == sparsity(twice) == 0.5
    assert torch.equal(flat(masks_of(once)), flat(masks_of(twice)))


def test_weights_that_are_zero_already_go_before_others_of_score_zero():
    model = layers_of(torch.tensor([[1.0, 2.0, 0.0, 0.0]]))
    masks = global_masks(model, 0.5, fixed(torch.zeros(1, 4)))
    assert masks["0"].tolist() == [[True, True, False, False]]


@pytest.mark.parametrize(("amount", "left"), [(0, 6), (0.0, 6), (1, 0), (np.float32(0.5), 3)])
def test_nothing_half_and_everything(amount, left):
    assert int(flat(global_masks(layers_of(randn(2, 3)), amount)).sum()) == left


# --- the threshold ----------------------------------------------------------------------------

floats = st.floats(0, width=32, allow_nan=False, allow_infinity=True, allow_subnormal=True)
awkward = st.sampled_from([0.0, -0.0, 1e-45, 2e-45, 1.1754944e-38, 1.0, 3.4e38, math.inf])


@given(st.lists(st.one_of(floats, awkward), min_size=1, max_size=60), amounts)
def test_counting_bits_finds_what_sorting_finds(values, amount):
    scores = torch.tensor([values])
    masks = global_masks(layers_of(torch.ones(1, len(values))), amount, fixed(scores))
    order = scores[0].sort(stable=True).indices
    expected = torch.ones(len(values), dtype=torch.bool)
    expected[order[: round(amount * len(values))]] = False
    assert torch.equal(flat(masks), expected)


@pytest.mark.parametrize("amount", [0.001, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    "score", [magnitude, lambda layer, weight: weight.abs()]
)  # two ways inside
def test_many_weights_over_several_chunks(amount, score):
    weights = randn(700, 600), randn(3, 5, seed=1), randn(500, 300, seed=2).half().float()
    everything = torch.cat([weight.flatten() for weight in weights]).abs()
    masks = global_masks(layers_of(*weights), amount, score)
    expected = torch.ones(len(everything), dtype=torch.bool)
    expected[everything.sort(stable=True).indices[: round(amount * len(everything))]] = False
    assert torch.equal(flat(masks), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_of_weights(dtype):
    model = layers_of(randn(20, 30)).to(dtype)
    masks = global_masks(model, 0.4)
    size = prunable(model)["0"].abs()
    assert pruned(masks) == 240
    assert size[~masks["0"]].max() <= size[masks["0"]].min()


def test_weights_that_are_not_contiguous():
    model = layers_of(randn(6, 4))
    model[0].weight = nn.Parameter(randn(4, 6).t())
    masks = global_masks(model, 0.5)
    size = model[0].weight.detach().abs()
    assert size[~masks["0"]].max() <= size[masks["0"]].min()


def test_the_model_and_the_scores_are_left_alone():
    model, scores = layers_of(randn(4, 4)), randn(4, 4, seed=1).abs()
    weight, before = model[0].weight.detach().clone(), scores.clone()
    global_masks(model, 0.5, fixed(scores))
    global_masks(layers_of(scores), 0.5, lambda layer, weight: weight)
    assert torch.equal(model[0].weight, weight)
    assert torch.equal(scores, before)


# --- global, layer by layer, n:m --------------------------------------------------------------


def test_global_takes_from_where_the_weights_are_small():
    model = layers_of(randn(10, 10), 100 * randn(10, 10))
    assert [int((~mask).sum()) for mask in global_masks(model, 0.5).values()] == pytest.approx(
        [100, 0], abs=2
    )
    assert [int((~mask).sum()) for mask in layer_masks(model, 0.5).values()] == [50, 50]


def test_each_layer_may_have_its_own_amount():
    masks = layer_masks(layers_of(randn(10, 10), randn(5, 10)), {"1": 0.9, "0": 0.2})
    assert {layer: int((~mask).sum()) for layer, mask in masks.items()} == {"1": 45, "0": 20}


def test_only_named_layers_are_masked():
    assert list(global_masks(build(LeNet300), 0.5, layers=["fc2"])) == ["fc2"]
    assert list(layer_masks(build(LeNet300), 0.5, layers=["fc2", "fc1"])) == ["fc2", "fc1"]


def test_it_prunes_what_pytorch_prunes():
    ours, theirs = build(LeNet300), build(LeNet300)
    pairs = [(module, "weight") for module in (theirs.fc1, theirs.fc2, theirs.fc3)]
    torch_prune.global_unstructured(pairs, torch_prune.L1Unstructured, amount=0.7)
    masks = global_masks(ours, 0.7)
    assert pruned(masks) == pruned(masks_of(theirs))
    size = torch.cat([weight.flatten() for weight in prunable(ours).values()]).abs()
    differing = flat(masks) != flat(masks_of(theirs))
    assert len(size[differing].unique()) <= 1  # they may choose among equal ones differently


@given(st.integers(0, 4), st.integers(0, 1000))
def test_of_each_m_weights_in_a_row_the_n_lowest_go(n, seed):
    model = nn.Sequential(nn.Conv2d(4, 3, 3), nn.Linear(8, 5))
    model[0].weight.data = randn(3, 4, 3, 3, seed=seed)
    model[1].weight.data = randn(5, 8, seed=seed).round()  # ties
    for layer, mask in n_m_masks(model, n, 4).items():
        groups, size = mask.view(-1, 4), prunable(model)[layer].abs().view(-1, 4)
        assert ((~groups).sum(1) == n).all()
        worst_kept = size.masked_fill(~groups, math.inf).amin(1)
        assert (size.masked_fill(groups, 0).amax(1) <= worst_kept).all()


def test_two_of_four_by_hand():
    model = layers_of(torch.tensor([[4.0, -1, 2, -3, 0.1, 0.1, 0.1, 0.1]]))
    assert n_m_masks(model)["0"].int().tolist() == [[1, 0, 0, 1, 0, 0, 1, 1]]


@pytest.mark.parametrize(("n", "m"), [(5, 4), (-1, 4), (0, 0)])
def test_a_pattern_that_cannot_be_is_refused(n, m):
    with pytest.raises(ValueError, match=f"pattern is {n}:{m}.*0 ≤ n ≤ m"):
        n_m_masks(build(LeNet300), n, m)


def test_a_row_that_does_not_fit_the_pattern_is_refused():
    with pytest.raises(ValueError, match=r"'0' has 6 weights.*multiple of m = 4.*layers=\[…\]"):
        n_m_masks(layers_of(randn(2, 6)))


# --- scores -----------------------------------------------------------------------------------


def test_magnitude_is_the_size():
    assert magnitude("", torch.tensor([-2.0, 0.5])).tolist() == [2, 0.5]


def test_chance_is_reproducible_and_differs_by_layer_and_seed():
    score, weight = random_score(1), torch.zeros(40, 50)
    first = score("fc1", weight)
    assert torch.equal(random_score(1)("fc1", weight), first)
    assert 0 <= first.min() < 0.01
    assert 0.99 < first.max() < 1
    others = [score("fc2", weight), score("f1c", weight), random_score(2)("fc1", weight)]
    for other in [*others, random_score(7920)("fc0", weight)]:
        assert torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1].abs() < 0.1


def test_chance_spreads_the_zeros_evenly():
    masks = global_masks(build(LeNet300), 0.5, random_score())
    for mask in masks.values():
        assert mask.float().mean() == pytest.approx(0.5, abs=5 / math.sqrt(mask.numel()))


def squared(output: Tensor, batch: list[Tensor]) -> Tensor:
    return (output - batch[1]).square().sum(1).mean()


@pytest.mark.parametrize("n", [20, 300])  # 300 are two batches of unequal size
def test_taylor_is_the_formula_of_a_linear_layer(n):
    x, y, weight = randn(n, 4), randn(n, 3, seed=1), randn(3, 4, seed=2)
    score = taylor(layers_of(weight), TensorDataset(x, y), squared)
    gradient = 2 * (x @ weight.t() - y).t() @ x / n  # of mean ‖xWᵀ − y‖²
    torch.testing.assert_close(score("0", weight), (weight * gradient).abs())


def test_taylor_is_the_slope_of_the_loss_towards_zero():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    data = TensorDataset(randn(12, 4).double(), torch.arange(12) % 3)
    score = taylor(model, data)
    for layer, weight in prunable(model).items():
        estimated = score(layer, weight)
        for index in ((0, 0), (2, 3)):
            value, losses = weight[index].item(), []
            for factor in (1 + 1e-5, 1 - 1e-5):
                weight[index] = factor * value  # `prunable` gives the weight itself
                losses.append(nn.functional.cross_entropy(model(data.tensors[0]), data.tensors[1]))
            weight[index] = value
            slope = (losses[0] - losses[1]).abs().item() / 2e-5
            assert estimated[index].item() == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("score", [taylor, wanda])
def test_a_score_from_no_examples_is_refused(score):
    nothing = TensorDataset(randn(0, 4), torch.zeros(0).long())
    with pytest.raises(ValueError, match="dataset is empty"):
        score(layers_of(randn(3, 4)), nothing)


@pytest.mark.parametrize("score", [taylor, wanda])
def test_a_score_made_on_one_device_judges_weights_on_another(score):
    # `fit` takes a model to a GPU; a score made before is then asked for weights that are there.
    known = score(layers_of(randn(3, 4)), TensorDataset(randn(5, 4), torch.zeros(5).long()))
    assert known("0", randn(3, 4).to("meta")).device.type == "meta"


def test_taylor_leaves_gradients_and_modes_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 3))
    data = TensorDataset(randn(8, 4), torch.arange(8) % 3)
    one, two = taylor(model, data), taylor(model, data)
    assert torch.equal(one("0", model[0].weight), two("0", model[0].weight))  # no dropout
    assert all(p.grad is None for p in model.parameters())
    assert all(module.training for module in model.modules())


def test_taylor_of_a_masked_model_keeps_pruned_weights_lowest():
    data = TensorDataset(randn(8, 4), torch.arange(8) % 3)
    once = prune(layers_of(randn(3, 4)), 0.5)
    again = prune(once, 0.75, taylor(once, data))
    assert sparsity(again) == 0.75
    assert not (flat(masks_of(again)) & ~flat(masks_of(once))).any()


@pytest.mark.parametrize("shape", [(20, 4), (10, 2, 4), (300, 4)])
def test_wanda_by_hand_for_a_linear_layer(shape):
    x, weight = randn(*shape), randn(3, 4, seed=1)
    score = wanda(layers_of(weight), TensorDataset(x, torch.zeros(len(x))))
    norms = x.view(-1, 4).norm(dim=0)  # of each input feature, over all examples and positions
    torch.testing.assert_close(score("0", weight), weight.abs() * norms[None, :])


def test_wanda_by_hand_for_a_convolution():
    x, model = randn(300, 2, 5, 5), nn.Sequential(nn.Conv2d(2, 3, 3, padding=1))
    score = wanda(model, TensorDataset(x, torch.zeros(300)))
    weight = model[0].weight.detach()
    expected = torch.stack([weight[:, c].abs() * x[:, c].norm() for c in range(2)], dim=1)
    torch.testing.assert_close(score("0", weight), expected)


def test_wanda_sees_what_flows_into_each_layer():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    model[0].weight.data = torch.tensor([[3.0, 0.0], [0.0, -1.0]])  # the second unit is dead
    model[2].weight.data = torch.tensor([[0.5, 100.0]])
    score = wanda(model, TensorDataset(torch.ones(4, 2), torch.zeros(4)))
    torch.testing.assert_close(score("2", model[2].weight.detach()), torch.tensor([[0.5 * 6, 0.0]]))
    assert global_masks(model, 0.5, score, ["2"])["2"].tolist() == [[True, False]]


def test_wanda_leaves_no_hook_behind():
    model = nn.Sequential(nn.Linear(4, 3))
    wanda(model, TensorDataset(randn(5, 4), torch.zeros(5)))
    with pytest.raises(RuntimeError):
        wanda(model, TensorDataset(randn(5, 7), torch.zeros(5)))
    assert not model[0]._forward_pre_hooks
    assert model.training


def test_a_layer_without_input_norms_is_refused():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 1))
    score = wanda(model, TensorDataset(randn(3, 4, 6, 6), torch.zeros(3)))
    with pytest.raises(ValueError, match=r"wanda knows nothing of layer '0', only of \['1'\]"):
        global_masks(model, 0.5, score)
    assert pruned(global_masks(model, 0.5, score, ["1"])) == 4


# --- input that cannot work -------------------------------------------------------------------


@pytest.mark.parametrize("make", [global_masks, layer_masks, prune])
@pytest.mark.parametrize("amount", [-0.1, 1.1, 30, math.nan, math.inf])
def test_an_amount_outside_zero_and_one_is_refused(make, amount):
    with pytest.raises(ValueError, match=f"amount is {amount}.*between 0 and 1. For 30 % say 0.3"):
        make(layers_of(randn(2, 2)), amount)


@pytest.mark.parametrize("amount", ["0.3", None, True, [0.3]])
def test_an_amount_that_is_no_number_is_refused(amount):
    with pytest.raises(TypeError, match="expected a number between 0 and 1"):
        global_masks(layers_of(randn(2, 2)), amount)


@pytest.mark.parametrize("layers", [[], ["fc9"], [""]])
def test_an_empty_or_unknown_layer_is_refused(layers):
    for make in (global_masks, layer_masks, prune):
        with pytest.raises(ValueError, match="expected one or more of 'fc1', 'fc2', 'fc3'"):
            make(build(LeNet300), 0.5, layers=layers)
    with pytest.raises(ValueError, match="'fc1', 'fc2', 'fc3'"):
        n_m_masks(build(LeNet300), layers=layers)


def test_amounts_for_no_layer_or_an_unknown_one_are_refused():
    for wrong in ({}, {"fc9": 0.5}):
        with pytest.raises(ValueError, match="'fc1', 'fc2', 'fc3'"):
            layer_masks(build(LeNet300), wrong)


@pytest.mark.parametrize("score", [magnitude, random_score()], ids=["magnitude", "random"])
def test_nan_weights_are_refused(score):
    model = layers_of(randn(3, 3))
    model[0].weight.data[1, 1] = math.nan
    for make in (global_masks, layer_masks):
        with pytest.raises(ValueError, match=r"'0' hold NaN.*learning rates"):
            make(model, 0.5, score)
    with pytest.raises(ValueError, match="hold NaN"):
        n_m_masks(layers_of(torch.full((1, 4), math.nan)), score=score)


@pytest.mark.parametrize("bad", [-1.0, math.nan, -math.inf])
def test_a_score_below_zero_or_nan_is_refused(bad):
    scores = torch.ones(2, 2)
    scores[1, 0] = bad
    with pytest.raises(ValueError, match="score of your own must be ≥ 0"):
        global_masks(layers_of(randn(2, 2)), 0.5, fixed(scores))


def test_a_score_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(4,\), its weight \(2, 2\); a score gives one"):
        global_masks(layers_of(randn(2, 2)), 0.5, fixed(torch.ones(4)))


def test_a_score_that_changes_each_time_is_refused():
    with pytest.raises(ValueError, match="other values each time"):
        global_masks(layers_of(randn(50, 50)), 0.5, lambda layer, weight: torch.rand(50, 50))


def test_a_score_of_another_model_is_refused():
    score = taylor(layers_of(randn(3, 4)), TensorDataset(randn(8, 4), torch.arange(8) % 3))
    with pytest.raises(ValueError, match=r"taylor knows nothing of layer 'fc1'.*that you prune"):
        global_masks(build(LeNet300), 0.5, score)


# --- sensitivity ------------------------------------------------------------------------------


def test_sensitivity_prunes_one_layer_at_a_time_and_leaves_the_model_alone():
    model = build(LeNet300)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def measure(pruned_model: nn.Module) -> Accuracy:
        zeros = [sparsity(pruned_model, [layer]) for layer in ("fc1", "fc2", "fc3")]
        seen.append([round(share, 2) for share in zeros])
        return Accuracy(len(seen), 100)

    seen: list[list[float]] = []
    found = sensitivity(model, measure, (amount for amount in (0, 0.5)))
    assert seen == [[0, 0, 0], [0.5, 0, 0], [0, 0, 0], [0, 0.5, 0], [0, 0, 0], [0, 0, 0.5]]
    assert found == {
        layer: [Accuracy(2 * i + 1, 100), Accuracy(2 * i + 2, 100)]
        for i, layer in enumerate(["fc1", "fc2", "fc3"])
    }
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


# --- pruning while training -------------------------------------------------------------------


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


@pytest.mark.parametrize("choose_last", [None, 1, 100])
def test_only_epochs_at_the_goal_are_chosen(choose_last):
    # the accuracy falls as the sparsity rises: the best epochs are those before the goal
    recipe = Recipe(epochs=10, lr=1e-9, batch_size=16, choose_last=choose_last)
    fitted = gradual_pruning(small_net(), DATA, recipe, 1.0, end=0.7)
    assert fitted.epoch >= 8
    assert sparsity(fitted.model) == 1


def test_gradual_pruning_is_reproducible_and_useful():
    first, second = (gradual_pruning(small_net(), DATA, RECIPE, 0.5) for _ in range(2))
    assert first.history == second.history
    assert torch.equal(flat(masks_of(first.model)), flat(masks_of(second.model)))
    assert evaluate(first.model, DATA["validation"]).value > 0.75


def test_gradual_pruning_goes_on_from_a_pruned_model():
    start = prune(small_net(), 0.6)
    sparser = gradual_pruning(start, DATA, RECIPE, 0.8).model
    assert sparsity(sparser) == pytest.approx(0.8)
    assert not (flat(masks_of(sparser)) & ~flat(masks_of(start))).any()
    assert sparsity(gradual_pruning(start, DATA, RECIPE, 0.3).model) == pytest.approx(0.6)


def test_iterative_pruning_recovers_after_each_round():
    model, recipe = small_net(), Recipe(epochs=2, lr=0.01, batch_size=16)
    fitted = iterative_pruning(model, DATA, recipe, (amount for amount in (0.3, 0.6, 0.8)))
    assert sparsity(fitted.model) == pytest.approx(0.8)
    assert sparsity(model) == 0
    assert len(fitted.history) == 2  # of the last round
    by_hand = model
    for amount in (0.3, 0.6, 0.8):
        by_hand = pruning.training.fit(prune(by_hand, amount), DATA, recipe).model
    assert torch.equal(fitted.model[0].weight, by_hand[0].weight)


def test_masks_of_one_model_fit_another_of_the_same_kind():
    masks = global_masks(build(LeNet300, seed=0), 0.9)
    other = apply_masks(build(LeNet300, seed=1), masks)
    assert sparsity(other) == pytest.approx(0.9, abs=1e-4)
