"""The slider of distillation: the temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import torch
from torch import Tensor

from course_lib.distillation.losses import soften
from course_lib.lessons.sliders.charts import (
    Chart,
    State,
    category,
    chart,
    mark,
    number,
    panel,
    tooltip,
)  # fmt: skip
from course_lib.lessons.sliders.static import Control
from course_lib.lessons.sliders.wiring import Explorer, explore
from course_lib.lessons.style import BLUE, ORANGE

TEMPERATURES = {f"{step / 2:g}": step / 2 for step in range(1, 41)}


def push(logits: Tensor, T: float) -> Tensor:
    """How the soft loss T² · KL changes the logits of a student that gives every class the same.

    Its negative gradient, T · (p − 1 / classes): up means "raise this logit". Hinton et al. 2015,
    section 2.1. Explained in lesson 3.

    Args:
        logits: the teacher's, ``[classes]``.
        T: temperature, above 0.

    Example:
        >>> push(torch.tensor([2.0, 0.0]), T=1.0)
        tensor([ 0.3808, -0.3808])
    """
    return T * (soften(logits, T) - 1 / len(logits))


def temperature_view(logits: Tensor, names: Sequence[str], T: float, example: str = "") -> State:
    """Soften one row of a teacher's logits, and look at what a student would learn from it. Lesson 3.

    Args:
        logits: ``[classes]``.
        names: of the classes, one each.
        T: temperature, above 0.
        example: its name, which the chart says (default: none).

    Raises:
        ValueError: not one name for each logit.
    """
    if len(names) != len(logits):
        raise ValueError(f"Got {len(names)} names for {len(logits)} logits; give one each.")
    p = soften(logits, T)
    entropy = torch.special.entr(p).sum().item() / math.log(2)
    first, second = p.argsort(descending=True).tolist()[:2]
    said = f"entropy {entropy:.2f} of at most {math.log2(len(p)):.2f} bits"
    readout = (
        f'<span style="font-size:120%">T = {T:g}: <b>{100 * p[first]:.1f} %</b> '
        f"{escape(names[first])}, <b>{100 * p[second]:.1f} %</b> {escape(names[second])}</span><br>"
        f"{said}"
    )
    alt = (
        f"At temperature {T:g} the teacher gives {100 * p[first]:.1f} % to {names[first]} and "
        f"{100 * p[second]:.1f} % to {names[second]}; {said}."
    )
    rows = [
        {
            "name": name,
            "p": a,
            "push": b,
            "p text": f"{a:.2f}",
            "push text": f"{round(b, 2) + 0.0:+.2f}".replace("-", "−"),  # and no "−0.00"
        }
        for name, a, b in zip(names, p.tolist(), push(logits, T).tolist(), strict=True)
    ]
    where = ", ".join(filter(None, [example, f"T = {T:g}"]))
    return State(readout, alt, {"classes": rows, "setting": [{"setting": where}]})


def temperature_chart(
    examples: Mapping[str, Tensor], names: Sequence[str], among: str = "", each: str = "class"
) -> Chart:
    """The probabilities of the classes, and the push on each logit, on scales that hold every T."""
    pushes = [push(logits, T) for logits in examples.values() for T in TEMPERATURES.values()]
    low = 1.1 * min(one.min().item() for one in pushes)
    top = max(one.max().item() for one in pushes)
    # Above the highest bar stand its number and the setting: 42 of the 180 pixels.
    high = low + (top - low) * 180 / 138
    x = category("name", each, names, labelAngle=0 if len("".join(names)) < 40 else -40)

    def bars(title: str, name: str, axis: str, ends: tuple[float, float], **ticks: Any) -> Chart:
        sign = {"condition": {"test": f"datum['{name}'] < 0", "value": ORANGE}, "value": BLUE}
        hover = tooltip(name=each, **{name: f"{axis}|.3f"})
        return panel(
            title, 330, 180,
            mark("bar", "classes", x=x, y=number(name, axis, ends, **ticks), color=sign, tooltip=hover),
            mark("text", "classes", fontSize=9, x=x, y={"value": 8},
                 text={"field": f"{name} text"}),
            setting(),
        )  # fmt: skip

    return chart(
        bars("the teacher's probabilities", "p", f"probability {among}".rstrip(), (0, 1.31),
             values=[0, 0.2, 0.4, 0.6, 0.8, 1]),
        bars("push on a new student's logits", "push", "push on the logit", (low, high)),
    )  # fmt: skip


def setting() -> Chart:
    """A mark that says where the sliders stand, so that a stored picture says it, too."""
    left: Chart = {"x": {"value": 8}, "y": {"value": 28}}
    return mark("text", "setting", align="left", fontSize=13, fontWeight="bold",
                text={"field": "setting"}, **left)  # fmt: skip


def temperature_explorer(
    examples: Mapping[str, Tensor],
    names: Sequence[str],
    T: float = 1.0,
    among: str = "",
    each: str = "class",
) -> Explorer:
    """The temperature slider over some examples: title → the teacher's logits ``[classes]``.

    Where these are a part of the classes, `among` says so on the axis: "among these 6". `each` is what
    a class is, such as "next token".
    """
    controls = [
        Control(
            "example",
            next(iter(examples)),
            {name: (name, examples[name]) for name in examples},
            "menu",
        ),
        Control("temperature", f"{T:g}", TEMPERATURES),
    ]
    return explore(
        controls,
        lambda example, T: temperature_view(example[1], names, T, example[0]),
        temperature_chart(examples, names, among, each),
    )
