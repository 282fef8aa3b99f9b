"""The sliders. What a slider shows is made by a pure function of its value, which tests can call."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

import ipywidgets
import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import TensorDataset

from course_lib.batching import device_of
from course_lib.distillation import soften
from course_lib.masking import prunable
from course_lib.measure import Accuracy, Latency, Runs, evaluating, gap
from course_lib.plots import BLUE, GREEN, GREY, ORANGE
from course_lib.pruning import global_masks


@dataclass(frozen=True)
class SparsityView:
    """What the sparsity slider shows for one amount."""

    accuracy: Accuracy
    sparsity: dict[str, float]  # layer → share of its weights pruned
    threshold: float  # every weight up to this size is pruned
    readout: str  # HTML
    histogram: str  # HTML with an inline SVG
    picture: str  # HTML with a PNG


def sparsity_view(model: nn.Module, dataset: TensorDataset, amount: float) -> SparsityView:
    """Prune `amount` of the weights, the smallest ones, and look at what is left.

    A pure function: the model is left alone. Explained in lesson 1.

    Args:
        model: a trained `LeNet300`, or another whose first prunable layer takes 28 × 28 pixels.
        dataset: images and labels for the accuracy; the validation part, not the test part.
        amount: fraction of all prunable weights, in [0, 1].
    """
    weights = prunable(model)
    masks = global_masks(model, amount)
    masked = {f"{layer}.weight": weight * masks[layer] for layer, weight in weights.items()}
    images, labels = (part.to(device_of(model)) for part in dataset.tensors)
    with torch.inference_mode(), evaluating(model):
        logits = functional_call(model, masked, (images,))
    accuracy = Accuracy(int((logits.argmax(-1) == labels).sum()), len(labels))
    shares = {layer: 1 - mask.float().mean().item() for layer, mask in masks.items()}
    values = torch.cat([weight.flatten() for weight in weights.values()])
    keep = torch.cat([mask.flatten() for mask in masks.values()])
    threshold = 0.0 if keep.all() else values[~keep].abs().max().item()
    first = next(iter(weights))
    return SparsityView(
        accuracy=accuracy,
        sparsity=shares,
        threshold=threshold,
        readout=_readout(accuracy, amount, int(keep.sum()), shares),
        histogram=_histogram(values, keep, threshold),
        picture=_picture(weights[first], masks[first]),
    )


def sparsity_explorer(
    model: nn.Module, dataset: TensorDataset, amount: float = 0.5
) -> ipywidgets.VBox:
    """The sparsity slider over a trained network; it stands at `amount` at first."""
    slider = ipywidgets.FloatSlider(
        value=amount,
        min=0,
        max=1,
        step=0.01,
        description="sparsity",
        readout_format=".0%",
        layout=ipywidgets.Layout(width="520px"),
    )
    readout = fixed_html("course-readout", "56px")
    histogram = fixed_html("course-histogram", "230px")
    picture = fixed_html("course-mask", "230px")

    def update(amount: float) -> None:
        view = sparsity_view(model, dataset, amount)
        readout.value, histogram.value, picture.value = view.readout, view.histogram, view.picture

    live([slider], update, readout)
    pictures = ipywidgets.HBox([histogram, picture], layout=ipywidgets.Layout(flex_flow="row wrap"))
    return ipywidgets.VBox([slider, readout, pictures])


@dataclass(frozen=True)
class TemperatureView:
    """What the temperature slider shows for one T."""

    probabilities: Tensor  # [classes], softmax(logits / T)
    entropy: float  # bits
    gradient: Tensor  # [classes], what a student that knows nothing is told
    readout: str  # HTML
    picture: str  # HTML with an inline SVG


def temperature_view(logits: Tensor, names: Sequence[str], T: float) -> TemperatureView:
    """Soften one row of a teacher's logits, and look at what a student would learn from it.

    The gradient is that of T² · KL with respect to the logits of a student that still gives each
    class the same: T · (1 / classes − p), turned round so that up means "raise this logit". Lesson 3.

    Args:
        logits: ``[classes]``.
        names: of the classes, one each.
        T: temperature, above 0.
    """
    if len(names) != len(logits):
        raise ValueError(f"Got {len(names)} names for {len(logits)} logits; give one each.")
    p = soften(logits, T)
    entropy = torch.special.entr(p).sum().item() / math.log(2)
    gradient = T * (p - 1 / len(p))
    order = p.argsort(descending=True).tolist()
    first, second = names[order[0]], names[order[1]]
    readout = (
        f'<span style="font-size:120%">T = {T:g}: <b>{100 * p[order[0]]:.1f} %</b> {escape(first)}, '
        f"<b>{100 * p[order[1]]:.1f} %</b> {escape(second)}</span><br>"
        f"entropy {entropy:.2f} of at most {math.log2(len(p)):.2f} bits"
    )
    panels = _bars(p, names, 0, "probability", 1.0) + _bars(
        gradient, names, 330, "push on a new student's logits (T² · gradient)", gradient.abs().max()
    )
    picture = (
        '<svg viewBox="0 0 650 210" width="650" role="img" aria-label="Probabilities and gradients '
        f'of {len(p)} classes at temperature {T:g}"><g font-size="12" fill="currentColor">{panels}'
        "</g></svg>"
    )
    return TemperatureView(p, entropy, gradient, readout, picture)


def temperature_explorer(
    examples: Mapping[str, Tensor], names: Sequence[str], T: float = 1.0
) -> ipywidgets.VBox:
    """The temperature slider over some examples: title → the teacher's logits ``[classes]``."""
    example = ipywidgets.Dropdown(options=list(examples), description="example")
    slider = ipywidgets.FloatSlider(
        value=T,
        min=0.5,
        max=20,
        step=0.5,
        description="temperature",
        style={"description_width": "initial"},  # the default width cuts the word
        layout=ipywidgets.Layout(width="520px"),
    )
    readout = fixed_html("course-readout", "56px")
    picture = fixed_html("course-temperature", "230px")

    def update(title: str, T: float) -> None:
        view = temperature_view(examples[title], names, T)
        readout.value, picture.value = view.readout, view.picture

    live([example, slider], update, readout)
    return ipywidgets.VBox([example, slider, readout, picture])


