"""Importance, the choice of units, and the loops: by hand, by brute force, and exact amounts."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from hypothesis import assume, given
from hypothesis import strategies as st
from network_zoo import images, network
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from transformer_zoo import batch_for, tiny

from course_lib.groups import groups
from course_lib.models import LeNet300
from course_lib.structured import (
    Importance,
    ablation,
    choose,
    iterative_pruning,
    prune,
    random_importance,
    sensitivity,
    taylor,
    weight_norm,
)
from course_lib.surgery import original_parameters, remove, remove_layers
from course_lib.training import Recipe, evaluate
from course_lib.units import Group


def chain(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))[:-1]


def scores(**values: list[float]) -> Importance:
    """An importance that gives these values, whatever the weights are; groups as _0, _2, …"""
    return lambda model, group: torch.tensor(values[f"_{group.name}"])


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def widths(model: nn.Module) -> dict[str, int]:
    return {name: group.units for name, group in groups(model).items()}


# --- importance -------------------------------------------------------------------------------


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


def test_chance_is_reproducible_and_leaves_the_global_seed():
    model, other = LeNet300(), LeNet300()
    state = torch.get_rng_state()
    first = {n: random_importance(3)(model, g) for n, g in groups(model).items()}
    again = {n: random_importance(3)(other, g) for n, g in groups(model).items()}
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["fc1"][:100], first["fc2"])
    assert not torch.equal(first["fc1"], random_importance(4)(model, groups(model)["fc1"]))
    assert first["fc1"].shape == (300,)
    assert choose(model, 0.5, random_importance(3)) == choose(other, 0.5, random_importance(3))
    assert torch.equal(state, torch.get_rng_state())


def slope(loss: Callable[[float], float], step: float = 1e-4) -> float:
    """The derivative at 1, by difference."""
    return (loss(1 + step) - loss(1 - step)) / (2 * step)


def test_taylor_is_the_slope_of_the_loss_behind_a_gate():
    """Each unit's gate is moved a little by hand, where the unit is read, one example at a time."""
    model: Any = network("nn.Flatten", torch.float64)
    x, labels = images(dtype=torch.float64), torch.tensor([0, 3, 2, 1, 0])

    def columns(name: str, unit: int) -> tuple[str, slice]:
        return {
            "conv1": ("conv2", slice(unit, unit + 1)),
            "conv2": ("fc1", slice(4 * unit, 4 * unit + 4)),  # 2 × 2 pixels
            "fc1": ("fc2", slice(unit, unit + 1)),
        }[name]

    def loss(name: str, unit: int, example: int) -> Callable[[float], float]:
        layer, place = columns(name, unit)

        def at(gate: float) -> float:
            moved = copy.deepcopy(model)
            moved.get_submodule(layer).weight.data[:, place] *= gate
            with torch.no_grad():
                return F.cross_entropy(moved(x[example, None]), labels[example, None]).item()

        return at

    score = taylor(model, TensorDataset(x, labels))
    for name, group in groups(model).items():
        expected = [
            sum(abs(slope(loss(name, unit, i))) for i in range(5)) / 5
            for unit in range(group.units)
        ]
        assert score(model, group).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", ["basic blocks", "called twice"])
def test_taylor_of_a_unit_with_several_readers(name):
    model = network(name, torch.float64)
    x, labels = images(2, torch.float64), torch.tensor([1, 2])
    group = next(g for g in groups(model).values() if sum(s.reads for s in g.slices) > 1)
    readers = [piece for piece in group.slices if piece.reads]

    def loss(unit: int, example: int) -> Callable[[float], float]:
        def at(gate: float) -> float:
            moved = copy.deepcopy(model)
            for piece in readers:
                moved.get_submodule(piece.module).weight.data[:, unit] *= gate  # type: ignore
            with torch.no_grad():
                return F.cross_entropy(moved(x[example, None]), labels[example, None]).item()

        return at

    expected = [(abs(slope(loss(u, 0))) + abs(slope(loss(u, 1)))) / 2 for u in range(group.units)]
    score = taylor(model, TensorDataset(x, labels))
    assert score(model, group).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-8)


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
    score = taylor(model, rows)
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
    whole, a, b = (taylor(model, part) for part in (data, *parts))
    for group in groups(model).values():
        mean = (a(model, group) + b(model, group)) / 2
        torch.testing.assert_close(whole(model, group), mean)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_taylor_with_a_loss_of_one_s_own():
    model = network("nn.Flatten")
    data = TensorDataset(images(), torch.zeros(5, dtype=torch.long))
    score = taylor(model, data, lambda output, batch: 3 * F.cross_entropy(output, batch[1]))
    for group in groups(model).values():
        torch.testing.assert_close(score(model, group), 3 * taylor(model, data)(model, group))


