"""The bits slider: a row of weights on a grid that gets coarser, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from course_lib.evaluation.accuracy import Accuracy
from course_lib.lessons.sliders.charts import Chart, State, chart, mark, number, panel, tooltip
from course_lib.lessons.sliders.static import Control
from course_lib.lessons.sliders.wiring import Explorer, explore
from course_lib.lessons.style import BLUE, GRAY, ORANGE

Found = Mapping[int, tuple[float, Accuracy]]  # bits → megabytes and accuracy


def bits_view(row: Tensor, found: Found, bits: int) -> State:
    """A row of weights rounded to so many bits, and what the whole model then weighs and knows.

    Args:
        row: weights ``[columns]``, not all of them 0.
        found: bits → megabytes and accuracy; 32 bits: not rounded.
        bits: the ones to show.
    """
    megabytes, accuracy = found[bits]
    weights = row.double()
    rounded, levels, said = weights, [], "the weights as they are"
    if bits < 32:
        largest = 2 ** (bits - 1) - 1
        scale = (weights.abs().max() / largest).item()
        rounded = (weights / scale).round() * scale
        levels = [q * scale for q in range(-largest, largest + 1)]
        said = f"{len(levels)} values, {scale:.2g} apart; a weight moves by up to {scale / 2:.2g}"
    name = f"{bits} bits"
    return State(
        f"<b>{name}</b>: {said}<br>the whole model: {megabytes:.1f} MB, accuracy on validation "
        f"<b>{accuracy}</b>",
        data={
            "weights": [
                {"weight": before, "rounded": after}
                for before, after in zip(weights.tolist(), rounded.tolist(), strict=True)
            ],
            "levels": [{"level": level} for level in levels],
            "now": [_point(bits, found)],
        },
    )


def bits_chart(row: Tensor, found: Found) -> Chart:
    """Weights before and after rounding, and validation accuracy against megabytes for all bits."""
    reach = 1.05 * row.abs().max().item()
    y = number("rounded", "after rounding", (-reach, reach))
    y["axis"]["grid"] = False  # the only lines across are the values that there are
    weights = panel(
        "each dot is a weight; lines: the values that there are", 280, 230,
        mark("rule", "levels", color=ORANGE, opacity=0.5, clip=True, y={**y, "field": "level"}),
        mark("circle", "weights", color=BLUE, size=36, opacity=0.8, y=y,
             x=number("weight", "weight", (-reach, reach)),
             tooltip=tooltip(weight="weight|.4f", rounded="after rounding|.4f")),
    )  # fmt: skip
    most = max(megabytes for megabytes, _ in found.values())
    least = min(megabytes for megabytes, _ in found.values())
    ends = [end for _, accuracy in found.values() for end in accuracy.interval]
    scale = (min(ends) - 0.01, max(ends) + 0.045)
    sizes = (least / 1.3, most * 1.9)
    at = {
        "x": number("megabytes", "megabytes of the model (log scale)", sizes, type="log"),
        "y": number("accuracy", "validation accuracy", scale, percent=True),
    }
    whisker = {"x": at["x"], "y": {**at["y"], "field": "low"}, "y2": {"field": "high"}}
    hover = tooltip(name="bits", megabytes="MB|.1f", shown="accuracy")
    accuracies = panel(
        "number: bits; line: 95 % interval; orange: your slider", 280, 230,
        mark("rule", "all", color=GRAY, strokeWidth=2, **whisker),
        mark("circle", "all", color=BLUE, size=60, opacity=1, **at, tooltip=hover),
        mark("text", "all", align="center", dy=-10, fontSize=11, text={"field": "bits"},
             x=at["x"], y={**at["y"], "field": "high"}),
        mark("circle", "now", color=ORANGE, size=150, opacity=1, stroke="black", **at),
    )  # fmt: skip
    return chart(weights, accuracies, all=[_point(bits, found) for bits in found])


def bits_explorer(row: Tensor, found: Found) -> Explorer:
    """A slider over numbers of bits: a row of weights, and the model's bytes and accuracy. Lesson 5.

    It stands at 4 bits at first where they are there, else at the fewest.
    """
    options = {f"{bits} bits": bits for bits in sorted(found)}
    start = "4 bits" if 4 in found else next(iter(options))
    slider = Control("rounded to", start, options)
    return explore([slider], lambda bits: bits_view(row, found, bits), bits_chart(row, found))


def _point(bits: int, found: Found) -> dict[str, object]:
    megabytes, accuracy = found[bits]
    low, high = accuracy.interval
    return {
        "name": f"{bits} bits", "bits": str(bits), "megabytes": megabytes, "accuracy": accuracy.value,
        "low": low, "high": high, "shown": str(accuracy),
    }  # fmt: skip
