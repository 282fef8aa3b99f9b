"""Controls, readout and chart together: a move arrives, an error is shown, a picture is stored."""

import sys

import ipywidgets
import pytest
from slider_samples import make

from course_lib.lessons.sliders import Control, State, explore
from course_lib.lessons.sliders.charts import chart, mark, number, panel
from course_lib.lessons.sliders.wiring import _widget

AMOUNT = Control("amount", "2", {str(i): i for i in range(5)})
DRAWING = chart(panel("", 100, 50, mark("bar", "rows", x=number("x", "x", (0, 4)))))


def view(amount: int) -> State:
    if amount == 3:
        raise ValueError("<b>three</b>")
    return State(f"<b>{amount}</b>", f"it is {amount}", {"rows": [{"x": amount}]})


def test_a_move_changes_readout_and_chart():
    explorer = explore([AMOUNT], view, DRAWING, stored={})
    assert "<b>2</b>" in explorer.readout.value
    explorer.controls[0].value = "4"
    assert "<b>4</b>" in explorer.readout.value
    assert explorer.panel.state["data"]["rows"]["rows"] == [[4]]
    assert explorer.panel.state["alt"] == "it is 4"


def test_an_error_is_shown_escaped_until_the_next_move():
    explorer = explore([AMOUNT], view, DRAWING, stored={})
    height = explorer.readout.layout.height
    explorer.controls[0].value = "3"
    assert "ValueError: &lt;b&gt;three&lt;/b&gt;" in explorer.readout.value
    assert "course-stale" in explorer.panel._dom_classes
    assert explorer.readout.layout.height == height
    explorer.controls[0].value = "4"
    assert "<b>4</b>" in explorer.readout.value
    assert "course-stale" not in explorer.panel._dom_classes


def test_an_error_at_the_start_fails_the_cell():
    with pytest.raises(ValueError, match="three"):
        explore([Control("amount", "3", AMOUNT.options)], view, DRAWING)


@pytest.mark.parametrize(
    ("kind", "widget"),
    [("slider", ipywidgets.SelectionSlider), ("menu", ipywidgets.Dropdown)],
)
def test_each_kind_of_control_starts_where_it_should(kind, widget):
    made = _widget(Control("amount", "2", AMOUNT.options, kind))
    assert type(made) is widget and made.value == "2"


def test_a_line_gives_its_text_and_has_no_states():
    explorer = explore([Control("say", "a", kind="line")], lambda text: State(text.upper(), text))
    explorer.controls[0].value = "b"
    assert "B" in explorer.readout.value and explorer.stored is None


def test_values_need_not_be_comparable():
    import torch

    options = {"one": torch.zeros(2), "two": torch.ones(2)}
    explorer = explore([Control("t", "one", options)], lambda t: State(str(t.sum().item()), ""))
    explorer.controls[0].value = "two"
    assert "2.0" in explorer.readout.value


def test_ipywidgets_7_gets_the_name_escaped_for_there_it_is_html(monkeypatch):
    control = Control("<img src=x>", "2", AMOUNT.options)
    assert _widget(control).description == "<img src=x>"
    monkeypatch.setattr(ipywidgets, "__version__", "7.7.1")
    assert _widget(control).description == "&lt;img src=x&gt;"


@pytest.fixture
def shown(monkeypatch):
    """Displays an explorer, and returns the output that a cell would store."""

    def display(explorer) -> dict:
        outputs = []
        monkeypatch.setattr(
            sys.modules["course_lib.lessons.sliders.wiring"],
            "display",
            lambda data, metadata, raw: outputs.append({"data": data, "metadata": metadata}),
        )
        explorer._ipython_display_()
        return outputs[0]

    return display


def test_beside_the_widget_stand_a_picture_with_alt_text_and_the_states(shown):
    output = shown(make("amount"))
    assert output["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert output["data"]["image/png"].startswith("iVBOR")
    alt = output["metadata"]["image/png"]["alt"]
    assert alt == output["data"]["text/plain"] and "after training" in alt
    assert len(output["data"]["application/vnd.course.slider+json"]["states"]) == 5


def test_what_has_no_chart_is_stored_as_html(shown):
    control = Control("data", "none", {"none": 0, "some": 1})
    bare = explore([control], lambda value: State(f"<b>{value}</b>", "a number"))
    assert "<b>0</b>" in shown(bare)["data"]["text/html"]