def test_taylor_of_another_model_is_refused():
    model = network("nn.Flatten")
    score = taylor(model, TensorDataset(images(), torch.zeros(5, dtype=torch.long)))
    small = remove(model, {"conv1": [0, 1]})
    with pytest.raises(
        ValueError, match="taylor has not seen 'conv1' with 2 units; make the score"
    ):
        choose(small, 0.5, score)
    with pytest.raises(ValueError, match="has not seen '0' with 5 units"):
        choose(chain(3, 5, 2), 0.5, score)


# --- choosing ---------------------------------------------------------------------------------


def test_the_lowest_go_first():
    assert choose(chain(2, 4, 2), 0.5, scores(_0=[3, 1, 2, 0])) == {"0": [0, 2]}
    assert choose(chain(2, 4, 2), 0.25, scores(_0=[3, 1, 2, 0])) == {"0": [0, 1, 2]}
    assert choose(chain(2, 4, 2), 0, scores(_0=[3, 1, 2, 0])) == {"0": [0, 1, 2, 3]}


def test_groups_are_ranked_together_by_the_score_of_each_parameter():
    net = chain(10, 2, 2, 1)  # a unit of "0" has 10 + 1 + 2 parameters, one of "2" has 2 + 1 + 1
    assert choose(net, 0.25, scores(_0=[13, 26], _2=[8, 12])) == {"0": [1], "2": [0, 1]}
    assert choose(net, 0.5, scores(_0=[13, 26], _2=[4.1, 12])) == {"0": [1], "2": [1]}
    # per group: the same share of each, whatever the scores say
    assert choose(net, 0.5, scores(_0=[130, 260], _2=[4.1, 12]), per_group=True) == {
        "0": [1],
        "2": [1],
    }
    assert choose(net, 0.5, scores(_0=[9, 1], _2=[1, 1]), names=["0"]) == {"0": [0]}


@pytest.mark.parametrize("per_group", [True, False])
def test_at_least_one_unit_stays(per_group):
    keep = choose(chain(2, 4, 3, 2), 1.0, per_group=per_group)
    assert {name: len(units) for name, units in keep.items()} == {"0": 1, "2": 1}


def test_of_equal_units_the_first_go():
    net = chain(2, 300, 4, 2)
    same = scores(_0=[1.0] * 300, _2=[1.0] * 4)
    keep = choose(net, 0.5, same)
    assert keep == choose(net, 0.5, same)
    assert keep["0"] == list(range(300 - len(keep["0"]), 300))
    assert choose(net, 0.5, same, ["0"], per_group=True)["0"] == list(range(150, 300))


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.floats(0, 1))
def test_the_choice_is_that_of_sorting(values, share):
    """Few different values: ties are the rule."""
    net = chain(2, len(values), 2)
    kept = choose(net, share, scores(_0=[float(v) for v in values]))["0"]
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    gone = min(round(share * len(values)), len(values) - 1)
    assert kept == sorted(order[gone:])


@given(st.integers(1, 40), st.floats(0, 1), st.integers(1, 16))
def test_widths_are_rounded(units, share, round_to):
    left = len(choose(chain(2, units, 2), share, round_to=round_to)["0"])
    assert left == units or left % round_to == 0
    assert 1 <= left <= units
    if round(share * units) == 0:
        assert left == units  # nothing was asked for
    assert abs(left - (units - round(share * units))) <= round_to


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_outside_is_refused(share):
    with pytest.raises(ValueError, match=r"share is .*; choose one between 0 and 1\."):
        choose(chain(2, 4, 2), share)


