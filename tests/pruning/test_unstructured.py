"""Masks: exact counts, the lowest first, over all layers, per layer, per row and n:m."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune
from transformers.pytorch_utils import Conv1D
from weight_zoo import fixed, flat, layers_of, pruned, randn

from course_lib.evaluation.accuracy import Accuracy
from course_lib.models.networks import LeNet300, build
from course_lib.pruning.masks import apply_masks, masks_of, prunable, sparsity
from course_lib.pruning.scores import magnitude, random_score
from course_lib.pruning.unstructured import (
    global_masks,
    layer_masks,
    n_m_masks,
    prune_weights,
    row_masks,
    sensitivity,
)

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
    once = prune_weights(model, first)
    twice = prune_weights(once, second)
    assert pruned(masks_of(twice)) == round(max(first, second) * len(values))
    assert not (flat(masks_of(twice)) & ~flat(masks_of(once))).any()  # nothing comes back


def test_weights_that_are_zero_already_go_before_others_of_score_zero():
    model = layers_of(torch.tensor([[1.0, 2.0, 0.0, 0.0]]))
    masks = global_masks(model, 0.5, fixed(torch.zeros(1, 4)))
    assert masks["0"].tolist() == [[True, True, False, False]]


@pytest.mark.parametrize(("amount", "left"), [(0, 6), (0.0, 6), (1, 0), (np.float32(0.5), 3)])
def test_nothing_half_and_everything(amount, left):
    assert int(flat(global_masks(layers_of(randn(2, 3)), amount)).sum()) == left


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
    ours, by_torch = build(LeNet300), build(LeNet300)
    pairs = [(module, "weight") for module in (by_torch.fc1, by_torch.fc2, by_torch.fc3)]
    torch_prune.global_unstructured(pairs, torch_prune.L1Unstructured, amount=0.7)
    masks = global_masks(ours, 0.7)
    assert pruned(masks) == pruned(masks_of(by_torch))
    size = torch.cat([weight.flatten() for weight in prunable(ours).values()]).abs()
    differing = flat(masks) != flat(masks_of(by_torch))
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


# --- per output row ---------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 9), amounts, st.integers(0, 1000))
def test_each_row_loses_exactly_its_amount_and_the_lowest_go(outputs, columns, amount, seed):
    weight = (2 * randn(outputs, columns, seed=seed)).round()  # ties and zeros
    mask = row_masks(layers_of(weight), amount)["0"]
    count = round(amount * columns)
    expected = torch.ones(outputs, columns, dtype=torch.bool)
    expected.scatter_(1, weight.abs().sort(dim=1, stable=True).indices[:, :count], False)
    assert torch.equal(mask, expected)


def test_a_row_of_a_convolution_is_a_filter_and_a_column_of_gpt2s_layers_is_one():
    model = nn.Sequential(nn.Conv2d(4, 3, 3), Conv1D(5, 8))  # 5 outputs of 8 inputs: [8, 5]
    masks = row_masks(model, 0.25)
    assert (~masks["0"]).flatten(1).sum(1).tolist() == [9] * 3
    assert masks["1"].shape == (8, 5)
    assert (~masks["1"]).sum(0).tolist() == [2] * 5
    four = n_m_masks(model, layers=["1"])["1"].T.reshape(-1, 4)
    assert (~four).sum(1).tolist() == [2] * 10


def test_rows_keep_what_is_pruned_already_and_take_scores_and_layers():
    model = layers_of(torch.tensor([[0.0, 3, 2, 1]]), randn(2, 3))
    scores = fixed(torch.tensor([[9.0, 0, 5, 5]]))
    masks = row_masks(model, 0.5, scores, ["0"])
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "0": [[False, False, True, True]]
    }
    twice = apply_masks(apply_masks(model, row_masks(model, 0.5)), row_masks(model, 0.5))
    assert torch.equal(flat(masks_of(twice)), flat(row_masks(model, 0.5)))


# --- input that cannot work -------------------------------------------------------------------


@pytest.mark.parametrize("make", [global_masks, layer_masks, row_masks, prune_weights])
@pytest.mark.parametrize("amount", [-0.1, 1.1, 30, math.nan, math.inf])
def test_an_amount_outside_zero_and_one_is_refused(make, amount):
    with pytest.raises(ValueError, match=f"amount is {amount}.*between 0 and 1. For 30 % say 0.3"):
        make(layers_of(randn(2, 2)), amount)


@pytest.mark.parametrize("amount", ["0.3", None, True, [0.3]])
def test_an_amount_that_is_no_number_is_refused(amount):
    with pytest.raises(TypeError, match="expected a number between 0 and 1"):
        global_masks(layers_of(randn(2, 2)), amount)


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


# --- sensitivity ------------------------------------------------------------------------------


def test_sensitivity_prunes_one_layer_at_a_time_and_leaves_the_model_alone():
    model = build(LeNet300)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def measure(pruned_model: nn.Module) -> Accuracy:
        zeros = [sparsity(pruned_model, [layer]) for layer in ("fc1", "fc2", "fc3")]
        seen.append([round(share, 2) for share in zeros])
        return Accuracy(len(seen), 100)

    seen: list[list[float]] = []
    results = sensitivity(model, measure, (amount for amount in (0, 0.5)))
    assert seen == [[0, 0, 0], [0.5, 0, 0], [0, 0, 0], [0, 0.5, 0], [0, 0, 0], [0, 0, 0.5]]
    assert results == {
        layer: [Accuracy(2 * i + 1, 100), Accuracy(2 * i + 2, 100)]
        for i, layer in enumerate(["fc1", "fc2", "fc3"])
    }
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert sensitivity(model, sparsity, [1], random_score(), ["fc3"]) == {"fc3": [1000 / 266_200]}
