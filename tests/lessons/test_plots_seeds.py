"""Rows of seeds: what has no seeds has no interval, and the panels share one scale."""

import pytest

from course_lib.evaluation import Accuracy, Runs
from course_lib.lessons import plots

RUNS = Runs((Accuracy(84, 100), Accuracy(85, 100), Accuracy(86, 100)))
ROWS = {"Taylor": RUNS, "magnitude": Accuracy(76, 100)}
LOOK = {"title": "Which score?", "xlabel": "validation accuracy"}


def test_a_single_model_is_a_mark_without_an_interval():
    drawing = plots.seed_panels({"": ROWS}, **LOOK)
    (ax,) = drawing.figure.axes
    assert [line.get_gid() for line in ax.lines] == [
        "interval: seeds",
        "seeds",
        "value",
        "value",
    ]
    assert list(ax.lines[1].get_xdata()) == [0.84, 0.85, 0.86]
    assert ax.lines[2].get_marker() != ax.lines[3].get_marker()
    assert "magnitude 76.0 % (one model)" in drawing.alt
    (legend,) = drawing.figure.legends
    explained = [text.get_text() for text in legend.get_texts()]
    assert explained[0] == "mean over the seeds" and "a single model, without seeds" in explained


def test_only_what_is_drawn_is_explained():
    (legend,) = plots.seed_panels({"": {"Taylor": RUNS}}, **LOOK).figure.legends
    assert "a single model, without seeds" not in [t.get_text() for t in legend.get_texts()]


def test_four_panels_share_their_scale_and_show_the_reference():
    panels = {f"panel {i}": ROWS for i in range(4)}
    drawing = plots.seed_panels(panels, reference={"MiniLM": Accuracy(90, 100)}, **LOOK)
    axes = drawing.figure.axes
    assert len({ax.get_xlim() for ax in axes}) == len({ax.get_ylim() for ax in axes}) == 1
    assert all(ax.lines[-1].get_xdata()[0] == 0.9 for ax in axes)
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, True, True]
    assert drawing.alt.endswith("MiniLM: 90.0 %.")


@pytest.mark.parametrize("panels", [{}, {"a": ROWS, "b": {"Taylor": RUNS}}])
def test_panels_of_other_rows_are_refused(panels):
    with pytest.raises(ValueError, match="the same rows in all"):
        plots.seed_panels(panels, **LOOK)
