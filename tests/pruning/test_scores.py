"""Scores of single weights against formulas written out here."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from transformers.pytorch_utils import Conv1D
from weight_zoo import flat, layers_of, pruned, randn

from course_lib.models.networks import LeNet300, build
from course_lib.pruning.masks import masks_of, prunable, sparsity
from course_lib.pruning.scores import magnitude, random_score, wanda, weight_taylor
from course_lib.pruning.unstructured import global_masks, prune_weights


def test_magnitude_is_the_size():
    assert magnitude("", torch.tensor([-2.0, 0.5])).tolist() == [2, 0.5]


def test_random_scores_are_reproducible_and_differ_by_layer_and_seed():
    score, weight = random_score(1), torch.zeros(40, 50)
    first = score("fc1", weight)
    assert torch.equal(random_score(1)("fc1", weight), first)
    assert 0 <= first.min() < 0.01
    assert 0.99 < first.max() < 1
    others = [score("fc2", weight), score("f1c", weight), random_score(2)("fc1", weight)]
    for other in [*others, random_score(7920)("fc0", weight)]:
        assert torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1].abs() < 0.1


def test_random_scores_spread_the_zeros_evenly():
    masks = global_masks(build(LeNet300), 0.5, random_score())
    for mask in masks.values():
        assert mask.float().mean() == pytest.approx(0.5, abs=5 / math.sqrt(mask.numel()))


def squared(output: Tensor, batch: list[Tensor]) -> Tensor:
    return (output - batch[1]).square().sum(1).mean()


@pytest.mark.parametrize("n", [20, 300])  # 300 are two batches of unequal size
def test_taylor_is_the_formula_of_a_linear_layer(n):
    x, y, weight = randn(n, 4), randn(n, 3, seed=1), randn(3, 4, seed=2)
    score = weight_taylor(layers_of(weight), TensorDataset(x, y), squared)
    gradient = 2 * (x @ weight.t() - y).t() @ x / n  # of mean ‖xWᵀ − y‖²
    torch.testing.assert_close(score("0", weight), (weight * gradient).abs())


def test_taylor_is_the_slope_of_the_loss_toward_zero():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    data = TensorDataset(randn(12, 4).double(), torch.arange(12) % 3)
    score = weight_taylor(model, data)
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


@pytest.mark.parametrize("score", [weight_taylor, wanda])
def test_a_score_from_no_examples_is_refused(score):
    nothing = TensorDataset(randn(0, 4), torch.zeros(0).long())
    with pytest.raises(ValueError, match="dataset is empty"):
        score(layers_of(randn(3, 4)), nothing)


@pytest.mark.parametrize("score", [weight_taylor, wanda])
def test_a_score_made_on_one_device_judges_weights_on_another(score):
    # `fit` takes a model to a GPU; a score made before is then asked for weights that are there.
    score_of = score(layers_of(randn(3, 4)), TensorDataset(randn(5, 4), torch.zeros(5).long()))
    assert score_of("0", randn(3, 4).to("meta")).device.type == "meta"


def test_taylor_leaves_gradients_and_modes_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 3))
    data = TensorDataset(randn(8, 4), torch.arange(8) % 3)
    one, two = weight_taylor(model, data), weight_taylor(model, data)
    assert torch.equal(one("0", model[0].weight), two("0", model[0].weight))  # no dropout
    assert all(p.grad is None for p in model.parameters())
    assert all(module.training for module in model.modules())


def test_taylor_of_a_masked_model_keeps_pruned_weights_lowest():
    data = TensorDataset(randn(8, 4), torch.arange(8) % 3)
    once = prune_weights(layers_of(randn(3, 4)), 0.5)
    again = prune_weights(once, 0.75, weight_taylor(once, data))
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
    with pytest.raises(ValueError, match=r"wanda has no scores for layer '0', only for \['1'\]"):
        global_masks(model, 0.5, score)
    assert pruned(global_masks(model, 0.5, score, ["1"])) == 4


def test_wanda_of_gpt2s_linear_layer_weighs_rows_because_its_weight_is_transposed():
    x, layer = randn(6, 4), Conv1D(3, 4)  # 3 outputs, 4 inputs: [4, 3]
    score = wanda(nn.Sequential(layer), TensorDataset(x, torch.zeros(6)))
    weight = layer.weight.detach()
    torch.testing.assert_close(score("0", weight), weight.abs() * x.norm(dim=0)[:, None])


def test_a_score_of_another_model_is_refused():
    score = weight_taylor(layers_of(randn(3, 4)), TensorDataset(randn(8, 4), torch.arange(8) % 3))
    with pytest.raises(
        ValueError, match=r"weight_taylor has no scores for layer 'fc1'.*that you prune"
    ):
        global_masks(build(LeNet300), 0.5, score)


def test_scores_and_masks_need_only_torch():
    program = (
        "import sys; from course_lib.pruning import masks, scores, unstructured; "
        "print(*sys.modules.keys() & {'accelerate', 'datasets', 'transformers'})"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == ""


def test_a_frozen_model_has_the_same_scores_and_stays_frozen():
    model, data = layers_of(randn(3, 4)), TensorDataset(randn(8, 4), torch.arange(8) % 3)
    expected = weight_taylor(model, data)("0", randn(3, 4))
    model.requires_grad_(False)
    assert torch.equal(weight_taylor(model, data)("0", randn(3, 4)), expected)
    assert not any(parameter.requires_grad for parameter in model.parameters())
