"""The sparsity slider: how many weights can go before the accuracy does?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from html import escape

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import TensorDataset

from course_lib.evaluation.accuracy import Accuracy
from course_lib.evaluation.prediction import not_nan
from course_lib.lessons.sliders.charts import (
    Chart,
    Row,
    State,
    category,
    chart,
    mark,
    number,
    panel,
    tooltip,
)  # fmt: skip
from course_lib.lessons.sliders.static import Control, View, states
from course_lib.lessons.sliders.wiring import Explorer, explore
from course_lib.lessons.style import BLUE, GRAY, INK, ORANGE, SKY
from course_lib.modules import device_of, evaluating
from course_lib.pruning.masks import prunable
from course_lib.pruning.unstructured import global_masks

AMOUNTS = {f"{amount:g} %": amount / 100 for amount in (*range(100), 99.5, 99.9)}
STORED = [*(f"{amount} %" for amount in range(0, 100, 5)), "97 %", "99 %", "99.5 %", "99.9 %"]
BINS = 81


def sparsity_view(
    model: nn.Module, dataset: TensorDataset, amount: float, earlier: Sequence[Row] = ()
) -> State:
    """Prune `amount` of the weights, the smallest ones, and look at what is left.

    A pure function: the model is left alone. Explained in lesson 1.

    Args:
        model: a trained network.
        dataset: inputs and labels for the accuracy; the validation part, not the test part.
        amount: fraction of all prunable weights, in [0, 1).
        earlier: points of the accuracy curve that were seen before: rows of ``data["seen"]``.

    Raises:
        ValueError: `amount` is outside [0, 1].
        FloatingPointError: the model outputs NaN.
    """
    weights = prunable(model)
    masks = global_masks(model, amount)
    accuracy = _accuracy(model, dataset, masks)
    values = torch.cat([weight.flatten() for weight in weights.values()])
    keep = torch.cat([mask.flatten() for mask in masks.values()])
    keep = keep.to(torch.uint8).to(values.dtype)  # 0 or 1; selecting by bool would take far longer
    threshold = (values.abs() * (1 - keep)).max().item()
    kept = {layer: int(mask.sum()) for layer, mask in masks.items()}
    left = sum(kept.values())
    shares = {layer: 1 - kept[layer] / mask.numel() for layer, mask in masks.items()}
    shown, (low, high) = str(accuracy), accuracy.interval
    point = {
        "left": left / len(keep), "weights": left, "accuracy": accuracy.value,
        "low": low, "high": high, "shown": shown,
    }  # fmt: skip
    layers = " · ".join(f"{escape(layer)} {100 * share:.1f} %" for layer, share in shares.items())
    readout = (
        f'<span style="font-size:120%">accuracy on validation: <b>{shown}</b></span><br>'
        f"{100 * amount:g} % sparsity: {left:,} of {len(keep):,} weights left; "
        f"sparsity of each layer: {layers}"
    )
    alt = (
        f"{100 * amount:g} % sparsity, all weights with |weight| ≤ {threshold:.3f} are pruned: "
        f"accuracy {shown}. Sparsity of each layer: "
        + ", ".join(f"{layer} {100 * share:.0f} %" for layer, share in shares.items())
    )
    data: dict[str, list[Row]] = {
        "kept": _counts(values, keep, _edge(values)),
        "threshold": [{"weight": sign * threshold} for sign in (-1, 1)] if threshold else [],
        "shares": [{"layer": layer, "share": share} for layer, share in shares.items()],
        "seen": sorted([point, *earlier], key=lambda row: row["left"]),
        "now": [point],
    }
    return State(readout, alt, data)


def sparsity_chart(model: nn.Module, dense: float | None = None) -> Chart:
    """The histogram of all weights, the sparsity of each layer, and the accuracy curve so far.

    Args:
        model: a trained network.
        dense: its accuracy without pruning, as a dashed line and in words (default: neither).
    """
    weights = prunable(model)
    values = torch.cat([weight.flatten() for weight in weights.values()])
    edge = _edge(values)
    everything = _counts(values, torch.ones_like(values), edge)
    highest = max(row["weights"] for row in everything)
    bars = {
        "x": number("from", "weight", (-edge, edge), values=_ticks(edge)),
        "x2": {"field": "to"},
        "y": number("weights", "number of weights", (0, 1.05 * highest)),
        "y2": {"datum": 0},
    }
    about = tooltip(**{"from": "from|.3f", "to": "to|.3f", "weights": "weights|,"})
    line = {"x": {**bars["x"], "field": "weight"}, "color": {"value": ORANGE}}
    histogram = panel(
        "weights (blue: kept, gray: pruned, dashed: threshold)", 290, 190,
        mark("bar", "all", zoom="weights", clip=True, color=GRAY, **bars, tooltip=about),
        mark("bar", "kept", clip=True, color=SKY, **bars, tooltip=about),
        mark("rule", "threshold", clip=True, strokeDash=[5, 3], strokeWidth=2, **line,
             tooltip=tooltip(weight="threshold|.4f")),
    )  # fmt: skip
    share = {
        "y": category("layer", None, list(weights), labelLimit=110),
        "x": number("share", "sparsity", (0, 1), percent=True, values=[0, 0.5, 1]),
    }
    pruned = panel(
        "sparsity of each layer", 120, 190,
        mark("bar", "shares", color=GRAY, **share,
             tooltip=tooltip(layer="layer", share="sparsity|.1%")),
        mark("text", "shares", align="right", fontSize=11, y=share["y"], x={"value": 158},
             transform=[{"calculate": "format(100 * datum.share, '.0f') + ' %'", "as": "shown"}],
             text={"field": "shown"}),
    )  # fmt: skip
    return chart(histogram, pruned, _curve(dense), all=everything)


def _curve(dense: float | None) -> Chart:
    """The panel with the accuracy at each sparsity that was visited."""
    x = number(
        "left", "weights left (log scale)", (0.001, 1), percent=True, type="log", reverse=True,
        values=[1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001],
    )  # fmt: skip
    y = number("accuracy", "validation accuracy", (0, 1.03), percent=True)
    hover = tooltip(weights="weights left|,", shown="accuracy")
    return panel(
        "accuracy (orange: now, with its 95 % interval)", 290, 190, *_beside(dense, y),
        mark("line", "seen", zoom="curve", clip=True, color=BLUE, x=x, y=y),
        mark("circle", "seen", clip=True, color=BLUE, size=30, opacity=1, x=x, y=y, tooltip=hover),
        mark("rule", "now", clip=True, color=ORANGE, strokeWidth=2, x=x,
             y={**y, "field": "low"}, y2={"field": "high"}),
        mark("circle", "now", clip=True, color=ORANGE, size=80, opacity=1, x=x, y=y, tooltip=hover),
    )  # fmt: skip


def _beside(dense: float | None, y: Chart) -> list[Chart]:
    """The dense network's accuracy as a dashed line, and how far from it the slider stands."""
    if dense is None:
        return []
    change = f"format(100 * (datum.accuracy - {dense}), '+.1f')"
    now = "'now at ' + format(100 * (1 - datum.left), '.3~g') + ' % sparsity: '"
    words = f"{now} + format(100 * datum.accuracy, '.1f') + ' %, ' + {change} + ' points'"
    corner = {"x": {"value": 8}, "y": {"value": 176}}
    line = {"y": {name: value for name, value in y.items() if name != "field"} | {"datum": dense}}
    return [
        mark("rule", "now", color=INK, strokeDash=[5, 3], **line),
        mark("text", "now", align="left", fontSize=12, **corner, text={"field": "words"},
             transform=[{"calculate": words, "as": "words"}]),
        mark("text", "now", align="left", fontSize=11, text={"value": "dashed: dense"},
             **corner | {"y": {"value": 158}}),
    ]  # fmt: skip


