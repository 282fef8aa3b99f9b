"""“Give me 2 ×”: the widths that reach a latency with the least estimated damage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, nn

from course_lib.measure import Latency, Shown, latency
from course_lib.structured import Importance, Ranking, weight_norm
from course_lib.surgery import Changes, changes, remove
from course_lib.units import Group

Batch = Tensor | Mapping[str, Tensor]


@dataclass(frozen=True)
class Cost:
    """What each width of a group costs: milliseconds saved, and the score of the units that go."""

    widths: tuple[int, ...]  # ascending; the last is the whole group
    saved: tuple[float, ...]  # milliseconds, measured
    damage: tuple[float, ...]  # the sum of the scores


@dataclass(frozen=True, repr=False)
class SpedUp(Shown):
    """A faster model: the speed-up that was asked for, and the one that was measured.

    Attributes:
        model: the smaller model.
        asked, achieved: times faster.
        before, after: latencies, measured in turns.
        changes: what became smaller.
    """

    model: nn.Module
    asked: float
    achieved: float
    before: Latency
    after: Latency
    changes: Changes

    def __repr__(self) -> str:
        return (
            f"asked for {self.asked:g} ×, measured {self.achieved:.2f} × "
            f"({self.before.median:.3g} → {self.after.median:.3g} ms, {self.before.setting})"
        )


def costs(
    model: nn.Module,
    example: Batch,
    score: Importance = weight_norm,
    names: Sequence[str] | None = None,
    *,
    steps: int = 8,
    rounds: int = 12,
) -> dict[str, Cost]:
    """Measured milliseconds and estimated damage of each group at `steps` widths. Lesson 2.

    Groups of the same shape, such as the heads of all layers, are narrowed together and share the
    result: the difference is then large enough to be measured.

    Args:
        model: any module that `groups` understands.
        example: the batch whose latency counts.
        score: importance (default `weight_norm`); `taylor` adds up across groups, and is better here.
        names: groups (default: all).
        steps: widths tried in each group (default 8: eighths).
        rounds: samples for each latency (default 12).

    Raises:
        ValueError: fewer than one step; and what `groups` and `latency` raise.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; choose 1 or more.")
    ranking = Ranking(model, score, names)
    alike: dict[object, list[Group]] = {}
    for group in ranking.groups.values():
        alike.setdefault((group.kind, group.units, _shapes(model, group)), []).append(group)
    variants: dict[tuple[int, int], nn.Module] = {}
    tried: dict[int, list[int]] = {}
    for i, members in enumerate(alike.values()):
        units = members[0].units
        tried[i] = sorted({max(1, round(units * step / steps)) for step in range(1, steps + 1)})
        for width in tried[i]:
            keep = {group.name: range(width) for group in members} if width < units else {}
            # Which units go does not change the time; tensors are shared to spare memory.
            variants[i, width] = remove(model, keep, share=True)
    times = latency({str(key): variant for key, variant in variants.items()}, example, rounds)
    result = {}
    for i, members in enumerate(alike.values()):
        measured = [times[str((i, width))].median for width in tried[i]]
        # Never slower than a wider one: what says otherwise is noise.
        measured = list(np.minimum.accumulate(measured[::-1])[::-1])
        for group in members:
            lowest = ranking.scores[group.name].sort().values.cumsum(0).tolist()
            result[group.name] = Cost(
                tuple(tried[i]),
                tuple((measured[-1] - time) / len(members) for time in measured),
                tuple(0.0 if w == group.units else lowest[group.units - w - 1] for w in tried[i]),
            )
    return result


def cheapest_widths(costs: Mapping[str, Cost], saving: float) -> dict[str, int]:
    """The width of each group that saves so many milliseconds with the least damage, exactly.

    A knapsack problem in which each group takes one of its widths; `scipy.optimize.milp` solves it.

    Raises:
        ValueError: so much cannot be saved.

    Example:
        >>> a, b = Cost((1, 2), (3.0, 0.0), (5.0, 0.0)), Cost((1, 2), (3.0, 0.0), (4.0, 0.0))
        >>> cheapest_widths({"a": a, "b": b}, saving=2)
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
        raise ValueError(f"{saving:.3g} ms are to be saved; at most {most:.3g} ms can be.")
    return {
        name: costs[name].widths[i]
        for (name, i), taken in zip(options, solution.x, strict=True)
        if taken > 0.5
    }


def speed_up(
    model: nn.Module,
    example: Batch,
    target: float = 2.0,
    *,
    score: Importance = weight_norm,
    names: Sequence[str] | None = None,
    tries: int = 4,
) -> SpedUp:
    """A smaller copy of the model that is `target` times faster on this machine. Lesson 2.

    The cost of each group is measured at eight widths, and the widths are chosen that promise the
    latency with the least damage. Then the result is measured; where it misses the target, the
    promise is corrected and the choice made again, up to `tries` times.

    Args:
        model: any module that `groups` understands; it is left alone.
        example: the batch whose latency counts.
        target: times faster, above 1 (default 2).
        score: importance (default `weight_norm`); take `structured.taylor` where there is data.
        names: groups to take from (default: all).
        tries: at most so many choices (default 4); and looks, before the target is refused.

    Raises:
        ValueError: the target is not above 1, or cannot be reached; says what can.
    """
    if not target > 1:
        raise ValueError(f"target is {target}; choose a speed-up above 1, such as 2.0.")
    if tries < 1:
        raise ValueError(f"tries is {tries}; choose 1 or more.")
    ranking = Ranking(model, score, names)  # the score is asked once; it may be a costly one
    table = costs(model, example, lambda _, group: ranking.scores[group.name], names)
    narrowest = {name: cost.widths[0] for name, cost in table.items()}
    least = remove(model, {name: range(width) for name, width in narrowest.items()}, share=True)
    for _ in range(tries):  # a program beside it can take the cores away for a while
        ends = latency({"model": model, "least": least}, example)
        full, fastest = ends["model"].median, ends["least"].median
        if full / fastest >= target:
            break
    else:
        raise ValueError(
            f"{target:g} × cannot be reached: the model takes {full:.3g} ms, and {fastest:.3g} ms "
            f"where every group is as narrow as was tried, which is {full / fastest:.2g} ×. Allow more "
            "groups, or remove layers. If other programs are at work, close them and try again."
        )
    wanted = full * (1 - 1 / target)
    best: SpedUp | None = None
    for _ in range(tries):
        try:
            widths = cheapest_widths(table, wanted)
        except ValueError:  # one by one they promise less than they give together
            widths = narrowest
        gone = {name: group.units - widths[name] for name, group in ranking.groups.items()}
        smaller = remove(model, ranking.stay(gone))
        times = latency({"before": model, "after": smaller}, example)
        achieved = times["before"].median / times["after"].median
        found = SpedUp(
            smaller, target, achieved, times["before"], times["after"], changes(model, smaller)
        )
        # Enough is better than too little; of two that are enough the slower one, it keeps more.
        if best is None or (
            achieved < best.achieved
            if min(achieved, best.achieved) >= target
            else achieved > best.achieved
        ):
            best = found
        if target <= achieved <= 1.1 * target:
            break
        missing = times["after"].median - times["before"].median / target
        wanted += missing + 0.02 * full * (missing > 0)
    assert best is not None
    return best


def _shapes(model: nn.Module, group: Group) -> tuple[object, ...]:
    return tuple(
        tuple(getattr(model.get_submodule(piece.module), piece.tensor).shape)
        for piece in group.slices
    )