def grid_view(grid: Mapping[tuple[float, float], Runs], baseline: Runs, at: tuple) -> str:
    """HTML: students trained at one T and alpha, beside those without a teacher. Lesson 3."""
    T, alpha = at
    runs = grid[at]
    everyone = [*grid.values(), baseline]
    low = min(r.interval[0] for r in everyone)
    high = max(r.interval[1] for r in everyone)
    rows = [(f"T = {T:g}, alpha = {alpha:g}", runs, BLUE), ("no teacher", baseline, GREY)]
    marks = []
    for y, (name, result, colour) in zip((30, 70), rows, strict=True):
        left, right, dot = (
            190 + 400 * (v - low) / (high - low or 1.0) for v in (*result.interval, result.value)
        )
        marks.append(
            f'<text x="0" y="{y + 4}">{name}</text><line x1="{left:.1f}" x2="{right:.1f}" y1="{y}" '
            f'y2="{y}" stroke="{colour}" stroke-width="3"/><circle cx="{dot:.1f}" cy="{y}" r="6" '
            f'fill="{colour}"/><text x="{dot:.1f}" y="{y - 11}" text-anchor="middle">'
            f"{100 * result.value:.1f} %</text>"
        )
    return (
        f'<svg viewBox="0 0 620 110" width="620" role="img" aria-label="{runs} against {baseline}">'
        f'<g font-size="13" fill="currentColor">{"".join(marks)}<text x="190" y="104">'
        f'{100 * low:.1f} %</text><text x="590" y="104" text-anchor="end">{100 * high:.1f} %</text>'
        "</g></svg>"
        f"<div>difference, seed by seed: <b>{gap(runs, baseline)}</b></div>"
    )


