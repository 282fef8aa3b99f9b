"""Many compressed models in one picture: which are worth having?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

from course_lib.evaluation.accuracy import Accuracy, Runs
from course_lib.evaluation.timing import Latency
from course_lib.lessons.sliders.charts import Chart, Row, State, chart, mark, number, panel, tooltip
from course_lib.lessons.sliders.static import Control
from course_lib.lessons.sliders.wiring import Explorer, explore
from course_lib.lessons.style import BLUE, ORANGE, PINK, RED

WIDTH, HEIGHT = 330, 300
COSTS = {"megabytes": "megabytes (log scale)", "milliseconds": "milliseconds (log scale)"}
YOURS, OTHERS = "yours, with its 95 % interval", "another variant"
BEST = {"megabytes": "best at this size or less", "milliseconds": "best at this latency or less"}
NAMED = "diamond: a student of section 6"
FRONT_WEIGHT = 9  # a name may rather cover so many other points than one of the front
ROLES = {
    YOURS: ORANGE, BEST["megabytes"]: BLUE, BEST["milliseconds"]: PINK,
    OTHERS: "#c4c4c4", NAMED: RED,
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A compressed model as the picture shows it. Lesson 5.

    Attributes:
        name: for people.
        bytes: of its file.
        milliseconds: median latency; of all variants on the same batch, in one run.
        accuracy: all on the same examples.
    """

    name: str
    bytes: int
    milliseconds: float
    accuracy: Accuracy | Runs

    def __str__(self) -> str:
        cost = f"{self.bytes / 1e6:.2f} MB, {self.milliseconds:.3g} ms"
        return f"{self.name}: {cost}, {_row(self)['shown']}"


def grid_variants(rows: Iterable[Row], took: Mapping[str, Latency]) -> dict[tuple, Variant]:
    """The models of `lesson5_grid`: (layers, width, tokens, bits, share of zeros) → variant.

    Args:
        rows: one a shape, with "layers", "width", "n", and its "variants": a list of
            [tokens, bits, zeros, bytes, right answers].
        took: name of a shape in int8 or float32 → latency, as `lesson5_times` stores it. Only int8 is
            faster than float32, so that is what fewer bits than 8 run as.

    Example:
        >>> row = {"layers": 1, "width": 0.5, "n": 10, "variants": [[30522, 8, 0.0, 7_000_000, 9]]}
        >>> took = {"1 layers, 0.5 wide, int8": Latency((2.0, 2.0), 1, 1)}
        >>> (variant,) = grid_variants([row], took).values()
        >>> variant.name
        '1 layer, 50 % of the width, 30,522 tokens, 8 bits, 0 % zeros'
    """
    found = {}
    for row in rows:
        layers, width = row["layers"], row["width"]
        shape = f"{layers} layer{'s' * (layers > 1)}, {100 * width:.0f} % of the width"
        for tokens, bits, zeros, size, right in row["variants"]:
            name = f"{shape}, {tokens:,} tokens, {bits} bits, {100 * zeros:.0f} % zeros"
            runs_as = "int8" if bits == 8 else "float32"
            ms = took[f"{layers} layers, {width:g} wide, {runs_as}"].median
            found[layers, width, tokens, bits, zeros] = Variant(
                name, size, ms, Accuracy(right, row["n"])
            )
    return found


def pareto(variants: Mapping[Any, Variant]) -> list[Any]:
    """The variants that no other one beats: none is as good in all three respects and better in one.

    The smallest, the fastest and the most accurate are among them. Explained in lesson 5.

    Example:
        >>> a = Variant("a", 10, 2.0, Accuracy(90, 100))
        >>> b = Variant("b", 20, 2.0, Accuracy(90, 100))
        >>> c = Variant("c", 20, 3.0, Accuracy(95, 100))
        >>> pareto({"a": a, "b": b, "c": c})
        ['a', 'c']
    """
    everyone = list(variants.values())
    return [
        key for key, one in variants.items() if not any(_beats(other, one) for other in everyone)
    ]


def explorer_view(variants: Mapping[Any, Variant], at: Any, front: Sequence[Any] = ()) -> State:
    """The variant `at` this place, and which one beats it, if any.

    Args:
        variants: key → variant.
        at: the key of the chosen one.
        front: what `pareto` gives, where it is known already (default: it is computed).

    Raises:
        ValueError: there is no such variant.
    """
    if at not in variants:
        raise ValueError(f"There is no variant at {at}; there are {len(variants)} others.")
    one = variants[at]
    better = [variants[key] for key in front or pareto(variants) if _beats(variants[key], one)]
    verdict = "not beaten by any other in size, latency, and accuracy together"
    if better:
        best = max(better, key=lambda other: other.accuracy.value)
        verdict = f"another one beats it, such as {best}"
    return State(
        f"<b>{escape(str(one))}</b><br>{escape(verdict)}",
        data={"chosen": [{name: _row(one)[name] for name in (*COSTS, "accuracy", "low", "high")}]},
    )


