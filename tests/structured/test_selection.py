"""Which units stay: by hand, by brute force, and exact amounts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from network_zoo import chain, count, network, widths
from torch import Tensor, nn
from transformer_zoo import tiny

from course_lib.models.networks import LeNet300
from course_lib.pruning.unstructured import prune_weights
from course_lib.structured.dependency import groups
from course_lib.structured.importance import Score, random_score
from course_lib.structured.removal import original_parameters, remove, remove_layers
from course_lib.structured.selection import ablation, choose, prune, sensitivity


def scores(**values: list[float]) -> Score:
    """A score with these values, whatever the weights are; groups as _0, _2, …"""
    return lambda model, group: torch.tensor(values[f"_{group.name}"])


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
    assert choose(net, 0.5, scores(_0=[9, 1], _2=[1, 1]), layers=["0"]) == {"0": [0]}


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
    with pytest.raises(ValueError, match=r"units is .*; choose one between 0 and 1\."):
        choose(chain(2, 4, 2), share)


def test_errors_of_a_choice():
    net = chain(2, 4, 2)
    with pytest.raises(ValueError, match="There is no group '1'; there are 0"):
        choose(net, 0.5, layers=["1"])
    with pytest.raises(ValueError, match="round_to is 0; choose a whole number of 1 or more"):
        choose(net, 0.5, round_to=0)
    for wrong in (torch.ones(3), torch.ones(4, 1), torch.tensor([1, 2, math.nan, 0])):
        with pytest.raises(
            ValueError, match=r"score of '0' (has shape .*; expected \(4,\)|holds NaN)"
        ):
            choose(net, 0.5, lambda model, group, wrong=wrong: wrong)


# --- pruning ----------------------------------------------------------------------------------

amounts = st.floats(0.01, 0.6)


@given(st.lists(st.integers(2, 12), min_size=1, max_size=3), amounts, st.integers(0, 5))
def test_the_amount_is_reached_with_the_fewest_units(inner, amount, seed):
    net = chain(4, *inner, 3)
    score = random_score(seed)
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
    expected = remove(net, keep).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in small.state_dict().items())
    cost = {n: sum(tensor_of(net, s).numel() for s in g.slices) / g.units for n, g in found.items()}
    gone = [
        (score(net, g)[u].item() / cost[n], n, u)
        for n, g in found.items()
        for u in set(range(g.units)) - set(keep[n])
    ]
    _, name, unit = max(gone)
    keep[name].append(unit)
    assert count(remove(net, keep)) > (1 - amount) * count(net)


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


def test_errors_of_pruning():
    net = LeNet300()
    assert widths(prune(net, 0.5, layers=["fc1"]))["fc2"] == 100
    for amount in (-0.1, 1, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"amount is .*; choose one in \[0, 1\)\."):
            prune(net, amount)
    with pytest.raises(ValueError, match="There is no group 'fc7'"):
        prune(net, 0.5, layers=["fc7"])
    # one neuron in fc2: 784 · 300 + 300 + 300 + 1 + 10 + 10 parameters stay
    message = (
        r"An amount of 90\.0% cannot be reached: 235,821 of the original 266,610 parameters stay when "
        r"each group keeps 1; the most is 11\.5%\. Allow more groups"
    )
    with pytest.raises(ValueError, match=message):
        prune(net, 0.9, layers=["fc2"])


def test_an_amount_that_is_only_just_reached():
    net = chain(2, 4, 2)  # one unit of five parameters and two biases are the least
    assert 22 * (1 - (1 - 7 / 22)) < 7  # a float is not to blame
    for amount in (15 / 22, 1 - 7 / 22):
        assert widths(prune(net, amount)) == {"0": 1}
    with pytest.raises(ValueError, match=r"the most is 68\.2%"):
        prune(net, 15 / 22 + 1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda net: prune(net, 0.5, layers=[]),
        lambda net: choose(net, 0.5, layers=[]),
        lambda net: sensitivity(net, count, [0.5], layers=[]),
        lambda net: ablation(net, count, layers=[]),
        lambda net: prune_weights(net, 0.5, layers=[]),
    ],
)
def test_an_empty_list_of_layers_is_refused_everywhere(call):
    with pytest.raises(ValueError, match=r"layers is \[\]; expected one or more of '?fc1'?, '?fc2"):
        call(LeNet300())


# --- one group, one unit at a time ---------------------------------------------------------------


def test_sensitivity_makes_one_group_smaller_at_a_time():
    net = chain(2, 8, 4, 2)
    result = sensitivity(net, lambda m: tuple(widths(m).values()), [0, 0.25, 1])
    assert result == {"0": [(8, 4), (6, 4), (1, 4)], "2": [(8, 4), (8, 3), (8, 1)]}
    assert list(sensitivity(net, count, [0.5], layers=["2"])) == ["2"]


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
