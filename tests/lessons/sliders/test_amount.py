"""The amount slider's numbers."""

from dataclasses import replace

import torch
from slider_samples import smaller

from course_lib.evaluation import Accuracy
from course_lib.evaluation.timing import Latency
from course_lib.lessons.sliders.amount import (
    amount_chart,
    amount_explorer,
    amount_table,
    amount_view,
    measured,
)
from course_lib.lessons.sliders.charts import svg
from course_lib.models import SmallCNN, build
from course_lib.structured import remove

VARIANTS = {amount: smaller(amount) for amount in (0, 0.5, 0.75)}


def test_widths_costs_and_both_accuracies_are_shown():
    state = amount_view(VARIANTS, 0.75)
    for text in ("25 % of", "105,458 (4.0 × fewer)", "2.30 million", "3.5 ms (3.1 × as fast)"):
        assert text in state.readout, text
    assert state.data["layers"][1] == {
        "layer": "conv2",
        "kept": 32,
        "units": 64,
        "text": "32 of 64",
    }
    assert [round(row["share"], 2) for row in state.data["costs"]] == [0.25, 0.25, 0.32]
    assert state.data["amount"] == [{"text": "25 % of the parameters left"}]
    assert [row["accuracy"] for row in state.data["accuracies"]] == [0.52, 0.95]


def test_the_whole_network_costs_what_it_costs():
    state = amount_view(VARIANTS, 0)
    assert state.readout.count("as before") == 3


def test_a_network_that_became_slower_is_not_said_to_be_faster_and_stays_in_the_chart():
    slower = replace(smaller(0.5), latency=Latency((10.5, 12.0, 13.0), 64, 2))
    variants = {0: smaller(0), 0.5: slower}
    assert "12 ms (cannot tell whether it is faster)" in amount_view(variants, 0.5).readout
    costs = amount_chart(variants)["hconcat"][1]["vconcat"][0]
    assert costs["layer"][0]["encoding"]["x"]["scale"]["domain"][1] >= 12 / 11


def test_without_latencies_the_slider_shows_two_costs():
    variants = {amount: replace(smaller(amount), latency=None) for amount in (0, 0.5)}
    state = amount_view(variants, 0.5)
    assert [row["what"] for row in state.data["costs"]] == ["parameters", "operations"]
    assert "latency" not in svg(amount_chart(variants), state)


def test_a_network_of_many_layers_is_drawn_too():
    many = replace(smaller(0.5), widths={f"layer.{i}": (3, 6) for i in range(24)})
    whole = replace(smaller(0), widths={f"layer.{i}": (6, 6) for i in range(24)})
    variants = {0: whole, 0.5: many}
    picture = svg(amount_chart(variants), amount_view(variants, 0.5))
    assert "layer.23" in picture and "NaN" not in picture


def test_a_move_arrives():
    explorer = amount_explorer(VARIANTS)
    assert "25 % of the parameters" in explorer.readout.value
    explorer.controls[0].value = "50 %"
    assert "50 % of the parameters" in explorer.readout.value


def test_the_table_says_what_the_slider_says():
    table = amount_table(VARIANTS)
    assert list(table.index) == ["100 % left", "50 % left", "25 % left"]
    last = table.loc["25 % left"]
    assert (last["units of conv2"], last["parameters"], last["accuracy trained"]) == (
        "32 of 64",
        "4.0 × fewer",
        "95.0 %",
    )


def test_a_smaller_network_is_measured_beside_the_whole_one():
    whole = build(SmallCNN)
    right = Accuracy(9, 10)
    image = torch.zeros(1, 1, 28, 28)
    found = measured(remove(whole, {"conv2": range(8)}), whole, image, right, right)
    assert found.widths == {"conv1": (32, 32), "conv2": (8, 64), "fc1": (128, 128)}
    alike = measured(whole, whole, image, right, right)
    assert found.parameters < alike.parameters == sum(p.numel() for p in whole.parameters())
    assert found.operations < alike.operations and found.latency is None
