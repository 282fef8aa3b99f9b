"""A slider's states as JSON, and a page that shows them without a kernel."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

from course_lib.lessons.sliders.charts import SCRIPT, STYLE, Chart, State, library

View = Callable[..., State]
MIME = "application/vnd.course.slider+json"  # of the states in a cell's stored output


@dataclass(frozen=True)
class Control:
    """A slider or menu over some values, or a line to write in.

    Attributes:
        name: what stands before it; it is escaped wherever it reaches HTML.
        start: the label of the value that it starts at; for a line, its text.
        options: label → value; a line has none.
        kind: "slider", "menu" or "line", which is read when Enter is pressed.
    """

    name: str
    start: str
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["slider", "menu", "line"] = "slider"

    def __post_init__(self) -> None:
        if self.kind != "line" and self.start not in self.options:
            labels = ", ".join(map(repr, self.options))
            raise ValueError(f"{self.name!r} starts at {self.start!r}, and has only {labels}.")


def states(view: View, controls: Sequence[Control], chart: Chart | None = None) -> dict[str, Any]:
    """All that a page without a kernel needs: the controls, the chart, and a state for each position.

    Args:
        view: a pure function of the controls' values.
        controls: sliders and menus; pass some with fewer options to store fewer states.
        chart: what draws the states' data (default: there is only a readout).

    Example:
        >>> amount = Control("amount", "50 %", {"0 %": 0.0, "50 %": 0.5})
        >>> page = states(lambda amount: State(f"<b>{amount}</b>", "a number"), [amount])
        >>> page["states"]["1"]["readout"]
        '<b>0.5</b>'
    """
    return packed(positions(view, controls), controls, chart)


def positions(view: View, controls: Sequence[Control]) -> dict[tuple[str, ...], State]:
    """The state at each position: the controls' labels → state."""
    places = itertools.product(*(control.options.items() for control in controls))
    return {
        tuple(label for label, _ in place): view(*(value for _, value in place)) for place in places
    }


def packed(
    found: Mapping[tuple[str, ...], State], controls: Sequence[Control], chart: Chart | None
) -> dict[str, Any]:
    """`states` of positions that were computed before, as JSON takes it."""
    described = [
        {
            "name": control.name,
            "labels": list(control.options),
            "start": list(control.options).index(control.start),
            "menu": control.kind == "menu",
        }
        for control in controls
    ]
    keys = itertools.product(*(range(len(control.options)) for control in controls))
    shown = zip(keys, found.values(), strict=True)
    small = {",".join(map(str, key)): state.packed() for key, state in shown}
    return {"controls": described, "states": small, "chart": chart}


def static_html(stored: Mapping[str, Any], picture: str = "") -> str:
    """A slider for a page that has `page_head` in its head.

    Args:
        stored: what `states` gave, or a cell's stored output of the type `MIME`.
        picture: HTML that stands there until the script has run (default: none).
    """
    text = json.dumps(stored, ensure_ascii=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c")  # neither "</script" nor "<!--<script" reaches the page
    return (
        f'<div class="course-slider">{picture}<script type="application/json">{text}</script></div>'
    )


def page_script() -> str:
    """What draws the sliders of a page: the chart library, 0.9 MB, and a few lines. Load it once.

    It starts when the page is there, and draws all that `static_html` made.
    """
    start = 'for (const root of document.querySelectorAll(".course-slider")) play(root);'
    return (
        f'{library()}\n{SCRIPT}\ndocument.addEventListener("DOMContentLoaded", () => {{{start}}});'
    )


def page(*stored: Mapping[str, Any], title: str = "Sliders") -> str:
    """A whole HTML page with these sliders, which needs no other file and no kernel."""
    body = "\n".join(map(static_html, stored))
    script = page_script().replace("</script", "<\\/script")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<script>{script}</script></head><body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
