"""Answers as learners write them, read from ``learners/*.txt``; and one answer in other clothes.

In such a file ``=== soften(logits, T)`` begins an exercise; ``✗ T is forgotten`` begins a wrong answer,
with the name of its mistake, and ``✓ one_line`` a right one. The body is indented below, or is one
expression behind ⇒. Behind ‖ stand other arguments, behind @ a decorator. Other lines are plain Python.
"""

from __future__ import annotations

import copy
import functools
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Answer = Callable[..., Any]
FOLDER = Path(__file__).parent / "learners"
MARK = re.compile(r"([✗✓]) (.+?)(?: ‖ (.*?))?(?: (@\S+))?(?: ⇒ (.*))?$")


class Learners:
    """The answers of a lesson: wrong ones as (exercise, mistake, answer), right ones by name."""

    def __init__(self, lesson: int) -> None:
        self.wrong: list[tuple[str, str, Any]] = []
        self.right: dict[str, dict[str, Any]] = defaultdict(dict)
        path = FOLDER / f"lesson{lesson}.txt"
        clothes = (other_clothes, layers_in_other_clothes, with_prints, as_float, as_numpy_scalar)
        self.names: dict[str, Any] = {one.__name__: one for one in clothes}
        self.names |= {"WRONG": self.wrong, "RIGHT": self.right}
        source, marks = self._python(path.read_text("utf-8"))
        exec(compile(source, str(path), "exec"), self.names)
        for name, exercise, sign, title, decorator in marks:
            answer = self.names[name]
            if decorator:
                answer = eval(decorator[1:], self.names)(answer)
            if sign == "✗":
                self.wrong.append((exercise, title, answer))
            else:
                self.right[exercise][title] = answer

    def _python(self, text: str) -> tuple[str, list[tuple[str, ...]]]:
        """The same lines as Python, so that an error names the line of the file."""
        lines, marks, exercise, arguments = [], [], "", ""
        for number, line in enumerate(text.split("\n")):
            if head := re.match(r"=== (\w+)\((.*)\)", line):
                exercise, arguments = head.groups()
                line = ""
            elif mark := MARK.match(line):
                sign, title, own, decorator, value = mark.groups()
                name = title if sign == "✓" and title.isidentifier() else f"answer_{number}"
                marks.append((name, exercise, sign, title, decorator or ""))
                line = f"def {name}({arguments if own is None else own}):"
                line += f" return {value}" if value else ""
            lines.append(line)
        return "\n".join(lines), marks


def each(change: Callable[[Tensor], Any], value: Any) -> Any:
    """Apply `change` to every tensor of floats or bools in a value."""
    if isinstance(value, dict):
        return {key: each(change, one) for key, one in value.items()}
    return change(value) if isinstance(value, Tensor) and value.dtype != torch.long else value


def with_prints(answer: Answer) -> Answer:
    def noisy(*given: Any) -> Any:
        print("shapes:", [getattr(one, "shape", type(one)) for one in given])
        return answer(*given)

    return noisy


def other_clothes(answer: Answer) -> dict[str, Answer]:
    """The same answer as NumPy, in float64, on copies that are overwritten, as a partial, …"""

    def float64(*given: Any) -> Any:
        return answer(
            *[each(lambda t: t.double() if t.is_floating_point() else t, x) for x in given]
        )

    def overwritten_copies(*given: Any) -> Any:
        copies = copy.deepcopy(given)
        value = copy.deepcopy(answer(*copies))
        for one in copies:
            each(Tensor.zero_, one)
        return value

    found = {
        "numpy": lambda *given: each(Tensor.numpy, answer(*given)),
        "float64": float64,
        "overwritten copies": overwritten_copies,
        "inference mode": torch.inference_mode()(lambda *given: answer(*given)),
        "with prints": with_prints(answer),
        "partial": functools.partial(answer),
    }
    if torch.cuda.is_available():
        found["GPU"] = lambda *given: each(Tensor.cuda, answer(*given))
    return found


def layers_in_other_clothes(answer: Answer) -> dict[str, Answer]:
    """The same layers in float64, in training mode, made in inference mode, …"""

    def changed(change: Callable[[nn.Module], Any]) -> Answer:
        def other(*given: Any) -> Any:
            value = answer(*given)
            for layer in value.values() if isinstance(value, dict) else value:
                change(layer)
            return value

        return other

    return {
        "float64": changed(lambda layer: layer.double()),
        "training mode": changed(lambda layer: layer.train()),
        "inference mode": torch.inference_mode()(lambda *given: answer(*given)),
        "with prints": with_prints(answer),
        "partial": functools.partial(answer),
    }


def as_float(answer: Answer) -> Answer:
    return lambda *given: float(answer(*given))


def as_numpy_scalar(answer: Answer) -> Answer:
    return lambda *given: np.float64(answer(*given))
