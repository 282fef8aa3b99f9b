"""Plots: the data stand where they belong, every mark is explained, no text is covered or cut off."""

from __future__ import annotations

import itertools
import re
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from drawn import explained, ticks
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from course_lib import evaluation, models
from course_lib.evaluation.accuracy import Accuracy, Runs
from course_lib.evaluation.significance import Gap, PairedRuns, Share
from course_lib.evaluation.timing import Speedup
from course_lib.lessons import plots, plots_axes, style
from course_lib.lessons.sketch import Drawing

LEFT = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)
OVER = ("seeds", "examples")
NAMES = ("magnitude, global", "magnitude, per layer", "Wanda, per output row", "Taylor, global")


class Ratio(NamedTuple):
    value: float
    interval: tuple[float, float]


def accuracy(share: float) -> Accuracy:
    return Accuracy(round(share * 1000), 1000)


def runs(share: float) -> Runs:
    return Runs(tuple(accuracy(share + more) for more in (-0.01, 0, 0.012)))


def curve(rate: float) -> list:
    return [(left, accuracy(0.93 - 0.83 * np.exp(-rate * left))) for left in LEFT]


CURVES = {name: curve(20 + 15 * i) for i, name in enumerate(NAMES)} | {"random": curve(4)}
ROWS = {
    "dense": runs(0.93), "dense, more epochs": runs(0.935), "one-shot": runs(0.926),
    "iterative": runs(0.91), "gradual": runs(0.929), "no training": accuracy(0.85),
}  # fmt: skip
SCORED = {"Taylor": runs(0.86), "magnitude": accuracy(0.7), "random": runs(0.8)}
SLOPES = {
    "student with teacher": (runs(0.85), runs(0.78)), "labels alone": (runs(0.851), runs(0.78)),
    "TF-IDF": (accuracy(0.8), accuracy(0.68)), "random weights": (accuracy(0.852), accuracy(0.5)),
}  # fmt: skip
COSTS = (90, 61, 23, 45, 22, 38, 19, 31, 16, 5.5, 1.5, 1.6)
SHARES = (0.87, 0.862, 0.861, 0.845, 0.844, 0.83, 0.829, 0.79, 0.788, 0.775, 0.774, 0.77)
POINTS = {f"student number {i + 1}": (COSTS[i], accuracy(SHARES[i])) for i in range(12)}
LINES = {"linear": accuracy(0.81), "large": 300}
PERPLEXITY = evaluation.Perplexity(torch.tensor([3.0, 4.0, 5.0]), torch.ones(3))
SHARED = [Share(share, 0.9 * share, 1.1 * share, 24) for share in (0.0, 0.5, 0.8)]
LATENCY = SimpleNamespace(median=0.31, q1=0.28, q3=0.4, setting="batch 1, 1 thread")
HEADS, FFN = (9, 10, 8, 12, 1, 4), (1242, 1102, 1536, 1142, 25, 1)
WIDTHS = {f"layer.{i}.heads": (kept, 12) for i, kept in enumerate(HEADS)}
WIDTHS |= {f"layer.{i}.ffn": (kept, 1536) for i, kept in enumerate(FFN)}
TITLE = "A title that says the finding and is long enough for a second line below"


