"""What can be removed from a network for good: groups of neurons, channels, heads or FFN neurons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.nn.utils.parametrize import is_parametrized
from transformers import PreTrainedModel

from course_lib.structured.graph import traced_groups
from course_lib.structured.proof import proven
from course_lib.structured.transformers import placed_groups
from course_lib.structured.units import Group

# What was proven for a model, as long as its tensors have these shapes.
_PROVEN: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


def groups(model: nn.Module, exact: bool = True) -> dict[str, Group]:
    """All groups of units that can be removed from a model, by name, in the order of the forward pass.

    `transformers` models have heads and feed-forward units, named as ``"layer.0.heads"`` and
    ``"layer.0.ffn"``; that these can go is proven on a random input. In any other module the neurons
    of Linear layers and the channels of convolutions are found by tracing it (`torch.fx`), through
    batch norm, pooling, flatten and residual sums; a group is named after the first layer that
    computes it. The layers that compute the model's output stay whole. The trace has no shapes: the
    input of a `BatchNorm1d` is taken as ``[n, features]``, and a mean over two dimensions as one over
    all pixels. Lesson 2.

    A norm across channels (LayerNorm, GroupNorm) gives other values when one is missing, so what it
    reads cannot be cut exactly. ``exact=False`` lists such groups, too; `Group.inexact` says why.

    Raises:
        ValueError: nothing can be removed; names the module that could not be placed.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> [(group.name, group.kind, group.units) for group in groups(net).values()]
        [('0', 'neurons', 5)]
    """
    removable, fixed = _all_groups(model, exact)
    if not removable:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in fixed.items())
        raise ValueError(
            f"{type(model).__name__} has nothing that can be removed. {reasons or 'It has no layers.'}"
        )
    return removable


def groups_of(model: nn.Module, names: Iterable[str], exact: bool = True) -> list[Group]:
    """The groups of these names, found in one walk; the error says why a layer has none.

    Example:
        >>> groups_of(nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2)), ["2"])
        Traceback (most recent call last):
        ValueError: '2' cannot be made smaller: the model's answer is made of it.
    """
    removable, fixed = _all_groups(model, exact)
    names = list(names)
    for name in names:
        if name in fixed:
            raise ValueError(f"{name!r} cannot be made smaller: {fixed[name]}.")
        if name not in removable:
            present = ", ".join(removable) or "none"
            raise ValueError(f"There is no group {name!r}; there are {present}.")
    return [removable[name] for name in names]


def widths_of(model: nn.Module) -> dict[str, int]:
    """Group → units, also of heads that must stay: what a file notes. Nothing is proven."""
    return {name: group.units for name, group in _all_groups(model, prove=False)[0].items()}


def counts_of(model: nn.Module) -> list[tuple[str, str, int]]:
    """(module, attribute, number) of what modules note beside their tensors, such as their heads."""
    found = _all_groups(model, prove=False)[0].values()
    counts = [(place, name) for group in found for place, name, _ in group.counts]
    return [(place, name, getattr(model.get_submodule(place), name)) for place, name in counts]


def _all_groups(
    model: nn.Module, exact: bool = False, prove: bool = True
) -> tuple[dict[str, Group], dict[str, str]]:
    """The groups that can be removed, and why the others cannot."""
    _refuse_wrapped(model)
    if not isinstance(model, PreTrainedModel):
        _refuse_masked(model, (name for name, _ in model.named_modules()))
        removable, fixed = traced_groups(model)
        hint = "remove(…, exact=False) does it all the same, and measures the difference"
        inexact = {n: f"{g.inexact}; {hint}" for n, g in removable.items() if exact and g.inexact}
        return {n: g for n, g in removable.items() if n not in inexact}, fixed | inexact
    layouts = placed_groups(model)
    placed = {n: options[0] for n, options in layouts.items() if not isinstance(options, str)}
    _refuse_masked(model, (piece.module for g in placed.values() for piece in g.slices))
    if not prove or any(tensor.is_meta for tensor in model.parameters()):
        return placed, {}
    now = tuple((name, tensor.shape) for name, tensor in model.named_parameters())
    before, result = _PROVEN.get(model, ((), ({}, {})))
    if before != now:
        result = proven(model, layouts)
        _PROVEN[model] = now, result
    return result


def _refuse_wrapped(model: Any) -> None:
    """What hides a model's own layers."""
    kind = type(model).__name__
    if hasattr(model, "_orig_mod"):
        raise ValueError("The model was compiled. Cut model._orig_mod, and compile the result.")
    if hasattr(model, "merge_and_unload"):
        raise ValueError(
            f"{kind} holds adapters of peft, whose matrices would no longer fit. Merge them first: "
            "model = model.merge_and_unload()."
        )
    for name, module in model.named_modules():
        path = type(module).__module__
        if (
            "quantized" in path
            or path.startswith("bitsandbytes")
            or hasattr(module, "hf_quantizer")
        ):
            raise ValueError(
                f"{name or kind!r} is quantized; its numbers are packed, so none can be cut out. Cut "
                "the model in float32, and quantize the result."
            )
        if name and isinstance(module, PreTrainedModel) and not isinstance(model, PreTrainedModel):
            raise ValueError(
                f"{name!r} is a {type(module).__name__} inside a {kind}. Cut it by itself, and put it "
                f"back: model.{name} = remove(model.{name}, …)."
            )


def _refuse_masked(model: nn.Module, names: Iterable[str]) -> None:
    for name in names:
        module = model.get_submodule(name)
        steps = [
            type(s).__name__ for p in getattr(module, "parametrizations", {}).values() for s in p
        ]
        if "weight_g" in module._parameters or "_WeightNorm" in steps:
            raise ValueError(
                f"{name!r} is under weight norm, so its weight is computed anew at each use. Take the "
                f"norm off first: torch.nn.utils.remove_weight_norm(model.{name}), or, of the newer "
                f"kind, parametrize.remove_parametrizations(model.{name}, 'weight')."
            )
        # The older hooks of PyTorch keep the parameter under another name.
        hidden = {"weight_orig", "bias_orig", "weight_v"} & module._parameters.keys()
        if is_parametrized(module) or hidden:
            raise ValueError(
                f"{name!r} has a mask attached, so its tensors cannot be cut. Write the zeros into "
                "the weights first: pruning.make_permanent(model)."
            )
