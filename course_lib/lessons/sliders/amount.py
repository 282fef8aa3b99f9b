"""The amount slider and its table: networks that were made smaller, their cost and accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from course_lib.evaluation.accuracy import Accuracy
from course_lib.evaluation.size import operations
from course_lib.evaluation.timing import Latency, speedup
from course_lib.lessons.sliders.charts import (
    Chart,
    State,
    category,
    chart,
    color,
    mark,
    number,
    panel,
    tooltip,
)  # fmt: skip
from course_lib.lessons.sliders.static import Control
from course_lib.lessons.sliders.wiring import Explorer, explore
from course_lib.lessons.style import BLUE, GRAY, GREEN, ORANGE
from course_lib.structured import groups

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Smaller:
    """One position of the amount slider: a network that was made smaller, and what came of it."""

    widths: Mapping[str, tuple[int, int]]  # layer → units now, units of the whole network
    parameters: int
    operations: int
    latency: Latency | None  # None: not shown
    before: Accuracy  # as it was cut
    after: Accuracy  # after some epochs of training


def measured(
    network: nn.Module, whole: nn.Module, example: Tensor, before: Accuracy, after: Accuracy
) -> Smaller:
    """What the amount slider shows of a network that was made smaller, without its latency.

    Args:
        network: the smaller one.
        whole: the one that it was made from.
        example: inputs of one image ``[1, …]``, to count operations with.
        before, after: its accuracy as it was cut, and after training.

    Example:
        >>> import torch
        >>> from course_lib.structured import remove
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> right, example = Accuracy(9, 10), torch.ones(1, 8)
        >>> measured(remove(net, {"0": [0, 3]}), net, example, right, right).widths
        {'0': (2, 5)}
    """
    parameters = sum(parameter.numel() for parameter in network.parameters())
    units = {name: group.units for name, group in groups(whole).items()}
    widths = {name: (group.units, units[name]) for name, group in groups(network).items()}
    return Smaller(widths, parameters, operations(network, example), None, before, after)


def amount_table(variants: Mapping[float, Smaller]) -> DataFrame:
    """The amount slider as a table: a row for each network. Lesson 2a.

    Example:
        >>> whole = Smaller({"fc1": (8, 8)}, 100, 200, None, Accuracy(9, 10), Accuracy(9, 10))
        >>> half = Smaller({"fc1": (4, 8)}, 50, 100, None, Accuracy(5, 10), Accuracy(9, 10))
        >>> amount_table({0.0: whole, 0.5: half}).loc["50 % left"].tolist()
        ['4 of 8', '2.0 × fewer', '2.0 × fewer', '50.0 %', '90.0 %']
    """
    import pandas as pd

    whole = variants[min(variants)]
    rows: dict[str, dict[str, str]] = {}
    for amount, one in variants.items():
        row = {f"units of {name}": f"{kept} of {all_}" for name, (kept, all_) in one.widths.items()}
        row["parameters"] = f"{whole.parameters / one.parameters:.1f} × fewer"
        row["operations"] = f"{whole.operations / one.operations:.1f} × fewer"
        row["accuracy as cut"] = f"{100 * one.before.value:.1f} %"
        row["accuracy trained"] = f"{100 * one.after.value:.1f} %"
        rows[f"{_left(amount)} left"] = row
    return pd.DataFrame(rows).T


def _left(amount: float) -> str:
    return f"{100 * (1 - amount):.0f} %"


def amount_view(variants: Mapping[float, Smaller], amount: float) -> State:
    """A network's widths, its cost beside that of the whole one, and its accuracy. Lesson 2.

    Args:
        variants: amount → network; the smallest amount is taken for the whole network.
        amount: the one to show.
    """
    now, whole, left = variants[amount], variants[min(variants)], _left(amount)
    costs: list[tuple[str, float, float, str]] = [
        ("parameters", now.parameters, whole.parameters, f"{now.parameters:,}"),
        ("operations", now.operations, whole.operations, f"{now.operations / 1e6:.2f} million"),
    ]
    less = [f"{full / it:.1f} × fewer" if it < full else "as before" for _, it, full, _ in costs]
    if now.latency and whole.latency:
        median = now.latency.median
        costs.append(("latency", median, whole.latency.median, f"{median:.3g} ms"))
        ratio = speedup(whole.latency, now.latency)
        sure = not ratio.low <= 1 <= ratio.high
        faster = f"{ratio.value:.1f} × as fast" if sure else "cannot tell whether it is faster"
        less.append("as before" if now is whole else faster)
    said = [
        f"{name} {text} ({ratio})" for (name, _, _, text), ratio in zip(costs, less, strict=True)
    ]
    accuracies = [("as cut", now.before), ("trained", now.after)]
    readout = (
        f"<b>{left} of the parameters left</b><br>{' · '.join(said)}<br>"
        f"accuracy on validation: "
        + " · ".join(f"{name} {accuracy._repr_html_()}" for name, accuracy in accuracies)
    )
    alt = (
        f"{left} of the parameters left: {', '.join(said)}; accuracy "
        f"{now.before} as cut, {now.after} after training."
    )
    data: dict[str, Sequence[Mapping[str, Any]]] = {
        "amount": [{"text": f"{left} of the parameters left"}],
        "layers": [
            {"layer": name, "kept": kept, "units": units, "text": f"{kept} of {units}"}
            for name, (kept, units) in now.widths.items()
        ],
        "costs": [
            {"what": name, "share": it / full, "text": f"{text}: {ratio}",
             "start": it / full if it < 0.45 * full else 0.0}  # behind a short bar, in a long one
            for (name, it, full, text), ratio in zip(costs, less, strict=True)
        ],
        "accuracies": [
            {"when": name, "accuracy": one.value, "low": one.interval[0], "high": one.interval[1],
             "shown": str(one), "brief": f"{100 * one.value:.1f} %"}
            for name, one in accuracies
        ],
    }  # fmt: skip
    return State(readout, alt, data)


def amount_chart(variants: Mapping[float, Smaller]) -> Chart:
    """The amount, the layers' widths, the costs as shares of the whole, and the two accuracies."""
    whole = variants[min(variants)]
    names = list(whole.widths)
    few = len(names) <= 6
    x = category("layer", None, names, labelAngle=0 if few else -45)
    y = ("units", (0, 1.4 * max(units for _, units in whole.widths.values())))
    hover = tooltip(layer="layer", text="units")
    layers = panel(
        "units of each layer (dashed: the whole network)", 300, 190,
        mark("bar", "layers", color=BLUE, x=x, y=number("kept", *y), tooltip=hover),
        mark("bar", "layers", filled=False, stroke=GRAY, strokeDash=[4, 3], x=x,
             y=number("units", *y), tooltip=hover),
        mark("text", "layers", fontSize=11 if few else 0, x=x, y={"value": 29},
             text={"field": "text"}),
        mark("text", "amount", fontSize=12, fontWeight="bold", x={"value": 150}, y={"value": 11},
             text={"field": "text"}),
    )  # fmt: skip
    timed = [one.latency.median for one in variants.values() if one.latency]
    most = max(1.0, *(time / whole.latency.median for time in timed)) if whole.latency else 1.0
    shown = _COSTS if whole.latency else _COSTS[:2]
    costs = panel(
        "cost, as a share of the whole network's", 260, 22 * len(shown),
        mark("bar", "costs", color=GREEN, opacity=0.45, y=category("what", None, [*shown]),
             x=number("share", "", (0, most), percent=True), tooltip=tooltip(what="cost", text="now")),
        mark("text", "costs", align="left", dx=5, fontSize=11, y=category("what", None, [*shown]),
             x=number("start", "", (0, most), percent=True), text={"field": "text"}),
    )  # fmt: skip
    looks = {
        "y": category("when", None, ["as cut", "trained"]),
        "color": color("when", {"as cut": ORANGE, "trained": BLUE}),
    }
    at = number("accuracy", "", (0, 1), percent=True)
    accuracies = panel(
        "accuracy on validation (line: 95 % interval)", 260, 60,
        mark("rule", "accuracies", strokeWidth=4, x={**at, "field": "low"}, x2={"field": "high"},
             **looks),
        mark("circle", "accuracies", size=90, opacity=1, x=at, **looks,
             tooltip=tooltip(when="network", shown="accuracy")),
        mark("text", "accuracies", align="left", fontSize=11, y=looks["y"], x={"value": 5},
             text={"field": "brief"}),
    )  # fmt: skip
    return chart(layers, {"vconcat": [costs, accuracies], "spacing": 20})


_COSTS = ("parameters", "operations", "latency")


def amount_explorer(variants: Mapping[float, Smaller]) -> Explorer:
    """A slider over networks of different sizes that were made before: amount → `Smaller`. Lesson 2.

    It stands at the largest amount at first, where the differences are easiest to see.
    """
    options = {_left(amount): amount for amount in sorted(variants)}
    slider = Control("parameters left", list(options)[-1], options)
    return explore(
        [slider], lambda amount: amount_view(variants, amount), amount_chart(variants), height=80
    )
