"""Plots of models and of bars: the numbers stand where they belong, and the alt text names them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from drawn import ticks

from course_lib.lessons import plots, plots_axes


def test_half_of_each_layers_weights_lie_between_the_dotted_lines():
    model = torch.nn.Sequential(torch.nn.Linear(100, 10), torch.nn.Linear(10, 2))
    drawing = plots.weight_histogram(model)
    for ax, layer in zip(drawing.figure.axes, model, strict=True):
        low, high = (line.get_xdata()[0] for line in ax.lines)
        inside = (layer.weight > low) & (layer.weight < high)
        assert inside.float().mean() == pytest.approx(0.5, abs=0.06)
        assert f"±{plots_axes.plain(high)} (" in drawing.alt
    assert len({ax.get_xlim() for ax in drawing.figure.axes}) == 1


def test_maps_name_their_extremes_and_count_from_1():
    drawing = plots.heat_map([[0.1, 0.9], [0.5, 0.3]], ("T", [1, 2]), ("alpha", [0.3, 1.0]))
    assert drawing.figure.axes[0].patches[0].get_xy() == (0.5, -0.5)  # second column, first row
    assert "largest 90.0 % at T 1, alpha 1.0; smallest 10.0 % at T 1, alpha 0.3." in drawing.alt
    limits = {"half": (0.0, 0.5)}
    drawing = plots.heat_map([[0.1, 0.9]], ("T", [1]), ("alpha", [0.3, 1.0]), limits=limits)
    assert drawing.figure.axes[0].images[0].get_clim() == limits["half"]
    assert drawing.figure.axes[1].get_ylabel() == "half"
    drawing = plots.unit_map(torch.tensor([[0.1, 0.2], [0.9, 0.3]]), "layer", "head", "overlap")
    assert ticks(drawing) == (["1", "2"], ["1", "2"])
    assert "highest 0.9 (layer 2, head 1), lowest 0.1 (layer 1, head 1)" in drawing.alt
    used = torch.nn.Sequential()
    used.fc1 = torch.nn.Linear(784, 10)
    used.fc1.weight.data = torch.zeros(10, 28, 28).index_fill(1, torch.arange(4), 1.0).view(10, 784)
    assert "672 of 784 pixels have none" in plots.inputs_used(used).alt  # four rows have all ten
    assert (
        "each group of four keeps 1 to 1" in plots.mask_rows(torch.eye(4).repeat(2, 8).bool()).alt
    )


def test_bars_say_their_numbers():
    drawing = plots.parts({"a": {"layers": 2.0, "rest": 1.0}, "b": {"layers": 3.0}}, "MB")
    assert [text.get_text() for text in drawing.figure.axes[0].texts] == [
        "67 %",
        "100 %",
        "3.0",
        "3.0",
    ]
    assert "a: 3.0 (layers 2.0, rest 1.0)" in drawing.alt
    shares = plots.parts({"a": {"layers": 2.0, "rest": 1.0}}, "MB", shares=True)
    texts = shares.figure.axes[0].texts
    assert [(text.get_text(), text.get_position()[0]) for text in texts[:2]] == [
        ("67 %", 1.0),
        ("33 %", 2.5),
    ]
    timed = plots.parts({"a": {"first": 2.0, "rest": 1.0}}, "milliseconds", symbol="ms")
    shown = [text.get_text() for text in timed.figure.axes[0].texts]
    assert shown == ["2.00 ms (67 %)", "3.00 ms"]
    latency = SimpleNamespace(median=0.31, q1=0.28, q3=0.4, setting="batch 1, 1 thread")
    drawing = plots.latency_bars({"dense": latency})
    assert "dense 0.31 ms (quartiles 0.28 to 0.4)" in drawing.alt
    assert drawing.figure.axes[0].get_xlabel() == "milliseconds per batch (batch 1, 1 thread)"
    pushes = {"x": torch.tensor([0.9, -0.1]), "y": torch.tensor([1.9, -2.5])}
    drawing = plots.signed_bars(pushes, ["yes", "no"], title="Up?", ylabel="push")
    assert drawing.alt.endswith("y: above 0 yes (+1.90); below 0 no (−2.50).")
    assert len({ax.get_ylim() for ax in drawing.figure.axes}) == 1
    lean = SimpleNamespace(ece=0.2, count=(3, 1), confidence=(0.9, 0.5), accuracy=(0.7, 0.5))
    assert (
        "a 0.200 (confidence on average 15.0 points above accuracy)"
        in plots.reliability({"a": lean}).alt
    )
