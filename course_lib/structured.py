"""Structured pruning: which neurons, channels, heads or units go. The model becomes smaller and faster.

An *importance* is a function ``score(model, group) → tensor`` of shape ``[units]``; the lowest go
first. `groups` finds what can go, `surgery` removes it, `speed` asks for a latency. Lesson 2.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from course_lib import training
from course_lib.batching import batches, device_of
from course_lib.groups import group_of, groups, groups_of
from course_lib.measure import evaluating
from course_lib.surgery import Keep, original_parameters, remove, unit_sums, widths_to_parameters
from course_lib.units import Group

Importance = Callable[[nn.Module, Group], Tensor]
Value = TypeVar("Value")

# --- importance ------------------------------------------------------------------------------------


def weight_norm(model: nn.Module, group: Group) -> Tensor:
    """The length of the weights that compute a unit (Li et al. 2017, section 3.1, with L2).

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        >>> weight_norm(net, groups(net)["0"])
        tensor([5., 1.])
    """
    total = torch.zeros(group.units)
    for piece in group.slices:
        weight = getattr(model.get_submodule(piece.module), piece.tensor)
        if not piece.reads and weight.ndim > 1:
            total += unit_sums(weight.detach().square(), piece, group.units).cpu()
    return total.sqrt()


def random_importance(seed: int = 0) -> Importance:
    """Chance, the baseline that every importance has to beat. The same seed, the same units.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
        >>> random_importance(seed=1)(net, groups(net)["0"]).shape
        torch.Size([4])
    """

    def score(model: nn.Module, group: Group) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {group.name}".encode()))
        return torch.rand(group.units, generator=generator)

    return score


def taylor(model: nn.Module, dataset: Dataset, loss: training.Loss | None = None) -> Importance:
    """How much the loss would change if a unit fell silent, to first order: |∂loss/∂gate|.

    Every unit gets a gate of 1 on its answer, and the size of the gate's gradient is averaged over
    the examples (Michel, Levy & Neubig 2019, equation 2). One pass gives all units at once.

    Args:
        model: it is left alone.
        dataset: some hundred training examples; never the test part.
        loss: a mean over the batch; cross-entropy with the labels by default.

    Raises:
        ValueError: no examples; or used on a group that it has not seen, or of another width.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> examples = torch.utils.data.TensorDataset(torch.eye(2), torch.tensor([0, 1]))
        >>> taylor(net, examples)(net, groups(net)["0"]).shape
        torch.Size([3])
    """
    loss = loss or training.cross_entropy
    found = groups(model)
    totals = {name: torch.zeros(group.units) for name, group in found.items()}
    seen = 0  # examples
    with evaluating(model), torch.enable_grad():
        for batch in batches(dataset, 32, device=device_of(model)):
            n = len(training.labels(batch))
            with _gates(model, found.values(), n) as gates:
                value = loss(training.forward(model, batch), batch)
            flat = [gate for gate, _, _ in gates]
            per_example: dict[str, Tensor] = {}
            for (_, group, spread), gradient in zip(
                gates, torch.autograd.grad(n * value, flat), strict=True
            ):
                # One gate for the whole unit: the gradients of its parts add up.
                per_unit = gradient.reshape(n, group.units, spread).sum(-1)
                per_example[group.name] = per_example.get(group.name, 0) + per_unit  # type: ignore
            for name, gradient in per_example.items():
                totals[name] += gradient.abs().sum(0).cpu()
            seen += n

    training.give_memory_back()
    if not seen:
        raise ValueError("The dataset is empty; give some hundred training examples.")

    def score(model: nn.Module, group: Group) -> Tensor:
        if len(totals.get(group.name, ())) != group.units:
            raise ValueError(
                f"taylor has not seen {group.name!r} with {group.units} units; make the score anew "
                "for the model that you prune."
            )
        return totals[group.name] / seen

    return score


@contextmanager
def _gates(model: nn.Module, found: Iterable[Group], n: int) -> Iterator[list[Any]]:
    """Multiply what reads each group by ones, one for each example and number; yield those ones."""
    gates: list[tuple[Tensor, Group, int]] = []

    def gate(group: Group, spread: int) -> Callable[[nn.Module, Any], Any]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            x = inputs[0]
            maps = x.ndim > 2 and not hasattr(module, "in_features") and not hasattr(module, "nx")
            ones = x.new_ones(n, x.shape[1 if maps else -1], requires_grad=True)
            gates.append((ones, group, spread))
            shape = [n, -1, *[1] * (x.ndim - 2)] if maps else [n, *[1] * (x.ndim - 2), x.shape[-1]]
            return (x * ones.view(shape), *inputs[1:])

        return hook

    hooks = [
        model.get_submodule(piece.module).register_forward_pre_hook(gate(group, piece.spread))
        for group in found
        for piece in group.slices
        if piece.reads
    ]
    try:
        yield gates
    finally:
        for hook in hooks:
            hook.remove()


# --- choosing --------------------------------------------------------------------------------------


def choose(
    model: nn.Module,
    share: float,
    score: Importance = weight_norm,
    names: Sequence[str] | None = None,
    *,
    round_to: int = 1,
    per_group: bool = False,
) -> dict[str, list[int]]:
    """The units that stay when a `share` of them goes, ready for `remove`.

    Units are ranked together, by their score for each of the parameters that go with them; every
    group keeps at least one. Explained in lesson 2.

    Args:
        model: any module that `groups` understands.
        share: of the units of these groups, in [0, 1].
        score: importance (default `weight_norm`).
        names: groups to take from (default: all).
        round_to: the number that stays in a group is a multiple of this, or all (default 1).
        per_group: take the same share from each group instead of ranking across them.

    Raises:
        ValueError: a share outside [0, 1], an unknown group, or a score of the wrong shape.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[3.0, 0], [0, 1], [2, 0], [0, 0]]))
        >>> choose(net, 0.5)
        {'0': [0, 2]}
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; choose one between 0 and 1.")
    ranking = Ranking(model, score, names, round_to)
    if per_group:
        return ranking.stay({n: round(share * g.units) for n, g in ranking.groups.items()})
    return ranking.stay(ranking.lowest(round(share * len(ranking.order))))


