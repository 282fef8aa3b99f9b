"""The sliders. What a slider shows is made by a pure function of its value, which tests can call."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from io import BytesIO

import ipywidgets
import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import TensorDataset

from course_lib.masking import prunable
from course_lib.measure import Accuracy, evaluating
from course_lib.plots import BLUE, GREY, ORANGE
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
    images, labels = dataset.tensors
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
    readout = _html("course-readout", "56px")
    histogram = _html("course-histogram", "230px")
    picture = _html("course-mask", "230px")

    def update(amount: float) -> None:
        view = sparsity_view(model, dataset, amount)
        readout.value, histogram.value, picture.value = view.readout, view.histogram, view.picture

    live(slider, update, readout)
    pictures = ipywidgets.HBox([histogram, picture], layout=ipywidgets.Layout(flex_flow="row wrap"))
    return ipywidgets.VBox([slider, readout, pictures])


def live(
    slider: ipywidgets.Widget, update: Callable[[float], None], readout: ipywidgets.HTML
) -> None:
    """Call `update` with the slider's value, now and at every move; an error is shown in `readout`."""

    def answer(change: object = None) -> None:
        try:
            update(slider.value)
        except Exception as error:
            readout.value = f"<pre>{escape(type(error).__name__)}: {escape(str(error))}</pre>"
            raise

    slider.observe(answer, names="value")
    answer()


def _html(name: str, height: str) -> ipywidgets.HTML:
    # A fixed height: the page must not jump while the slider moves.
    widget = ipywidgets.HTML(layout=ipywidgets.Layout(height=height, margin="0 12px 0 0"))
    widget.add_class(name)
    return widget


def _readout(accuracy: Accuracy, amount: float, left: int, shares: dict[str, float]) -> str:
    layers = " · ".join(f"{layer} {share:.0%}" for layer, share in shares.items())
    return (
        f'<div style="line-height:1.6"><span style="font-size:120%">accuracy on validation: '
        f"{accuracy._repr_html_()}</span><br>"
        f"{amount:.0%} pruned, {left:,} weights left; pruned in each layer: {layers}</div>"
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
    grid = tiles.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    buffer = BytesIO()
    Image.fromarray(grid.to(torch.uint8).numpy()).save(buffer, "PNG", compress_level=1)
    png = base64.b64encode(buffer.getvalue()).decode()
    alt = f"Input weights of {rows * columns} neurons; {1 - mask.float().mean().item():.0%} pruned"
    return (
        f'<img src="data:image/png;base64,{png}" alt="{alt}" width="432" '
        'style="image-rendering:pixelated;max-width:none"/><br><small>the input weights of '
        f"{rows * columns} neurons: blue &lt; 0, orange &gt; 0, grey: pruned</small>"
    )