def test_errors_of_a_choice():
    net = chain(2, 4, 2)
    with pytest.raises(ValueError, match="There is no group '1'; there are 0"):
        choose(net, 0.5, names=["1"])
    with pytest.raises(ValueError, match="round_to is 0; choose a whole number of 1 or more"):
        choose(net, 0.5, round_to=0)
    for wrong in (torch.ones(3), torch.ones(4, 1), torch.tensor([1, 2, math.nan, 0])):
        with pytest.raises(
            ValueError, match=r"score of '0' (has shape .*; expected \(4,\)|holds nan)"
        ):
            choose(net, 0.5, lambda model, group, wrong=wrong: wrong)


# --- pruning ----------------------------------------------------------------------------------

amounts = st.floats(0.01, 0.6)


@given(st.lists(st.integers(2, 12), min_size=1, max_size=3), amounts, st.integers(0, 5))
def test_the_amount_is_reached_with_the_fewest_units(inner, amount, seed):
    net = chain(4, *inner, 3)
    score = random_importance(seed)
    try:
        small = prune(net, amount, score=score)
    except ValueError:
        assume(False)
    assert count(small) <= (1 - amount) * count(net)
    # Put back the most important one that went: it is no longer enough.
    found = groups(net)
    keep = {
        n: sorted(score(net, g).topk(widths(small)[n]).indices.tolist()) for n, g in found.items()
    }
    assert all(
        torch.equal(a, b) for a, b in zip(state(small), state(remove(net, keep)), strict=True)
    )
    cost = {n: sum(tensor_of(net, s).numel() for s in g.slices) / g.units for n, g in found.items()}
    gone = [
        (score(net, g)[u].item() / cost[n], n, u)
        for n, g in found.items()
        for u in set(range(g.units)) - set(keep[n])
    ]
    _, name, unit = max(gone)
    keep[name].append(unit)
    assert count(remove(net, keep)) > (1 - amount) * count(net)