def explorer_chart(
    variants: Mapping[Any, Variant], marked: Mapping[str, Variant] | None = None
) -> Chart:
    """Accuracy on validation against size and against latency for all variants.

    Args:
        variants: key → variant.
        marked: some more, drawn as diamonds with their names; the fronts are drawn without them
            (default: none).
    """
    marked = marked or {}
    everyone = [*variants.values(), *marked.values()]
    rows = [_row(one) for one in variants.values()]
    named = [{**_row(one), "name": name} for name, one in marked.items()]
    edges = [end for one in everyone for end in one.accuracy.interval]
    # The chosen one shows its interval, so the scale holds all of them.
    y = number("accuracy", "validation accuracy", (min(edges), max(edges) + 0.02), percent=True)
    panels, data = [], {}
    for cost, title in COSTS.items():
        costs = [_row(one)[cost] for one in everyone]
        ends = (min(costs) / 1.15, max(costs) * 1.15)
        x = number(cost, title, ends, type="log", values=_ticks(*ends))
        front = data[f"{cost} front"] = _staircase(rows, cost)
        data[f"{cost} labels"] = _labels(named, [*rows, *FRONT_WEIGHT * front], cost, (x, y))
        panels.append(_scatter(cost, x, y))
    shown = [{key: row[key] for key in (*COSTS, "name", "accuracy", "shown")} for row in rows]
    return chart(*panels, variants=shown, named=named, **data)


def _scatter(cost: str, x: Chart, y: Chart) -> Chart:
    hover = tooltip(name="model", megabytes="MB|.2f", milliseconds="ms|.3~g", shown="accuracy")
    role = {
        "type": "nominal", "scale": {"domain": list(ROLES), "range": list(ROLES.values())},
        "legend": {"title": None, "orient": "bottom", "symbolType": "circle", "symbolOpacity": 1,
                   "columns": 3},
    }  # fmt: skip
    at = {"x": x, "y": y}
    whisker = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}
    names = {"y": {**y, "field": "label"}, "x": {**x, "field": "end"}, "text": {"field": "name"}}
    axis = cost.replace("milliseconds", "latency").replace("megabytes", "size")
    halo = {"stroke": "white", "strokeWidth": 3}  # readable where a name lies on a line
    return panel(
        f"How accurate can you be at which {axis}?", WIDTH, HEIGHT,
        mark("circle", "variants", zoom=f"{cost}_zoom", clip=True, **at, size=28, opacity=0.7,
             color={**role, "datum": OTHERS}, tooltip=hover),
        mark("line", f"{cost} front", clip=True, interpolate="step-after", strokeWidth=1.5, **at,
             color={**role, "datum": BEST[cost]}),
        mark("circle", f"{cost} front", clip=True, **at, size=40, opacity=1,
             color={**role, "datum": BEST[cost]}, tooltip=hover),
        mark("rule", f"{cost} labels", clip=True, stroke="#888888", **at,
             x2={"field": "end"}, y2={"field": "label"}),
        mark("point", "named", clip=True, shape="diamond", size=110, filled=True, opacity=1,
             color={**role, "datum": NAMED}, **at, tooltip=hover),
        *(mark("text", f"{cost} labels", clip=True, align=side, fontSize=11, fontWeight="bold",
               transform=[{"filter": f"datum.side == '{side}'"}], **names, **more)
          for more in (halo, {}) for side in ("left", "right")),
        mark("rule", "chosen", clip=True, color=ORANGE, strokeWidth=2, **whisker),
        mark("circle", "chosen", clip=True, size=150, opacity=1, stroke="black", **at,
             color={**role, "datum": YOURS}),
    )  # fmt: skip


def compression_explorer(
    variants: Mapping[tuple, Variant],
    names: Sequence[str],
    marked: Mapping[str, Variant] | None = None,
) -> Explorer:
    """A slider for each technique over a grid of variants that were made before. Lesson 5.

    They start at the largest variant.

    Args:
        variants: one value for each slider → the variant that was made with them.
        names: of the sliders.
        marked: more variants, which no slider reaches; see `explorer_chart`.

    Raises:
        ValueError: the grid has holes.
    """
    values = [sorted({key[i] for key in variants}) for i in range(len(names))]
    if math.prod(map(len, values)) != len(variants):
        raise ValueError(
            f"The sliders have {math.prod(map(len, values))} positions, and there are "
            f"{len(variants)} variants; give one for each."
        )
    start = max(variants, key=lambda key: variants[key].bytes)  # nothing compressed yet
    controls = [
        Control(name, str(value), {str(option): option for option in options})
        for name, options, value in zip(names, values, start, strict=True)
    ]
    front = pareto(variants)
    return explore(
        controls,
        lambda *at: explorer_view(variants, at, front),
        explorer_chart(variants, marked),
    )