@cache
def pictures() -> dict[str, Drawing]:
    torch.manual_seed(0)
    lenet = models.build(models.LeNet300)
    images = torch.utils.data.TensorDataset(torch.rand(24, 1, 28, 28), torch.arange(24) % 10)
    answers = evaluation.expected_calibration_error(torch.randn(99, 2), torch.zeros(99).long())
    lines = {"title": TITLE, "xlabel": "step", "ylabel": "sparsity in %"}
    return {
        "pruning_curves": plots.pruning_curves(
            CURVES, title=TITLE, reference=accuracy(0.93), roles={"random": "random"}
        ),
        "accuracy_curves": plots.accuracy_curves({"a": [(0.1, accuracy(0.9)), (0.5, runs(0.9))]}),
        "intervals": plots.intervals(
            ROWS, title=TITLE, xlabel="test accuracy", reference={"teacher": accuracy(0.96)}
        ),
        "scatter": plots.scatter(POINTS, title=TITLE, xlabel="megabytes", lines=LINES),
        "slopes": plots.slopes(
            SLOPES, between=("movies", "electronics"), title=TITLE, ylabel="test accuracy",
            reference={"teacher": accuracy(0.96)},
        ),
        "lines": plots.lines({"cubic": ([0, 1, 2], [0, 70, 80]), "a": ([0, 2], [0, 80])}, **lines),
        "line_panels": plots.line_panels(
            {
                "without": {"a": ([1, 2], [1, 9])},
                "with": {"a": ([1, 2], [3, 4]), "b": ([1, 2], [1, 1])},
            },
            title=TITLE, xlabel="T", ylabel="length", logs=("xy", ""),
        ),
        "weight_histogram": plots.weight_histogram(lenet, title=TITLE),
        "digits": plots.digits(images),
        "answers": plots.answers(
            torch.rand(12, 1, 28, 28), torch.full((12,), 3), {"true labels": torch.arange(12) % 10},
            title=TITLE,
        ),
        "picture_and_bars": plots.picture_and_bars(
            torch.rand(1, 28, 28), {f"T = {T}": torch.arange(10.0).softmax(0) for T in (1, 4, 20)},
            [str(i) for i in range(10)], title=TITLE, top=0.3,
        ),
        "class_bars": plots.class_bars(
            {f"digit, label {i}": torch.randn(10).mul(2).softmax(0) for i in range(4)},
            [str(i) for i in range(10)],
        ),
        "signed_bars": plots.signed_bars(
            {f"T = {T}": torch.linspace(-1, 1.5, 10) for T in (1, 4, 20)},
            [str(i) for i in range(10)], title=TITLE, ylabel="push on the logit",
        ),
        "seed_panels": plots.seed_panels(
            {f"half of the units, ranking {i}": SCORED for i in range(4)},
            title=TITLE, xlabel="validation accuracy", reference={"MiniLM": accuracy(0.89)},
        ),
        "heat_map": plots.heat_map([[0.1, 0.9], [0.5, 0.3]], ("T", [1, 2]), ("alpha", [0.3, 1.0])),
        "perplexities": plots.perplexities(
            {"small": PERPLEXITY}, title=TITLE, reference={"whole": PERPLEXITY}
        ),
        "parts": plots.parts({"a": {"layers": 2.0, "rest": 1.0}, "b": {"layers": 3.0}}, "MB"),
        "reliability": plots.reliability({"a": answers, "b": answers}),
        "latency_bars": plots.latency_bars({"dense": LATENCY, "97 % zeros": LATENCY}),
        "size_bars": plots.size_bars({"dense": 1_070_000, "97 %, with indices": 99_000}),
        "layer_scores": plots.layer_scores(
            {"influence": [0.9, 0.1, 0.2], "perplexity": [2000.0, 1.0, 4.0]}, title=TITLE, marked=[2]
        ),
        "recovery": plots.recovery(
            {way: ([0, 20, 100], SHARED) for way in ("distilled", "fine-tuned")}, title=TITLE
        ),
        "layer_widths": plots.layer_widths(WIDTHS, title=TITLE),
        "unit_map": plots.unit_map(torch.rand(6, 12), "layer", "head", "importance"),
        "mask_rows": plots.mask_rows(torch.eye(4).repeat(2, 8).bool()),
        "inputs_used": plots.inputs_used(lenet),
    }  # fmt: skip


def written(drawing: Drawing) -> list:
    """Every text that is drawn: titles, labels, ticks within the axes, legend, notes."""
    figure = drawing.figure
    figure.draw_without_rendering()
    texts = [*figure.texts, *(text for one in figure.legends for text in one.get_texts())]
    for ax in [ax for ax in figure.axes if ax.get_visible()]:
        texts += [*ax.texts, ax.title]
        for axis in (ax.xaxis, ax.yaxis) if ax.axison else ():
            low, high = sorted(axis.get_view_interval())
            ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
            texts += [axis.label, *(t.label1 for t in ticks), *(t.label2 for t in ticks)]
    return [text for text in texts if text.get_visible() and text.get_text()]


