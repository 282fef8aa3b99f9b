"""The slider of lesson 7: how many layers of a language model are dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from course_lib.evaluation.perplexities import Perplexity, round_numbers, shown
from course_lib.lessons.sliders.charts import (
    Chart,
    State,
    chart,
    mark,
    number,
    panel,
    tooltip,
)  # fmt: skip
from course_lib.lessons.sliders.static import Control
from course_lib.lessons.sliders.wiring import Explorer, explore
from course_lib.lessons.style import BLUE, ORANGE


class Depth(NamedTuple):
    """A model without some of its layers: its perplexity, and the tokens that it writes per second."""

    perplexity: Perplexity
    rate: float
    parameters: int


def depth_view(grid: Mapping[int, Depth], dropped: int) -> State:
    """What is lost and gained without so many layers. Lesson 7.

    Args:
        grid: layers dropped → what was measured; 0 is the whole model.
        dropped: one of the keys.
    """
    one, whole = grid[dropped], grid[0]
    worse, faster = one.perplexity.value / whole.perplexity.value, one.rate / whole.rate
    size = f"{one.parameters / 1e6:.0f} million parameters"
    readout = (
        f'<span style="font-size:120%">{dropped} layers dropped: perplexity '
        f"<b>{shown(one.perplexity.value)}</b>, <b>{one.rate:.3g}</b> tokens per second</span><br>"
        f"{size}; perplexity {worse:.2f} ×, speed {faster:.2f} ×, as cut"
    )
    alt = (
        f"Without {dropped} layers: perplexity {one.perplexity.value:.3g}, {one.rate:.3g} written "
        f"tokens per second, {size}."
    )
    here = [{"dropped": dropped, "perplexity": one.perplexity.value, "rate": one.rate}]
    return State(readout, alt, {"here": here})


def depth_chart(grid: Mapping[int, Depth]) -> Chart:
    """Perplexity and speed against the layers dropped, with a mark where the slider stands."""
    rows = [
        {"dropped": n, "perplexity": one.perplexity.value, "low": one.perplexity.interval[0],
         "high": one.perplexity.interval[1], "rate": one.rate}
        for n, one in grid.items()
    ]  # fmt: skip
    x = number("dropped", "layers dropped, by block influence", (-1, max(grid) + 1))
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    ends = (0.8 * low, 1.2 * high)
    title = "perplexity (line: 95 % interval)"
    losses = number("perplexity", title, ends, type="log", values=round_numbers(*ends))
    rates = number(
        "rate", "written tokens per second", (0, 1.15 * max(row["rate"] for row in rows))
    )

    def drawn(title: str, y: Chart, name: str, *more: Chart) -> Chart:
        hover = tooltip(dropped="layers dropped", **{name: f"{name}|.3f"})
        dots: dict[str, Any] = {"x": x, "y": y, "tooltip": hover}
        return panel(
            title, 270, 200, *more,
            mark("line", "all", color=BLUE, x=x, y=y),
            mark("circle", "all", color=BLUE, size=50, opacity=1, **dots),
            mark("point", "here", color=ORANGE, size=200, strokeWidth=3, filled=False, **dots),
        )  # fmt: skip

    bars = mark("rule", "all", color=BLUE, x=x, y={**losses, "field": "low"}, y2={"field": "high"})
    return chart(
        drawn("perplexity, lower is better", losses, "perplexity", bars),
        drawn("speed of writing", rates, "rate"),
        all=rows,
    )


def depth_explorer(grid: Mapping[int, Depth]) -> Explorer:
    """The slider over the numbers of layers that were tried.

    Raises:
        ValueError: the whole model, 0 layers dropped, is missing.
    """
    if 0 not in grid:
        raise ValueError(
            f"The grid has {list(grid)} dropped layers; 0, the whole model, is missing."
        )
    options = {str(n): n for n in sorted(grid)}
    start = list(options)[len(options) // 2]
    control = Control("layers dropped", start, options)
    return explore([control], lambda n: depth_view(grid, n), depth_chart(grid), height=70)
