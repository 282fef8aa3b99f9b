"""Sliders: the pure functions behind them, and that a move arrives and an error is seen."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO

import ipywidgets
import pytest
import torch
from PIL import Image

from course_lib import data, models, training, widgets
from course_lib.measure import Accuracy, Latency, Runs

DIGITS = data.mnist()["validation"]
NET = models.build(models.LeNet300).eval()


@pytest.mark.parametrize("amount", [0, 0.37, 1])
def test_the_sparsity_view_prunes_exactly_and_leaves_the_model_alone(amount):
    before = [p.clone() for p in NET.parameters()]
    view = widgets.sparsity_view(NET, DIGITS, amount)
    sizes = {"fc1": 235_200, "fc2": 30_000, "fc3": 1_000}
    pruned = sum(share * sizes[layer] for layer, share in view.sparsity.items())
    assert round(pruned) == round(amount * 266_200)
    assert all(torch.equal(a, b) for a, b in zip(before, NET.parameters(), strict=True))
    assert "<svg" in view.histogram and "data:image/png" in view.picture
    assert f"n = {len(DIGITS)}" in view.readout


@pytest.mark.parametrize("units", [1, 12, 30])
def test_a_narrow_first_layer_is_drawn_too(units):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, units))
    shown = widgets.sparsity_view(net, DIGITS, 0.5).picture
    assert f"Input weights of {units} neurons" in shown
    png = base64.b64decode(shown.split("base64,")[1].split('"')[0])
    assert Image.open(BytesIO(png)).size == (12 * 30, -(-units // 12) * 30)  # whole rows


def test_without_pruning_the_view_shows_the_models_own_accuracy():
    view = widgets.sparsity_view(NET, DIGITS, 0)
    assert view.accuracy == training.evaluate(NET, DIGITS)
    assert view.threshold == 0


def test_with_everything_pruned_the_view_gives_one_answer_to_all():
    view = widgets.sparsity_view(NET, DIGITS, 1)
    assert view.accuracy.value == pytest.approx(0.1)  # each digit is a tenth of the part
    assert view.threshold == pytest.approx(max(p.abs().max().item() for p in weights(NET)))


def test_the_threshold_is_the_largest_pruned_weight():
    view = widgets.sparsity_view(NET, DIGITS, 0.5)
    sizes = torch.cat([w.flatten() for w in weights(NET)]).abs().sort().values
    assert view.threshold == pytest.approx(sizes[133_099].item())


def test_a_move_of_the_sparsity_slider_changes_number_histogram_and_picture():
    box = widgets.sparsity_explorer(NET, DIGITS, amount=0.5)
    slider = of_type(box, ipywidgets.FloatSlider)[0]
    shown = of_type(box, ipywidgets.HTML)
    before = [widget.value for widget in shown]
    slider.value = 0.9
    assert all(widget.value != old for widget, old in zip(shown, before, strict=True))


@pytest.mark.parametrize("amount", [-0.1, 1.1])
def test_an_amount_outside_is_refused(amount):
    with pytest.raises(ValueError, match="between 0 and 1"):
        widgets.sparsity_view(NET, DIGITS, amount)


def test_temperature_keeps_the_order_and_raises_the_entropy():
    logits, names = torch.tensor([4.0, 1.0, -2.0]), ["a", "b", "c"]
    cold, warm = (widgets.temperature_view(logits, names, T) for T in (0.5, 20))
    assert cold.entropy < warm.entropy < 1.585
    for view in (cold, warm):
        assert view.probabilities.argsort(descending=True).tolist() == [0, 1, 2]
        assert view.probabilities.sum().item() == pytest.approx(1)
        assert view.gradient.sum().item() == pytest.approx(0, abs=1e-5)


def test_the_gradient_is_that_of_the_loss():
    from course_lib.distillation import soft_loss

    logits = torch.tensor([[4.0, 1.0, -2.0]])
    student = torch.zeros(1, 3, requires_grad=True)
    soft_loss(student, logits, T=3.0).backward()
    view = widgets.temperature_view(logits[0], ["a", "b", "c"], T=3.0)
    assert torch.allclose(view.gradient, -student.grad[0], atol=1e-6)


def test_names_and_logits_must_match():
    with pytest.raises(ValueError, match="2 names for 3 logits"):
        widgets.temperature_view(torch.zeros(3), ["a", "b"], 1.0)


def test_a_move_of_the_temperature_slider_arrives():
    box = widgets.temperature_explorer({"one": torch.tensor([3.0, 0.0])}, ["no", "yes"])
    before = [widget.value for widget in of_type(box, ipywidgets.HTML)]
    of_type(box, ipywidgets.FloatSlider)[0].value = 10
    assert all(
        widget.value != old
        for widget, old in zip(of_type(box, ipywidgets.HTML), before, strict=True)
    )


def test_the_grid_explorer_shows_the_runs_of_its_cell():
    runs = {
        (T, alpha): Runs(tuple(Accuracy(50 + T + i, 100) for i in range(3)))
        for T in (1, 2, 4)
        for alpha in (0.5, 1.0)
    }
    baseline = Runs(tuple(Accuracy(50 + i, 100) for i in range(3)))
    box = widgets.grid_explorer(runs, baseline)
    T, _ = of_type(box, ipywidgets.SelectionSlider)
    picture = of_type(box, ipywidgets.HTML)[0]
    T.value = 4
    assert "T = 4" in picture.value and "+4.0 points" in picture.value


def test_a_grid_of_equal_students_is_drawn_too():
    alike = Runs(tuple(Accuracy(50, 100) for _ in range(3)))
    assert "+0.0 points" in widgets.grid_view({(1, 0.5): alike}, alike, (1, 0.5))


def smaller(amount: float) -> widgets.Smaller:
    kept = round(64 * (1 - amount))
    return widgets.Smaller(
        widths={"conv1": (kept // 2, 32), "fc1": (kept, 64)},
        parameters=round(1000 * (1 - amount)),
        operations=round(2e6 * (1 - amount)),
        latency=Latency(10 - 8 * amount, 10 - 9 * amount, 11 - 8 * amount, 64, 2),
        before=Accuracy(round(90 - 60 * amount), 100),
        after=Accuracy(round(92 - 10 * amount), 100),
    )


def test_the_amount_slider_shows_widths_costs_and_both_accuracies():
    variants = {amount: smaller(amount) for amount in (0.0, 0.5, 0.75)}
    box = widgets.amount_explorer(variants)
    slider, picture = of_type(box, ipywidgets.SelectionSlider)[0], of_type(box, ipywidgets.HTML)[0]
    slider.value = 0.75
    shown = picture.value
    for text in (
        "16 of 64",
        "250, 4.0 × less",
        "0.50 million",
        "4 ms, 2.5 × faster",
        "45.0 %",
        "84.0 %",
    ):
        assert text in shown, text
    slider.value = 0.0
    assert "64 of 64" in picture.value and "as before" in picture.value


def test_a_network_that_became_slower_is_not_said_to_be_faster():
    slower = replace(smaller(0.5), latency=Latency(12, 10.5, 13, 64, 2))
    shown = widgets.amount_view({0.0: smaller(0.0), 0.5: slower}, 0.5)
    assert "12 ms, no measurable difference" in shown


def test_a_network_of_many_groups_is_drawn_too():
    many = replace(smaller(0.5), widths={f"layer.{i}": (3, 6) for i in range(24)})
    shown = widgets.amount_view({0.0: smaller(0.0), 0.5: many}, 0.5)
    assert 'width="-' not in shown and shown.count("3 of 6") == 24


def test_an_error_behind_a_slider_is_shown():
    slider, readout = ipywidgets.FloatSlider(min=0, max=1), ipywidgets.HTML()

    def update(value: float) -> None:
        if value:
            raise ValueError("<broken>")

    widgets.live([slider], update, readout)
    with pytest.raises(ValueError, match="broken"):
        slider.value = 1
    assert "ValueError: &lt;broken&gt;" in readout.value


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p for name, p in model.named_parameters() if name.endswith("weight")]


def of_type(box: ipywidgets.Widget, kind: type) -> list:
    children = getattr(box, "children", ())
    found = [child for child in children if type(child) is kind]
    return found + [widget for child in children for widget in of_type(child, kind)]
