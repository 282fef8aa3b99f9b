"""Controls, a readout and a chart in one box that a notebook shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import anywidget
import ipywidgets
import traitlets
from IPython.display import display

from course_lib.lessons.sliders.charts import SCRIPT, STYLE, Chart, State, library, png
from course_lib.lessons.sliders.static import MIME, Control, View, packed, positions

_WIDGET = "application/vnd.jupyter.widget-view+json"
_RENDER = """
export default {
  async render({model, el}) {
    el.classList.add("course-chart");
    const show = await drawChart(el, model.get("chart"), model.get("state"));
    model.on("change:state", () => show(model.get("state")));
  },
};
"""


class Panel(anywidget.AnyWidget):
    """A chart in the notebook. Setting `state` changes the picture."""

    chart = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    _css = STYLE

    def __init__(self, chart: Chart, state: State) -> None:
        self._esm = library() + SCRIPT + _RENDER
        super().__init__(chart=chart, state=state.packed())


@dataclass(frozen=True)
class Explorer:
    """Controls above what they change; a cell that ends with it shows it.

    The cell's stored output has more than the widget: a picture for those who read it without a
    kernel, and the states that `static_html` turns into a page.

    Attributes:
        controls: the widgets.
        readout: the numbers, of fixed height.
        panel: the chart; None where there is only a readout.
        box: all of them.
        state: computes what the controls' values show now.
        stored: what `states` gave; None for what cannot be computed beforehand.
        picture: what the stored picture shows; None: what the controls' values show now.
    """

    controls: Sequence[Any]
    readout: ipywidgets.HTML
    panel: Panel | None
    box: ipywidgets.VBox
    state: Callable[[], State]
    stored: Mapping[str, Any] | None
    picture: State | None = None

    def _ipython_display_(self) -> None:
        state = self.picture or self.state()
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        data: dict[str, Any] = {_WIDGET: view, "text/plain": state.alt}
        metadata = {}
        if self.panel is None:
            data["text/html"] = state.readout
        else:
            data["image/png"] = png(self.panel.chart, state)
            metadata["image/png"] = {"alt": state.alt}
        if self.stored is not None:
            data[MIME] = self.stored
        display(data, metadata=metadata, raw=True)


def explore(
    controls: Sequence[Control],
    view: View,
    chart: Chart | None = None,
    height: int = 60,
    stored: Mapping[str, Any] | None = None,
    picture: State | None = None,
) -> Explorer:
    """Show `view` of the controls' values, now and at every move.

    All positions are computed beforehand, so that a move is a look-up, unless `stored` is given or a
    control takes free text. Jupyter's sliders wait for the kernel's last answer and then send the
    newest value alone, so moves never queue up. An error at a move is shown in place of the readout,
    and the chart turns pale, until the next move; an error at the start is raised.

    Args:
        controls: from top to bottom.
        view: a pure function of their values.
        chart: what draws the states' data (default: there is only a readout).
        height: of the readout in pixels, whatever stands in it.
        stored: what `states` gave for some positions, where all would take too long, or where the view
            depends on earlier moves; then each move calls `view` (default: all positions).
        picture: what the stored picture shows (default: the first position).
    """
    widgets = [_widget(control) for control in controls]
    ready: dict[tuple[str, ...], State] = {}
    if stored is None and all(control.kind != "line" for control in controls):
        ready = positions(view, controls)
        stored = packed(ready, controls, chart)

    def now() -> State:
        labels = tuple(widget.value for widget in widgets)
        if labels in ready:
            return ready[labels]
        pairs = zip(controls, labels, strict=True)
        return view(*(control.options.get(label, label) for control, label in pairs))

    first = now()
    layout = ipywidgets.Layout(height=f"{height}px", overflow="auto")
    readout = ipywidgets.HTML(_lines(first.readout), layout=layout).add_class("course-readout")
    panel = None if chart is None else Panel(chart, first)

    def answer(_change: object) -> None:
        try:
            state = now()
            readout.value, stale = _lines(state.readout), False
            if panel is not None:
                panel.state = state.packed()
        except Exception as error:
            said = escape(f"{type(error).__name__}: {error}")
            readout.value, stale = f'<pre role="alert">{said}</pre>', True
        if panel is not None:
            (panel.add_class if stale else panel.remove_class)("course-stale")

    for widget in widgets:
        widget.observe(answer, names="value")
    box = ipywidgets.VBox([*widgets, readout, *([] if panel is None else [panel])])
    return Explorer(widgets, readout, panel, box, now, stored, picture)


def _lines(html: str) -> str:
    return f'<div style="line-height:1.5">{html}</div>'


def _widget(control: Control) -> Any:
    # ipywidgets 7, which Colab has, takes a description as HTML; 8 takes it as text.
    html = ipywidgets.__version__.startswith("7.")
    look: dict[str, Any] = {
        "description": escape(control.name) if html else control.name,
        "style": {"description_width": "130px"},
        "layout": ipywidgets.Layout(width="560px", max_width="100%"),
    }
    if control.kind == "line":
        return ipywidgets.Text(value=control.start, continuous_update=False, **look)
    kind = ipywidgets.Dropdown if control.kind == "menu" else ipywidgets.SelectionSlider
    widget = kind(options=list(control.options), value=control.start, **look)
    return widget.add_class("course-slide")