def state(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


def tensor_of(model: nn.Module, piece: Any) -> Tensor:
    return getattr(model.get_submodule(piece.module), piece.tensor)


def test_the_amount_is_of_the_original_model():
    net = LeNet300()
    once = prune(net, 0.3)
    twice = prune(once, 0.3)
    assert widths(twice) == widths(once) != widths(net)
    more = prune(once, 0.5)
    assert count(more) == pytest.approx(0.5 * count(net), rel=0.01)
    assert original_parameters(more) == count(net)
    assert count(net) == 266_610


@pytest.mark.parametrize("name", ["basic blocks", "depthwise", "bert", "vit", "gpt2"])
def test_thirty_percent_twice_is_thirty_percent(name):
    model = network(name) if " " in name or name == "depthwise" else tiny(name)
    once = prune(model, 0.2)
    assert count(once) <= 0.8 * count(model)
    assert widths(prune(once, 0.2)) == widths(once)
    assert widths(prune(model, 0.0)) == widths(model)


def test_what_went_with_layers_counts_too():
    model: Any = tiny("bert")
    fewer = remove_layers(model, [0, 1])
    amount = 1 - count(fewer) / count(model)
    assert count(prune(fewer, amount)) == count(fewer)
    assert count(prune(fewer, amount + 0.1)) <= (1 - amount - 0.1) * count(model)


def test_widths_of_a_pruned_model_are_rounded():
    small = prune(LeNet300(), 0.5, round_to=8)
    assert all(n % 8 == 0 or n == widths(LeNet300())[g] for g, n in widths(small).items())
    assert widths(small)["fc1"] < 300
    assert count(small) <= 0.5 * 266_610
    assert widths(prune(LeNet300(), 0, round_to=8)) == {"fc1": 300, "fc2": 100}


def test_exact_units_and_chosen_groups():
    net = LeNet300()
    assert widths(prune(net, keep={"fc2": [1, 2]})) == {"fc1": 300, "fc2": 2}
    assert widths(prune(net, 0.5, names=["fc1"]))["fc2"] == 100


def test_errors_of_pruning():
    net = LeNet300()
    for arguments in ({}, {"amount": 0.5, "keep": {"fc1": [0]}}):
        with pytest.raises(TypeError, match="Give either amount= or keep=, and not both"):
            prune(net, **arguments)  # type: ignore[arg-type]
    for amount in (-0.1, 1, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"amount is .*; choose one in \[0, 1\)\."):
            prune(net, amount)
    with pytest.raises(ValueError, match="There is no group 'fc7'"):
        prune(net, 0.5, names=["fc7"])
    # one neuron in fc2: 784 · 300 + 300 + 300 + 1 + 10 + 10 parameters stay
    message = (
        r"An amount of 90\.0% cannot be reached: 235,821 of the original 266,610 parameters stay when "
        r"each group keeps 1; the most is 11\.5%\. Allow more groups"
    )
    with pytest.raises(ValueError, match=message):
        prune(net, 0.9, names=["fc2"])


def test_an_amount_that_is_only_just_reached():
    net = chain(2, 4, 2)  # one unit of five parameters and two biases are the least
    assert 22 * (1 - (1 - 7 / 22)) < 7  # a float is not to blame
    for amount in (15 / 22, 1 - 7 / 22):
        assert widths(prune(net, amount)) == {"0": 1}
    with pytest.raises(ValueError, match=r"the most is 68\.2%"):
        prune(net, 15 / 22 + 1e-6)


# --- loops ------------------------------------------------------------------------------------


def points() -> dict[str, Any]:
    """Which quarter of the plane is it? Learnt in a moment."""
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    labels = 2 * (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    return {
        "train": TensorDataset(x[:300], labels[:300]),
        "validation": TensorDataset(x[300:], labels[300:]),
    }


def test_remove_a_bit_train_a_bit():
    data, net = points(), chain(2, 40, 20, 4)
    before, seen = state(copy.deepcopy(net)), []

    def score(model: nn.Module) -> Importance:
        seen.append(widths(model))
        return taylor(model, data["train"])

    recipe = Recipe(epochs=6, lr=0.02)
    fitted = iterative_pruning(net, data, recipe, [0.2, 0.5, 0.8], score=score)
    assert count(fitted.model) <= 0.2 * count(net)
    assert count(fitted.model) > 0.1 * count(net)
    assert original_parameters(fitted.model) == count(net)
    # each round scores the model that the round before left
    assert [sum(s.values()) for s in seen] == sorted((sum(s.values()) for s in seen), reverse=True)
    assert seen[0] == {"0": 40, "2": 20}
    assert evaluate(fitted.model, data["validation"]).value > 0.8
    assert all(torch.equal(a, b) for a, b in zip(state(net), before, strict=True))


def test_errors_of_iterative_pruning():
    for wrong in ([], [0.5, 0.2]):
        with pytest.raises(
            ValueError, match=r"amounts are .*; give at least one, the smallest first"
        ):
            iterative_pruning(chain(2, 4, 4), points(), Recipe(epochs=0), wrong)
    fitted = iterative_pruning(chain(2, 8, 4), points(), Recipe(epochs=0), [0.4], names=["0"])
    assert widths(fitted.model)["0"] < 8


def test_sensitivity_makes_one_group_smaller_at_a_time():
    net = chain(2, 8, 4, 2)
    result = sensitivity(net, lambda m: tuple(widths(m).values()), [0, 0.25, 1])
    assert result == {"0": [(8, 4), (6, 4), (1, 4)], "2": [(8, 4), (8, 3), (8, 1)]}
    assert list(sensitivity(net, count, [0.5], names=["2"])) == ["2"]


def test_ablation_removes_one_unit_at_a_time():
    net: Any = chain(2, 3, 1)
    net[0].weight.data = torch.tensor([[1.0, 0], [2, 0], [4, 0]])
    net[0].bias.data.zero_()
    net[2].weight.data.fill_(1)
    net[2].bias.data.zero_()
    assert ablation(net, lambda m: m(torch.tensor([[1.0, 0]])).item()) == {"0": [6, 5, 3]}


def test_ablation_of_heads_and_of_the_only_unit():
    model = remove(tiny("bert"), {"layer.1.heads": [2]})
    names = ["layer.0.heads", "layer.1.heads"]
    result = ablation(model, lambda m: widths(m)["layer.0.heads"], names)
    assert result == {"layer.0.heads": [3, 3, 3, 3], "layer.1.heads": []}


def test_an_importance_is_any_function_of_model_and_group():
    def last(model: nn.Module, group: Group) -> Tensor:
        return torch.arange(group.units, 0, -1)

    assert choose(chain(2, 4, 2), 0.5, last) == {"0": [0, 1]}
