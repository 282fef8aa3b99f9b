"""Pruning and training in turns: iterative and gradual pruning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import nn
from torch.utils.data import Dataset

from course_lib.pruning.masks import apply_masks_
from course_lib.pruning.scores import Score, magnitude
from course_lib.pruning.unstructured import check_amount, global_masks, prune_weights
from course_lib.training.loop import fit
from course_lib.training.recipe import Fitted, Recipe


def cubic_sparsity(progress: float, final: float, end: float = 1.0) -> float:
    """The sparsity at `progress` (0 to 1) of a training: rising fast at first, then slowly to `final`.

    ``final · (1 − (1 − t)³)``, where t goes from 0 to 1 as the progress goes from 0 to `end` (Zhu &
    Gupta 2017, equation 1, from sparsity 0). Explained in lesson 1.

    Example:
        >>> [round(cubic_sparsity(p, final=0.8), 2) for p in (0, 0.25, 0.5, 1)]
        [0.0, 0.46, 0.7, 0.8]
    """
    check_amount(final)
    if not 0 < end <= 1:
        raise ValueError(f"end is {end}; expected 0 < end ≤ 1.")
    t = min(max(progress / end, 0.0), 1.0)
    return final * (1 - (1 - t) ** 3)


def gradual_pruning(
    model: nn.Module,
    data: Mapping[str, Dataset],
    recipe: Recipe,
    final: float,
    score: Score = magnitude,
    end: float = 0.7,
) -> Fitted:
    """Prune during training: the sparsity follows `cubic_sparsity` up to `final`, then recovery.

    Zhu & Gupta 2017. Explained in lesson 1.

    Args:
        model: trained or fresh; it is left alone.
        data, recipe: as for `fit`. Only epochs after `end`, where the sparsity is `final`, compete to
            be the result.
        final: the fraction of the original weights that are pruned in the end.
        score: as for `global_masks`; computed anew at each update of the masks.
        end: fraction of the training at which `final` is reached (default 0.7).

    Returns:
        `Fitted`, its model still masked: train it on, or `make_permanent`.
    """
    reached, goal = 0, math.ceil(round(100 * end, 6))  # in percent of the training

    def after_step(model: nn.Module, progress: float) -> None:
        nonlocal reached
        # A hundred updates a run do as well as one a step, and cost little.
        percent = min(math.floor(100 * progress), goal)
        if percent > reached:
            amount = cubic_sparsity(percent / 100, final, end=end)
            apply_masks_(model, global_masks(model, amount, score))
        reached = percent

    # Epochs at the final sparsity, rounded because 10 · (1 − 0.8) is a little less than 2.
    after = max(1, recipe.epochs - math.ceil(round(recipe.epochs * goal / 100, 6)))
    candidates = min(recipe.select_from_last or after, after)
    start = prune_weights(model, 0.0)  # masks of all True: the optimizer must hold the originals
    return fit(start, data, replace(recipe, select_from_last=candidates), after_step=after_step)


def iterative_pruning(
    model: nn.Module,
    data: Mapping[str, Dataset],
    recipe: Recipe,
    amounts: Sequence[float],
    prune: Callable[[nn.Module, float], nn.Module] = prune_weights,
) -> Fitted:
    """Prune a little, fine-tune, and again: one round for each of `amounts` (Han et al. 2015).

    Explained in lesson 1 for weights and in lesson 2 for units.

    Args:
        model: trained; it is left alone.
        data, recipe: as for `fit`; the recipe is that of one round.
        amounts: fractions of the original parameters, rising, such as ``[0.3, 0.6, 0.8]``.
        prune: ``prune(model, amount) → model`` (default `prune_weights`). For units:
            ``lambda model, amount: structured.prune(model, amount, score=gate_taylor(model, few))``.

    Returns:
        The `Fitted` of the last round.

    Raises:
        ValueError: no amounts, or amounts that fall; and what `prune` and `fit` raise.
    """
    if not amounts or list(amounts) != sorted(amounts):
        raise ValueError(f"amounts are {list(amounts)}; give at least one, the smallest first.")
    for amount in amounts:
        fitted = fit(prune(model, amount), data, recipe)
        model = fitted.model
    return fitted