def sparsity_explorer(model: nn.Module, dataset: TensorDataset, amount: float = 0.5) -> Explorer:
    """The sparsity slider over a trained network; it stands at `amount` at first. Lesson 1.

    The curve grows by each position that the slider visits. Without a kernel nothing can be visited,
    so the stored picture and states have the whole curve. See `sparsity_view`.
    """
    start = next((label for label, one in AMOUNTS.items() if one == amount), None)
    if start is None:
        raise ValueError(f"Got amount={amount}; the slider has 0, 0.01, …, 0.99, 0.995 and 0.999.")
    slider = Control("sparsity", start, AMOUNTS)
    wanted = {label: one for label, one in AMOUNTS.items() if label in {*STORED, start}}
    drawing = sparsity_chart(model, _accuracy(model, dataset, global_masks(model, 0)).value)
    whole = _growing(model, dataset)
    for one in wanted.values():
        whole(one)
    stored = states(whole, [replace(slider, options=wanted)], drawing)
    return explore(
        [slider], _growing(model, dataset), drawing, stored=stored, picture=whole(amount)
    )


def _growing(model: nn.Module, dataset: TensorDataset) -> View:
    """`sparsity_view` as a function of the amount, which remembers the points of its curve."""
    seen: dict[float, Row] = {}

    def view(amount: float) -> State:
        state = sparsity_view(model, dataset, amount, [seen[one] for one in seen if one != amount])
        seen[amount] = state.data["now"][0]
        return state

    return view


def _accuracy(model: nn.Module, dataset: TensorDataset, masks: dict[str, Tensor]) -> Accuracy:
    masked = {f"{name}.weight": weight * masks[name] for name, weight in prunable(model).items()}
    inputs, labels = (part.to(device_of(model)) for part in dataset.tensors)
    with torch.inference_mode(), evaluating(model):
        logits = functional_call(model, masked, (inputs,))
    return Accuracy(int((not_nan(logits).argmax(-1) == labels).sum()), len(labels))


def _edge(values: Tensor) -> float:
    """Where the histogram ends: the few weights beyond would squeeze all others."""
    return round(4 * values.std().item(), 3) or 1.0


def _ticks(edge: float) -> list[float]:
    """Five round numbers between −edge and edge, 0 among them."""
    unit = 10.0 ** math.floor(math.log10(edge))
    return [round(part * unit * (edge // unit), 9) for part in (-1, -0.5, 0, 0.5, 1)]


def _counts(values: Tensor, keep: Tensor, edge: float) -> list[Row]:
    """How many kept values lie in each bin between −edge and edge; empty bins are left out."""
    width = 2 * edge / BINS
    bins = ((values + edge) / width).floor().clamp(-1, BINS).int() + 1  # 0 and BINS + 1: outside
    counts = torch.bincount(bins, keep, minlength=BINS + 2)[1:-1].tolist()
    return [
        {"from": -edge + i * width, "to": -edge + (i + 1) * width, "weights": int(count)}
        for i, count in enumerate(counts)
        if count
    ]
