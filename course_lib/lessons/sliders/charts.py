"""Vega-Lite charts whose scales stay fixed: the pieces that all sliders' charts are made of.

A chart is a Vega-Lite specification, a plain dict (https://vega.github.io/vega-lite/docs/). What a
slider changes stands in named datasets, so that a move replaces a few rows and nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import html
import importlib.metadata
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert

from course_lib.cached_files import cached_file, going_on_when_full

Row = Mapping[str, Any]
Chart = dict[str, Any]

_HERE = Path(__file__).parent
SCRIPT = (_HERE / "chart.js").read_text("utf-8")
STYLE = (_HERE / "chart.css").read_text("utf-8")
PERCENT = "format(100 * datum.value, '.3~f') + ' %'"
_CONFIG = {
    "aria": False,  # the whole chart is one image, described by the state's `alt`
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"},
    "axisX": {"labelFlush": False, "labelSeparation": 6},
    "legend": {
        "labelLimit": 0,
        "symbolStrokeWidth": 0,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "title": {"fontSize": 13, "fontWeight": "normal", "anchor": "start"},
    "view": {"stroke": "#cccccc"},
}


@dataclass(frozen=True)
class State:
    """What a slider shows at one position.

    Attributes:
        readout: HTML with the numbers; names that come from outside are escaped in it.
        alt: one sentence for those who cannot see the chart (default: the readout's text).
        data: the chart's datasets that this position changes: name → rows.
    """

    readout: str
    alt: str = ""
    data: Mapping[str, Sequence[Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.alt:
            object.__setattr__(self, "alt", text_of(self.readout))

    def packed(self) -> dict[str, Any]:
        """The state as JSON takes it: column names once, numbers with four digits.

        An `alt` that is the readout's text is left out: the page makes it in the same way.
        """
        tables = {}
        for name, rows in self.data.items():
            columns = list(rows[0]) if rows else []
            values = [[_short(row[column]) for column in columns] for row in rows]
            tables[name] = {"columns": columns, "rows": values}
        alt = {} if self.alt == text_of(self.readout) else {"alt": self.alt}
        return {"readout": self.readout, **alt, "data": tables}


def text_of(readout: str) -> str:
    """A readout without its HTML, as `textOf` of chart.js has it.

    Example:
        >>> text_of("<b>3 bits</b>: a &amp; b<br>8 MB")
        '3 bits: a & b; 8 MB'
    """
    return html.unescape(re.sub(r"<[^>]*>", "", readout.replace("<br>", "; ")))


def chart(*panels: Chart, **datasets: Iterable[Row]) -> Chart:
    """Panels side by side, with the datasets that no slider changes.

    Example:
        >>> spec = chart(panel("share", 100, 50, mark("bar", "rows")))
        >>> sorted(spec["hconcat"][0])
        ['height', 'layer', 'title', 'width']
    """
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": "white",
        "config": _CONFIG,
        "spacing": 24,
        "hconcat": list(panels),
        "datasets": {name: [_brief(row) for row in rows] for name, rows in datasets.items()},
    }


def panel(title: str, width: float, height: float, *layers: Chart, **more: Any) -> Chart:
    """Layers of marks over one pair of axes, `width` by `height` pixels."""
    return {"title": title, "width": width, "height": height, "layer": list(layers), **more}


def mark(kind: str, data: str, /, **properties: Any) -> Chart:
    """One layer: a mark over the dataset `data`; channels are given as keywords, too.

    `tooltip`, `transform` and each property whose value is a dict are channels (``x={"field": …}``);
    any other property belongs to the mark.
    With a name as `zoom`, Ctrl and the mouse wheel zoom, dragging moves and a double click goes back.
    """
    zoom = properties.pop("zoom", "")
    channels = {
        key: value
        for key, value in properties.items()
        if isinstance(value, dict) or key in ("tooltip", "transform")
    }
    style = {key: value for key, value in properties.items() if key not in channels}
    transform = channels.pop("transform", None)
    layer: Chart = {"mark": {"type": kind, **style}, "encoding": channels, "data": {"name": data}}
    if transform:
        layer["transform"] = transform
    if zoom:
        select = {"type": "interval", "zoom": "wheel![event.ctrlKey]"}
        layer["params"] = [{"name": zoom, "select": select, "bind": "scales"}]
    return layer


def number(
    name: str, title: str | None, domain: Sequence[float], percent: bool = False, **options: Any
) -> Chart:
    """A position on a scale from `domain[0]` to `domain[1]`, which never moves by itself.

    Args:
        name: of the dataset's column.
        title: of the axis; None: no axis at all.
        domain: the scale's two ends.
        percent: write 0.31 as "31 %".
        options: of the scale (``type="log"``, ``reverse=True``); ``values`` are the axis's ticks.
    """
    axis: Chart = {"title": title, "format": ",.4~f"}  # 0.05 and not 0.1, 10,000 and not 1e4
    if percent:
        axis["labelExpr"] = PERCENT
    if "values" in options:
        axis["values"] = options.pop("values")
    scale = {"domain": list(domain), "nice": False, **options}
    if options.get("type") != "log":
        scale["zero"] = False
    shown = axis if title is not None else None
    return {"field": name, "type": "quantitative", "scale": scale, "axis": shown}


def category(name: str, title: str | None, names: Sequence[str], **axis: Any) -> Chart:
    """A position among `names`, in their order."""
    scale = {"domain": list(names)}
    return {
        "field": name, "type": "nominal", "scale": scale, "sort": None,
        "axis": {"title": title, **axis},
    }  # fmt: skip


def color(name: str, colors: Mapping[str, str], legend: Chart | None = None) -> Chart:
    """A color for each name of a column: name → color. Without `legend` no legend is drawn."""
    scale = {"domain": list(colors), "range": list(colors.values())}
    return {"field": name, "type": "nominal", "scale": scale, "legend": legend}


def tooltip(**titles: str) -> list[Chart]:
    """What hovering shows: column → its title, and behind a "|" its number format."""
    shown = []
    for name, title in titles.items():
        words, _, form = title.partition("|")
        kind = {"type": "quantitative", "format": form} if form else {"type": "nominal"}
        shown.append({"field": name, "title": words, **kind})
    return shown


def filled(spec: Chart, state: State) -> Chart:
    """The chart with a state's datasets in it."""
    return {**spec, "datasets": {**spec["datasets"], **state.data}}


def svg(spec: Chart, state: State) -> str:
    """The chart at this state as SVG, drawn without a browser."""
    return vl_convert.vegalite_to_svg(filled(spec, state))


def png(spec: Chart, state: State) -> str:
    """The chart at this state as a PNG in base64, drawn without a browser."""
    return base64.b64encode(vl_convert.vegalite_to_png(filled(spec, state), scale=1.5)).decode()


@cache
def library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, 0.9 MB, which sets ``window.courseVega``.

    A page runs it once, however often it stands there: Vega numbers its clip paths, and two copies
    would give two charts the same number.
    """
    return f"if (!window.courseVega) {{\n(() => {{ {kept_bundle()} }})();\n}}\n"


def kept_bundle() -> str:
    """The three without what keeps a second copy away. Bundling takes three seconds, so the script is
    in the course's cache, with its checksum: a cut one would leave all sliders blank."""
    with contextlib.suppress(OSError), going_on_when_full("The sliders' script"):
        path = cached_file(file_of_library(), lambda part: part.write_text(_bundle(), "utf-8"))
        return path.read_text("utf-8")
    return _bundle()


@cache
def _bundle() -> str:
    return vl_convert.javascript_bundle("window.courseVega = vegaEmbed;")


def file_of_library() -> str:
    """The name of its file in the cache, with the version of what it was made from."""
    return f"sliders/vega-{importlib.metadata.version('vl-convert-python')}.js"


def _brief(row: Row) -> Row:
    return {name: _short(value) for name, value in row.items()}


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() else short