def marked(drawing: Drawing, gid: str) -> list:
    return [line for line in drawing.figure.axes[0].lines if line.get_gid() == gid]


@pytest.mark.parametrize("name", sorted(set(plots.__all__) - {"show"}))
def test_no_text_is_cut_off_covers_another_or_is_tiny(name):
    drawing = pictures()[name]
    texts, renderer = written(drawing), FigureCanvasAgg(drawing.figure).get_renderer()
    width, height = 100 * drawing.figure.get_size_inches()
    assert width <= 100 * style.WIDTH and height <= 560
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    for text, box in boxes:
        inside = box.x0 >= 1 and box.y0 >= 1 and box.x1 <= width - 1 and box.y1 <= height - 1
        assert inside, f"{text!r} leaves the picture"
    for (one, box), (other, its_box) in itertools.combinations(boxes, 2):
        assert not box.overlaps(its_box), f"{one!r} and {other!r} overlap"
    assert min(text.get_fontsize() for text in texts) >= style.SMALL
    assert re.fullmatch(r"[A-Z0-9].*\.", drawing.alt)


def test_pruning_curves_run_from_all_weights_to_few():
    drawing = plots.pruning_curves({"a": curve(20)[::-1]}, title="t", roles={"a": "student"})
    (ax,) = drawing.figure.axes
    (line,) = [line for line in ax.lines if line.get_label() == "a"]
    assert line.get_xdata().tolist() == list(LEFT)
    assert line.get_ydata() == pytest.approx([result.value for _, result in curve(20)])
    assert to_hex(line.get_color()).upper() == style.COLORS["student"]
    assert ax.get_xscale() == "log" and ax.get_xlim()[0] > 1 > 0.01 > ax.get_xlim()[1]
    x, y = ticks(drawing)
    assert x[::-1] == ["100 %", "50 %", "30 %", "20 %", "10 %", "5 %", "2 %", "1 %"] and "80 %" in y
    ends = [bar.get_ydata() for bar in marked(drawing, "interval: examples")]
    assert ends == [pytest.approx(result.interval) for _, result in curve(20)]


def test_a_pruning_curve_has_its_ticks_where_it_was_measured():
    points = [(at, curve(9)[0][1]) for at in (1.0, 0.8, 0.4, 0.1)]
    x, _ = ticks(plots.pruning_curves({"a": points}, title="t"))
    assert sorted(x, key=lambda text: float(text[:-2])) == ["10 %", "40 %", "80 %", "100 %"]


def test_the_alt_text_of_curves_says_who_is_best_and_where_they_separate():
    left, shares = (1.0, 0.5, 0.1), {"good": (0.9, 0.9, 0.8), "bad": (0.9, 0.7, 0.2)}
    curves = {n: list(zip(left, map(accuracy, row), strict=True)) for n, row in shares.items()}
    alt = plots.pruning_curves(curves, title="t", reference=accuracy(0.9)).alt
    assert "good: 90.0 % at 100 %, 80.0 % at 10 %, separates from dense at 10 %." in alt
    assert "The best and the worst separate at 50 %." in alt
    assert "At 10 % the best is good (80.0 %) and the worst bad (20.0 %)." in alt
    assert "never separate." in plots.pruning_curves({"a": curve(9), "b": curve(9)}, title="t").alt


