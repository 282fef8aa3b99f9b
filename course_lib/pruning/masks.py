"""Masks: zeros that stay zeros through training, copies and files.

A mask is a bool tensor of its weight's shape, True where the weight stays. `Masks` maps the names of
layers to their masks. Explained in lesson 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

from course_lib.modules import copy_of
from course_lib.modules import make_permanent as make_permanent

Masks = dict[str, Tensor]

_PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def prunable(model: nn.Module, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Layer name → its weight with its mask applied, without gradient.

    The default is all linear and convolution layers, but not those that share their weight with an
    embedding (GPT-2's ``lm_head``): embeddings are left out, too. Name such layers in `layers`. A
    weight that several layers share counts once, and a mask on one of them is a mask on all.

    Raises:
        ValueError: an unknown name or none, nothing to prune, or weights on several devices.
    """
    modules = prunable_modules(model, layers)
    return {name: masked_weight(module) for name, module in modules.items()}


def prunable_modules(model: nn.Module, layers: Sequence[str] | None = None) -> dict[str, nn.Module]:
    """The layers of `prunable` as modules: nothing is computed, so it needs no memory."""
    modules, sharing = dict(model.named_modules()), _sharing(model)
    if layers is None:
        names = [
            name for name, tied in sharing.items() if all(_is_prunable(modules[t]) for t in tied)
        ]
        if not names:
            raise ValueError(
                f"{type(model).__name__} has no Linear or convolution layer to prune. Name the layers "
                "with layers=[…] if others are meant."
            )
    else:
        names = list(layers)
        if not names or set(names) - sharing.keys():
            choices = ", ".join(map(repr, sharing)) or "none"
            raise ValueError(f"layers is {names}; expected one or more of {choices}.")
    weights = {name: original_of(modules[name]) for name in names}
    devices = sorted({str(weight.device) for weight in weights.values()})
    if len(devices) > 1:
        raise ValueError(f"The weights are on {devices}; move the model to one: model.to(…).")
    first = {id(weights[name]): name for name in reversed(names)}  # of tied layers
    return {name: modules[name] for name in names if first[id(weights[name])] == name}


def left_out(model: nn.Module) -> list[str]:
    """The layers that `prunable` leaves out because an embedding, say, shares their weight.

    Example:
        >>> tied = nn.ModuleDict({"words": nn.Embedding(5, 4), "head": nn.Linear(4, 5)})
        >>> tied["head"].weight = tied["words"].weight
        >>> left_out(tied)
        ['head']
    """
    modules = dict(model.named_modules())
    able = {
        name: [_is_prunable(modules[t]) for t in tied] for name, tied in _sharing(model).items()
    }
    return [name for name, kinds in able.items() if _is_prunable(modules[name]) and not all(kinds)]


def sparsity(model: nn.Module, layers: Sequence[str] | None = None) -> float:
    """Fraction of zeros among the prunable weights. A single layer is a model, too.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
        >>> sparsity(layer)
        0.25
    """
    weights = prunable(model, layers).values()
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return zeros / sum(weight.numel() for weight in weights)


def masks_of(source: nn.Module | Mapping[str, Tensor]) -> Masks:
    """The masks of a model or of a state_dict, made here or by `torch.nn.utils.prune`.

    To load a masked state into a fresh model: ``apply_masks_(fresh, masks_of(state))``, then
    ``fresh.load_state_dict(state)``.
    """
    if isinstance(source, Mapping):
        return {
            name.removesuffix(key).removesuffix("."): mask.bool()
            for name, mask in source.items()
            for key in ("parametrizations.weight.0.mask", "weight_mask")
            if name == key or name.endswith(f".{key}")
        }
    masks = {layer: _mask_of(module) for layer, module in source.named_modules()}
    return {layer: mask for layer, mask in masks.items() if mask is not None}


class Mask(nn.Module):
    """A parametrization (`torch.nn.utils.parametrize`): the weight is its original times a mask.

    The product is computed at each use, so no optimizer step can bring a pruned weight back. The mask
    is a buffer: it is in the state_dict and in every copy, and takes one byte a weight.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, original: Tensor) -> Tensor:
        # Multiplying by bool, or casting it to float, is several times as slow as by way of bytes.
        return original * self.mask.to(torch.uint8).to(original.dtype)

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        self.mask = self.mask.clone()  # loading writes into it, and another model may share it
        super()._load_from_state_dict(*args, **options)


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `model` with `masks` attached; see `apply_masks_`."""
    return apply_masks_(copy_of(model), masks)


