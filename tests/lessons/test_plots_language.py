"""The figure of perplexities."""

import torch
from drawn import explained, ticks

from course_lib.evaluation import Perplexity
from course_lib.evaluation.significance import Share
from course_lib.lessons import plots


def of(*losses: float) -> Perplexity:
    return Perplexity(torch.tensor(losses), torch.ones(len(losses)))


def test_each_row_has_its_interval_and_its_number_beside_it():
    rows = {"small": of(4.0, 5.0, 4.4), "random": of(17.0, 19.0, 18.0)}
    drawing = plots.perplexities(rows, title="Which one?", reference={"whole": of(3.0, 3.3, 3.1)})
    (ax,) = drawing.figure.axes
    assert ax.get_xscale() == "log"
    dots = [line.get_xdata()[0] for line in ax.lines if line.get_gid() == "value"]
    assert dots == [result.value for result in rows.values()]
    whiskers = [line for line in ax.lines if line.get_gid() == "interval: examples"]
    assert [tuple(line.get_xdata()) for line in whiskers] == [one.interval for one in rows.values()]
    assert [text.get_text() for text in ax.texts] == ["87.1", "6.6e+07"]
    assert "whole: " in drawing.alt and "small 87.1 (" in drawing.alt


def test_many_ticks_become_powers_of_ten():
    rows = {"whole": of(3.0, 3.3, 3.1), "random": of(9.0, 9.3, 9.1)}
    assert ticks(plots.perplexities(rows, title="Which one?"))[0] == ["100", "1,000", "10,000"]


def test_each_score_has_its_own_panel_and_the_marked_layers_count_from_one():
    scores = {"influence": [0.9, 0.1, 0.2], "perplexity": [20.0, 1.0, 4.0]}
    drawing = plots.layer_scores(scores, title="Which layers?", marked=[3])
    for ax, values in zip(drawing.figure.axes, scores.values(), strict=True):
        lines = {line.get_gid(): line for line in ax.lines}
        assert list(lines["layers"].get_ydata()) == values
        assert list(lines["layers"].get_xdata()) == [1, 2, 3]
        assert lines["marked"].get_xdata() == [3] and lines["marked"].get_ydata() == [values[2]]
    assert explained(drawing) == ["layers 3"]


def test_a_recovery_runs_over_the_steps_with_an_interval_at_each():
    shares = [Share(0.0, 0.0, 0.0, 24), Share(0.6, 0.5, 0.7, 24)]
    drawing = plots.recovery({"distilled": ([0, 100], shares)}, title="Is it back?")
    (ax,) = drawing.figure.axes
    whiskers = [line for line in ax.lines if line.get_gid() == "interval: examples"]
    assert [tuple(line.get_ydata()) for line in whiskers] == [(0.0, 0.0), (0.5, 0.7)]
    assert explained(drawing) == ["distilled", "95 % interval over reviews"]
