"""Do two values mean the same? How is one shown? Has an input been changed?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ROUGH = {torch.float16: 2e-3, torch.bfloat16: 1e-2}  # what such a number can be off by itself


@dataclass(frozen=True)
class Range:
    """Any number from `low` to `high`, both included, and rounding: 0.89999 counts as 0.9.

    Example:
        >>> print(Range(0.95, 1))
        0.95 to 1
    """

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


def agree(came: Any, expected: Any) -> bool:
    """Whether two values mean the same, whatever their type, dtype or device; shapes count.

    Example:
        >>> agree(np.float64(0.5), torch.tensor(0.5)), agree([0, 1], torch.tensor([False, True]))
        (True, True)
        >>> agree(0.5, torch.tensor([0.5, 0.5])), agree((0.5,), 0.5), agree(1000, 1000.5)
        (False, False, False)
    """
    if isinstance(expected, Mapping):
        if not isinstance(came, Mapping) or not came.keys() >= expected.keys():
            return False
        return all(agree(came[key], expected[key]) for key in expected)
    if isinstance(expected, str):
        return isinstance(came, str) and came.strip().lower() == expected.strip().lower()
    if type(expected).__name__ == "Trouble":
        return type(came) is type(expected) and bool(came == expected)
    if came is ... or expected is ...:
        return False
    if isinstance(expected, list | tuple) and as_number(expected) is None:
        same = isinstance(came, list | tuple) and len(came) == len(expected)
        return same and all(map(agree, came, expected))
    number = as_number(came)
    if number is None:
        return False
    if isinstance(expected, Range):
        return number.numel() == 1 and expected.low - 1e-4 < number.item() < expected.high + 1e-4
    wanted = as_number(expected)
    if wanted is None or not same_shape(came, number, wanted):
        return False
    return close(number, wanted.reshape(number.shape), getattr(came, "dtype", None))


def same_shape(came: Any, number: Tensor, wanted: Tensor) -> bool:
    """One number may come as a tensor of one element, but not in a list or a tuple."""
    if wanted.dim() == 0:
        return number.numel() == 1 and not isinstance(came, list | tuple)
    return number.shape == wanted.shape


def close(number: Tensor, wanted: Tensor, dtype: Any = None) -> bool:
    """Equal up to float32's rounding, or up to that of a coarser dtype."""
    loose = ROUGH.get(dtype, 1e-4)
    return bool(torch.isclose(number, wanted, loose, loose / 10, equal_nan=True).all())


def as_number(value: Any) -> Tensor | None:
    """The value as a float64 tensor on the CPU, None if it is no number."""
    try:
        if not isinstance(value, Tensor):
            value = torch.as_tensor(np.asarray(value, dtype=np.float64))
        return value.detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        return None


def show(value: Any) -> str:
    """A value in one short line.

    Example:
        >>> show(torch.tensor([[0.5, 1 / 3]])), show({"fc": torch.tensor([1])}), show(0.25)
        ('[[0.5, 0.3333]]', '{fc: [1]}', '0.25')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Tensor | np.ndarray):
        if np.prod(value.shape) > 24:
            return f"shape {list(value.shape)}"
        value = value.tolist()
    if isinstance(value, list | tuple):
        inside = ", ".join(show(one) for one in value)
        return f"({inside},)" if isinstance(value, tuple) and len(value) == 1 else f"[{inside}]"
    if isinstance(value, float | np.floating):
        short = f"{value + 0.0:.4g}"  # -0.0 is 0
        return short if abs(float(value)) < 1e4 or "n" in short else f"{value:.10g}"
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]} …"


def unchanged(before: Any, after: Any) -> bool:
    """Whether both are equal to the last bit, with their gradients; of a module also what it says of
    itself: its mode, its sizes, its settings."""
    if isinstance(before, nn.Module):
        pairs = zip(before.modules(), after.modules(), strict=False)
        if len(list(before.modules())) != len(list(after.modules())):
            return False
        return all(unchanged(_own(one), _own(other)) for one, other in pairs)
    if isinstance(before, Mapping):
        return before.keys() == after.keys() and all(unchanged(before[k], after[k]) for k in before)
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(unchanged, before, after))
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        same = before.shape == after.shape and before.dtype == after.dtype
        same = same and before.requires_grad == after.requires_grad
        if before.is_leaf and after.is_leaf and not unchanged(before.grad, after.grad):
            return False
        # nan equals nan here
        return same and bool(torch.equal(before.nan_to_num(7.7), after.nan_to_num(7.7)))
    return bool(before == after)


def _own(module: nn.Module) -> dict[str, Any]:
    """A module's own tensors, and its public attributes of a plain kind."""
    plain = (bool, int, float, str, tuple, type(None))
    said = {k: v for k, v in vars(module).items() if k[0] != "_" and isinstance(v, plain)}
    tensors = dict(module.named_parameters(recurse=False)) | dict(
        module.named_buffers(recurse=False)
    )
    return said | {f"tensor {name}": tensor for name, tensor in tensors.items()}
