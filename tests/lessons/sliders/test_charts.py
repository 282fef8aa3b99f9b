"""Charts: their scales stay where they are, their numbers are short, and the library runs once."""

import base64
import math
import re
from io import BytesIO

import pytest
from PIL import Image
from slider_samples import EXAMPLES, make

from course_lib.lessons.sliders import charts
from course_lib.lessons.sliders.charts import State

DRAWN = list(EXAMPLES)


def positions(explorer, count=4):
    """States at some positions of all its controls, the first and the last among them."""
    for i in range(count):
        for control in explorer.controls:
            control.index = round(i * (len(control.options) - 1) / (count - 1))
        yield explorer.state()


def axes(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", "".join(
        part.split("</g>")[0] for part in svg.split('role-axis-label"')[1:]
    ))  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_no_position_changes_the_picture_s_size_or_its_axes(name):
    explorer = make(name)
    pictures = [charts.svg(explorer.panel.chart, state) for state in positions(explorer)]
    assert len(set(pictures)) > 1
    assert len({re.search(r'viewBox="(.*?)"', picture).group(1) for picture in pictures}) == 1
    labels = [axes(picture) for picture in pictures]
    assert len(labels[0]) > 4
    assert all(found == labels[0] for found in labels)


@pytest.mark.parametrize("name", DRAWN)
def test_a_state_fills_every_dataset_that_its_chart_draws(name):
    explorer = make(name)
    wanted = set(re.findall(r"'data': {'name': '(.*?)'}", str(explorer.panel.chart)))
    state = explorer.state()
    assert wanted == set(state.data) | set(explorer.panel.chart["datasets"])
    assert state.alt and "<" not in state.alt.replace("<first>", "")


def test_a_packed_state_has_each_column_s_name_once_and_four_digits():
    rows = [{"x": 1 / 3, "name": "a"}, {"x": 20_000.0, "name": "b"}]
    packed = State("<b>1</b>", "one", {"rows": rows, "none": []}).packed()
    assert packed["data"] == {
        "rows": {"columns": ["x", "name"], "rows": [[0.3333, "a"], [20_000, "b"]]},
        "none": {"columns": [], "rows": []},
    }


def test_a_state_without_words_of_its_own_says_its_readout():
    state = State("<b>1 &lt; 2</b>: yes<br>no")
    assert state.alt == "1 < 2: yes; no" and "alt" not in state.packed()
    assert State("<b>1</b>", "one").packed()["alt"] == "one"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_becomes_null(value):
    packed = State("", "", {"rows": [{"x": value}]}).packed()
    assert packed["data"]["rows"]["rows"] == [[None]]


def test_the_png_is_a_picture():
    explorer = make("amount")
    picture = Image.open(
        BytesIO(base64.b64decode(charts.png(explorer.panel.chart, explorer.state())))
    )
    assert picture.width > 600 and len(picture.convert("L").getcolors()) > 10


def test_the_library_is_bundled_once_and_then_read(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(charts.vl_convert, "javascript_bundle", lambda _: asked.append(1) or "1;")
    texts = []
    for _ in range(2):
        charts.library.cache_clear()
        charts._bundle.cache_clear()
        texts.append(charts.library())
    charts.library.cache_clear()
    charts._bundle.cache_clear()
    assert asked == [1] and texts[0] == texts[1]
    assert texts[0].startswith("if (!window.courseVega)")
