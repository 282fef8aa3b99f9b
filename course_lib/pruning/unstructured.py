"""Unstructured pruning: scores → masks → sparsity. Weights become zeros; tensors keep their shape."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.pruning.masks import (
    Masks,
    apply_masks,
    left_out,
    masked_weight,
    original_of,
    output_rows,
    prunable_modules,
)
from course_lib.pruning.scores import CHUNK, Score, magnitude, score_chunks
from course_lib.pruning.thresholds import kth_smallest

Value = TypeVar("Value")


def global_masks(
    model: nn.Module, amount: float, score: Score = magnitude, layers: Sequence[str] | None = None
) -> Masks:
    """Masks that prune the lowest `amount` of all weights, ranked over all layers together.

    Exactly ``round(amount · n)`` of the n weights go; among equal scores the first ones. Weights that
    are zero already go before all others, so asking twice for 0.5 gives 0.5.

    Args:
        model: any module; `prunable` says which of its weights are meant.
        amount: fraction of the original weights, in [0, 1].
        score: importance of each weight (default `magnitude`): ``score(layer, weight)`` is a tensor
            ≥ 0 of the weight's shape, the same one each time.
        layers: names of layers (default: all of `prunable`).

    Raises:
        ValueError: amount outside [0, 1]; a score that is NaN, negative, of another shape or different
            each time; and what `prunable` raises.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2, bias=False))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[0.1, -0.4], [0.3, -0.2]]))
        >>> global_masks(net, 0.5)["0"].tolist()
        [[False, True], [True, False]]
    """
    check_amount(amount)
    modules = prunable_modules(model, layers)

    def scores(layer: str) -> Iterator[np.ndarray]:
        return score_chunks(layer, masked_weight(modules[layer]), score)

    # All masks first: small blocks that stay, between large ones that go, would fragment the memory.
    shapes = {layer: original_of(module).shape for layer, module in modules.items()}
    masks = {layer: torch.empty(shape, dtype=torch.bool) for layer, shape in shapes.items()}
    count = round(amount * sum(mask.numel() for mask in masks.values()))
    threshold, ties = kth_smallest(
        lambda: (part for layer in modules for part in scores(layer)), count
    )
    for layer in modules:
        ties = _fill_(masks[layer], scores(layer), threshold, ties)
    if ties:
        raise ValueError(
            "The score gives other values each time it is called; make it give the same ones for the "
            "same layer, as random_score(seed) does."
        )
    return {layer: mask.to(original_of(modules[layer]).device) for layer, mask in masks.items()}


def layer_masks(
    model: nn.Module,
    amount: float | Mapping[str, float],
    score: Score = magnitude,
    layers: Sequence[str] | None = None,
) -> Masks:
    """Masks that prune each layer by the same `amount`, or each by its own: ``{"fc1": 0.9, …}``.

    Arguments and errors are those of `global_masks`; a mapping names its layers itself.

    Example:
        >>> from course_lib.models.networks import LeNet300
        >>> [round(1 - mask.float().mean().item(), 2) for mask in layer_masks(LeNet300(), 0.3).values()]
        [0.3, 0.3, 0.3]
    """
    masks: Masks = {}
    for layer in prunable_modules(model, list(amount) if isinstance(amount, Mapping) else layers):
        fraction = amount[layer] if isinstance(amount, Mapping) else amount
        masks |= global_masks(model, fraction, score, [layer])
    return masks


def row_masks(
    model: nn.Module, amount: float, score: Score = magnitude, layers: Sequence[str] | None = None
) -> Masks:
    """Masks that prune each output row by the same `amount`: weights compete within their row only.

    A row holds the weights of one output: ``weight[i]`` of a linear layer, a filter of a convolution.
    Of its c weights exactly ``round(amount · c)`` go. Wanda is defined so (Sun et al. 2024, § 3).
    Arguments and errors are those of `global_masks`. Explained in lesson 1.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2, bias=False))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[0.1, -0.4], [3.0, -2.0]]))
        >>> row_masks(net, 0.5)["0"].tolist()
        [[False, True], [True, False]]
    """
    check_amount(amount)
    return {
        layer: _group_mask(layer, module, score, amount)
        for layer, module in prunable_modules(model, layers).items()
    }


def n_m_masks(
    model: nn.Module,
    n: int = 2,
    m: int = 4,
    score: Score = magnitude,
    layers: Sequence[str] | None = None,
) -> Masks:
    """Masks of the pattern n:m: of each m neighbors in an output row, the n lowest are pruned.

    NVIDIA GPUs since Ampere compute faster with 2:4 (Mishra et al. 2021). Explained in lesson 1.

    Raises:
        ValueError: not 0 ≤ n ≤ m, or a row's length is not a multiple of m; else as `global_masks`.
    """
    if not 0 <= n <= m or m < 1:
        raise ValueError(f"The pattern is {n}:{m}; n of each m weights go, so 0 ≤ n ≤ m is needed.")
    return {
        layer: _group_mask(layer, module, score, n / m, m)
        for layer, module in prunable_modules(model, layers).items()
    }


def prune_weights(
    model: nn.Module, amount: float, score: Score = magnitude, layers: Sequence[str] | None = None
) -> nn.Module:
    """A copy of `model` with the lowest `amount` of its weights masked, over all layers together.

    Short for ``apply_masks(model, global_masks(model, amount, …))``. The masks hold through training;
    `make_permanent` writes the zeros into the weights. A layer that is left out because its weight is
    tied to an embedding, as GPT-2's ``lm_head``, is named in a warning. Explained in lesson 1.

    Example:
        >>> from course_lib.pruning.masks import sparsity
        >>> from course_lib.models.networks import LeNet300
        >>> once = prune_weights(LeNet300(), 0.5)
        >>> f"{sparsity(once):.1%} {sparsity(prune_weights(once, 0.5)):.1%}"
        '50.0% 50.0%'
    """
    masks = global_masks(model, amount, score, layers)
    if layers is None and (tied := left_out(model)):
        warnings.warn(
            f"Left out: {tied}, whose weight is also an embedding's. To prune both, name the layer in "
            "layers=[…].",
            stacklevel=2,
        )
    return apply_masks(model, masks)


def sensitivity(
    model: nn.Module,
    evaluate: Callable[[nn.Module], Value],
    amounts: Iterable[float],
    score: Score = magnitude,
    layers: Sequence[str] | None = None,
) -> dict[str, list[Value]]:
    """Prune one layer at a time, leave the others whole, and evaluate: layer → a result per amount.

    Li et al. 2017, § 3.2. `evaluate` should use the validation part. `structured.sensitivity` does the
    same with units. Explained in lesson 1.
    """
    amounts = list(amounts)
    return {
        layer: [evaluate(prune_weights(model, amount, score, [layer])) for amount in amounts]
        for layer in prunable_modules(model, layers)
    }


def check_amount(amount: float) -> None:
    """Raise TypeError or ValueError unless it is a fraction."""
    if isinstance(amount, bool) or not isinstance(amount, Real):
        raise TypeError(f"amount is {amount!r}; expected a number between 0 and 1, such as 0.3.")
    if not 0 <= amount <= 1:
        raise ValueError(
            f"amount is {amount}; it is a fraction of the weights between 0 and 1. For 30 % say 0.3."
        )


def _fill_(mask: Tensor, scores: Iterable[np.ndarray], threshold: float, ties: int) -> int:
    """True where the score is at or above the threshold, except for the first `ties` that equal it.
    Returns how many ties are left for the next layers."""
    for part, values in zip(mask.view(-1).split(CHUNK), scores, strict=True):
        keep = part.numpy()
        np.greater_equal(values, threshold, out=keep)
        if ties:
            first = np.flatnonzero(values == threshold)[:ties]
            keep[first] = False
            ties -= len(first)
    return ties


def _group_mask(
    layer: str, module: nn.Module, score: Score, amount: float, size: int | None = None
) -> Tensor:
    """Prune `amount` of each `size` neighbors in an output row (default: of each row)."""
    weight = masked_weight(module)
    scores = torch.from_numpy(np.concatenate(list(score_chunks(layer, weight, score))))
    rows = output_rows(module, scores.view(weight.shape))  # [outputs, inputs, …]
    columns = rows[0].numel()
    size = size or columns
    if columns % size:
        raise ValueError(
            f"A row of {layer!r} has {columns} weights, not a multiple of m = {size}; name the "
            "layers that fit with layers=[…]."
        )
    groups = rows.reshape(-1, size)
    lowest = groups.sort(dim=1, stable=True).indices[:, : round(amount * size)]
    keep = torch.ones_like(groups, dtype=torch.bool).scatter_(1, lowest, False).view(rows.shape)
    return output_rows(module, keep).contiguous().to(weight.device)