def prune(
    model: nn.Module,
    amount: float | None = None,
    *,
    keep: Keep | None = None,
    score: Importance = weight_norm,
    names: Sequence[str] | None = None,
    round_to: int = 1,
) -> nn.Module:
    """A smaller copy of the model, without the units of the lowest score.

    Give either `keep`, the exact units that stay, or `amount`. An amount is a fraction of all the
    parameters that the model *originally* had, embeddings included: asking for 0.3 twice is 0.3. The
    result has at least so many fewer; `surgery.changes` reports it. Lesson 2.

    Args:
        model: any module that `groups` understands; it is left alone.
        amount: in [0, 1).
        keep: group → indices of the units that stay.
        score: importance (default `weight_norm`).
        names: groups to take from (default: all).
        round_to: widths become multiples of this, or stay whole (default 1).

    Raises:
        TypeError: both or neither of `amount` and `keep`.
        ValueError: the amount cannot be reached; says how much can.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 50), nn.ReLU(), nn.Linear(50, 2))
        >>> prune(prune(net, 0.5), 0.5)[0]
        Linear(in_features=8, out_features=24, bias=True)
    """
    if (amount is None) == (keep is None):
        raise TypeError("Give either amount= or keep=, and not both.")
    if keep is not None:
        return remove(model, keep)
    assert amount is not None
    original = original_parameters(model)
    if not 0 <= amount < 1:
        raise ValueError(f"amount is {amount}; choose one in [0, 1).")
    most = original - math.ceil(round(amount * original, 6))  # may stay; 0.9 · 10 is 9, not 9.0…1
    ranking, parameters = Ranking(model, score, names, round_to), widths_to_parameters(model)

    def left(k: int) -> int:
        return parameters({n: len(kept) for n, kept in ranking.stay(ranking.lowest(k)).items()})

    low, high = 0, len(ranking.order)  # the fewest units whose going is enough
    if left(high) > most:
        raise ValueError(
            f"An amount of {amount:.1%} cannot be reached: {left(high):,} of the original "
            f"{original:,} parameters stay when each group keeps {round_to}; the most is "
            f"{1 - left(high) / original:.1%}. Allow more groups, or remove layers or vocabulary."
        )
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if left(middle) <= most else (middle + 1, high)
    return remove(model, ranking.stay(ranking.lowest(low)))


