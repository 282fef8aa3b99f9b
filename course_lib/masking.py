"""How a model holds a mask: zeros that stay zeros, and PyTorch's own masks understood.

A mask is a bool tensor, True where the weight stays; `masks` is a dict from layer name to mask.
Explained in lesson 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

from course_lib.training import copy_of

Masks = dict[str, Tensor]

PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_STATE_KEY = "parametrizations.weight.0.mask"


def prunable(model: nn.Module, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Layer name → its weight as it acts now (masks applied), without gradient.

    By default all Linear and convolution layers; name others, such as an embedding, in `layers`.

    Raises:
        ValueError: an empty or unknown name, nothing to prune, mixed devices, or tied weights.
    """
    return {name: effective(module) for name, module in prunable_modules(model, layers).items()}


def prunable_modules(model: nn.Module, layers: Sequence[str] | None = None) -> dict[str, nn.Module]:
    """The layers themselves, checked as in `prunable`: forms no weight, so it needs no memory."""
    modules = dict(model.named_modules())
    if layers is None:
        chosen = [name for name, module in modules.items() if isinstance(module, PRUNABLE)]
        if not chosen:
            raise ValueError(
                f"{type(model).__name__} has no Linear or convolution layer to prune. Name the layers "
                "with layers=[…] if others are meant."
            )
    else:
        chosen = list(layers)
        known = [name for name, module in modules.items() if _has_weight(module)]
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise ValueError(
                f"layers is {chosen}; expected one or more of {', '.join(map(repr, known)) or 'none'}."
            )
    _check_untied(model, chosen)
    devices = {str(original_of(modules[name]).device) for name in chosen}
    if len(devices) > 1:
        raise ValueError(
            f"The weights are on {sorted(devices)}; move the model to one: model.to(…)."
        )
    return {name: modules[name] for name in chosen}


def sparsity(model: nn.Module, layers: Sequence[str] | None = None) -> float:
    """Share of zeros among the prunable weights, between 0 and 1; a single layer is a model too.

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
    """The masks that are attached to a model, ours or `torch.nn.utils.prune`'s, or in a state_dict.

    To load a masked state into a fresh model: ``apply_masks_(fresh, masks_of(state))``, then
    ``fresh.load_state_dict(state)``.
    """
    if isinstance(source, Mapping):
        return {
            name.removesuffix(key).removesuffix("."): mask.bool()
            for name, mask in source.items()
            for key in (_STATE_KEY, "weight_mask")
            if name == key or name.endswith(f".{key}")
        }
    found = ((layer, _mask(module)) for layer, module in source.named_modules())
    return {layer: mask for layer, mask in found if mask is not None}


class Mask(nn.Module):
    """A parametrization (`torch.nn.utils.parametrize`): the weight is its original times a mask.

    The product is formed anew at each use, so no optimiser, whatever its momentum or decay, can bring
    a pruned weight back; the mask is a buffer, so it is in the state_dict and in every deepcopy. One
    byte a weight.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.mask: Tensor

    def forward(self, original: Tensor) -> Tensor:
        # PyTorch multiplies by bool, and casts it to float, several times as slowly as by way of bytes.
        return original * self.mask.to(torch.uint8).to(original.dtype)

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        self.mask = self.mask.clone()  # loading writes into it, and another model may share it
        super()._load_from_state_dict(*args, **options)


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `model` with `masks` attached; see `apply_masks_`."""
    return apply_masks_(copy_of(model), masks)


def apply_masks_(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Attach `masks` to the model itself. What is pruned already stays pruned: masks add up.

    The model holds these very tensors, not copies: of BERT-base they are 110 MB.

    Raises:
        ValueError: an unknown layer; a mask of another shape or on another device; no mask; a weight
            that is tied to another one.
        TypeError: a mask that is not bool.
    """
    modules = prunable_modules(model, list(masks))
    for layer, mask in masks.items():
        weight = original_of(modules[layer])
        if mask.shape != weight.shape:
            raise ValueError(
                f"The mask of {layer!r} has shape {tuple(mask.shape)}, its weight "
                f"{tuple(weight.shape)}. Make it with global_masks or layer_masks of this very model."
            )
        if mask.dtype != torch.bool:
            raise TypeError(
                f"The mask of {layer!r} is {mask.dtype}; expected torch.bool: mask.bool()."
            )
        if mask.device != weight.device:
            raise ValueError(
                f"The mask of {layer!r} is on {mask.device}, its weight on {weight.device}; "
                "move one of them with .to(device)."
            )
    for layer, mask in masks.items():
        module = modules[layer]
        if torch_mask := _torch_mask(module):
            mask = mask & torch_mask[0]
            _detach_torch_(module)
        if ours := _our_mask(module):
            ours.mask = ours.mask & mask
        else:
            # unsafe skips a trial product, the size of the weight; we have just checked the shape.
            parametrize.register_parametrization(module, "weight", Mask(mask), unsafe=True)
    return model


