"""The sparsity slider's numbers."""

import pytest
import torch
from slider_samples import network, pictures
from torch import nn

from course_lib import evaluation
from course_lib.lessons.sliders.sparsity import (
    AMOUNTS,
    STORED,
    sparsity_chart,
    sparsity_explorer,
    sparsity_view,
)  # fmt: skip

NET = network().eval()
DATA = pictures(NET, 200)
SIZES = torch.cat([w.flatten() for n, w in NET.named_parameters() if n.endswith("weight")]).abs()


@pytest.mark.parametrize("amount", [0, 0.37, 0.5, 0.999])
def test_the_view_prunes_exactly_and_leaves_the_model_alone(amount):
    before = [p.clone() for p in NET.parameters()]
    data = sparsity_view(NET, DATA, amount).data
    sizes = {"fc1": 235_200, "fc2": 30_000, "fc3": 1_000}
    pruned = sum(row["share"] * sizes[row["layer"]] for row in data["shares"])
    assert round(pruned) == round(amount * 266_200)
    assert data["now"][0]["weights"] == 266_200 - round(amount * 266_200)
    assert all(torch.equal(a, b) for a, b in zip(before, NET.parameters(), strict=True))


def test_without_pruning_the_view_shows_the_models_own_accuracy():
    state = sparsity_view(NET, DATA, 0)
    own = evaluation.evaluate(NET, DATA)
    assert state.data["now"][0]["accuracy"] == own.value
    low, high = (state.data["now"][0][end] for end in ("low", "high"))
    assert (low, high) == own.interval
    assert state.data["threshold"] == []
    assert "n = 200" in state.readout


def test_the_threshold_is_the_largest_pruned_weight():
    lines = sparsity_view(NET, DATA, 0.5).data["threshold"]
    assert [row["weight"] for row in lines] == pytest.approx(
        [-SIZES.sort().values[133_099].item(), SIZES.sort().values[133_099].item()]
    )


def test_kept_weights_lie_outside_the_threshold_and_none_is_lost():
    data = sparsity_view(NET, DATA, 0.5).data
    edge = data["threshold"][1]["weight"]
    assert all(row["to"] >= edge or row["from"] <= -edge for row in data["kept"])
    inside = int((sparsity_chart(NET)["datasets"]["all"][-1]["to"] >= SIZES).sum())
    assert sum(row["weights"] for row in data["kept"]) == pytest.approx(inside - 133_100, abs=5)


def test_the_curve_holds_earlier_points_in_order_of_the_weights_left():
    earlier = sparsity_view(NET, DATA, 0.9).data["now"]
    data = sparsity_view(NET, DATA, 0.5, earlier).data
    assert [row["weights"] for row in data["seen"]] == [26_620, 133_100]
    assert [row["weights"] for row in data["now"]] == [133_100]


def test_the_slider_s_curve_grows_by_what_was_visited_and_not_by_what_is_stored():
    explorer = sparsity_explorer(NET, DATA)
    assert len(explorer.panel.state["data"]["seen"]["rows"]) == 1
    for label in ("90 %", "50 %", "90 %"):
        explorer.controls[0].value = label
    assert len(explorer.panel.state["data"]["seen"]["rows"]) == 2
    assert explorer.stored["controls"][0]["labels"] == STORED
    assert set(STORED) <= set(AMOUNTS)


def test_the_curve_shows_the_dense_network_and_how_far_from_it_the_slider_stands():
    drawing = sparsity_explorer(NET, DATA, 0.9).stored["chart"]
    layers = drawing["hconcat"][2]["layer"]
    assert layers[0]["encoding"]["y"]["datum"] == evaluation.evaluate(NET, DATA).value
    assert "points" in layers[1]["transform"][0]["calculate"]
    assert len(sparsity_chart(NET)["hconcat"][2]["layer"]) == len(layers) - 3


@pytest.mark.parametrize("amount", [-0.1, 1.1])
def test_an_amount_outside_is_refused(amount):
    with pytest.raises(ValueError, match="between 0 and 1"):
        sparsity_view(NET, DATA, amount)


def test_a_start_between_the_positions_is_refused():
    with pytest.raises(ValueError, match=r"Got amount=0\.123"):
        sparsity_explorer(NET, DATA, 0.123)


def test_a_layer_s_name_is_escaped():
    net = nn.Sequential()
    net.add_module("<img src=x>", nn.Linear(784, 10))
    state = sparsity_view(net, DATA, 0.5)
    assert "<img" not in state.readout and "&lt;img src=x&gt;" in state.readout