def test_an_interval_over_seeds_looks_unlike_one_over_examples_and_the_legend_says_which():
    rows = {"seeds": runs(0.9), "examples": accuracy(0.9)}
    drawing = plots.intervals(rows, title="t", xlabel="accuracy")
    (seeds,), (examples,) = (marked(drawing, f"interval: {of}") for of in OVER)
    assert seeds.get_xdata() == pytest.approx(rows["seeds"].interval)
    assert seeds.get_linewidth() > 4 * examples.get_linewidth() and seeds.get_alpha() < 0.5
    over = [f"95 % interval over {of}" for of in OVER]
    assert explained(drawing) == ["value", "one seed", *over]
    only = explained(plots.intervals({"a": runs(0.9)}, title="t", xlabel="accuracy"))
    assert only == ["mean over the seeds", "one seed", "95 % interval over seeds"]
    curves = plots.accuracy_curves({"a": [(0.1, runs(0.9)), (0.5, accuracy(0.9))]})
    assert explained(curves) == ["a", *over]
    low, high = curves.figure.axes[0].get_ylim()
    assert low < runs(0.9).interval[0] and high > runs(0.9).interval[1]


def test_a_row_without_a_result_is_a_gap_between_two_groups():
    rows = {"a": runs(0.9), "": None, "b": runs(0.8)}
    drawing = plots.intervals(rows, title="t", xlabel="accuracy", roles={"b": "student"})
    (ax,) = drawing.figure.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]
    assert list(ax.get_yticks()) == [0, 2] and ax.get_ylim() == (2.5, -0.5)
    assert "; b " in drawing.alt


def test_a_heading_is_bold_and_the_rows_below_leave_its_name_out():
    rows = {"old": None, "old: a": runs(0.9), "new": None, "new: a": runs(0.8), "b": runs(0.7)}
    drawing = plots.intervals(rows, title="t", xlabel="accuracy")
    (ax,) = drawing.figure.axes
    named = {tick.get_text(): tick.get_fontweight() for tick in ax.get_yticklabels()}
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["old", "a", "new", "a", "b"]
    assert named == {"old": "bold", "a": "normal", "new": "bold", "b": "normal"}
    assert list(ax.get_yticks()) == [0, 1, 2, 3, 4]
    assert "old: a " in drawing.alt and "new: a " in drawing.alt


def test_rows_stand_from_top_to_bottom_with_their_numbers_and_seeds():
    drawing = pictures()["intervals"]
    ax = drawing.figure.axes[0]
    assert ticks(drawing)[1] == list(ROWS) and ax.yaxis_inverted()
    values = [result.value for result in ROWS.values()]
    assert [line.get_xdata()[0] for line in marked(drawing, "value")] == values
    numbers = [text.get_text() for text in ax.texts if text.get_gid() == "number"]
    assert numbers == [f"{100 * value:.1f} %" for value in values]
    assert [text.get_gid() for text in ax.texts].count("reference") == 1
    assert marked(drawing, "seeds")[0].get_xdata().tolist() == pytest.approx([0.92, 0.93, 0.942])
    assert "teacher (band: its interval)" in explained(drawing)
    assert "no training 85.0 % (82.7 to 87.1). The highest is dense, more epochs" in drawing.alt
    assert "lowest no training; their intervals do not overlap." in drawing.alt


def test_differences_are_in_points_beside_a_line_at_zero_and_ratios_are_plain():
    drawing = plots.intervals({"a": Gap(0.01, -0.005, 0.025)}, title="t", xlabel="points")
    assert "no difference" in explained(drawing) and plots_axes.kind(Gap(0.01, 0, 0.02)) == "seeds"
    assert "a +1.0 points (−0.5 to +2.5)" in drawing.alt
    assert "+1" in ticks(drawing)[0]
    drawing = plots.intervals({"a": Ratio(2.0, (1.5, 2.5))}, title="t", xlabel="times as fast")
    assert "a 2 (1.5 to 2.5)" in drawing.alt and "95 % interval" in explained(drawing)


def test_speed_ups_stand_beside_a_line_at_one_with_their_rounds():
    rows = {
        "a copy": Speedup(1.02, 0.97, 1.04, 30, "PyTorch"),
        "half": Speedup(2, 1.5, 2.5, 30, ""),
    }
    drawing = plots.intervals(rows, title="t", xlabel="times as fast")
    assert {"no difference", "95 % interval over rounds"} <= set(explained(drawing))
    assert "half 2.00 × (1.50 to 2.50)" in drawing.alt