def make_permanent(model: nn.Module) -> nn.Module:
    """A copy with the zeros written into the weights and the masks gone, ours and PyTorch's."""
    model = copy_of(model)
    for layer in masks_of(model):
        module = model.get_submodule(layer)
        if _our_mask(module):
            _remove_mask_(module)
        else:
            torch_prune.remove(module, "weight")
    return model


def to_torch_prune(model: nn.Module) -> nn.Module:
    """A copy whose masks are `torch.nn.utils.prune`'s (``weight_orig`` and ``weight_mask``).

    From there on `prune.remove`, `prune.l1_unstructured` and the rest of that module work on it. The
    way back needs no step: every function here understands a model that was masked there.
    """
    model = copy_of(model)
    for layer, mask in masks_of(model).items():
        module = model.get_submodule(layer)
        if _our_mask(module):
            original = original_of(module).detach().clone()
            _remove_mask_(module)
            module.weight.data = original
            torch_prune.custom_from_mask(module, "weight", mask)
    return model


def _has_weight(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim >= 2


def _our_mask(module: nn.Module) -> Mask | None:
    if not parametrize.is_parametrized(module, "weight"):
        return None
    first = module.parametrizations["weight"][0]  # type: ignore[index]
    return first if isinstance(first, Mask) else None


def _torch_mask(module: nn.Module) -> tuple[Tensor, ...]:
    """(mask,) of a module masked by `torch.nn.utils.prune`, else ()."""
    mask = dict(module.named_buffers(recurse=False)).get("weight_mask")
    return () if mask is None else (mask.bool(),)


def _mask(module: nn.Module) -> Tensor | None:
    if ours := _our_mask(module):
        return ours.mask
    return next(iter(_torch_mask(module)), None)


def original_of(module: nn.Module) -> nn.Parameter:
    """The parameter behind a layer's weight, whichever way it is masked."""
    held: Any = module
    if parametrize.is_parametrized(module, "weight"):
        return held.parametrizations["weight"].original
    return held.weight_orig if _torch_mask(module) else held.weight


def effective(module: nn.Module) -> Tensor:
    """A layer's weight as it acts now, its mask applied, without gradient."""
    with torch.no_grad():
        original, mask = original_of(module), _mask(module)
        return original.detach() if mask is None else original * mask


def _remove_mask_(module: nn.Module) -> None:
    """Take our mask off and write its zeros into the weight."""
    # PyTorch deletes the weight's property from the class, which deep copies of the module share:
    # a class of its own keeps them whole.
    shared = type(module)
    module.__class__ = type(shared.__name__, shared.__bases__, dict(shared.__dict__))
    parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def _detach_torch_(module: nn.Module) -> None:
    """Take torch.nn.utils.prune's mask off; the original weight is a plain parameter again."""
    original = original_of(module).detach().clone()
    torch_prune.remove(module, "weight")
    module.weight.data = original  # type: ignore[union-attr]


def _check_untied(model: nn.Module, layers: Sequence[str]) -> None:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for layer in layers:
        shared = names.get(id(original_of(model.get_submodule(layer))), [])
        if len(shared) > 1:
            raise ValueError(
                f"The weight of {layer!r} is shared by {shared}: a mask on one would part them. Leave "
                "it out with layers=[…], or give each a copy of its own first."
            )
