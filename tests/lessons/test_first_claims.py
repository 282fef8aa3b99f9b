"""Claims: shown as text, table and JSON; honest about what does not hold."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

from course_lib.lessons.first_claims import MIME, Claim, Claims, shown_in


def example(**changes) -> Claim:
    settings = {"source": "Han et al. 2015", "measured": "94.8 %", "holds": True} | changes
    return Claims().add("LeNet keeps its accuracy", **settings)


@pytest.mark.parametrize(
    ("holds", "verdict"),
    [
        (True, "holds"),
        (np.bool_(False), "does not hold"),
        (bool(torch.tensor(True)), "holds"),
        ("in part", "holds in part"),
    ],
)
def test_verdicts(holds, verdict):
    assert example(holds=holds).verdict == verdict


@pytest.mark.parametrize("holds", ["yes", None, torch.tensor(True), [True]])
def test_an_unclear_verdict_is_refused(holds):
    with pytest.raises(ValueError, match="True, False or"):
        example(holds=holds)


def test_a_claim_that_must_hold_raises_with_what_was_measured():
    assert example(must=True).verdict == "holds"
    for holds in (False, "in part"):
        with pytest.raises(AssertionError, match=r"LeNet keeps its accuracy; measured: 12\.5 %"):
            example(measured="12.5 %", holds=holds, must=True)


def test_ipython_shows_text_html_and_json():
    shown, _ = DisplayFormatter().format(example(n=np.int64(1000)))
    assert shown[MIME] == {
        "statement": "LeNet keeps its accuracy",
        "source": "Han et al. 2015",
        "measured": "94.8 %",
        "verdict": "holds",
        "n": 1000,
    }
    assert type(shown[MIME]["n"]) is int
    assert "94.8 % (n = 1,000)" in shown["text/html"]
    assert shown["text/plain"].startswith("✓ holds: LeNet")


def test_html_is_escaped_everywhere():
    nasty = "<script>&"
    claims = Claims()
    claims.add(nasty, source=nasty, measured=nasty, holds=False)
    html = claims._repr_html_()
    assert "<script>" not in html
    assert html.count("&lt;script&gt;&amp;") == 3
    assert "✗ does not hold" in html


def test_the_recap_is_no_second_claim():
    """Else the notebook tool would count each claim twice."""
    shown, _ = DisplayFormatter().format(Claims([example(), example()]))
    assert MIME not in shown
    assert shown["text/html"].count("<tr>") == 3


def test_a_claim_cannot_be_edited():
    with pytest.raises(dataclasses.FrozenInstanceError):
        example().verdict = "holds"


def test_claims_are_read_back_from_an_executed_notebook(tmp_path):
    one = example(n=1000)
    output = {"output_type": "display_data", "metadata": {}, "data": one._repr_mimebundle_()}
    other = {"output_type": "stream", "name": "stdout", "text": "no claim"}
    cells = [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": [other, output]}]
    path = tmp_path / "lesson.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert shown_in(path) == [one]
    with pytest.raises(FileNotFoundError):
        shown_in(tmp_path / "none.ipynb")