class Ranking:
    """The units of some groups in the order in which they should go."""

    def __init__(
        self, model: nn.Module, score: Importance, names: Sequence[str] | None, round_to: int = 1
    ) -> None:
        if round_to < 1:
            raise ValueError(f"round_to is {round_to}; choose a whole number of 1 or more.")
        self.round_to = round_to
        self.groups = (
            groups(model) if names is None else {g.name: g for g in groups_of(model, names)}
        )
        self.scores = {name: self._score(model, score, g) for name, g in self.groups.items()}
        costs = {
            name: sum(_numel(model, piece) for piece in group.slices) / group.units
            for name, group in self.groups.items()
        }
        self.order = sorted(
            (value / costs[name], name, unit)
            for name, values in self.scores.items()
            for unit, value in enumerate(values.tolist())
        )

    def lowest(self, k: int) -> dict[str, int]:
        """How many of the k lowest units lie in each group."""
        gone = dict.fromkeys(self.groups, 0)
        for _, name, _ in self.order[:k]:
            gone[name] += 1
        return gone

    def stay(self, gone: dict[str, int]) -> dict[str, list[int]]:
        """The units that stay when so many of each group go."""
        kept = {}
        for name, group in self.groups.items():
            units = self.round_to * round((group.units - gone[name]) / self.round_to)
            # From where nothing goes, rounding takes nothing either.
            units = min(max(units, self.round_to), group.units) if gone[name] else group.units
            # Of equal ones the first go, as in `order`.
            kept[name] = sorted(self.scores[name].sort(stable=True).indices[-units:].tolist())
        return kept

    @staticmethod
    def _score(model: nn.Module, score: Importance, group: Group) -> Tensor:
        values = score(model, group)
        if tuple(values.shape) != (group.units,):
            raise ValueError(
                f"The score of {group.name!r} has shape {tuple(values.shape)}; expected "
                f"({group.units},): one number for each unit."
            )
        if not values.isfinite().all():
            raise ValueError(
                f"The score of {group.name!r} holds nan or infinity; look at the model's weights and "
                "at the examples that it was made from."
            )
        return values.detach().cpu().double()


def _numel(model: nn.Module, piece: Any) -> int:
    tensor = getattr(model.get_submodule(piece.module), piece.tensor)
    return tensor.numel() if isinstance(tensor, nn.Parameter) else 0


# --- loops -----------------------------------------------------------------------------------------


def iterative_pruning(
    model: nn.Module,
    data: dict[str, Dataset],
    recipe: training.Recipe,
    amounts: Sequence[float],
    *,
    score: Callable[[nn.Module], Importance] = lambda model: weight_norm,
    names: Sequence[str] | None = None,
) -> training.Fitted:
    """Remove a bit, train a bit: once for each of `amounts`, which grow. Returns the last `Fitted`.

    Args:
        model, data, recipe: as for `training.fit`; the recipe is that of one round.
        amounts: fractions of the original parameters, as for `prune`, such as ``[0.2, 0.4, 0.6]``.
        score: called with the model of each round, and gives its importance:
            ``lambda model: taylor(model, few)``.
        names: groups to take from (default: all).

    Raises:
        ValueError: amounts that do not grow; and what `prune` and `fit` raise.
    """
    if not amounts or list(amounts) != sorted(amounts):
        raise ValueError(f"amounts are {list(amounts)}; give at least one, the smallest first.")
    for amount in amounts:
        model = prune(model, amount, score=score(model), names=names)
        fitted = training.fit(model, data, recipe)
        model = fitted.model
    return fitted


def sensitivity(
    model: nn.Module,
    evaluate: Callable[[nn.Module], Value],
    shares: Sequence[float],
    score: Importance = weight_norm,
    names: Sequence[str] | None = None,
) -> dict[str, list[Value]]:
    """Make one group at a time smaller, leave the others whole, and evaluate.

    Gives for each group one result a share. Lesson 1 scans so with single weights: `pruning`.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> sensitivity(net, lambda m: m[0].out_features, [0.25, 0.5])
        {'0': [3, 2]}
    """
    return {
        name: [evaluate(remove(model, choose(model, share, score, [name]))) for share in shares]
        for name in (names or groups(model))
    }


def ablation(
    model: nn.Module, evaluate: Callable[[nn.Module], Value], names: Sequence[str] | None = None
) -> dict[str, list[Value]]:
    """Remove one unit at a time, and evaluate: group → one result for each of its units. Lesson 2.

    A group that has one unit only cannot lose it; its list is empty.
    """
    results: dict[str, list[Value]] = {}
    for name in names or groups(model):
        units = range(group_of(model, name).units)
        results[name] = [
            evaluate(remove(model, {name: [u for u in units if u != gone]}))
            for gone in units
            if len(units) > 1
        ]
    return results