def test_the_legend_says_where_most_intervals_hide_behind_their_dots():
    rows = {"a": Speedup(1, 0.999, 1.001, 9, ""), "b": Speedup(3, 2.999, 3.001, 9, "")}
    hidden = "95 % interval over rounds (mostly narrower than the dot)"
    assert hidden in explained(plots.intervals(rows, title="t", xlabel="x"))
    rows |= {"c": Speedup(2, 1.5, 2.5, 9, ""), "d": Speedup(2, 1.5, 2.5, 9, "")}
    assert hidden not in explained(plots.intervals(rows, title="t", xlabel="x"))


def test_the_dot_of_a_difference_over_seeds_is_their_mean():
    rows = {"a": PairedRuns(-0.01, -0.02, 0.01, 0.3, 3, 1000)}
    assert explained(plots.intervals(rows, title="t", xlabel="x"))[0] == "mean over the seeds"


def test_the_margin_of_a_claim_is_a_line_with_a_name():
    rows = {"a": Gap(0.01, -0.005, 0.025)}
    drawing = plots.intervals(rows, title="t", xlabel="points", margin=-0.01)
    assert "margin" in explained(drawing)
    assert drawing.alt.endswith("The claim's margin is at −1.")


def test_steps_and_epochs_have_whole_numbers_as_ticks():
    labels = {"title": "t", "xlabel": "epoch", "ylabel": "sparsity"}
    x = [step / 10 for step in range(201)]
    found = ticks(plots.lines({"a": (x, x)}, **labels))[0]
    assert found and all(one.lstrip("−").isdigit() for one in found)


def test_the_names_of_a_scatter_cover_no_point_and_lines_have_names():
    drawing = pictures()["scatter"]
    (ax,) = drawing.figure.axes
    renderer = FigureCanvasAgg(drawing.figure).get_renderer()
    names = [text for text in ax.texts if text.get_text()]
    assert {text.get_text() for text in names} == {*POINTS, "linear (band: its interval)", "large"}
    for cost, result in POINTS.values():
        spot = ax.transData.transform((cost, result.value))
        assert not any(text.get_window_extent(renderer).contains(*spot) for text in names)
    assert "A line: linear, 81.0 %. A line: large, 300." in drawing.alt
    assert "The cheapest is student number 11, the highest student number 1." in drawing.alt


def test_lines_are_linear_or_logarithmic_and_tell_their_course():
    names = {"title": "t", "xlabel": "T", "ylabel": "length"}
    data = {"a": ([1, 2, 4, 8, 16], [1.0, 3.0, 0.5, 0.02, 0.01])}
    for log, scales in (("", ("linear", "linear")), ("xy", ("log", "log"))):
        drawing = plots.lines(data, **names, log=log)
        (ax,) = drawing.figure.axes
        assert (ax.get_xscale(), ax.get_yscale()) == scales
    assert ticks(drawing)[0] == ["1", "2", "4", "8", "16"]
    assert drawing.alt == "Length against T. a: 1 at 1, 3 at 2, 0.5 at 4, 0.01 at 16."


def test_panels_share_colors_and_one_legend_and_have_scales_of_their_own():
    drawing = pictures()["line_panels"]
    whole, part = drawing.figure.axes
    assert (whole.get_yscale(), part.get_yscale()) == ("log", "linear")
    assert whole.lines[0].get_color() == part.lines[0].get_color() != part.lines[1].get_color()
    assert explained(drawing) == ["a", "b"]
    assert drawing.alt == (
        "Length against T. Without: a: 1 at 1, 9 at 2. With: a: 3 at 1, 4 at 2. b: 1 at 1, 1 at 2."
    )
    with pytest.raises(ValueError, match="got 1 logs for 2 panels"):
        names = {"title": "t", "xlabel": "x", "ylabel": "y"}
        plots.line_panels({"a": {}, "b": {}}, logs=("x",), **names)


