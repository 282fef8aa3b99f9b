"""Scores of units: by hand, and against the slope of the loss behind a gate."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from network_zoo import chain, images, network
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from transformer_zoo import batch_for, tiny

from course_lib.models.networks import LeNet300
from course_lib.structured.dependency import groups
from course_lib.structured.importance import gate_taylor, random_score, weight_norm
from course_lib.structured.removal import remove
from course_lib.structured.selection import choose
from course_lib.structured.units import Group


def test_the_length_of_the_weights_by_hand():
    net: Any = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    net[0].weight.data = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    net[0].bias.data.fill_(9)  # neither biases nor batch norm nor what reads the unit count
    assert weight_norm(net, groups(net)["0"]).tolist() == [5, 2]


def test_what_a_residual_sum_couples_counts_together():
    model: Any = network("basic blocks")
    block, last = model[4], model[5]
    layers = [block.conv2, block.downsample[0], last.conv2]
    expected = sum(layer.weight.detach().square().sum((1, 2, 3)) for layer in layers).sqrt()
    torch.testing.assert_close(weight_norm(model, groups(model)["4.conv2"]), expected)


def test_a_depthwise_filter_counts_for_its_channel():
    model: Any = network("depthwise")
    expected = model[0].weight.detach().square().sum((1, 2, 3))
    expected += model[3].weight.detach().square().sum((1, 2, 3))
    torch.testing.assert_close(weight_norm(model, groups(model)["0"]), expected.sqrt())


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_head_is_as_long_as_its_query_key_and_value(name):
    model: Any = tiny(name)
    if name == "bert":
        inner = model.bert.encoder.layer[1].attention.self
        parts = [inner.query.weight, inner.key.weight, inner.value.weight]
    else:
        parts = list(model.transformer.h[1].attn.c_attn.weight.T.split(24))
    heads = torch.stack([part.detach().reshape(4, 6, 24) for part in parts])
    expected = heads.square().sum((0, 2, 3)).sqrt()
    torch.testing.assert_close(weight_norm(model, groups(model)["layer.1.heads"]), expected)


def test_the_random_score_is_reproducible_and_leaves_the_global_seed():
    model, other = LeNet300(), LeNet300()
    state = torch.get_rng_state()
    first = {n: random_score(3)(model, g) for n, g in groups(model).items()}
    again = {n: random_score(3)(other, g) for n, g in groups(model).items()}
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["fc1"][:100], first["fc2"])
    assert not torch.equal(first["fc1"], random_score(4)(model, groups(model)["fc1"]))
    assert first["fc1"].shape == (300,)
    assert choose(model, 0.5, random_score(3)) == choose(other, 0.5, random_score(3))
    assert torch.equal(state, torch.get_rng_state())


def gated_loss(
    model: nn.Module, group: Group, unit: int, gate: float, x: Tensor, label: Tensor
) -> float:
    """The loss of one example when everything that reads the unit reads it times `gate`."""
    moved = copy.deepcopy(model)
    for piece in group.slices:
        if piece.is_input:
            weight: Any = moved.get_submodule(piece.module).weight
            places = piece.indices(torch.tensor([unit]), group.units)
            weight.data.transpose(0, piece.dim)[places] *= gate
    with torch.no_grad():
        return F.cross_entropy(moved(x[None]), label[None]).item()


@pytest.mark.parametrize(
    "name", ["nn.Flatten", "basic blocks", "called twice", "side by side", "down and up", "halves"]
)
def test_taylor_is_the_slope_of_the_loss_behind_a_gate(name):
    model = network(name, torch.float64)
    x, labels = images(2, torch.float64), torch.tensor([1, 2])
    score = gate_taylor(model, TensorDataset(x, labels))
    for group in groups(model).values():
        for unit, value in enumerate(score(model, group).tolist()):
            slopes = [
                gated_loss(model, group, unit, 1 + 1e-4, *example)
                - gated_loss(model, group, unit, 1 - 1e-4, *example)
                for example in zip(x, labels, strict=True)
            ]
            expected = sum(map(abs, slopes)) / 2 / 2e-4
            assert value == pytest.approx(expected, rel=1e-4, abs=1e-8)


def texts(n: int = 5) -> Dataset:
    batch = batch_for(tiny("bert"), n=n)
    columns = {key: value.tolist() for key, value in batch.items()}
    return Dataset.from_dict(columns | {"labels": [i % 2 for i in range(n)]})


def test_taylor_of_heads_and_feed_forward_units():
    model: Any = tiny("bert", torch.float64)
    rows = texts()
    layer = "bert.encoder.layer.1."
    places = {
        "layer.1.heads": (layer + "attention.output.dense", 6),
        "layer.1.ffn": (layer + "output.dense", 1),
    }
    score = gate_taylor(model, rows)
    for name, (path, size) in places.items():
        for unit in (0, 3):
            place = slice(unit * size, (unit + 1) * size)

            def loss(gate: float, row: Any, path: str = path, place: slice = place) -> float:
                moved = copy.deepcopy(model)
                moved.get_submodule(path).weight.data[:, place] *= gate
                ids, mask = torch.tensor([row["input_ids"]]), torch.tensor([row["attention_mask"]])
                with torch.no_grad():
                    logits = moved(input_ids=ids, attention_mask=mask).logits
                return F.cross_entropy(logits, torch.tensor([row["labels"]])).item()

            steps = [abs(loss(1 + 1e-4, row) - loss(1 - 1e-4, row)) / 2e-4 for row in rows]
            found = score(model, groups(model)[name])[unit].item()
            assert found == pytest.approx(sum(steps) / 5, rel=1e-3, abs=1e-8)


def test_taylor_counts_every_example_once_and_leaves_the_model_alone():
    model = network("nn.Flatten").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    data = TensorDataset(images(40), torch.arange(40) % 4)  # a batch of 32, and one of 8
    parts = [TensorDataset(*data[:20]), TensorDataset(*data[20:])]
    whole, a, b = (gate_taylor(model, part) for part in (data, *parts))
    for group in groups(model).values():
        mean = (a(model, group) + b(model, group)) / 2
        torch.testing.assert_close(whole(model, group), mean)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("kind", ["bert", "network"])
def test_taylor_of_a_frozen_model_is_that_of_a_free_one(kind):
    model: Any = tiny("bert") if kind == "bert" else network("nn.Flatten")
    data: Any = texts() if kind == "bert" else TensorDataset(images(), torch.arange(5) % 4)
    frozen = copy.deepcopy(model).requires_grad_(False)
    free, of_frozen = gate_taylor(model, data), gate_taylor(frozen, data)
    for group in groups(model).values():
        assert free(model, group).sum() > 0
        torch.testing.assert_close(of_frozen(frozen, group), free(model, group))
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_taylor_with_a_loss_of_one_s_own():
    model = network("nn.Flatten")
    data = TensorDataset(images(), torch.zeros(5, dtype=torch.long))
    score = gate_taylor(model, data, lambda output, batch: 3 * F.cross_entropy(output, batch[1]))
    for group in groups(model).values():
        torch.testing.assert_close(score(model, group), 3 * gate_taylor(model, data)(model, group))


def test_taylor_of_another_model_is_refused():
    model = network("nn.Flatten")
    score = gate_taylor(model, TensorDataset(images(), torch.zeros(5, dtype=torch.long)))
    small = remove(model, {"conv1": [0, 1]})
    with pytest.raises(
        ValueError, match="gate_taylor has not seen 'conv1' with 2 units; make the score"
    ):
        choose(small, 0.5, score)
    with pytest.raises(ValueError, match="has not seen '0' with 5 units"):
        choose(chain(3, 5, 2), 0.5, score)
