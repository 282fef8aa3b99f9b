"""Unstructured pruning: scores → masks → sparsity. Weights become zeros; tensors keep their shape.

A *score* says how much a weight matters. It is a function ``score(layer, weight) → tensor`` of the
weight's shape, all values ≥ 0; the lowest are pruned first. Explained in lesson 1.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from course_lib import training
from course_lib.batching import batches, device_of
from course_lib.masking import (
    Masks,
    apply_masks,
    apply_masks_,
    effective,
    original_of,
    prunable,
    prunable_modules,
)
from course_lib.measure import Accuracy, evaluating

Score = Callable[[str, Tensor], Tensor]
Value = TypeVar("Value")

# --- scores ----------------------------------------------------------------------------------------


def magnitude(layer: str, weight: Tensor) -> Tensor:
    """|w|: a small weight changes the sum it goes into by little (Han et al. 2015, section 3)."""
    return weight.abs()


def random_score(seed: int = 0) -> Score:
    """Chance, the baseline that every other score has to beat. The same seed, the same scores."""

    def score(layer: str, weight: Tensor) -> Tensor:
        # Seeded by layer name too, so that layers of one shape do not share their pattern.
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {layer}".encode()))
        return torch.rand(weight.shape, generator=generator).to(weight.device)

    return score


def taylor(model: nn.Module, dataset: Dataset, loss: training.Loss | None = None) -> Score:
    """|w · ∂loss/∂w|: the first-order estimate of what removing a weight does to the loss.

    Molchanov et al. 2019, equation 8. The gradient is the mean over `dataset`; take some hundred
    training examples, never the test part. The default loss is cross-entropy. Lesson 1.

    Raises:
        ValueError: no examples; when used on a layer that it has not seen.
    """
    _check_examples(dataset)
    loss = loss or training.cross_entropy
    weights = prunable(model)
    gradients = {layer: torch.zeros_like(weight) for layer, weight in weights.items()}
    parameters = {layer: original_of(model.get_submodule(layer)) for layer in weights}
    seen = 0  # examples
    with evaluating(model), torch.enable_grad():
        for batch in batches(dataset, device=device_of(model)):
            value = loss(training.forward(model, batch), batch)
            n = len(training.labels(batch))
            found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
            for layer, gradient in zip(parameters, found, strict=True):
                if gradient is not None:
                    gradients[layer] += n * gradient
            seen += n

    def score(layer: str, weight: Tensor) -> Tensor:
        return (weight * _known(gradients, layer, "taylor").to(weight.device)).abs() / seen

    return score


def wanda(model: nn.Module, dataset: Dataset) -> Score:
    """|W| · ‖x‖: a weight matters if it is large and what flows through it is (Sun et al. 2024, § 3).

    ‖x‖ is the length of each input feature (for a convolution: channel) over all of `dataset`; take
    some hundred training examples. No gradient is needed. Lesson 1.

    Raises:
        ValueError: no examples; when used on a layer with no input norms, such as a grouped
            convolution.
    """
    _check_examples(dataset)
    squares: dict[str, Tensor] = {}

    def watch(layer: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach().float()
            # features come last for Linear [..., in], second for a convolution [n, in, ...]
            x = (
                x.flatten(0, -2)
                if isinstance(module, nn.Linear)
                else x.transpose(0, 1).flatten(1).T
            )
            squares[layer] = squares.get(layer, 0) + x.square().sum(0)  # [in]

        return hook

    hooks = [
        model.get_submodule(layer).register_forward_pre_hook(watch(layer))
        for layer in prunable(model)
        if getattr(model.get_submodule(layer), "groups", 1) == 1
    ]
    try:
        with evaluating(model), torch.inference_mode():
            for batch in batches(dataset, device=device_of(model)):
                training.forward(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    norms = {layer: square.sqrt().clone() for layer, square in squares.items()}

    def score(layer: str, weight: Tensor) -> Tensor:
        norm = _known(norms, layer, "wanda").to(weight.device)
        return weight.abs() * norm.view(1, -1, *[1] * (weight.ndim - 2))

    return score


# --- masks -----------------------------------------------------------------------------------------


def global_masks(
    model: nn.Module,
    amount: float,
    score: Score = magnitude,
    layers: Sequence[str] | None = None,
) -> Masks:
    """Masks that prune the lowest `amount` of all weights together: some layers lose more.

    Exactly ``round(amount · n)`` of the n weights go; among equal scores the first ones. Weights that
    are zero already go first, so asking twice for 0.5 gives 0.5.

    Args:
        model: any module; `prunable` says which of its weights are meant.
        amount: fraction of the original weights, in [0, 1].
        score: see the module's first lines; default `magnitude`.
        layers: names of layers; by default all linear and convolutional ones.

    Raises:
        ValueError: amount outside [0, 1]; unknown layer; nothing to prune; NaN; mixed devices.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2, bias=False))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[0.1, -0.4], [0.3, -0.2]]))
        >>> global_masks(net, 0.5)["0"].tolist()
        [[False, True], [True, False]]
    """
    _check_amount(amount)
    modules = prunable_modules(model, layers)
    count = round(amount * sum(original_of(module).numel() for module in modules.values()))

    def keys() -> Iterator[np.ndarray]:
        for layer, module in modules.items():
            yield from _keys(layer, effective(module), score)

    # All masks first: long-lived small blocks between short-lived large ones would break up the heap.
    masks = {
        layer: torch.empty(original_of(module).shape, dtype=torch.bool)
        for layer, module in modules.items()
    }
    threshold, ties = _threshold(keys, count)
    for layer, module in modules.items():
        weight, keep = effective(module), masks[layer]
        parts = zip(keep.view(-1).split(_CHUNK), _keys(layer, weight, score), strict=True)
        for kept, part in parts:
            np.greater_equal(part, threshold, out=kept.numpy())
            if ties:  # of those equal to the threshold the first ones go
                first = np.flatnonzero(part == threshold)[:ties]
                kept.numpy()[first] = False
                ties -= len(first)
        masks[layer] = keep.to(weight.device)
    if ties:
        raise ValueError(
            "The score gives other values each time it is asked; make it give the same ones for the "
            "same layer, as random_score(seed) does."
        )
    return masks


def layer_masks(
    model: nn.Module,
    amount: float | Mapping[str, float],
    score: Score = magnitude,
    layers: Sequence[str] | None = None,
) -> Masks:
    """Masks that prune each layer by the same `amount`, or each by its own: ``{"fc1": 0.9, …}``.

    Arguments and errors are those of `global_masks`; a mapping names its layers itself.

    Example:
        >>> from course_lib.models import LeNet300
        >>> [round(1 - mask.float().mean().item(), 2) for mask in layer_masks(LeNet300(), 0.3).values()]
        [0.3, 0.3, 0.3]
    """
    masks: Masks = {}
    for layer in prunable_modules(model, list(amount) if isinstance(amount, Mapping) else layers):
        share = amount[layer] if isinstance(amount, Mapping) else amount
        masks |= global_masks(model, share, score, [layer])
    return masks


def n_m_masks(
    model: nn.Module,
    n: int = 2,
    m: int = 4,
    score: Score = magnitude,
    layers: Sequence[str] | None = None,
) -> Masks:
    """Masks of the pattern n:m: of each m weights in a row, the n lowest are pruned.

    2:4 is the pattern that NVIDIA GPUs since Ampere can skip (Mishra et al. 2021). Lesson 1.

    Raises:
        ValueError: not 0 ≤ n ≤ m, or a row's length is not a multiple of m; else as `global_masks`.
    """
    if not 0 <= n <= m or m < 1:
        raise ValueError(f"The pattern is {n}:{m}; n of each m weights go, so 0 ≤ n ≤ m is needed.")
    masks = {}
    for layer, weight in prunable(model, layers).items():
        columns = weight[0].numel()
        if columns % m:
            raise ValueError(
                f"A row of {layer!r} has {columns} weights, not a multiple of m = {m}; name the "
                "layers that fit with layers=[…]."
            )
        keys = torch.from_numpy(np.concatenate(list(_keys(layer, weight, score)))).view(-1, m)
        drop = keys.sort(dim=1, stable=True).indices[:, :n]
        keep = torch.ones_like(keys, dtype=torch.bool).scatter_(1, drop, False)
        masks[layer] = keep.view(weight.shape).to(weight.device)
    return masks


def prune(
    model: nn.Module,
    amount: float,
    score: Score = magnitude,
    layers: Sequence[str] | None = None,
) -> nn.Module:
    """A copy of `model` with the lowest `amount` of its weights masked, over all layers together.

    Short for ``apply_masks(model, global_masks(model, amount, …))``.

    Example:
        >>> from course_lib.masking import sparsity
        >>> from course_lib.models import LeNet300
        >>> once = prune(LeNet300(), 0.5)
        >>> f"{sparsity(once):.1%} {sparsity(prune(once, 0.5)):.1%}"
        '50.0% 50.0%'
    """
    return apply_masks(model, global_masks(model, amount, score, layers))


def sensitivity(
    model: nn.Module,
    measure: Callable[[nn.Module], Accuracy],
    amounts: Iterable[float],
    score: Score = magnitude,
) -> dict[str, list[Accuracy]]:
    """Accuracy when one layer alone is pruned, layer by layer: which ones can give, which cannot.

    Li et al. 2017, section 3.2. `measure` takes a model and is to look at the validation part.
    Lesson 1.
    """
    amounts = list(amounts)
    return {
        layer: [measure(prune(model, amount, score, [layer])) for amount in amounts]
        for layer in prunable(model)
    }


# --- pruning while training ------------------------------------------------------------------------


def cubic_sparsity(progress: float, final: float, end: float = 1.0) -> float:
    """Sparsity to have at `progress` (0–1) of the training: fast at first, then gently up to `final`.

    ``final · (1 − (1 − t)³)``, where t runs from 0 to 1 at the progress `end` (Zhu & Gupta 2017,
    equation 1, from sparsity 0). Lesson 1.

    Example:
        >>> [round(cubic_sparsity(p, final=0.8), 2) for p in (0, 0.25, 0.5, 1)]
        [0.0, 0.46, 0.7, 0.8]
    """
    _check_amount(final)
    if not 0 < end <= 1:
        raise ValueError(f"end is {end}; expected 0 < end ≤ 1.")
    t = min(max(progress / end, 0.0), 1.0)
    return final * (1 - (1 - t) ** 3)


def gradual_pruning(
    model: nn.Module,
    data: Mapping[str, Dataset],
    recipe: training.Recipe,
    final: float,
    score: Score = magnitude,
    end: float = 0.7,
) -> training.Fitted:
    """Train and prune at once: sparsity follows `cubic_sparsity` up to `final`, then recovery.

    Args:
        model: where to start from, trained or fresh; it is left alone.
        data, recipe: as for `training.fit`. The epoch is chosen among those behind `end` only, where
            the sparsity is `final`.
        final: the fraction of the original weights that are pruned in the end.
        score: see the module's first lines.
        end: share of the training at which `final` is reached (default 0.7).

    Returns:
        `Fitted`, its model still masked: train it on, or `make_permanent`.
    """
    reached = 0

    def after_step(model: nn.Module, progress: float) -> None:
        nonlocal reached
        # A hundred updates a run are as good as one a step, and cost little.
        percent = min(math.floor(100 * progress), math.ceil(100 * end))
        if percent > reached:
            amount = cubic_sparsity(percent / 100, final, end=end)
            apply_masks_(model, global_masks(model, amount, score))
        reached = percent

    behind = max(1, math.floor(recipe.epochs * (1 - end)))
    chosen = min(recipe.choose_last or behind, behind)
    start = prune(model, 0.0)  # masks of all True: the optimiser must know the originals
    return training.fit(start, data, replace(recipe, choose_last=chosen), after_step=after_step)


def iterative_pruning(
    model: nn.Module,
    data: Mapping[str, Dataset],
    recipe: training.Recipe,
    amounts: Iterable[float],
    score: Score = magnitude,
) -> training.Fitted:
    """Prune a little, recover by training, and again, for rising `amounts` (Han et al. 2015).

    Each amount is a fraction of the original weights; `recipe` is that of one round.
    """
    fitted = training.Fitted(model, [], 0)
    for amount in amounts:
        fitted = training.fit(prune(fitted.model, amount, score), data, recipe)
    return fitted


# --- inside ----------------------------------------------------------------------------------------


_CHUNK = 2**18  # weights that are looked at together: little memory, and they fit in the cache
_INFINITY = 0x7F800000  # bits of float32's infinity: everything above is NaN


def _keys(layer: str, weight: Tensor, score: Score) -> Iterator[np.ndarray]:
    """Scores as integers in the same order: the bits of a float ≥ 0 rise with it. Zero weights get 0.

    Integers can be counted: finding a threshold then needs two passes and no sorting. They come in
    flat chunks, as NumPy arrays: that runs on one thread, while PyTorch's threads would wait for each
    other at every chunk, for long on a busy machine.
    """
    if score is magnitude:  # |w| is w's bits without the sign: nothing need be computed or stored
        for weights in _chunks(weight):
            keys = weights.view(np.int32) & 0x7FFFFFFF
            if keys.max() > _INFINITY:
                raise ValueError(_NOT_A_NUMBER.format(layer=layer))
            yield keys
        return
    scores = score(layer, weight)
    if scores.shape != weight.shape:
        raise ValueError(
            f"The score of {layer!r} has shape {tuple(scores.shape)}, its weight "
            f"{tuple(weight.shape)}; a score gives one value for each weight."
        )
    for weights, values in zip(_chunks(weight), _chunks(scores), strict=True):
        keys = (values + np.float32(0)).view(np.int32)  # a copy, in which -0.0 has become 0.0
        if keys.min() < 0 or keys.max() > _INFINITY or np.isnan(weights.min()):
            raise ValueError(_NOT_A_NUMBER.format(layer=layer))
        keys += 1  # keeps 0 free for weights that are pruned already: they go first
        keys *= weights != 0
        yield keys


_NOT_A_NUMBER = (
    "The weights of {layer!r} hold NaN, or their scores NaN or values below 0. NaN weights mean that a "
    "training went wrong (see fit's advice on learning rates); a score of your own must be ≥ 0."
)


def _chunks(tensor: Tensor) -> Iterator[np.ndarray]:
    return (part.numpy() for part in tensor.detach().flatten().cpu().float().split(_CHUNK))


def _threshold(keys: Callable[[], Iterator[np.ndarray]], count: int) -> tuple[int, int]:
    """The key up to which `count` keys lie, and how many of those equal to it are among them.

    Counts the upper 16 bits, then, within the bin that decides, the lower 16.
    """
    if count == 0:
        return -1, 0

    def decide(parts: Iterator[np.ndarray], missing: int) -> tuple[int, int]:
        counts = np.zeros(2**16, dtype=np.int64)
        for part in parts:
            counts += np.bincount(part, minlength=2**16)
        totals = counts.cumsum()
        at = int(np.searchsorted(totals, missing))  # first bin where enough have come together
        return at, missing - (int(totals[at - 1]) if at else 0)

    high, missing = decide((part >> 16 for part in keys()), count)
    low, missing = decide((part[part >> 16 == high] & 0xFFFF for part in keys()), missing)
    return (high << 16) + low, missing


def _check_amount(amount: float) -> None:
    if isinstance(amount, bool) or not isinstance(amount, Real):
        raise TypeError(f"amount is {amount!r}; expected a number between 0 and 1, such as 0.3.")
    if not 0 <= amount <= 1:
        raise ValueError(
            f"amount is {amount}; it is a fraction of the weights between 0 and 1. For 30 % say 0.3."
        )


def _check_examples(dataset: Dataset) -> None:
    if not len(dataset):  # type: ignore[arg-type]
        raise ValueError("The dataset is empty; give some hundred training examples.")


def _known(table: Mapping[str, Value], layer: str, what: str) -> Value:
    if layer not in table:
        raise ValueError(
            f"{what} knows nothing of layer {layer!r}, only of {sorted(table)}. Make it with the "
            "model that you prune."
        )
    return table[layer]