def test_show_takes_a_drawing_or_a_figure(monkeypatch):
    shown: list[Drawing] = []
    monkeypatch.setattr(plots, "display", shown.append)
    plots.show(Figure(), alt="a rising line")
    plots.show(Drawing(Figure(), "own"), alt="given")
    plots.show(Drawing(Figure(), "own"))
    assert [drawing.alt for drawing in shown] == ["a rising line", "given", "own"]
    with pytest.raises(ValueError, match="without alt"):
        plots.show(Figure())


def test_a_scatter_shows_each_points_role():
    points = {"dense": (2, runs(0.9)), "small": (1, runs(0.8))}
    drawing = plots.scatter(points, title="t", xlabel="x", roles={"dense": "dense"})
    colors = {line.get_gid(): line.get_color() for line in drawing.figure.axes[0].lines}
    assert (colors["dense"], colors["small"]) == (style.COLORS["dense"], style.COLORS["teacher"])
    with pytest.raises(ValueError, match="expected names among"):
        plots.scatter(points, title="t", xlabel="x", roles={"large": "dense"})


def test_a_measured_cost_has_an_interval_of_its_own_and_the_axis_starts_at_zero():
    points = {"dense": (Speedup(1, 1, 1, 9, ""), runs(0.9))}
    points["small"] = (Speedup(0.3, 0.2, 0.4, 9, ""), runs(0.8))
    drawing = plots.scatter(points, title="t", xlabel="time", log=False)
    bars = [line.get_xdata() for line in marked(drawing, "interval: rounds")]
    assert [list(ends) for ends in bars] == [[1, 1], [0.2, 0.4]]
    assert "95 % interval over rounds" in explained(drawing)
    assert drawing.figure.axes[0].get_xlim()[0] == 0
    assert "small 80.1 % at 0.3" in drawing.alt


def test_the_bold_curve_lies_under_the_others_and_hides_none():
    names = {"title": "t", "xlabel": "epoch", "ylabel": "sparsity"}
    x = range(21)
    drawing = plots.lines({"a": (x, x), "b": (x, x)}, **names, bold="a")
    a, b = drawing.figure.axes[0].lines
    assert a.get_linewidth() > b.get_linewidth() and a.get_zorder() < b.get_zorder()


def test_curves_shifted_sideways_say_so():
    both = explained(plots.pruning_curves({"a": curve(9), "b": curve(5)}, title="t"))
    alone = explained(plots.pruning_curves({"a": curve(9)}, title="t"))
    assert "95 % interval over examples (points shifted sideways)" in both
    assert "95 % interval over examples" in alone


def test_the_legend_explains_the_band_of_a_reference_only_where_it_can_be_seen():
    dense = Runs((Accuracy(900, 1000), Accuracy(901, 1000), Accuracy(900, 1000)))
    for low, label in ((0.95, "dense (band: its interval)"), (0.1, "dense")):
        points = {"a": [(1.0, accuracy(0.9)), (0.1, accuracy(low))]}
        assert label in explained(plots.pruning_curves(points, title="t", reference=dense))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="hold 0 weights left, expected fractions above 0"):
        plots.pruning_curves({"a": [(0, runs(0.9))]}, title="t")
    with pytest.raises(ValueError, match="expected names among"):
        plots.pruning_curves({"a": curve(9)}, title="t", roles={"b": "student"})
    with pytest.raises(ValueError, match="the same unit"):
        plots.intervals({"a": runs(0.9), "b": Ratio(2, (1, 3))}, title="t", xlabel="x")
    with pytest.raises(ValueError, match="above 0 on a log axis"):
        plots.scatter({"a": (0, runs(0.9))}, title="t", xlabel="x")


def test_the_widths_of_each_layer_are_bars_with_their_numbers():
    drawing = plots.layer_widths(WIDTHS)
    for ax, kept, whole in zip(drawing.figure.axes, (HEADS, FFN), (12, 1536), strict=True):
        heights = [bar.get_height() for bar in ax.patches]
        assert heights == [whole] * 6 + list(kept)
        assert [text.get_text() for text in ax.texts] == [str(number) for number in kept]
    assert "layer 5 keeps 25 of 1,536" in drawing.alt
    assert len(plots.layer_widths({"layer.0.ffn": (3, 4)}).figure.axes) == 1
    with pytest.raises(
        ValueError, match=r"widths has 'fc1', expected names such as 'layer\.0\.heads'"
    ):
        plots.layer_widths({"fc1": (3, 4)})