def grid_explorer(grid: Mapping[tuple[float, float], Runs], baseline: Runs) -> ipywidgets.VBox:
    """Sliders for T and alpha over a grid of students that were trained before."""
    temperatures, alphas = (sorted({key[i] for key in grid}) for i in (0, 1))
    sliders = [
        ipywidgets.SelectionSlider(
            options=options, description=name, value=options[len(options) // 2]
        )
        for name, options in (("T", temperatures), ("alpha", alphas))
    ]
    picture = fixed_html("course-grid", "150px")

    def update(T: float, alpha: float) -> None:
        picture.value = grid_view(grid, baseline, (T, alpha))

    live(sliders, update, picture)
    return ipywidgets.VBox([*sliders, picture])


@dataclass(frozen=True)
class Smaller:
    """One position of the amount slider: a network that was made smaller, and what came of it."""

    widths: Mapping[str, tuple[int, int]]  # layer → units now, units of the whole network
    parameters: int
    operations: int
    latency: Latency
    before: Accuracy  # as it was cut
    after: Accuracy  # after some epochs of training


def amount_view(variants: Mapping[float, Smaller], amount: float) -> str:
    """HTML: the network's layers, its cost beside that of the whole one, and its accuracy. Lesson 2."""
    now, whole = variants[amount], variants[min(variants)]
    step = 280 / len(now.widths)
    wide = 0.7 * step
    scale = 120 / max(units for _, units in now.widths.values())
    layers = []
    for i, (name, (kept, units)) in enumerate(now.widths.items()):
        x = 10 + i * step
        for tall, style in (
            (units, f'fill="none" stroke="{GREY}" stroke-dasharray="4 3"'),
            (kept, f'fill="{BLUE}"'),
        ):
            layers.append(
                f'<rect x="{x:.1f}" y="{150 - tall * scale:.1f}" width="{wide:.1f}" '
                f'height="{tall * scale:.1f}" {style}/>'
            )
        middle = x + wide / 2
        layers.append(
            f'<text x="{middle:.1f}" y="168" text-anchor="middle">{escape(name)}</text>'
            f'<text x="{middle:.1f}" y="184" text-anchor="middle">{kept} of {units}</text>'
        )
    ratios = [
        f"{before / after:.1f} × less" if after < before else "as before"
        for after, before in (
            (now.parameters, whole.parameters),
            (now.operations, whole.operations),
        )
    ]
    ratios.append("as before" if now is whole else now.latency.faster_than(whole.latency))
    rows = [
        ("parameters", now.parameters, whole.parameters, f"{now.parameters:,}"),
        ("operations", now.operations, whole.operations, f"{now.operations / 1e6:.2f} million"),
        ("latency", now.latency.median, whole.latency.median, f"{now.latency.median:.3g} ms"),
    ]
    for y, (name, value, full, text), ratio in zip((30, 64, 98), rows, ratios, strict=True):
        long = 170 * min(value / full, 1.0)
        layers.append(
            f'<text x="320" y="{y - 6}">{name}: {text}, {ratio}</text>'
            f'<rect x="320" y="{y}" width="170" height="9" fill="none" stroke="{GREY}"/>'
            f'<rect x="320" y="{y}" width="{long:.1f}" height="9" fill="{GREEN}"/>'
        )
    for y, (name, accuracy, colour) in zip(
        (142, 180), (("as cut", now.before, ORANGE), ("trained", now.after, BLUE)), strict=True
    ):
        left, right, dot = (400 + 220 * v for v in (*accuracy.interval, accuracy.value))
        layers.append(
            f'<text x="320" y="{y + 4}">{name}</text><line x1="400" x2="620" y1="{y}" y2="{y}" '
            f'stroke="{GREY}" stroke-width="1"/><line x1="{left:.1f}" x2="{right:.1f}" y1="{y}" '
            f'y2="{y}" stroke="{colour}" stroke-width="5"/><circle cx="{dot:.1f}" cy="{y}" r="5" '
            f'fill="{colour}"/><text x="{dot:.1f}" y="{y - 9}" text-anchor="middle">'
            f"{100 * accuracy.value:.1f} %</text>"
        )
    label = (
        f"{100 * amount:.0f} % of the parameters removed: {rows[0][3]} parameters, "
        f"{rows[1][3]} operations, {rows[2][3]}; accuracy {100 * now.before.value:.1f} % as cut, "
        f"{100 * now.after.value:.1f} % after training"
    )
    return (
        f'<svg viewBox="0 0 640 228" width="640" role="img" aria-label="{label}">'
        f'<g font-size="12" fill="currentColor">{"".join(layers)}<text x="10" y="14">'
        "units of each layer (dashed: the whole network)</text>"
        '<text x="400" y="202">0 %</text><text x="620" y="202" text-anchor="end">100 %</text>'
        f'<text x="510" y="222" text-anchor="middle">on validation (n = {now.after.n:,})</text>'
        "</g></svg>"
    )


def amount_explorer(variants: Mapping[float, Smaller]) -> ipywidgets.VBox:
    """A slider over networks of different sizes that were made before: amount → `Smaller`.

    The smallest amount is taken for the whole network. Explained in lesson 2.
    """
    amounts = sorted(variants)
    slider = ipywidgets.SelectionSlider(
        options=[(f"{100 * amount:.0f} %", amount) for amount in amounts],
        value=amounts[len(amounts) // 2],
        description="amount",
        layout=ipywidgets.Layout(width="520px"),
    )
    picture = fixed_html("course-amount", "240px")

    def update(amount: float) -> None:
        picture.value = amount_view(variants, amount)

    live([slider], update, picture)
    return ipywidgets.VBox([slider, picture])


def live(controls: Sequence[Any], update: Callable[..., None], readout: ipywidgets.HTML) -> None:
    """Call `update` with the controls' values, now and at every move; `readout` shows an error."""

    def answer(change: object = None) -> None:
        try:
            update(*(control.value for control in controls))
        except Exception as error:
            readout.value = f"<pre>{escape(type(error).__name__)}: {escape(str(error))}</pre>"
            raise

    for control in controls:
        control.observe(answer, names="value")
    answer()


def fixed_html(name: str, height: str) -> ipywidgets.HTML:
    """A place for HTML, of one height: the page must not jump while a slider moves."""
    widget = ipywidgets.HTML(layout=ipywidgets.Layout(height=height, margin="0 12px 0 0"))
    widget.add_class(name)
    return widget


def _readout(accuracy: Accuracy, amount: float, left: int, shares: dict[str, float]) -> str:
    layers = " · ".join(f"{layer} {100 * share:.0f} %" for layer, share in shares.items())
    return (
        f'<div style="line-height:1.6"><span style="font-size:120%">accuracy on validation: '
        f"{accuracy._repr_html_()}</span><br>"
        f"{100 * amount:.0f} % pruned, {left:,} weights left; pruned in each layer: {layers}</div>"
    )


def _histogram(values: Tensor, keep: Tensor, threshold: float, bins: int = 81) -> str:
    """SVG: how many weights of each size; pruned ones grey, kept ones blue, thresholds dashed."""
    width, height = 400, 180
    edge = 4 * values.std().item()  # a few weights lie outside; they would squeeze all others
    everything = torch.histc(values, bins, -edge, edge)
    left = torch.histc(values[keep], bins, -edge, edge)
    scale = (height - 30) / max(everything.max().item(), 1.0)
    step = width / bins
    bars = []
    heights = (torch.stack([left, everything - left], 1) * scale).tolist()
    for i, (kept, pruned) in enumerate(heights):
        for bottom, bar, colour in ((0.0, pruned, GREY), (pruned, kept, BLUE)):
            if bar > 0:
                y = height - bottom - bar
                bars.append(
                    f'<rect x="{i * step:.1f}" y="{y:.1f}" width="{step - 0.5:.1f}" '
                    f'height="{bar:.1f}" fill="{colour}"/>'
                )
    lines = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="{height}" stroke="{ORANGE}" '
        f'stroke-width="2" stroke-dasharray="5 3"/>'
        for x in (width / 2 * (1 + sign * min(threshold / edge, 1)) for sign in (-1, 1))
    )
    label = f"Histogram of all weights; pruned up to size {threshold:.3f}"
    return (
        f'<svg viewBox="0 0 {width} {height + 34}" width="{width}" role="img" aria-label="{label}">'
        f'<g font-size="12" fill="currentColor">{"".join(bars)}{lines}'
        f'<text x="{width / 2}" y="12" text-anchor="middle">pruned: |weight| ≤ {threshold:.3f}</text>'
        f'<text x="0" y="{height + 14}">{-edge:.2f}</text>'
        f'<text x="{width / 2}" y="{height + 14}" text-anchor="middle">0</text>'
        f'<text x="{width}" y="{height + 14}" text-anchor="end">{edge:.2f}</text>'
        f'<text x="{width / 2}" y="{height + 30}" text-anchor="middle">'
        "weight (grey: pruned, blue: kept)</text></g></svg>"
    )


def _picture(weight: Tensor, mask: Tensor, rows: int = 5, columns: int = 12) -> str:
    """PNG: the input weights of some neurons as pictures; blue < 0, orange > 0, grey: pruned."""
    units = weight[: rows * columns].view(-1, 28, 28).cpu()
    kept = mask[: rows * columns].view(-1, 28, 28).cpu()
    strength = (units.abs() / (3 * units.std() + 1e-12)).clamp(0, 1).sqrt().unsqueeze(-1)
    blue, orange = torch.tensor([0, 114, 178]), torch.tensor([230, 159, 0])
    sign = torch.where(units.unsqueeze(-1) > 0, orange, blue)
    colours = 255 + (sign - 255) * strength  # white for weights near zero
    colours[~kept] = 225.0
    tiles = nn.functional.pad(
        colours.permute(0, 3, 1, 2), (1, 1, 1, 1), value=90.0
    )  # [n, 3, 30, 30]
    tiles = nn.functional.pad(tiles, (0,) * 7 + (-len(tiles) % columns,), value=255.0)  # whole rows
    grid = tiles.unflatten(0, (-1, columns)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    buffer = BytesIO()
    Image.fromarray(grid.to(torch.uint8).numpy()).save(buffer, "PNG", compress_level=1)
    png = base64.b64encode(buffer.getvalue()).decode()
    pruned = 100 * (1 - mask.float().mean().item())
    alt = f"Input weights of {len(units)} neurons; {pruned:.0f} % pruned"
    return (
        f'<img src="data:image/png;base64,{png}" alt="{alt}" width="432" '
        'style="image-rendering:pixelated;max-width:none"/><br><small>the input weights of '
        f"{len(units)} neurons: blue &lt; 0, orange &gt; 0, grey: pruned</small>"
    )


def _bars(values: Tensor, names: Sequence[str], x: int, title: str, top: float | Tensor) -> str:
    """Bars around or above a zero line, in a panel 300 wide whose left edge is at `x`."""
    signed = bool((values < 0).any())
    zero, scale = (105, 70) if signed else (175, 140)
    step = 300 / len(names)
    marks = [f'<text x="{x + 150}" y="14" text-anchor="middle">{title}</text>']
    for i, (name, value) in enumerate(zip(names, values.tolist(), strict=True)):
        bar = scale * value / (float(top) or 1.0)
        at = x + i * step
        label = f"{value:+.2f}" if signed else f"{value:.2f}"
        marks.append(
            f'<rect x="{at + 2:.1f}" y="{zero - max(bar, 0):.1f}" width="{step - 4:.1f}" '
            f'height="{abs(bar):.1f}" fill="{BLUE if value >= 0 else ORANGE}"/>'
            f'<text x="{at + step / 2:.1f}" y="{zero - bar + (-3 if bar >= 0 else 11):.1f}" '
            f'text-anchor="middle" font-size="10">{label}</text>'
            f'<text x="{at + step / 2:.1f}" y="200" text-anchor="middle">{escape(name)}</text>'
        )
    marks.append(f'<line x1="{x}" x2="{x + 300}" y1="{zero}" y2="{zero}" stroke="currentColor"/>')
    return "".join(marks)