def apply_masks_(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Attach `masks` to the model itself. What is pruned already stays pruned.

    The model holds these tensors, not copies of them.

    Raises:
        ValueError: an unknown layer; a mask of another shape or on another device; no mask.
        TypeError: a mask that is not bool.
    """
    prunable_modules(model, list(masks))  # refuses layers that cannot be masked
    for layer, mask in masks.items():
        _check_mask(layer, mask, original_of(model.get_submodule(layer)))
    sharing = _sharing(model)
    for layer, mask in masks.items():
        for tied in sharing[layer]:
            _attach_(model.get_submodule(tied), mask)
    return model


def original_of(module: nn.Module) -> Any:
    """The parameter behind a module's weight, masked or not. None where there is none."""
    if parametrize.is_parametrized(module, "weight"):
        return getattr(module.parametrizations["weight"], "original", None)  # type: ignore[index]
    return module._parameters.get("weight_orig", module._parameters.get("weight"))


def masked_weight(module: nn.Module) -> Tensor:
    """A layer's weight with its mask applied, without gradient."""
    original, mask = original_of(module).detach(), _mask_of(module)
    return original if mask is None else original * mask


def output_rows(module: nn.Module, tensor: Tensor) -> Tensor:
    """A tensor of the weight's shape as ``[outputs, inputs, …]``.

    PyTorch's own layers have that order; the linear layers of GPT-2 (transformers' ``Conv1D``) are
    ``[inputs, outputs]``.
    """
    return tensor.T if _is_transposed(module) else tensor


def _is_transposed(module: nn.Module) -> bool:
    name = type(module).__name__.removeprefix("Parametrized")
    return name == "Conv1D" and hasattr(module, "nf")


def _is_prunable(module: nn.Module) -> bool:
    return isinstance(module, _PRUNABLE) or _is_transposed(module)


def _sharing(model: nn.Module) -> dict[str, list[str]]:
    """Each layer that can be masked → the layers that hold its weight: itself, and tied ones."""
    modules = dict(model.named_modules())
    holders: dict[int, list[str]] = {}
    for name, module in modules.items():
        # A masked weight is held by a module inside its layer.
        name = name.removesuffix("parametrizations.weight").removesuffix(".")
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), []).append(name)
    sharing = {}
    for name, module in modules.items():
        if (weight := original_of(module)) is not None and weight.ndim > 1:
            sharing[name] = holders[id(weight)]
            if any(original_of(modules[tied]) is not weight for tied in sharing[name]):
                del sharing[name]  # a parameter of another name, which a mask does not reach
    return sharing


def _check_mask(layer: str, mask: Tensor, weight: Tensor) -> None:
    if mask.shape != weight.shape:
        raise ValueError(
            f"The mask of {layer!r} has shape {tuple(mask.shape)}, its weight "
            f"{tuple(weight.shape)}. Make it with global_masks or layer_masks of this very model."
        )
    if mask.dtype != torch.bool:
        raise TypeError(f"The mask of {layer!r} is {mask.dtype}; expected torch.bool: mask.bool().")
    if mask.device != weight.device:
        raise ValueError(
            f"The mask of {layer!r} is on {mask.device}, its weight on {weight.device}; "
            "move one of them with .to(device)."
        )


def _attach_(module: nn.Module, mask: Tensor) -> None:
    if (torch_mask := module._buffers.get("weight_mask")) is not None:
        mask = mask & torch_mask.bool()
        weight = original_of(module)
        original = weight.detach().clone()
        torch_prune.remove(module, "weight")  # writes the zeros into the weight
        weight.data = original
    if ours := _our_mask(module):
        ours.mask = ours.mask & mask
    else:
        # unsafe skips a trial product, the size of the weight; the shape has been checked.
        parametrize.register_parametrization(module, "weight", Mask(mask), unsafe=True)


def _our_mask(module: nn.Module) -> Mask | None:
    if not parametrize.is_parametrized(module, "weight"):
        return None
    first = module.parametrizations["weight"][0]  # type: ignore[index]
    return first if isinstance(first, Mask) else None


def _mask_of(module: nn.Module) -> Tensor | None:
    if ours := _our_mask(module):
        return ours.mask
    mask = module._buffers.get("weight_mask")
    return None if mask is None else mask.bool()
