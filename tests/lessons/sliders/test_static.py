"""The states that a page without a kernel shows."""

import json
import re

import pytest
from slider_samples import EXAMPLES, make

from course_lib.lessons.sliders import Control, State, states, static_html
from course_lib.lessons.sliders.static import page

LARGEST = 300_000  # bytes of one lesson's states


def view(a: int, b: str) -> State:
    return State(f"{a} {b}", f"it is {a} {b}")


CONTROLS = [
    Control("a", "2", {"1": 1, "2": 2}),
    Control("b", "x", {"x": "X", "y": "Y", "z": "Z"}, "menu"),
]


def test_there_is_a_state_for_each_position():
    stored = states(view, CONTROLS)
    assert list(stored["states"]) == ["0,0", "0,1", "0,2", "1,0", "1,1", "1,2"]
    assert stored["states"]["1,2"]["readout"] == "2 Z"
    assert [(c["start"], c["menu"]) for c in stored["controls"]] == [(1, False), (0, True)]


def test_a_start_that_is_not_among_the_options_is_named():
    with pytest.raises(ValueError, match=r"'amount' starts at '3', .* '1', '2'"):
        Control("amount", "3", {"1": 1, "2": 2})


def test_the_json_cannot_end_its_script():
    stored = states(lambda a: State("</script><b>", ""), CONTROLS[:1])
    html = static_html(stored)
    assert html.count("</script>") == 1
    text = re.search(r"<script[^>]*>(.*)</script>", html).group(1)
    assert json.loads(text)["states"]["0"]["readout"] == "</script><b>"


def test_the_page_needs_no_other_file():
    html = page(states(view, CONTROLS), title="<T>")
    assert "<title>&lt;T&gt;</title>" in html
    assert not re.search(r'(src|href)="', html.rpartition("<body>")[2])
    assert "courseVega" in html


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_a_lesson_stores_is_small_and_json(name):
    stored = make(name).stored
    assert len(static_html(stored).encode()) < LARGEST
    json.loads(json.dumps(stored, allow_nan=False))
