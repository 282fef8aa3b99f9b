"""The figure of perplexities."""

import torch

from course_lib.evaluation import Perplexity
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
