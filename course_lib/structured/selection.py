"""Which units stay: by the fraction of units, or by the fraction of parameters that goes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor, nn

from course_lib.structured.dependency import groups, groups_of
from course_lib.structured.importance import Score, weight_norm
from course_lib.structured.removal import original_parameters, parameter_counter, remove
from course_lib.structured.units import Group

Value = TypeVar("Value")


def choose(
    model: nn.Module,
    units: float,
    score: Score = weight_norm,
    layers: Sequence[str] | None = None,
    *,
    round_to: int = 1,
    per_group: bool = False,
) -> dict[str, list[int]]:
    """The units that stay when a fraction of them goes, ready for `remove`.

    All units are ranked together, by their score divided by the parameters that go with them. Every
    group keeps at least one. Explained in lesson 2.

    Args:
        model: any module that `groups` understands.
        units: fraction of the units of these groups, in [0, 1].
        score: unit scores (default `weight_norm`).
        layers: groups to take from, such as ``list(groups(model, exact=False))`` (default: all that
            can be removed exactly).
        round_to: the number that stays in a group is a multiple of this, or all (default 1).
        per_group: take the same fraction from each group instead of ranking across them.

    Raises:
        ValueError: a fraction outside [0, 1], an unknown group, or a score of the wrong shape.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[3.0, 0], [0, 1], [2, 0], [0, 0]]))
        >>> choose(net, 0.5)
        {'0': [0, 2]}
    """
    if not 0 <= units <= 1:
        raise ValueError(f"units is {units}; choose one between 0 and 1.")
    scores = unit_scores(model, score, layers)
    if per_group:
        gone = {name: round(units * len(values)) for name, values in scores.items()}
    else:
        order = _removal_order(model, scores)
        gone = Counter(order[: round(units * len(order))])
    return highest(scores, _widths(scores, gone, round_to))


def prune(
    model: nn.Module,
    amount: float,
    score: Score = weight_norm,
    layers: Sequence[str] | None = None,
    *,
    round_to: int = 1,
) -> nn.Module:
    """A smaller copy of the model, without the units of the lowest score.

    `amount` is a fraction of all the parameters that the model *originally* had, embeddings included.
    Asking for 0.3 twice is 0.3. At least so many parameters go; `changes` reports how many. To say
    which units stay, call `remove`. Lesson 2.

    Args:
        model: any module that `groups` understands; it is left alone.
        amount: in [0, 1).
        score: unit scores (default `weight_norm`).
        layers: groups to take from (default: all).
        round_to: widths become multiples of this, or stay whole (default 1).

    Raises:
        ValueError: the amount cannot be reached; says how much can.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 50), nn.ReLU(), nn.Linear(50, 2))
        >>> prune(prune(net, 0.5), 0.5)[0]
        Linear(in_features=8, out_features=24, bias=True)
    """
    original = original_parameters(model)
    if not 0 <= amount < 1:
        raise ValueError(f"amount is {amount}; choose one in [0, 1).")
    most = original - math.ceil(round(amount * original, 6))  # may stay; 0.9 · 10 is 9, not 9.0…1
    scores = unit_scores(model, score, layers)
    order, parameters = _removal_order(model, scores), parameter_counter(model)

    def widths(k: int) -> dict[str, int]:
        return _widths(scores, Counter(order[:k]), round_to)

    low, high = 0, len(order)  # the fewest units whose removal is enough
    if (least := parameters(widths(high))) > most:
        raise ValueError(
            f"An amount of {amount:.1%} cannot be reached: {least:,} of the original "
            f"{original:,} parameters stay when each group keeps {round_to}; the most is "
            f"{1 - least / original:.1%}. Allow more groups, or remove layers or vocabulary."
        )
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if parameters(widths(middle)) <= most else (middle + 1, high)
    return remove(model, highest(scores, widths(low)))


def unit_scores(
    model: nn.Module, score: Score, layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Group → the scores of its units ``[units]``, checked for their shape and for NaN."""
    scores = {}
    for group in _selected(model, layers):
        values = score(model, group)
        if tuple(values.shape) != (group.units,):
            raise ValueError(
                f"The score of {group.name!r} has shape {tuple(values.shape)}; expected "
                f"({group.units},): one number for each unit."
            )
        if not values.isfinite().all():
            raise ValueError(
                f"The score of {group.name!r} holds NaN or infinity; look at the model's weights and "
                "at the examples that it was made from."
            )
        scores[group.name] = values.detach().cpu().double()
    return scores


def highest(scores: Mapping[str, Tensor], widths: Mapping[str, int]) -> dict[str, list[int]]:
    """The units with the highest scores, ``widths[name]`` of each group. Of equal ones the first go."""
    return {
        name: sorted(values.sort(stable=True).indices[-widths[name] :].tolist())
        for name, values in scores.items()
    }


def sensitivity(
    model: nn.Module,
    evaluate: Callable[[nn.Module], Value],
    units: Sequence[float],
    score: Score = weight_norm,
    layers: Sequence[str] | None = None,
) -> dict[str, list[Value]]:
    """Make one group at a time smaller, leave the others whole, and evaluate.

    Returns one result for each fraction in `units`, by group. `pruning.sensitivity` does the same with
    single weights.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> sensitivity(net, lambda m: m[0].out_features, [0.25, 0.5])
        {'0': [3, 2]}
    """
    return {
        group.name: [
            evaluate(remove(model, choose(model, share, score, [group.name]))) for share in units
        ]
        for group in _selected(model, layers)
    }


def ablation(
    model: nn.Module, evaluate: Callable[[nn.Module], Value], layers: Sequence[str] | None = None
) -> dict[str, list[Value]]:
    """Remove one unit at a time, and evaluate: group → one result for each of its units. Lesson 2.

    A group with a single unit cannot lose it; its list is empty.
    """
    results: dict[str, list[Value]] = {}
    for group in _selected(model, layers):
        units = range(group.units)
        removed = units if len(units) > 1 else ()
        results[group.name] = [
            evaluate(remove(model, {group.name: [u for u in units if u != gone]}))
            for gone in removed
        ]
    return results


def _selected(model: nn.Module, layers: Sequence[str] | None) -> list[Group]:
    if layers is None:
        return list(groups(model).values())
    if not layers:
        raise ValueError(f"layers is {layers}; expected one or more of {', '.join(groups(model))}.")
    return groups_of(model, layers, exact=False)


def _removal_order(model: nn.Module, scores: Mapping[str, Tensor]) -> list[str]:
    """The group of each unit, in the order of the units' scores per parameter that goes with them."""
    ranked = []
    for group in groups_of(model, scores, exact=False):
        owned = (piece.tensor_in(model) for piece in group.slices)
        cost = sum(t.numel() for t in owned if isinstance(t, nn.Parameter)) / group.units
        for unit, value in enumerate(scores[group.name].tolist()):
            ranked.append((value / cost, group.name, unit))
    return [name for _, name, _ in sorted(ranked)]


def _widths(scores: Mapping[str, Tensor], gone: Mapping[str, int], round_to: int) -> dict[str, int]:
    """The units that each group keeps when so many go: rounded, at least one, and whole if none go."""
    if round_to < 1:
        raise ValueError(f"round_to is {round_to}; choose a whole number of 1 or more.")
    widths = {}
    for name, values in scores.items():
        rounded = round_to * round((len(values) - gone[name]) / round_to)
        width = min(max(rounded, round_to), len(values))
        widths[name] = width if gone[name] else len(values)
    return widths