def prices(variants: Mapping[tuple, Variant], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """What each step of each slider costs and saves, on average over the pairs it leads between.

    Pass healthy variants alone: among ruined ones, a step costs nothing more or seems to help.
    Explained in lesson 5.

    Args:
        variants: one value for each slider → the variant that was made with them; no holes.
        names: of the sliders.

    Returns:
        A step such as "layers 6 → 3" → points of accuracy that are lost, megabytes and milliseconds
        that are saved, and the points for each megabyte.

    Example:
        >>> grid = {(8,): Variant("8 bits", 1_000_000, 1.0, Accuracy(90, 100))}
        >>> grid[(32,)] = Variant("32 bits", 4_000_000, 2.0, Accuracy(91, 100))
        >>> {key: round(value, 2) for key, value in prices(grid, ["bits"])["bits 32 → 8"].items()}
        {'points lost': 1.0, 'MB saved': 3.0, 'ms saved': 1.0, 'points for each MB': 0.33}
    """
    found = {}
    for i, name in enumerate(names):
        values = sorted({key[i] for key in variants}, reverse=True)
        for here, there in itertools.pairwise(values):
            pairs = [
                (one, variants[(*key[:i], there, *key[i + 1 :])])
                for key, one in variants.items()
                if key[i] == here
            ]
            lost = sum(100 * (a.accuracy.value - b.accuracy.value) for a, b in pairs) / len(pairs)
            saved = sum((a.bytes - b.bytes) / 1e6 for a, b in pairs) / len(pairs)
            sooner = sum(a.milliseconds - b.milliseconds for a, b in pairs) / len(pairs)
            found[f"{name} {here:,} → {there:,}"] = {
                "points lost": lost, "MB saved": saved, "ms saved": sooner,
                "points for each MB": lost / saved,
            }  # fmt: skip
    return found


def _beats(one: Variant, other: Variant) -> bool:
    """Whether it is at least as small, as fast and as good, and not the same."""
    costs, others = ((v.bytes, v.milliseconds, -v.accuracy.value) for v in (one, other))
    return costs != others and all(a <= b for a, b in zip(costs, others, strict=True))


@cache
def _row(one: Variant) -> dict[str, Any]:
    """A row of the chart; an interval takes milliseconds, and there are hundreds of variants."""
    low, high = one.accuracy.interval
    return {
        "name": one.name, "megabytes": one.bytes / 1e6, "milliseconds": one.milliseconds,
        "accuracy": one.accuracy.value, "low": low, "high": high, "shown": str(one.accuracy),
    }  # fmt: skip


def _ticks(low: float, high: float) -> list[float]:
    """Ticks at 1, 2 and 5 times a power of ten, each of which has room for its label.

    Example:
        >>> _ticks(0.4, 30)
        [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]


def _staircase(rows: Iterable[Row], cost: str) -> list[Row]:
    """From the cheapest on, each variant that is more accurate than all cheaper ones."""
    steps: list[Row] = []
    for row in sorted(rows, key=lambda row: (row[cost], -row["accuracy"])):
        if not steps or row["accuracy"] > steps[-1]["accuracy"]:
            steps.append({key: row[key] for key in (*COSTS, "name", "accuracy", "shown")})
    return steps


def _labels(
    named: Iterable[Row], dots: Iterable[Row], cost: str, axes: tuple[Chart, Chart]
) -> list[Row]:
    """Where each name goes: as near to its point as possible, on no other name and few dots."""
    xs, ys = (axis["scale"]["domain"] for axis in axes)

    def place(row: Row) -> tuple[float, float]:
        across = math.log(row[cost] / xs[0]) / math.log(xs[1] / xs[0])
        return across * WIDTH, HEIGHT * (ys[1] - row["accuracy"]) / (ys[1] - ys[0])

    rows = sorted(named, key=lambda row: -row["accuracy"])
    spots = list(map(place, dots))
    # Boxes in pixels: left and right end, from the top; first those of the points themselves.
    placed = [(x - 8, x + 8, y) for x, y in map(place, rows)]
    found: list[Row] = []
    for row in rows:
        at, long = place(row), 7 * len(row["name"])
        boxes = [_beside(at, long, side, up) for up in range(-150, 151, 6) for side in (-1, 1)]
        left, right, down = min(boxes, key=lambda box: _crowded(box, at, placed, spots))
        placed.append((left, right, down))
        side, end = ("left", left) if left > at[0] else ("right", right)
        found.append(
            {**row, "side": side, "end": xs[0] * (xs[1] / xs[0]) ** (end / WIDTH),
             "label": ys[1] - down * (ys[1] - ys[0]) / HEIGHT}
        )  # fmt: skip
    return found


Box = tuple[float, float, float]  # of a name, in pixels: left and right end, from the top


def _beside(at: tuple[float, float], long: int, side: int, up: int) -> Box:
    """The box of a name left (-1) or right (1) of its point."""
    start = at[0] + 14 * side
    return min(start, start + long * side), max(start, start + long * side), at[1] - up


def _crowded(
    box: Box, at: tuple[float, float], placed: Sequence[Box], spots: Iterable[tuple[float, float]]
) -> float:
    """How bad a place is: outside or on another name, on dots, far from its point."""
    left, right, down = box
    outside = left < 0 or right > WIDTH or not 8 < down < HEIGHT - 8
    names = sum(a < right and left < b and abs(down - y) < 14 for a, b, y in placed)
    dots = sum(left < x < right and abs(down - y) < 9 for x, y in spots)
    return 1000 * outside + 1000 * names + 4 * dots + abs(down - at[1])
