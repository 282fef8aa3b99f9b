"""Lists of wrong and right answers; and one right answer in other clothes: types, dtypes, devices."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Answer = Callable[..., Any]
Wrong = list[tuple[str, str, Any]]  # exercise, mistake, answer
Right = dict[str, dict[str, Any]]  # exercise → name → answer


def answers() -> tuple[Wrong, Right, Callable[[str, str], Callable], Callable[[str], Callable]]:
    """Two empty lists for a lab, and the decorators ``@wrong(exercise, mistake)`` and
    ``@right(exercise)`` that fill them."""
    wrongs: Wrong = []
    rights: Right = {}

    def wrong(exercise: str, mistake: str) -> Callable[[Answer], Answer]:
        def note(answer: Answer) -> Answer:
            wrongs.append((exercise, mistake, answer))
            return answer

        return note

    def right(exercise: str) -> Callable[[Answer], Answer]:
        def note(answer: Answer) -> Answer:
            rights.setdefault(exercise, {})[answer.__name__] = answer
            return answer

        return note

    return wrongs, rights, wrong, right


def short(parameter: Any) -> str | None:
    """A test's id from its words; a function's own would hold an address, another in each worker."""
    return parameter[:40] if isinstance(parameter, str) else None


def each(change: Callable[[Tensor], Any], value: Any) -> Any:
    """Apply `change` to every tensor of floats or bools in a value."""
    if isinstance(value, dict):
        return {key: each(change, one) for key, one in value.items()}
    return change(value) if isinstance(value, Tensor) and value.dtype != torch.long else value


def other_clothes(answer: Answer) -> dict[str, Answer]:
    """The same answer as NumPy, in float64, on copies that are overwritten, as a partial, …"""

    def numpy_result(*given: Any) -> Any:
        return each(lambda tensor: tensor.numpy(), answer(*given))

    def float64(*given: Any) -> Any:
        wide = [each(lambda t: t.double() if t.is_floating_point() else t, one) for one in given]
        return answer(*wide)

    def overwritten_copies(*given: Any) -> Any:
        copies = copy.deepcopy(given)
        value = copy.deepcopy(answer(*copies))
        for one in copies:
            each(Tensor.zero_, one)
        return value

    def without_gradient(*given: Any) -> Any:
        with torch.inference_mode():
            return answer(*given)

    def noisy(*given: Any) -> Any:
        print("shapes:", [getattr(one, "shape", one) for one in given])
        return answer(*given)

    found = {
        "numpy": numpy_result,
        "float64": float64,
        "overwritten copies": overwritten_copies,
        "inference mode": without_gradient,
        "with prints": noisy,
        "partial": functools.partial(answer),
    }
    if torch.cuda.is_available():
        found["GPU"] = lambda *given: each(Tensor.cuda, answer(*given))
    return found


def as_float(answer: Answer) -> Answer:
    return lambda *given: float(answer(*given))


def as_numpy_scalar(answer: Answer) -> Answer:
    return lambda *given: np.float64(answer(*given))