def test_a_curve_that_never_leaves_its_reference_is_told_so():
    near = {"a": [(0.1, Accuracy(90, 100)), (0.5, Accuracy(89, 100))]}
    drawing = plots.accuracy_curves(near, reference=Accuracy(90, 100))
    assert "never separates from dense" in drawing.alt


def test_right_answers_are_marked_and_counted():
    labels = torch.tensor([3, 3, 8])
    drawing = plots.answers(torch.rand(3, 1, 8, 8), labels, {"a": torch.tensor([3, 5, 8])})
    bold = [text.get_weight() == "bold" for text in drawing.figure.axes[0].texts]
    assert bold == [True, False, True]
    assert drawing.alt == "3 pictures of 3, 3, 8. a answers 3, 5, 8: 2 right."
    with pytest.raises(ValueError, match="3 pictures, 3 labels and answers"):
        plots.answers(torch.rand(3, 1, 8, 8), labels, {"a": torch.tensor([3, 5])})


def test_a_bar_above_the_axis_is_cut_and_says_its_number():
    rows = {"T = 1": torch.tensor([0.95, 0.05]), "T = 4": torch.tensor([0.2, 0.8])}
    picture = torch.rand(1, 8, 8)
    drawing = plots.picture_and_bars(picture, rows, ["no", "yes"], title="t", top=0.25)
    _, first, second = drawing.figure.axes
    assert [text.get_text() for text in first.texts] == ["↑.950"]
    assert [text.get_text() for text in second.texts] == ["↑.800"]
    assert first.patches[0].get_height() == pytest.approx(0.275)
    assert "T = 1: no 0.950, yes 0.050." in drawing.alt
    (bars,) = plots.picture_and_bars(picture, {"all": rows["T = 1"]}, "ny", title="t").figure.axes[
        1:
    ]
    assert [text.get_text() for text in bars.texts] == [".95", ".05"]


# --- slopes


def slope_chart(**options):
    look = {"between": ("movies", "electronics"), "title": "t", "ylabel": "accuracy"}
    return plots.slopes(SLOPES, **look, **options)


def test_a_slope_runs_from_the_first_result_to_the_second():
    (ax,) = slope_chart().figure.axes
    found = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    for name, (first, second) in SLOPES.items():
        assert found[name] == [first.value, second.value]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["movies", "electronics"]


def test_each_end_of_a_slope_says_its_number_in_the_order_of_the_values():
    (ax,) = slope_chart().figure.axes
    for side, align in ((0, "right"), (1, "left")):
        texts = [text for text in ax.texts if text.get_ha() == align]
        shown = [text.get_text() for text in sorted(texts, key=lambda t: t.get_position()[1])]
        values = sorted(pair[side].value for pair in SLOPES.values())
        assert shown == [f"{100 * value:.1f} %" for value in values]


def test_a_slope_chart_shows_both_kinds_of_interval_and_its_reference():
    drawing = slope_chart(reference={"teacher": accuracy(0.96)})
    assert {"95 % interval over seeds", "95 % interval over examples"} <= set(explained(drawing))
    assert "teacher (band: its interval)" in explained(drawing)
    assert drawing.alt.endswith("teacher: 96.0 % (94.6 to 97.0).")


@pytest.mark.parametrize(
    ("rows", "between"),
    [
        ({}, ("a", "b")),
        ({"x": (accuracy(0.8), Gap(0.1, 0.0, 0.2))}, ("a", "b")),
        ({"x": (accuracy(0.8), accuracy(0.7))}, ("a",)),
    ],
)
def test_a_slope_chart_refuses_what_it_cannot_compare(rows, between):
    with pytest.raises(ValueError, match="the names of two sides"):
        plots.slopes(rows, between=between, title="t", ylabel="accuracy")
