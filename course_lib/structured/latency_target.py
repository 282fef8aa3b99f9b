"""“Give me 2 ×”: the widths that reach a latency with the least estimated damage. Lesson 2."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import nn

from course_lib.evaluation.accuracy import Shown
from course_lib.evaluation.timing import Latency, latency
from course_lib.modules import Batch
from course_lib.structured.dependency import groups_of
from course_lib.structured.importance import Score, weight_norm
from course_lib.structured.removal import Changes, changes, remove
from course_lib.structured.selection import highest, unit_scores
from course_lib.structured.units import Group


@dataclass(frozen=True)
class Cost:
    """For each width of a group: the latency that it saves, and the scores of the units that go."""

    widths: tuple[int, ...]  # ascending; the last is the whole group
    saved: tuple[float, ...]  # measured, as a fraction of the whole model's latency
    damage: tuple[float, ...]  # the sum of the scores


@dataclass(frozen=True, repr=False)
class SpedUp(Shown):
    """A faster model, with the speed-up that was asked for and the one that was measured.

    Attributes:
        model: the smaller model.
        asked, achieved: how many × as fast.
        before, after: the latencies behind `achieved`, measured in turns. It is the median ratio of
            their rounds, as in `evaluation.speedup`.
        changes: what became smaller.
        widths: group → units that stay, and units before.
    """

    model: nn.Module
    asked: float
    achieved: float
    before: Latency
    after: Latency
    changes: Changes
    widths: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"asked for {self.asked:g} ×, measured {self.achieved:.2f} × "
            f"({self.before.median:.3g} → {self.after.median:.3g} ms, {self.before.setting})"
        )

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><td>{escape(name)}</td><td>{units} of {before}</td></tr>"
            for name, (units, before) in self.widths.items()
        )
        return f"{super()._repr_html_()}<table>{''.join(rows)}</table>"


def costs(
    model: nn.Module,
    example: Batch,
    score: Score = weight_norm,
    layers: Sequence[str] | None = None,
) -> dict[str, Cost]:
    """Measured latency and estimated damage of each group at eight widths.

    Groups of the same shape, such as the heads of all layers, are narrowed together and share the
    result, because the difference is then large enough to be measured. One percent of the latency,
    shared among the units of a kind, is added so that a narrower choice always counts as faster.

    Arguments are those of `speed_up`. The scores of `gate_taylor` add up across groups.
    """
    scores = unit_scores(model, score, layers)
    kinds: dict[object, list[Group]] = {}
    for group in groups_of(model, scores):
        shapes = tuple(piece.tensor_in(model).shape for piece in group.slices)
        kinds.setdefault((group.kind, group.units, shapes), []).append(group)
    variants = {"whole": model}
    for members in kinds.values():
        for width in _eighths(members[0].units)[:-1]:
            # Which units go does not change the time; tensors are shared to spare memory.
            keep = {group.name: range(width) for group in members}
            variants[f"{members[0].name} {width}"] = remove(model, keep, share_tensors=True)
    times = {name: row.median for name, row in latency(variants, example, rounds=12).items()}
    result = {}
    for members in kinds.values():
        units, widths = members[0].units, _eighths(members[0].units)
        measured = [times[f"{members[0].name} {width}"] for width in widths[:-1]]
        # Narrower but slower is noise.
        taken = np.minimum.accumulate([times["whole"], *measured[::-1]])[::-1]
        saved = 1 - taken / taken[-1] + 0.01 * (1 - np.array(widths) / units)
        for group in members:
            damage = [0.0, *scores[group.name].sort().values.cumsum(0).tolist()]
            result[group.name] = Cost(
                tuple(widths),
                tuple((saved / len(members)).tolist()),
                tuple(damage[units - width] for width in widths),
            )
    return result


def cheapest_widths(costs: Mapping[str, Cost], saving: float) -> dict[str, int]:
    """The widths that save this fraction of the latency with the least damage, exactly.

    A knapsack problem in which each group takes one of its widths; `scipy.optimize.milp` solves it.

    Raises:
        ValueError: so much cannot be saved.

    Example:
        >>> a, b = Cost((1, 2), (0.3, 0.0), (5.0, 0.0)), Cost((1, 2), (0.3, 0.0), (4.0, 0.0))
        >>> cheapest_widths({"a": a, "b": b}, saving=0.2)
        {'a': 2, 'b': 1}
    """
    options = [(name, i) for name, cost in costs.items() for i in range(len(cost.widths))]
    saved = np.array([costs[name].saved[i] for name, i in options])
    damage = np.array([costs[name].damage[i] for name, i in options])
    one_each = np.array([[name == group for name, _ in options] for group in costs], dtype=float)
    solution = milp(
        damage / (damage.max() or 1.0),
        integrality=np.ones(len(options)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(saved, lb=saving)],
    )
    if solution.x is None:
        most = sum(max(cost.saved) for cost in costs.values())
        raise ValueError(
            f"These groups cannot save {saving:.0%} of the latency; at most {most:.0%}."
        )
    return {
        name: costs[name].widths[i]
        for (name, i), taken in zip(options, solution.x, strict=True)
        if taken > 0.5
    }


def speed_up(
    model: nn.Module,
    example: Batch,
    target: float = 2.0,
    score: Score = weight_norm,
    layers: Sequence[str] | None = None,
    *,
    tries: int = 10,
) -> SpedUp:
    """A smaller copy of the model that is `target` × as fast on this machine.

    The table of `costs` gives a choice of widths for each saving, the one with the least damage. The
    saving is bisected: each choice is measured against the model, in turns and twice; if the two
    measurements disagree, a third decides. The least damaging choice that reaches the target is the
    result.

    Args:
        model: any module that `groups` understands; it is left alone.
        example: the batch whose latency counts.
        target: how many × as fast, above 1 (default 2).
        score: unit scores (default `weight_norm`); take `gate_taylor` where there is data.
        layers: groups to take from (default: all).
        tries: choices to measure, at most (default 10). The search ends early within 10 % above the
            target.

    Raises:
        ValueError: the target is not above 1.

    Warns:
        UserWarning: no choice was confirmed at the target, because the groups do not take so much time
            or because the machine is busy. The result is the fastest that was tried; says how fast.
    """
    if not target > 1:
        raise ValueError(f"target is {target}; choose a speed-up above 1, such as 2.0.")
    if tries < 1:
        raise ValueError(f"tries is {tries}; choose 1 or more.")
    scores = unit_scores(model, score, layers)  # made once, because it may take long
    table = costs(model, example, lambda _, group: scores[group.name], layers)

    most = sum(cost.saved[0] for cost in table.values())
    wanted = 1 - 1 / (1.05 * target)
    low, high = 0.0, most  # savings by the table: too slow, and fast enough
    saving = wanted if wanted < most else most / 2
    best: tuple[float, dict[str, list[int]], dict[str, Latency]] | None = None
    for _ in range(tries):
        keep = highest(scores, cheapest_widths(table, saving))
        smaller = remove(model, keep, share_tensors=True)
        times = _confirmed(model, smaller, example, target)
        achieved = _ratio(times)
        if best is None or achieved >= target or best[0] < achieved:
            best = achieved, keep, times
        if target <= achieved <= 1.1 * target:
            break
        low, high = (low, saving) if achieved >= target else (saving, high)
        saving = (low + high) / 2
    assert best is not None
    achieved, keep, times = best
    if achieved < target:
        choices = f"{tries} choice{'s' * (tries > 1)}"
        warnings.warn(
            f"Asked for {target:g} ×; the fastest of {choices} measured {achieved:.2f} ×. Close other "
            "programs and try again, raise tries, or allow more groups.",
            stacklevel=2,
        )
    smaller = remove(model, keep)
    widths = {name: (len(units), len(scores[name])) for name, units in keep.items()}
    before, after = times["before"], times["after"]
    return SpedUp(smaller, target, achieved, before, after, changes(model, smaller), widths)


def _confirmed(
    model: nn.Module, smaller: nn.Module, example: Batch, target: float
) -> dict[str, Latency]:
    """The second of two measurements if both or none reach the target, else the middle of three.

    One failure by chance would shut the search out from all milder choices.
    """
    times = [_compare(model, smaller, example) for _ in range(2)]
    if len({_ratio(one) >= target for one in times}) == 1:
        return times[1]
    return sorted([*times, _compare(model, smaller, example)], key=_ratio)[1]


def _compare(model: nn.Module, smaller: nn.Module, example: Batch) -> dict[str, Latency]:
    """Thirty rounds in five measurements, so that a short disturbance does not decide."""
    models = {"before": model, "after": smaller}
    parts = [latency(models, example, rounds=6) for _ in range(5)]
    return {
        name: replace(first, samples=tuple(s for part in parts for s in part[name].samples))
        for name, first in parts[0].items()
    }


def _ratio(times: Mapping[str, Latency]) -> float:
    """The median ratio of the rounds: what slows a whole round down cancels out."""
    return float(np.median(np.divide(times["before"].samples, times["after"].samples)))


def _eighths(units: int) -> list[int]:
    return sorted({max(1, round(units * step / 8)) for step in range(1, 9)})
