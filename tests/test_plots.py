"""Figures: they show what they were given, and travel with a text for those who cannot see them."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure

from course_lib import data, measure, models, plots, pruning
from course_lib.measure import Accuracy, Latency, Runs

ACCURACY = Accuracy(90, 100)
RUNS = Runs((Accuracy(90, 100), Accuracy(92, 100), Accuracy(91, 100)))


def figures() -> dict[str, Figure]:
    lenet = models.build(models.LeNet300)
    return {
        "digits": plots.digits(data.mnist()["validation"], columns=3, rows=2),
        "weight_histogram": plots.weight_histogram(lenet),
        "accuracy_curves": plots.accuracy_curves(
            {"a": [(0.1, ACCURACY), (0.5, RUNS)]}, reference=RUNS
        ),
        "comparison": plots.comparison({"one": ACCURACY, "three seeds": RUNS}),
        "class_bars": plots.class_bars({"a": torch.tensor([0.9, 0.1])}, ["no", "yes"]),
        "lines": plots.lines({"a": ([1, 2], [3, 4])}, "x", "y"),
        "heat_map": plots.heat_map([[0.1, 0.9], [0.5, 0.3]], ["T 1", "T 2"], [0, 1])[0],
        "ratios": plots.heat_map([[1.5, 2.25]], [1], [16, 64], unit="times as fast")[0],
        "parts": plots.parts({"a": {"layers": 2.0, "the rest": 1.0}, "b": {"layers": 3.0}}, "m"),
        "reliability": plots.reliability(
            {"a": measure.calibration(torch.randn(20, 2), torch.zeros(20).long())}
        ),
        "latency_bars": plots.latency_bars({"a": Latency(1, 0.9, 1.2, 1, 2)}),
        "size_bars": plots.size_bars({"a": 1000, "b": 2_000_000}),
        "coupling": plots.coupling(models.build(models.SmallResNet)),
        "unit_map": plots.unit_map(torch.rand(6, 12), "layer", "head", "importance"),
        "mask_rows": plots.mask_rows(torch.eye(8).bool()),
        "inputs_used": plots.inputs_used(pruning.prune(lenet, 0.9)),
    }


def test_every_figure_is_returned_and_can_be_drawn():
    for name, figure in figures().items():
        assert isinstance(figure, Figure), name
        figure.canvas.draw()  # a layout that does not fit warns or fails here
        plt.close(figure)


def test_a_curve_shows_values_and_intervals():
    figure = plots.accuracy_curves({"pruned": [(0.25, ACCURACY), (0.75, RUNS)]})
    line, _, (bars,) = figure.axes[0].containers[0].lines
    assert line.get_xdata().tolist() == [0.25, 0.75]
    assert line.get_ydata() == pytest.approx([0.9, 0.91])
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends[0] == pytest.approx(ACCURACY.interval)
    assert ends[1] == pytest.approx(RUNS.interval)
    plt.close(figure)


@pytest.mark.parametrize("spread", [1, 5, 30])
def test_the_labels_of_a_comparison_do_not_overlap(spread):
    runs = Runs(tuple(Accuracy(900 + i * spread, 1000) for i in range(3)))
    figure = plots.comparison({"one": runs, "two": Accuracy(900, 1000)})
    figure.canvas.draw()
    labels = [label for label in figure.axes[0].get_xticklabels() if label.get_text()]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    plt.close(figure)


def test_coupled_layers_stand_in_one_row():
    figure = plots.coupling(models.build(models.SmallResNet))
    (ax,) = figure.axes
    modules = [label.get_text() for label in ax.get_xticklabels()]
    computes = [
        (modules[int(line.get_xdata()[0])], int(line.get_ydata()[0]))
        for line in ax.lines
        if line.get_marker() == "s"
    ]
    assert {m for m, row in computes if row == 0} == {"stem.0", "basic2.0"}
    assert {m for m, row in computes if row == 4} == {"expand.0", "shortcut.0"}
    plt.close(figure)


def test_the_best_cell_of_a_heat_map_has_the_frame():
    figure, ax = plots.heat_map([[0.1, 0.2], [0.95, 0.3]], ["a", "b"], ["c", "d"])
    (frame,) = ax.patches
    assert frame.get_xy() == (-0.5, 0.5)  # first column, second row
    plt.close(figure)


def test_show_displays_a_png_with_its_alt_text_and_closes_the_figure(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "display", lambda *args, **options: shown.append((args, options)))
    figure = plots.lines({"a": ([1, 2], [3, 4])}, "x", "y")
    plots.show(figure, alt="a rising line")
    ((bundle,), options) = shown[0]
    assert bundle["image/png"].startswith("iVBOR")
    assert options["metadata"]["image/png"]["alt"] == "a rising line"
    assert not plt.fignum_exists(figure.number)


def test_parts_are_stacked_and_their_sum_is_written():
    figure = plots.parts({"a": {"layers": 2.0, "rest": 1.0}, "b": {"rest": 4.0}}, "MB")
    ax = figure.axes[0]
    ends = {bar.get_x() + bar.get_width() for bar in ax.containers[1]}
    assert ends == {3.0, 4.0}
    assert {text.get_text() for text in ax.texts} == {"3.0", "4.0"}
    plt.close(figure)


def test_a_heat_map_of_ratios_is_not_in_per_cent():
    figure, ax = plots.heat_map([[1.5, 2.25]], [1], [16, 64], unit="times as fast")
    assert [text.get_text() for text in ax.texts] == ["1.50", "2.25"]
    plt.close(figure)


def test_bars_of_latencies_say_what_was_measured_with():
    figure = plots.latency_bars({"a": Latency(1, 0.9, 1.2, batch=1, threads=1)})
    assert figure.axes[0].get_xlabel() == "milliseconds a batch (batch 1, 1 thread)"
    plt.close(figure)


def test_ticks_and_bars_show_no_more_digits_than_they_need():
    figure = plots.comparison({"a": Accuracy(950, 1000), "b": Accuracy(951, 1000)})
    figure.canvas.draw()
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "96 %" in ticks
    assert not any(".00" in tick for tick in ticks)
    figure = plots.class_bars({"a": torch.tensor([0.9, 0.1, 0.001])}, ["no", "yes", "never"])
    assert [text.get_text() for text in figure.axes[0].texts] == [".90", ".10"]
