"""Importance scores of single weights. The lowest are pruned first."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from course_lib.batching import batches, labels
from course_lib.modules import device_of, evaluating, forward
from course_lib.pruning.masks import original_of, output_rows, prunable_modules
from course_lib.training.recipe import Loss, cross_entropy

Score = Callable[[str, Tensor], Tensor]  # (layer, weight) → importance ≥ 0, of the weight's shape

CHUNK = 2**18  # weights at a time: little memory, and they fit in the processor's cache


def magnitude(layer: str, weight: Tensor) -> Tensor:
    """|w|. Older than deep learning (Hanson & Pratt 1988); made popular by Han et al. 2015, § 3."""
    return weight.abs()


def random_score(seed: int = 0) -> Score:
    """The random baseline, which every other score has to beat. One seed gives the same scores."""

    def score(layer: str, weight: Tensor) -> Tensor:
        # The layer's name is in the seed: layers of one shape get different patterns.
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {layer}".encode()))
        return torch.rand(weight.shape, generator=generator).to(weight.device)

    return score


def weight_taylor(model: nn.Module, dataset: Dataset, loss: Loss | None = None) -> Score:
    """|w · ∂loss/∂w|: the first-order estimate of how much the loss changes without the weight.

    Molchanov et al. 2019, equation 8. The gradient is the mean over `dataset`, and the absolute value
    is taken after it; `structured.gate_taylor` takes it for each example. A few hundred training
    examples are enough. The default loss is cross-entropy. Explained in lesson 1.

    Raises:
        ValueError: no examples; when used, a layer that `model` does not have.
    """
    loss = loss or cross_entropy
    parameters = {name: original_of(module) for name, module in prunable_modules(model).items()}
    gradients = {layer: torch.zeros_like(weight) for layer, weight in parameters.items()}
    examples = 0
    with evaluating(model), torch.enable_grad(), _trainable(parameters.values()):
        for batch in batches(dataset, device=device_of(model)):
            n = len(labels(batch))
            value = loss(forward(model, batch), batch)
            new = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
            for layer, gradient in zip(parameters, new, strict=True):
                if gradient is not None:
                    gradients[layer] += n * gradient
            examples += n

    def score(layer: str, weight: Tensor) -> Tensor:
        gradient = _entry(gradients, layer, "weight_taylor")
        return (weight * gradient.to(weight.device)).abs() / examples

    return score


@contextmanager
def _trainable(parameters: Iterable[Any]) -> Iterator[None]:
    """A frozen weight has a gradient, too."""
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def wanda(model: nn.Module, dataset: Dataset) -> Score:
    """|w| · ‖x‖: magnitude times the norm of the input that the weight multiplies.

    ‖x‖ is the L2 norm of each input feature (of a convolution: each input channel) over all of
    `dataset`; a few hundred training examples are enough, and no gradient is needed. The paper
    compares weights within each output row: use it with `row_masks`. Sun et al. 2024, § 3. Explained
    in lesson 1.

    Raises:
        ValueError: no examples; when used, a layer without input norms, such as a grouped
            convolution.
    """
    layers = prunable_modules(model)
    squares: dict[str, Tensor] = {}  # layer → sum of squares of each input [inputs]

    def watch(layer: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach().float()
            # Features come last for linear layers [..., in], second for convolutions [n, in, ...].
            is_linear = original_of(module).ndim == 2
            x = x.flatten(0, -2) if is_linear else x.transpose(0, 1).flatten(1).T
            squares[layer] = squares.get(layer, 0) + x.square().sum(0)

        return hook

    hooks = [
        module.register_forward_pre_hook(watch(layer))
        for layer, module in layers.items()
        if getattr(module, "groups", 1) == 1
    ]
    try:
        with evaluating(model), torch.inference_mode():
            for batch in batches(dataset, device=device_of(model)):
                forward(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    norms = {}
    for layer, square in squares.items():
        others = original_of(layers[layer]).ndim - 2
        norms[layer] = output_rows(layers[layer], square.sqrt().view(1, -1, *[1] * others)).clone()

    def score(layer: str, weight: Tensor) -> Tensor:
        return weight.abs() * _entry(norms, layer, "wanda").to(weight.device)

    return score


def score_chunks(layer: str, weight: Tensor, score: Score) -> Iterator[np.ndarray]:
    """The layer's scores in float32, in flat pieces. A weight that is zero gets −1, so it goes first.

    NumPy runs on one thread. PyTorch's threads would wait for each other at every piece, which takes
    long on a busy machine.
    """
    if score is magnitude:  # computed piece by piece, so it needs no memory of the weight's size
        pairs: Any = ((weights, np.abs(weights)) for weights in _chunks(weight))
    else:
        scores = score(layer, weight)
        if scores.shape != weight.shape:
            raise ValueError(
                f"The score of {layer!r} has shape {tuple(scores.shape)}, its weight "
                f"{tuple(weight.shape)}; a score gives one value for each weight."
            )
        pairs = zip(_chunks(weight), _chunks(scores), strict=True)
    for weights, values in pairs:
        if not values.min() >= 0 or np.isnan(weights.min()):  # NaN is not ≥ 0 either
            raise ValueError(
                f"The weights of {layer!r} hold NaN, or their scores NaN or values below 0. NaN "
                "weights mean that a training went wrong (see fit's advice on learning rates); a "
                "score of your own must be ≥ 0."
            )
        # By magnitude they are the lowest anyway.
        yield values if score is magnitude else np.where(weights == 0, np.float32(-1), values)


def _chunks(tensor: Tensor) -> Iterator[np.ndarray]:
    return (part.numpy() for part in tensor.detach().flatten().cpu().float().split(CHUNK))


def _entry(table: dict[str, Tensor], layer: str, name: str) -> Tensor:
    if layer not in table:
        raise ValueError(
            f"{name} has no scores for layer {layer!r}, only for {sorted(table)}. Make it with the "
            "model that you prune."
        )
    return table[layer]
